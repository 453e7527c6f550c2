"""Arithmetic on each element: powers, exponentials, constants added and multiplied."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Leaf, Module, Sample, register
from graphspec.ir.core import Value
from graphspec.lower import Lowering
from graphspec.nn.common import INPLACE, TORCH, Pointwise

SMOOTH = (Sample((), (5,)), Sample((), (2, 3)), Sample((), (2, 3, 2)), Sample((), Leaf((3, 4), -4.0, 4.0)))
POSITIVE = Leaf((2, 3), 0.3, 2.0)

MOST_FACTORS = 10**6
"""Powers up to this one are products, of twice as many factors as it has bits at most."""


@register
class Abs(Pointwise):
    """``y = |x|``."""

    name = "Abs"
    doc = "y = |x|"
    source = TORCH + "simple.md#abs"
    differs = "the gradient at 0 is 0, not 1"
    samples = (Sample((), Leaf((5,), gap=0.1)), Sample((), Leaf((2, 3), gap=0.1)), Sample((), Leaf((2, 3, 2), gap=0.1)))

    def apply(self, b: Lowering, m: Module, x: Value) -> Value:
        return b.abs(x)


@register
class Sqrt(Pointwise):
    """``y = sqrt(x)``; the gradient at 0 is 0, as in Torch, whose argument ``b`` changes nothing either."""

    name = "Sqrt"
    doc = "y = sqrt(x)"
    source = TORCH + "simple.md#sqrt"
    arguments = (Argument("b", "number", 0.0),)
    samples = (Sample((), Leaf((5,), 0.3, 2.0)), Sample((), POSITIVE), Sample((1e-3,), Leaf((2, 3, 2), 0.3, 2.0)))

    def apply(self, b: Lowering, m: Module, x: Value) -> Value:
        return from_zero(b, x, b.sqrt)


def from_zero(b: Lowering, x: Value, f: Callable[[Value], Value]) -> Value:
    """f, whose gradient at 0 is not a number: there value and gradient are 0."""
    zero = b.full_like(x, 0)
    none = b.compare(x, zero, "eq")
    return b.where(none, zero, f(b.where(none, b.full_like(x, 1), x)))


def power(b: Lowering, x: Value, p: float) -> Value:
    """``x ** p`` for a constant p.

    Whole powers are products, and take numbers of either sign; others are ``exp(p log(x))``, no number where x is negative.
    """
    if p < 0:
        return b.div(b.full_like(x, 1), power(b, x, -p))
    if p == 0:
        return b.full_like(x, 1)
    if not p.is_integer() or p > MOST_FACTORS:
        return from_zero(b, x, b.sqrt if p == 0.5 else lambda x: b.exp(b.scale(b.log(x), p)))
    found, square, left = None, x, int(p)
    while True:
        if left % 2:
            found = square if found is None else b.mul(found, square)
        left //= 2
        if not left:
            assert found is not None
            return found
        square = b.mul(square, square)


@register
class Power(Pointwise):
    """``y = x ** p``, p between -1e6 and 1e6; whole powers take numbers of either sign, others those from 0."""

    name = "Power"
    doc = "y = x ** p"
    source = TORCH + "simple.md#power"
    differs = "with a power between 0 and 1 the gradient at 0 is 0, not infinite"
    arguments = (Argument("p", "number", field="pow"),)
    samples = (Sample((2,), (5,)), Sample((3,), (2, 3)), Sample((0.5,), POSITIVE), Sample((-1.5,), POSITIVE),
               Sample((-2,), Leaf((4,), gap=0.4)), Sample((0,), (2, 2)), Sample((7,), Leaf((2, 3, 2), -1.5, 1.5)),
               Sample((101,), Leaf((3,), values=(-1.01, 0.98, 1.02))))

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        if not abs(a.p) <= 1e6:
            raise fail("E0422", f"nn.{self.name}: p must lie between -1e6 and 1e6, got {a.p:g}", origin)

    def apply(self, b: Lowering, m: Module, x: Value) -> Value:
        return power(b, x, m.args.p)


@register
class Exp(Pointwise):
    """``y = exp(x)``."""

    name = "Exp"
    doc = "y = exp(x)"
    source = TORCH + "simple.md#exp"
    samples = SMOOTH

    def apply(self, b: Lowering, m: Module, x: Value) -> Value:
        return b.exp(x)


@register
class Log(Pointwise):
    """``y = log(x)``."""

    name = "Log"
    doc = "y = log(x)"
    source = TORCH + "simple.md#log"
    samples = (Sample((), Leaf((5,), 0.5, 2.0)), Sample((), Leaf((2, 3), 0.2, 4.0)), Sample((), Leaf((2, 3, 2), 0.5, 2.0)))

    def apply(self, b: Lowering, m: Module, x: Value) -> Value:
        return b.log(x)


@register
class Square(Pointwise):
    """``y = x * x``."""

    name = "Square"
    doc = "y = x * x"
    source = TORCH + "simple.md#square"
    samples = SMOOTH

    def apply(self, b: Lowering, m: Module, x: Value) -> Value:
        return b.mul(x, x)


@register
class AddConstant(Pointwise):
    """``y = x + constant_scalar``."""

    name = "AddConstant"
    doc = "y = x + constant_scalar"
    source = TORCH + "simple.md#addconstant"
    arguments = (Argument("constant_scalar", "number"), INPLACE)
    samples = (Sample((1.5,), (5,)), Sample((-2, True), (2, 3)), Sample((0,), (2, 3, 2)))

    def apply(self, b: Lowering, m: Module, x: Value) -> Value:
        return b.shift_by(x, m.args.constant_scalar)


@register
class MulConstant(Pointwise):
    """``y = x * constant_scalar``."""

    name = "MulConstant"
    doc = "y = x * constant_scalar"
    source = TORCH + "simple.md#mulconstant"
    arguments = (Argument("constant_scalar", "number"), INPLACE)
    samples = (Sample((1.5,), (5,)), Sample((-2, True), (2, 3)), Sample((0,), (2, 3, 2)))

    def apply(self, b: Lowering, m: Module, x: Value) -> Value:
        return b.scale(x, m.args.constant_scalar)


@register
class SAdd(Pointwise):
    """``y = x + addend``, or with negate ``y = -(x + addend)``."""

    name = "SAdd"
    doc = "y = x + addend, or minus that"
    source = "https://github.com/Element-Research/rnn/blob/master/SAdd.lua"
    arguments = (Argument("addend", "number"), Argument("negate", "flag", False))
    samples = (Sample((1.5,), (5,)), Sample((-2, True), (2, 3)), Sample((0.5, False), (2, 3, 2)))

    def apply(self, b: Lowering, m: Module, x: Value) -> Value:
        y = b.shift_by(x, m.args.addend)
        return b.neg(y) if m.args.negate else y
