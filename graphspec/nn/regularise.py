"""Dropout and batch normalisation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Module, ParameterSpec, Record, Sample, register
from graphspec.graph.parameter import fill, uniform
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import INPLACE, TORCH, Pointwise, mean_of, only, rows
from graphspec.shapes.cells import FLOAT, Cell
from graphspec.shapes.infer import Types

STOCHASTIC = Argument("stochasticInference", "flag", False, field="stochastic_inference")


def check_chance(record: Record, p: float, origin: Origin) -> None:
    if not 0 <= p < 1:
        raise fail("E0422", f"nn.{record.name}: p must be at least 0 and less than 1, got {p:g}", origin)


@register
class Dropout(Pointwise):
    """In training each element is 0 with probability p, else x / (1 - p); ``y = x`` in evaluation.

    With ``v1`` (Torch's first version) it is x in training and ``x * (1 - p)`` in evaluation.  A caller may inject the noise:
    then ``y = x * noise`` in training, the noise being Torch's, with its factor 1 / (1 - p).  With ``stochasticInference`` evaluation
    is as training.
    """

    name = "Dropout"
    doc = "zeroes elements at random in training"
    source = TORCH + "simple.md#dropout"
    arguments = (Argument("p", "number", 0.5), Argument("v1", "flag", False), INPLACE, STOCHASTIC)
    stochastic = True
    methods = ("setp",)
    samples = (Sample((), (4, 5)), Sample((0.2,), (7,)), Sample((0.3, True), (2, 3, 2)), Sample((0.3, True), (4,), evaluate=True),
               Sample((0.3,), (4,), evaluate=True), Sample((0,), (3, 2)), Sample((0.3, False, False, True), (4, 3), evaluate=True))

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        check_chance(self, a.p, origin)

    def call(self, m: Module, method: str, args: Sequence[Any], origin: Origin) -> Module:
        self.set(m, "p", args[0] if args else None, origin)
        return m

    def apply(self, b: Lowering, m: Module, x: Value) -> Value:
        p, v1 = m.args.p, m.args.v1
        if not b.training and not m.args.stochasticInference:
            return b.scale(x, 1 - p) if v1 and p > 0 else x
        if b.injected is not None:
            return b.mul(x, b.injected)
        if p == 0:
            return x
        return b.mul(x, bernoulli(b, x, 1 - p, 1.0 if v1 else 1 / (1 - p)))


def bernoulli(b: Lowering, like: Value, chance: float, value: float = 1.0) -> Value:
    """A random tensor of ``value`` with that chance, else 0; the same elements in float32 and float64.

    The uniform numbers are whole multiples of 2^-24; so is the threshold, which makes the comparison exact in both types.
    """
    threshold = math.ceil((1 - chance) * 2**24) / 2**24
    uniform_numbers = b.draw("uniform", like.shape)
    keep = b.compare(uniform_numbers, b.full_like(uniform_numbers, threshold), "ge")
    return b.where(keep, b.full_like(like, value), b.full_like(like, 0))


@register
class BatchNormalization(Record):
    """``y = (x - mean) / sqrt(var + eps) * weight + bias`` for each of n features, the last axis: ``[B, n] -> [B, n]``.

    In training mean and (biased) variance are the batch's, taken over all axes but the last, and
    ``running = (1 - momentum) * running + momentum * new`` with the unbiased variance (of a batch of one row, for which Torch's is not
    a number, the biased one).  In evaluation the running statistics are used, and a single vector ``[n]`` is taken too.
    """

    name = "BatchNormalization"
    doc = "normalises each feature over the batch"
    source = "Ioffe and Szegedy (2015); " + TORCH + "convolution.md"
    differs = "more leading axes than one are taken too; eps is more than 0"
    rank: ClassVar[int] = 2
    """Axes of a batch."""
    one: ClassVar[str] = "[B, {n}], not one vector"
    """What an error says of what is no batch."""
    arguments = (Argument("n"), Argument("eps", "number", 1e-5), Argument("momentum", "number", 0.1), Argument("affine", "flag", True))
    samples: ClassVar[tuple[Sample, ...]] = (
        Sample((3,), (4, 3)),
        Sample((2, 1e-3, 0.3), (5, 2)),
        Sample((3, None, None, False), (4, 3)),
        Sample((2,), (3, 2, 2)),
        Sample((3,), (4, 3), evaluate=True),
        Sample((3,), (3,), evaluate=True),
    )

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        if a.eps <= 0:
            raise fail("E0422", f"nn.{self.name}: eps must be more than 0, got {a.eps:g}", origin)

    def parameters(self, a: SimpleNamespace) -> Mapping[str, ParameterSpec]:
        return {"weight": ParameterSpec((a.n,), uniform(0, 1)), "bias": ParameterSpec((a.n,), fill(0))} if a.affine else {}

    def buffers(self, a: SimpleNamespace) -> Mapping[str, ParameterSpec]:
        return {"running_mean": ParameterSpec((a.n,), fill(0)), "running_var": ParameterSpec((a.n,), fill(1))}

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.set(x, dtype=FLOAT)
        s.same(x, y)
        s.wish(x, 2)
        s.last_axis(x, m.args.n)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x = only(x)
        self.batch_if_training(b, m, x)
        flat = rows(b, x) if x.type.rank > 1 else x
        if b.training:
            y = self._normalised(b, m, flat)
        else:
            deviation = b.sqrt(b.shift_by(b.buffer(m, "running_var"), m.args.eps))
            centred = b.sub(flat, b.broadcast_last(b.buffer(m, "running_mean"), flat))
            y = b.div(centred, b.broadcast_last(deviation, flat))
        if m.args.affine:
            y = b.mul(y, b.broadcast_last(b.parameter(m, "weight"), y))
            y = b.add(y, b.broadcast_last(b.parameter(m, "bias"), y))
        return b.reshape(y, x.shape)

    def batch_if_training(self, b: Lowering, m: Module, x: Value) -> None:
        """E0317 for what is no batch, in training."""
        if b.training and x.type.rank < self.rank:
            raise fail("E0317", f"nn.{self.name} in training needs a batch {self.one.format(n=m.args.n)}", b.origin)

    def _normalised(self, b: Lowering, m: Module, x: Value) -> Value:
        """Normalised by the batch's own statistics, which also move the running ones."""
        count = x.shape[0]
        mean = mean_of(b, b.reduce_sum(x, [0]), count)
        centred = b.sub(x, b.broadcast_last(mean, x))
        squares = b.reduce_sum(b.mul(centred, centred), [0])
        variance = mean_of(b, squares, count)
        others = b.sub(b.size_value(count, x.dtype), b.full(1, (), x.dtype))
        others = b.maximum(others, b.full(1, (), x.dtype))
        unbiased = b.div(squares, b.broadcast(others, squares.shape, ()))
        self._move(b, m, "running_mean", b.stop_gradient(mean))
        self._move(b, m, "running_var", b.stop_gradient(unbiased))
        return b.div(centred, b.broadcast_last(b.sqrt(b.shift_by(variance, m.args.eps)), x))

    def _move(self, b: Lowering, m: Module, key: str, new: Value) -> None:
        rate = m.args.momentum
        b.set_buffer(m, key, b.add(b.scale(b.buffer(m, key), 1 - rate), b.scale(new, rate)))
