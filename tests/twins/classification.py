"""PyTorch twins of criterions of classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphspec.graph import Module
from twins.common import Env, Twin
from twins.regression import reduced, reduction

try:
    import torch
    import torch.nn.functional as F
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]


def masked_loss(m: Module, x: Any, env: Env) -> Any:
    log_p, target = x
    counts = target > 0
    loss = F.nll_loss(log_p, target.long() - 1, ignore_index=-1, reduction="sum") / len(target)
    return [loss, ((log_p.argmax(1) + 1 == target) & counts).sum().double(), counts.sum().double()]


def nll(name: str, **more: Any) -> Twin:
    """A loss of rows and their classes."""

    def twin(m: Module, x: Any, env: Env) -> Any:
        prediction, target = x
        rows = prediction.reshape(-1, prediction.shape[-1])
        ignored = {} if m.args.ignoreIndex is None else {"ignore_index": m.args.ignoreIndex - 1}
        return getattr(F, name)(rows, target.reshape(-1).long() - 1, weight=env.buffer(m, "weights"), reduction=reduction(m), **ignored)

    return twin


def spatial(m: Module, x: Any, env: Env) -> Any:
    return F.nll_loss(x[0], x[1].long() - 1, weight=env.buffer(m, "weights"), reduction=reduction(m))


def simplex(m: Module, x: Any, env: Env) -> Any:
    """The corners one by one: norm 1, and the inner product -1/(n-1) with all before."""
    n = m.args.nClasses
    points = torch.zeros(n, n, dtype=torch.float64)
    for k in range(n - 1):
        points[k, k] = (1 - points[k] @ points[k]).sqrt()
        points[k + 1 :, k] = (-1 / (n - 1) - points[k + 1 :] @ points[k]) / points[k, k]
    target = x[1].long() - 1
    return reduced(m, (x[0] - points[target].reshape(x[0].shape)) ** 2)


TWINS: dict[str, Callable[[Module, Any, Env], Any]] = {
    "ClassNLLCriterion": nll("nll_loss"),
    "CrossEntropyCriterion": nll("cross_entropy"),
    "SpatialClassNLLCriterion": spatial,
    "ClassSimplexCriterion": simplex,
    "MaskedLoss": masked_loss,
}
