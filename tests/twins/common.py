"""What twins of several families share.

A twin is the same module written with torch, from the same tensors: ``twin(m, x, env)``, where ``m`` is the module with its
arguments, ``x`` a tensor or nested list of tensors, ``env`` the tensors of its parameters and buffers, the mode, and the noise that a
random record drew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from graphspec.graph import Module


@dataclass
class Env:
    """What a twin may use."""

    parameters: dict[int, Any]
    buffers: dict[int, Any]
    training: bool
    noise: Any = None
    updated: dict[int, Any] = field(default_factory=dict)

    def parameter(self, m: Module, key: str) -> Any:
        return self.parameters[id(m.parameters[key])] if key in m.parameters else None

    def buffer(self, m: Module, key: str) -> Any:
        return self.buffers[id(m.buffers[key])] if key in m.buffers else None


Twin = Callable[[Module, Any, Env], Any]


def axis(dimension: int, rank: int, input_dims: int | None = None) -> int:
    if dimension < 0:
        return dimension
    return dimension - 1 + (input_dims is not None and rank == input_dims + 1)


def flat(x: Any) -> list[Any]:
    return [leaf for item in x for leaf in flat(item)] if isinstance(x, list) else [x]


def total(x: list[Any], op: Callable[[Any, Any], Any]) -> Any:
    y = x[0]
    for other in x[1:]:
        y = op(y, other)
    return y


ALL: dict[str, Twin] = {}
"""The twins of all families; filled by :mod:`twins`."""


def twin_of(m: Module, x: Any, env: Env) -> Any:
    """The twin of any module, such as a container's child."""
    return ALL[m.record.name](m, x, env)
