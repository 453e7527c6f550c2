"""Matrix products and indexed access."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphspec.ir.core import Op, TensorType, Value
from graphspec.ir.ops.record import Attrs, Blocks, Case, Given, Primitive, Types, count, define, need, only
from graphspec.sizes import size

if TYPE_CHECKING:
    from graphspec.ir.builder import Builder


def _infer_matmul(types: Types, attrs: Attrs, blocks: Blocks) -> list[TensorType]:
    count(types, 2, "matmul")
    a, b = types
    fits = a.rank == b.rank >= 2 and a.shape[:-2] == b.shape[:-2] and a.shape[-1] == b.shape[-2] and a.dtype == b.dtype and a.is_float
    need(fits, f"matmul of {a} and {b}")
    return [a.with_shape([*a.shape[:-1], b.shape[-1]])]


def _swap(b: Builder, x: Value) -> Value:
    rank = x.type.rank
    return b.transpose(x, [*range(rank - 2), rank - 1, rank - 2])


def _matmul(b: Builder, op: Op, g: Given) -> list[Value | None]:
    left, right = op.inputs
    return [b.matmul(only(g), _swap(b, right)), b.matmul(_swap(b, left), only(g))]


define(Primitive("matmul", "matrix product of the last two axes, batch axes equal", _infer_matmul, _matmul,
                 cases=(Case((((2, 3), "float64"), ((3, 4), "float64"))), Case((((2, 3, 1), "float64"), ((2, 1, 4), "float64"))),
                        Case((((2, 0), "float64"), ((0, 3), "float64"))))))


def _index(t: TensorType, name: str) -> None:
    need(t.dtype in ("int32", "int64"), f"{name}: index {t}")


def _infer_gather(types: Types, attrs: Attrs, blocks: Blocks) -> list[TensorType]:
    count(types, 2, "gather")
    _index(types[1], "gather")
    need(types[0].rank >= 1, "gather from a scalar")
    return [types[0].with_shape([*types[1].shape, *types[0].shape[1:]])]


def _gather(b: Builder, op: Op, g: Given) -> list[Value | None]:
    return [b.scatter_add(op.inputs[1], only(g), op.inputs[0].shape[0]), None]


define(Primitive("gather", "rows of a table", _infer_gather, _gather,
                 cases=(Case((((5, 3), "float64"), ((2, 2), "int32")), index=5), Case((((5,), "float64"), ((4,), "int32")), index=5))))


def _infer_scatter(types: Types, attrs: Attrs, blocks: Blocks) -> list[TensorType]:
    count(types, 2, "scatter_add")
    _index(types[0], "scatter_add")
    lead = types[0].rank
    need(types[1].shape[:lead] == types[0].shape and types[1].is_float, f"scatter_add of {types[1]} at {types[0]}")
    return [types[1].with_shape([attrs["size"], *types[1].shape[lead:]])]


def _scatter(b: Builder, op: Op, g: Given) -> list[Value | None]:
    return [None, b.gather(only(g), op.inputs[0])]


define(Primitive("scatter_add", "rows added up where index says", _infer_scatter, _scatter, takes="size",
                 cases=(Case((((2, 2), "int32"), ((2, 2, 3), "float64")), {"size": size(5)}, index=5),)))


def _infer_pick(types: Types, attrs: Attrs, blocks: Blocks) -> list[TensorType]:
    count(types, 2, "pick")
    _index(types[1], "pick")
    need(types[0].rank >= 1 and types[0].shape[:-1] == types[1].shape, f"pick from {types[0]} at {types[1]}")
    return [types[0].with_shape(types[1].shape)]


def _pick(b: Builder, op: Op, g: Given) -> list[Value | None]:
    return [b.place(op.inputs[1], only(g), op.inputs[0].shape[-1]), None]


define(Primitive("pick", "one element of each row", _infer_pick, _pick,
                 cases=(Case((((4, 5), "float64"), ((4,), "int32")), index=5), Case((((5,), "float64"), ((), "int32")), index=5))))


def _infer_place(types: Types, attrs: Attrs, blocks: Blocks) -> list[TensorType]:
    count(types, 2, "place")
    _index(types[0], "place")
    need(types[0].shape == types[1].shape and types[1].is_float, f"place of {types[1]} at {types[0]}")
    return [types[1].with_shape([*types[1].shape, attrs["size"]])]


def _place(b: Builder, op: Op, g: Given) -> list[Value | None]:
    return [None, b.pick(only(g), op.inputs[0])]


define(Primitive("place", "zeros with one element put into each row", _infer_place, _place, takes="size",
                 cases=(Case((((4,), "int32"), ((4,), "float64")), {"size": size(5)}, index=5),)))


def _infer_check(types: Types, attrs: Attrs, blocks: Blocks) -> list[TensorType]:
    count(types, 1, "check_index")
    _index(types[0], "check_index")
    return [types[0]]


define(Primitive("check_index", "the index itself, after every element was found in base .. base+size-1", _infer_check, takes="size base",
                 cases=(Case((((3,), "int32"),), {"size": size(9), "base": 0}, index=9),)))
