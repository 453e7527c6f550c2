"""Constants, and primitives that move elements without computing on them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from graphspec.ir.core import Op, TensorType, Value, inverse
from graphspec.ir.ops.record import Attrs, Blocks, Case, Given, Primitive, Types, count, define, need, only
from graphspec.sizes import Size, product, size

if TYPE_CHECKING:
    from graphspec.ir.builder import Builder


def _axis(types: Types, attrs: Attrs, name: str) -> int:
    axis = attrs.get("axis")
    need(isinstance(axis, int) and 0 <= axis < types[0].rank, f"{name}: axis {axis} of {types[0]}")
    assert isinstance(axis, int)
    return axis


def _infer_full(types: Types, attrs: Attrs, blocks: Blocks) -> list[TensorType]:
    count(types, 0, "full")
    return [TensorType(tuple(attrs["shape"]), attrs["dtype"])]


define(
    Primitive(
        "full",
        "one constant in every element",
        _infer_full,
        view=True,
        takes="value shape dtype",
        cases=(
            Case((), {"value": 1.5, "shape": (size(2), size(3)), "dtype": "float64"}),
            Case((), {"value": 1, "shape": (), "dtype": "bool"}),
            Case((), {"value": 7, "shape": (size(0),), "dtype": "int32"}),
        ),
    )
)


def _infer_iota(types: Types, attrs: Attrs, blocks: Blocks) -> list[TensorType]:
    count(types, 0, "iota")
    return [TensorType((attrs["size"],), attrs["dtype"])]


define(Primitive("iota", "0, 1, ... size-1", _infer_iota, takes="size dtype", cases=(Case((), {"size": size(4), "dtype": "int32"}),)))


def _infer_size(types: Types, attrs: Attrs, blocks: Blocks) -> list[TensorType]:
    count(types, 0, "size")
    return [TensorType((), attrs["dtype"])]


define(Primitive("size", "a size as a scalar", _infer_size, takes="size dtype", cases=(Case((), {"size": size(4), "dtype": "float64"}),)))


def _infer_reshape(types: Types, attrs: Attrs, blocks: Blocks) -> list[TensorType]:
    count(types, 1, "reshape")
    difference = product(types[0].shape) - product(attrs["shape"])  # two forms may be equal by one of the program's guards
    need(difference.value in (0, None), f"reshape of {types[0]} to {list(attrs['shape'])}")
    return [types[0].with_shape(attrs["shape"])]


def _reshape(b: Builder, op: Op, g: Given) -> list[Value | None]:
    return [b.reshape(only(g), op.inputs[0].shape)]


define(
    Primitive(
        "reshape",
        "the same elements in row-major order under another shape",
        _infer_reshape,
        _reshape,
        view=True,
        takes="shape",
        cases=(Case((((2, 6), "float64"),), {"shape": (size(3), size(4))}), Case((((1,), "float64"),), {"shape": ()})),
    )
)


def _infer_transpose(types: Types, attrs: Attrs, blocks: Blocks) -> list[TensorType]:
    count(types, 1, "transpose")
    axes = attrs["axes"]
    need(sorted(axes) == list(range(types[0].rank)), f"transpose of {types[0]} by {axes}")
    return [types[0].with_shape([types[0].shape[a] for a in axes])]


def _transpose(b: Builder, op: Op, g: Given) -> list[Value | None]:
    return [b.transpose(only(g), inverse(op.attrs["axes"]))]


define(
    Primitive(
        "transpose",
        "axis i of the result is axis axes[i]",
        _infer_transpose,
        _transpose,
        view=True,
        takes="axes",
        cases=(Case((((2, 3), "float64"),), {"axes": (1, 0)}), Case((((2, 3, 4), "float64"),), {"axes": (2, 0, 1)})),
    )
)


def _infer_broadcast(types: Types, attrs: Attrs, blocks: Blocks) -> list[TensorType]:
    count(types, 1, "broadcast")
    axes, shape = attrs["axes"], attrs["shape"]
    fits = len(axes) == types[0].rank and all(a < b for a, b in itertools.pairwise(axes))
    need(
        fits and all(0 <= a < len(shape) and shape[a] == n for a, n in zip(axes, types[0].shape, strict=True)),
        f"broadcast of {types[0]} to {list(shape)} along {axes}",
    )
    return [types[0].with_shape(shape)]


def _broadcast(b: Builder, op: Op, g: Given) -> list[Value | None]:
    return [b.reduce_sum(only(g), [i for i in range(len(op.attrs["shape"])) if i not in op.attrs["axes"]])]


define(
    Primitive(
        "broadcast",
        "x repeated along the axes that axes does not name",
        _infer_broadcast,
        _broadcast,
        view=True,
        takes="shape axes",
        cases=(
            Case((((3,), "float64"),), {"shape": (size(2), size(3)), "axes": (1,)}),
            Case((((), "float64"),), {"shape": (size(2),), "axes": ()}),
            Case((((2, 4), "float64"),), {"shape": (size(2), size(3), size(4)), "axes": (0, 2)}),
        ),
    )
)


def _infer_slice(types: Types, attrs: Attrs, blocks: Blocks) -> list[TensorType]:
    count(types, 1, "slice")
    axis = _axis(types, attrs, "slice")
    total, start, length = types[0].shape[axis].value, attrs["start"].value, attrs["length"].value
    if total is not None and start is not None and length is not None:
        need(start >= 0 and length >= 0 and start + length <= total, f"slice {start}:{start + length} of axis {axis} of {types[0]}")
    shape = list(types[0].shape)
    shape[axis] = attrs["length"]
    return [types[0].with_shape(shape)]


def _slice(b: Builder, op: Op, g: Given) -> list[Value | None]:
    axis, start, length = op.attrs["axis"], op.attrs["start"], op.attrs["length"]
    return [b.pad(only(g), axis, start, op.inputs[0].shape[axis] - start - length)]


define(
    Primitive(
        "slice",
        "length elements of one axis from start",
        _infer_slice,
        _slice,
        view=True,
        takes="axis start length",
        cases=(
            Case((((5, 2), "float64"),), {"axis": 0, "start": size(1), "length": size(3)}),
            Case((((2, 4), "float64"),), {"axis": 1, "start": size(0), "length": size(2)}),
        ),
    )
)


def _infer_pad(types: Types, attrs: Attrs, blocks: Blocks) -> list[TensorType]:
    count(types, 1, "pad")
    axis = _axis(types, attrs, "pad")
    shape = list(types[0].shape)
    shape[axis] = shape[axis] + attrs["before"] + attrs["after"]
    return [types[0].with_shape(shape)]


def _pad(b: Builder, op: Op, g: Given) -> list[Value | None]:
    axis = op.attrs["axis"]
    return [b.slice(only(g), axis, op.attrs["before"], op.inputs[0].shape[axis])]


define(
    Primitive(
        "pad",
        "zeros before and after along one axis",
        _infer_pad,
        _pad,
        takes="axis before after",
        cases=(
            Case((((2, 3), "float64"),), {"axis": 1, "before": size(1), "after": size(2)}),
            Case((((3,), "float64"),), {"axis": 0, "before": size(0), "after": size(1)}),
        ),
    )
)


def _infer_concat(types: Types, attrs: Attrs, blocks: Blocks) -> list[TensorType]:
    need(len(types) > 0, "concat of nothing")
    axis = _axis(types, attrs, "concat")
    total = Size.const(0)
    for t in types:
        rest = t.rank == types[0].rank and all(a == b for i, (a, b) in enumerate(zip(t.shape, types[0].shape, strict=True)) if i != axis)
        need(rest and t.dtype == types[0].dtype, f"concat of {types[0]} and {t} along {axis}")
        total = total + t.shape[axis]
    shape = list(types[0].shape)
    shape[axis] = total
    return [types[0].with_shape(shape)]


def _concat(b: Builder, op: Op, g: Given) -> list[Value | None]:
    axis, at, parts = op.attrs["axis"], Size.const(0), []
    for v in op.inputs:
        parts.append(b.slice(only(g), axis, at, v.shape[axis]))
        at = at + v.shape[axis]
    return list(parts)


define(
    Primitive(
        "concat",
        "one after another along one axis",
        _infer_concat,
        _concat,
        takes="axis",
        cases=(
            Case((((2, 3), "float64"), ((2, 1), "float64")), {"axis": 1}),
            Case((((2,), "float64"), ((0,), "float64"), ((3,), "float64")), {"axis": 0}),
        ),
    )
)


def _infer_shift(types: Types, attrs: Attrs, blocks: Blocks) -> list[TensorType]:
    count(types, 2, "shift")
    need(
        types[1].rank > 0 and types[1].shape[1:] == types[0].shape and types[0].dtype == types[1].dtype,
        f"shift of {types[0]} into {types[1]}",
    )
    return [types[1]]


def _shift(b: Builder, op: Op, g: Given) -> list[Value | None]:
    d, reverse = only(g), op.attrs["reverse"]
    trip = d.shape[0]
    around = b.pad(d, 0, 1 if reverse else 0, 0 if reverse else 1)  # so that there is something to select of no steps
    return [b.select(around, 0, trip if reverse else 0), b.slice(around, 0, 0 if reverse else 1, trip)]


define(
    Primitive(
        "shift",
        "the stack of states before each step: init, then all but the last (mirrored when reverse)",
        _infer_shift,
        _shift,
        view=True,
        takes="reverse",
        cases=tuple(Case((((3,), "float64"), ((4, 3), "float64")), {"reverse": r}) for r in (False, True)),
    )
)
