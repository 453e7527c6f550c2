"""PyTorch twins of powers and absolute values."""

from __future__ import annotations

from twins.common import Twin

try:
    import torch
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]


TWINS: dict[str, Twin] = {
    "Abs": lambda m, x, env: torch.abs(x),
    "Sqrt": lambda m, x, env: torch.sqrt(x),
    "Power": lambda m, x, env: torch.pow(x, m.args.p),
}
