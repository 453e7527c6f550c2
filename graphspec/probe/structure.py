"""What a cell's graph says of its state: how much a step can stretch it, which weights carry it on, which gates keep it.

The graph is walked once, from the tensors of the previous state to those of the next one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Union

import numpy as np

from graphspec.graph import GModule, Node
from graphspec.nn.rearrange import NarrowTable, table_index
from graphspec.probe.flow import ONE_INPUT, TABLES, Array, Flow, Place, spectral_norm, together
from graphspec.probe.scans import FoundScan
from graphspec.program import Typed, leaves
from graphspec.shapes.cells import Cell
from graphspec.shapes.infer import Use

Tree = Union[Flow, tuple["Tree", ...]]


@dataclass
class Structure:
    """A cell as its state sees it.

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


def structure(typed: Typed, scan: FoundScan, parameters: Mapping[str, Array]) -> Structure:
    """Of a scan's cell, with these parameters by name."""
    cell = scan.cell.use
    floats = [t.is_float for t in scan.state]
    walk = _Walk(typed, parameters, sum(floats))
    inputs = [cell.x] if len(scan.module.inputs) == 1 else typed.types.find(cell.x).items or []
    given = [walk.state(c, floats) if number == scan.state_input else walk.alike(c, walk.unmoved) for number, c in enumerate(inputs)]
    outputs = walk.graph(cell, given, scan.path)
    assert isinstance(outputs, tuple)
    ends: list[Flow] = [end for end, is_float in zip(leaves(outputs[1]), floats, strict=True) if is_float]
    gates = [gate for j, end in enumerate(ends) for i, gate in sorted(end.kept) if i == j]
    return Structure(np.array([end.gains for end in ends]), _recurrent(walk.entered, ends), gates, walk.nonlinear)


def _recurrent(entered: Mapping[str, set[int]], ends: Sequence[Flow]) -> list[str]:
    """Weights that lead from a tensor of the state to some that lead back to it, in one step or several."""
    depends = np.array([[i in end.parts for i in range(len(ends))] for end in ends])
    reaches = np.linalg.matrix_power(np.eye(len(ends)) + depends, len(ends)) > 0  # [j, i]: i leads to j, in any number of steps
    return [
        name for name, parts in entered.items() if any(reaches[i, j] for i in parts for j, end in enumerate(ends) if name in end.weights)
    ]


@dataclass
class _Walk:
    typed: Typed
    parameters: Mapping[str, Array]
    parts: int
    """How many tensors of the state have a gradient."""
    entered: dict[str, set[int]] = field(default_factory=dict)
    """The parts that each weight is multiplied with, at once or after something else."""
    nonlinear: list[tuple[Place, str]] = field(default_factory=list)

    @property
    def unmoved(self) -> Flow:
        """Of what does not depend on the state."""
        return Flow((0.0,) * self.parts)

    def alike(self, cell: Cell, flow: Flow) -> Tree:
        """The same for every tensor of a value."""
        items = self.typed.types.find(cell).items
        return flow if items is None else tuple(self.alike(item, flow) for item in items)

    def state(self, cell: Cell, floats: Sequence[bool]) -> Tree:
        """The previous state itself; its parts are those of its tensors that have a gradient."""
        ones, parts = np.eye(self.parts), [sum(floats[:i]) for i in range(len(floats))]

        def part(i: int) -> Flow:
            return Flow(tuple(ones[i].tolist()), frozenset([i]), part=i)

        return _numbered(self.alike(cell, self.unmoved), lambda i, other: part(parts[i]) if floats[i] else other)

    def graph(self, use: Use, given: Sequence[Tree], path: tuple[int, ...]) -> Tree:
        """Every node of a gModule, in order."""
        module = use.module
        assert isinstance(module, GModule)
        values: dict[Node, Tree] = {}

        def gather(inputs: Any) -> Tree:
            return values[inputs] if isinstance(inputs, Node) else tuple(gather(item) for item in inputs or ())

        for node in module.nodes:
            where = (*path, node.serial)
            if node.piece is not None:
                whole = gather(node.inputs)
                values[node] = self._called(whole[node.piece[0]] if isinstance(whole, tuple) else whole, where)
            else:
                x = given[module.inputs.index(node)] if node in module.inputs else gather(node.inputs)
                values[node] = self._node(use.subs[node], x, where)
        outs = tuple(values[node] for node in module.outputs)
        return outs[0] if len(outs) == 1 else outs

    def _called(self, value: Tree, path: tuple[int, ...]) -> Tree:
        """A piece of a split: a gate takes its name, and stays where it is."""
        name = self.typed.node_names.get(path)
        return _numbered(value, lambda _, f: replace(f, gate=f.gate._replace(title=name)) if f.gate and name else f)

    def _node(self, use: Use, x: Tree, path: tuple[int, ...]) -> Tree:
        """One node: what is seen of its value is seen at ``path``."""
        y = self._module(use, x, path)
        if isinstance(use.module, GModule):
            return y
        name = self.typed.node_names.get(path)

        def seen(number: int, flow: Flow) -> Flow:
            place = Place(path, number, name or (flow.gate.title if flow.gate else "") or unnamed(use))
            if flow.kind:
                self.nonlinear.append((place, flow.kind))
            return replace(flow, kind="", gate=flow.gate and place)

        return _numbered(y, seen)

    def _module(self, use: Use, x: Tree, path: tuple[int, ...]) -> Tree:
        module = use.module
        assert module is not None
        name, args = module.record.name, module.args
        if isinstance(module, GModule):
            return self.graph(use, x if isinstance(x, tuple) and len(module.inputs) > 1 else (x,), path)
        if name == "Sequential":
            for position in range(len(module.children)):
                x = self._module(use.subs[position], x, path)
            return x
        if name == "Identity" or (name == "Dropout" and not args.v1 and not args.stochasticInference):  # in evaluation nothing is dropped
            return x
        if name == "FlattenTable":
            return tuple(leaves(x))
        if isinstance(x, tuple) and name in ("SelectTable", "NarrowTable"):
            return x[table_index(args.index, len(x))] if name == "SelectTable" else x[NarrowTable.range(args, len(x))]
        return self.alike(use.y, self._flow(use, leaves(x)))

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


def unnamed(use: Use) -> str:
    """What to call a node that no local holds."""
    kind = f"nn.{use.module.record.name}" if use.module else "a piece"
    return f"{kind}, line {use.origin.span.line}" if use.origin.span else kind


def _numbered(tree: Tree, function: Callable[[int, Flow], Flow]) -> Tree:
    """A function of its number and itself for each tensor of a value."""
    numbers = itertools.count()

    def build(node: Tree) -> Tree:
        return tuple(build(item) for item in node) if isinstance(node, tuple) else function(next(numbers), node)

    return build(tree)
