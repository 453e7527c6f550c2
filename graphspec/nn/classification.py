"""Criterions of classes: the target of each row is a class, or several, or none."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import ClassVar

import numpy as np

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, InitStep, Leaf, Module, ParameterSpec, Sample, Table, register
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import TORCH, drop_axis, mean_of, pair
from graphspec.nn.criterion import SIZE_AVERAGE, WEIGHTS, Compared, Criterion, Losses, check_weights, targets_of, weight_buffer
from graphspec.nn.transfer import log_softmax, softplus
from graphspec.shapes.cells import FLOAT, Cell, Mismatch
from graphspec.shapes.infer import Types
from graphspec.sizes import Size, SizeLike

PAGE = TORCH + "criterion.md#"


class Classes(Criterion):
    """Base of ``{[..., n], int32 [...]} -> []``, one class for each row; the target of one row alone is a scalar, or one element."""

    def classes(self, s: Types, m: Module) -> SizeLike:
        """How many there are."""
        weights = getattr(m.args, "weights", None)
        return len(weights.items) if weights is not None else s.unknown("n")

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        prediction, target = s.table(x, 2)
        s.set(prediction, dtype=FLOAT)
        s.set(target, dtype="int32")
        s.set(y, (), FLOAT)
        s.wish(prediction, 2)
        n = self.classes(s, m)
        s.last_axis(prediction, n)
        dims, given = s.dims(prediction), s.dims(target)
        if dims is not None:
            targets_of(s, dims[:-1], target)
        elif given is not None and len(given) > 1:
            s.set(prediction, [*given, n])


class WeightedClasses(Classes):
    """Base of those with a weight for each class, from 0."""

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        super().check(a, origin)
        check_weights(self, a, origin, lowest=0)

    def buffers(self, a: SimpleNamespace) -> Mapping[str, ParameterSpec]:
        return weight_buffer(a)


@register
class ClassNLLCriterion(WeightedClasses):
    """``-log_p[target]``, the mean over all rows: ``{[..., n], int32 [...]} -> []``; classes count from 1.

    ``weights`` (a table of n numbers) makes it the weighted mean ``sum(-w[t] log_p[t]) / sum(w[t])``; with
    ``sizeAverage = false`` it is the sum.  Targets that are ``ignoreIndex`` do not count, in the mean neither; ``ignoreIndex = 0``
    is for targets of several lengths in one tensor, filled up with 0.
    """

    name = "ClassNLLCriterion"
    doc = "the negative log likelihood of the target classes, from log-probabilities"
    source = PAGE + "classnllcriterion"
    differs = "rows may have any number of leading axes; a target that is no class must be 0 to be ignored (Torch's default is -100)"
    arguments: ClassVar[tuple[Argument, ...]] = (WEIGHTS, SIZE_AVERAGE, Argument("ignoreIndex", "int", None))
    samples: ClassVar[tuple[Sample, ...]] = (
        Sample((), ((3, 4), Leaf((3,), index=True, high=4))),
        Sample((None, True, 0), ((2, 3, 4), Leaf((2, 3), index=True, high=4, values=(2, 0, 3, 4, 0, 0)))),
        Sample((None, False, 0), ((3, 4), Leaf((3,), index=True, high=4, values=(2, 0, 3)))),
        Sample((Table((0.5, 2.0, 1.0)), True, 2), ((4, 3), Leaf((4,), index=True, high=3, values=(2, 1, 2, 3)))),
        Sample((None, False), ((2, 3), Leaf((2,), index=True, high=3))),
        Sample((Table((0.5, 2.0, 1.0)),), ((4, 3), Leaf((4,), index=True, high=3))),
        Sample((Table((0.5, 2.0, 1.0)), False), ((4, 3), Leaf((4,), index=True, high=3))),
        Sample((), ((2, 3, 4), Leaf((2, 3), index=True, high=4))),
        Sample((), ((4,), Leaf((), index=True, high=4))),
        Sample((), ((4,), Leaf((1,), index=True, high=4))),
    )

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        super().check(a, origin)
        if getattr(a, "ignoreIndex", None) is not None and a.ignoreIndex < 0:
            raise fail("E0422", f"nn.{self.name}: ignoreIndex must be a class, or 0, got {a.ignoreIndex}", origin)

    def log_probabilities(self, b: Lowering, prediction: Value) -> Value:
        return prediction

    def losses(self, b: Lowering, m: Module, x: Tree) -> Losses:
        prediction, target = pair(x)
        ignored = getattr(m.args, "ignoreIndex", None)
        index, counts = self._classes(b, b.reshape(target, prediction.shape[:-1]), prediction.shape[-1], ignored)
        values = b.neg(b.pick(self.log_probabilities(b, prediction), index))
        weights = None if m.args.weights is None else b.gather(b.buffer(m, "weights"), index)
        if counts is not None:
            one = weights if weights is not None else b.full_like(values, 1)
            weights = b.where(counts, one, b.full_like(values, 0))
            values = b.where(counts, values, b.full_like(values, 0))
        return Losses(values if weights is None else b.mul(weights, values), weights)

    @staticmethod
    def _classes(b: Lowering, target: Value, classes: Size, ignored: int | None) -> tuple[Value, Value | None]:
        """Classes from 0, in bounds, and which of them count (None: all)."""
        if ignored is None:
            return b.zero_based(target, classes), None
        if ignored:
            index = b.zero_based(target, classes)
            return index, b.compare(index, b.full_like(index, ignored - b.session.index_base), "ne")
        return b.classes_or_none(target, classes)


@register
class CrossEntropyCriterion(ClassNLLCriterion):
    """LogSoftMax along the last axis and ClassNLLCriterion in one: ``{[..., n], int32 [...]} -> []``.

    ``criterion.nll.sizeAverage = false``, as Torch's pages write it, makes it the sum; so does ``criterion.sizeAverage = false``.
    """

    name = "CrossEntropyCriterion"
    doc = "the cross entropy of the softmax of scores with the target classes"
    source = PAGE + "crossentropycriterion"
    differs = "rows may have any number of leading axes; ignoreIndex, as ClassNLLCriterion has it, is one argument more"
    parts = ("nll",)

    def log_probabilities(self, b: Lowering, prediction: Value) -> Value:
        return log_softmax(b, prediction, prediction.type.rank - 1)


@register
class SpatialClassNLLCriterion(ClassNLLCriterion):
    """ClassNLLCriterion at each place of a plane: ``{log_p [B, n, h, w], int32 [B, h, w]} -> []``, the mean over all places.

    ``weights`` (a table of n numbers) makes it the weighted mean; with ``sizeAverage = false`` it is the sum.
    """

    name = "SpatialClassNLLCriterion"
    doc = "the negative log likelihood of the target class at each place of a plane"
    source = "https://github.com/torch/nn/blob/master/SpatialClassNLLCriterion.lua"
    differs = ""
    arguments = (WEIGHTS, SIZE_AVERAGE)
    samples = (
        Sample((), ((2, 3, 2, 2), Leaf((2, 2, 2), index=True, high=3))),
        Sample((Table((0.5, 2.0, 1.0)),), ((2, 3, 1, 2), Leaf((2, 1, 2), index=True, high=3))),
        Sample((None, False), ((1, 4, 2, 3), Leaf((1, 2, 3), index=True, high=4))),
        Sample((Table((0.5, 2.0)), False), ((2, 2, 2, 1), Leaf((2, 2, 1), index=True, high=2))),
    )

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        prediction, target = s.table(x, 2)
        rows, height, width = s.unknown("B"), s.unknown("h"), s.unknown("w")
        s.set(prediction, (rows, self.classes(s, m), height, width), FLOAT)
        s.set(target, (rows, height, width), "int32")
        s.set(y, (), FLOAT)

    def losses(self, b: Lowering, m: Module, x: Tree) -> Losses:
        prediction, target = pair(x)
        return super().losses(b, m, (b.transpose(prediction, (0, 2, 3, 1)), target))


@register
class ClassSimplexCriterion(Classes):
    """MSECriterion of ``x [n]`` or ``[B, n]`` and the corner that stands for the target class: ``{[..., n], int32 [...]} -> []``.

    The corners are those of a regular simplex of ``nClasses`` points around 0, each at distance 1 from it, in one dimension fewer
    (the last coordinate is 0).  ``criterion.sizeAverage = false`` makes it the sum.
    """

    name = "ClassSimplexCriterion"
    doc = "the mean squared difference from the class's corner of a regular simplex"
    source = PAGE + "classsimplexcriterion"
    differs = "sizeAverage may be given to the constructor too; for getPredictions and getTopPrediction write nn.MM with the corners"
    arguments = (Argument("nClasses"), SIZE_AVERAGE)
    samples = (
        Sample((3,), ((2, 3), Leaf((2,), index=True, high=3))),
        Sample((4, False), ((4,), Leaf((), index=True, high=4))),
        Sample((2,), ((3, 2), Leaf((3,), index=True, high=2))),
        Sample((5,), ((5,), Leaf((1,), index=True, high=5))),
    )

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        super().check(a, origin)
        if not 1 < a.nClasses <= MOST_CORNERS:
            raise fail("E0422", f"nn.{self.name}: nClasses must be from 2 to {MOST_CORNERS}, got {a.nClasses}", origin)

    def buffers(self, a: SimpleNamespace) -> Mapping[str, ParameterSpec]:
        return {"simplex": ParameterSpec((a.nClasses, a.nClasses), InitStep("copy", (corners(a.nClasses),)))}

    def classes(self, s: Types, m: Module) -> SizeLike:
        return int(m.args.nClasses)

    def losses(self, b: Lowering, m: Module, x: Tree) -> Losses:
        prediction, target = pair(x)
        index = b.zero_based(b.reshape(target, prediction.shape[:-1]), prediction.shape[-1])
        difference = b.sub(prediction, b.gather(b.buffer(m, "simplex"), index))
        return Losses(b.mul(difference, difference))


MOST_CORNERS = 10_000
"""More take more memory than a spec may ask for while it is read."""


def corners(n: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """n points of norm 1 in n-1 dimensions (and a 0), any two with the inner product ``-1/(n-1)``.

    That and a lower triangle with a positive diagonal determine them.  Coordinate k of all later points is the same; from the two
    conditions the diagonal is ``sqrt((n - k) n / ((n - k + 1) (n - 1)))`` for k from 1, and what is below it the diagonal over ``k - n``.
    """
    k = np.arange(1, n)
    diagonal = np.sqrt((n - k) * n / ((n - k + 1) * (n - 1)))
    points = np.tril(np.broadcast_to(np.append(diagonal / (k - n), 0.0), (n, n)), -1)
    points[k - 1, k - 1] = diagonal
    return points


@register
class MultiMarginCriterion(WeightedClasses):
    """The mean over all rows of ``sum_{i != t} max(0, margin - x_t + x_i)^p / n``: ``{[..., n], int32 [...]} -> []``.

    ``p`` is 1 or 2; ``weights`` (a table of n numbers) multiplies each row's loss by the weight of its class t; with
    ``sizeAverage = false`` it is the sum over the rows.
    """

    name = "MultiMarginCriterion"
    doc = "the hinge loss of the target class's score against all other scores"
    source = PAGE + "multimargincriterion"
    differs = "rows may have any number of leading axes; sizeAverage may be given to the constructor too"
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
        index = b.zero_based(b.reshape(target, prediction.shape[:-1]), n)
        own = drop_axis(b, b.pick(prediction, index), prediction, last)
        z = b.shift_by(b.sub(prediction, own), m.args.margin)
        others = b.compare(b.broadcast(b.iota(n), z.shape, (last,)), drop_axis(b, index, z, last), "ne")
        none = b.full_like(z, 0)
        z = b.where(b.logical(others, b.compare(z, none, "gt"), "and"), z, none)
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
    source = PAGE + "multilabelmargincriterion"
    differs = "rows may have any number of leading axes; sizeAverage may be given to the constructor too"
    arguments = (SIZE_AVERAGE,)
    samples = (
        Sample((), ((2, 4), Leaf((2, 4), index=True, values=(1, 3, 0, 0, 4, 0, 2, 2)))),
        Sample((False,), ((3, 3), Leaf((3, 3), index=True, values=(0, 1, 2, 2, 2, 0, 3, 1, 2)))),
        Sample((), ((4,), Leaf((4,), index=True, values=(4, 1, 0, 3)))),
        Sample((), ((2, 1, 3), Leaf((2, 1, 3), index=True, values=(2, 0, 0, 3, 1, 0)))),
    )

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        prediction, target = s.table(x, 2)
        s.set(prediction, dtype=FLOAT)
        s.set(target, dtype="int32")
        s.set(y, (), FLOAT)
        s.wish(prediction, 2)
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
        z = b.shift_by(b.sub(scores, own), 1)
        none = b.full_like(z, 0)
        alive = b.logical(counted, b.logical(b.compare(targets, none, "eq"), b.compare(z, none, "gt"), "and"), "and")
        return Losses(mean_of(b, b.reduce_sum(b.where(alive, z, none), [rank - 1, rank]), n))


class Signed(Compared):
    """Base of losses of ``target * x`` for targets that are -1 or 1, as floats or as int32."""

    labels = True


SIGNS = Leaf((2, 3), index=True, values=(1, -1, 1, 1, -1, -1))


@register
class MarginCriterion(Signed):
    """The mean over all elements of ``max(0, margin - t x)`` for targets t that are -1 or 1: ``{[...], [...]} -> []``; with
    ``sizeAverage = false`` the sum."""

    name = "MarginCriterion"
    doc = "the hinge loss of two classes, -1 and 1"
    source = PAGE + "margincriterion"
    differs = "sizeAverage may be given to the constructor too"
    arguments = (Argument("margin", "number", 1.0), SIZE_AVERAGE)
    samples = (
        Sample((), ((2, 3), SIGNS)),
        Sample((0.4,), (Leaf((4,), values=(0.3, 0.5, -0.5, -0.1)), Leaf((4,), values=(1.0, 1.0, -1.0, 1.0)))),
        Sample((0.5, False), (Leaf((1, 2, 3), 0.1, 0.4), Leaf((1, 2, 3), index=True, values=(1, -1, 1, 1, -1, -1)))),
    )

    def loss(self, b: Lowering, m: Module, x: Value, target: Value) -> Value:
        z = b.shift_by(b.neg(b.mul(target, x)), m.args.margin)
        none = b.full_like(z, 0)
        return b.where(b.compare(z, none, "gt"), z, none)


@register
class SoftMarginCriterion(Signed):
    """The mean over all elements of ``log(1 + exp(-t x))`` for targets t that are -1 or 1: ``{[...], [...]} -> []``; with
    ``sizeAverage = false`` the sum."""

    name = "SoftMarginCriterion"
    doc = "the logistic loss of two classes, -1 and 1"
    source = PAGE + "softmargincriterion"
    samples = (
        Sample((), ((2, 3), SIGNS)),
        Sample((False,), (Leaf((4,), -3.0, 3.0), Leaf((4,), values=(1.0, 1.0, -1.0, 1.0)))),
        Sample((), ((1, 2, 3), Leaf((1, 2, 3), index=True, values=(1, -1, 1, 1, -1, -1)))),
    )

    def loss(self, b: Lowering, m: Module, x: Value, target: Value) -> Value:
        return softplus(b, b.neg(b.mul(target, x)))


@register
class MaskedLoss(Criterion):
    """The negative log likelihood of the targets that are not 0, over the batch size, with its accuracy:
    ``{log_p [B, n], int32 [B]} -> {loss [], correct [], counted []}``.

    ``correct`` counts the rows, of those that count, whose target is the likeliest class; it has no gradient.
    """

    name = "MaskedLoss"
    doc = "the negative log likelihood of targets that are not 0, the number of right answers, and the number counted"
    source = "https://github.com/wojciechz/learning_to_execute (layers/MaskedLoss.lua); Zaremba and Sutskever, 2014"
    samples = (
        Sample((), ((3, 4), Leaf((3,), index=True, high=4))),
        Sample((), ((4, 3), Leaf((4,), index=True, values=(2, 0, 3, 0)))),
        Sample((), ((2, 5), Leaf((2,), index=True, values=(0, 0)))),
    )

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        prediction, target = s.table(x, 2)
        rows = s.unknown("B")
        s.set(prediction, (rows, s.unknown("n")), FLOAT)
        s.set(target, (rows,), "int32")
        for cell in s.table(y, 3):
            s.set(cell, (), FLOAT)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        prediction, target = pair(x)
        rows, classes = prediction.shape
        place, counts = b.classes_or_none(target, classes)
        picked = b.pick(prediction, place)
        none = b.full_like(picked, 0)
        loss = b.neg(mean_of(b, b.reduce_sum(b.where(counts, picked, none), [0]), rows))
        likeliest = b.stop_gradient(b.reduce_max(prediction, [1]))
        right = b.logical(counts, b.compare(b.stop_gradient(picked), likeliest, "eq"), "and")
        one = b.full_like(picked, 1)
        return loss, *(b.reduce_sum(b.where(which, one, none), [0]) for which in (right, counts))
