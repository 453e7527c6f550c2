"""Modules that only rearrange tables: selecting, flattening, zipping."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

from graphspec.graph import Argument, Module, Record, Sample, register
from graphspec.lower import Lowering, Tree, flatten
from graphspec.nn.common import TORCH, unless_known
from graphspec.nn.table import MOST_ELEMENTS
from graphspec.shapes.cells import Cell, Mismatch
from graphspec.shapes.infer import Types


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
        if 0 < most <= MOST_ELEMENTS:
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
    differs = "tables of a graph have no named fields: the index is a number"
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
        raise Mismatch(f"element {index} of a table of {length}{'' if index else ', which counts from 1'}")
    return index - 1 if index > 0 else length + index


@register
class NarrowTable(Rearrange):
    """``length`` elements of a table from ``offset`` (negative length: counted to the end, -1 is the last)."""

    name = "NarrowTable"
    doc = "a range of the elements of a table"
    source = TORCH + "table.md#narrowtable"
    differs = "a range past the end is refused; a negative length counts from the end"
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
    differs = "one tensor is taken too, and gives a table of one"
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


@register
class ReverseTable(Rearrange):
    """The elements of a table from the last to the first."""

    name = "ReverseTable"
    doc = "a table in reverse order"
    source = "https://github.com/Element-Research/dpnn#nn.ReverseTable"
    samples = (Sample((), ((2, 3), (4,))), Sample((), ((2,), ((3,), (1, 2)), (1,))))

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        asked = s.items(y)
        if asked is not None:
            s.table(x, len(asked))
        super().shapes(s, m, x, y)

    def types(self, s: Types, m: Module, items: Sequence[Cell]) -> Sequence[Cell]:
        return items[::-1]

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        assert isinstance(x, tuple)
        return x[::-1]


@register
class ZipTable(Record):
    """``{{a1, a2, ...}, {b1, b2, ...}, ...} -> {{a1, b1, ...}, {a2, b2, ...}, ...}``; the inner tables are equally long."""

    name = "ZipTable"
    doc = "a table of tables with rows and columns exchanged"
    source = TORCH + "table.md#ziptable"
    differs = "inner tables of different lengths are refused; Torch leaves holes"
    samples = (
        Sample((), (((2, 3), (4,)), ((1,), (2, 2)), ((3,), (1, 2)))),
        Sample((), (((2,), ((3,), (1,))), ((1, 1), (2, 1)))),
    )

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        for mine, theirs in ((x, y), (y, x)):
            rows = s.items(mine)
            if rows is None:
                continue
            lengths = {len(items) for items in map(s.items, rows) if items is not None}
            if len(lengths) > 1:
                raise Mismatch(f"tables that are not equally long: {s.show(mine)}")
            if not rows or lengths == {0}:
                raise Mismatch("an empty table")
            for length in lengths:
                columns = [s.table(column, len(rows)) for column in s.table(theirs, length)]
                for i, row in enumerate(rows):
                    for j, cell in enumerate(s.table(row, length)):
                        s.same(cell, columns[j][i])
                return
        unless_known(s, m, "what its input holds is not known", "is this a table of tables?")

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        assert isinstance(x, tuple)
        return tuple(zip(*[row for row in x if isinstance(row, tuple)], strict=True))


@register
class ZipTableOneToMany(Record):
    """``{v, {a, b, ...}} -> {{v, a}, {v, b}, ...}``."""

    name = "ZipTableOneToMany"
    doc = "one value paired with each element of a table"
    source = TORCH + "table.md#ziptableonetomany"
    samples = (
        Sample((), ((2, 3), ((4,), (1, 2)))),
        Sample((), ((2,), ((3,), ((1,), (2,)), (2, 1)))),
        Sample((), (((2,), (3,)), ((1,),))),
    )

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        one, many = s.table(x, 2)
        length = next((len(items) for items in map(s.items, (many, y)) if items is not None), None)
        if length is None:
            unless_known(s, m, "how many elements its second input holds is not known", "is this a table?")
            return
        if not length:
            raise Mismatch("an empty table")
        for item, made in zip(s.table(many, length), s.table(y, length), strict=True):
            first, second = s.table(made, 2)
            s.same(one, first)
            s.same(item, second)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        assert isinstance(x, tuple)
        one, many = x
        return tuple((one, item) for item in many) if isinstance(many, tuple) else ()
