"""Reductions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from graphspec.ir.core import Op, TensorType, Value
from graphspec.ir.ops.record import Attrs, Blocks, Case, Given, Primitive, Types, count, define, need, only

if TYPE_CHECKING:
    from graphspec.ir.builder import Builder


def _infer(types: Types, attrs: Attrs, blocks: Blocks) -> list[TensorType]:
    count(types, 1, "reduce")
    axes = attrs["axes"]
    need(len(set(axes)) == len(axes) and all(0 <= a < types[0].rank for a in axes), f"reduction of {types[0]} over {axes}")
    need(types[0].dtype != "bool", "reduction of bool")
    return [types[0].with_shape([n for i, n in enumerate(types[0].shape) if i not in axes])]


def _spread(b: Builder, x: Value, reduced: Value, axes: Sequence[int]) -> Value:
    """A reduction's result (or its cotangent) back over the axes that went away."""
    return b.broadcast(reduced, x.shape, [i for i in range(x.type.rank) if i not in axes])


def _sum(b: Builder, op: Op, g: Given) -> list[Value | None]:
    return [_spread(b, op.inputs[0], only(g), op.attrs["axes"])]


def _max(b: Builder, op: Op, g: Given) -> list[Value | None]:
    x, axes = op.inputs[0], op.attrs["axes"]
    hit = b.cast(b.compare(x, _spread(b, x, op.output, axes), "eq"), x.dtype)
    share = b.div(only(g), b.reduce_sum(hit, axes))
    return [b.mul(hit, _spread(b, x, share, axes))]


AXES = (
    Case((((2, 3, 4), "float64"),), {"axes": (1,)}),
    Case((((2, 3), "float64"),), {"axes": (0, 1)}),
    Case((((3,), "float64"),), {"axes": (0,)}),
)

define(Primitive("reduce_sum", "sum over axes", _infer, _sum, takes="axes", cases=(*AXES, Case((((0, 3), "float64"),), {"axes": (0,)}))))
define(Primitive("reduce_max", "largest over axes; the gradient is shared evenly among equals", _infer, _max, takes="axes", cases=AXES))


def _infer_argmax(types: Types, attrs: Attrs, blocks: Blocks) -> list[TensorType]:
    count(types, 1, "argmax")
    need(types[0].rank > 0, "argmax of a scalar")
    return [TensorType(types[0].shape[:-1], "int32")]


define(
    Primitive(
        "argmax",
        "position of the largest along the last axis, the first of equals",
        _infer_argmax,
        cases=(Case((((2, 5), "float64"),)), Case((((4,), "float64"),))),
    )
)
