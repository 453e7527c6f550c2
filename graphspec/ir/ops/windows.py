"""Windows along one axis, and what lies under windows added up: each is the gradient of the other.

Convolutions are products of windows with a weight, and poolings are reductions of windows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphspec.ir.core import Op, TensorType, Value
from graphspec.ir.ops.record import Attrs, Blocks, Case, Given, Primitive, Types, count, define, need, only
from graphspec.sizes import Size, size

if TYPE_CHECKING:
    from graphspec.ir.builder import Builder


def _reach(name: str, length: Size, k: Size, attrs: Attrs, n: Size) -> None:
    """The last window must end inside the axis, as far as sizes tell."""
    taken = (length - 1) * attrs["stride"] + (k - 1) * attrs["dilation"] + 1
    number, whole, some = taken.value, n.value, length.value != 0 and k.value != 0
    need(not some or number is None or whole is None or number <= whole, f"{name}: {length} windows of {k} take {taken} elements of {n}")


def _infer_windows(types: Types, attrs: Attrs, blocks: Blocks) -> list[TensorType]:
    count(types, 1, "windows")
    axis, length, k = attrs["axis"], attrs["length"], attrs["size"]
    need(axis < types[0].rank, f"windows: axis {axis} of {types[0]}")
    _reach("windows", length, k, attrs, types[0].shape[axis])
    return [types[0].with_shape((*types[0].shape[:axis], length, k, *types[0].shape[axis + 1 :]))]


def _windows(b: Builder, op: Op, g: Given) -> list[Value | None]:
    a = op.attrs
    return [b.overlap(only(g), a["axis"], op.inputs[0].shape[a["axis"]], a["stride"], a["dilation"])]


define(
    Primitive(
        "windows",
        "windows of one axis: element j of window i is element i * stride + j * dilation",
        _infer_windows,
        _windows,
        view=True,
        takes="axis length size stride dilation",
        cases=(
            Case((((2, 6, 2), "float64"),), {"axis": 1, "length": size(4), "size": size(3), "stride": 1, "dilation": 1}),
            Case((((7, 2), "float64"),), {"axis": 0, "length": size(3), "size": size(2), "stride": 2, "dilation": 1}),
            Case((((2, 8), "float64"),), {"axis": 1, "length": size(2), "size": size(3), "stride": 3, "dilation": 2}),
            Case((((5,), "float64"),), {"axis": 0, "length": size(1), "size": size(4), "stride": 1, "dilation": 1}),
        ),
    )
)


def _infer_overlap(types: Types, attrs: Attrs, blocks: Blocks) -> list[TensorType]:
    count(types, 1, "overlap")
    axis, n = attrs["axis"], attrs["size"]
    need(axis + 1 < types[0].rank and types[0].is_float, f"overlap: axes {axis} and {axis + 1} of {types[0]}")
    length, k = types[0].shape[axis : axis + 2]
    _reach("overlap", length, k, attrs, n)
    return [types[0].with_shape((*types[0].shape[:axis], n, *types[0].shape[axis + 2 :]))]


def _overlap(b: Builder, op: Op, g: Given) -> list[Value | None]:
    a = op.attrs
    length, k = op.inputs[0].shape[a["axis"] : a["axis"] + 2]
    return [b.windows(only(g), a["axis"], length, k, a["stride"], a["dilation"])]


define(
    Primitive(
        "overlap",
        "windows put back in their places on an axis of that size, added up where they overlap",
        _infer_overlap,
        _overlap,
        takes="axis size stride dilation",
        cases=(
            Case((((2, 4, 3, 2), "float64"),), {"axis": 1, "size": size(6), "stride": 1, "dilation": 1}),
            Case((((3, 2, 2), "float64"),), {"axis": 0, "size": size(7), "stride": 2, "dilation": 1}),
            Case((((2, 2, 3), "float64"),), {"axis": 1, "size": size(8), "stride": 3, "dilation": 2}),
            Case((((2, 5), "float64"),), {"axis": 0, "size": size(6), "stride": 1, "dilation": 1}),
            Case((((3, 1, 2), "float64"),), {"axis": 0, "size": size(5), "stride": 2, "dilation": 1}),
        ),
    )
)
