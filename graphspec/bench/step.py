"""A spec's training step, compiled to be timed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from graphspec.bench.cases import Work
from graphspec.binding import bind_sizes, check_letters
from graphspec.build import ExperimentSpec, Limits
from graphspec.engine import Engine, device_named
from graphspec.errors import fail
from graphspec.graph import initial_value, initial_values, load_plugin, views
from graphspec.open import Opened, open_spec
from graphspec.plan import make_plan, product_flops
from graphspec.settings import check_settings
from graphspec.training.feeding import source_of
from graphspec.training.step import gradient_program, training_program, training_setup
from graphspec.views import resident

Array = np.ndarray[Any, Any]


def repeated(array: Array, shape: Sequence[int]) -> Array:
    """An array of another shape with the same numbers, again and again along each axis (E0312 where there are none to repeat)."""
    if 0 in array.shape and 0 not in shape:
        raise fail("E0312", f"the data's first batch is empty: {list(array.shape)}")
    for axis, n in enumerate(shape):
        array = np.take(array, np.arange(n) % max(array.shape[axis], 1), axis)
    return array


def open_experiment(
    spec: str | Path, options: Mapping[str, Any], roots: Sequence[str] = (), lenient: bool = False, limits: Limits | None = None,
    plugins: Sequence[str] = (),
) -> Opened:  # fmt: skip
    """A spec opened as commands do; E0607 where it returns no experiment."""
    for plugin in plugins:
        load_plugin(plugin)
    opened = open_spec(spec, lenient=lenient, roots=roots, options=options, limits=limits)
    if not isinstance(opened.result, ExperimentSpec):
        helps = [
            "a training step is what is timed: end the spec with `return experiment { loss = ..., inputs = {...} }`",
            "`graphspec profile` times forward and backward of any model",
        ]
        raise fail("E0607", "the spec does not return an experiment", opened.evaluation.origin, helps=helps)
    return opened


class CompiledStep:
    """Forward and backward of a batch (``update``: with clipping and optimizer), on a device.

    ``streams``: the batch by the names of the spec's streams; None takes the first batch of the spec's own data.  Carried states are zero
    before each step.  ``at``: other sizes than the batch has, by letter; it is repeated or cut.  ``timed``: see :class:`Engine`.  SpecError
    as for a run of the spec.  ``without``: passes that are left out.
    """

    def __init__(
        self, spec: str | Path | Opened, options: Mapping[str, Any], streams: Mapping[str, Array] | None = None, *, device: str = "cpu",
        threads: int | None = None, precision: str = "float32", update: bool = False, roots: Sequence[str] = (), lenient: bool = False,
        limits: Limits | None = None, plugins: Sequence[str] = (), dtype: str = "float32", at: Mapping[str, int] | None = None,
        timed: bool = False, without: Iterable[str] = (),
    ) -> None:  # fmt: skip
        check_settings(dtype, precision, 1)
        opened = spec if isinstance(spec, Opened) else open_experiment(spec, options, roots, lenient, limits, plugins)
        self.setup = training_setup(opened, dtype)
        if streams is None:
            batch = source_of(opened.result, opened.library.sources).batch(0)
            streams, self.symbols = batch.arrays, batch.symbols
        else:
            self.symbols = list(streams.values())[-1].size
        given = self.setup.feeding.inputs(streams)
        self.device = device_named(device, threads, precision)
        order = self.setup.graph.all_parameters()
        seed = int(opened.result.fields["seed"])
        program = training_program(self.setup) if update else gradient_program(self.setup)
        check_letters(program, at or {})
        self.sizes = bind_sizes(program, {port: array.shape for port, array in given.items()}, partial=True) | dict(at or {})
        if at:
            types = {port.name: v.type for port, v in zip(program.inputs, program.block.params, strict=True)}
            given = {port: repeated(a, [n.evaluate(self.sizes) for n in types[port].shape]) for port, a in given.items()}
        place = partial(resident, device=self.device)
        self.flat = place(initial_values(order, seed, dtype))
        self.parameters = views(self.flat, order)
        self.carried = {
            name: place(np.zeros([n.evaluate(self.sizes) for n in t.shape], t.dtype)) for name, t in self.setup.carried.items()
        }
        buffers = {p.name: place(initial_value(p, seed, dtype)) for p in self.setup.graph.all_parameters(buffers=True)}
        self.arguments: dict[str, Any] = {
            **{port: place(array) for port, array in given.items()}, **self.carried, **buffers, "parameters": self.flat,
            "seed": np.asarray(seed, np.int64), "step": np.asarray(1, np.int64),
        }  # fmt: skip
        if update:
            rate = np.asarray(self.setup.optimizer_fields["learningRate"], dtype)
            state = {name: place(np.zeros(len(self.flat), dtype)) for name in self.setup.optimizer_state}
            zeros = {"gradients": place(np.zeros(len(self.flat), dtype))} if self.setup.accumulate > 1 else {}
            self.arguments |= {"learning_rate": rate, **state, **zeros}
        self.update = update
        self.engine = Engine(program, self.device, timed=timed, without=frozenset(without))

    def run(self) -> dict[str, Any]:
        """One step: its results, in arrays that the next one overwrites."""
        for state in self.carried.values():
            state[...] = 0
        return self.engine.run(self.arguments)

    def steps(self, count: int) -> None:
        """So many steps, done when this returns: on a device that works on its own, when the last one's loss is here."""
        results: dict[str, Any] = {}
        for _ in range(count):
            results = self.run()
        if results:
            self.engine.to_host(results["loss"])

    def measured(self) -> tuple[float, float]:
        """A step's loss, and the norm of its gradient before clipping."""
        results = self.run()
        loss = float(self.engine.to_host(results["loss"]))
        if self.update:
            return loss, float(self.engine.to_host(results["gradient_norm"]))
        return loss, norm(self._on_host(results["gradients"]))

    def _on_host(self, array: Any) -> Array:
        """The array where it lies, or a copy of a device's."""
        return array if isinstance(array, np.ndarray) else self.engine.to_host(array)

    def work(self) -> Work:
        """The matrix products of its plan, as ``profile`` counts them; parameters read twice, and their gradients written once."""
        executable = self.engine.executable
        plan = make_plan(self.engine.program) if executable is None else executable.plan
        return Work(product_flops(plan, self.sizes), 12 * len(self.flat))

    def named(self) -> dict[str, Array]:
        """The parameters by canonical name."""
        return {name: self._on_host(array) for name, array in self.parameters.items()}


def norm(flat: Array, chunk: int = 1 << 16) -> float:
    """The length of a vector in float64, without a copy of the whole."""
    squares = (float(np.square(flat[i : i + chunk], dtype=np.float64).sum()) for i in range(0, len(flat), chunk))
    return math.sqrt(sum(squares))
