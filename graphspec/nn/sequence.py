"""Recurrent layers over whole sequences: each is one loop in the IR, its weights in the layout of Element-Research's rnn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Leaf, Module, ParameterSpec, Record, Sample, register
from graphspec.graph.parameter import InitStep, fill, normal
from graphspec.graph.record import lua_text
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree, flatten
from graphspec.nn.common import RNN, only, rows, taken
from graphspec.nn.loop import over_time
from graphspec.shapes.cells import FLOAT, Cell, Mismatch
from graphspec.shapes.infer import Types
from graphspec.sizes import Size
from graphspec.suggest import did_you_mean

BETWEEN = "states are kept between the batches of an experiment only"

FIELDS = (Argument("batchfirst", "flag", False), Argument("maskzero", "flag", False))
"""What Torch has as fields of such a layer.  maskzero jumps where x is 0: tests/test_recurrent.py proves it, not the samples."""

MEMORY = ("remember", "forget")
"""Methods of modules that keep states between calls in Torch."""

MODES = ("neither", "train", "eval", "both")
"""When a module begins with what it left after the batch before."""


def remember(record: Record, m: Module, method: str, args: Sequence[Any], origin: Origin) -> Module:
    """``remember([mode='both'])``, which experiments act on; ``forget()`` changes nothing, as each pass over the data begins with zeros.
    E0422 for another mode, and for a module that keeps nothing."""
    if method != "remember":
        return m
    mode = args[0] if args else "both"
    if mode not in MODES or len(args) > 1:
        given = ", ".join(map(lua_text, args))
        raise fail("E0422", f"nn.{record.name}: remember takes 'both', 'train', 'eval' or 'neither', got {given}", origin,
                   helps=did_you_mean(str(mode), MODES))
    if mode != "neither" and not record.remembers:
        raise fail("E0422", f"nn.{record.name} keeps no state from batch to batch, so remember takes 'neither' only", origin,
                   helps=["what runs over time and forwards does: nn.Sequencer, nn.SeqLSTM, nn.SeqGRU"])
    m.args = SimpleNamespace(**{**vars(m.args), "memory": mode})
    return m


class Remembering(Record):
    """Base of modules that are told what to remember, and no more."""

    methods: ClassVar[tuple[str, ...]] = MEMORY

    def call(self, m: Module, method: str, args: Sequence[Any], origin: Origin) -> Module:
        return remember(self, m, method, args, origin)


def memory_of(m: Module | None) -> str:
    """Which of :data:`MODES` a module was told."""
    return getattr(m.args, "memory", "neither") if m is not None else "neither"


def zero_rows(b: Lowering, x: Value, first: int) -> Value:
    """Which elements of the leading ``first`` axes hold nothing but zeros (bool)."""
    axes = range(first, x.type.rank)
    if not axes:
        return b.compare(x, b.full_like(x, 0), "eq")
    largest = b.reduce_max(b.cast(b.compare(x, b.full_like(x, 0), "ne"), b.dtype), axes)
    return b.compare(largest, b.full_like(largest, 0), "eq")


def cleared(b: Lowering, mask: Value, x: Value) -> Value:
    """x with zeros where the mask of its leading axes holds."""
    return b.where(b.broadcast_first(mask, x), b.full_like(x, 0), x)


class OverTime(Remembering):
    """Base of layers from ``[T, B, inputsize]`` to ``[T, B, outputsize]`` (both ``[B, T, ...]`` with batchfirst), states first if given."""

    methods = (*MEMORY, "resetStates")
    arguments: ClassVar[tuple[Argument, ...]] = (Argument("inputsize"), Argument("outputsize"), *FIELDS)
    loops = True
    remembers = True
    gates: int
    states: tuple[str, ...]
    """The initial states that may stand before x, the last ones first to be given."""

    def sizes(self, a: SimpleNamespace) -> dict[str, int]:
        """The width of each state."""
        return dict.fromkeys(self.states, a.outputsize)

    def parameters(self, a: SimpleNamespace) -> Mapping[str, ParameterSpec]:
        hidden = self.hidden(a)
        weight = normal(0, 1 / math.sqrt(hidden + a.inputsize))
        through = InitStep("fill", (1,), ((hidden, hidden),))  # of the second gate, which lets the state through
        return {
            "weight": ParameterSpec((a.inputsize + a.outputsize, self.gates * hidden), weight),
            "bias": ParameterSpec((self.gates * hidden,), fill(0), (through,)),
        }

    def hidden(self, a: SimpleNamespace) -> int:
        return int(a.outputsize)

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.set(y, dtype=FLOAT)
        if s.is_table(x) is None:  # x alone, unless something says that it is a table
            dims = s.dims(y)
            if dims is None:
                s.wish(x, 3)
            else:
                self._whole(s, m, y, dims, m.args.outputsize)
                wanted = (*dims[:-1], m.args.inputsize)
                s.guess(lambda: s.set(x, wanted, FLOAT))
            return
        given = (s.items(x) or []) if s.is_table(x) else [x]
        if not 1 <= len(given) <= len(self.states) + 1:
            raise Mismatch(f"x or a table of {', '.join(self.states)} and x is wanted here, got {s.show(x)}")
        x = given[-1]
        s.set(x, dtype=FLOAT)
        s.wish(x, 3)
        for cell, n in ((x, m.args.inputsize), (y, m.args.outputsize)):
            if (dims := s.dims(cell)) is not None:
                self._whole(s, m, cell, dims, n)
        s.relate(x, y, lambda d: (*d[:-1], m.args.outputsize), lambda d: (*d[:-1], m.args.inputsize))
        for cell, name in zip(given[:-1], self.states[len(self.states) + 1 - len(given) :], strict=True):
            s.set(cell, [s.unknown("B"), self.sizes(m.args)[name]], FLOAT)

    @staticmethod
    def _whole(s: Types, m: Module, cell: Cell, dims: Sequence[Size], n: int) -> None:
        if len(dims) != 3:
            raise Mismatch(f"{'[B, T, n]' if m.args.batchfirst else '[T, B, n]'} is wanted here, got {s.show(cell)}")
        s.equate(dims[0 if m.args.batchfirst else 1], s.unknown("B"), 1)
        s.equate(dims[1 if m.args.batchfirst else 0], s.unknown("T"), 0)
        s.equate(dims[2], n, 2)

    def step(self, b: Lowering, m: Module, sums: Value, weights: Sequence[Value], state: list[Value]) -> list[Value]:
        """The new states, h first, from what x gives to the gates, the recurrent weights, and the old states."""
        raise NotImplementedError

    def recurrent(self, b: Lowering, m: Module) -> list[Value]:
        """The weights that every step reads."""
        a = m.args
        return [b.slice(b.parameter(m, "weight"), 0, a.inputsize, a.outputsize)]

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        a = m.args
        *given, xs = flatten(x)
        xs = b.transpose(xs, (1, 0, 2)) if a.batchfirst else xs
        known = dict(zip(reversed(self.states), reversed(given), strict=False))
        start = [known[name] if name in known else b.full(0, (xs.shape[1], self.sizes(a)[name])) for name in reversed(self.states)]
        weights = self.recurrent(b, m)
        sums = b.matmul(rows(b, xs), b.slice(b.parameter(m, "weight"), 0, 0, a.inputsize))
        sums = b.reshape(b.add(sums, b.broadcast_last(b.parameter(m, "bias"), sums)), (*xs.shape[:2], sums.shape[1]))
        masks = [zero_rows(b, xs, 2)] if a.maskzero else []

        def step(
            inner: Lowering, index: Value, consts: list[Value], carries: list[Value], slices: list[Value]
        ) -> tuple[list[Value], list[Value]]:
            new = self.step(inner, m, slices[0], consts, carries)
            new = [cleared(inner, mask, v) for v in new for mask in slices[1:]] if masks else new
            return new, new[:1]

        _, (y,) = over_time(b, b.use, xs.shape[0], step, weights, start, [sums, *masks])
        return b.transpose(y, (1, 0, 2)) if a.batchfirst else y


def gate(b: Lowering, sums: Value, number: int, hidden: int) -> Value:
    """That many-th block of ``hidden`` columns, from 0."""
    return b.slice(sums, 1, number * hidden, hidden)


@register
class SeqLSTM(OverTime):
    """``[i f o g] = W' [x h] + b``, ``c = sig(f) * c + sig(i) * tanh(g)``, ``h = sig(o) * tanh(c)`` for each step.

    x, ``{h0, x}`` or ``{c0, h0, x}`` gives ``[T, B, outputsize]``; states not given are 0.  batchfirst: x and the output are ``[B, T, n]``;
    maskzero: where x is all zeros at a step of a row, so are h and c after it.  weight is ``[inputsize + outputsize, 4*outputsize]``.
    """

    name = "SeqLSTM"
    doc = "a long short-term memory over a whole sequence"
    source = RNN + "SeqLSTM"
    differs = f"batchfirst and maskzero are fields in Torch, and here arguments too; {BETWEEN}"
    gates = 4
    states = ("c0", "h0")
    carries = ("h", "c")
    samples: ClassVar[tuple[Sample, ...]] = (
        Sample((3, 2), (3, 2, 3)),
        Sample((2, 3), ((2, 3), (2, 2, 2))),
        Sample((2, 2), ((2, 2), (2, 2), (3, 2, 2))),
        Sample((3, 2, True), (2, 4, 3)),
    )

    def step(self, b: Lowering, m: Module, sums: Value, weights: Sequence[Value], state: list[Value]) -> list[Value]:
        h, c = state
        n = self.hidden(m.args)
        sums = b.add(sums, b.matmul(h, weights[0]))
        i, f, o = (b.sigmoid(gate(b, sums, k, n)) for k in range(3))
        c = b.add(b.mul(f, c), b.mul(i, b.tanh(gate(b, sums, 3, n))))
        h = b.mul(o, b.tanh(c))
        return [self.projected(b, h, weights), c]

    def projected(self, b: Lowering, h: Value, weights: Sequence[Value]) -> Value:
        return h


@register
class SeqLSTMP(SeqLSTM):
    """SeqLSTM with hiddensize cells, whose h is projected: ``h = (sig(o) * tanh(c)) weightO`` has outputsize elements.

    weight is ``[inputsize + outputsize, 4*hiddensize]``, weightO ``[hiddensize, outputsize]``, c0 ``[B, hiddensize]``.
    """

    name = "SeqLSTMP"
    doc = "a long short-term memory with a projection, over a whole sequence"
    source = RNN + "SeqLSTMP"
    differs = (
        "the bias of all of the forget gate begins as 1, where Torch fills as many elements as there are outputs; batchfirst and maskzero "
        f"are fields in Torch, and here arguments too; {BETWEEN}"
    )
    arguments = (Argument("inputsize"), Argument("hiddensize"), Argument("outputsize"), *FIELDS)
    samples = (
        Sample((2, 3, 2), (3, 2, 2)),
        Sample((2, 2, 3), ((2, 2), (2, 3), (2, 2, 2))),
        Sample((2, 3, 1, True), (2, 3, 2)),
    )

    def hidden(self, a: SimpleNamespace) -> int:
        return int(a.hiddensize)

    def sizes(self, a: SimpleNamespace) -> dict[str, int]:
        return {"c0": a.hiddensize, "h0": a.outputsize}

    def parameters(self, a: SimpleNamespace) -> Mapping[str, ParameterSpec]:
        projection = ParameterSpec((a.hiddensize, a.outputsize), normal(0, 1 / math.sqrt(a.outputsize + a.hiddensize)))
        return {**super().parameters(a), "weightO": projection}

    def recurrent(self, b: Lowering, m: Module) -> list[Value]:
        return [*super().recurrent(b, m), b.parameter(m, "weightO")]

    def projected(self, b: Lowering, h: Value, weights: Sequence[Value]) -> Value:
        return b.matmul(h, weights[1])


@register
class SeqGRU(OverTime):
    """``r, u = sig(W' [x h] + b)``, ``g = tanh(W'' [x, r * h] + b)``, ``h = (1 - u) * g + u * h`` for each step.

    x or ``{h0, x}`` gives ``[T, B, outputsize]``; h0 not given is 0.  batchfirst and maskzero as in nn.SeqLSTM.  weight is
    ``[inputsize + outputsize, 3*outputsize]``, its columns those of r, u and g.
    """

    name = "SeqGRU"
    doc = "gated recurrent units over a whole sequence"
    source = RNN + "SeqGRU"
    differs = SeqLSTM.differs
    gates = 3
    states = ("h0",)
    carries = ("h",)
    samples = (
        Sample((3, 2), (3, 2, 3)),
        Sample((2, 3), ((2, 3), (2, 2, 2))),
        Sample((3, 2, True), (2, 4, 3)),
    )

    def step(self, b: Lowering, m: Module, sums: Value, weights: Sequence[Value], state: list[Value]) -> list[Value]:
        (h,) = state
        n = self.hidden(m.args)
        both = b.add(b.slice(sums, 1, 0, 2 * n), b.matmul(h, b.slice(weights[0], 1, 0, 2 * n)))
        r, u = b.sigmoid(gate(b, both, 0, n)), b.sigmoid(gate(b, both, 1, n))
        g = b.tanh(b.add(gate(b, sums, 2, n), b.matmul(b.mul(r, h), gate(b, weights[0], 2, n))))
        return [b.add(g, b.mul(u, b.sub(h, g)))]


@register
class SeqReverseSequence(Record):
    """The elements of dimension ``dim`` (1, 2 or 3) in reverse order: ``[T, B, n] -> [T, B, n]``."""

    name = "SeqReverseSequence"
    doc = "one dimension in reverse order"
    source = RNN + "SeqReverseSequence"
    differs = "more axes and any dtype are taken too"
    arguments = (Argument("dim"),)
    samples = (Sample((1,), (3, 2)), Sample((2,), (2, 3, 2)), Sample((3,), (1, 2, 3)), Sample((1,), Leaf((4,), index=True, high=5)))

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        if a.dim > 3:
            raise fail("E0422", f"nn.{self.name}: dim must be 1, 2 or 3, got {a.dim}", origin)

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.same(x, y)
        s.wish(x, max(2, m.args.dim))
        dims = s.dims(x)
        if dims is not None and len(dims) < m.args.dim:
            raise Mismatch(f"dimension {m.args.dim} of {s.show(x)}")

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        return reversed_axis(b, only(x), m.args.dim - 1)


def reversed_axis(b: Lowering, x: Value, axis: int) -> Value:
    """The tensor with one axis from its end to its beginning."""
    n = x.shape[axis]
    last = b.size_value(n - 1, "int32")
    index = b.sub(b.broadcast(last, (n,), ()), b.iota(n))
    return taken(b, x, axis, index)
