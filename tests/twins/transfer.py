"""PyTorch twins of transfer functions."""

from __future__ import annotations

from typing import Any

from twins.common import Twin

try:
    import torch
    import torch.nn.functional as F
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]


def torch_axis(x: Any) -> int:
    """Torch's choice of the axis of a softmax: PyTorch makes the same when it is not told (and warns)."""
    return 0 if x.dim() in (1, 3) else 1


TWINS: dict[str, Twin] = {
    "Sigmoid": lambda m, x, env: torch.sigmoid(x),
    "Tanh": lambda m, x, env: torch.tanh(x),
    "ReLU": lambda m, x, env: torch.relu(x),
    "SoftPlus": lambda m, x, env: F.softplus(x, m.args.beta),
    "SoftMax": lambda m, x, env: torch.softmax(x, torch_axis(x)),
    "LogSoftMax": lambda m, x, env: torch.log_softmax(x, torch_axis(x)),
    "SoftMin": lambda m, x, env: F.softmin(x, torch_axis(x)),
    "SpatialSoftMax": lambda m, x, env: torch.softmax(x, torch_axis(x)),
    "SpatialLogSoftMax": lambda m, x, env: torch.log_softmax(x, torch_axis(x)),
}
