"""PyTorch twins of rows brought to one length."""

from __future__ import annotations

import math
from typing import Any

from graphspec.graph import Module
from twins.common import Env, Twin

try:
    import torch
    import torch.nn.functional as F
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]


def normalize(m: Module, x: Any, env: Env) -> Any:
    p, eps = m.args.p, m.args.eps
    if math.isinf(p):
        return x / (x.abs().amax(-1, keepdim=True) + eps)
    return x / (x.abs().pow(p).sum(-1, keepdim=True) + eps).pow(1 / p)


TWINS: dict[str, Twin] = {
    "Normalize": normalize,
    "LayerNormalization": lambda m, x, env: F.layer_norm(
        x, x.shape[-1:], env.parameter(m, "weight"), env.parameter(m, "bias"), m.args.eps / m.args.nOutput
    ),
}
