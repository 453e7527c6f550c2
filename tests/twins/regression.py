"""PyTorch twins of criterions of real numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphspec.graph import Module
from twins.common import Env, Twin

try:
    import torch
    import torch.nn.functional as F
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]


def reduction(m: Module) -> str:
    return "mean" if m.args.sizeAverage else "sum"


def plain(name: str, **more: Any) -> Twin:
    """The function of that name, targets as floats."""
    return lambda m, x, env: getattr(F, name)(x[0], x[1].double(), reduction=reduction(m), **more)


def weighted(name: str) -> Twin:
    return lambda m, x, env: getattr(F, name)(x[0], x[1], weight=env.buffer(m, "weights"), reduction=reduction(m))


def reduced(m: Module, losses: Any) -> Any:
    return losses.mean() if m.args.sizeAverage else losses.sum()


def cropped(m: Module, x: Any, env: Env) -> Any:
    height, width = x[0].shape[-2:]
    top, left = ((x[1].shape[axis] - x[0].shape[axis]) // 2 for axis in (-2, -1))
    return F.mse_loss(x[0], x[1][..., top : top + height, left : left + width], reduction=reduction(m))


TWINS: dict[str, Callable[[Module, Any, Env], Any]] = {
    "AbsCriterion": plain("l1_loss"),
    "SmoothL1Criterion": plain("smooth_l1_loss"),
    "MSECriterion": plain("mse_loss"),
    "WeightedMSECriterion": lambda m, x, env: reduced(m, (x[0] - env.buffer(m, "weight") * x[1]) ** 2),
    "SpatialAutoCropMSECriterion": cropped,
    "DistKLDivCriterion": lambda m, x, env: reduced(m, F.kl_div(x[0], x[1], reduction="none")),
    "BCECriterion": weighted("binary_cross_entropy"),
    "MultiLabelSoftMarginCriterion": weighted("binary_cross_entropy_with_logits"),
    "L1Cost": lambda m, x, env: torch.linalg.vector_norm(x, ord=1),
}
