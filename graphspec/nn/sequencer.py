"""Modules that run another over the steps of a sequence, as one loop that carries the states of all recurrent modules inside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Leaf, Make, Module, Record, Sample, Table, Walk, connect, gmodule, new_module, register
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree, flatten, unflatten
from graphspec.nn.common import RNN
from graphspec.nn.loop import over_time, stacked
from graphspec.nn.recurrent import RHO, Stateful
from graphspec.nn.sequence import BETWEEN, Remembering
from graphspec.shapes.cells import Cell, Mismatch
from graphspec.shapes.infer import Types, Use
from graphspec.sizes import Size

ALIKE = "all elements of a table have one shape; a module used twice in a step has two states"

ABSTRACT = "It is what recurrent modules and those around them have in common in Torch, and is no module: "

LEFT_OUT = {
    "AbstractRecurrent": ABSTRACT + "nn.Recurrence makes a recurrent module of any module.",
    "AbstractSequencer": ABSTRACT + "nn.Sequencer runs any module over a sequence.",
    "BiSequencerLM": "It is two loops over one sequence, each on other steps of it: write two nn.Sequencer, one between two "
    "nn.ReverseTable, and nn.NarrowTable on each.",
}


def recurrent_uses(use: Use) -> Iterator[Use]:
    """The uses of recurrent modules in a use, itself counted; those in loops of their own are theirs."""
    assert use.module is not None or not use.subs
    if use.module is not None and isinstance(use.module.record, Stateful):
        yield use
    if use.module is None or not use.module.record.loops:
        for sub in use.subs.values():
            yield from recurrent_uses(sub)


def forgetting_uses(use: Use, carried: bool = False) -> Iterator[Use]:
    """The uses of recurrent modules whose state no loop around them carries: each step of theirs begins with zeros."""
    record = use.module.record if use.module is not None else None
    if isinstance(record, Stateful) and not carried:
        yield use
        return
    inside = isinstance(record, (Loops, Repeater)) or (carried and not (record is not None and record.loops))
    for sub in use.subs.values():
        yield from forgetting_uses(sub, inside)


def steps(b: Lowering, use: Use, trip: Size, x: Tree, stacks: bool = True, reverse: bool = False) -> Tree:
    """What the module of ``use`` gives for each step, stacked: ``x`` is stacks, or else the same for all steps."""
    uses = list(recurrent_uses(use))
    start = [[b.zeros(t) for t in _record(inner).states(b, inner)] for inner in uses]
    outputs: list[Tree] = []

    def step(
        inner: Lowering, index: Value, consts: list[Value], carries: list[Value], pieces: list[Value]
    ) -> tuple[list[Value], list[Value]]:
        supply = iter(carries)
        inner.scope.states = {id(u): [next(supply) for _ in zeros] for u, zeros in zip(uses, start, strict=True)}
        y = inner.run_cell(unflatten(x, pieces if stacks else consts))
        outputs.append(y)
        return [v for u in uses for v in inner.scope.states[id(u)]], flatten(y)

    given = flatten(x)
    carries, owners = [v for zeros in start for v in zeros], [id(u) for u, zeros in zip(uses, start, strict=True) for _ in zeros]
    _, ys = over_time(b, use, trip, step, [] if stacks else given, carries, given if stacks else [], reverse, owners)
    return unflatten(outputs[0], ys)  # type: ignore[no-any-return]


def _record(use: Use) -> Stateful:
    assert use.module is not None and isinstance(use.module.record, Stateful)
    return use.module.record


def together(b: Lowering, items: Sequence[Tree]) -> Tree:
    """Trees of one form as one tree of stacks."""
    columns = zip(*(flatten(item) for item in items), strict=True)
    return unflatten(items[0], [b.concat([b.unsqueeze(v, 0) for v in column], 0) for column in columns])  # type: ignore[no-any-return]


def apart(b: Lowering, stacks: Tree, count: int) -> tuple[Tree, ...]:
    """A tree of stacks as a table of trees."""
    return tuple(unflatten(stacks, [b.select(v, 0, t) for v in flatten(stacks)]) for t in range(count))


class Loops(Remembering):
    """Base of modules from a sequence, a tensor ``[T, ...]`` or a table, to a sequence of that kind."""

    loops = True
    differs = ALIKE

    def each(self, s: Types, m: Module) -> tuple[Cell, Cell]:
        """One element of the input and of the output."""
        raise NotImplementedError

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        one_x, one_y = self.each(s, m)
        trip = s.unknown("T")
        kind = s.is_table(x)
        kind = s.is_table(y) if kind is None else kind
        if kind is None:
            s.guess(lambda: self._stacks(s, x, y, one_x, one_y, trip))
        elif kind:
            items = s.items(x) or s.items(y)
            if not items:
                raise Mismatch("an empty table")
            s.equate(trip, len(items))
            for cell, one in ((x, one_x), (y, one_y)):
                for item in s.table(cell, len(items)):
                    s.same(item, one)
        else:
            self._stacks(s, x, y, one_x, one_y, trip)

    @staticmethod
    def _stacks(s: Types, x: Cell, y: Cell, one_x: Cell, one_y: Cell, trip: Size) -> None:
        stacked(s, x, one_x, trip)
        stacked(s, y, one_y, trip)

    def run(self, b: Lowering, m: Module, x: Tree, trip: Size) -> Tree:
        """Stacks of outputs from stacks of inputs."""
        raise NotImplementedError

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        trip = b.unknown("T")
        if isinstance(x, tuple):
            return apart(b, self.run(b, m, together(b, x), trip), len(x))
        return self.run(b, m, x, trip)


SERIES = ((2, 3), (2, 3), (2, 3))
"""A table of three steps."""


@register
class Sequencer(Loops):
    """The module at each step of ``[T, ...]``, or of a table of steps; recurrent modules in it go on from step to step.

    A module that has no state (or a container or gModule in which some modules have one) is taken as well.
    """

    name = "Sequencer"
    doc = "a module at each step of a sequence"
    source = RNN + "Sequencer"
    differs = f"{ALIKE}; {BETWEEN}"
    remembers = True
    arguments = (Argument("module", "module"),)
    samples = (
        Sample((Make("LSTM", (3, 2)),), (3, 2, 3)),
        Sample((Make("GRU", (3, 2)),), SERIES),
        Sample((Make("Linear", (3, 2)),), (3, 2, 3)),
        Sample((Make("Sequential", (), (Make("FastLSTM", (3, 2)), Make("GRU", (2, 1)), Make("Tanh"))),), (3, 2, 3)),
        Sample((Make("LookupTable", (4, 2)),), Leaf((3, 2), index=True, high=4)),
        Sample((Make("CAddTable"),), (((2, 3), (2, 3)), ((2, 3), (2, 3)))),
    )

    def each(self, s: Types, m: Module) -> tuple[Cell, Cell]:
        use = s.child("module", m.args.module, Cell(), Cell())
        return use.x, use.y

    def run(self, b: Lowering, m: Module, x: Tree, trip: Size) -> Tree:
        return steps(b, b.use.subs["module"], trip, x)


@register
class BiSequencer(Loops):
    """``forward`` from the first step on, ``backward`` from the last step back, and at each step ``merge`` of the two outputs.

    Without ``backward`` it is a copy of ``forward`` with initial values of its own; merge is a module, or n for ``nn.JoinTable(1, n)``.
    """

    name = "BiSequencer"
    doc = "a module from both ends of a sequence"
    source = RNN + "BiSequencer"
    differs = ALIKE + "; a tensor [T, ...] is taken where Torch takes a table only"
    arguments = (Argument("forward", "module"), Argument("backward", "module", None), Argument("merge", "module", None))
    samples = (
        Sample((Make("GRU", (3, 2)),), (3, 2, 3)),
        Sample((Make("LSTM", (3, 2)), Make("FastLSTM", (3, 2)), Make("CAddTable")), SERIES),
        Sample((Make("GRU", (3, 2)), Make("Linear", (3, 1)), 1), (2, 2, 3)),
    )

    def bind(self, args: Sequence[Any], origin: Origin) -> SimpleNamespace:
        given = list(args)
        if len(given) > 2 and isinstance(given[2], (int, float)) and not isinstance(given[2], bool):
            given[2] = new_module("JoinTable", [1, given[2]], origin)
        return super().bind(given, origin)

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        if a.backward is None:
            a.backward = a.forward.clone([], origin)
            a.backward.reset()
        a.merge = a.merge if a.merge is not None else new_module("JoinTable", [1, 1], origin)

    def each(self, s: Types, m: Module) -> tuple[Cell, Cell]:
        first = s.child("forward", m.args.forward, Cell(), Cell())
        second = s.child("backward", m.args.backward, first.x, Cell())
        merge = s.child("merge", m.args.merge, s.tree([first.y, second.y]), Cell())
        return first.x, merge.y

    def inside(self, w: Walk, m: Module, x: Any) -> Any:
        return w.child("merge", (w.child("forward", x), w.child("backward", x)))

    def run(self, b: Lowering, m: Module, x: Tree, trip: Size) -> Tree:
        subs = b.use.subs
        both = (steps(b, subs["forward"], trip, x), steps(b, subs["backward"], trip, x, reverse=True))
        return steps(b, subs["merge"], trip, both)


@register
class Repeater(Remembering):
    """The module ``rho`` times on the same input, recurrent modules in it going on from one time to the next: a table of rho outputs."""

    name = "Repeater"
    doc = "a module again and again on one input"
    source = RNN + "Repeater"
    differs = "nothing is remembered between calls"
    loops = True
    arguments = (Argument("module", "module"), Argument("rho"))
    samples = (
        Sample((Make("GRU", (3, 2)), 3), (2, 3)),
        Sample((Make("Sequential", (), (Make("LSTM", (3, 2)), Make("Linear", (2, 1)))), 2), (3,)),
        Sample((Make("CAddTable"), 1), ((2, 3), (2, 3))),
    )

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        if a.rho > MOST_PIECES:
            raise fail("E0422", f"nn.{self.name}: rho must be at most {MOST_PIECES}, got {a.rho}", origin)

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.equate(s.unknown("T"), m.args.rho)
        use = s.child("module", m.args.module, x, Cell())
        for item in s.table(y, m.args.rho):
            s.same(item, use.y)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        return apart(b, steps(b, b.use.subs["module"], Size.const(m.args.rho), x, stacks=False), m.args.rho)


MOST_PIECES = 2**16
"""Outputs that a module may have: each is a value of the graph."""


@register
class Recursor(Remembering):
    """The module itself: in Torch it keeps the states of the recurrent modules inside, here the loop around does."""

    name = "Recursor"
    doc = "the module that it is made of"
    source = RNN + "Recursor"
    differs = "it does nothing, as nn.Sequencer and others take any module"
    arguments = (Argument("module", "module"), RHO)
    samples = (Sample((Make("Linear", (3, 2)),), (2, 3)), Sample((Make("LSTM", (3, 2)), 5), (2, 3)))

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.child("module", m.args.module, x, y)


@register
class SeqBRNN(Record):
    """``merge`` of an nn.SeqLSTM over ``[T, B, inputDim]`` and of another from the last step back: ``[T, B, hiddenDim]`` for the sum,
    which merge is when not given.  With batchFirst the axes are ``[B, T, n]``.
    """

    name = "SeqBRNN"
    doc = "a long short-term memory from both ends of a sequence"
    source = RNN + "SeqBRNN"
    arguments = (Argument("inputDim"), Argument("hiddenDim"), Argument("batchFirst", "flag", False), Argument("merge", "module", None))
    samples = (
        Sample((3, 2), (3, 2, 3)),
        Sample((2, 2, True), (2, 3, 2)),
        Sample((3, 2, None, Make("JoinTable", (3,))), (3, 2, 3)),
    )

    def construct(self, args: Sequence[Any], origin: Origin) -> Module:
        module = super().construct(args, origin)
        a = module.args
        x = connect(new_module("Identity", [], origin), None, origin)

        def then(at: Any, name: str, *arguments: Any, title: str | None = None) -> Any:
            made = new_module(name, arguments, origin)
            made.name = title
            return connect(made, at, origin)

        def lstm(at: Any, title: str) -> Any:
            return then(at, "SeqLSTM", a.inputDim, a.hiddenDim, title=title)

        def swapped(at: Any) -> Any:
            return then(at, "Transpose", Table((1, 2))) if a.batchFirst else at

        start = swapped(x)
        ahead = lstm(start, "forwardModule")
        back = then(lstm(then(start, "SeqReverseSequence", 1), "backwardModule"), "SeqReverseSequence", 1)
        merge = a.merge if a.merge is not None else new_module("CAddTable", [], origin)
        module.args.graph = gmodule([x], [swapped(connect(merge, [ahead, back], origin))], origin)
        module.children = [module.args.graph]
        return module

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.child("graph", m.args.graph, x, y)
