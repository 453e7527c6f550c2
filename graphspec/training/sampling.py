"""Sampling from an experiment's one-step model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from graphspec.build import ExperimentSpec
from graphspec.data import DataSource, Vocabulary
from graphspec.engine import Engine
from graphspec.errors import fail
from graphspec.ir.core import TensorType
from graphspec.program import forward_program, infer, leaves
from graphspec_runtime.devices.base import Device

Array = np.ndarray[Any, Any]


class Sampler:
    """``step``, a gModule ``{token, state} -> {log-probabilities, state}``, run one symbol at a time with a batch of one."""

    def __init__(self, spec: ExperimentSpec, dtype: str, device: Device | None, source: DataSource) -> None:
        if spec.step is None:
            raise fail(
                "E0607",
                "the experiment has no step to sample from",
                spec.origin,
                helps=["give it `step = ...`, one step {token, state} -> {log_p, state}"],
            )
        self.module = spec.step
        vocabulary = getattr(source, "vocabulary", None)
        if vocabulary is None:
            raise fail("E0607", "there is nothing to sample: the data have no vocabulary", spec.origin)
        self.vocabulary: Vocabulary = vocabulary
        self.device = device
        self.typed = infer(spec.step, dtype)
        inputs, outputs = self.typed.inputs, self.typed.outputs
        fits = (
            isinstance(inputs, tuple) and isinstance(outputs, tuple) and len(inputs) == 2 and len(outputs) == 2 and inputs[1] == outputs[1]
            and isinstance(inputs[0], TensorType) and isinstance(outputs[0], TensorType) and inputs[0].dtype == "int32"
        )  # fmt: skip
        if not fits:
            raise fail(
                "E0607",
                "the experiment's step is not {token, state} -> {log_p, state}",
                spec.step.origin,
                notes=[f"it is {inputs} -> {outputs}"],
            )
        self.engine = Engine(forward_program(self.typed, training=False), device)

    def run(self, named: Mapping[str, Array], n: int, temperature: float, prime: str, seed: int) -> Iterator[str]:
        """``n`` symbols after ``prime`` (which is not repeated; a line break if empty), drawn with this temperature and seed."""
        draw = np.random.default_rng(seed)
        dtype = self.typed.dtype
        order = self.module.all_parameters()
        flat = np.concatenate([np.zeros(0, dtype), *(named[p.name].reshape(-1) for p in order)])
        arguments: dict[str, Any] = {
            "parameters": self._resident(flat), **{p.name: self._resident(named[p.name]) for p in self.module.all_parameters(buffers=True)},
            "seed": np.asarray(seed, np.int64), "step": np.asarray(0, np.int64),
        }  # fmt: skip
        state_names, token_name = self.typed.input_names[1:], self.typed.input_names[0]
        state = {
            name: np.zeros([v.value if v.value is not None else 1 for v in t.shape], t.dtype)
            for name, t in zip(state_names, leaves(self.typed.inputs[1]), strict=True)
        }
        given = list(map(int, self.vocabulary.encode(prime or self._start())))
        produced = 0
        while produced < n:
            for token in given:
                results = self.engine.run({**arguments, **state, token_name: np.asarray([token], np.int32)})
                state = {name: self._host(results[out]) for name, out in zip(state_names, self.typed.output_names[1:], strict=True)}
            chosen = choose(self._host(results[self.typed.output_names[0]])[0], temperature, draw)
            given = [chosen]
            produced += 1
            yield self.vocabulary.decode([chosen])

    def _start(self) -> str:
        """What comes before a text of which nothing is given: a line break, if the corpus has any."""
        return "\n" if "\n" in self.vocabulary.symbols else self.vocabulary.symbols[0]

    def _resident(self, array: Array) -> Any:
        return array if self.device is None else self.device.from_host(array)

    def _host(self, array: Any) -> Array:
        return np.array(array if self.device is None else self.device.to_host(array))


def choose(log_p: Array, temperature: float, draw: np.random.Generator) -> int:
    """A class (from 1) from log-probabilities ``[V]``; temperature 0 takes the likeliest."""
    if temperature <= 0:
        return int(log_p.argmax()) + 1
    scaled = log_p.astype(np.float64) / temperature
    p = np.exp(scaled - scaled.max())
    return int(np.searchsorted(np.cumsum(p), draw.random() * p.sum())) + 1
