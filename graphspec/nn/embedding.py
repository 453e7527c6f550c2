"""Criterions of embeddings: whether two inputs are alike, or which of them is the larger."""

from __future__ import annotations

from graphspec.graph import Argument, Leaf, Module, Sample, register
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import CRITERIONS, pair, positive
from graphspec.nn.criterion import BY_CONSTRUCTOR, SIZE_AVERAGE, Compared, Criterion, Losses, floats_to_loss, labels_like, signs, targets_of
from graphspec.nn.transfer import softplus
from graphspec.shapes.cells import Cell, Mismatch
from graphspec.shapes.infer import Types

MARGIN = Argument("margin", "number", 1.0)


def ints(*values: int) -> Leaf:
    """Labels in a row."""
    return Leaf((len(values),), index=True, values=values)


def chosen(b: Lowering, labels: Value, alike: Value, apart: Value) -> Value:
    """``alike`` where the label is 1, ``apart`` where it is -1, both added where it is neither, as in Torch."""
    none = b.full_like(alike, 0)
    first = b.where(b.compare(labels, b.full_like(labels, -1), "eq"), none, alike)
    return b.add(first, b.where(b.compare(labels, b.full_like(labels, 1), "eq"), none, apart))


@register
class HingeEmbeddingCriterion(Compared):
    """The mean over all elements of x where the label is 1, ``max(0, margin - x)`` where it is -1: ``{[...], [...]} -> []``.

    x are distances; labels are floats or int32.  ``sizeAverage = false`` makes it the sum.
    """

    name = "HingeEmbeddingCriterion"
    doc = "distances of what is alike, and what distances of others lack to the margin"
    source = CRITERIONS + "hingeembeddingcriterion"
    differs = BY_CONSTRUCTOR
    labels = True
    arguments = (MARGIN, SIZE_AVERAGE)
    samples = (
        Sample((), (Leaf((4,), 0.1, 0.9), ints(1, -1, -1, 1))),
        Sample((0.5,), (Leaf((2, 2), values=(0.2, 0.7, 0.3, 0.9)), Leaf((2, 2), values=(1.0, -1.0, -1.0, 1.0)))),
        Sample((2, False), (Leaf((1,), 0.1, 0.9), Leaf((), values=(-1.0,)))),
        Sample((), (Leaf((2, 1, 2), -0.9, 0.9), Leaf((2, 1, 2), index=True, values=(1, -1, -1, 1)))),
    )

    def loss(self, b: Lowering, m: Module, x: Value, target: Value) -> Value:
        return chosen(b, target, x, positive(b, b.shift_by(b.neg(x), m.args.margin)))


class Pairs(Criterion):
    """Base of ``{{x1, x2}, labels} -> []`` with x1 and x2 of equal sizes."""

    def labels(self, s: Types, x: Cell, labels: Cell) -> None:
        """State the sizes of the labels."""
        raise NotImplementedError

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        both, labels = s.table(x, 2)
        cells = s.table(both, 2)
        floats_to_loss(s, m, cells, y)
        self.labels(s, cells[0], labels)

    def losses(self, b: Lowering, m: Module, x: Tree) -> Losses:
        assert isinstance(x, tuple) and isinstance(x[1], Value)
        first, second = pair(x[0])
        return Losses(self.loss(b, m, first, second, x[1]))

    def loss(self, b: Lowering, m: Module, first: Value, second: Value, labels: Value) -> Value:
        raise NotImplementedError


@register
class L1HingeEmbeddingCriterion(Pairs):
    """For ``d = sum |x1 - x2|`` over all elements: d if the label is 1, ``max(0, margin - d)`` if it is -1; ``{{[...], [...]}, []} -> []``.

    There is one label, a scalar or ``[1]``.
    """

    name = "L1HingeEmbeddingCriterion"
    doc = "the L1 distance of two tensors that are alike, or what it lacks to the margin if they are not"
    source = CRITERIONS + "l1hingeembeddingcriterion"
    differs = "the gradient is 0, and not random, where elements of x1 and x2 are equal"
    of_rows = False
    arguments = (MARGIN,)
    samples = (
        Sample((), ((Leaf((3,), 0.1, 0.4), Leaf((3,), 0.5, 0.9)), ints(1))),
        Sample((5,), ((Leaf((3,), 0.1, 0.4), Leaf((3,), 0.5, 0.9)), Leaf((), values=(-1.0,)))),
        Sample((0.2,), ((Leaf((2, 3), 0.1, 0.4), Leaf((2, 3), 0.5, 0.9)), Leaf((), index=True, values=(-1,)))),
    )

    def labels(self, s: Types, x: Cell, labels: Cell) -> None:
        s.wish(x, 1)
        targets_of(s, (), labels)

    def loss(self, b: Lowering, m: Module, first: Value, second: Value, labels: Value) -> Value:
        distance = b.reduce_sum(b.abs(b.sub(first, second)), range(first.type.rank))
        label = signs(b, labels, distance)
        apart = positive(b, b.shift_by(b.neg(distance), m.args.margin))
        return b.where(b.compare(label, b.full_like(label, -1), "eq"), apart, distance)


@register
class CosineEmbeddingCriterion(Pairs):
    """For the cosine c of each two rows: ``1 - c`` where the label is 1, ``max(0, c - margin)`` where it is -1, the mean over the rows:
    ``{{[..., n], [..., n]}, [...]} -> []``.

    Labels are floats or int32; that of a single row is a scalar or ``[1]``.  As in Torch 1e-12 is added to squared lengths.
    ``sizeAverage = false`` makes it the sum.
    """

    name = "CosineEmbeddingCriterion"
    doc = "the cosines of rows, brought near 1 for what is alike and below the margin for others"
    source = CRITERIONS + "cosineembeddingcriterion"
    differs = BY_CONSTRUCTOR + "; more leading axes than one are taken too; labels are -1 or 1 (Torch passes a cosine on for any other)"
    arguments = (Argument("margin", "number", 0.0), SIZE_AVERAGE)
    samples = (
        Sample((), ((Leaf((3, 2), 0.1, 0.9), Leaf((3, 2), 0.1, 0.9)), ints(1, -1, 1))),
        Sample((0.3,), ((Leaf((2, 3), 0.1, 0.9), Leaf((2, 3), values=(0.5, 0.1, 0.3, -0.5, -0.1, -0.3))), Leaf((2,), values=(-1.0, -1.0)))),
        Sample((0.2, False), ((Leaf((4,), 0.1, 0.9), Leaf((4,), 0.1, 0.9)), Leaf((), index=True, values=(-1,)))),
        Sample((), ((Leaf((4,), 0.1, 0.9), Leaf((4,), 0.1, 0.9)), ints(1))),
        Sample((0.1,), (((2, 1, 3), (2, 1, 3)), Leaf((2, 1), values=(1.0, 1.0)))),
    )

    def labels(self, s: Types, x: Cell, labels: Cell) -> None:
        dims = s.dims(x)
        if dims is not None:
            if not dims:
                raise Mismatch("a scalar has no last axis")
            targets_of(s, dims[:-1], labels)

    def loss(self, b: Lowering, m: Module, first: Value, second: Value, labels: Value) -> Value:
        last = [first.type.rank - 1]
        products, one, two = (b.reduce_sum(b.mul(p, q), last) for p, q in ((first, second), (first, first), (second, second)))
        cosine = b.div(products, b.sqrt(b.mul(b.shift_by(one, 1e-12), b.shift_by(two, 1e-12))))
        alike, apart = b.shift_by(b.neg(cosine), 1), positive(b, b.shift_by(cosine, -m.args.margin))
        label = signs(b, labels, cosine)
        return b.where(b.compare(label, b.full_like(label, 1), "eq"), alike, apart)


@register
class MarginRankingCriterion(Pairs):
    """The mean over all elements of ``max(0, margin - t (x1 - x2))``: ``{{[...], [...]}, [...]} -> []``.

    The label t is 1 where x1 should be the larger, -1 where x2 should; floats or int32.  ``sizeAverage = false`` makes it the sum.
    """

    name = "MarginRankingCriterion"
    doc = "what the difference of two scores lacks to the margin"
    source = CRITERIONS + "marginrankingcriterion"
    differs = BY_CONSTRUCTOR + "; with several axes the mean is over all elements, Torch's over the rows"
    arguments = (MARGIN, SIZE_AVERAGE)
    samples = (
        Sample((), ((Leaf((4,), -0.4, 0.4), Leaf((4,), -0.4, 0.4)), ints(1, -1, -1, 1))),
        Sample((0.1,), ((Leaf((3,), -0.9, -0.2), Leaf((3,), 0.1, 0.9)), Leaf((3,), values=(1.0, -1.0, 1.0)))),
        Sample((2, False), (((2, 2), (2, 2)), Leaf((2, 2), values=(1.0, -1.0, 1.0, 1.0)))),
        Sample((), ((Leaf((1,), -0.4, 0.4), Leaf((1,), -0.4, 0.4)), Leaf((), index=True, values=(-1,)))),
    )

    def labels(self, s: Types, x: Cell, labels: Cell) -> None:
        labels_like(s, x, labels)

    def loss(self, b: Lowering, m: Module, first: Value, second: Value, labels: Value) -> Value:
        difference = b.mul(signs(b, labels, first), b.sub(first, second))
        return positive(b, b.shift_by(b.neg(difference), m.args.margin))


@register
class DistanceRatioCriterion(Criterion):
    """The mean over all elements of ``-log(exp(-x1) / (exp(-x1) + exp(-x2)))`` for distances x1 of what is alike and x2 of others:
    ``{[...], [...]} -> []``; with ``sizeAverage = false`` the sum."""

    name = "DistanceRatioCriterion"
    doc = "how surely the nearer of two distances is that of what is alike"
    source = CRITERIONS + "distanceratiocriterion"
    differs = "with several axes the mean is over all elements, Torch's over the rows; nothing overflows"
    arguments = (SIZE_AVERAGE,)
    samples = (Sample((), ((4,), (4,))), Sample((False,), ((3,), (3,))), Sample((), (Leaf((2, 3), 0.0, 3.0), Leaf((2, 3), 0.0, 3.0))))

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        floats_to_loss(s, m, s.table(x, 2), y, rank=1)

    def losses(self, b: Lowering, m: Module, x: Tree) -> Losses:
        near, far = pair(x)
        return Losses(softplus(b, b.sub(near, far)))
