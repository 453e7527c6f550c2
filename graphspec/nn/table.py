"""Modules on tables of tensors: arithmetic, joining and splitting."""

from __future__ import annotations

from collections.abc import Sequence

from graphspec.errors import SpecError
from graphspec.graph import Argument, Leaf, Module, Record, Sample, register
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree, flatten
from graphspec.nn.common import (
    INPLACE,
    TORCH,
    axis_of,
    equal_shapes,
    impossible,
    only,
    unless_known,
    usual_rank,
    with_axis,
    with_size,
    without,
)
from graphspec.shapes.cells import FLOAT, Cell, Mismatch, show
from graphspec.shapes.infer import Types
from graphspec.sizes import Size

MOST_ELEMENTS = 10_000
"""No table made by splitting, mapping or asking for an element has more elements than this (E0506)."""

APART = Leaf((2, 3), 0.5, 2.0, gap=0.5)
FIRST = Leaf((2, 3), values=(1.0, 0.0, -1.5, 2.0, 0.25, -0.5))
SECOND = Leaf((2, 3), values=(0.5, 1.0, -1.0, -2.0, 0.75, -3.5))
"""Nowhere equal to each other, and each the larger somewhere."""


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
    """``y = x1 + x2 + ...``: ``{[...], [...], ...} -> [...]``, all of equal sizes (E0301), as for all arithmetic on tables."""

    name = "CAddTable"
    doc = "the sum of tensors of equal shapes"
    source = TORCH + "table.md#caddtable"
    arguments = (INPLACE,)
    samples = (Sample((), ((2, 3), (2, 3))), Sample((True,), ((4,), (4,), (4,))), Sample((), ((2, 3, 2), (2, 3, 2))))

    def combine(self, b: Lowering, left: Value, right: Value) -> Value:
        return b.add(left, right)


@register
class CMulTable(Elementwise):
    """``y = x1 * x2 * ...``: ``{[...], [...], ...} -> [...]``, all of equal sizes."""

    name = "CMulTable"
    doc = "the product, element by element, of tensors of equal shapes"
    source = TORCH + "table.md#cmultable"
    samples = (Sample((), ((2, 3), (2, 3))), Sample((), ((4,), (4,), (4,))), Sample((), ((2, 3, 2), (2, 3, 2))))

    def combine(self, b: Lowering, left: Value, right: Value) -> Value:
        return b.mul(left, right)


@register
class CSubTable(Elementwise):
    """``y = x1 - x2``: ``{[...], [...]} -> [...]``, both of equal sizes."""

    name = "CSubTable"
    doc = "the difference of two tensors of equal shapes"
    source = TORCH + "table.md#csubtable"
    differs = "there are exactly two inputs; Torch passes over any more"
    count = 2
    samples = (Sample((), ((2, 3), (2, 3))), Sample((), ((4,), (4,))), Sample((), ((2, 3, 2), (2, 3, 2))))

    def combine(self, b: Lowering, left: Value, right: Value) -> Value:
        return b.sub(left, right)


@register
class CDivTable(Elementwise):
    """``y = x1 / x2``: ``{[...], [...]} -> [...]``, both of equal sizes."""

    name = "CDivTable"
    doc = "the quotient, element by element, of two tensors of equal shapes"
    source = TORCH + "table.md#cdivtable"
    differs = "there are exactly two inputs; Torch passes over any more"
    count = 2
    samples = (Sample((), ((2, 3), APART)), Sample((), ((4,), Leaf((4,), -2.0, 2.0, gap=0.5))))

    def combine(self, b: Lowering, left: Value, right: Value) -> Value:
        return b.div(left, right)


@register
class CAveTable(Elementwise):
    """``y = (x1 + x2 + ... + xn) / n``: ``{[...], [...], ...} -> [...]``, all of equal sizes."""

    name = "CAveTable"
    doc = "the mean of tensors of equal shapes"
    source = "CAveTable.lua of Torch's forks; CAddTable and MulConstant(1 / n) in one"
    samples = (Sample((), ((2, 3), (2, 3))), Sample((), ((4,), (4,), (4,))), Sample((), ((2, 3, 2), (2, 3, 2))))

    def combine(self, b: Lowering, left: Value, right: Value) -> Value:
        return b.add(left, right)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        return b.scale(only(super().lower(b, m, x)), 1 / len(flatten(x)))


class Extreme(Elementwise):
    """Base of the largest and the smallest."""

    how = ""
    """What another element must be to the one found so far to take its place."""
    samples = (
        Sample((), (FIRST, SECOND)),
        Sample((), tuple(Leaf((4,), values=row) for row in ((1, -2, 0.5, 3), (0, -1, 2.5, 1), (2, 0, -1.5, -3)))),
        Sample((), (Leaf((1, 2, 1), 0.0, 1.0), Leaf((1, 2, 1), values=(-0.5, 1.5)))),
    )

    def combine(self, b: Lowering, left: Value, right: Value) -> Value:
        return b.where(b.compare(right, left, self.how), right, left)


@register
class CMaxTable(Extreme):
    """``y = max(x1, x2, ...)``: ``{[...], [...], ...} -> [...]``, all of equal sizes; of equals the first has the gradient."""

    name = "CMaxTable"
    doc = "the largest, element by element, of tensors of equal shapes"
    source = TORCH + "table.md#cmaxtable"
    how = "gt"


@register
class CMinTable(Extreme):
    """``y = min(x1, x2, ...)``: ``{[...], [...], ...} -> [...]``, all of equal sizes; of equals the first has the gradient."""

    name = "CMinTable"
    doc = "the smallest, element by element, of tensors of equal shapes"
    source = TORCH + "table.md#cmintable"
    how = "lt"


@register
class CAddTensorTable(Record):
    """``{v [...], {x1 [...], x2, ...}} -> {x1 + v, x2 + v, ...}``, all of equal sizes (E0301)."""

    name = "CAddTensorTable"
    doc = "a tensor added to each tensor of a table"
    source = TORCH + "table.md#caddtensortable"
    samples = (
        Sample((), ((2, 3), ((2, 3), (2, 3)))),
        Sample((), ((4,), ((4,), (4,), (4,)))),
        Sample((), ((2, 1, 3), ((2, 1, 3),))),
    )

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        one, many = s.table(x, 2)
        for mine, theirs in ((many, y), (y, many)):
            items = s.items(mine)
            if items is not None:
                if not items:
                    raise Mismatch("an empty table")
                s.set(one, dtype=FLOAT)
                equal_shapes(s, m, [one, *items, *s.table(theirs, len(items))])
        s.wish(one, 2)
        if s.items(many) is None:
            unless_known(s, m, "how many tensors its second input holds is not known", "is this a table?")

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        assert isinstance(x, tuple)
        return tuple(b.add(item, only(x[0])) for item in flatten(x[1]))


LEFT_OUT = {
    "Print": "A program has no place to print at: leave nn.Print away, and ask for the value of a node by its name.",
}


@register
class JoinTable(Record):
    """Tensors one after another along a dimension (negative: from the end): ``{[B, n1], [B, n2], ...} -> [B, n1 + n2 + ...]`` for the
    second.  All other sizes must be equal (E0318).

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
        Sample((1, 1), ((2,), (1,))),
    )

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        items = s.items(x)
        if items is not None:
            joined(s, "JoinTable inputs", items, y, m.args.dimension, m.args.nInputDims, inputs=True)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        values = flatten(x)
        return b.concat(values, axis_of(m.args.dimension, values[0].type.rank, m.args.nInputDims))


def joined(s: Types, what: str, items: Sequence[Cell], y: Cell, dimension: int, input_dims: int | None = None, *, inputs: bool) -> None:
    """State that y is the items one after another along a dimension; E0318 where another size differs.

    ``inputs``: whether the items are the inputs of the module, so that the error can show them.
    """
    s.same_dtype(y, *items)
    known = [d for d in map(s.dims, (*items, y)) if d is not None]
    if not known:
        s.wish(items[0], usual_rank(dimension, input_dims))
        return
    rank = len(known[0])
    axis = axis_of(dimension, rank, input_dims)
    common = [s.unknown("m", i + 1) if i else s.unknown("B") for i in range(rank)]
    total = Size.const(0)
    for position, item in enumerate(items, 1):
        own = s.unknown("n", position)
        try:
            s.set(item, with_size(common, axis, own))
        except Mismatch as clash:
            sizes = [show(n) for n in (clash.right, clash.left) if n is not None]
            text = clash.message if clash.axis is None else f"dim {clash.axis + 1}: {' vs '.join(sizes)}"
            if not inputs:
                text += f", {s.show(items[0])} and {s.show(item)}"
            labelled = [(1, items[0]), (position, item)] if position > 1 else [(1, item)]
            message = f"{what} must be equal in all dims but {axis + 1}"
            raise SpecError(s.explain("E0318", message, text, labelled if inputs else ())) from None
        total = total + s.resolve(own)
    s.set(y, with_size(common, axis, total))


@register
class SplitTable(Record):
    """The slices of a tensor along a dimension as a table: ``[3, B, n] -> {[B, n], [B, n], [B, n]}`` for the first.

    The size of that dimension must be a number that is known (E0313).
    """

    name = "SplitTable"
    doc = "the slices of a tensor along a dimension, as a table"
    source = TORCH + "table.md#splittable"
    differs = "the number of pieces is fixed when the model is compiled; the pieces of a vector are scalars"
    arguments = (Argument("dimension", "int"), Argument("nInputDims", "size", None))
    samples = (Sample((1,), (2, 3)), Sample((2,), (2, 3)), Sample((1, 1), (2, 3)), Sample((-1,), (2, 2, 3)))

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        dims = s.dims(x)
        if dims is not None and s.is_table(y) is False and (told := self._uncounted(s, m, x, dims)):
            raise told
        pieces = s.items(y)
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
            if told := self._uncounted(s, m, x, dims):
                s.need(told.diagnostics[0])
                return
            number = int(dims[axis].value or 0)
            if number > MOST_ELEMENTS:
                raise impossible(s, m, f"{number} pieces are more than {MOST_ELEMENTS}", f"splits {s.show(x)}", "E0506")
            pieces = s.table(y, number)
        s.equate(dims[axis], len(pieces), axis)
        for piece in pieces:
            s.set(piece, without(dims, axis))
        s.same_dtype(x, *pieces)

    def _uncounted(self, s: Types, m: Module, x: Cell, dims: Sequence[Size]) -> SpecError | None:
        """The error of a size that is not known when the model is compiled."""
        axis = axis_of(m.args.dimension, len(dims), m.args.nInputDims)
        if dims[axis].value is not None:
            return None
        helps = ["nn.Sequencer, nn.BiSequencer and nn.Scan take the steps as the first axis of a tensor: hand it to them as it is"]
        message = f"how many pieces dimension {axis + 1} has is not known before the run"
        return impossible(s, m, message, f"splits {s.show(x)}", "E0313", helps=helps if axis == 0 else [])

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x = only(x)
        axis = axis_of(m.args.dimension, x.type.rank, m.args.nInputDims)
        return tuple(b.select(x, axis, i) for i in range(len(b.type_of(b.use.y))))
