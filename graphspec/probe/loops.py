"""The loops of a model that carry a state, and what is in one of them when the model runs: what each step reads, its state, its gates."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphspec.engine import Engine
from graphspec.errors import SpecError, fail
from graphspec.graph import GModule, Module, connect, flattened, gmodule, new_module
from graphspec.ir.core import Port, Program, TensorType, Value, tensor
from graphspec.nn.loop import Ran
from graphspec.probe.flow import Place
from graphspec.program import Frame, Typed, infer, named_parameters, open_frame
from graphspec.sizes import Size
from graphspec.states import lowered
from graphspec_runtime.devices.base import Device

Array = np.ndarray[Any, Any]


class FoundLoop:
    """One loop over time that is in no other, and carries a state with numbers in it."""

    def __init__(self, typed: Typed, number: int, ran: Ran, frame: Frame) -> None:
        self.typed, self.number, self.ran = typed, number, ran
        self.use = ran.around
        assert ran.use.module is not None
        self.module: Module = ran.use.module
        """What one step runs."""
        self.state = [value.type for value in ran.carries]
        inputs = {value: name for name, value in frame.values.items()}
        self.length_input = None if ran.lengths is None else inputs.get(ran.consts[ran.lengths])
        """The model's input that says how long each sequence is, if one does."""
        self._check()

    def _check(self) -> None:
        why = ""
        if getattr(self.use.module and self.use.module.args, "feedback", None) == "value":
            why = "it feeds its outputs back, so that more goes round than its state"
        elif not any(t.is_float for t in self.state):
            why = "its state holds no numbers with a fraction"
        if why:
            raise fail("E0831", f"{self.title} cannot be probed: {why}", self.use.origin, others=[(self.module.origin, "its cell")])

    @property
    def inputs(self) -> dict[str, TensorType]:
        """What a step reads, by name: ``const``, the same for all steps; ``carry``, the state before it; ``x``, its part of a sequence."""
        parts = {"const": [v.type for v in self.ran.consts], "carry": self.state, "x": [_one(v.type) for v in self.ran.xs]}
        return {f"{part} {i}": t for part, types in parts.items() for i, t in enumerate(types)}

    @property
    def trip(self) -> Size:
        """How many steps it runs."""
        return self.ran.trip

    @property
    def batch(self) -> str | None:
        """The letter of the axis that every tensor of the state begins with: sequences, each for itself."""
        first = {t.shape[0].lone if t.rank else None for t in self.state if t.is_float}
        return first.pop() if len(first) == 1 else None

    @property
    def batch_axes(self) -> list[int | None]:
        """The batch axis of each input of a step, None for one without."""
        return [next((a for a, n in enumerate(t.shape) if self.batch and n.lone == self.batch), None) for t in self.inputs.values()]

    @property
    def name(self) -> str:
        """The local that holds it, or the first piece of it; empty if there is none."""
        node = self.use.node
        names = [n.name for n in (node, *node.readers) if n.name and n.name != "_"] if node else []
        found = names[0] if names else self.use.module.name if self.use.module else None
        return found or ""

    @property
    def title(self) -> str:
        """How to name it to a person."""
        assert self.use.module is not None
        what = f"the loop {self.name}" if self.name else f"nn.{self.use.module.record.name}"
        role = next((key for key, use in self.use.subs.items() if use is self.ran.use and len(self.use.subs) > 1), None)
        return what if role is None else f"{what}, {role}"

    def step(self) -> tuple[Frame, list[Value], list[Value]]:
        """A program in the making: its inputs are those of a step, by name, and ``index``; with the state in it, and the one after it."""
        typed = self.typed
        frame, _ = open_frame(Typed(self.module, typed.types, self.ran.use, (), (), typed.dtype, [], {}, typed.index_base), training=False)
        index = frame.input("index", tensor((), "int32"), "input")
        frame.b.scope.indices = [index]
        values = {name: frame.input(name, t, "input") for name, t in self.inputs.items()}
        consts, state, xs = ([v for name, v in values.items() if name.startswith(part)] for part in ("const", "carry", "x"))
        with frame.b.at(self.module.origin):
            following, _ = self.ran.step(frame.b, index, consts, state, xs)
        return frame, state, following


def _one(t: TensorType) -> TensorType:
    return tensor(t.shape[1:], t.dtype)


def find_loops(typed: Typed) -> list[FoundLoop]:
    """All loops of a model with a state that are in no other, in order; E0831 where one cannot be probed."""
    frame, ran = lowered(typed, {})
    return [FoundLoop(typed, number, loop, frame) for number, loop in enumerate(ran) if loop.carries]


def with_loops(module: GModule) -> tuple[Typed, list[FoundLoop]]:
    """A model typed in float64 and its loops; a cell {x, prev_s[, context]} -> {y, next_s} is scanned, from a state of zeros.

    E0830 when it is neither.
    """
    named_parameters(module)
    typed = infer(module, "float64")
    found = find_loops(typed)
    if found:
        return typed, found
    if len(module.inputs) in (2, 3) and len(module.outputs) == 2:
        scanned = None
        with suppress(SpecError):
            scanned = infer(_scanned(module), "float64")
        if scanned is not None:
            return scanned, find_loops(scanned)
    raise fail(
        "E0830",
        "no loop in this model carries a state, and it is no cell {x, prev_s} -> {y, next_s} either",
        module.origin,
        notes=[f"it is {typed.types.show(typed.use.x)} -> {typed.types.show(typed.use.y)}"],
        helps=["name a cell, or a model with a loop (nn.Scan, nn.Sequencer, nn.SeqLSTM ...): `--entry 'rnn(8, 16)'`"],
    )


def _scanned(cell: GModule) -> GModule:
    origin = cell.origin
    names = ("xs", "context")[: len(cell.inputs) - 1]
    sources = {name: connect(new_module("Identity", [], origin), None, origin) for name in names}
    scan = connect(new_module("Scan", [cell], origin), sources, origin)
    return gmodule(list(sources.values()), [scan], origin)


@dataclass
class Trace:
    """One run of a model: the values of uses in its loops (time first), and what each step read."""

    values: Mapping[str, Array]

    def at(self, place: Place) -> Array:
        return self.values[place.key]

    def states(self, loop: FoundLoop) -> list[Array]:
        """The tensors of the state before each step, time first."""
        return [self.values[f"loop {loop.number} carry {i}"] for i in range(len(loop.state))]

    def lengths(self, loop: FoundLoop) -> Array | None:
        """How many steps each sequence has, where they differ."""
        return None if loop.ran.lengths is None else self.values[f"loop {loop.number} const {loop.ran.lengths}"]

    def step(self, loop: FoundLoop, sequence: int, time: int) -> list[Array]:
        """What one step reads: its index, and the inputs with that one sequence."""
        found = [np.array(time, np.int32)]
        for name, axis in zip(loop.inputs, loop.batch_axes, strict=True):
            array = self.values[f"loop {loop.number} {name}"]
            array = array if name.startswith("const") else array[time]
            found.append(array if axis is None else array.take([sequence], axis))
        return found


def fixed_arguments(module: Module, parameters: Mapping[str, Array]) -> dict[str, Array]:
    """What a program of this module takes besides its inputs, from parameters and buffers by name."""
    buffers = {p.name: parameters[p.name] for p in module.all_parameters(buffers=True)}
    flat = flattened(parameters, module.all_parameters())
    return {"parameters": flat, **buffers, "seed": np.array(1, np.int64), "step": np.array(0, np.int64)}


def trace(
    typed: Typed, places: Collection[Place], inputs: Mapping[str, Array], parameters: Mapping[str, Array], device: Device | None
) -> Trace:
    """Run the model, in evaluation, and look at these places and at all that goes into the steps of its loops."""
    frame, _ = lowered(typed, {id(typed.types.uses[place.use]): place.name for place in places})
    captured = frame.b.scope.captured
    program: Program = frame.finish("trace", [(Port(name, "output"), value) for name, value in captured.items()])
    engine = Engine(program, device)
    results = engine.run({**inputs, **fixed_arguments(typed.module, parameters)})
    values = {name: engine.to_host(results[name]) for name in captured}
    return Trace({(name if "[" in name or name.startswith("loop") else f"{name}[1]"): array for name, array in values.items()})


def steps_of(loop: FoundLoop, seen: Trace) -> list[list[int]]:
    """For each sequence the times of its steps, in the order in which the loop takes them; those beyond its length are none."""
    state = next(s for s, t in zip(seen.states(loop), loop.state, strict=True) if t.is_float)
    trip, sequences = len(state), state.shape[1] if loop.batch else 1
    lengths = seen.lengths(loop)
    found = [list(range(min(int(n), trip))) for n in (np.full(sequences, trip) if lengths is None else lengths)]
    if not all(found):
        raise fail("E0831", f"{loop.title} cannot be probed: a sequence has no steps", loop.use.origin)
    return [own[::-1] if loop.ran.reverse else own for own in found]


def active(loop: FoundLoop, times: Sequence[Sequence[int]], values: Array) -> Array:
    """A value [T, B, ...] of a loop, where steps are a sequence's own."""
    if loop.ran.lengths is None:
        return values
    return np.concatenate([values[list(own), number].reshape(-1) for number, own in enumerate(times)])
