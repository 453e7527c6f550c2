"""PyTorch twins of linear layers of sparse inputs."""

from __future__ import annotations

from typing import Any

from graphspec.graph import Module
from twins.common import Env, Twin

try:
    import torch
    import torch.nn.functional as F
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]


def sparse_linear(m: Module, x: Any, env: Env) -> Any:
    """The dense input, and then a linear layer."""
    if isinstance(x, list):
        return torch.stack([sparse_linear(m, item, env) for item in x])
    dense = torch.zeros(*x.shape[:-2], m.args.inputSize, dtype=x.dtype).scatter_add(-1, x[..., 0].long() - 1, x[..., 1])
    return F.linear(dense, env.parameter(m, "weight"), env.parameter(m, "bias"))


TWINS: dict[str, Twin] = {"SparseLinear": sparse_linear}
