"""What a step's graph says of its state: how much a step can stretch it, which weights carry it on, which gates keep it.

The graph is walked once, from the tensors of the previous state to those of the next one; through modules made of others as their records
tell.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Union

import numpy as np

from graphspec.graph import GModule, Node, gathered
from graphspec.lower import unflatten
from graphspec.nn.rearrange import NarrowTable, table_index
from graphspec.probe.flow import ONE_INPUT, TABLES, Array, Flow, Place, spectral_norm, together
from graphspec.probe.loops import FoundLoop
from graphspec.program import leaves
from graphspec.shapes.cells import Cell
from graphspec.shapes.infer import Types, Use

Tree = Union[Flow, tuple["Tree", ...]]


@dataclass
class Structure:
    """A step as its state sees it.

    ``gains[j, i]``: a Lipschitz constant of tensor j of the next state in tensor i of the previous one, infinite where there is none.
    """

    gains: Array
    recurrent: list[str]
    """Names of the weights through which the state comes back to itself."""
    gates: list[Place]
    """Those that multiply a tensor of the state on its way to itself, as forget gates do."""
    nonlinear: list[tuple[Place, str]]
    """Every Sigmoid and Tanh."""

    @property
    def bounded(self) -> bool:
        """Whether a bound for any number of steps follows from the weights."""
        return bool(np.isfinite(self.gains).all())


def structure(loop: FoundLoop, parameters: Mapping[str, Array]) -> Structure:
    """The structure of a loop's step, with these parameters by name."""
    walk = _Walk(loop, parameters)
    around = loop.use.module
    assert around is not None
    key = next((key for key, use in loop.use.subs.items() if use is loop.ran.use), None)
    if id(loop.use) in loop.ran.owners:  # the state is its own, and it says where it goes
        around.record.inside(walk, around, walk.alike(loop.use.x, walk.unmoved))
    elif key is not None:
        walk.child(key, walk.alike(loop.ran.use.x, walk.unmoved))
    ends = [walk.ends.get(part, walk.unknown) for part in range(walk.parts)]
    gates = [gate for j, end in enumerate(ends) for i, gate in sorted(end.kept) if i == j]
    return Structure(np.array([end.gains for end in ends]), _recurrent(walk.entered, ends), gates, walk.nonlinear)


def _recurrent(entered: Mapping[str, set[int]], ends: Sequence[Flow]) -> list[str]:
    """Weights that lead from a tensor of the state to some that lead back to it, in one step or several."""
    depends = np.array([[i in end.parts for i in range(len(ends))] for end in ends])
    reaches = np.linalg.matrix_power(np.eye(len(ends)) + depends, len(ends)) > 0  # [j, i]: i leads to j, in any number of steps
    return [
        name for name, parts in entered.items() if any(reaches[i, j] for i in parts for j, end in enumerate(ends) if name in end.weights)
    ]


class _Walk:
    """Follows the state (:class:`graphspec.graph.Walk`): the value of a use is a Flow for each of its tensors."""

    def __init__(self, loop: FoundLoop, parameters: Mapping[str, Array]) -> None:
        self.typed, self.use, self.parameters = loop.typed, loop.use, parameters
        self.parts = sum(t.is_float for t in loop.state)
        """How many tensors of the state have a gradient."""
        self.left: dict[int, list[int | None]] = {}
        """The parts that each use, by id, has still to ask for, in order; None for one without a gradient."""
        numbers = itertools.count()
        for owner, t in zip(loop.ran.owners, loop.state, strict=True):
            self.left.setdefault(owner, []).append(next(numbers) if t.is_float else None)
        self.numbers = {id(use): number for number, use in enumerate(self.types.uses)}
        self.path = _path(loop.use, loop.typed.use)
        self.ends: dict[int, Flow] = {}
        """What the parts are after the step."""
        self.entered: dict[str, set[int]] = {}
        """The parts that each weight is multiplied with, at once or after something else."""
        self.nonlinear: list[tuple[Place, str]] = []
        self.inside = ""
        """The recurrent module, made by its record, that is being walked."""

    @property
    def types(self) -> Types:
        return self.typed.types

    @property
    def unmoved(self) -> Flow:
        """The flow of a tensor that does not depend on the state."""
        return Flow((0.0,) * self.parts)

    @property
    def unknown(self) -> Flow:
        """The flow of a tensor of which only this is known, that it may depend on all of the state."""
        return Flow((math.inf,) * self.parts, frozenset(range(self.parts)))

    def alike(self, cell: Cell, flow: Flow) -> Tree:
        """A value of this type with the same flow for each of its tensors."""
        items = self.types.find(cell).items
        return flow if items is None else tuple(self.alike(item, flow) for item in items)

    # -- what records ask for ------------------------------------------------------------------------------------------------

    def child(self, key: Any, x: Tree) -> Tree:
        use = self.use.subs[key]
        y = self._entered(use, x)
        return y if isinstance(use.module, GModule) else self._seen(use, y, use.module.name if use.module else None)

    def items(self, x: Tree, count: int) -> Sequence[Tree]:
        assert isinstance(x, tuple)
        return x

    def own(self, what: str, *xs: Tree, gain: float = math.inf) -> Tree:
        return together([flow for x in xs for flow in leaves(x)], self.parts).after(gain)

    def carried(self, text: str, cell: Cell, start: Tree | None = None) -> Tree:
        left, ones = self.left.get(id(self.use), []), np.eye(self.parts)

        def part(_: int, unmoved: Flow) -> Flow:
            number = left.pop(0) if left else None  # outside of a loop of its own a recurrent module begins with zeros
            return unmoved if number is None else Flow(tuple(ones[number].tolist()), frozenset([number]), part=number)

        return _numbered(self.alike(cell, self.unmoved), part)

    def carry(self, before: Tree, new: Tree) -> None:
        for old, flow in zip(leaves(before), leaves(new), strict=True):
            if old.part is not None:
                self.ends[old.part] = flow

    def ports(self, ins: Any, outs: Any) -> None:
        """Names are of no use here."""

    # -- uses ----------------------------------------------------------------------------------------------------------------

    def graph(self, use: Use, given: Sequence[Tree]) -> Tree:
        """Every node of a gModule, in order."""
        module = use.module
        assert isinstance(module, GModule)
        values: dict[Node, Tree] = {}

        for node in module.nodes:
            outer, self.path = self.path, (*self.path, node.serial)
            name = self.typed.node_names.get(self.path)
            sub = use.subs[node]
            if node.piece is not None:
                whole = gathered(node.inputs, values)
                values[node] = self._called(whole[node.piece[0]] if isinstance(whole, tuple) else whole, name)
            else:
                y = self._entered(sub, given[module.inputs.index(node)] if node in module.inputs else gathered(node.inputs, values))
                own = f"{self.inside}.{sub.module.name}" if self.inside and sub.module and sub.module.name else None
                values[node] = y if isinstance(sub.module, GModule) else self._seen(sub, y, name or own)
            self.path = outer
        outs = tuple(values[node] for node in module.outputs)
        return outs[0] if len(outs) == 1 else outs

    @staticmethod
    def _called(value: Tree, name: str | None) -> Tree:
        """A piece of a split: a gate takes its name, and stays where it is."""
        return _numbered(value, lambda _, f: replace(f, gate=f.gate._replace(title=name)) if f.gate and name else f)

    def _seen(self, use: Use, y: Tree, name: str | None) -> Tree:
        """What a use gives, seen there."""

        def seen(number: int, flow: Flow) -> Flow:
            place = Place(self.numbers[id(use)], number, name or (flow.gate.title if flow.gate else "") or unnamed(use))
            if flow.kind:
                self.nonlinear.append((place, flow.kind))
            return replace(flow, kind="", gate=flow.gate and place)

        return _numbered(y, seen)

    def _entered(self, use: Use, x: Tree) -> Tree:
        module = use.module
        assert module is not None
        name, args, record = module.record.name, module.args, module.record
        if isinstance(module, GModule):
            return self.graph(use, x if isinstance(x, tuple) and len(module.inputs) > 1 else (x,))
        if name == "Identity" or (name == "Dropout" and not args.v1 and not args.stochasticInference):  # in evaluation nothing is dropped
            return x
        if name == "FlattenTable":
            return tuple(leaves(x))
        if isinstance(x, tuple) and name in ("SelectTable", "NarrowTable"):
            return x[table_index(args.index, len(x))] if name == "SelectTable" else x[NarrowTable.range(args, len(x))]
        if record.loops or module.parameters or not (record.tells(use) or (record.children and not module.children)):
            return self.alike(use.y, self._flow(use, leaves(x)))
        outer, around, self.use = self.use, self.inside, use
        self.inside = (module.name or name) if record.closed else around
        y: Tree = record.inside(self, module, x)
        self.use, self.inside = outer, around
        return y

    def _flow(self, use: Use, flows: Sequence[Flow]) -> Flow:
        """What comes of tensors in a module that gives one, or some that are alike."""
        module = use.module
        assert module is not None
        name = module.record.name
        if name in TABLES:
            return TABLES[name](flows, self.parts)
        if len(flows) == 1 and name in ONE_INPUT:
            return ONE_INPUT[name](module, flows[0])
        if len(flows) == 1 and flows[0].parts and name in ("Linear", "LinearNoBias", "CMul") and "weight" in module.parameters:
            (x,), weight = flows, module.parameters["weight"].name
            if name == "CMul":
                return x.after(float(np.abs(self.parameters[weight]).max()))
            self.entered.setdefault(weight, set()).update(x.parts)
            through = x.after(spectral_norm(self.parameters[weight]))
            return replace(through, weights=through.weights | {weight})
        return together(flows, self.parts).after(math.inf)


def _path(wanted: Use, root: Use) -> tuple[int, ...]:
    """The serials of the nodes around a use and its own."""
    waiting: list[tuple[Use, tuple[int, ...]]] = [(root, ())]
    while waiting:
        at, path = waiting.pop()
        if at is wanted:
            return path
        waiting += [(sub, (*path, sub.node.serial) if sub.node else path) for sub in at.subs.values()]
    return ()


def unnamed(use: Use) -> str:
    """What to call a node that no local holds."""
    kind = f"nn.{use.module.record.name}" if use.module else "a piece"
    return f"{kind}, line {use.origin.span.line}" if use.origin.span else kind


def _numbered(tree: Tree, function: Callable[[int, Flow], Flow]) -> Tree:
    """A function of its number and itself for each tensor of a value."""
    flows: Sequence[Flow] = leaves(tree)
    return unflatten(tree, (function(number, flow) for number, flow in enumerate(flows)))  # type: ignore[no-any-return]
