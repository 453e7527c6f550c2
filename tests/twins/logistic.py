"""PyTorch twins of logistic regression."""

from __future__ import annotations

from typing import Any

from graphspec.graph import Module
from graphspec.prove import Env, Twin

try:
    import torch.nn.functional as F
except ImportError:  # the tests that need it are skipped, with this reason
    F = None  # type: ignore[assignment]


def logistic(m: Module, x: Any, env: Env) -> Any:
    prediction, target = x
    losses = -F.logsigmoid(prediction.flatten() * target.flatten())
    return losses.mean() if m.args.sizeAverage else losses.sum()


def of_pixels(m: Module, x: Any, env: Env) -> Any:
    height, width = x[0].shape[-2:]
    return logistic(m, x, env) / (2 if m.args.sizeAverage else 2 * height * width)


TWINS: dict[str, Twin] = {"BinaryLogisticRegression": logistic, "SpatialBinaryLogisticRegression": of_pixels}
