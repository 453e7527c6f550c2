"""The PyTorch twin of convolutions by signs: the value, and apart from it what is differentiated."""

from __future__ import annotations

from typing import Any

from graphspec.graph import Module
from graphspec.prove import Env, Twin

try:
    import torch
    import torch.nn.functional as F
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]


def binary(m: Module, x: Any, env: Env) -> Any:
    a, weight = m.args, env.parameter(m, "weight")
    how: Any = ((a.dH, a.dW), (a.padW if a.padH is None else a.padH, a.padW))
    fixed = weight.detach()
    signs = torch.where(fixed >= 0, 1.0, -1.0).to(x.dtype)
    value = F.conv2d(x.detach(), signs, None, *how) * fixed.abs().mean((1, 2, 3))[:, None, None]
    slope = F.conv2d(x.detach(), weight, None, *how) + F.conv2d(x * fixed.abs().mean((0, 2, 3))[:, None, None], signs, None, *how)
    return value + slope - slope.detach()


TWINS: dict[str, Twin] = {"SpatialBinaryConvolution": binary}
