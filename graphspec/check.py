"""Finite differences: are the gradients of a compiled model those of its forward computation?

:func:`compare` works on any pair of functions; :class:`Probe` makes that pair from a typed module, and :func:`check` does
the whole: ``graphspec check`` and the tests of every record use it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from graphspec.binding import check_guards
from graphspec.engine import Engine
from graphspec.errors import SpecError, fail
from graphspec.graph import flattened, initial_value, views
from graphspec.ir.core import Program, TensorType
from graphspec.ir.rewrite import copy_program, erase_stops
from graphspec.program import Typed, backward_program, forward_program, leaves, named_parameters
from graphspec.reference import Held, interpret
from graphspec_runtime.devices.base import Device

Array = np.ndarray[Any, Any]
Point = Mapping[str, Array]
Forward = Callable[[Point], Sequence[Array]]
Backward = Callable[[Point, Sequence[Array]], Point]
Run = Callable[[Program, Mapping[str, Any]], Mapping[str, Any]]
"""What executes a program: arguments by name to results by name."""

MAX_ELEMENTS = 2000
"""Places in which a model is tried, by default."""

MAX_TENSOR = 10**8
"""Of one tensor that is checked."""

MAX_ROUNDS = 10
"""Attempts to find sizes that are within all bounds."""

CENTRAL = {-2: 1, -1: -8, 1: 8, 2: -1}
RIGHT = {0: -25, 1: 48, 2: -36, 3: 16, 4: -3}
LEFT = {-place: -weight for place, weight in RIGHT.items()}
STENCILS = [(step, CENTRAL) for step in (1e-3, 1e-4, 1e-5)] + [(step, s) for step in (1e-5, 1e-6, 1e-7) for s in (RIGHT, LEFT)]
"""Five-point stencils, twelve times the derivative by the places that they look at, and distances between these, relative to
max(1, |x|).  The first has an error of about 1e-12.  The others are for functions with a kink or a steep place nearby: among the
thousands of ReLUs and maxima of a convolutional network one is always near, but seldom on both sides."""


@dataclass(frozen=True)
class Entry:
    """The check of one tensor; ``relative_error`` is ``max|a - n| / max(|a|, |n|)`` over the tensor, a the gradient and n the
    finite difference."""

    name: str
    kind: Literal["parameter", "input"]
    shape: tuple[int, ...]
    relative_error: float


@dataclass(frozen=True)
class Report:
    """All entries of one check."""

    entries: tuple[Entry, ...]
    tolerance: float = 1e-6

    @property
    def max_relative_error(self) -> float:
        return max((e.relative_error for e in self.entries), default=0.0)

    @property
    def ok(self) -> bool:
        return all(e.relative_error <= self.tolerance for e in self.entries)

    def to_json(self) -> dict[str, Any]:
        """``{ok, max_relative_error, entries: [{name, kind, shape, relative_error}]}``."""
        return {
            "ok": self.ok,
            "max_relative_error": self.max_relative_error,
            "entries": [{"name": e.name, "kind": e.kind, "shape": list(e.shape), "relative_error": e.relative_error} for e in self.entries],
        }


def compare(
    forward: Forward,
    backward: Backward,
    point: Point,
    parameters: Sequence[str] = (),
    *,
    tolerance: float = 1e-6,
    limit: int | None = None,
    seed: int = 0,
) -> Report:
    """Check the gradients of ``sum(cotangent * output)``, cotangents drawn at random, at ``point`` (float64 arrays by name).

    ``backward(point, cotangents)`` gives the gradient of each tensor of the point.  ``parameters`` names those that are
    parameters; the others are inputs.  Of tensors with more than ``limit`` elements that many are tried, drawn at random, and one
    random direction through all of them.
    """
    rng = np.random.default_rng(seed)
    cotangents: list[Array] = [np.asarray(rng.standard_normal(y.shape)) for y in forward(point)]
    analytic = backward(point, cotangents)
    largest = max((float(np.max(np.abs(analytic[name]), initial=0.0)) for name in point), default=0.0)
    entries = []
    for name, value in point.items():
        every = np.arange(value.size)
        chosen = every if limit is None or value.size <= limit else np.sort(rng.choice(every, limit, replace=False))
        a = np.asarray(analytic[name], np.float64).reshape(-1)[chosen]
        near = tolerance * max(float(np.max(np.abs(a), initial=0.0)), 1e-5 * largest)  # on the scale of relative_error
        ways = [_axis(value, int(i)) for i in chosen]
        if chosen is not every:
            way = np.asarray(rng.standard_normal(value.shape))
            ways.append(way / np.linalg.norm(way))
            a = np.append(a, np.sum(ways[-1] * analytic[name]))
        n = np.array([_difference(forward, point, name, way, cotangents, float(wanted), near) for way, wanted in zip(ways, a, strict=True)])
        entries.append(Entry(name, "parameter" if name in parameters else "input", value.shape, relative_error(a, n, largest)))
    return Report(tuple(entries), tolerance)


def relative_error(a: Array, n: Array, largest: float) -> float:
    """``max|a - n| / max(|a|, |n|)``.

    Where a tensor's gradients vanish beside the ``largest`` of all tensors (the bias before a softmax has none at all), rounding is all
    there is to see, and the error is taken relative to a hundred-thousandth of that.
    """
    if not a.size:
        return 0.0
    scale = max(float(np.max(np.abs(a))), float(np.max(np.abs(n))), 1e-5 * largest)
    error = float(np.max(np.abs(a - n)))
    if np.isnan(error):
        return float("inf")
    return error / scale if scale else 0.0


def _axis(value: Array, index: int) -> Array:
    """The direction of one element."""
    way = np.zeros(value.shape)
    way.reshape(-1)[index] = 1
    return way


def _difference(
    forward: Forward, point: Point, name: str, way: Array, cotangents: Sequence[Array], wanted: float, near: float
) -> float:
    """The derivative along ``way``, of the stencil that comes closest to ``wanted`` (the first one that is ``near`` a tenth)."""
    best = float("inf")
    for step, stencil in STENCILS:
        found = _derivative(forward, point, name, way, cotangents, step, stencil)
        if not abs(best - wanted) <= abs(found - wanted):
            best = found
        if abs(best - wanted) <= 0.1 * near:
            break
    return best


def _derivative(
    forward: Forward, point: Point, name: str, way: Array, cotangents: Sequence[Array], step: float, stencil: Mapping[int, int]
) -> float:
    """The stencil's sum, output by output and of differences (its weights add up to 0), so that little is lost to rounding, and what
    does not change has none."""
    h = step * max(1.0, float(np.max(np.abs(point[name]), where=way != 0, initial=0.0)))
    results = {place: forward({**point, name: point[name] + place * h * way}) for place in stencil}
    first = results[next(iter(stencil))]
    changes = (weight * np.sum(c * (y - one)) for place, weight in stencil.items()
               for c, y, one in zip(cotangents, results[place], first, strict=True))
    return float(sum(changes)) / (12 * h)


class Probe:
    """A module typed in float64, as a function of its float inputs and parameters and that function's gradient.

    ``run`` executes programs; ``inputs`` are the arrays that go in, and bind the sizes (integers stay as they are).  Random ops draw
    the same numbers every time.  What modules minimise beside their outputs is an output too.  What they hold constant by definition stays
    what it is at the last :meth:`point` that was asked for: then ``forward`` interprets the program, whatever ``run`` is.
    """

    def __init__(self, typed: Typed, inputs: Sequence[Array], run: Run = interpret, *, training: bool = True) -> None:
        assert typed.dtype == "float64"
        self.typed = typed
        self.run = run
        self.parameters = named_parameters(typed.module)
        self.holding = self.forward_program = forward_program(typed, training, proving=True)
        self.backward_program = backward_program(typed, training, proving=True)
        self.holds = any(op.name == "stop_gradient" for op in self.holding.block.walk())
        self.held: Held = {}
        if self.holds:
            self.forward_program = copy_program(self.holding)
            erase_stops(self.forward_program.block)
        self.given = dict(zip(typed.input_names, inputs, strict=True))
        self.float_inputs = [name for name, t in zip(typed.input_names, leaves(typed.inputs), strict=True) if t.is_float]
        self.outputs = [name for name, t in zip(typed.output_names, leaves(typed.outputs), strict=True) if t.is_float]
        self.terms = [port.name for port in self.forward_program.outputs if port.name == "terms"]
        """The output of what is minimised beside the others, if there is any; it is one of ``outputs``."""
        self.outputs += self.terms
        self.steady = {p.name: initial_value(p, 1, "float64") for p in typed.module.all_parameters(buffers=True)}
        self.steady.update(seed=np.array(1, np.int64), step=np.array(0, np.int64))

    def point(self, parameters: Mapping[str, Array]) -> dict[str, Array]:
        """Inputs and parameters together, as :func:`compare` wants them."""
        found = {**{name: self.given[name] for name in self.float_inputs}, **parameters}
        if self.holds:
            self.held.clear()
            with np.errstate(all="ignore"):
                self.forward(found)
        return found

    def draw_parameters(self, rng: np.random.Generator, scale: float) -> dict[str, Array]:
        """Parameters uniform in +-scale."""
        for p in self.parameters:
            _drawable(p.shape)
        return {p.name: rng.uniform(-scale, scale, p.shape) for p in self.parameters}

    def arguments(self, point: Point) -> dict[str, Any]:
        inputs = {name: point.get(name, value) for name, value in self.given.items()}
        return {**self.steady, **inputs, "parameters": flattened(point, self.parameters)}

    def results(self, point: Point) -> Mapping[str, Array]:
        """Everything that the forward program gives."""
        return self.run(self.forward_program, self.arguments(point))

    def forward(self, point: Point) -> list[Array]:
        """The float outputs."""
        found = interpret(self.holding, self.arguments(point), held=self.held) if self.holds else self.results(point)
        return [np.asarray(found[name]) for name in self.outputs]

    def backward(self, point: Point, cotangents: Sequence[Array]) -> dict[str, Array]:
        """The gradient of each tensor of the point."""
        arguments = self.arguments(point)
        arguments.update({f"gradient:{name}": c for name, c in zip(self.outputs, cotangents, strict=True)})
        arguments["gradients"] = np.zeros_like(arguments["parameters"])
        found = self.run(self.backward_program, arguments)
        gradients = {name: np.asarray(found[f"gradient:{name}"]) for name in self.float_inputs}
        return {**gradients, **(views(np.asarray(found["new gradients"]), self.parameters) if self.parameters else {})}


def check(
    typed: Typed, run: Run = interpret, *, training: bool = True, scale: float = 0.5, tolerance: float = 1e-6,
    limit: int | None = None, seed: int = 1,
) -> Report:
    """Check a whole model (typed in float64): parameters drawn at ``scale``, inputs and open sizes made up.

    ``limit`` is that of :func:`compare`; by default a model of more than ``MAX_ELEMENTS`` numbers is tried in as many places.
    E0322 when the outputs are not finite for any inputs that are tried.
    """
    rng = np.random.default_rng(seed)
    program = forward_program(typed, training)
    letters = choose_sizes(program)
    for low, high in ((-1.0, 1.0), (0.5, 1.5)):  # the second for logarithms and roots
        inputs = [draw_input(t, program, letters, rng, low, high) for t in leaves(typed.inputs)]
        probe = Probe(typed, inputs, run, training=training)
        point = probe.point(probe.draw_parameters(rng, scale))
        with np.errstate(all="ignore"):
            finite = all(np.all(np.isfinite(y)) for y in probe.forward(point))
        if finite:
            names = [p.name for p in probe.parameters]
            if limit is None and sum(x.size for x in point.values()) > MAX_ELEMENTS:
                limit = max(MAX_ELEMENTS // len(point), 10)
            return compare(probe.forward, probe.backward, point, names, tolerance=tolerance, limit=limit, seed=seed)
    raise fail("E0322", "the outputs are not finite, so gradients cannot be checked", typed.module.origin)


def on_device(device: Device | None) -> Run:
    """What runs programs on an open device (None: the reference), bound once for each: arguments are copied into arrays that stay."""
    engines: dict[int, tuple[Engine, dict[str, Array]]] = {}

    def execute(program: Program, given: Mapping[str, Any]) -> Mapping[str, Any]:
        if id(program) not in engines:
            engines[id(program)] = (Engine(program, device, check=True), {name: np.array(a) for name, a in given.items()})
        engine, held = engines[id(program)]
        for name, array in given.items():
            held[name][...] = array
        return {name: np.array(a) for name, a in engine.run(held).items()}

    return execute


def choose_sizes(program: Program) -> dict[str, int]:
    """A small size for each letter: all different where the program's guards allow it, and as large as they ask for."""
    names = program.letters
    choices = [{name: 3 + i for i, name in enumerate(names)}, *(dict.fromkeys(names, n) for n in (3, 2, 4, 6))]
    for letters in choices:
        _raise_to_bounds(program, letters)
        try:
            check_guards(program, letters)
        except SpecError:
            continue
        return letters
    return choices[0]


def _raise_to_bounds(program: Program, letters: dict[str, int]) -> None:
    """Make letters larger until every bound ``left <= right`` holds that larger ones can make hold."""
    for _ in range(MAX_ROUNDS):
        short = [(g, g.left.evaluate(letters) - g.right.evaluate(letters)) for g in program.guards if g.at_most]
        wanting = [(g.right.letters - g.left.letters, missing) for g, missing in short if missing > 0]
        if not any(grow for grow, _ in wanting):
            return
        for grow, missing in wanting:
            for letter in sorted(grow)[:1]:
                letters[letter] += missing


def _drawable(shape: Sequence[int]) -> None:
    if math.prod(shape) > MAX_TENSOR:
        sizes = ", ".join(map(str, shape))
        raise fail("E0702", f"an input of [{sizes}] is too large to be made up", helps=["smaller sizes say the same"])


def draw_input(t: TensorType, program: Program, letters: Mapping[str, int], rng: np.random.Generator, low: float, high: float) -> Array:
    """An input: floats in ``low..high``, integers from 1 that every index check of the program lets pass.  E0702 for one too large."""
    shape = tuple(n.evaluate(letters) for n in t.shape)
    _drawable(shape)
    if t.is_float:
        return rng.uniform(low, high, shape)
    if t.dtype == "bool":
        return rng.random(shape) < 0.7
    limits = [op.attrs["size"].evaluate(letters) - 1 + op.attrs["base"] for op in program.block.walk() if op.name == "check_index"]
    first = max([op.attrs["base"] for op in program.block.walk() if op.name == "check_index"], default=1)
    return rng.integers(first, max(min(limits, default=3), first) + 1, shape).astype(t.dtype)
