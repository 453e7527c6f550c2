"""Binding a Plan to sizes and memory, and running it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

import numpy as np

from graphspec_runtime.arena import assign
from graphspec_runtime.devices.base import Array, Device, Layout, no_seconds
from graphspec_runtime.errors import PlanError
from graphspec_runtime.kernels.site import row_major
from graphspec_runtime.plan import Argument, Output, Plan, evaluate, letters_of
from graphspec_runtime.sizing import check_guards, check_names, infer_sizes

KEPT = 4
"""Bindings that an Executable keeps unless told otherwise."""


ROOM = 1.25
"""How much larger than asked for an arena is made, so that it can serve bindings of other sizes later."""


@dataclass(frozen=True)
class Arena:
    """Memory, and the lock of whoever runs in it."""

    memory: Array
    lock: RLock = field(default_factory=RLock)


class Executable:
    """A plan on a device.  Keeps the ``kept`` bindings used last, each with an arena of its own.

    The arena of a binding that is dropped goes to the next one it is large enough for: data of ever new sizes would else have the system
    hand out fresh memory at every step, which can take longer than the step.  May be used by several threads; see :class:`Bound` for what
    one binding allows.  ``timed``: runs are slower, and tell how long each instruction takes (:attr:`Bound.seconds`).
    """

    def __init__(self, plan: Plan, device: Device, kept: int = KEPT, timed: bool = False) -> None:
        self.plan, self.device, self.kept, self.timed = plan, device, kept, timed
        self._spare: Arena | None = None
        self._bounds: OrderedDict[tuple[int, ...], Bound] = OrderedDict()
        self._by_shapes: dict[tuple[tuple[int, ...], ...], dict[str, int]] = {}
        self._letters = sorted({*plan.letters, *(letter for a in plan.arguments for n in a.shape for letter in letters_of(n))})
        self._lock = RLock()

    def sizes(self, arguments: Mapping[str, Any]) -> dict[str, int]:
        """The size letters that the arguments' shapes bind; PlanError where they contradict each other or a guard."""
        check_names(self.plan, arguments)
        return infer_sizes(self.plan, {name: np.shape(value) for name, value in arguments.items()})

    def bind(self, sizes: Mapping[str, int]) -> Bound:
        """The binding for these sizes: kept from before, or made now (which allocates its arena)."""
        missing = [letter for letter in self._letters if letter not in sizes]
        if missing:
            raise PlanError("shape", f"no size for {', '.join(missing)}", letters=missing)
        key = tuple(sizes[letter] for letter in self._letters)
        with self._lock:
            bound = self._bounds.get(key)
            if bound is None:
                check_guards(self.plan, sizes)
                while len(self._bounds) >= self.kept:
                    self._drop()
                sizes = dict(zip(self._letters, key, strict=True))
                bound = self._bounds[key] = Bound(self.plan, self.device, sizes, self._memory, self.timed)
            self._bounds.move_to_end(key)
            return bound

    def _drop(self) -> None:
        """Forget the binding that was not used for longest."""
        _, dropped = self._bounds.popitem(last=False)
        self._by_shapes = {shapes: sizes for shapes, sizes in self._by_shapes.items() if sizes != dropped.sizes}
        if self._spare is None or self._spare.memory.nbytes < dropped.arena.memory.nbytes:
            self._spare = dropped.arena

    def _memory(self, size: int) -> Arena:
        """An arena of at least ``size`` bytes: the one that was left over (with its lock: a thread may still run there), or a new one."""
        spare, self._spare = self._spare, None
        if spare is not None and spare.memory.nbytes >= size:
            return spare
        return Arena(self.device.memory(size if spare is None else int(size * ROOM)))

    def bind_arguments(self, arguments: Mapping[str, Any]) -> Bound:
        """The binding that these arguments want."""
        try:
            shapes = tuple(np.shape(arguments[a.name]) for a in self.plan.arguments)
        except KeyError as e:
            raise PlanError("argument", f"argument `{e.args[0]}` is missing", argument=e.args[0]) from None
        sizes = self._by_shapes.get(shapes) if len(arguments) == len(shapes) else None
        if sizes is None:
            sizes = self.sizes(arguments)
        with self._lock:
            bound = self.bind(sizes)
            self._by_shapes[shapes] = bound.sizes
        return bound

    def run(self, arguments: Mapping[str, Any]) -> dict[str, Array]:
        """Bind by the arguments' shapes and run; see :meth:`Bound.run`."""
        return self.bind_arguments(arguments).run(arguments)

    def call(self, arguments: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
        """Bind by the arguments' shapes and run; results as host arrays.  Safe from several threads."""
        return self.bind_arguments(arguments).call(arguments)


class Bound:
    """A plan bound to sizes: its arena, and the program over it.

    A binding has one arena, so its runs take turns (``lock``), and outputs are overwritten by the next run (once the binding was dropped,
    by that of another).  A thread that shares a binding holds ``lock`` until it has copied what it wants, or uses :meth:`call`.

    ``seconds``, where runs are timed: what each instruction took by its ``serial``, in all runs with the resident arguments of the last.
    """

    def __init__(self, plan: Plan, device: Device, sizes: dict[str, int], memory: Callable[[int], Arena], timed: bool = False) -> None:
        self.plan, self.device, self.sizes, self.timed = plan, device, sizes, timed
        self.seconds = no_seconds(plan)
        offsets, self.bytes = assign(plan, sizes)
        self.arena = memory(self.bytes)
        self.lock = self.arena.lock
        self._memory: list[Array] = [self.arena.memory if i in offsets else None for i in range(len(plan.buffers))]
        self._starts = [offsets.get(i, 0) for i in range(len(plan.buffers))]
        for i, buffer in enumerate(plan.buffers):
            if buffer.kind == "constant":
                value = evaluate(buffer.value, sizes) if isinstance(buffer.value, tuple) else buffer.value
                self._memory[i] = device.from_host(np.full(1, value, buffer.dtype))
        self._shapes = [tuple(evaluate(n, sizes) for n in a.shape) for a in plan.arguments]
        self._resident = [(a, shape) for a, shape in zip(plan.arguments, self._shapes, strict=True) if a.resident]
        self._copied = [
            (a.name, shape, self._whole(a, shape)) for a, shape in zip(plan.arguments, self._shapes, strict=True) if not a.resident
        ]
        self._bound: dict[str, Any] = {}
        self._mirrors: list[tuple[str, Array]] = []
        self._outputs: dict[str, Array] = {}
        self._program: Callable[[], None] | None = None

    def run(self, arguments: Mapping[str, Any]) -> dict[str, Array]:
        """Results by name, as device arrays that lie in the arena until the next run overwrites them; an update is the argument itself.

        Resident arguments are used where they lie if the device holds them; binding others than in the run before costs some
        milliseconds.  A donated argument is overwritten and must be an array that the device holds, of the plan's dtype.  Results of
        the run before may be handed in, except for donated arguments.
        """
        with self.lock:
            try:
                for name, shape, place in self._copied:
                    value = arguments[name]
                    if np.shape(value) != shape:
                        raise _wrong_shape(name, shape, value)
                    self._fill(name, place, value)
                changed = any(arguments[a.name] is not self._bound.get(a.name) for a, _ in self._resident)
            except KeyError as e:
                raise PlanError("argument", f"argument `{e.args[0]}` is missing", argument=e.args[0]) from None
            if changed or self._program is None:
                program = self._rebind(arguments)
            else:
                program = self._program
            for name, place in self._mirrors:
                self._fill(name, place, arguments[name])
            program()
            return dict(self._outputs)

    def call(self, arguments: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
        """Like :meth:`run`, with results copied to the host: safe from several threads."""
        with self.lock:
            return {name: self.device.to_host(value) for name, value in self.run(arguments).items()}

    def _fill(self, name: str, place: Array, value: Any) -> None:
        try:
            self.device.copy(place, value)
        except TypeError as e:
            raise PlanError("argument", f"`{name}` is {np.asarray(value).dtype}, expected {place.dtype}", argument=name) from e

    def _whole(self, argument: Argument, shape: tuple[int, ...]) -> Array:
        buffer = argument.buffer
        dtype = np.dtype(self.plan.buffers[buffer].dtype)
        return self.device.view(self._memory[buffer], self._starts[buffer], dtype, shape, row_major(shape, dtype.itemsize))

    def _rebind(self, arguments: Mapping[str, Any]) -> Callable[[], None]:
        self._program, self._bound, self._mirrors = None, {}, []
        for argument, shape in self._resident:
            value = arguments[argument.name]
            if np.shape(value) != shape:
                raise _wrong_shape(argument.name, shape, value)
            dtype = np.dtype(self.plan.buffers[argument.buffer].dtype)
            usable = self.device.holds(value, argument.donated) and value.dtype == dtype
            own = usable and self.device.overlaps(value, self.arena.memory)
            if own and argument.donated:
                name = argument.name
                raise PlanError("argument", f"`{name}` lies in the plan's own memory, which this run overwrites; copy it", argument=name)
            if usable and not own:
                self._memory[argument.buffer] = value
            elif argument.donated:
                raise PlanError(
                    "argument",
                    f"`{argument.name}` is updated in place: it must be a writable, C-contiguous {dtype} array on {self.device.name}",
                    argument=argument.name,
                )
            else:
                self._memory[argument.buffer] = self.device.zeros(shape, dtype)
                self._mirrors.append((argument.name, self._memory[argument.buffer]))
        layout = Layout(self.plan, self.sizes, self._memory, self._starts)
        self._outputs = {o.name: self._output(o, layout) for o in self.plan.outputs}
        if self.timed:
            program, self.seconds = self.device.timed_program(layout)
        else:
            program = self.device.program(layout)
        self._bound = {a.name: arguments[a.name] for a, _ in self._resident}
        self._program = program
        return program

    def _output(self, output: Output, layout: Layout) -> Array:
        """An update is the caller's own array, so that handing it in again binds nothing anew."""
        memory = self._memory[output.view.buffer]
        return memory if output.updates else self.device.view(memory, *layout.window(output.view))


def _wrong_shape(name: str, shape: tuple[int, ...], value: Any) -> PlanError:
    got = list(np.shape(value))
    return PlanError("shape", f"`{name}` has shape {got}, this binding wants {list(shape)}", argument=name, expected=list(shape), got=got)
