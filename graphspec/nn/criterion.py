"""What all criterions share: a criterion compares a prediction with a target and gives a scalar loss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Module, ParameterSpec, Record
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import constant, equal_shapes, mean_of, numbers, pair
from graphspec.shapes.cells import FLOAT, Cell
from graphspec.shapes.infer import Types
from graphspec.sizes import Size, product

SIZE_AVERAGE = Argument("sizeAverage", "flag", True)
BY_CONSTRUCTOR = "sizeAverage is a field in Torch, and here an argument too"
"""What differs where Torch has it as a field only."""
WEIGHTS = Argument("weights", "table", None)

LEFT_OUT = {"StochasticGradient": "It trains a module, which is no part of a spec's graph: write `experiment{...}` and `graphspec run` it."}


@dataclass(frozen=True)
class Losses:
    """What a criterion adds up: losses of elements or of rows, and what each counts for in the mean (``None``: 1)."""

    values: Value
    weights: Value | None = None


@dataclass(frozen=True)
class Judged:
    """Of each prediction (bool): whether it is the target's, and whether it does not count (``None``: all do)."""

    right: Value
    target: Value
    without: Value | None = None


class Criterion(Record):
    """Base of records from ``{prediction, target}`` to a scalar: they say what the losses are, and here they are added up."""

    kind = "criterion"
    of_rows: ClassVar[bool] = True
    """The leading axis of the losses is that of the input."""

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        for argument in self.arguments:
            if argument.kind == "number" and not math.isfinite(getattr(a, argument.name)):
                raise fail("E0422", f"nn.{self.name}: {argument.name} must be a finite number", origin)

    def losses(self, b: Lowering, m: Module, x: Tree) -> Losses:
        raise NotImplementedError

    def judge(self, b: Lowering, m: Module, x: Tree) -> Judged | None:
        """Which predictions are right, where each chooses one of several classes."""
        return None

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        tell(b, m, x)
        return total(b, self.losses(b, m, x), getattr(m.args, "sizeAverage", False))


def tell(b: Lowering, m: Module, x: Tree, without: Value | None = None) -> None:
    """Which predictions of a criterion are right, for those who ask.  ``without``: rows (of the leading axis) that do not count."""
    assert isinstance(m.record, Criterion)
    judged = m.record.judge(b, m, x) if b.session.judged else None
    if judged is not None:
        rows = None if without is None else b.broadcast_first(without, judged.right)
        b.answered(judged.right, either(b, rows, judged.without), judged.target)


def either(b: Lowering, left: Value | None, right: Value | None) -> Value | None:
    """Where one or the other holds; None holds nowhere."""
    return b.logical(left, right, "or") if left is not None and right is not None else left if right is None else right


def total(b: Lowering, losses: Losses, average: bool, without: Value | None = None) -> Value:
    """The sum of the losses, or their mean.  ``without``: rows (of the leading axis) that do not count at all."""
    values, weights = losses.values, losses.weights
    if without is not None:
        without, zero = b.broadcast_first(without, values), b.full_like(values, 0)
        values = b.where(without, zero, values)
        weights = b.where(without, zero, weights if weights is not None else b.full_like(values, 1))
    axes = range(values.type.rank)
    summed = b.reduce_sum(values, axes)
    if not average:
        return summed
    if weights is None:
        return mean_of(b, summed, product(values.shape)) if axes else summed
    weight = b.reduce_sum(weights, axes)
    none = b.compare(weight, b.full_like(weight, 0), "eq")  # nothing counts: the loss is 0, as in Torch
    return b.div(summed, b.where(none, b.full_like(weight, 1), weight))


class Compared(Criterion):
    """Base of criterions that compare each element with its target: ``{x [...], target [...]} -> []``."""

    arguments: ClassVar[tuple[Argument, ...]] = (SIZE_AVERAGE,)
    labels: ClassVar[bool] = False
    """Targets are labels, -1 or 1, as floats or as int32."""
    halves: ClassVar[tuple[float, float] | None] = None
    """Where one number tells two classes apart: what it is above for the second, and what its target is."""

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        prediction, target = s.table(x, 2)
        floats_to_loss(s, m, [prediction] if self.labels else [prediction, target], y)
        if self.labels:
            labels_like(s, prediction, target)

    def loss(self, b: Lowering, m: Module, x: Value, target: Value) -> Value:
        """Of each element."""
        raise NotImplementedError

    def losses(self, b: Lowering, m: Module, x: Tree) -> Losses:
        prediction, target = pair(x)
        return Losses(self.loss(b, m, prediction, signs(b, target, prediction)))

    def one_choice(self, prediction: Value) -> bool:
        """Whether each number is a choice of its own, and not one of several that are given together: rows have one."""
        return prediction.type.rank < 2 or prediction.shape[-1].value == 1

    def judge(self, b: Lowering, m: Module, x: Tree) -> Judged | None:
        if self.halves is None:
            return None
        prediction, target = pair(x)
        if not self.one_choice(prediction):
            return None
        given = zip((prediction, signs(b, target, prediction)), self.halves, strict=True)
        said, wanted = (b.cast(b.compare(value, b.full_like(value, half), "gt"), "int32") for value, half in given)
        return Judged(b.compare(said, wanted, "eq"), target)


class WeightedElements(Compared):
    """Base of those with a weight for each place along the last axis."""

    arguments = (WEIGHTS, SIZE_AVERAGE)

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        super().check(a, origin)
        check_weights(self, a, origin)

    def buffers(self, a: SimpleNamespace) -> Mapping[str, ParameterSpec]:
        return weight_buffer(a)

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        super().shapes(s, m, x, y)
        if m.args.weights is not None:
            s.last_axis(s.table(x, 2)[0], len(m.args.weights.items))

    def losses(self, b: Lowering, m: Module, x: Tree) -> Losses:
        values = super().losses(b, m, x).values
        if m.args.weights is not None:
            values = b.mul(values, b.broadcast_last(b.buffer(m, "weights"), values))
        return Losses(values)


def floats_to_loss(s: Types, m: Module, cells: Sequence[Cell], y: Cell, rank: int = 2) -> None:
    """State that a loss is made of float tensors of equal shapes; ``rank`` is assumed when nobody says more."""
    s.set(cells[0], dtype=FLOAT)
    s.set(y, (), FLOAT)
    s.wish(cells[0], rank)
    equal_shapes(s, m, cells)


def prediction_and_classes(s: Types, x: Cell, y: Cell) -> tuple[Cell, Cell]:
    """``{prediction, target}`` of float rows and int32 classes, for a scalar loss."""
    prediction, target = s.table(x, 2)
    s.set(prediction, dtype=FLOAT)
    s.set(target, dtype="int32")
    s.set(y, (), FLOAT)
    s.wish(prediction, 2)
    return prediction, target


def targets_of(s: Types, dims: Sequence[Size], target: Cell) -> None:
    """The target has these sizes; where there is one element alone it may be a scalar or ``[1]``, since Torch has no scalars."""
    given = s.dims(target)
    if given is not None and {len(dims), len(given)} == {0, 1}:
        s.equate((*dims, *given)[0], Size.const(1), 0)
    else:
        s.set(target, dims)


def labels_like(s: Types, x: Cell, target: Cell) -> None:
    """One label for each element, of any dtype."""
    dims, given = s.dims(x), s.dims(target)
    if dims is not None:
        targets_of(s, dims, target)
    elif given is not None:
        s.set(x, given)


def signs(b: Lowering, target: Value, like: Value) -> Value:
    """Targets as floats of the sizes of what they are for."""
    return b.cast(b.reshape(target, like.shape), like.dtype)


def check_weights(record: Record, a: SimpleNamespace, origin: Origin) -> None:
    """E0422 unless ``weights`` are numbers in one row (or there are none)."""
    found = None if a.weights is None else numbers(a.weights)
    if a.weights is not None and (found is None or found.ndim != 1):
        raise fail("E0422", f"nn.{record.name}: weights must be a table of numbers, one for each class", origin)


def weight_buffer(a: SimpleNamespace, name: str = "weights") -> dict[str, ParameterSpec]:
    """The weights as a buffer, if there are any."""
    values = None if getattr(a, name) is None else numbers(getattr(a, name))
    return {} if values is None else {name: constant(values)}
