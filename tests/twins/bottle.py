"""PyTorch twin of Bottle."""

from __future__ import annotations

from typing import Any

from graphspec.graph import Module
from twins.common import Env, Twin, twin_of


def bottle(m: Module, x: Any, env: Env) -> Any:
    lead = x.shape[: max(0, x.dim() - m.args.nInputDim + 1)]
    if len(lead) < 2:
        return twin_of(m.args.module, x, env)
    y = twin_of(m.args.module, x.flatten(0, len(lead) - 1), env)
    return y.unflatten(0, lead)


TWINS: dict[str, Twin] = {"Bottle": bottle}
