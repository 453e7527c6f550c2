"""Criterions of margins: the score of what is right is to be larger than others, or than 0, by a margin."""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Leaf, Module, Sample, Table, register
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.classification import WeightedClasses
from graphspec.nn.common import CRITERIONS, drop_axis, mean_of, pair, positive
from graphspec.nn.criterion import BY_CONSTRUCTOR, SIZE_AVERAGE, WEIGHTS, Compared, Criterion, Losses, prediction_and_classes
from graphspec.nn.transfer import softplus
from graphspec.shapes.cells import Cell, Mismatch
from graphspec.shapes.infer import Types


@register
class MultiMarginCriterion(WeightedClasses):
    """The mean over all rows of ``sum_{i != t} max(0, margin - x_t + x_i)^p / n``: ``{[..., n], int32 [...]} -> []``.

    ``p`` is 1 or 2; ``weights`` (a table of n numbers) multiplies each row's loss by the weight of its class t; with
    ``sizeAverage = false`` it is the sum over the rows.
    """

    name = "MultiMarginCriterion"
    doc = "the hinge loss of the target class's score against all other scores"
    source = CRITERIONS + "multimargincriterion"
    differs = (
        f"more leading axes than one are taken too; {BY_CONSTRUCTOR}; weights multiply what is raised to p already, as in Torch's code; "
        "its page has them under the power"
    )
    arguments = (Argument("p", "int", 1), WEIGHTS, Argument("margin", "number", 1.0), SIZE_AVERAGE)
    samples = (
        Sample((), ((2, 4), Leaf((2,), index=True, high=4))),
        Sample((2,), ((4,), Leaf((), index=True, high=4))),
        Sample((1, Table((0.5, 2.0, 1.0)), 0.3, False), ((4, 3), Leaf((4,), index=True, high=3))),
        Sample((2, Table((0.5, 2.0, 1.0)), 0.7), ((2, 2, 3), Leaf((2, 2), index=True, high=3))),
        Sample((1, None, 2), ((3,), Leaf((1,), index=True, high=3))),
    )

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        super().check(a, origin)
        if a.p not in (1, 2):
            raise fail("E0422", f"nn.{self.name}: p must be 1 or 2, got {a.p}", origin)

    def losses(self, b: Lowering, m: Module, x: Tree) -> Losses:
        prediction, target = pair(x)
        n, last = prediction.shape[-1], prediction.type.rank - 1
        index = self.index(b, m, prediction, target)
        own = drop_axis(b, b.pick(prediction, index), prediction, last)
        z = positive(b, b.shift_by(b.sub(prediction, own), m.args.margin))
        others = b.compare(b.broadcast(b.iota(n), z.shape, (last,)), drop_axis(b, index, z, last), "ne")
        z = b.where(others, z, b.full_like(z, 0))
        values = mean_of(b, b.reduce_sum(z if m.args.p == 1 else b.mul(z, z), [last]), n)
        return Losses(values if m.args.weights is None else b.mul(values, b.gather(b.buffer(m, "weights"), index)))


@register
class MultiLabelMarginCriterion(Criterion):
    """The mean over all rows of ``sum_{j, i} max(0, 1 - x_{t_j} + x_i) / n``, over the row's classes ``t_j`` and all i that are none of
    them: ``{[..., n], int32 [..., n]} -> []``.

    A row's classes are what is before the first 0 in its targets; ``criterion.sizeAverage = false`` makes it the sum over the rows.
    """

    name = "MultiLabelMarginCriterion"
    doc = "the hinge loss of the scores of several target classes against all other scores"
    source = CRITERIONS + "multilabelmargincriterion"
    differs = f"more leading axes than one are taken too; {BY_CONSTRUCTOR}"
    arguments = (SIZE_AVERAGE,)
    samples = (
        Sample((), ((2, 4), Leaf((2, 4), index=True, values=(1, 3, 0, 0, 4, 0, 2, 2)))),
        Sample((False,), ((3, 3), Leaf((3, 3), index=True, values=(0, 1, 2, 2, 2, 0, 3, 1, 2)))),
        Sample((), ((4,), Leaf((4,), index=True, values=(4, 1, 0, 3)))),
        Sample((), ((2, 1, 3), Leaf((2, 1, 3), index=True, values=(2, 0, 0, 3, 1, 0)))),
    )

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        prediction, target = prediction_and_classes(s, x, y)
        s.relate(prediction, target, lambda dims: dims, lambda dims: dims)
        if s.dims(prediction) == ():
            raise Mismatch("a scalar has no last axis")

    def losses(self, b: Lowering, m: Module, x: Tree) -> Losses:
        prediction, target = pair(x)
        rank, n = prediction.type.rank, prediction.shape[-1]
        index, some = b.classes_or_none(target, n)
        zero = b.full_like(prediction, 0)
        ended = b.cumsum(b.where(some, zero, b.full_like(zero, 1)))
        counts = b.compare(ended, zero, "eq")
        square = (*prediction.shape, n)
        by_target, by_class = [*range(rank)], [*range(rank - 1), rank]
        here = b.compare(b.broadcast(index, square, by_target), b.broadcast(b.iota(n), square, (rank,)), "eq")
        counted = b.broadcast(counts, square, by_target)
        full = b.full(1, square, prediction.dtype)
        hits = b.where(b.logical(here, counted, "and"), full, b.full_like(full, 0))
        targets = b.broadcast(b.reduce_sum(hits, [rank - 1]), square, by_class)
        scores = b.broadcast(prediction, square, by_class)
        own = b.broadcast(b.pick(scores, index), square, by_target)
        z = positive(b, b.shift_by(b.sub(scores, own), 1))
        none = b.full_like(z, 0)
        alive = b.logical(counted, b.compare(targets, none, "eq"), "and")
        return Losses(mean_of(b, b.reduce_sum(b.where(alive, z, none), [rank - 1, rank]), n))


class Signed(Compared):
    """Base of losses of ``target * x`` for targets that are -1 or 1, as floats or as int32."""

    labels = True
    halves = (0, 0)


SIGNS = Leaf((2, 3), index=True, values=(1, -1, 1, 1, -1, -1))


@register
class MarginCriterion(Signed):
    """The mean over all elements of ``max(0, margin - t x)`` for targets t that are -1 or 1: ``{[...], [...]} -> []``; with
    ``sizeAverage = false`` the sum."""

    name = "MarginCriterion"
    doc = "the hinge loss of two classes, -1 and 1"
    source = CRITERIONS + "margincriterion"
    differs = BY_CONSTRUCTOR
    arguments = (Argument("margin", "number", 1.0), SIZE_AVERAGE)
    samples = (
        Sample((), ((2, 3), SIGNS)),
        Sample((0.4,), (Leaf((4,), values=(0.3, 0.5, -0.5, -0.1)), Leaf((4,), values=(1.0, 1.0, -1.0, 1.0)))),
        Sample((0.5, False), (Leaf((1, 2, 3), 0.1, 0.4), Leaf((1, 2, 3), index=True, values=(1, -1, 1, 1, -1, -1)))),
    )

    def loss(self, b: Lowering, m: Module, x: Value, target: Value) -> Value:
        return positive(b, b.shift_by(b.neg(b.mul(target, x)), m.args.margin))


@register
class SoftMarginCriterion(Signed):
    """The mean over all elements of ``log(1 + exp(-t x))`` for targets t that are -1 or 1: ``{[...], [...]} -> []``; with
    ``sizeAverage = false`` the sum."""

    name = "SoftMarginCriterion"
    doc = "the logistic loss of two classes, -1 and 1"
    source = CRITERIONS + "softmargincriterion"
    differs = BY_CONSTRUCTOR
    samples: ClassVar[tuple[Sample, ...]] = (
        Sample((), ((2, 3), SIGNS)),
        Sample((False,), (Leaf((4,), -3.0, 3.0), Leaf((4,), values=(1.0, 1.0, -1.0, 1.0)))),
        Sample((), ((1, 2, 3), Leaf((1, 2, 3), index=True, values=(1, -1, 1, 1, -1, -1)))),
    )

    def loss(self, b: Lowering, m: Module, x: Value, target: Value) -> Value:
        return softplus(b, b.neg(b.mul(target, x)))
