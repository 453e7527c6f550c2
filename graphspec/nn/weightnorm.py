"""Weight normalisation: a weight given by its rows' lengths and directions, ``w = g v / |v|``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, InitStep, Leaf, Make, Module, ParameterSpec, Record, Sample, register
from graphspec.graph.parameter import linear_init, normal
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import TORCH
from graphspec.nn.compare import dot, norm
from graphspec.nn.linear import Linear
from graphspec.shapes.cells import Cell
from graphspec.shapes.infer import Types

PAPER = "Salimans and Kingma (2016)"

SMOOTHING = 1e-4
"""What WeightNorm adds to the squared length of a row; Torch writes it 10e-5."""


@register
class LinearWeightNorm(Linear):
    """``y = W x + b`` along the last axis, the rows of W given by a length and a direction, ``w_k = g_k v_k / max(|v_k|, eps)``:
    ``[..., inputSize] -> [..., outputSize]``; g begins as the lengths of v."""

    name = "LinearWeightNorm"
    doc = "y = W x + b with w_k = g_k v_k / |v_k|"
    source = f"{PAPER}; {TORCH}simple.md#linearweightnorm"
    differs = "more leading axes than one are taken too; fromLinear and toLinear, which make one module of another's numbers, are not there"
    arguments = (Argument("inputSize"), Argument("outputSize"), Argument("bias", "flag", True), Argument("eps", "number", 1e-16))
    samples = (
        Sample((4, 3), (2, 4)), Sample((4, 3), (4,)), Sample((3, 2, False), (3, 2, 3)), Sample((2, 2, True, 0.9), (2, 2)),
        Sample((3, 2), (2, 3), methods=(("noBias", ()),)),
    )

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        if a.eps < 0:
            raise fail("E0422", f"nn.{self.name}: eps must be at least 0, got {a.eps:g}", origin)

    def parameters(self, a: SimpleNamespace) -> Mapping[str, ParameterSpec]:
        init = linear_init(a.inputSize)
        direction = {
            "v": ParameterSpec((a.outputSize, a.inputSize), init), "g": ParameterSpec((a.outputSize, 1), InitStep("norms", ("v",))),
        }
        return {**direction, "bias": ParameterSpec((a.outputSize,), init)} if a.bias else direction

    def weight(self, b: Lowering, m: Module) -> Value:
        v, g = b.parameter(m, "v"), b.reshape(b.parameter(m, "g"), (m.args.outputSize,))
        length = norm(b, v)
        return b.mul(v, b.broadcast_first(b.div(g, b.maximum(length, b.full_like(length, m.args.eps))), v))


@register
class WeightNorm(Record):
    """A module whose weight is given by lengths and directions, ``w_k = g_k v_k / sqrt(|v_k|^2 + 1e-4)`` for each index k of its dimension
    ``outputDim``.  v begins as normal(0, sqrt(2 / elements of v_k)), g as the lengths of v, the module's bias as 0."""

    name = "WeightNorm"
    doc = "a module with its weight as w_k = g_k v_k / |v_k|"
    source = f"{PAPER}; {TORCH}containers.md#weightnorm"
    differs = "the module that is given keeps a weight of its own for other uses; its bias is the same one"
    arguments = (Argument("module", "module"), Argument("outputDim", "size", 1))
    samples = (
        Sample((Make("Linear", (3, 2)),), (2, 3)),
        Sample((Make("Linear", (3, 2)), 2), (3,)),
        Sample((Make("Bilinear", (2, 3, 2, False)), 2), ((2, 2), (2, 3))),
        Sample((Make("CMul", (2, 3)),), (4, 2, 3)),
        Sample((Make("SpatialConvolution", (2, 3, 2, 2)),), (2, 2, 3, 4)),
        Sample((Make("LookupTable", (4, 3)), 2), Leaf((5,), index=True, high=4)),
    )

    def construct(self, args: Sequence[Any], origin: Origin) -> Module:
        bound = self.bind(args, origin)
        given = bound.module
        if "weight" not in given.parameters:
            raise fail("E0422", f"nn.WeightNorm: {given} has no weight", origin, helps=["as in `nn.WeightNorm(nn.Linear(3, 2))`"])
        shape = given.parameters["weight"].shape
        if bound.outputDim > len(shape):
            raise fail("E0422", f"nn.WeightNorm: outputDim {bound.outputDim} of a weight with {len(shape)} axes", origin)
        bound.module = given.clone([key for key in given.parameters if key != "weight"], origin)
        bound.module.name = given.name
        del bound.module.parameters["weight"]
        if "bias" in bound.module.parameters:
            bound.module.parameters["bias"].view.apply("fill", 0)
        bound.shape = shape
        module = Module(self, bound, origin)
        module.children = [bound.module]
        return module

    def parameters(self, a: SimpleNamespace) -> Mapping[str, ParameterSpec]:
        n = a.shape[a.outputDim - 1]
        others = math.prod(a.shape) // n
        return {"v": ParameterSpec((n, others), normal(0, math.sqrt(2 / others))), "g": ParameterSpec((n,), InitStep("norms", ("v",)))}

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.child("module", m.children[0], x, y)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        v, shape, axis = b.parameter(m, "v"), m.args.shape, m.args.outputDim - 1
        scale = b.div(b.parameter(m, "g"), b.sqrt(b.shift_by(dot(b, v, v), SMOOTHING)))
        first = b.reshape(b.mul(v, b.broadcast_first(scale, v)), (shape[axis], *shape[:axis], *shape[axis + 1 :]))
        weight = b.transpose(first, [*range(1, axis + 1), 0, *range(axis + 1, len(shape))])
        with b.with_parameter(m.children[0], "weight", weight):
            return b.child("module", x)
