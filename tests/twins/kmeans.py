"""The PyTorch twin of clustering."""

from __future__ import annotations

from typing import Any

from graphspec.graph import Module
from graphspec.prove import Env, Twin

try:
    import torch
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]


def kmeans(m: Module, x: Any, env: Env) -> Any:
    weight, x = env.parameter(m, "weight"), x.detach()
    nearest = torch.cdist(x, weight.detach()).argmin(1)
    term = x.new_zeros(())
    for k in range(m.args.k):
        mine = x[nearest == k]
        term = term + ((mine - weight[k]) ** 2).sum() * m.args.scale / (2 * (len(mine) + 1e-7))
    return [(nearest + 1).int(), term] if env.training else (nearest + 1).int()


TWINS: dict[str, Twin] = {"Kmeans": kmeans}
