"""Transfer functions with a bend, a threshold or a slope of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Leaf, Module, ParameterSpec, Record, Sample, register
from graphspec.graph.parameter import fill
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import DPNN, INPLACE, TORCH, Pointwise, axis_of, only, positive, unless_known, with_gradient_of, with_size
from graphspec.nn.transfer import softplus
from graphspec.shapes.cells import FLOAT, Cell, Mismatch
from graphspec.shapes.infer import Types

BENT = (Leaf((5,), -2.0, 2.0, gap=0.1), Leaf((2, 3), -2.0, 2.0, gap=0.1), Leaf((2, 3, 2), -2.0, 2.0, gap=0.1))
"""Inputs that keep away from a bend at 0."""


def above(b: Lowering, x: Value, limit: float, then: Value, otherwise: Value) -> Value:
    """``then`` where x is more than the limit, or NaN."""
    return b.where(b.compare(x, b.full_like(x, limit), "le"), otherwise, then)


class Bounded(Pointwise):
    """Base of what keeps x between two bounds; the gradient is 0 outside of them and at them."""

    def bounds(self, a: SimpleNamespace) -> tuple[float, float]:
        return a.min_value, a.max_value

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        low, high = self.bounds(a)
        if not low < high:
            raise fail("E0422", f"nn.{self.name}: the upper bound must be more than the lower, got {low:g} and {high:g}", origin)

    def apply(self, b: Lowering, m: Module, x: Value) -> Value:
        low, high = self.bounds(m.args)
        inside = b.where(b.compare(x, b.full_like(x, high), "ge"), b.full_like(x, high), x)
        return above(b, x, low, inside, b.full_like(x, low))


@register
class HardTanh(Bounded):
    """``y = min(max(x, min_value), max_value)``."""

    name = "HardTanh"
    doc = "y = min(max(x, min_value), max_value)"
    source = TORCH + "transfer.md#hardtanh"
    arguments = (Argument("min_value", "number", -1.0, field="min_val"), Argument("max_value", "number", 1.0, field="max_val"), INPLACE)
    samples = (Sample((), Leaf((6,), values=(-2.0, -0.9, -0.3, 0.4, 0.8, 1.7))),
               Sample((-0.5, 2.0), Leaf((2, 3), values=(-2.0, -0.9, -0.3, 0.4, 1.8, 2.7))),
               Sample((-2.0, 0.5, True), Leaf((1, 2, 3), values=(-2.5, -1.9, -0.3, 0.4, 0.8, 1.7))))


@register
class Clamp(Bounded):
    """HardTanh by another name, without inplace; as in Torch's code the bounds are -1 and 1 unless given."""

    name = "Clamp"
    doc = "y = min(max(x, min_value), max_value)"
    source = TORCH + "simple.md#clamp"
    arguments = HardTanh.arguments[:2]
    samples = (Sample((), Leaf((3,), values=(-1.7, 0.4, 1.2))), Sample((-0.5, 1.5), Leaf((6,), values=(-2.0, -0.9, -0.3, 0.4, 0.8, 1.7))),
               Sample((0.0, 1.0), Leaf((2, 3), values=(-2.0, -0.9, 0.3, 0.4, 1.8, 2.7))))


@register
class Clip(Pointwise):
    """``y = max(min(x, maxval), minval)``; the gradient goes through as if y were x, outside of the bounds too."""

    name = "Clip"
    doc = "y = max(min(x, maxval), minval), with the gradient of y = x"
    source = DPNN + "Clip.lua"
    arguments = (Argument("minval", "number"), Argument("maxval", "number"))
    samples = (Sample((-2, 3), (5,)), Sample((-1.5, 1.5), (2, 3)))  # within the bounds; beyond them: tests/test_record_values.py

    def apply(self, b: Lowering, m: Module, x: Value) -> Value:
        y = b.maximum(b.minimum(x, b.full_like(x, m.args.maxval)), b.full_like(x, m.args.minval))
        return with_gradient_of(b, y, x)


@register
class ReLU6(Bounded):
    """``y = min(max(x, 0), 6)``."""

    name = "ReLU6"
    doc = "y = min(max(x, 0), 6)"
    source = TORCH + "transfer.md#relu6"
    arguments = (INPLACE,)
    samples = (Sample((), Leaf((4,), values=(-1.0, 0.5, 5.5, 7.0))), Sample((True,), Leaf((2, 2), values=(-1.0, 0.5, 5.5, 7.0))))

    def bounds(self, a: SimpleNamespace) -> tuple[float, float]:
        return 0.0, 6.0


class Shrink(Pointwise):
    """Base of the shrinking functions: 0 where ``|x| <= lambda``."""

    differs = "a lambda below 0 is refused"
    arguments = (Argument("lambda", "number", 0.5),)
    samples = (Sample((), Leaf((6,), values=(-2.0, -0.9, -0.3, 0.4, 0.8, 1.7))),
               Sample((1.0,), Leaf((2, 3), values=(-2.0, -0.9, -0.3, 0.4, 1.8, 2.7))))

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        width = self.width(a)
        if width < 0:
            raise fail("E0422", f"nn.{self.name}: lambda must be at least 0, got {width:g}", origin)

    @staticmethod
    def width(a: SimpleNamespace) -> float:
        return float(vars(a)["lambda"])  # a word of Python's own


@register
class HardShrink(Shrink):
    """``y = x`` where ``|x| > lambda``, else 0."""

    name = "HardShrink"
    doc = "y = x if |x| > lambda else 0"
    source = TORCH + "transfer.md#hardshrink"

    def apply(self, b: Lowering, m: Module, x: Value) -> Value:
        return above(b, b.abs(x), self.width(m.args), x, b.full_like(x, 0))


@register
class SoftShrink(Shrink):
    """``y = x - lambda`` above lambda, ``x + lambda`` below -lambda, else 0."""

    name = "SoftShrink"
    doc = "y = sign(x) * max(|x| - lambda, 0)"
    source = TORCH + "transfer.md#softshrink"

    def apply(self, b: Lowering, m: Module, x: Value) -> Value:
        width = self.width(m.args)
        return above(b, b.abs(x), width, b.sub(x, b.scale(b.sign(x), width)), b.full_like(x, 0))


@register
class SoftSign(Pointwise):
    """``y = x / (1 + |x|)``."""

    name = "SoftSign"
    doc = "y = x / (1 + |x|)"
    source = TORCH + "transfer.md#softsign"
    samples = tuple(Sample((), leaf) for leaf in BENT)

    def apply(self, b: Lowering, m: Module, x: Value) -> Value:
        return b.div(x, b.shift_by(b.abs(x), 1))


@register
class TanhShrink(Pointwise):
    """``y = x - tanh(x)``."""

    name = "TanhShrink"
    doc = "y = x - tanh(x)"
    source = TORCH + "transfer.md"
    samples = (Sample((), (5,)), Sample((), (2, 3)), Sample((), (2, 3, 2)))

    def apply(self, b: Lowering, m: Module, x: Value) -> Value:
        return b.sub(x, b.tanh(x))


@register
class LogSigmoid(Pointwise):
    """``y = log(1 / (1 + exp(-x)))``, computed so that nothing overflows."""

    name = "LogSigmoid"
    doc = "y = log(1 / (1 + exp(-x)))"
    source = TORCH + "transfer.md#logsigmoid"
    samples = (Sample((), (5,)), Sample((), Leaf((2, 3), -40.0, 40.0)), Sample((), (2, 3, 2)))

    def apply(self, b: Lowering, m: Module, x: Value) -> Value:
        return b.neg(softplus(b, b.neg(x)))


@register
class ELU(Pointwise):
    """``y = x`` above 0, else ``alpha * (exp(x) - 1)``; Clevert, Unterthiner and Hochreiter (2016)."""

    name = "ELU"
    doc = "y = x if x > 0 else alpha * (exp(x) - 1)"
    source = TORCH + "transfer.md#elu"
    arguments = (Argument("alpha", "number", 1.0), INPLACE)
    samples = (*(Sample((), leaf) for leaf in BENT), Sample((0.1, True), BENT[1]))

    def apply(self, b: Lowering, m: Module, x: Value) -> Value:
        bounded = b.minimum(x, b.full_like(x, 0))  # where x is large it is not used, but would overflow
        return above(b, x, 0, x, b.scale(b.shift_by(b.exp(bounded), -1), m.args.alpha))


def leaky(b: Lowering, x: Value, slope: Value) -> Value:
    """x, multiplied by a slope where it is at most 0."""
    return above(b, x, 0, x, b.mul(x, slope))


@register
class LeakyReLU(Pointwise):
    """``y = x`` above 0, else ``negval * x``.  A flag in the place of ``negval`` stands for 0.01, as in Torch."""

    name = "LeakyReLU"
    doc = "y = x if x > 0 else negval * x"
    source = TORCH + "transfer.md#leakyrelu"
    arguments = (Argument("negval", "number", 0.01), INPLACE)
    samples = (*(Sample((), leaf) for leaf in BENT), Sample((0.3, True), BENT[1]), Sample((True,), BENT[1]))

    def apply(self, b: Lowering, m: Module, x: Value) -> Value:
        return leaky(b, x, b.full_like(x, m.args.negval))

    def bind(self, args: Sequence[Any], origin: Origin) -> SimpleNamespace:
        return super().bind([None, *args[1:]] if args and isinstance(args[0], bool) else args, origin)


@register
class RReLU(Pointwise):
    """``y = x`` above 0, else ``r * x``: in training r is drawn for each element from ``[l, u)``, in evaluation it is ``(l + u) / 2``.

    Xu, Wang, Chen and Li (2015).
    """

    name = "RReLU"
    doc = "y = x if x > 0 else r * x, r drawn from [l, u) in training, (l + u) / 2 in evaluation"
    source = TORCH + "transfer.md#rrelu"
    arguments = (Argument("l", "number", 1 / 8, field="lower"), Argument("u", "number", 1 / 3, field="upper"), INPLACE)
    samples = (Sample((0.25, 0.25), BENT[1]), *(Sample((), leaf, evaluate=True) for leaf in BENT),
               Sample((0.2, 0.6, True), BENT[1], evaluate=True))

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        if not 0 <= a.l <= a.u:
            raise fail("E0422", f"nn.{self.name}: 0 <= l <= u is wanted, got l = {a.l:g}, u = {a.u:g}", origin)

    def apply(self, b: Lowering, m: Module, x: Value) -> Value:
        low, high = m.args.l, m.args.u
        if not b.training or low == high:
            return leaky(b, x, b.full_like(x, (low + high) / 2))
        return leaky(b, x, b.shift_by(b.scale(b.draw("uniform", x.shape), high - low), low))


@register
class PReLU(Record):
    """``y = x`` above 0, else ``weight * x``, weight being one number, or with ``nOutputPlane`` one for each plane.

    Planes are axis 2 (``[B, n, ...]``), or the only axis of a vector.  The weight begins as 0.25.  He, Zhang, Ren and Sun (2015).
    """

    name = "PReLU"
    doc = "y = x if x > 0 else weight * x, weight learnt"
    source = TORCH + "transfer.md#prelu"
    arguments = (Argument("nOutputPlane", "int", 0),)
    samples = (Sample((), BENT[0]), Sample((), BENT[2]), Sample((3,), BENT[1]), Sample((3,), Leaf((2, 3, 2, 2), gap=0.1)),
               Sample((5,), BENT[0]))

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        if a.nOutputPlane < 0:
            raise fail("E0422", f"nn.{self.name}: nOutputPlane must be at least 0, got {a.nOutputPlane}", origin)

    def parameters(self, a: SimpleNamespace) -> Mapping[str, ParameterSpec]:
        return {"weight": ParameterSpec((a.nOutputPlane or 1,), fill(0.25))}

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.like(x, y)
        dims = s.dims(x)
        if m.args.nOutputPlane and dims is not None:
            if not dims:
                raise Mismatch("at least one axis is wanted, for the planes")
            s.equate(dims[min(1, len(dims) - 1)], m.args.nOutputPlane)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x, weight = only(x), b.parameter(m, "weight")
        planes = [min(1, x.type.rank - 1)] if m.args.nOutputPlane else []
        return leaky(b, x, b.broadcast(weight if planes else b.reshape(weight, ()), x.shape, planes))


@register
class CReLU(Record):
    """``{max(x, 0), max(-x, 0)}`` joined along the first axis that is not the batch's: ``[B, n, ...] -> [B, 2n, ...]``; with ``nInputDims``
    axes there is no batch, ``[n, ...] -> [2n, ...]``.

    Shang, Sohn, Almeida and Lee (2016).
    """

    name = "CReLU"
    doc = "the positive part of x, then that of -x, joined along the features"
    source = TORCH + "transfer.md#crelu"
    arguments = (Argument("nInputDims"), INPLACE)
    samples = (Sample((1,), BENT[0]), Sample((1,), BENT[1]), Sample((3,), Leaf((2, 3, 2, 2), gap=0.1)), Sample((3, True), BENT[2]))

    @staticmethod
    def axis(m: Module, rank: int) -> int:
        if rank not in (m.args.nInputDims, m.args.nInputDims + 1):
            raise Mismatch(f"{m.args.nInputDims} axes are wanted, or one more for the batch, got {rank}")
        return rank - int(m.args.nInputDims)

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.set(x, dtype=FLOAT)
        s.wish(x, m.args.nInputDims + 1)
        dims = s.dims(x)
        if dims is not None:
            axis = self.axis(m, len(dims))
            s.set(y, with_size(dims, axis, dims[axis] * 2), FLOAT)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x = only(x)
        return b.concat([positive(b, x), positive(b, b.neg(x))], self.axis(m, x.type.rank))


@register
class Threshold(Pointwise):
    """``y = x`` where ``x > th``, else v."""

    name = "Threshold"
    doc = "y = x if x > th else v"
    source = TORCH + "transfer.md"
    differs = "v may be more than th with inplace too, which means nothing here"
    arguments = (Argument("th", "number", 1e-6, field="threshold"), Argument("v", "number", 0.0, field="val"), INPLACE)
    samples = (Sample((), BENT[0]), Sample((0.0, -1.0), BENT[1]), Sample((1.0, 7.0, True), Leaf((3,), values=(0.2, 1.4, -1.0))))

    def apply(self, b: Lowering, m: Module, x: Value) -> Value:
        return above(b, x, m.args.th, x, b.full_like(x, m.args.v))


@register
class GatedLinearUnit(Record):
    """``y = a * sigmoid(c)``, a and c the halves of x along ``dim`` (the last axis where it is not given): ``[..., 2n] -> [..., n]``.

    Dauphin et al. (2016).
    """

    name = "GatedLinearUnit"
    doc = "y = a * sigmoid(c), a and c the halves of x along an axis"
    source = TORCH + "transfer.md#gatedlinearunit"
    differs = "the size of the halved axis has to be known as a number, or be written as two of something (`2*n`)"
    arguments = (Argument("dim", "int", None),)
    samples = (Sample((), (4,)), Sample((), (2, 6)), Sample((1,), (4, 3)), Sample((2,), (2, 4, 3)))

    @staticmethod
    def axis(m: Module, rank: int) -> int:
        return axis_of(-1 if m.args.dim is None else m.args.dim, rank)

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.set(x, dtype=FLOAT)
        s.wish(x, 2)
        dims = s.dims(x)
        if dims is None:
            halves = s.dims(y)
            if halves is not None:
                axis = self.axis(m, len(halves))
                s.set(x, with_size(halves, axis, halves[axis] * 2))
            return
        axis = self.axis(m, len(dims))
        half = dims[axis].divide(2)
        if half is not None:
            s.set(y, with_size(dims, axis, half), FLOAT)
        elif dims[axis].value is not None:
            raise Mismatch(f"an axis of {dims[axis]} has no halves")
        else:
            unless_known(s, m, "the size of the axis that is halved has to be known", s.show(x))

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x = only(x)
        axis = self.axis(m, x.type.rank)
        half = x.shape[axis].divide(2)
        assert half is not None
        return b.mul(b.slice(x, axis, 0, half), b.sigmoid(b.slice(x, axis, half, half)))
