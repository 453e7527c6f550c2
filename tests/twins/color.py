"""PyTorch twins of random colours: what a record makes of ones is 1 more than its noise."""

from __future__ import annotations

from typing import Any

from graphspec.graph import Module
from graphspec.prove import Env, Twin


def colored(m: Module, x: Any, env: Env) -> Any:
    return x + env.noise - 1 if env.training else x * 1


TWINS: dict[str, Twin] = {"SimpleColorTransform": colored, "PCAColorTransform": colored}
