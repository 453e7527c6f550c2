"""Criterions made of criterions: sums of several, one at each step of a sequence, one behind modules, one that leaves rows out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Leaf, Make, Module, Record, Sample, Table, Walk, register
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree, flatten, map_tree
from graphspec.nn.common import CRITERIONS, RNN, TORCH, impossible, mean_of, only
from graphspec.nn.criterion import Criterion, tell, total
from graphspec.nn.loop import stacked
from graphspec.nn.sequence import zero_rows
from graphspec.nn.sequencer import steps, together
from graphspec.shapes.cells import FLOAT, Cell, Mismatch
from graphspec.shapes.infer import Types
from graphspec.sizes import Size

CRITERION = Argument("criterion", "module")


def rows(n: int, classes: int) -> Leaf:
    """The classes of n rows."""
    return Leaf((n,), index=True, high=classes)


def loss_of(s: Types, key: Any, module: Module, x: Cell) -> None:
    """State that the module takes ``x`` to a number."""
    s.set(s.child(key, module, x, Cell()).y, (), FLOAT)


class Sum(Criterion):
    """Base of weighted sums of the criterions that are added: ``:add(criterion [, weight])``."""

    children = True
    methods = ("add",)

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        super().check(a, origin)
        a.weights = getattr(a, "weights", ())

    def call(self, m: Module, method: str, args: Sequence[Any], origin: Origin) -> Module:
        child, weight = [*args, None, None][:2]
        weight = 1 if weight is None else weight
        if not isinstance(child, Module):
            raise fail("E0422", f"nn.{self.name}:add takes a criterion, and a weight", origin)
        if not isinstance(weight, (int, float)) or isinstance(weight, bool) or not math.isfinite(weight):
            raise fail("E0422", f"nn.{self.name}:add: a weight is a finite number", origin)
        m.args.weights = (*m.args.weights, *[1.0] * (len(m.children) - len(m.args.weights)), float(weight))
        return m.add(child, origin)

    def inputs(self, s: Types, m: Module, x: Cell) -> list[Cell]:
        """What each child reads."""
        raise NotImplementedError

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        if not m.children:
            raise impossible(s, m, "no criterion has been added to it", "nothing inside", "E0302")
        s.set(y, (), FLOAT)
        for position, (child, cell) in enumerate(zip(m.children, self.inputs(s, m, x), strict=True)):
            loss_of(s, position, child, cell)

    def given(self, w: Walk | Lowering, m: Module, x: Any) -> Sequence[Any]:
        """As :meth:`inputs`, for values."""
        raise NotImplementedError

    def inside(self, w: Walk, m: Module, x: Any) -> Any:
        return w.own("weighted sum", *(w.child(position, value) for position, value in enumerate(self.given(w, m, x))))

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        summed: Value | None = None
        weights = [*m.args.weights, *[1.0] * (len(m.children) - len(m.args.weights))]
        for position, (value, weight) in enumerate(zip(self.given(b, m, x), weights, strict=True)):
            loss = only(b.child(position, value))
            loss = loss if weight == 1 else b.scale(loss, weight)
            summed = loss if summed is None else b.add(summed, loss)
        assert summed is not None
        return summed


@register
class MultiCriterion(Sum):
    """The weighted sum of criterions on the same input and target: ``nn.MultiCriterion():add(a [, weight]):add(b [, weight])``."""

    name = "MultiCriterion"
    doc = "the weighted sum of criterions on the same input and target"
    source = CRITERIONS + "multicriterion"
    differs = "with nothing added it is refused"
    samples = (
        Sample((), ((2, 4), rows(2, 4)), methods=(("add", (Make("ClassNLLCriterion"), 0.5)), ("add", (Make("CrossEntropyCriterion"),)))),
        Sample((), ((2, 3), (2, 3)), children=(Make("MSECriterion"),)),
        Sample((), ((2, 3), (2, 3)), children=(Make("MSECriterion", (False,)), Make("SmoothL1Criterion"))),
        Sample((), ((2, 2), rows(2, 2)), methods=(("add", (Make("ClassNLLCriterion", (Table((1, 3)),)), -2)),)),
    )

    def inputs(self, s: Types, m: Module, x: Cell) -> list[Cell]:
        return [x] * len(m.children)

    def given(self, w: Walk | Lowering, m: Module, x: Any) -> Sequence[Any]:
        return [x] * len(m.children)


@register
class ParallelCriterion(Sum):
    """The weighted sum of criterions, each on its own elements of the tables of inputs and of targets: ``{{x1, ...}, {t1, ...}} -> []``.

    With ``repeatTarget`` there is one target, and each criterion reads it.
    """

    name = "ParallelCriterion"
    doc = "the weighted sum of criterions, each on its own input and target"
    source = CRITERIONS + "parallelcriterion"
    differs = "there are as many inputs as criterions; with nothing added it is refused"
    arguments = (Argument("repeatTarget", "flag", False),)
    samples = (
        Sample((), (((2, 4), (2, 3)), (rows(2, 4), (2, 3))),
               methods=(("add", (Make("ClassNLLCriterion"), 0.5)), ("add", (Make("MSECriterion"),)))),
        Sample((True,), (((2, 3), (2, 3)), Leaf((2, 3), 0.1, 0.9)), children=(Make("MSECriterion"), Make("DistKLDivCriterion"))),
        Sample((False,), (((4,),), ((4,),)), children=(Make("MSECriterion", (False,)),)),
    )  # fmt: skip

    def inputs(self, s: Types, m: Module, x: Cell) -> list[Cell]:
        n = len(m.children)
        given, target = s.table(x, 2)
        targets = [target] * n if m.args.repeatTarget else s.table(target, n)
        return [s.tree([a, t]) for a, t in zip(s.table(given, n), targets, strict=True)]

    def given(self, w: Walk | Lowering, m: Module, x: Any) -> Sequence[Any]:
        n = len(m.children)
        given, target = w.items(x, 2)
        return list(zip(w.items(given, n), [target] * n if m.args.repeatTarget else w.items(target, n), strict=True))


class Decorator(Criterion):
    """Base of criterions around one that is given to the constructor."""

    arguments: ClassVar[tuple[Argument, ...]] = (CRITERION,)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        return Record.lower(self, b, m, x)  # what is inside, not losses of its own


@register
class CriterionTable(Decorator):
    """The criterion on ``{input, target}``: the criterion itself, since every criterion takes such a table here."""

    name = "CriterionTable"
    doc = "a criterion as a module of the table {input, target}"
    source = TORCH + "table.md#criteriontable"
    differs = "a target has a gradient too, where the criterion gives it one"
    samples = (Sample((Make("MSECriterion"),), ((2, 3), (2, 3))), Sample((Make("ClassNLLCriterion"),), ((3, 4), rows(3, 4))))

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.set(y, (), FLOAT)
        loss_of(s, "criterion", m.args.criterion, x)


@register
class ModuleCriterion(Decorator):
    """The criterion on ``{inputModule(input), targetModule(target)}``; a module that is not given hands on what it would read."""

    name = "ModuleCriterion"
    doc = "a criterion behind a module on the input, and one on the target"
    source = CRITERIONS + "modulecriterion"
    differs = "parameters of the modules are trained; castTarget is taken and means nothing, since types are the graph's"
    arguments = (
        CRITERION,
        Argument("inputModule", "module", None),
        Argument("targetModule", "module", None),
        Argument("castTarget", "flag", True),
    )
    samples = (
        Sample((Make("MSECriterion"), Make("Tanh"), Make("Square")), ((2, 3), (2, 3))),
        Sample((Make("ClassNLLCriterion"), Make("LogSoftMax")), ((3, 4), rows(3, 4))),
        Sample((Make("MSECriterion", (False,)), None, Make("Linear", (2, 3)), False), ((2, 3), (2, 2))),
    )

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.set(y, (), FLOAT)
        cells = list(s.table(x, 2))
        for position, module in enumerate((m.args.inputModule, m.args.targetModule)):
            if module is not None:
                cells[position] = s.child(position, module, cells[position], Cell()).y
        loss_of(s, "criterion", m.args.criterion, s.tree(cells))

    def inside(self, w: Walk, m: Module, x: Any) -> Any:
        modules = (m.args.inputModule, m.args.targetModule)
        given = enumerate(zip(modules, w.items(x, 2), strict=True))
        return w.child("criterion", tuple(value if module is None else w.child(i, value) for i, (module, value) in given))


class Steps(Decorator):
    """Base of criterions on each step of a sequence, a tensor ``[T, ...]`` or a table of steps."""

    loops = True
    repeats: ClassVar[bool] = False
    """Each step has the same target."""

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.set(y, (), FLOAT)
        use = s.child("criterion", m.args.criterion, Cell(), Cell())
        s.set(use.y, (), FLOAT)
        trip = s.unknown("T")
        one, one_target = s.table(use.x, 2)
        given, target = s.table(x, 2)
        self._sequence(s, given, one, trip)
        if self.repeats:
            s.same(target, one_target)
        else:
            self._sequence(s, target, one_target, trip)

    @staticmethod
    def _sequence(s: Types, whole: Cell, one: Cell, trip: Size) -> None:
        kind = s.is_table(whole)
        if kind is None:
            s.guess(lambda: stacked(s, whole, one, trip))
        elif kind:
            items = s.items(whole)
            if not items:
                raise Mismatch("an empty table")
            s.equate(trip, len(items))
            for item in items:
                s.same(item, one)
        else:
            stacked(s, whole, one, trip)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        assert isinstance(x, tuple)
        trip = b.unknown("T")
        given, target = x
        given = together(b, given) if isinstance(given, tuple) else given
        if self.repeats:
            target = map_tree(lambda v: b.broadcast(v, (trip, *v.shape), range(1, v.type.rank + 1)), target)
        elif isinstance(target, tuple):
            target = together(b, target)
        losses = only(steps(b, b.use.subs["criterion"], trip, (given, target)))
        summed = b.reduce_sum(losses, [0])
        return mean_of(b, summed, trip) if getattr(m.args, "sizeAverage", False) else summed


STEPS = "all steps have one shape; a tensor of inputs may go with a table of targets, and the other way round"


@register
class SequencerCriterion(Steps):
    """The sum over the steps of the criterion on step t of the inputs and step t of the targets, each a tensor ``[T, ...]`` or a table.

    With ``sizeAverage = true`` it is the mean over the steps.
    """

    name = "SequencerCriterion"
    doc = "a criterion at each step of a sequence of inputs and one of targets"
    source = RNN + "SequencerCriterion"
    differs = STEPS
    arguments = (CRITERION, Argument("sizeAverage", "flag", False))
    samples = (
        Sample((Make("ClassNLLCriterion"),), ((3, 2, 4), Leaf((3, 2), index=True, high=4))),
        Sample((Make("MSECriterion"), True), (((2, 3), (2, 3)), ((2, 3), (2, 3)))),
        Sample((Make("ClassNLLCriterion", (Table((1, 2, 0.5)),)), True), (((2, 3), (2, 3)), Leaf((2, 2), index=True, high=3))),
        Sample((Make("MaskZeroCriterion", (Make("MSECriterion"), 1)),), ((2, 2, 3), (2, 2, 3))),
    )


@register
class RepeaterCriterion(Steps):
    """The sum over the steps of the criterion on step t of the inputs, a tensor ``[T, ...]`` or a table, and always the same target."""

    name = "RepeaterCriterion"
    doc = "a criterion at each step of a sequence, with one target for all"
    source = RNN + "RepeaterCriterion"
    differs = "all steps have one shape"
    repeats = True
    samples = (
        Sample((Make("ClassNLLCriterion"),), ((3, 2, 4), rows(2, 4))),
        Sample((Make("MSECriterion"),), (((2, 3), (2, 3), (2, 3)), (2, 3))),
        Sample((Make("MSECriterion", (False,)),), ((2, 3), (3,))),
    )


@register
class MaskZeroCriterion(Decorator):
    """The criterion without the rows whose input is 0 in all elements: they add nothing, do not count in a mean, and have no gradient.

    Inputs are ``[B, ...]`` with ``nInputDim`` axes behind the batch; of a table the first tensor decides.  With no row left the loss is 0.
    Targets of rows that are left out may be anything, such as the class 0.
    """

    name = "MaskZeroCriterion"
    doc = "a criterion without the rows whose input is all zeros"
    source = RNN + "MaskZeroCriterion"
    differs = "the criterion is one with a loss for each row or element, not one made of others"
    arguments = (CRITERION, Argument("nInputDim"))
    samples = (
        Sample((Make("ClassNLLCriterion"), 1), ((3, 2), rows(3, 2))),
        Sample((Make("MSECriterion"), 2), ((2, 2, 3), (2, 2, 3))),
        Sample((Make("MSECriterion", (False,)), 1), ((2, 2), (2, 2))),
        Sample((Make("CosineEmbeddingCriterion"), 1), ((Leaf((3, 2), 0.2, 0.9), (3, 2)), Leaf((3,), values=(1.0, 1.0, 1.0)))),
        Sample((Make("ClassNLLCriterion", (Table((1, 3)),)), 1), ((3, 2), rows(3, 2))),
    )

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        super().check(a, origin)
        record = a.criterion.record
        if not isinstance(record, Criterion) or not record.of_rows or type(record).losses is Criterion.losses:
            raise fail("E0422", f"nn.{self.name}: nn.{record.name} is not a criterion with a loss for each row", origin,
                       helps=["put nn.MaskZeroCriterion inside, around the criterions that it is made of"])

    @staticmethod
    def _first(s: Types, x: Cell) -> Cell:
        items = s.find(x).items
        return MaskZeroCriterion._first(s, items[0]) if items else x

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.set(y, (), FLOAT)
        loss_of(s, "criterion", m.args.criterion, x)
        first = self._first(s, x)
        s.wish(first, m.args.nInputDim + 1)
        dims = s.dims(first)
        if dims is not None and len(dims) != m.args.nInputDim + 1:
            raise Mismatch(f"a batch axis and {m.args.nInputDim} more are wanted here, got {s.show(first)}")

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        criterion: Module = m.args.criterion
        record = criterion.record
        assert isinstance(record, Criterion)
        without = zero_rows(b, flatten(x)[0], 1)
        if isinstance(x, tuple):
            x = (x[0], *(map_tree(lambda v: self._harmless(b, without, v), target) for target in x[1:]))
        outer, b.use = b.use, b.use.subs["criterion"]
        tell(b, criterion, x, without)
        losses = record.losses(b, criterion, x)
        b.use = outer
        return total(b, losses, getattr(criterion.args, "sizeAverage", False), without)

    @staticmethod
    def _harmless(b: Lowering, without: Value, target: Value) -> Value:
        """Classes of rows that are left out become the first class, which is one."""
        if target.type.is_float:
            return target
        return b.where(b.broadcast_first(without, target), b.full_like(target, b.session.index_base), target)
