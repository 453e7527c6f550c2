"""The Jacobian of one step of a loop, and of many: from the gradient of the compiled step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any

import numpy as np

from graphspec.autodiff import gradients
from graphspec.engine import Engine
from graphspec.errors import fail
from graphspec.ir.core import Port, Program
from graphspec.probe.flow import spectral_norm
from graphspec.probe.loops import FoundLoop, fixed_arguments
from graphspec_runtime.devices.base import Device

Array = np.ndarray[Any, Any]

MAX_STATE = 4096
"""Numbers in the state of one sequence: its Jacobian has as many rows and columns."""


def cotangent_program(loop: FoundLoop) -> Program:
    """A step's inputs and ``row <i>``, a cotangent for each tensor i of the next state, to ``column <i>``, the gradient of each tensor of
    the previous state."""
    frame, state, following = loop.step()
    given: dict[Any, Any] = {}
    for number, value in enumerate(following):
        if value.type.is_float:
            row = frame.input(f"row {number}", value.type, "input")
            given[value] = frame.b.add(given[value], row) if value in given else row
    wanted = [(number, value) for number, value in enumerate(state) if value.type.is_float]
    found = gradients(frame.b, given, [value for _, value in wanted])
    columns = [g if g is not None else frame.b.zeros(v.type) for g, (_, v) in zip(found, wanted, strict=True)]
    program = frame.finish("cotangents", [(Port(f"column {n}", "output"), g) for (n, _), g in zip(wanted, columns, strict=True)])
    program.guards = [g for g in program.guards if (g.left.letters | g.right.letters) <= set(program.letters)]
    return program


class StepJacobian:
    """``J = d next_s / d prev_s`` of one step of one sequence, [n, n] in float64, n the numbers in its state (its tensors in order).

    Where there is a batch axis, one backward run gives all rows: the sequence stands in the batch n times, each with its own cotangent.
    """

    def __init__(self, loop: FoundLoop, state: Sequence[Array], parameters: Mapping[str, Array], device: Device | None) -> None:
        """``state``: the tensors of a state of the loop, for their sizes.  E0831 where sequences act on each other, E0833 for too large
        a state."""
        self.loop = loop
        self.batched = loop.batch is not None
        self.shapes = {
            i: array.shape[1:] if self.batched else array.shape
            for i, (array, t) in enumerate(zip(state, loop.state, strict=True))
            if t.is_float
        }
        self.n = sum(math.prod(shape) for shape in self.shapes.values())
        if self.n > MAX_STATE:
            message = f"the state of {loop.title} has {self.n:,} numbers, and a Jacobian {self.n:,} rows and columns"
            raise fail("E0833", message, loop.use.origin, notes=[f"at most {MAX_STATE:,} are probed"])
        self.engine = Engine(cotangent_program(loop), device)
        self.fixed = fixed_arguments(loop.module, parameters)
        self.rows = self._split(np.eye(self.n))

    def _split(self, rows: Array) -> dict[str, Array]:
        """Rows of a Jacobian as cotangents of the tensors of the state."""
        ends = np.cumsum([math.prod(shape) for shape in self.shapes.values()])[:-1]
        parts = zip(self.shapes.items(), np.split(rows, ends, axis=1), strict=True)
        return {f"row {i}": np.ascontiguousarray(part).reshape(len(rows), *shape) for (i, shape), part in parts}

    def __call__(self, inputs: Sequence[Array]) -> Array:
        """``inputs``: what the step reads, its index first, with one sequence where there is a batch axis."""
        if not self.batched:
            return np.concatenate([self._run(inputs, {name: row[i] for name, row in self.rows.items()}) for i in range(self.n)])
        return self._run(self._repeated(inputs), self.rows).reshape(self.n, self.n)

    def check(self, inputs: Sequence[Array]) -> None:
        """E0831 where a sequence of the batch acts on another: then no sequence has a Jacobian of its own."""
        if self.batched and self.n > 1:
            first = {name: np.concatenate([row[:1], np.zeros_like(row[1:])]) for name, row in self.rows.items()}
            if np.any(self._run(self._repeated(inputs), first).reshape(self.n, self.n)[1:]):
                message = f"{self.loop.title} cannot be probed: in its cell the sequences of a batch act on each other"
                raise fail("E0831", message, self.loop.use.origin, others=[(self.loop.module.origin, "its cell")])

    def _repeated(self, inputs: Sequence[Array]) -> list[Array]:
        axes = [None, *self.loop.batch_axes]
        return [a if axis is None else np.repeat(a, self.n, axis) for a, axis in zip(inputs, axes, strict=True)]

    def _run(self, inputs: Sequence[Array], rows: Mapping[str, Array]) -> Array:
        """The gradient of each tensor of the state, one after another along the last axis."""
        given = dict(zip(("index", *self.loop.inputs), inputs, strict=True))
        results = self.engine.run({**given, **self.fixed, **rows})
        count = self.n if self.batched else 1
        return np.concatenate([self.engine.to_host(results[f"column {i}"]).reshape(count, -1) for i in self.shapes], axis=1)


def products(steps: Iterable[Array]) -> Iterator[tuple[float, float]]:
    """Back through the Jacobians of steps, the last one first: log10 of the spectral norm of their product so far,
    ``|J_t J_(t-1) ... J_(k+1)|``, and of the product of their spectral norms, which it cannot exceed.  Minus infinity is a norm of 0."""
    product: Array | None = None
    scale, separate = 0.0, 0.0
    for step in steps:
        separate += log10(spectral_norm(step))
        product = step if product is None else product @ step
        size = spectral_norm(product)
        scale += log10(size)
        if size:
            product = product / size  # so that a thousand steps neither underflow nor overflow
        yield scale, separate


def powers(gains: Array, count: int) -> list[float]:
    """log10 of the spectral norm of each power of a matrix, from the first on."""
    return [norm for norm, _ in products(repeat(gains, count))]


def log10(value: float) -> float:
    return math.log10(value) if value > 0 else -math.inf
