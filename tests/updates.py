"""One optimizer's update as a program of its own, and every case that a record has samples for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from graphspec.engine import Engine, device_named
from graphspec.ir.builder import Builder
from graphspec.ir.core import Port, Program, tensor
from graphspec.training.optimizers import OPTIMIZERS, Update

CASES: dict[str, tuple[str, Mapping[str, Any]]] = {
    f"{name} {' '.join(f'{k}={v}' for k, v in sample.items())}": (name, {**record.fields, **sample})
    for name, record in OPTIMIZERS.items()
    for sample in record.samples
}
"""By a readable name: an optimizer and all its fields."""


def update_program(name: str, fields: Mapping[str, Any], n: int, dtype: str) -> Program:
    """One update of ``n`` parameters."""
    record = OPTIMIZERS[name]
    b = Builder(dtype=dtype)
    types = {"rate": tensor([], dtype), "step": tensor([], "float64")}
    names = ["parameters", "gradients", *record.state(fields), "rate", "step"]
    given = {k: b.param(types.get(k, tensor([n], dtype)), k) for k in names}
    state = {k: given[k] for k in record.state(fields)}
    new, new_state = record.rule(Update(b, given["parameters"], given["gradients"], state, given["rate"], given["step"], fields))
    assert list(new_state) == list(state)
    b.block.results = [new, *new_state.values()]
    return Program(b.block, [Port(k, "state") for k in names], [Port(f"new {k}", "state", k) for k in ("parameters", *state)])


def updates(name: str, fields: Mapping[str, Any], start: Any, gradients: Any, device: str = "numpy") -> Iterator[Any]:
    """The parameters after each gradient, from ``start``; the rate changes from step to step, as :func:`rate` says."""
    program = update_program(name, fields, len(start), start.dtype.name)
    engine = Engine(program, device_named(device), check=True)
    mine = {"parameters": start.copy(), **{k: np.zeros_like(start) for k in OPTIMIZERS[name].state(fields)}}
    for step, gradient in enumerate(gradients, 1):
        engine.run({**mine, "gradients": gradient, "rate": np.array(rate(fields, step), start.dtype), "step": np.array(float(step))})
        yield mine["parameters"].copy()


def rate(fields: Mapping[str, Any], step: int) -> float:
    """A rate that a schedule might give."""
    return float(fields["learningRate"]) * (1.0 if step <= 20 else 0.5)
