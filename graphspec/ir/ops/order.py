"""Along the last axis, in order: the largest elements, running sums."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphspec.ir.core import Op, TensorType, Value
from graphspec.ir.ops.record import Attrs, Blocks, Case, Given, Primitive, Types, count, define, need, only
from graphspec.sizes import size

if TYPE_CHECKING:
    from graphspec.ir.builder import Builder


def _infer_top_k(types: Types, attrs: Attrs, blocks: Blocks) -> list[TensorType]:
    count(types, 1, "top_k")
    need(types[0].rank > 0 and types[0].is_float, f"top_k of {types[0]}")
    left_out = (types[0].shape[-1] - attrs["size"]).value
    need(left_out is None or left_out >= 0, f"top_k: the {attrs['size']} largest of {types[0].shape[-1]}")
    shape = (*types[0].shape[:-1], attrs["size"])
    return [types[0].with_shape(shape), TensorType(shape, "int32")]


def _top_k(b: Builder, op: Op, g: Given) -> list[Value | None]:
    (x,), (_, positions) = op.inputs, op.outputs
    if g[0] is None:
        return [None]
    return [b.reduce_sum(b.place(positions, g[0], x.shape[-1]), [x.type.rank - 1])]


define(
    Primitive(
        "top_k",
        "the largest along the last axis, largest first, of equals the first first; and their positions",
        _infer_top_k,
        _top_k,
        takes="size",
        cases=(
            Case((((2, 5), "float64"),), {"size": size(3)}),
            Case((((4,), "float64"),), {"size": size(4)}),
            Case((((2, 3, 40), "float64"),), {"size": size(2)}),
            Case((((3, 2), "float64"),), {"size": size(1)}),
        ),
    )
)


def _infer_cumsum(types: Types, attrs: Attrs, blocks: Blocks) -> list[TensorType]:
    count(types, 1, "cumsum")
    need(types[0].rank > 0 and types[0].is_float, f"cumsum of {types[0]}")
    return [types[0]]


def _cumsum(b: Builder, op: Op, g: Given) -> list[Value | None]:
    return [b.cumsum(only(g), not op.attrs["reverse"])]


define(
    Primitive(
        "cumsum",
        "each element of the last axis and all before it (reverse: all after it) added up",
        _infer_cumsum,
        _cumsum,
        takes="reverse",
        cases=(
            Case((((2, 5), "float64"),), {"reverse": False}),
            Case((((2, 3, 4), "float64"),), {"reverse": True}),
            Case((((4,), "float64"),), {"reverse": False}),
        ),
    )
)
