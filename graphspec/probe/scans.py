"""The scans of a model, and what is in one of them when the model runs: its cell's inputs, states and gates at every step."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from graphspec.engine import Engine
from graphspec.errors import SpecError, fail
from graphspec.graph import GModule, Module, Node, connect, gmodule, new_module
from graphspec.ir.core import TensorType
from graphspec.lower import Lowering, Scope, Session
from graphspec.probe.flow import Place
from graphspec.program import Typed, forward_program, infer, leaves, named_parameters
from graphspec.shapes.infer import Use
from graphspec.sizes import Size
from graphspec_runtime.devices.base import Device

Array = np.ndarray[Any, Any]


class FoundScan:
    """One use of ``nn.Scan`` that is in no other scan."""

    def __init__(self, typed: Typed, outer: Use, use: Use, path: tuple[int, ...]) -> None:
        assert use.module is not None
        self.typed = typed
        self.outer = outer
        """What it is a node of."""
        self.use = use
        self.path = path
        self.args = use.module.args
        types, cell = typed.types, use.subs["cell"]
        assert isinstance(cell.module, GModule)
        lowering = Lowering(Session(types, typed.dtype, False), cell, Scope())
        self.module: GModule = cell.module
        self.cell = Typed(
            cell.module, types, cell, lowering.type_of(cell.x), lowering.type_of(cell.y), typed.dtype, [], {}, typed.index_base
        )
        self.takes_x = self.args.steps is None or self.args.feedback is not None
        self.state_input = 1 if self.takes_x else 0
        self._check()

    def _check(self) -> None:
        why = ""
        if self.args.feedback == "value":
            why = "it feeds its outputs back, so that more goes round than its state"
        elif not any(t.is_float for t in self.state):
            why = "its state holds no numbers with a fraction"
        elif any(node.module is None or node.module.record.name != "Identity" for node in self.module.inputs):
            why = "an input of its cell is no nn.Identity"
        if why:
            raise fail("E0831", f"{self.title} cannot be probed: {why}", self.use.origin, others=[(self.module.origin, "its cell")])

    @property
    def inputs(self) -> tuple[Any, ...]:
        """Types of the cell's inputs."""
        return self.cell.inputs if len(self.module.inputs) > 1 else (self.cell.inputs,)

    @property
    def state(self) -> list[TensorType]:
        """The tensors of the state."""
        return leaves(self.inputs[self.state_input])

    @property
    def state_leaves(self) -> slice:
        """Which of the tensors of the cell's inputs they are."""
        before = len(leaves(self.inputs[: self.state_input]))
        return slice(before, before + len(self.state))

    @property
    def trip(self) -> Size:
        """How many steps it runs."""
        return self.typed.types.one_form(self.use.fresh["T"])

    @property
    def batch(self) -> str | None:
        """The letter of the axis that every tensor of the state begins with: sequences, each for itself."""
        first = {t.shape[0].lone if t.rank else None for t in self.state}
        return first.pop() if len(first) == 1 else None

    @property
    def batch_axes(self) -> list[int | None]:
        """Of each tensor of the cell's inputs."""
        return [next((a for a, n in enumerate(t.shape) if self.batch and n.lone == self.batch), None) for t in leaves(self.inputs)]

    @property
    def name(self) -> str:
        """The local that holds it, or the first piece of it; empty if there is none."""
        node = self.use.node
        names = [n.name for n in (node, *node.readers) if n.name and n.name != "_"] if node else []
        return names[0] if names else ""

    @property
    def title(self) -> str:
        """How to name it to a person."""
        return f"the scan {self.name}" if self.name else "nn.Scan"

    @property
    def lengths(self) -> Place | None:
        """Where the lengths of the sequences are, if it has any."""
        node = self.use.node
        if node is None or not isinstance(node.inputs, tuple):
            return None
        position = node.labels.index("lengths") if node.labels and "lengths" in node.labels else 3 if self.takes_x else 2
        given = node.inputs[position] if position < len(node.inputs) and (not node.labels or "lengths" in node.labels) else None
        return self._place(given) if isinstance(given, Node) else None

    def _place(self, node: Node) -> Place:
        """Of a node beside the scan: a piece is at the node that was split."""
        if node.piece is None:
            return Place((*self.path[:-1], node.serial), 0, "lengths")
        assert isinstance(node.inputs, Node)
        whole, types = self._place(node.inputs), self.typed.types
        before = (types.find(self.outer.nodes[node.inputs]).items or [])[: node.piece[0]]
        return whole._replace(tensor=whole.tensor + sum(len(list(types.leaves(cell))) for cell in before))


def find_scans(typed: Typed) -> list[FoundScan]:
    """All scans of a model that are in no other, in order."""

    def visit(use: Use, path: tuple[int, ...]) -> Iterator[FoundScan]:
        for sub in use.subs.values():
            where = (*path, sub.node.serial) if sub.node else path
            if sub.module is not None and sub.module.record.name == "Scan":
                yield FoundScan(typed, use, sub, where)
            else:
                yield from visit(sub, where)

    return list(visit(typed.use, ()))


def with_scan(module: GModule) -> Typed:
    """A model typed in float64, one that has a scan; a cell {x, prev_s[, context]} -> {y, next_s} is scanned, from a state of zeros.

    E0830 when there is neither.
    """
    named_parameters(module)
    typed = infer(module, "float64")
    if any(inner.record.name == "Scan" for inner in module.walk()):
        return typed
    if len(module.inputs) in (2, 3) and len(module.outputs) == 2:
        with suppress(SpecError):
            return infer(_scanned(module), "float64")
    raise fail(
        "E0830",
        "there is no nn.Scan in this model, and it is no cell {x, prev_s} -> {y, next_s} either",
        module.origin,
        notes=[f"it is {typed.types.show(typed.use.x)} -> {typed.types.show(typed.use.y)}"],
        helps=["name a cell, or a model with a scan: `--entry 'rnn(8, 16)'`"],
    )


def _scanned(cell: GModule) -> GModule:
    origin = cell.origin
    names = ("xs", "context")[: len(cell.inputs) - 1]
    sources = {name: connect(new_module("Identity", [], origin), None, origin) for name in names}
    scan = connect(new_module("Scan", [cell], origin), sources, origin)
    return gmodule(list(sources.values()), [scan], origin)


@dataclass
class Trace:
    """One run of a model: the values of nodes in its scans (time first) and beside them."""

    values: Mapping[tuple[tuple[int, ...], int], Array]

    def at(self, place: Place) -> Array:
        return self.values[place.path, place.tensor]

    def inputs(self, scan: FoundScan) -> list[Array]:
        """The tensors of the cell's inputs, in order, with a leading axis of time."""
        found = []
        for node, types in zip(scan.module.inputs, scan.inputs, strict=True):
            found += [self.values[(*scan.path, node.serial), number] for number in range(len(leaves(types)))]
        return found


def fixed_arguments(module: Module, parameters: Mapping[str, Array]) -> dict[str, Array]:
    """What a program of this module takes besides its inputs, from parameters and buffers by name."""
    flat = np.concatenate([np.zeros(0), *(parameters[p.name].reshape(-1) for p in module.all_parameters())])
    buffers = {p.name: parameters[p.name] for p in module.all_parameters(buffers=True)}
    return {"parameters": flat, **buffers, "seed": np.array(1, np.int64), "step": np.array(0, np.int64)}


def trace(
    typed: Typed, scans: list[FoundScan], places: Collection[Place], inputs: Mapping[str, Array], parameters: Mapping[str, Array],
    device: Device | None,
) -> Trace:  # fmt: skip
    """Run the model, in evaluation, and look at these places and at all that goes into the cells of its scans."""
    paths = {place.path for place in places} | {(*scan.path, node.serial) for scan in scans for node in scan.module.inputs}
    names = {path: ".".join(map(str, path)) for path in paths}
    program = forward_program(replace(typed, node_names=names), False, frozenset(names.values()))
    engine = Engine(program, device)
    results = engine.run({**inputs, **fixed_arguments(typed.module, parameters)})
    values = {}
    for path, name in names.items():
        one = f"node:{name}"
        many = [key for key in results if key.startswith(f"{one}[")]
        values.update({(path, number): engine.to_host(results[key]) for number, key in enumerate(many or [one])})
    return Trace(values)
