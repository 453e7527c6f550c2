"""Modules on tables of tensors: arithmetic, joining, splitting, selecting."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

from graphspec.errors import SpecError
from graphspec.graph import Argument, Leaf, Module, Record, Sample, register
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree, flatten
from graphspec.nn.common import INPLACE, TORCH, axis_of, equal_shapes, only, unless_known, usual_rank, with_axis, without
from graphspec.shapes.cells import FLOAT, Cell, Mismatch, show
from graphspec.shapes.infer import Types
from graphspec.sizes import Size

APART = Leaf((2, 3), 0.5, 2.0, gap=0.5)


class Elementwise(Record):
    """Base of modules that combine tensors of equal shapes, element by element; nothing is broadcast."""

    count: int | None = None
    """How many inputs; None for any number."""

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        items = s.table(x, self.count) if self.count else s.items(x)
        if items is None:
            return
        if not items:
            raise Mismatch("an empty table")
        s.set(y, dtype=FLOAT)
        equal_shapes(s, m, items)
        s.same(items[0], y)
        s.wish(y, 2)

    def combine(self, b: Lowering, left: Value, right: Value) -> Value:
        raise NotImplementedError

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        total, *others = flatten(x)
        for other in others:
            total = self.combine(b, total, other)
        return total


@register
class CAddTable(Elementwise):
    """``y = x1 + x2 + ...``."""

    name = "CAddTable"
    doc = "the sum of tensors of equal shapes"
    source = TORCH + "table.md#caddtable"
    arguments = (INPLACE,)
    samples = (Sample((), ((2, 3), (2, 3))), Sample((True,), ((4,), (4,), (4,))), Sample((), ((2, 3, 2), (2, 3, 2))))

    def combine(self, b: Lowering, left: Value, right: Value) -> Value:
        return b.add(left, right)


@register
class CMulTable(Elementwise):
    """``y = x1 * x2 * ...``."""

    name = "CMulTable"
    doc = "the product, element by element, of tensors of equal shapes"
    source = TORCH + "table.md#cmultable"
    samples = (Sample((), ((2, 3), (2, 3))), Sample((), ((4,), (4,), (4,))), Sample((), ((2, 3, 2), (2, 3, 2))))

    def combine(self, b: Lowering, left: Value, right: Value) -> Value:
        return b.mul(left, right)


@register
class CSubTable(Elementwise):
    """``y = x1 - x2``."""

    name = "CSubTable"
    doc = "the difference of two tensors of equal shapes"
    source = TORCH + "table.md#csubtable"
    count = 2
    samples = (Sample((), ((2, 3), (2, 3))), Sample((), ((4,), (4,))), Sample((), ((2, 3, 2), (2, 3, 2))))

    def combine(self, b: Lowering, left: Value, right: Value) -> Value:
        return b.sub(left, right)


@register
class CDivTable(Elementwise):
    """``y = x1 / x2``."""

    name = "CDivTable"
    doc = "the quotient, element by element, of two tensors of equal shapes"
    source = TORCH + "table.md#cdivtable"
    count = 2
    samples = (Sample((), ((2, 3), APART)), Sample((), ((4,), Leaf((4,), -2.0, 2.0, gap=0.5))))

    def combine(self, b: Lowering, left: Value, right: Value) -> Value:
        return b.div(left, right)


@register
class JoinTable(Record):
    """Tensors one after another along a dimension; all other sizes must be equal, and that one adds up.

    With ``nInputDims`` a tensor with one axis more has a batch axis in front that is not counted.
    """

    name = "JoinTable"
    doc = "tensors one after another along a dimension"
    source = TORCH + "table.md#jointable"
    arguments = (Argument("dimension", "int"), Argument("nInputDims", "size", None))
    samples = (
        Sample((2,), ((2, 3), (2, 1))),
        Sample((1,), ((2,), (3,), (1,))),
        Sample((1, 1), ((2, 3), (2, 2))),
        Sample((-1,), ((2, 1, 3), (2, 1, 2))),
    )

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        items = s.items(x)
        if items is None:
            return
        s.same_dtype(y, *items)
        known = [d for d in map(s.dims, (*items, y)) if d is not None]
        if not known:
            s.wish(items[0], usual_rank(m.args.dimension, m.args.nInputDims))
            return
        rank = len(known[0])
        axis = axis_of(m.args.dimension, rank, m.args.nInputDims)
        common = [s.unknown("m", i + 1) if i else s.unknown("B") for i in range(rank)]
        total = Size.const(0)
        for position, item in enumerate(items, 1):
            own = s.unknown("n", position)
            try:
                s.set(item, [*common[:axis], own, *common[axis + 1 :]])
            except Mismatch as clash:
                sizes = [show(n) for n in (clash.right, clash.left) if n is not None]
                text = clash.message if clash.axis is None else f"dim {clash.axis + 1}: {' vs '.join(sizes)}"
                labelled = [(1, items[0]), (position, item)] if position > 1 else [(1, item)]
                raise SpecError(s.explain("E0318", f"JoinTable inputs must be equal in all dims but {axis + 1}", text, labelled)) from None
            total = total + s.resolve(own)
        s.set(y, [*common[:axis], total, *common[axis + 1 :]])

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        values = flatten(x)
        return b.concat(values, axis_of(m.args.dimension, values[0].type.rank, m.args.nInputDims))


@register
class SplitTable(Record):
    """The slices of a tensor along a dimension as a table; the size of that dimension must be a number that is known."""

    name = "SplitTable"
    doc = "the slices of a tensor along a dimension, as a table"
    source = TORCH + "table.md#splittable"
    arguments = (Argument("dimension", "int"), Argument("nInputDims", "size", None))
    samples = (Sample((1,), (2, 3)), Sample((2,), (2, 3)), Sample((1, 1), (2, 3)), Sample((-1,), (2, 2, 3)))

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        pieces = s.items(y)
        dims = s.dims(x)
        if pieces is not None:
            s.same_dtype(x, *pieces)
            known = next((d for d in map(s.dims, pieces) if d is not None), None)
            if dims is None and known is not None:
                axis = axis_of(m.args.dimension, len(known) + 1, m.args.nInputDims)
                dims = with_axis(known, axis, Size.const(len(pieces)))
                s.set(x, dims)
        if dims is None:
            s.wish(x, usual_rank(m.args.dimension, m.args.nInputDims))
            return
        axis = axis_of(m.args.dimension, len(dims), m.args.nInputDims)
        if pieces is None:
            number = dims[axis].value
            if number is None:
                unless_known(s, m, f"how many pieces dimension {axis + 1} has is not known before the run", f"splits {s.show(x)}")
                return
            pieces = s.table(y, number)
        s.equate(dims[axis], len(pieces), axis)
        for piece in pieces:
            s.set(piece, without(dims, axis))
        s.same_dtype(x, *pieces)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x = only(x)
        axis = axis_of(m.args.dimension, x.type.rank, m.args.nInputDims)
        return tuple(b.select(x, axis, i) for i in range(len(b.type_of(b.use.y))))


class Rearrange(Record):
    """Base of modules that only rearrange a table: subclasses say how, for types and values alike."""

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        items = s.items(x)
        if items is None:
            s.guess(lambda: self._as_taken(s, x))
            unless_known(s, m, "what its input holds is not known", "is this a table?")
            return
        outcome = self.types(s, m, items)
        if isinstance(outcome, Cell):
            s.same(outcome, y)
        elif outcome is not None:
            for mine, theirs in zip(s.table(y, len(outcome)), outcome, strict=True):
                s.same(mine, theirs)

    @staticmethod
    def _as_taken(s: Types, x: Cell) -> None:
        """A table that nobody typed has as many elements as are taken from it, here and elsewhere."""
        takers = [use.module for use in s.uses if use.module is not None and s.find(use.x) is s.find(x)]
        most = max((record.last(taker.args) for taker in takers if isinstance(record := taker.record, Rearrange)), default=0)
        if most:
            s.table(x, most)

    def last(self, a: SimpleNamespace) -> int:
        """The last element that is asked for by its number; 0 if none is."""
        return 0

    def types(self, s: Types, m: Module, items: Sequence[Cell]) -> Cell | Sequence[Cell] | None:
        raise NotImplementedError


@register
class SelectTable(Rearrange):
    """Element ``index`` of a table (negative: from the end)."""

    name = "SelectTable"
    doc = "one element of a table"
    source = TORCH + "table.md#selecttable"
    arguments = (Argument("index", "int"),)
    samples = (Sample((1,), ((2, 3), (4,))), Sample((-1,), ((2,), (3, 2))), Sample((2,), ((2,), ((3,), (1, 2)))))

    def last(self, a: SimpleNamespace) -> int:
        return abs(int(a.index))

    def types(self, s: Types, m: Module, items: Sequence[Cell]) -> Cell:
        return items[table_index(m.args.index, len(items))]

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        assert isinstance(x, tuple)
        return x[table_index(m.args.index, len(x))]


def table_index(index: int, length: int) -> int:
    """Torch's index into a table as one from 0; Mismatch when there is no such element."""
    if index == 0 or abs(index) > length:
        raise Mismatch(f"element {index} of a table of {length}")
    return index - 1 if index > 0 else length + index


@register
class NarrowTable(Rearrange):
    """``length`` elements of a table from ``offset`` (negative length: counted to the end, -1 is the last)."""

    name = "NarrowTable"
    doc = "a range of the elements of a table"
    source = TORCH + "table.md#narrowtable"
    arguments = (Argument("offset"), Argument("length", "int", 1))
    samples = (Sample((1, 2), ((2, 3), (4,), (1,))), Sample((2,), ((2,), (3, 2))), Sample((2, -1), ((2,), (3,), (1, 2))))

    def last(self, a: SimpleNamespace) -> int:
        return int(a.offset + max(a.length, 1) - 1)

    def types(self, s: Types, m: Module, items: Sequence[Cell]) -> Sequence[Cell]:
        return items[self.range(m.args, len(items))]

    @staticmethod
    def range(a: SimpleNamespace, count: int) -> slice:
        length = a.length if a.length >= 0 else count - a.offset + 2 + a.length
        if length < 1 or a.offset - 1 + length > count:
            raise Mismatch(f"elements {a.offset} to {a.offset + length - 1} of a table of {count}")
        return slice(a.offset - 1, a.offset - 1 + length)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        assert isinstance(x, tuple)
        return x[self.range(m.args, len(x))]


@register
class FlattenTable(Record):
    """The tensors of a nested table in one flat table."""

    name = "FlattenTable"
    doc = "the tensors of a nested table, in order, in one flat table"
    source = TORCH + "table.md#flattentable"
    samples = (Sample((), ((2, 3), ((4,), ((1,), (2, 2))))), Sample((), ((2,), (3,))), Sample((), (2, 3)))

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        leaves = list(s.leaves(x))
        unknown = [leaf for leaf in leaves if s.is_table(leaf) is None]
        for leaf in unknown:
            s.wish(leaf, 2)
        if not unknown:
            for mine, theirs in zip(s.table(y, len(leaves)), leaves, strict=True):
                s.same(mine, theirs)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        return tuple(flatten(x))
