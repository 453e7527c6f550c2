"""PyTorch twin of connectionist temporal classification."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphspec.graph import Module
from twins.common import Env

try:
    import torch
    import torch.nn.functional as F
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]


def ctc(m: Module, x: Any, env: Env) -> Any:
    """Padding is taken out of the targets: they are handed over one after another."""
    scores, targets, sizes, lengths = x
    scores = scores.transpose(0, 1) if m.args.batchFirst else scores
    classes = torch.cat([row[:n] for row, n in zip(targets, lengths, strict=True)]).long() - 1
    losses = F.ctc_loss(
        scores.log_softmax(2), classes, sizes.long(), lengths.long(), blank=m.args.blank - 1, reduction="none", zero_infinity=True
    )
    return losses.mean() if m.args.sizeAverage else losses.sum()


TWINS: dict[str, Callable[[Module, Any, Env], Any]] = {"CTCCriterion": ctc}
