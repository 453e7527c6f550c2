"""Runs a Plan op by op through the array kernels: what the numpy and the cupy device have in common.

The instructions become one Python function, a call a line and a ``for`` a loop, over views made beforehand.  Its text holds
nothing but names and loops, so it costs a kernel call no more than that call:

    def run():
        k0(v0, v1)
        for v2, v3 in zip(s2, s3):
            k1(v2, v1, v3)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from time import perf_counter
from typing import Any

from graphspec_runtime.devices.base import Array, Device, Layout, Seconds, Window, no_seconds
from graphspec_runtime.errors import PlanError
from graphspec_runtime.kernels import KERNELS, POINTWISE, Kernel, Maker, Scratch, Site
from graphspec_runtime.plan import Instruction, Loop, View

VIEW_LIMIT = 200_000
"""Views kept for the turns of loops (about 150 bytes each); beyond it, long loops make theirs as they go."""


class ArrayDevice(Device):
    """A device whose memory is arrays of the module ``xp``."""

    xp: Any
    kernels: Mapping[str, Maker] = KERNELS

    def program(self, layout: Layout) -> Callable[[], None]:
        return _Writer(self, layout).program()

    def timed_program(self, layout: Layout) -> tuple[Callable[[], None], Seconds]:
        seconds = no_seconds(layout.plan)
        return _Writer(self, layout, seconds).program(), seconds


class _Turns:
    """The views of one loop's turns in order, each made when it is reached."""

    def __init__(self, make: Callable[[int], Any], turns: range) -> None:
        self._make, self._turns = make, turns

    def __iter__(self) -> Iterator[Any]:
        return map(self._make, self._turns)


class _Writer:
    """``seconds``: where each instruction adds the time that its calls take."""

    def __init__(self, device: ArrayDevice, layout: Layout, seconds: Seconds | None = None) -> None:
        self.device, self.layout, self.seconds = device, layout, seconds
        self.scratch = Scratch(device)
        self.lines: list[str] = []
        self.names: dict[str, Any] = {"zip": zip}
        self.known: dict[tuple[View, bool, tuple[int, ...]], str] = {}
        self.columns: dict[int, list[tuple[str, str]]] = {}
        self.left = VIEW_LIMIT

    def program(self) -> Callable[[], None]:
        self._steps(self.layout.plan.code, [], "    ")
        source = "def run():\n" + ("\n".join(self.lines) or "    pass")
        exec(compile(source, f"<plan {self.layout.plan.name}>", "exec"), self.names)
        run: Callable[[], None] = self.names["run"]
        return run

    def _steps(self, steps: Sequence[Instruction | Loop], loops: list[Loop], indent: str) -> None:
        for step in steps:
            if isinstance(step, Instruction):
                self.lines.append(indent + self._call(step, loops))
            elif self.layout.number(step.trip) > 0:
                self._loop(step, loops, indent)

    def _loop(self, loop: Loop, loops: list[Loop], indent: str) -> None:
        self.columns[loop.id] = [(f"t{loop.id}", self._bind(f"r{loop.id}", _order(loop, self.layout)))]
        head = len(self.lines)
        self.lines.append("")
        self._steps(loop.body, [*loops, loop], indent + "    ")
        if len(self.lines) == head + 1:
            self.lines.append(indent + "    pass")
        targets, sources = zip(*self.columns.pop(loop.id), strict=True)
        self.lines[head] = f"{indent}for {', '.join(targets)}, in zip({', '.join(sources)}):"

    def _bind(self, name: str, value: Any) -> str:
        self.names[name] = value
        return name

    def _call(self, step: Instruction, loops: list[Loop]) -> str:
        maker = self.device.kernels.get(step.kernel)
        origin = self.layout.plan.origin(step.origin)
        if maker is None:
            raise PlanError("plan", f"there is no kernel `{step.kernel}`", origin)
        shrink = step.kernel in POINTWISE
        views = [*((v, shrink) for v in step.inputs), *((v, False) for v in step.outputs)]
        self.scratch.clear()
        examples = [self._array(view, small, {}) for view, small in views]
        site = Site(
            self.device, self.device.xp, step, examples[: len(step.inputs)], examples[len(step.inputs) :],
            self.layout.sizes, origin, self._argument(step), self.scratch,
        )  # fmt: skip
        kernel: Kernel = maker(site)
        if self.seconds is not None:
            kernel = _timed(kernel, self.seconds, step.serial, self.device.synchronize)
        arguments = [self._name(view, small, loops) for view, small in views]
        return f"{self._bind(f'k{len(self.names)}', kernel)}({', '.join(arguments)})"

    def _argument(self, step: Instruction) -> str:
        buffers = self.layout.plan.buffers
        return next((buffers[v.buffer].name for v in step.inputs if buffers[v.buffer].kind == "argument"), "")

    def _name(self, view: View, small: bool, loops: list[Loop]) -> str:
        """The variable that holds a view where it is used; the loops it moves with hand it on turn by turn."""
        steps = dict(view.steps)
        moving = [loop for loop in loops if loop.id in steps]
        key = (view, small, tuple(loop.id for loop in moving))
        if key in self.known:
            return self.known[key]
        name = self.known[key] = f"v{len(self.known)}"
        if not moving:
            return self._bind(name, self._array(view, small, {}))
        source = self._bind(f"{name}_all", self._turns(view, small, moving, {}))
        for depth, loop in enumerate(moving):
            target = name if depth == len(moving) - 1 else f"{name}_{depth}"
            self.columns[loop.id].append((target, source))
            source = target
        return name

    def _turns(self, view: View, small: bool, loops: list[Loop], turns: dict[int, int]) -> Any:
        """Something to iterate over, as deep as there are loops."""
        if not loops:
            return self._array(view, small, turns)
        loop, inner = loops[0], loops[1:]
        order = _order(loop, self.layout)
        make: Callable[[int], Any]
        if inner:

            def make(turn: int) -> Any:
                return self._turns(view, small, inner, {**turns, loop.id: turn})
        else:
            make = self._along(view, small, loop, turns)

        if len(order) > self.left:
            return _Turns(make, order)
        self.left -= len(order)
        return [make(turn) for turn in order]

    def _along(self, view: View, small: bool, loop: Loop, turns: Mapping[int, int]) -> Callable[[int], Array]:
        """The view in a turn of its innermost loop.  Binding makes thousands of these, so all that is the same in each is done once."""
        start, dtype, shape, strides = self._window(view, small, {**turns, loop.id: 0})
        step = sum(self.layout.number(n) for number, n in view.steps if number == loop.id) * dtype.itemsize
        memory, make = self.layout.memory[view.buffer], self.device.view
        return lambda turn: make(memory, start + turn * step, dtype, shape, strides)

    def _array(self, view: View, small: bool, turns: Mapping[int, int]) -> Array:
        return self.device.view(self.layout.memory[view.buffer], *self._window(view, small, turns))

    def _window(self, view: View, small: bool, turns: Mapping[int, int]) -> Window:
        start, dtype, shape, strides = self.layout.window(view, turns)
        if small:  # ufuncs broadcast by themselves, faster over fewer axes
            kept = next((i for i, stride in enumerate(strides) if stride), len(strides))
            shape, strides = shape[kept:], strides[kept:]
        return start, dtype, shape, strides


def _timed(kernel: Kernel, seconds: Seconds, serial: int, wait: Callable[[], None]) -> Kernel:
    def timed(*arrays: Array) -> None:
        began = perf_counter()
        kernel(*arrays)
        wait()
        seconds[serial] += perf_counter() - began

    return timed


def _order(loop: Loop, layout: Layout) -> range:
    trip = layout.number(loop.trip)
    return range(trip - 1, -1, -1) if loop.reverse else range(trip)


def check_memory(size: int, what: str, make: Callable[[], Array], failures: tuple[type[BaseException], ...]) -> Array:
    """``make()``, or a PlanError that says how many bytes were wanted."""
    try:
        return make()
    except failures as e:
        raise no_memory(size, what, "this plan") from e


def no_memory(size: int, what: str, purpose: str) -> PlanError:
    return PlanError("memory", f"{what} has no {size / 2**20:,.0f} MiB for {purpose}", bytes=size)
