"""PyTorch twins of criterions of embeddings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphspec.graph import Module
from twins.common import Env
from twins.regression import reduced, reduction

try:
    import torch
    import torch.nn.functional as F
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]


def l1_hinge(m: Module, x: Any, env: Env) -> Any:
    distance = (x[0][0] - x[0][1]).abs().sum().reshape(1)
    return F.hinge_embedding_loss(distance, x[1].reshape(1).double(), margin=m.args.margin)


def cosine(m: Module, x: Any, env: Env) -> Any:
    n = x[0][0].shape[-1]
    first, second = (t.reshape(-1, n) for t in x[0])
    return F.cosine_embedding_loss(first, second, x[1].reshape(-1).double(), margin=m.args.margin, reduction=reduction(m))


def ranking(m: Module, x: Any, env: Env) -> Any:
    first, second, label = x[0][0], x[0][1], x[1].double()
    return F.margin_ranking_loss(first, second, label.reshape(first.shape), margin=m.args.margin, reduction=reduction(m))


TWINS: dict[str, Callable[[Module, Any, Env], Any]] = {
    "HingeEmbeddingCriterion": lambda m, x, env: F.hinge_embedding_loss(
        x[0], x[1].double().reshape(x[0].shape), margin=m.args.margin, reduction=reduction(m)
    ),
    "L1HingeEmbeddingCriterion": l1_hinge,
    "CosineEmbeddingCriterion": cosine,
    "MarginRankingCriterion": ranking,
    "DistanceRatioCriterion": lambda m, x, env: reduced(m, -torch.log_softmax(torch.stack([-x[0], -x[1]]), 0)[0]),
}
