"""PyTorch twins of layers that read indices."""

from __future__ import annotations

from typing import Any

from graphspec.graph import Module
from twins.common import Env, Twin

try:
    import torch
    import torch.nn.functional as F
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]


def lookup_table(m: Module, x: Any, env: Env) -> Any:
    a, weight = m.args, env.parameter(m, "weight")
    if a.maxNorm is not None:  # torch cuts the rows in place, and what comes back goes to them as they then are
        cut = weight.detach().clone()
        F.embedding(x.long() - 1, cut, max_norm=a.maxNorm, norm_type=a.normType)
        weight = weight + (cut - weight).detach()
    return F.embedding(x.long() - 1, weight, padding_idx=a.paddingValue - 1 if a.paddingValue else None, scale_grad_by_freq=a.byFrequency)


TWINS: dict[str, Twin] = {
    "LookupTable": lookup_table,
    "OneHot": lambda m, x, env: F.one_hot(x.long() - 1, m.args.outputSize).double(),
}
