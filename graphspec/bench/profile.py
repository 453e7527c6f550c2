"""Where the time of a step goes: by instruction, by kind of instruction, by line of the spec."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, dataclass, replace
from typing import Any

import numpy as np

from graphspec.bench.step import CompiledStep
from graphspec.binding import check_letters
from graphspec.check import draw_input
from graphspec.engine import Engine, device_named
from graphspec.errors import Origin, fail
from graphspec.graph import initial_value, initial_values
from graphspec.passes.told import PassReport
from graphspec.plan.summary import calls_and_flops
from graphspec.program import Typed, backward_program, leaves
from graphspec.views import resident
from graphspec_runtime.kernels import POINTWISE
from graphspec_runtime.plan import Instruction, evaluate

USUAL = 32
"""Each open size of a model that has no data."""
ENOUGH = 2.0
"""Seconds after which no further step is begun, where their number is not given."""
MOST, LEAST = 200, 3
"""Steps in that time."""

KINDS = {
    "matmul": "matrix products", "fused": "fused kernels", "copy": "copies", "random": "random numbers", "gather": "lookups",
    "scatter_add": "rows added up by index", "reduce_sum": "sums", "reduce_max": "largest elements", "check_index": "checks of indices",
}  # fmt: skip
"""What people call kernels; pointwise ones that stand alone are one kind, others keep their names."""
PACKING, BETWEEN = "weights packed for products", "between instructions"
"""Time that belongs to no instruction."""


@dataclass(frozen=True)
class Cost:
    """An instruction, or several, in one step: ``seconds``, ``calls`` (turns of loops counted), and of the matrix products among them
    ``flops`` and the seconds ``multiplying``."""

    seconds: float
    calls: int = 0
    flops: int = 0
    multiplying: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __mul__(self, part: float) -> Cost:
        return Cost(self.seconds * part, self.calls, round(self.flops * part), self.multiplying * part)

    @property
    def gflops(self) -> float | None:
        """GFLOP/s of the products; None where there are none."""
        return self.flops / self.multiplying / 1e9 if self.flops and self.multiplying else None


@dataclass(frozen=True)
class Timed:
    """An instruction of the plan: its number, its kernel, and all places of the spec that it comes from, the main one first.  ``shares``:
    how much of its work is each place's, where that is known."""

    serial: int
    kernel: str
    places: tuple[Origin, ...]
    cost: Cost
    shares: tuple[float, ...] = ()

    @property
    def kind(self) -> str:
        return KINDS.get(self.kernel) or ("single pointwise ops" if self.kernel in POINTWISE else self.kernel)

    @property
    def lines(self) -> tuple[tuple[str, int], ...]:
        """File and line, each once, in order; none for what no line asked for."""
        return tuple(sorted({(o.span.source.path, o.span.line) for o in self.places if o.span}))

    def divided(self) -> list[Timed]:
        """Itself, or a part for each line that it does the work of."""
        if not self.shares:
            return [self]
        parts = [Timed(self.serial, self.kernel, (place,), self.cost * part) for place, part in zip(self.places, self.shares, strict=True)]
        by_line = [[part for part in parts if part.lines == lines] for lines in dict.fromkeys(part.lines for part in parts)]
        return [replace(ones[0], cost=replace(total(one.cost for one in ones), calls=self.cost.calls)) for ones in by_line]


@dataclass(frozen=True)
class Profile:
    """``plain`` is how many seconds a step takes as it is run, the mean of ``steps``; ``seconds`` the same with the clock read around every
    instruction and loops not shared among threads, of which the rest are parts.  ``others`` are seconds that belong to no instruction.
    ``prepared``: seconds until the first step was done, by what took them."""

    what: str
    device: str
    sizes: Mapping[str, int]
    steps: int
    plain: float
    seconds: float
    timed: tuple[Timed, ...]
    others: Mapping[str, float]
    passes: tuple[PassReport, ...]
    prepared: Mapping[str, float]

    def by_kind(self) -> list[Group]:
        return grouped(self.timed, lambda one: one.kind)

    def by_line(self) -> list[Group]:
        """A product that was merged of several is divided among their lines; what else is of several lines belongs to all of them."""
        return grouped([part for one in self.timed for part in one.divided()], lambda one: one.lines)


Group = tuple[Any, list[Timed], Cost]
"""What instructions have in common, they, and the sum of their costs."""


def grouped(timed: Iterable[Timed], key: Callable[[Timed], Any]) -> list[Group]:
    """What takes longest first."""
    groups: dict[Any, list[Timed]] = {}
    for one in timed:
        groups.setdefault(key(one), []).append(one)
    rows = [(key, sorted(ones, key=lambda one: -one.cost.seconds), total(one.cost for one in ones)) for key, ones in groups.items()]
    return sorted(rows, key=lambda row: -row[2].seconds)


def total(costs: Iterable[Cost]) -> Cost:
    return sum(costs, Cost(0.0))


class CompiledModel:
    """A model's forward and backward, on inputs that are made up; the counterpart of :class:`CompiledStep` where there is no training.

    ``at``: sizes by letter, :data:`USUAL` for the others.  E0807 for sizes that do not exist.
    """

    def __init__(
        self, typed: Typed, at: Mapping[str, int], *, device: str = "cpu", threads: int | None = None, precision: str = "float32"
    ) -> None:
        self.device = device_named(device, threads, precision)
        program = backward_program(typed, training=True)
        check_letters(program, at)
        self.sizes = dict.fromkeys(program.letters, USUAL) | dict(at)
        rng = np.random.default_rng(1)
        given: dict[str, Any] = {
            name: draw_input(t, program, self.sizes, rng, 0.5, 1.5) for name, t in zip(typed.input_names, leaves(typed.inputs), strict=True)
        }
        given["parameters"] = initial_values(typed.module.all_parameters(), 1, typed.dtype)
        given |= {p.name: initial_value(p, 1, typed.dtype) for p in typed.module.all_parameters(buffers=True)}
        self.arguments: dict[str, Any] = {}
        for port, value in zip(program.inputs, program.block.params, strict=True):
            fill = 1 if port.name.startswith("gradient:") else 0
            array = given.get(port.name, np.full([n.evaluate(self.sizes) for n in value.shape], fill)).astype(value.dtype)
            self.arguments[port.name] = resident(array, self.device)
        self.engine = Engine(program, self.device, timed=True)


def profile(step: CompiledStep | CompiledModel, what: str, steps: int | None = None) -> Profile:
    """Run a step that was compiled ``timed``, ``steps`` times (None: for about two seconds).  E0807 for the reference, which has no
    instructions."""
    engine, executable = step.engine, step.engine.executable
    if executable is None:
        raise fail("E0807", "the reference interpreter has no instructions that could be timed", helps=["choose --device numpy"])
    prepared = {"passes": sum(report.seconds for report in engine.notes), "planning and printing": engine.planning}
    began = time.perf_counter()
    repeat(engine, step.arguments, 1)
    prepared["compiling, binding and the first step"] = time.perf_counter() - began
    plain = Engine(engine.program, executable.device)
    for each in (plain, engine):
        repeat(each, step.arguments, 1)
    usual, done = repeat(plain, step.arguments, steps)
    bound = executable.bind_arguments(step.arguments)
    before = bound.seconds.copy()
    whole, _ = repeat(engine, step.arguments, done)
    seconds = (bound.seconds - before) / done
    timed = []
    for instruction, around in executable.plan.walk():
        calls, flops = calls_and_flops(instruction, around, bound.sizes)
        main = executable.plan.origin(instruction.origin)
        places = dict.fromkeys((main, *executable.plan.origins_of(instruction)))
        found = tuple(engine.origins[place] for place in places if place in engine.origins)
        mine = float(seconds[instruction.serial])
        cost = Cost(mine, calls, flops, mine if flops else 0.0)
        timed.append(Timed(instruction.serial, instruction.kernel, found, cost, shares(instruction, bound.sizes, len(found))))
    others = {PACKING: float(seconds[0]), BETWEEN: max(whole - float(seconds.sum()), 0.0)}
    return Profile(
        what, executable.device.name, bound.sizes, done, usual, whole, tuple(timed), {k: s for k, s in others.items() if s > 0},
        tuple(engine.notes), prepared,
    )  # fmt: skip


def shares(instruction: Instruction, sizes: Mapping[str, int], places: int) -> tuple[float, ...]:
    """How much of an instruction's work is each place's; none where that is not known."""
    work = [evaluate(n, sizes) for n in instruction.attrs.get("work", ())]
    return tuple(n / sum(work) for n in work) if sum(work) and len(work) == places else ()


def repeat(engine: Engine, arguments: Mapping[str, Any], steps: int | None) -> tuple[float, int]:
    """Seconds of a step, and how many were done (None: as many as :data:`ENOUGH` seconds allow)."""
    began, done = time.perf_counter(), 0
    while done < (steps or MOST) and (steps or done < LEAST or time.perf_counter() - began < ENOUGH):
        engine.run(arguments)
        done += 1
    if engine.executable is not None:
        engine.executable.device.synchronize()
    return (time.perf_counter() - began) / done, done


def source_text(origin: Origin) -> str:
    """The line of the spec where something was made."""
    return origin.span.source.line(origin.span.line).strip() if origin.span else ""


def chain(origin: Origin) -> str:
    """The innermost functions that were being called, and that there are more: ``... > make_lstm_step > new_input_sum``."""
    names = [frame.name for frame in reversed(origin.frames) if frame.kind == "call" and frame.name]
    return " > ".join(["...", *names[-2:]] if len(names) > 2 else names)


def share(part: float, whole: float) -> float:
    return part / whole if whole > 0 and math.isfinite(part) else 0.0
