"""Noise contrastive estimation: a layer of many classes of which few are computed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Leaf, Module, ParameterSpec, Record, Sample, Table, register
from graphspec.graph.parameter import fill, linear_init
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import DPNN, constant, numbers, pair
from graphspec.shapes.cells import FLOAT, Cell
from graphspec.shapes.infer import Types


def drawn_by(b: Lowering, weights: Value, places: Value) -> Value:
    """Positions (int32, from 0) in a list of weights, each drawn with a chance in proportion, for places uniform in [0, 1): how many of the
    running sums are at most place times the whole, by halves."""
    (size,) = weights.shape
    n = size.value
    assert n is not None
    sums = b.cumsum(weights)
    whole = b.reshape(b.slice(sums, 0, n - 1, 1), ())
    wanted = b.mul(places, b.broadcast(whole, places.shape, ()))
    found = b.full(0, places.shape, "int32")
    last = b.full_like(found, n - 1)
    for step in (2**i for i in reversed(range(n.bit_length()))):
        further = b.shift_by(found, step - 1)
        passed = b.compare(b.gather(sums, b.minimum(further, last)), wanted, "le")
        found = b.where(b.logical(passed, b.compare(further, last, "le"), "and"), b.shift_by(further, 1), found)
    return b.minimum(found, last)


@register
class NCEModule(Record):
    """``{p, p', q, q'}``, what nn.NCECriterion takes, for the target's class and for ``k`` classes drawn by their ``unigrams``:
    ``{x [B, inputSize], target [B]} -> {[B], [B, k], [B], [B, k]}``, target int32.

    ``p = exp(W_c x + b_c) / Z`` for the target c, p' for those drawn, q and q' are the chances that they were drawn with.  unigrams is a
    table of outputSize numbers, of which only the proportions count.  With batchnoise all rows have the same k classes, else each its own.
    """

    name = "NCEModule"
    doc = "probabilities of the target and of a few classes drawn as noise, by a linear layer and by how frequent they are"
    source = "Mnih and Teh (2012), https://arxiv.org/abs/1206.6426; " + DPNN + "NCEModule.lua"
    differs = (
        "when Z is not given it is 1, for which the bias begins right, where dpnn estimates it from the first batch; batchnoise is a field "
        "in Torch, and here an argument too; there is no field normalized: an nn.Linear that shares weight and bias gives all classes"
    )
    stochastic = True
    arguments = (
        Argument("inputSize"), Argument("outputSize"), Argument("k"), Argument("unigrams", "table"), Argument("Z", "number", 1.0),
        Argument("batchnoise", "flag", True),
    )  # fmt: skip
    samples = (
        Sample((3, 5, 2, Table((1, 2, 3, 4, 5.5))), ((2, 3), Leaf((2,), index=True, high=5))),
        Sample((2, 4, 3, Table((0.4, 0.1, 0.3, 0.2)), 2.5), ((3, 2), Leaf((3,), index=True, high=4))),
        Sample((2, 4, 3, Table((0.4, 0.1, 0.3, 0.2)), 0.5, False), ((3, 2), Leaf((3,), index=True, high=4))),
    )

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        found = numbers(a.unigrams)
        if found is None or found.shape != (a.outputSize,) or not (found >= 0).all() or not found.sum() > 0:
            raise fail("E0422", f"nn.{self.name}: unigrams must be a table of {a.outputSize} numbers from 0, not all 0", origin)
        if not 0 < a.Z < float("inf"):
            raise fail("E0422", f"nn.{self.name}: Z must be above 0, got {a.Z:g}", origin, helps=["without it Z is 1"])

    def parameters(self, a: SimpleNamespace) -> Mapping[str, ParameterSpec]:
        return {
            "weight": ParameterSpec((a.outputSize, a.inputSize), linear_init(a.inputSize)),
            "bias": ParameterSpec((a.outputSize,), fill(-math.log(a.outputSize))),
        }

    def buffers(self, a: SimpleNamespace) -> Mapping[str, ParameterSpec]:
        found = np.asarray(numbers(a.unigrams))
        return {"unigrams": constant(found / found.sum())}

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        given, target = s.table(x, 2)
        batch = s.unknown("B")
        s.set(given, (batch, m.args.inputSize), FLOAT)
        s.set(target, (batch,), "int32")
        for cell, dims in zip(s.table(y, 4), ((batch,), (batch, m.args.k)) * 2, strict=True):
            s.set(cell, dims, FLOAT)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        given, target = pair(x)
        a, unigrams = m.args, b.buffer(m, "unigrams")
        weight, bias = b.parameter(m, "weight"), b.parameter(m, "bias")
        rows, target = given.shape[0], b.zero_based(target, a.outputSize)
        drawn = drawn_by(b, unigrams, b.draw("uniform", (a.k,) if a.batchnoise else (rows, a.k)))
        wanted = b.add(b.reduce_sum(b.mul(given, b.gather(weight, target)), [1]), b.gather(bias, target))
        chosen, shift, noise = (b.gather(table, drawn) for table in (weight, bias, unigrams))
        if a.batchnoise:
            scores = b.matmul(given, b.transpose(chosen, (1, 0)))
        else:
            scores = b.reduce_sum(b.mul(chosen, b.broadcast(given, chosen.shape, (0, 2))), [2])
        others = b.add(scores, b.broadcast_last(shift, scores))

        def chance(score: Value) -> Value:
            return b.scale(b.exp(score), 1 / a.Z)

        return chance(wanted), chance(others), b.gather(unigrams, target), b.broadcast_last(noise, others)
