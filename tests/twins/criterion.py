"""PyTorch twins of criterions."""

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


def masked_loss(m: Module, x: Any, env: Env) -> Any:
    log_p, target = x
    counts = target > 0
    loss = F.nll_loss(log_p, target.long() - 1, ignore_index=-1, reduction="sum") / len(target)
    return [loss, ((log_p.argmax(1) + 1 == target) & counts).sum().double(), counts.sum().double()]


def nll(function: Callable[..., Any]) -> Twin:
    def twin(m: Module, x: Any, env: Env) -> Any:
        prediction, target = x
        rows = prediction.reshape(-1, prediction.shape[-1])
        reduction = "mean" if m.args.sizeAverage else "sum"
        ignored = {} if m.args.ignoreIndex is None else {"ignore_index": m.args.ignoreIndex - 1}
        return function(rows, target.reshape(-1).long() - 1, weight=env.buffer(m, "weights"), reduction=reduction, **ignored)

    return twin


TWINS: dict[str, Twin] = {
    "ClassNLLCriterion": nll(F.nll_loss if torch else lambda *a, **k: None),
    "CrossEntropyCriterion": nll(F.cross_entropy if torch else lambda *a, **k: None),
    "MaskedLoss": masked_loss,
    "MSECriterion": lambda m, x, env: F.mse_loss(x[0], x[1], reduction="mean" if m.args.sizeAverage else "sum"),
}
