"""PyTorch twins of modules that mask rows of zeros."""

from __future__ import annotations

from typing import Any

from graphspec.graph import Module
from twins.common import Env, Twin, flat, twin_of

try:
    import torch
    import torch.nn.functional as F
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]


def mask_zero(m: Module, x: Any, env: Env) -> Any:
    first = flat(x)[0]
    y = twin_of(m.args.module, x, env)
    rows = first.reshape(-1 if first.dim() > m.args.nInputDim else 1, *first.shape[first.dim() - m.args.nInputDim :])
    alive = torch.tensor([bool(row.abs().sum() != 0) for row in rows]).double()
    return y * (alive.reshape(-1, *[1] * (y.dim() - 1)) if first.dim() > m.args.nInputDim else alive.reshape(()))


TWINS: dict[str, Twin] = {
    "MaskZero": mask_zero,
    "LookupTableMaskZero": lambda m, x, env: F.embedding(x.long(), env.parameter(m, "weight")) * (x != 0)[..., None],
}
