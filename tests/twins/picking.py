"""PyTorch twins of modules that put something into a tensor, pick slices of it, or take its place."""

from __future__ import annotations

from typing import Any

from graphspec.graph import Module
from twins.common import Env, Twin, axis

try:
    import torch
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]


def padding(m: Module, x: Any, env: Env) -> Any:
    """Where the elements of x go in what is filled with the value."""
    a = m.args
    dim = a.dim - 1 + (a.nInputDim is not None and x.dim() != a.nInputDim)
    n = x.shape[dim]
    cut = n - a.index + 1 if a.pad > 0 else a.index - 1
    shape = list(x.shape)
    shape[dim] += abs(a.pad)
    places = torch.tensor([i if i < cut else i + abs(a.pad) for i in range(n)])
    return torch.full(shape, a.value, dtype=x.dtype).index_copy(dim, places, x)


def constant(m: Module, x: Any, env: Env) -> Any:
    value = env.buffer(m, "value")
    return value.expand(x.shape[0], *value.shape) if m.args.nInputDim is not None and x.dim() > m.args.nInputDim else value


TWINS: dict[str, Twin] = {
    "Padding": padding,
    "Index": lambda m, x, env: x[0].index_select(axis(m.args.dimension, x[0].dim()), x[1].long() - 1),
    "Constant": constant,
}
