"""The PyTorch twin of the multi-function recurrent unit."""

from __future__ import annotations

from typing import Any

from graphspec.graph import Module
from graphspec.prove import Env, Twin
from twins.recurrent import held, keep, parameters, zeros

try:
    import torch
    import torch.nn.functional as F
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]

OPERATIONS: dict[str, Any] = {
    "keep": lambda h, v: h,
    "replace": lambda h, v: v,
    "mul": lambda h, v: h * v,
    "diff": lambda h, v: h - v,
    "forget": lambda h, v: torch.zeros_like(h),
    "sqrt_diff": lambda h, v: torch.abs(h - v) ** 0.5 / 4,
    "max": lambda h, v: torch.maximum(h, v),
    "min": lambda h, v: torch.minimum(h, v),
}


def mufuru(m: Module, x: Any, env: Env) -> Any:
    wx, bx, wh, bh, wv, bv, wp, bp = parameters(m, env)
    (h,) = held(m, zeros(m, x))
    r = torch.sigmoid(F.linear(x, wx, bx) + F.linear(h, wh, bh))
    v = torch.sigmoid(F.linear(torch.cat([x, r * h], -1), wv, bv))
    p = F.linear(torch.cat([x, h], -1), wp, bp).unflatten(-1, (-1, m.args.outputSize)).softmax(-2)
    return keep(m, x, (p * torch.stack([OPERATIONS[name](h, v) for name in m.args.ops.items], -2)).sum(-2))


TWINS: dict[str, Twin] = {"MuFuRu": mufuru}
