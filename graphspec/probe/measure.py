"""Measuring a model's loops: norms over time beside what bounds them, its recurrent weights, saturation, forget gates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from graphspec.errors import fail
from graphspec.probe.flow import LIMITS, spectral_norm
from graphspec.probe.jacobian import StepJacobian, powers, products
from graphspec.probe.loops import FoundLoop, Trace, active, steps_of, trace
from graphspec.probe.structure import Structure, structure
from graphspec.program import Typed
from graphspec_runtime.devices.base import Device

Array = np.ndarray[Any, Any]

NEAR = 0.05
"""Of a limit: outputs so close to it are saturated."""
QUANTILES = (0.05, 0.5, 0.95)


@dataclass(frozen=True)
class Weight:
    """A recurrent weight: its largest singular value, and the largest modulus of its eigenvalues (None unless it is square)."""

    name: str
    shape: tuple[int, ...]
    sigma_max: float
    radius: float | None


@dataclass(frozen=True)
class Saturation:
    """The part of a node's outputs that are within 0.05 of their lower and of their upper limit."""

    node: str
    kind: str
    low: float
    high: float


@dataclass(frozen=True)
class ForgetGate:
    """A gate that multiplies the previous state on its way to the next one: mean and quantiles (.05, .5, .95) over time and units.

    ``memory``: 1 / (1 - mean), the steps after which a state that only such a gate acts on has fallen to about 1/e; infinite at 1.
    """

    node: str
    mean: float
    quantiles: tuple[float, ...]
    memory: float


@dataclass(frozen=True)
class Measured:
    """One loop of one model.  All norms are log10 of spectral norms, those of ``t - k = 1, 2, ...`` steps back from the last; over the
    sequences the median, the least and the largest."""

    label: str
    state: tuple[str, ...]
    sequences: int
    median: tuple[float, ...]
    least: tuple[float, ...]
    largest: tuple[float, ...]
    separate: tuple[float, ...]
    """Of the product of the norms of the steps' own Jacobians, the largest over the sequences: not less than the norm of their product."""
    bound: tuple[float, ...] | None
    """What the norms cannot exceed by the weights alone; None where the graph gives no such bound."""
    gain: float | None
    """The bound of one step."""
    weights: tuple[Weight, ...]
    saturation: tuple[Saturation, ...]
    gates: tuple[ForgetGate, ...]

    @property
    def steps(self) -> int:
        """The largest t - k."""
        return len(self.median)

    def to_json(self) -> dict[str, Any]:
        """All of it; null stands for the logarithm of 0, and for an infinite memory."""
        norms = ("median", "least", "largest", "separate", "bound")
        found = {name: None if values is None else [_finite(v) for v in values] for name in norms for values in [getattr(self, name)]}
        return {
            "label": self.label, "state": list(self.state), "sequences": self.sequences, "steps": self.steps, "log10": found,
            "bound_per_step": self.gain, "weights": [{**vars(w), "shape": list(w.shape)} for w in self.weights],
            "saturation": [vars(s) for s in self.saturation],
            "forget_gates": [{**vars(g), "quantiles": list(g.quantiles), "memory": _finite(g.memory)} for g in self.gates],
        }  # fmt: skip


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


@dataclass(frozen=True)
class Rescaling:
    """The recurrent weights, each times a number that makes this measure of it this value."""

    measure: Literal["sigma_max", "radius"]
    value: float

    def __str__(self) -> str:
        return f"{'sigma_max' if self.measure == 'sigma_max' else 'spectral radius'} {self.value:g}"

    def of(self, name: str, weight: Array) -> Array:
        """A weight rescaled; E0832 for one that has no such measure, or a measure of 0."""
        found = spectral_norm(weight) if self.measure == "sigma_max" else radius(weight)
        if not found:
            why = "is not square" if found is None else "is zero"
            raise fail("E0832", f"{name} cannot be rescaled to {self}: it {why}")
        return weight * (self.value / found)


def radius(weight: Array) -> float | None:
    """The largest modulus of a matrix's eigenvalues; None unless it is square."""
    return float(np.abs(np.linalg.eigvals(weight)).max()) if weight.shape[0] == weight.shape[1] else None


@dataclass(frozen=True)
class Subject:
    """A model typed in float64, ready to run: parameters and buffers by name, inputs by port."""

    label: str
    typed: Typed
    loops: list[FoundLoop]
    parameters: Mapping[str, Array]
    inputs: Mapping[str, Array]

    def structures(self) -> list[Structure]:
        return [structure(loop, self.parameters) for loop in self.loops]

    def rescaled(self, how: Rescaling) -> Subject:
        """With other recurrent weights; E0832 where there are none."""
        names = dict.fromkeys(name for found in self.structures() for name in found.recurrent)
        if not names:
            raise fail("E0832", f"{self.label} has no recurrent weight to rescale to {how}", self.loops[0].use.origin)
        weights = {name: how.of(name, self.parameters[name]) for name in names}
        return replace(self, label=f"{self.label}, {how}", parameters={**self.parameters, **weights})


def measure(subject: Subject, steps: int, device: Device | None) -> list[Measured]:
    """Each loop of a model, over at most so many steps; E0831, E0833 and E0834 where that cannot be."""
    found = subject.structures()
    places = [place for one in found for place in (*one.gates, *(place for place, _ in one.nonlinear))]
    seen = trace(subject.typed, places, subject.inputs, subject.parameters, device)
    labels = [f"{subject.label}: {loop.title.removeprefix('the loop ')}" for loop in subject.loops]
    each = zip(labels if len(labels) > 1 else [subject.label], subject.loops, found, strict=True)
    return [_measured(label, loop, one, seen, subject.parameters, steps, device) for label, loop, one in each]


def _measured(
    label: str, loop: FoundLoop, found: Structure, seen: Trace, parameters: Mapping[str, Array], steps: int, device: Device | None
) -> Measured:
    states = seen.states(loop)
    if not all(np.isfinite(a).all() for a in states):
        helps = ["fewer `--steps`, or smaller recurrent weights"]
        raise fail("E0834", f"the states of {loop.title} do not stay finite, in float64", loop.use.origin, helps=helps)
    jacobian = StepJacobian(loop, [a[0] for a in states], parameters, device)
    times = steps_of(loop, seen)
    norms = np.full((2, len(times), min(steps, max(map(len, times)))), np.nan)
    for sequence, own in enumerate(times):
        back = own[::-1][:steps]
        jacobian.check(seen.step(loop, sequence, back[0]))
        for lag, pair in enumerate(products(jacobian(seen.step(loop, sequence, time)) for time in back)):
            norms[:, sequence, lag] = pair
    norm, separate = norms
    values = {place: active(loop, times, seen.at(place)) for place in (*found.gates, *(place for place, _ in found.nonlinear))}
    weights = [(name, parameters[name]) for name in found.recurrent]
    bound = powers(found.gains, norm.shape[1]) if found.bounded else None
    median, least, largest = (tuple(how(norm, axis=0).tolist()) for how in (np.nanmedian, np.nanmin, np.nanmax))
    return Measured(
        label=label,
        state=tuple(f"[{', '.join(map(str, t.shape))}]" for t in loop.state if t.is_float),
        sequences=len(times),
        median=median,
        least=least,
        largest=largest,
        separate=tuple(np.nanmax(separate, axis=0).tolist()),
        bound=tuple(bound) if bound else None,
        gain=10 ** bound[0] if bound else None,
        weights=tuple(Weight(name, w.shape, spectral_norm(w), radius(w)) for name, w in weights),
        saturation=tuple(_saturation(place.title, kind, values[place]) for place, kind in found.nonlinear),
        gates=tuple(_forget_gate(place.title, values[place]) for place in found.gates),
    )


def _saturation(node: str, kind: str, values: Array) -> Saturation:
    low, high = LIMITS[kind]
    return Saturation(node, kind, float(np.mean(values < low + NEAR)), float(np.mean(values > high - NEAR)))


def _forget_gate(node: str, values: Array) -> ForgetGate:
    mean = float(np.mean(values))
    quantiles = tuple(np.quantile(values, QUANTILES).tolist())
    return ForgetGate(node, mean, quantiles, 1 / (1 - mean) if mean < 1 else math.inf)
