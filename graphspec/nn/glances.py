"""Recurrent models of visual attention: at each step a place to look at is chosen from what has been seen."""

from __future__ import annotations

from types import SimpleNamespace

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Leaf, Make, Module, Sample, Table, connect, gmodule, new_module, register
from graphspec.nn.columns import Made
from graphspec.nn.common import RNN
from graphspec.nn.recurrence import Recurrence
from graphspec.nn.sequencer import MOST_PIECES
from graphspec.shapes.cells import Cell
from graphspec.shapes.infer import Types


class Glance(Recurrence):
    """One step of nn.RecurrentAttention: an nn.Recurrence whose input has a batch axis."""

    name = "RecurrentAttention"

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        if not s.current.subs:
            s.child("cell", m.args.recurrentModule, s.tree([x, y]), y)
        dims = s.dims(next(iter(s.leaves(x))))
        self._state(s, y, m.args.sizes, dims[:1] if dims else [s.unknown("B")])


LOOK = Make("Sequential", (), (Make("Linear", (2, 3)), Make("Tanh")))
SEE = Make("Sequential", (), (Make("CMulTable"), Make("Linear", (3, 2)), Make("Tanh")))
AROUND = Make("Sequential", (), (Make("ParallelTable", (), (Make("Linear", (4, 2)), Make("Linear", (3, 2)))), Make("CAddTable"),
                                 Make("GRU", (2, 2))))  # fmt: skip
PLACE = Make("Sequential", (), (Make("Linear", (2, 2)), Make("ReinforceNormal", (0.5,))))
PATCH = Make("Sequential", (), (Make("SpatialGlimpse", (1, 2)), Make("View", (-1, 2)), Make("Tanh")))


@register
class RecurrentAttention(Made):
    """``nStep`` times ``y = rnn{x, action(y of the step before)}``, zeros standing before the first: a table of nStep outputs
    ``[B, hiddenSize...]``.

    x is the same at all steps, ``[B, ...]``; ``hiddenSize`` is a table of the sizes of y without its batch axis.  Recurrent modules in rnn
    and action go on from step to step.  The action is often an nn.Reinforce... that places an nn.SpatialGlimpse in rnn.  Mnih et al.
    (2014).
    """

    name = "RecurrentAttention"
    doc = "a recurrent network that chooses at each step, from what it saw, where to look next"
    source = RNN + "RecurrentAttention"
    differs = "nothing is remembered between calls"
    closed = False
    arguments = (Argument("rnn", "module"), Argument("action", "module"), Argument("nStep"), Argument("hiddenSize", "table"))
    samples = (
        Sample((SEE, LOOK, 3, Table((2,))), (2, 3)),
        Sample((AROUND, LOOK, 2, 2), (3, 4)),
        Sample((PATCH, PLACE, 3, Table((2,))), Leaf((2, 1, 3, 3)), evaluate=True),
    )

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        if a.nStep > MOST_PIECES:
            raise fail("E0422", f"nn.{self.name}: nStep must be at most {MOST_PIECES}, got {a.nStep}", origin)
        numbers = [self._convert(Argument("hiddenSize"), n, origin) for n in a.hiddenSize.items]
        if not numbers or a.hiddenSize.fields:
            raise fail("E0422", f"nn.{self.name}: hiddenSize must be a table of sizes", origin)
        a.sizes = tuple(numbers)

    def make(self, a: SimpleNamespace, origin: Origin) -> Module:
        x, before = (connect(new_module("Identity", [], origin), None, origin) for _ in range(2))
        cell = gmodule([x, before], [connect(a.rnn, [x, connect(a.action, before, origin)], origin)], origin)
        step = Module(Glance(), SimpleNamespace(recurrentModule=cell, sizes=a.sizes), origin)
        step.children = [cell]
        return new_module("Repeater", [step, a.nStep], origin)
