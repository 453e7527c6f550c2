"""Criterions of classes: the target of each row is a class, or several, or none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import numpy as np

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Leaf, Module, ParameterSpec, Sample, Table, register
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import CRITERIONS, TORCH_CODE, constant, drop_axis, mean_of, pair
from graphspec.nn.criterion import (
    BY_CONSTRUCTOR,
    SIZE_AVERAGE,
    WEIGHTS,
    Criterion,
    Judged,
    Losses,
    check_weights,
    either,
    prediction_and_classes,
    targets_of,
    weight_buffer,
)
from graphspec.nn.transfer import log_softmax
from graphspec.shapes.cells import FLOAT, Cell
from graphspec.shapes.infer import Types
from graphspec.sizes import Size, SizeLike, product


class Classes(Criterion):
    """Base of ``{[..., n], int32 [...]} -> []``, one class for each row; the target of one row alone is a scalar, or one element."""

    def classes(self, s: Types, m: Module) -> SizeLike:
        """How many there are."""
        weights = getattr(m.args, "weights", None)
        return len(weights.items) if weights is not None else s.unknown("n")

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        prediction, target = prediction_and_classes(s, x, y)
        n = self.classes(s, m)
        s.last_axis(prediction, n)
        dims, given = s.dims(prediction), s.dims(target)
        if dims is not None:
            targets_of(s, dims[:-1], target)
        elif given is not None and len(given) > 1:
            s.set(prediction, [*given, n])

    def scores(self, b: Lowering, m: Module, prediction: Value) -> Value:
        """One for each class, the largest for the class that is predicted."""
        return prediction

    def index(self, b: Lowering, m: Module, prediction: Value, target: Value) -> Value:
        """The classes that are targets, from 0."""
        return b.zero_based(b.reshape(target, prediction.shape[:-1]), prediction.shape[-1])

    def judge(self, b: Lowering, m: Module, x: Tree) -> Judged | None:
        """No score is larger than the target's, and of equals the target is the first: one pass that kernels take with others, which
        looking for the largest is not."""
        prediction, target = pair(x)
        scores, index, last = self.scores(b, m, prediction), self.index(b, m, prediction, target), prediction.type.rank - 1
        picked = b.pick(scores, index)
        own, place = drop_axis(b, picked, scores, last), drop_axis(b, index, scores, last)
        before = b.compare(b.broadcast(b.iota(scores.shape[-1]), scores.shape, (last,)), place, "lt")
        ahead = b.logical(b.compare(scores, own, "gt"), b.logical(b.compare(scores, own, "eq"), before, "and"), "or")
        one, none = b.full_like(scores, 1), b.full_like(scores, 0)
        count = b.reduce_sum(b.where(ahead, one, none), [last])
        first = b.compare(count, b.full_like(count, 0), "eq")
        return Judged(b.logical(first, b.compare(picked, picked, "eq"), "and"), target)  # NaN is no answer


class WeightedClasses(Classes):
    """Base of those with a weight for each class, from 0."""

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        super().check(a, origin)
        check_weights(self, a, origin)

    def buffers(self, a: SimpleNamespace) -> Mapping[str, ParameterSpec]:
        return weight_buffer(a)


@register
class ClassNLLCriterion(WeightedClasses):
    """``-log_p[target]``, the mean over all rows: ``{[..., n], int32 [...]} -> []``; classes count from 1.

    ``weights`` (a table of n numbers) makes it the weighted mean ``sum(-w[t] log_p[t]) / sum(w[t])``; with
    ``sizeAverage = false`` it is the sum.  Targets that are ``ignoreIndex``, a class or any other number, do not count, in the mean
    neither; ``ignoreIndex = 0`` is for targets of several lengths in one tensor, filled up with 0.
    """

    name = "ClassNLLCriterion"
    doc = "the negative log likelihood of the target classes, from log-probabilities"
    source = CRITERIONS + "classnllcriterion"
    differs = "more leading axes than one are taken too; without ignoreIndex every target must be a class (Torch passes over -100)"
    arguments: ClassVar[tuple[Argument, ...]] = (WEIGHTS, SIZE_AVERAGE, Argument("ignoreIndex", "int", None))
    samples: ClassVar[tuple[Sample, ...]] = (
        Sample((), ((3, 4), Leaf((3,), index=True, high=4))),
        Sample((None, True, 0), ((2, 3, 4), Leaf((2, 3), index=True, high=4, values=(2, 0, 3, 4, 0, 0)))),
        Sample((None, False, 0), ((3, 4), Leaf((3,), index=True, high=4, values=(2, 0, 3)))),
        Sample((None, True, -100), ((3, 4), Leaf((3,), index=True, values=(-100, 1, 4)))),
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
        if getattr(a, "ignoreIndex", None) is not None and abs(a.ignoreIndex) >= 2**31 - 1:
            raise fail("E0422", f"nn.{self.name}: ignoreIndex must be an int32, got {a.ignoreIndex}", origin)

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

    def judge(self, b: Lowering, m: Module, x: Tree) -> Judged | None:
        judged = super().judge(b, m, x)
        assert judged is not None
        prediction, target = pair(x)
        ignored, without = getattr(m.args, "ignoreIndex", None), self.blank(b, prediction)
        if ignored is not None:
            target = b.reshape(target, judged.right.shape)
            without = either(b, without, b.compare(target, b.full_like(target, ignored - 1 + b.session.index_base), "eq"))
        return replace(judged, without=without)

    def blank(self, b: Lowering, prediction: Value) -> Value | None:
        """Which rows are no prediction: logarithms of probabilities are not all 0, and what follows the end of a sequence is."""
        largest = b.reduce_max(b.abs(prediction), [prediction.type.rank - 1])
        return b.compare(largest, b.full_like(largest, 0), "eq")

    def index(self, b: Lowering, m: Module, prediction: Value, target: Value) -> Value:
        target = b.reshape(target, prediction.shape[:-1])
        return self._classes(b, target, prediction.shape[-1], getattr(m.args, "ignoreIndex", None))[0]

    @staticmethod
    def _classes(b: Lowering, target: Value, classes: Size, ignored: int | None) -> tuple[Value, Value | None]:
        """Classes from 0, in bounds, and which of them count (None: all)."""
        if ignored is None:
            return b.zero_based(target, classes), None
        base = b.session.index_base
        counts = b.compare(target, b.full_like(target, ignored - 1 + base), "ne")
        return b.zero_based(b.where(counts, target, b.full_like(target, base)), classes), counts


@register
class CrossEntropyCriterion(ClassNLLCriterion):
    """LogSoftMax along the last axis and ClassNLLCriterion in one: ``{[..., n], int32 [...]} -> []``.

    ``criterion.nll.sizeAverage = false``, as Torch's pages write it, makes it the sum; so does ``criterion.sizeAverage = false``.
    """

    name = "CrossEntropyCriterion"
    doc = "the cross entropy of the softmax of scores with the target classes"
    source = CRITERIONS + "crossentropycriterion"
    differs = "more leading axes than one are taken too; ignoreIndex, as in ClassNLLCriterion, is one argument more; axes of size 1 stay"
    parts = ("nll",)

    def log_probabilities(self, b: Lowering, prediction: Value) -> Value:
        return log_softmax(b, prediction, prediction.type.rank - 1)

    def blank(self, b: Lowering, prediction: Value) -> Value | None:
        return None  # scores may all be 0


@register
class SpatialClassNLLCriterion(ClassNLLCriterion):
    """ClassNLLCriterion at each place of a plane: ``{log_p [B, n, h, w], int32 [B, h, w]} -> []``, the mean over all places.

    ``weights`` (a table of n numbers) makes it the weighted mean; with ``sizeAverage = false`` it is the sum.
    """

    name = "SpatialClassNLLCriterion"
    doc = "the negative log likelihood of the target class at each place of a plane"
    source = TORCH_CODE + "SpatialClassNLLCriterion.lua"
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

    @staticmethod
    def _of_places(b: Lowering, x: Tree) -> Tree:
        prediction, target = pair(x)
        return b.transpose(prediction, (0, 2, 3, 1)), target

    def losses(self, b: Lowering, m: Module, x: Tree) -> Losses:
        return super().losses(b, m, self._of_places(b, x))

    def judge(self, b: Lowering, m: Module, x: Tree) -> Judged | None:
        return super().judge(b, m, self._of_places(b, x))


@register
class ClassSimplexCriterion(Classes):
    """MSECriterion of ``x [n]`` or ``[B, n]`` and the corner that stands for the target class: ``{[..., n], int32 [...]} -> []``.

    The corners are those of a regular simplex of ``nClasses`` points around 0, each at distance 1 from it, in one dimension fewer
    (the last coordinate is 0).  ``criterion.sizeAverage = false`` makes it the sum.
    """

    name = "ClassSimplexCriterion"
    doc = "the mean squared difference from the class's corner of a regular simplex"
    source = CRITERIONS + "classsimplexcriterion"
    differs = f"{BY_CONSTRUCTOR}; for getPredictions and getTopPrediction write nn.MM with the corners"
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
        return {"simplex": constant(corners(a.nClasses))}

    def classes(self, s: Types, m: Module) -> SizeLike:
        return int(m.args.nClasses)

    def losses(self, b: Lowering, m: Module, x: Tree) -> Losses:
        prediction, target = pair(x)
        index = self.index(b, m, prediction, target)
        difference = b.sub(prediction, b.gather(b.buffer(m, "simplex"), index))
        return Losses(b.mul(difference, difference))

    def scores(self, b: Lowering, m: Module, prediction: Value) -> Value:
        n = prediction.shape[-1]
        rows = b.reshape(prediction, (product(prediction.shape[:-1]), n))  # the nearest corner is that with the largest inner product
        return b.reshape(b.matmul(rows, b.transpose(b.buffer(m, "simplex"), (1, 0))), prediction.shape)


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
        if b.session.judged:
            b.answered(right, b.compare(target, b.full_like(target, b.session.index_base - 1), "eq"), target)
        one = b.full_like(picked, 1)
        return loss, *(b.reduce_sum(b.where(which, one, none), [0]) for which in (right, counts))
