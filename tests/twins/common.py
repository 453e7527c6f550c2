"""What twins of several families share.

A twin is the same module written with torch, from the same tensors: ``twin(m, x, env)``, where ``m`` is the module with its
arguments, ``x`` a tensor or nested list of tensors, ``env`` the tensors of its parameters and buffers, the mode, and the noise that a
random record drew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphspec.graph import Module
from graphspec.prove import Env, Twin, flat  # noqa: F401  (twins have flat from here)


def axis(dimension: int, rank: int, input_dims: int | None = None) -> int:
    if dimension < 0:
        return dimension
    return dimension - 1 + (input_dims is not None and rank == input_dims + 1)


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
