"""PyTorch twins of criterions of margins."""

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


def multi_margin(m: Module, x: Any, env: Env) -> Any:
    rows, target = x[0].reshape(-1, x[0].shape[-1]), x[1].reshape(-1).long() - 1
    return F.multi_margin_loss(rows, target, p=m.args.p, margin=m.args.margin, weight=env.buffer(m, "weights"), reduction=reduction(m))


def multi_label_margin(m: Module, x: Any, env: Env) -> Any:
    rows, target = (t.reshape(-1, x[0].shape[-1]) for t in x)
    return F.multilabel_margin_loss(rows, target.long() - 1, reduction=reduction(m))


TWINS: dict[str, Callable[[Module, Any, Env], Any]] = {
    "MultiMarginCriterion": multi_margin,
    "MultiLabelMarginCriterion": multi_label_margin,
    "MarginCriterion": lambda m, x, env: reduced(m, torch.relu(m.args.margin - x[1] * x[0])),
    "SoftMarginCriterion": lambda m, x, env: reduced(m, -F.logsigmoid(x[1] * x[0])),
}
