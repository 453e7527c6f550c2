"""A step of the loop that ``graphspec sample`` runs, compiled to be timed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from graphspec.bench.peers import sum_and_norm
from graphspec.bench.step import open_experiment
from graphspec.build import Limits
from graphspec.engine import Engine, device_named
from graphspec.graph import initial_values, name_parameters, views
from graphspec.training.decoding.model import step_model
from graphspec.training.decoding.programs import draw_program
from graphspec.views import resident

Array = np.ndarray[Any, Any]

COMPARED = 16
"""Steps whose outputs contenders must agree on."""
AT_ONCE = 1000
"""Steps of one call, unless told otherwise: so many that what a call costs does not count."""


class SampledStep:
    """The program of ``graphspec sample --temperature 0`` for a spec that has no encoder: at each step the likeliest symbol, which the next
    one reads.

    ``rows``: sequences side by side.  ``at_once``: steps of one call; ``sample`` itself makes calls of at most 256, so that there is
    something to show.  ``without``: passes that are left out.
    """

    def __init__(
        self, spec: str | Path, options: Mapping[str, Any], rows: int, *, device: str = "cpu", threads: int | None = None,
        roots: Iterable[str] = (), lenient: bool = False, limits: Limits | None = None, plugins: Iterable[str] = (),
        at_once: int | None = None, without: Iterable[str] = (),
    ) -> None:  # fmt: skip
        opened = open_experiment(spec, options, tuple(roots), lenient, limits, tuple(plugins))
        self.model, self.at_once = step_model(opened.result, "float32"), at_once or AT_ONCE
        module = self.model.typed.module
        name_parameters([module])
        order = module.all_parameters()
        self.device = device_named(device, threads)
        flat = initial_values(order, int(opened.result.fields["seed"]), "float32")
        self.weights = views(flat, order)
        counters = dict.fromkeys(("seed", "step"), np.asarray(1, np.int64))
        self.fixed: dict[str, Any] = {"parameters": resident(flat, self.device), **counters}
        self.engine = Engine(draw_program(self.model, None, False, False), self.device, without=frozenset(without))
        self.token, rows_of = self.model.typed.input_names[0], {str(self.model.rows): rows}
        shapes = zip(self.model.state_names, self.model.state, strict=True)
        self.zeros = {name: np.zeros([n.evaluate(rows_of) for n in t.shape], t.dtype) for name, t in shapes}
        self.zeros[self.token] = np.ones(rows, np.int32)
        self.carries: dict[str, Any] = dict(self.zeros)

    def _call(self, count: int) -> dict[str, Any]:
        """So many steps on from where the last ones ended."""
        results = self.engine.run({**self.fixed, **self.carries, "turns": np.arange(count, dtype=np.int32)})
        self.carries = {name: self.engine.to_host(results[f"new {name}"]) for name in self.carries}
        return results

    def steps(self, count: int) -> None:
        for start in range(0, count, self.at_once):
            self._call(min(self.at_once, count - start))

    def compared(self) -> Array:
        """The first steps, from a state of zeros; the symbols ``[COMPARED, rows]`` that they read."""
        self.carries = dict(self.zeros)
        symbols = self.engine.to_host(self._call(COMPARED)["symbols"])
        return np.concatenate([self.zeros[self.token][None], symbols[:-1]])

    def measured(self) -> tuple[float, float]:
        """The sum and the norm of the state after the first steps."""
        self.compared()
        return sum_and_norm(self.carries[name] for name in self.model.state_names)

    def shared(self) -> tuple[dict[str, Array], dict[str, Array]]:
        """The weights by canonical name, and what the layer reads in the first steps: ``inputs [COMPARED, rows, units]``."""
        weights = dict(self.weights)
        table = weights.pop(next(name for name in weights if name.endswith("embedding.weight")))
        return weights, {"inputs": table[self.compared() - 1]}
