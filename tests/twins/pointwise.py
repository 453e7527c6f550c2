"""PyTorch twins of arithmetic on each element."""

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
    "Exp": lambda m, x, env: torch.exp(x),
    "Log": lambda m, x, env: torch.log(x),
    "Square": lambda m, x, env: torch.square(x),
    "AddConstant": lambda m, x, env: x + m.args.constant_scalar,
    "MulConstant": lambda m, x, env: x * m.args.constant_scalar,
    "SAdd": lambda m, x, env: (x + m.args.addend) * (-1 if m.args.negate else 1),
}
