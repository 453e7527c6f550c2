"""PyTorch twins of reductions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphspec.graph import Module
from twins.common import Env, Twin, axis

try:
    import torch
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]


def reduce(function: Callable[..., Any]) -> Twin:
    def twin(m: Module, x: Any, env: Env) -> Any:
        a = m.args
        f = torch.mean if getattr(a, "sizeAverage", False) else function
        return f(x, axis(a.dimension, x.dim(), a.nInputDims), keepdim=not a.squeeze or x.dim() == 1)

    return twin


def argmax(m: Module, x: Any, env: Env) -> Any:
    a = m.args
    index = torch.argmax(x, axis(a.dim, x.dim(), a.nInputDim), keepdim=x.dim() == 1) + 1
    return index.int() if a.asLong else index.double()


TWINS: dict[str, Twin] = {
    "Sum": reduce(lambda x, dim, keepdim: torch.sum(x, dim, keepdim=keepdim)),
    "Max": reduce(lambda x, dim, keepdim: torch.max(x, dim, keepdim=keepdim).values),
    "Min": reduce(lambda x, dim, keepdim: torch.min(x, dim, keepdim=keepdim).values),
    "ArgMax": argmax,
    "Mean": reduce(lambda x, dim, keepdim: torch.mean(x, dim, keepdim=keepdim)),
}
