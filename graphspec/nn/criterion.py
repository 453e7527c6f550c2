"""Criterions: modules that compare a prediction with a target and give a scalar loss."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, InitStep, Leaf, Module, ParameterSpec, Record, Sample, Table, register
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import TORCH, equal_shapes, mean_of, only, pair
from graphspec.nn.transfer import log_softmax
from graphspec.shapes.cells import FLOAT, Cell
from graphspec.shapes.infer import Types
from graphspec.sizes import Size, product

SIZE_AVERAGE = Argument("sizeAverage", "flag", True)


class Criterion(Record):
    """Base of records from ``{prediction, target}`` to a scalar."""

    kind = "criterion"


@register
class ClassNLLCriterion(Criterion):
    """``-log_p[target]``, the mean over all rows: ``{[..., n], int32 [...]} -> []``; classes count from 1.

    ``weights`` (a table of n numbers) makes it the weighted mean ``sum(-w[t] log_p[t]) / sum(w[t])``; with
    ``sizeAverage = false`` it is the sum.  Targets that are ``ignoreIndex`` do not count, in the mean neither; ``ignoreIndex = 0``
    is for targets of several lengths in one tensor, filled up with 0.
    """

    name = "ClassNLLCriterion"
    doc = "the negative log likelihood of the target classes, from log-probabilities"
    source = TORCH + "criterion.md#classnllcriterion"
    arguments = (Argument("weights", "table", None), SIZE_AVERAGE, Argument("ignoreIndex", "int", None))
    samples = (
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
        if a.ignoreIndex is not None and a.ignoreIndex < 0:
            raise fail("E0422", f"nn.{self.name}: ignoreIndex must be a class, or 0, got {a.ignoreIndex}", origin)
        if a.weights is None:
            return
        items = a.weights.items
        if not items or not all(isinstance(w, (int, float)) and not isinstance(w, bool) and w >= 0 for w in items):
            raise fail("E0422", f"nn.{self.name}: weights must be a table of numbers from 0, one for each class", origin)

    def buffers(self, a: SimpleNamespace) -> Mapping[str, ParameterSpec]:
        if a.weights is None:
            return {}
        values = np.array(a.weights.items, np.float64)
        return {"weights": ParameterSpec(values.shape, InitStep("copy", (values,)))}

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        prediction, target = s.table(x, 2)
        s.set(prediction, dtype=FLOAT)
        s.set(target, dtype="int32")
        s.set(y, (), FLOAT)
        s.wish(prediction, 2)
        n = len(m.args.weights.items) if m.args.weights is not None else s.unknown("n")
        s.last_axis(prediction, n)
        dims, given = s.dims(prediction), s.dims(target)
        if dims is not None and len(dims) == 1 and given is not None and len(given) == 1:
            s.set(target, [1])  # Torch has no scalars: the target of one vector is a tensor of one element
        elif dims is not None:
            s.set(target, dims[:-1])
        elif given is not None and len(given) > 1:
            s.set(prediction, [*given, n])

    def log_probabilities(self, b: Lowering, prediction: Value) -> Value:
        return prediction

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        prediction, target = pair(x)
        ignored = m.args.ignoreIndex
        index, counts = self._classes(b, b.reshape(target, prediction.shape[:-1]), prediction.shape[-1], ignored)
        losses = b.neg(b.pick(self.log_probabilities(b, prediction), index))
        axes = range(losses.type.rank)
        weights = None if m.args.weights is None else b.gather(b.buffer(m, "weights"), index)
        if counts is not None:
            one = weights if weights is not None else b.full_like(losses, 1)
            weights = b.where(counts, one, b.full_like(losses, 0))
            losses = b.where(counts, losses, b.full_like(losses, 0))
        if weights is None:
            total = b.reduce_sum(losses, axes)
            return mean_of(b, total, product(losses.shape)) if m.args.sizeAverage and losses.type.rank else total
        total = b.reduce_sum(b.mul(weights, losses), axes)
        if not m.args.sizeAverage:
            return total
        weight = b.reduce_sum(weights, axes)
        none = b.compare(weight, b.full_like(weight, 0), "eq")  # nothing counts: the loss is 0, as in Torch
        return b.div(total, b.where(none, b.full_like(weight, 1), weight))

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
    """LogSoftMax along the last axis and ClassNLLCriterion in one: ``{[..., n], int32 [...]} -> []``."""

    name = "CrossEntropyCriterion"
    doc = "the cross entropy of the softmax of scores with the target classes"
    source = TORCH + "criterion.md#crossentropycriterion"

    def log_probabilities(self, b: Lowering, prediction: Value) -> Value:
        return log_softmax(b, prediction, prediction.type.rank - 1)


@register
class MSECriterion(Criterion):
    """The mean over all elements of ``(x - target)^2``; with ``sizeAverage = false`` the sum."""

    name = "MSECriterion"
    doc = "the mean squared difference"
    source = TORCH + "criterion.md#msecriterion"
    arguments = (SIZE_AVERAGE,)
    samples = (Sample((), ((2, 3), (2, 3))), Sample((False,), ((4,), (4,))), Sample((), ((2, 3, 2), (2, 3, 2))))

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        prediction, target = s.table(x, 2)
        s.set(prediction, dtype=FLOAT)
        s.set(y, (), FLOAT)
        s.wish(prediction, 2)
        equal_shapes(s, m, [prediction, target])

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        assert isinstance(x, tuple)
        difference = b.sub(only(x[0]), only(x[1]))
        total = b.reduce_sum(b.mul(difference, difference), range(difference.type.rank))
        return mean_of(b, total, product(difference.shape)) if m.args.sizeAverage else total


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
