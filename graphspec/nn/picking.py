"""Modules that put something into a tensor, pick slices of it, or take its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import ClassVar

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Leaf, Module, ParameterSpec, Record, Sample, Table, register
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import TORCH, axis_of, constant, numbers, only, pair, taken, usual_rank, with_size
from graphspec.nn.shape import INDICES
from graphspec.shapes.cells import FLOAT, Cell, Mismatch
from graphspec.shapes.infer import Types
from graphspec.sizes import Size

LEFT_OUT = {
    "MaskedSelect": "How many elements a mask picks is known only when it runs, and shapes are known before: multiply by the mask "
    "(nn.CMulTable), or pick slices by number (nn.Index).",
}


@register
class Padding(Record):
    """``|pad|`` elements ``value`` more along dimension ``dim``: after its last one, before its first one if pad is negative.

    With ``index`` they stand before element ``index``, counted from the end that they are put on.  With ``nInputDim`` a tensor with any
    other number of axes has a batch axis in front that is not counted.
    """

    name = "Padding"
    doc = "a constant put before, after or inside a dimension"
    source = TORCH + "simple.md#padding"
    arguments = (Argument("dim", "int"), Argument("pad", "int"), Argument("nInputDim", "size", None), Argument("value", "number", 0.0),
                 Argument("index", "size", 1))
    samples = (
        Sample((1, 2, 1, -1), (3,)),
        Sample((1, -2, 1, -1), (2, 3)),
        Sample((1, -2, 1, -1, 2), (2, 3)),
        Sample((2, 1, 2, 0.5, 3), (2, 2, 4)),
        Sample((1, -1), (2, 3)),
        Sample((2, 0), (2, 3)),
        Sample((1, 2, None, 5), INDICES),
    )

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.same_dtype(x, y)
        a = m.args
        dtype = s.find(x).dtype
        if (dtype == "int32" and not (a.value.is_integer() and abs(a.value) < 2**31)) or (dtype == "bool" and a.value not in (0, 1)):
            raise Mismatch(f"{a.value:g} is no value of {s.show(x)}")
        s.wish(x, usual_rank(a.dim, a.nInputDim))

        def forward(dims: tuple[Size, ...]) -> Sequence[Size]:
            axis = self._axis(a, len(dims))
            if (dims[axis] - (a.index - 1)).value is not None and (dims[axis] - (a.index - 1)).value < 0:
                raise Mismatch(f"index {a.index} of an axis of {dims[axis]}")
            s.at_most(a.index - 1, dims[axis])
            return with_size(dims, axis, dims[axis] + abs(a.pad))

        def backward(dims: tuple[Size, ...]) -> Sequence[Size]:
            axis = self._axis(a, len(dims))
            return with_size(dims, axis, dims[axis] - abs(a.pad))

        s.relate(x, y, forward, backward)

    @staticmethod
    def _axis(a: SimpleNamespace, rank: int) -> int:
        if a.dim < 1:
            raise Mismatch(f"dimension {a.dim}")
        return axis_of(a.dim, rank, rank - 1 if a.nInputDim is not None and rank != a.nInputDim else None)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        a, x = m.args, only(x)
        axis = self._axis(a, x.type.rank)
        if a.pad == 0:
            return x
        whole = x.shape[axis]
        before = whole - (a.index - 1) if a.pad > 0 else Size.const(a.index - 1)
        if a.value == 0 and a.index == 1 and x.dtype == b.dtype:
            return b.pad(x, axis, *((0, a.pad) if a.pad > 0 else (-a.pad, 0)))
        filling = b.full(a.value, with_size(x.shape, axis, abs(a.pad)), x.dtype)
        parts = [(b.slice(x, axis, 0, before), before), (filling, None), (b.slice(x, axis, before, whole - before), whole - before)]
        return b.concat([part for part, n in parts if n != 0], axis)


@register
class Index(Record):
    """The slices of dimension ``dimension`` of t that index names, in its order: ``{t, index}`` with ``index: [k]``, whole numbers from 1;
    the dimension of y has k elements."""

    name = "Index"
    doc = "the slices of a dimension that a second input names"
    source = TORCH + "simple.md#index"
    arguments = (Argument("dimension", "int"),)
    samples = (
        Sample((1,), ((4, 2), Leaf((3,), index=True, high=4))),
        Sample((2,), ((2, 3), Leaf((5,), index=True, high=3))),
        Sample((3,), ((2, 3, 4), Leaf((2,), index=True, high=4))),
        Sample((1,), ((4,), Leaf((2,), index=True, high=4))),
    )

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        if a.dimension == 0:
            raise fail("E0422", "nn.Index: dimension counts from 1", origin)

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        t, index = s.table(x, 2)
        k = s.unknown("k")
        s.set(index, dtype="int32")
        s.set(index, [k])
        s.set(t, dtype=FLOAT)
        s.set(y, dtype=FLOAT)
        s.wish(t, usual_rank(m.args.dimension))

        def at(dims: tuple[Size, ...], n: Size) -> Sequence[Size]:
            axis = axis_of(m.args.dimension, len(dims))
            return with_size(dims, axis, n)

        s.relate(t, y, lambda d: at(d, k), lambda d: at(d, s.unknown("n")))

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        t, index = pair(x)
        axis = axis_of(m.args.dimension, t.type.rank)
        return taken(b, t, axis, b.zero_based(index, t.shape[axis]))


@register
class Constant(Record):
    """``y = value`` whatever x is: a number, which gives ``[1]``, or a tensor of numbers (a table of them, nested for more axes).

    With ``nInputDim`` an x of more axes than that has a batch axis in front, along which the value is repeated: ``[B, ...] -> [B, sizes of
    value...]``.
    """

    name = "Constant"
    doc = "a constant in place of its input"
    source = TORCH + "simple.md#constant"
    differs = "a tensor may be given as a table of numbers too"
    arguments = (Argument("value", "table"), Argument("nInputDim", "int", None))
    samples: ClassVar[tuple[Sample, ...]] = (
        Sample((0.5,), (2, 3)),
        Sample((Table((1.5, -2.0, 0.25)), 1), (2, 3)),
        Sample((Table((1.5, -2.0)), 1), (3,)),
        Sample((Table((Table((1.0, 2.0, 3.0)), Table((4.0, 5.0, 6.0)))), 0), (4,)),
        Sample((2, 1), INDICES),
    )

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        a.array = numbers(a.value, finite=False)
        if a.array is None:
            raise fail("E0422", "nn.Constant: value is a number or a tensor of numbers", origin,
                       helps=["as in `nn.Constant(torch.ones(3))`"])
        if a.nInputDim is not None and a.nInputDim < 0:
            raise fail("E0422", f"nn.Constant: nInputDim must be at least 0, got {a.nInputDim}", origin)

    def buffers(self, a: SimpleNamespace) -> Mapping[str, ParameterSpec]:
        return {"value": constant(a.array)}

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        shape, counted = m.args.array.shape, m.args.nInputDim
        s.set(y, dtype=FLOAT)
        if counted is None:
            s.set(y, shape)
            return
        s.wish(x, counted + 1)
        dims = s.dims(x)
        if dims is not None:
            s.set(y, (dims[0], *shape) if len(dims) > counted else shape)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        value = b.buffer(m, "value")
        shape = b.type_of(b.use.y).shape
        first = len(shape) - value.type.rank
        return b.broadcast(value, shape, range(first, len(shape))) if first else value
