"""Parameters and their lazy initialisation.

A parameter's values are not computed while a spec is evaluated.  Each ``uniform``, ``fill`` ... is appended to the
parameter's *log*; :func:`initial_value` replays it, with a random stream keyed by the parameter's canonical name, so
that no compiler pass and no neighbour changes initial values, and a huge shape allocates nothing before the limits
are checked.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from graphspec.errors import NOWHERE, Origin, fail

Region = tuple[tuple[int, int], ...]
"""(start, length) for each axis, from 0; ``()`` is the whole tensor."""

MAX_PARAMETERS = 2**33
"""Of one model."""

_serial = itertools.count()


@dataclass(frozen=True, eq=False)
class InitStep:
    """One entry of an initialisation log.

    ``uniform(a, b)``, ``normal(mean, std)``, ``fill(value)``, ``mul(factor)``, ``add(amount)``, ``copy(array)``,
    ``like(parameter, steps, region)``: the value that part of another parameter had after so many steps of its own log;
    ``norms(parameter, steps)``: the lengths of the rows that it had then.  A record says ``norms(key)``, by the name of the parameter.
    """

    kind: Literal["uniform", "normal", "fill", "mul", "add", "copy", "like", "norms"]
    args: tuple[Any, ...]
    region: Region = ()


def uniform(low: float, high: float) -> InitStep:
    return InitStep("uniform", (low, high))


def normal(mean: float = 0.0, std: float = 1.0) -> InitStep:
    return InitStep("normal", (mean, std))


def fill(value: float) -> InitStep:
    return InitStep("fill", (value,))


def linear_init(inputs: int) -> InitStep:
    """Torch's default for a layer with that many inputs: uniform in +-1/sqrt(inputs)."""
    bound = 1 / math.sqrt(max(inputs, 1))
    return uniform(-bound, bound)


@dataclass(eq=False)
class Parameter:
    """A trainable tensor (or, with ``buffer``, one that is kept but not trained).

    Identity is what ties: two modules whose ``weight`` is the same object share it.
    """

    shape: tuple[int, ...]
    log: list[InitStep]
    origin: Origin = NOWHERE
    buffer: bool = False
    serial: int = field(default_factory=lambda: next(_serial))
    name: str = ""
    """The canonical name, given by :mod:`graphspec.graph.names`."""

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def view(self) -> ParameterView:
        return ParameterView(self, tuple((0, n) for n in self.shape))

    def clone(self, origin: Origin) -> Parameter:
        """A new parameter that starts with this one's present value."""
        return Parameter(self.shape, [InitStep("like", (self, len(self.log), ()))], origin, self.buffer)


@dataclass(frozen=True)
class ParameterView:
    """A rectangular part of a parameter, as ``module.bias:narrow(1, 1, n)`` gives; axes count from 1 as in Torch."""

    parameter: Parameter
    region: Region

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(length for _, length in self.region)

    def narrow(self, axis: int, start: int, length: int) -> ParameterView:
        """``length`` elements of an axis from ``start``; ValueError when they are not there."""
        if not 1 <= axis <= len(self.region):
            raise ValueError(f"axis {axis} of a tensor with {len(self.region)} axes")
        offset, size = self.region[axis - 1]
        if start < 1 or length < 1 or start + length - 1 > size:
            raise ValueError(f"elements {start} to {start + length - 1} of an axis of {size}")
        region = list(self.region)
        region[axis - 1] = (offset + start - 1, length)
        return ParameterView(self.parameter, tuple(region))

    def apply(self, kind: Any, *args: Any) -> ParameterView:
        """Append a step of this kind for this part."""
        whole = self.region == tuple((0, n) for n in self.parameter.shape)
        self.parameter.log.append(InitStep(kind, args, () if whole else self.region))
        return self


@dataclass(frozen=True)
class FlatParameters:
    """What ``getParameters()`` gives: every parameter of a module, as one."""

    parameters: tuple[Parameter, ...]

    @property
    def size(self) -> int:
        return sum(p.size for p in self.parameters)

    def apply(self, kind: Any, *args: Any) -> FlatParameters:
        for parameter in self.parameters:
            parameter.log.append(InitStep(kind, args))
        return self


def initial_value(parameter: Parameter, seed: int, dtype: str, steps: int | None = None) -> np.ndarray:
    """Replay the log (or its first ``steps``): an array of the parameter's shape and ``dtype``.

    Draws are made in float64 and rounded once, so that float32 and float64 models start alike.
    """
    value = np.zeros(parameter.shape, np.float64)
    key = hashlib.sha256(f"{seed}:{parameter.name}".encode()).digest()
    stream = np.random.Generator(np.random.Philox(key=int.from_bytes(key[:16], "little")))
    log = parameter.log if steps is None else parameter.log[:steps]
    for step in log:
        part = _window(value, step.region)
        if step.kind == "uniform":
            part[...] = step.args[0] + (step.args[1] - step.args[0]) * stream.random(part.shape)
        elif step.kind == "normal":
            part[...] = step.args[0] + step.args[1] * stream.standard_normal(part.shape)
        elif step.kind == "fill":
            part[...] = step.args[0]
        elif step.kind == "mul":
            part *= step.args[0]
        elif step.kind == "add":
            part += step.args[0]
        elif step.kind == "copy":
            part[...] = np.asarray(step.args[0], np.float64).reshape(part.shape)
        elif step.kind == "norms":
            source, count = step.args
            rows = initial_value(source, seed, "float64", count).reshape(len(part), -1)
            part[...] = np.sqrt(np.square(rows).sum(axis=1)).reshape(part.shape)
        else:
            source, count, region = step.args
            part[...] = _window(initial_value(source, seed, "float64", count), region).reshape(part.shape)
    return value.astype(dtype)


def initial_values(parameters: Sequence[Parameter], seed: int, dtype: str) -> np.ndarray:
    """The initial values of all, one after another in one flat array; each goes to its place as it is drawn, so there is no second copy.

    E0505 before anything too large is allocated.
    """
    total = sum(p.size for p in parameters)
    if total > MAX_PARAMETERS:
        largest = max(parameters, key=lambda p: p.size)
        message = f"the model has {total:,} parameters, more than {MAX_PARAMETERS:,}"
        raise fail("E0505", message, largest.origin, f"{largest.name}: {list(largest.shape)}")
    flat = np.empty(total, dtype)
    at = 0
    for p in parameters:
        flat[at : at + p.size] = initial_value(p, seed, dtype).reshape(-1)
        at += p.size
    return flat


def views(flat: Any, parameters: Sequence[Parameter]) -> dict[str, Any]:
    """Views of a flat buffer by canonical name."""
    found, offset = {}, 0
    for parameter in parameters:
        found[parameter.name] = flat[offset : offset + parameter.size].reshape(parameter.shape)
        offset += parameter.size
    return found


def flattened(arrays: Mapping[str, Any], parameters: Sequence[Parameter]) -> np.ndarray:
    """The flat buffer, in float64, of arrays by canonical name."""
    return np.concatenate([np.zeros(0), *(np.asarray(arrays[p.name]).reshape(-1) for p in parameters)])


def _window(value: np.ndarray, region: Region) -> np.ndarray:
    """A view of that part."""
    return value[tuple(slice(start, start + length) for start, length in region)] if region else value
