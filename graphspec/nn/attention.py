"""Products of tensors, masks, and what attention and mixtures of experts are made of."""

from __future__ import annotations

from types import SimpleNamespace

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Leaf, Module, Record, Sample, register
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import LOWEST, TORCH, axis_of, drop_axis, exchanged, only, pair, without
from graphspec.nn.lookup import IndexRecord
from graphspec.shapes.cells import FLOAT, Cell, Mismatch
from graphspec.shapes.infer import Types
from graphspec.sizes import Size

BOOK = "Bahdanau, Cho and Bengio (2014), https://arxiv.org/abs/1409.0473"


def leading(s: Types, ranks: list[tuple[Cell, int]]) -> list[Size] | None:
    """State that these are floats; unknown letters for the leading axes that they have in common, each given with how many axes it has of
    its own, or None."""
    for cell, _ in ranks:
        s.set(cell, dtype=FLOAT)
    for cell, own in ranks:
        dims = s.dims(cell)
        if dims is not None:
            if len(dims) < own:
                raise Mismatch(f"at least {own} axes are wanted here, got {s.show(cell)}")
            return [s.unknown("b", i + 1) if i else s.unknown("B") for i in range(len(dims) - own)]
    return None


@register
class MM(Record):
    """The matrix product ``A B`` of two matrices, or of two batches of them: ``{[..., m, k], [..., k, n]} -> [..., m, n]``."""

    name = "MM"
    doc = "the matrix product of two (batches of) matrices"
    source = TORCH + "simple.md#mm"
    differs = "more batch axes than one are taken too"
    arguments = (Argument("transA", "flag", False), Argument("transB", "flag", False))
    samples = (
        Sample((), ((2, 3), (3, 4))),
        Sample((True,), ((3, 2), (3, 4))),
        Sample((False, True), ((2, 2, 3), (2, 4, 3))),
        Sample((True, True), ((2, 3, 2), (2, 4, 3))),
        Sample((), ((2, 1, 2, 3), (2, 1, 3, 2))),
    )

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        left, right = s.table(x, 2)
        lead = leading(s, [(left, 2), (right, 2), (y, 2)])
        if lead is None:
            s.wish(left, 2)
            return
        rows, inner, columns = s.unknown("m"), s.unknown("k"), s.unknown("n")
        s.set(left, [*lead, inner, rows] if m.args.transA else [*lead, rows, inner])
        s.set(right, [*lead, columns, inner] if m.args.transB else [*lead, inner, columns])
        s.set(y, [*lead, rows, columns])

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        left, right = pair(x)
        return b.matmul(exchanged(b, left, -1, -2) if m.args.transA else left, exchanged(b, right, -1, -2) if m.args.transB else right)


@register
class MV(Record):
    """Matrix times vector, or a batch of each: ``{[..., m, n], [..., n]} -> [..., m]``; with ``trans`` the matrix transposed,
    ``{[..., m, n], [..., m]} -> [..., n]``."""

    name = "MV"
    doc = "the product of a matrix and a vector (or batches of them)"
    source = TORCH + "simple.md#mv"
    differs = "more batch axes than one are taken too"
    arguments = (Argument("trans", "flag", False),)
    samples = (
        Sample((), ((2, 3), (3,))),
        Sample((True,), ((2, 3), (2,))),
        Sample((), ((4, 2, 3), (4, 3))),
        Sample((True,), ((4, 2, 3), (4, 2))),
        Sample((True,), ((2, 1, 2, 3), (2, 1, 2))),
    )

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        matrix, vector = s.table(x, 2)
        lead = leading(s, [(matrix, 2), (vector, 1), (y, 1)])
        if lead is None:
            s.wish(matrix, 3)
            return
        rows, columns = s.unknown("m"), s.unknown("n")
        s.set(matrix, [*lead, rows, columns])
        s.set(vector, [*lead, rows if m.args.trans else columns])
        s.set(y, [*lead, columns if m.args.trans else rows])

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        matrix, vector = pair(x)
        column = b.unsqueeze(vector, vector.type.rank)
        product = b.matmul(exchanged(b, matrix, -1, -2) if m.args.trans else matrix, column)
        return b.reshape(product, product.shape[:-1])


@register
class LengthMask(IndexRecord):
    """1 where a sequence still runs, 0 after its end: lengths ``int32 [...]`` to a float mask ``[..., size]``.

    Element t (from 0) is 1 when ``t < length``.  The mask is a float tensor, so that it can be multiplied with and rearranged like
    any other; lengths of more than ``size`` or less than 0 are refused at run time.
    """

    name = "LengthMask"
    doc = "a mask of ones up to each length, zeros after"
    source = BOOK
    arguments = (Argument("size", letters=True),)
    samples = (
        Sample((4,), Leaf((3,), index=True, values=(4, 0, 2))),
        Sample((3,), Leaf((2, 2), index=True, values=(1, 2, 3, 0))),
        Sample((3,), Leaf((), index=True, values=(2,))),
    )

    def width(self, a: SimpleNamespace) -> Size:
        return a.size  # type: ignore[no-any-return]

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        n = b.size(m.args.size)
        lengths = b.check_index(only(x), n + 1, base=0)
        shape = (*lengths.shape, n)
        position = b.broadcast(b.iota(n), shape, [len(shape) - 1])
        running = b.compare(position, b.broadcast(lengths, shape, range(len(shape) - 1)), "lt")
        return b.cast(running, b.dtype)


@register
class MaskedSoftMax(Record):
    """SoftMax along the last axis over the elements whose mask is not 0: ``{scores [..., S], mask [..., S]} -> [..., S]``.

    Elements that are masked out are exactly 0, whatever their score; where everything is masked out, all are 0.  The mask is a
    float (from nn.LengthMask), int32 or bool tensor, and gets no gradient.
    """

    name = "MaskedSoftMax"
    doc = "a softmax over what a mask leaves"
    source = BOOK
    samples = (
        Sample((), ((2, 3), Leaf((2, 3), values=(1, 1, 0, 0, 1, 1)))),
        Sample((), ((3, 2), Leaf((3, 2), values=(1, 0, 0, 0, 1, 1)))),
        Sample((), ((4,), Leaf((4,), values=(1, 1, 1, 1)))),
        Sample((), (Leaf((2, 1, 3), -9.0, 9.0), Leaf((2, 1, 3), values=(1, 0, 1, 1, 1, 1)))),
    )

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        scores, mask = s.table(x, 2)
        s.like(scores, y)
        for one, other in ((scores, mask), (mask, scores)):
            dims = s.dims(one)
            if dims is not None:
                if not dims:
                    raise Mismatch("a scalar has no axis to normalise")
                s.set(other, dims)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        scores, mask = pair(x)
        keep = mask if mask.dtype == "bool" else b.compare(mask, b.full_like(mask, 0), "ne")
        last = scores.type.rank - 1
        seen = b.where(keep, scores, b.full_like(scores, LOWEST))
        largest = b.stop_gradient(b.reduce_max(seen, [last]))
        e = b.where(keep, b.exp(b.sub(seen, drop_axis(b, largest, seen, last))), b.full_like(scores, 0))
        total = b.reduce_sum(e, [last])  # at least 1, or 0 where everything is masked out
        return b.div(e, drop_axis(b, b.maximum(total, b.full_like(total, 0.5)), e, last))


@register
class MixtureTable(Record):
    """The experts' outputs weighted by a gater and added: ``{gater [n] or [B, n], experts}``.

    The experts are a table of n tensors (``[B, ...]``, or without batch axis for a gater ``[n]``), or one tensor with the experts
    along dimension ``dim`` (by default 2, or 1 for a gater ``[n]``).
    """

    name = "MixtureTable"
    doc = "a weighted sum of experts"
    source = TORCH + "table.md#mixturetable"
    differs = "a negative dim counts from the end"
    arguments = (Argument("dim", "int", None),)
    samples = (
        Sample((), ((2, 3), ((2, 4), (2, 4), (2, 4)))),
        Sample((), ((2,), ((3, 2), (3, 2)))),
        Sample((), ((2, 3), (2, 3, 4))),
        Sample((3,), ((2, 3), (2, 4, 3))),
        Sample((), ((3,), (3, 2))),
    )

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        if a.dim == 0:
            raise fail("E0422", f"nn.{self.name}: dim counts from 1, or from the end with -1", origin)

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        gater, experts = s.table(x, 2)
        s.set(gater, dtype=FLOAT)
        s.set(y, dtype=FLOAT)
        s.wish(gater, 2)
        gates = s.dims(gater)
        if gates is not None and len(gates) not in (1, 2):
            raise Mismatch(f"the gater must be [n] or [B, n], got {s.show(gater)}")
        if s.is_table(experts):
            items = s.items(experts) or []
            if not items:
                raise Mismatch("an empty table of experts")
            s.last_axis(gater, len(items))
            for item in items:
                s.same(item, y)
        else:
            self._one_tensor(s, m, gates, experts, y)
        dims = s.dims(y)
        if gates is not None and len(gates) == 2 and dims is not None:
            if not dims:
                raise Mismatch("the experts have no batch axis")
            s.equate(gates[0], dims[0], 0)

    def _one_tensor(self, s: Types, m: Module, gates: tuple[Size, ...] | None, experts: Cell, y: Cell) -> None:
        dims = s.dims(experts)
        if dims is None or gates is None:
            s.wish(experts, 3)
            return
        s.set(experts, dtype=FLOAT)
        axis = axis_of(m.args.dim or len(gates), len(dims))
        if len(gates) == 2 and axis == 0:
            raise Mismatch("dimension 1 of the experts is the batch")
        s.equate(dims[axis], gates[-1], axis)
        s.set(y, without(dims, axis))

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        assert isinstance(x, tuple)
        gater, experts = only(x[0]), x[1]
        batch = range(gater.type.rank - 1)
        if isinstance(experts, Value):
            axis = axis_of(m.args.dim or gater.type.rank, experts.type.rank)
            weights = b.broadcast(gater, experts.shape, [*batch, axis])
            return b.reduce_sum(b.mul(weights, experts), [axis])
        total: Value | None = None
        for i, expert in enumerate(map(only, experts)):
            gate = b.broadcast(b.select(gater, gater.type.rank - 1, i), expert.shape, batch)
            part = b.mul(gate, expert)
            total = part if total is None else b.add(total, part)
        assert total is not None
        return total
