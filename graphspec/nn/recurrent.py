"""Recurrent modules: one step each, from an input and the state that the step before left.

A module around them that loops (nn.Sequencer, nn.BiSequencer, nn.Repeater) keeps their states as carries of its loop, wherever inside
it they stand: in a container, a gModule, another recurrent module.  Outside of any loop each makes one step, from a state of zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Module, Node, Record, Sample, Walk, connect, gmodule, new_module, register
from graphspec.ir.core import TensorType, Value
from graphspec.lower import Lowering, Tree, flatten, map_tree
from graphspec.nn.common import RNN
from graphspec.nn.sequence import MEMORY, cleared, remember, zero_rows
from graphspec.shapes.cells import Cell, Mismatch
from graphspec.shapes.infer import Types, Use

ONE_STEP = (
    "outside of nn.Sequencer, nn.BiSequencer and nn.Repeater it makes one step from a state of zeros; a module used twice in a step has a "
    "state for each use; what is around it remembers, so remember takes 'neither' only"
)
MORE_AXES = "; more leading axes than one are taken too; p must be 0"
RHO = Argument("rho", "size", None, note="changes nothing: gradients go back through all steps")
"""How many steps Torch goes back in time outside of a Sequencer, which sets it to all."""


class Stateful(Record):
    """Base of modules with a state."""

    differs = ONE_STEP
    methods = (*MEMORY, "maskZero", "trimZero")

    def call(self, m: Module, method: str, args: Sequence[Any], origin: Origin) -> Module:
        if method in MEMORY:
            return remember(self, m, method, args, origin)
        if len(args) != 1 or isinstance(args[0], bool) or not isinstance(args[0], (int, float)) or args[0] not in range(1, 99):
            raise fail("E0422", f"nn.{self.name}: {method} takes the number of axes of an input without its batch axis", origin)
        m.args = SimpleNamespace(**{**vars(m.args), "masked": int(args[0])})
        return m

    def states(self, b: Lowering, use: Use) -> list[TensorType]:
        """The types of the tensors that make up the state."""
        raise NotImplementedError

    def step(self, b: Lowering, m: Module, x: Tree, state: list[Value]) -> tuple[Tree, list[Value]]:
        """The output and the new state."""
        raise NotImplementedError

    def masked(self, b: Lowering, mask: Value, state: list[Value]) -> list[Value]:
        """The state with zeros in the rows of the mask."""
        return [cleared(b, mask, v) for v in state]

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        use = b.use
        held = b.scope.states.get(id(use))
        old = held if held is not None else [b.zeros(t) for t in self.states(b, use)]
        y, new = self.step(b, m, x, old)
        n = getattr(m.args, "masked", None)
        if n is not None:
            mask = zeros_of(b, x, n)
            y, new = map_tree(lambda v: cleared(b, mask, v), y), self.masked(b, mask, new)
        if held is not None:
            b.scope.states[id(use)] = [b.reshape(v, o.shape) for v, o in zip(new, old, strict=True)]
        return y


def zeros_of(b: Lowering, x: Tree, axes: int) -> Value:
    """Which rows of the first tensor of x are all zeros (bool); ``axes`` it has without its batch axis."""
    first = flatten(x)[0]
    return zero_rows(b, first, first.type.rank - axes)


def check_rank(s: Types, x: Cell, axes: int) -> None:
    """Mismatch unless the first tensor of x has that many axes, or a batch axis more."""
    first = next(iter(s.leaves(x)))
    s.wish(first, axes + 1)
    dims = s.dims(first)
    if dims is not None and len(dims) not in (axes, axes + 1):
        raise Mismatch(f"{axes} axes are wanted here, or a batch axis more, got {s.show(first)}")


def node(name: str, args: Sequence[Any], inputs: Any, origin: Origin, title: str | None = None) -> Node:
    """``nn.name(args...)(inputs)``; ``title`` is what its parameters are called by."""
    module = new_module(name, list(args), origin)
    module.name = title
    return connect(module, inputs, origin)


class Gates(Stateful):
    """Base of modules whose step is a small graph ``{x, states...} -> {states...}``, the output first."""

    def graph(self, a: SimpleNamespace, x: Node, state: list[Node], origin: Origin) -> list[Node]:
        """The new states."""
        raise NotImplementedError

    carries: ClassVar[tuple[str, ...]] = ("h",)
    closed = True

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        a.outputSize = a.outputSize or a.inputSize
        if getattr(a, "p", 0):
            raise fail("E0422", f"nn.{self.name}: p must be 0, got {a.p:g}", origin,
                       helps=["drop out what goes into it instead: `nn.Sequential():add(nn.Dropout(p)):add(...)`"])

    def construct(self, args: Sequence[Any], origin: Origin) -> Module:
        module = super().construct(args, origin)
        sources = [connect(new_module("Identity", [], origin), None, origin) for _ in range(len(self.carries) + 1)]
        module.args.cell = gmodule(sources, self.graph(module.args, sources[0], sources[1:], origin), origin)
        module.children = [module.args.cell]
        return module

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        if not s.current.subs:
            state = [Cell() for _ in self.carries]
            s.child("cell", m.args.cell, s.tree([x, *state]), s.tree(state) if len(state) > 1 else state[0])
            s.same(y, state[0])
        if (n := getattr(m.args, "masked", None)) is not None:
            check_rank(s, x, n)

    def inside(self, w: Walk, m: Module, x: Any) -> Any:
        before = [w.carried(name, w.use.y) for name in self.carries]
        new = w.child("cell", (x, *before))
        after = w.items(new, len(before)) if len(before) > 1 else [new]
        for old, following in zip(before, after, strict=True):
            w.carry(old, following)
        return after[0]

    def states(self, b: Lowering, use: Use) -> list[TensorType]:
        return list(b.type_of(use.subs["cell"].x)[1:])

    def step(self, b: Lowering, m: Module, x: Tree, state: list[Value]) -> tuple[Tree, list[Value]]:
        new = flatten(b.child("cell", (x, *state)))
        return new[0], new


def gates(a: SimpleNamespace, x: Node, h: Node, titles: Sequence[tuple[str, str]], origin: Origin) -> list[Node]:
    """``len(titles)`` blocks of ``W x + b + U h``, each through the named function; one product for all."""
    n, count = a.outputSize, len(titles)
    sums = node("CAddTable", (), [
        node("Linear", (a.inputSize, count * n), x, origin, "i2g"), node("LinearNoBias", (n, count * n), h, origin, "o2g"),
    ], origin)  # fmt: skip
    return [node(function, (), node("Narrow", (-1, k * n + 1, n), sums, origin), origin, title)
            for k, (function, title) in enumerate(titles)]


def times(a: Node, b: Node, origin: Origin) -> Node:
    return node("CMulTable", (), [a, b], origin)


def plus(a: Node, b: Node, origin: Origin) -> Node:
    return node("CAddTable", (), [a, b], origin)


STEPS = (Argument("inputSize"), Argument("outputSize", "size", None), RHO)
DROPS = (Argument("p", "number", 0.0), Argument("mono", "flag", False, note="changes nothing: it is about p"))


@register
class LSTM(Gates):
    """``i, f = sig(W x + U h + w * c + b)``, ``c = f * c + i * tanh(W x + U h + b)``, ``o`` like i from the new c, ``y = h = o * tanh(c)``.

    ``[..., inputSize] -> [..., outputSize]``, which is inputSize unless given; the state is ``{h, c}``.  Without ``cell2gate`` the gates do
    not read c.  After ``maskZero(n)`` or ``trimZero(n)`` a row of zeros, of n axes, gives zeros and leaves zeros as its state.
    """

    name = "LSTM"
    doc = "one step of a long short-term memory with peepholes"
    source = RNN + "LSTM"
    differs = ONE_STEP + MORE_AXES
    arguments = (*STEPS, Argument("cell2gate", "flag", True), *DROPS)
    carries = ("h", "c")
    samples: ClassVar[tuple[Sample, ...]] = (
        Sample((3, 2), (2, 3)), Sample((2,), (2,)), Sample((2, 3, 9, False), (2, 2)), Sample((3, 2, None, None, 0, True), (2, 2, 3)),
    )

    def graph(self, a: SimpleNamespace, x: Node, state: list[Node], origin: Origin) -> list[Node]:
        n = a.outputSize
        h, c = state

        def gate(title: str, function: str, cell: Node | None) -> Node:
            parts = [node("Linear", (a.inputSize, n), x, origin, f"{title}.input"),
                     node("LinearNoBias", (n, n), h, origin, f"{title}.output")]
            if cell is not None and a.cell2gate:
                parts.append(node("CMul", (n,), cell, origin, f"{title}.cell"))
            return node(function, (), node("CAddTable", (), parts, origin), origin, title)

        i, f = gate("inputGate", "Sigmoid", c), gate("forgetGate", "Sigmoid", c)
        hidden = gate("hiddenLayer", "Tanh", None)
        new = plus(times(f, c, origin), times(i, hidden, origin), origin)
        o = gate("outputGate", "Sigmoid", new)
        return [times(o, node("Tanh", (), new, origin), origin), new]


@register
class FastLSTM(Gates):
    """``i, g, f, o = W x + U h + b``, ``c = sig(f) * c + sig(i) * tanh(g)``, ``y = h = sig(o) * tanh(c)``.

    ``[..., inputSize] -> [..., outputSize]``, which is inputSize unless given; the state is ``{h, c}``, the parameters are those of one
    linear layer on x and one on h.  maskZero and trimZero as in nn.LSTM.
    """

    name = "FastLSTM"
    doc = "one step of a long short-term memory, all gates in one product"
    source = RNN + "FastLSTM"
    differs = ONE_STEP + "; there is no normalisation of batches (nn.FastLSTM.bn), so eps, momentum and affine change nothing" + MORE_AXES
    arguments = (*STEPS, Argument("eps", "number", None), Argument("momentum", "number", None), Argument("affine", "flag", True), *DROPS)
    carries = ("h", "c")
    samples = (Sample((3, 2), (2, 3)), Sample((2,), (2,)), Sample((2, 3, 9, 1e-3, 0.1, False, 0, True), (2, 2, 2)))

    def graph(self, a: SimpleNamespace, x: Node, state: list[Node], origin: Origin) -> list[Node]:
        h, c = state
        i, g, f, o = gates(a, x, h, [("Sigmoid", "i"), ("Tanh", "g"), ("Sigmoid", "f"), ("Sigmoid", "o")], origin)
        new = plus(times(i, g, origin), times(f, c, origin), origin)
        return [times(o, node("Tanh", (), new, origin), origin), new]


@register
class GRU(Gates):
    """``r, z = sig(W x + U h + b)``, ``g = tanh(V x + c + R (r * h))``, ``y = h = (1 - z) * g + z * h``.

    ``[..., inputSize] -> [..., outputSize]``, which is inputSize unless given; the state is h.  maskZero and trimZero as in nn.LSTM.
    """

    name = "GRU"
    doc = "one step of gated recurrent units"
    source = RNN + "GRU"
    differs = ONE_STEP + "; outputSize may be left out" + MORE_AXES
    arguments = (*STEPS, *DROPS)
    samples = (Sample((3, 2), (2, 3)), Sample((2,), (2,)), Sample((2, 3, 9, 0, True), (2, 2, 2)))

    def graph(self, a: SimpleNamespace, x: Node, state: list[Node], origin: Origin) -> list[Node]:
        (h,) = state
        n = a.outputSize
        r, z = gates(a, x, h, [("Sigmoid", "r"), ("Sigmoid", "z")], origin)
        given = node("Linear", (a.inputSize, n), x, origin, "i2h")
        g = node("Tanh", (), plus(given, node("LinearNoBias", (n, n), times(r, h, origin), origin, "o2h"), origin), origin)
        fresh = node("AddConstant", (1,), node("MulConstant", (-1,), z, origin), origin)
        return [plus(times(fresh, g, origin), times(z, h, origin), origin)]
