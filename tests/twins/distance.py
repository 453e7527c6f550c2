"""PyTorch twins of distances from learned vectors."""

from __future__ import annotations

from typing import Any

from graphspec.graph import Module
from twins.common import Env, Twin

try:
    import torch
    import torch.nn.functional as F
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]


def weighted_euclidean(m: Module, x: Any, env: Env) -> Any:
    between = (x.unsqueeze(-1) - env.parameter(m, "weight")) * env.parameter(m, "diagCov")
    return torch.linalg.vector_norm(between, dim=-2)


def euclidean(m: Module, x: Any, env: Env) -> Any:
    far = torch.cdist(x.reshape(-1, x.shape[-1]), env.parameter(m, "weight").T, compute_mode="donot_use_mm_for_euclid_dist")
    return far.reshape(*x.shape[:-1], -1)


TWINS: dict[str, Twin] = {
    "Euclidean": euclidean,
    "WeightedEuclidean": weighted_euclidean,
    "Cosine": lambda m, x, env: F.cosine_similarity(x.unsqueeze(-2), env.parameter(m, "weight"), -1, eps=0),
}
