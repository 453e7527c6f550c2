"""PyTorch twins of containers."""

from __future__ import annotations

from typing import Any

from graphspec.graph import Module
from twins.common import Env, Twin, twin_of


def sequential(m: Module, x: Any, env: Env) -> Any:
    for child in m.children:
        x = twin_of(child, x, env)
    return x


TWINS: dict[str, Twin] = {
    "Sequential": sequential,
}
