"""Modules that hand their input on and change its gradient: penalties on what they see, gradients that are cut off or only copied."""

from __future__ import annotations

import math
from types import SimpleNamespace

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Leaf, Module, Record, Sample, register
from graphspec.ir.core import TensorType, Value, tensor
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import DPNN, RNN, TORCH, Pointwise, mean_of, only
from graphspec.nn.compare import norm
from graphspec.nn.criterion import BY_CONSTRUCTOR, SIZE_AVERAGE
from graphspec.nn.recurrent import Stateful
from graphspec.shapes.cells import Cell, Mismatch
from graphspec.shapes.infer import Types, Use
from graphspec.sizes import product

IN_TRAINING = "nothing is added in evaluation"


def check_finite(record: Record, a: SimpleNamespace, origin: Origin, *names: str) -> None:
    """E0422 unless these arguments are finite numbers, or not given."""
    for name in names:
        value = getattr(a, name)
        if value is not None and not math.isfinite(value):
            raise fail("E0422", f"nn.{record.name}: {name} must be a finite number, got {value:g}", origin)


APART = Leaf((2, 3), gap=0.1)
CHANCES = Leaf((3, 4), 0.1, 0.9)


@register
class L1Penalty(Pointwise):
    """``y = x``; in training ``l1weight * |x|``, added up over all elements, is minimised beside the loss.

    With sizeAverage it is the mean that counts.  Without provideOutput the gradient of y goes no further.
    """

    name = "L1Penalty"
    doc = "y = x, and l1weight times the sum of |x| is minimised beside the loss"
    source = TORCH + "simple.md#l1penalty"
    differs = IN_TRAINING
    arguments = (Argument("l1weight", "number"), Argument("sizeAverage", "flag", False), Argument("provideOutput", "flag", True))
    samples = (Sample((0.5,), APART), Sample((2, True), Leaf((2, 2, 2), gap=0.1)), Sample((0.3, False, False), Leaf((4,), gap=0.1)),
               Sample((0.5,), APART, evaluate=True))

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        check_finite(self, a, origin, "l1weight")

    def apply(self, b: Lowering, m: Module, x: Value) -> Value:
        penalty = b.scale(b.abs(x), m.args.l1weight)
        b.also_minimise(mean_of(b, penalty, product(x.shape)) if m.args.sizeAverage else penalty)
        return x if m.args.provideOutput else b.hold(x)


@register
class CategoricalEntropy(Record):
    """``y = x``, rows of probabilities ``[B, n]``; in training ``-scale * H`` is minimised beside the loss, ``H = -sum(p * log(p + 1e-6))``
    of the mean row p, over B with sizeAverage.

    With ``minEntropy`` only where H is less.  What p is divided by, so that it adds up to 1, has no gradient.
    """

    name = "CategoricalEntropy"
    doc = "y = x, and the entropy of the mean row is made large beside the loss"
    source = DPNN + "CategoricalEntropy.lua"
    differs = f"{IN_TRAINING}; {BY_CONSTRUCTOR}"
    arguments = (Argument("scale", "number", 1.0), Argument("minEntropy", "number", None), SIZE_AVERAGE)
    samples = (Sample((), CHANCES), Sample((2, 1.5, False), Leaf((2, 3), 0.1, 0.9)), Sample((2, 0.1), Leaf((2, 3), 0.1, 0.9)),
               Sample((), CHANCES, evaluate=True))

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        check_finite(self, a, origin, "scale", "minEntropy")

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.like(x, y)
        if (dims := s.dims(x)) is not None and len(dims) != 2:
            raise Mismatch(f"rows of probabilities, [B, n], are wanted, got {s.show(x)}")

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x, a = only(x), m.args
        row = b.reduce_sum(x, [0])
        p = b.div(row, b.broadcast(b.hold(b.reduce_sum(row, [0])), row.shape, ()))
        entropy = b.neg(b.reduce_sum(b.mul(p, b.log(b.shift_by(p, 1e-6))), [0]))
        term = b.scale(entropy, -a.scale)
        if a.minEntropy is not None:
            low = b.compare(entropy, b.full_like(entropy, a.minEntropy), "lt")
            term = b.where(low, term, b.full_like(term, 0))
        b.also_minimise(mean_of(b, term, x.shape[0]) if a.sizeAverage else term)
        return x


@register
class NormStabilizer(Stateful):
    """``y = x``, ``[B, n]``; in training ``beta * (|x| - |x of the step before|)^2``, the mean over B, is minimised beside the loss, at all
    steps but the first.

    |x| is the length of a row.  Krueger and Memisevic (2016).
    """

    name = "NormStabilizer"
    doc = "y = x, and the rows' lengths are kept the same from step to step"
    carries = ("|x|",)
    source = RNN + "NormStabilizer"
    differs = IN_TRAINING + "; a row of zeros has no gradient; outside of nn.Sequencer there is no step before"
    arguments = (Argument("beta", "number", 1.0),)
    samples = (Sample((), (2, 3)), Sample((0.5,), (3, 2)), Sample((0.5,), (3, 2), evaluate=True))

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        check_finite(self, a, origin, "beta")

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.like(x, y)
        if (dims := s.dims(x)) is not None and len(dims) != 2:
            raise Mismatch(f"rows, [B, n], are wanted, got {s.show(x)}")

    def states(self, b: Lowering, use: Use) -> list[TensorType]:
        return [tensor(b.type_of(use.x).shape[:1], b.dtype), tensor((), b.dtype)]

    def step(self, b: Lowering, m: Module, x: Tree, state: list[Value]) -> tuple[Tree, list[Value]]:
        before, begun = state
        length = norm(b, only(x))
        change = b.mul(b.sub(length, before), b.broadcast(begun, length.shape, ()))
        b.also_minimise(b.scale(mean_of(b, b.mul(change, change), length.shape[0]), m.args.beta))
        return x, [length, b.full_like(begun, 1)]


@register
class ZeroGrad(Pointwise):
    """``y = x``, through which no gradient goes."""

    name = "ZeroGrad"
    doc = "y = x, through which no gradient goes"
    source = RNN + "ZeroGrad"
    samples = (Sample((), (2, 3)), Sample((), (4,)))

    def apply(self, b: Lowering, m: Module, x: Value) -> Value:
        return b.hold(x)


@register
class CopyGrad(Pointwise):
    """``y = x``, as nn.Identity: in Torch it has a tensor of its own for the gradient, which a program has anyway."""

    name = "CopyGrad"
    doc = "y = x"
    source = RNN + "CopyGrad"
    samples = (Sample((), (2, 3)), Sample((), (4,)))

    def apply(self, b: Lowering, m: Module, x: Value) -> Value:
        return x
