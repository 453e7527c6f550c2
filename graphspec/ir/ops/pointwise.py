"""Pointwise primitives: equal shapes in, the same shape out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphspec.ir.core import DTYPES, Op, TensorType, Value
from graphspec.ir.ops.record import Attrs, Blocks, Case, Given, Infer, Primitive, Types, Vjp, count, define, need, only

if TYPE_CHECKING:
    from graphspec.ir.builder import Builder

COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")


def _same(n: int, name: str, floats: bool = True) -> Infer:
    """n inputs of one type; float only unless told otherwise."""

    def infer(types: Types, attrs: Attrs, blocks: Blocks) -> list[TensorType]:
        count(types, n, name)
        need(all(t == types[0] for t in types), f"{name} wants equal types, got {', '.join(map(str, types))}")
        need(types[0].is_float or (not floats and types[0].dtype != "bool"), f"{name} of {types[0].dtype}")
        return [types[0]]

    return infer


def _cases(n: int, low: float = -2.0, high: float = 2.0) -> tuple[Case, ...]:
    return tuple(Case(((shape, "float64"),) * n, low=low, high=high) for shape in ((2, 3), (), (4,), (0, 2)))


def _define(name: str, doc: str, n: int, vjp: Vjp, floats: bool = True, low: float = -2.0, high: float = 2.0) -> None:
    define(Primitive(name, doc, _same(n, name, floats), vjp, pointwise=True, cases=_cases(n, low, high)))


def _through(b: Builder, op: Op, g: Given) -> list[Value | None]:
    return [only(g), only(g)]


_define("add", "a + b", 2, _through, floats=False)
_define("sub", "a - b", 2, lambda b, op, g: [only(g), b.neg(only(g))], floats=False)
_define("mul", "a * b", 2, lambda b, op, g: [b.mul(only(g), op.inputs[1]), b.mul(only(g), op.inputs[0])], floats=False)
_define("neg", "-a", 1, lambda b, op, g: [b.neg(only(g))], floats=False)
_define("exp", "e^a", 1, lambda b, op, g: [b.mul(only(g), op.output)])
_define("log", "natural logarithm", 1, lambda b, op, g: [b.div(only(g), op.inputs[0])], low=0.3, high=3.0)
_define("log1p", "log(1 + a)", 1, lambda b, op, g: [b.div(only(g), b.shift_by(op.inputs[0], 1))], low=-0.5)
_define("sqrt", "square root", 1, lambda b, op, g: [b.div(b.scale(only(g), 0.5), op.output)], low=0.3, high=3.0)
_define("abs", "|a|; its gradient at 0 is 0", 1, lambda b, op, g: [b.mul(only(g), b.sign(op.inputs[0]))], floats=False, low=0.2)


def _div(b: Builder, op: Op, g: Given) -> list[Value | None]:
    part = b.div(only(g), op.inputs[1])
    return [part, b.neg(b.mul(part, op.output))]


_define("div", "a / b", 2, _div, low=0.4)


def _tanh(b: Builder, op: Op, g: Given) -> list[Value | None]:
    y = op.output
    return [b.mul(only(g), b.sub(b.full_like(y, 1), b.mul(y, y)))]


def _sigmoid(b: Builder, op: Op, g: Given) -> list[Value | None]:
    y = op.output
    return [b.mul(only(g), b.mul(y, b.sub(b.full_like(y, 1), y)))]


_define("tanh", "hyperbolic tangent; the gradient goes through the output", 1, _tanh)
_define("sigmoid", "1 / (1 + e^-a); the gradient goes through the output", 1, _sigmoid)
define(Primitive("sign", "-1, 0 or 1", _same(1, "sign", floats=False), pointwise=True, cases=_cases(1)))
define(Primitive("stop_gradient", "a, as if it were constant; there until gradients are taken, then erased", _same(1, "stop_gradient"),
                 pointwise=True, cases=_cases(1)))


def _extreme(strict: str, loose: str) -> Vjp:
    """To the larger (smaller) input; half to each where they are equal, as PyTorch does."""

    def vjp(b: Builder, op: Op, g: Given) -> list[Value | None]:
        x, y = op.inputs
        d = only(g)
        zero, half = b.full_like(d, 0), b.scale(d, 0.5)
        tie = b.where(b.compare(x, y, "eq"), half, zero)
        return [b.where(b.compare(x, y, strict), d, tie), b.where(b.compare(x, y, loose), d, tie)]

    return vjp


_define("maximum", "the larger; at a tie half the gradient goes to each", 2, _extreme("gt", "lt"), floats=False)
_define("minimum", "the smaller; at a tie half the gradient goes to each", 2, _extreme("lt", "gt"), floats=False)


def _infer_compare(types: Types, attrs: Attrs, blocks: Blocks) -> list[TensorType]:
    count(types, 2, "compare")
    need(types[0] == types[1], f"compare wants equal types, got {types[0]} and {types[1]}")
    need(attrs.get("how") in COMPARISONS, f"compare: how = {attrs.get('how')!r}")
    return [TensorType(types[0].shape, "bool")]


define(Primitive("compare", "lt, le, gt, ge, eq, ne", _infer_compare, pointwise=True, takes="how",
                 cases=tuple(Case((((2, 3), dtype),) * 2, {"how": how}, index=3) for how in COMPARISONS for dtype in ("float64", "int32"))))


def _infer_logical(types: Types, attrs: Attrs, blocks: Blocks) -> list[TensorType]:
    count(types, 2, "logical")
    need(types[0] == types[1] and types[0].dtype == "bool", "logical wants two bools of one shape")
    need(attrs.get("how") in ("and", "or"), f"logical: how = {attrs.get('how')!r}")
    return [types[0]]


define(Primitive("logical", "and, or", _infer_logical, pointwise=True, takes="how",
                 cases=tuple(Case((((2, 3), "bool"),) * 2, {"how": how}) for how in ("and", "or"))))


def _infer_where(types: Types, attrs: Attrs, blocks: Blocks) -> list[TensorType]:
    count(types, 3, "where")
    need(types[0].dtype == "bool" and types[0].shape == types[1].shape, f"where: condition {types[0]} for {types[1]}")
    need(types[1] == types[2], f"where wants equal types, got {types[1]} and {types[2]}")
    return [types[1]]


def _where(b: Builder, op: Op, g: Given) -> list[Value | None]:
    d = only(g)
    zero = b.full_like(d, 0)
    return [None, b.where(op.inputs[0], d, zero), b.where(op.inputs[0], zero, d)]


define(Primitive("where", "a where the condition holds, else b", _infer_where, _where, pointwise=True,
                 cases=(Case((((2, 3), "bool"), ((2, 3), "float64"), ((2, 3), "float64"))),)))


def _infer_cast(types: Types, attrs: Attrs, blocks: Blocks) -> list[TensorType]:
    count(types, 1, "cast")
    need(attrs.get("dtype") in DTYPES, f"cast to {attrs.get('dtype')!r}")
    return [TensorType(types[0].shape, attrs["dtype"])]


def _cast(b: Builder, op: Op, g: Given) -> list[Value | None]:
    return [b.cast(only(g), op.inputs[0].dtype) if op.inputs[0].type.is_float else None]


define(Primitive("cast", "another dtype; floats are cut towards 0 on the way to integers", _infer_cast, _cast, pointwise=True,
                 takes="dtype", cases=(Case((((2, 3), "float64"),), {"dtype": "float64"}), Case((((3,), "bool"),), {"dtype": "float64"}),
                        Case((((3,), "int32"),), {"dtype": "float64"}, index=5))))
