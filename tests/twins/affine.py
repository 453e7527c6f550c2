"""PyTorch twins of the layers with a weight or a bias for each element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphspec.graph import Module
from twins.common import Env, Twin

try:
    import torch
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]


def spread(x: Any, parameter: Any) -> Any:
    """The parameter in x's shape: broadcast where the sizes allow it, else by its elements in order."""
    try:
        return torch.broadcast_to(parameter, x.shape)
    except RuntimeError:
        if parameter.numel() == x.numel():
            return parameter.reshape(x.shape)
        return parameter.reshape(1, *x.shape[1:]).expand_as(x)


def elementwise(op: Callable[[Any, Any], Any], key: str) -> Twin:
    def twin(m: Module, x: Any, env: Env) -> Any:
        return op(x, spread(x, env.parameter(m, key)))

    return twin


TWINS: dict[str, Twin] = {
    "Add": elementwise(lambda x, p: x + p, "bias"),
    "CAdd": elementwise(lambda x, p: x + p, "bias"),
    "Mul": elementwise(lambda x, p: x * p, "weight"),
    "CMul": elementwise(lambda x, p: x * p, "weight"),
}
