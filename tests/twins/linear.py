"""PyTorch twins of Identity and the linear layers."""

from __future__ import annotations

from typing import Any

from graphspec.graph import Module
from twins.common import Env, Twin

try:
    import torch
    import torch.nn.functional as F
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]


def linear(m: Module, x: Any, env: Env) -> Any:
    return F.linear(x, env.parameter(m, "weight"), env.parameter(m, "bias"))


def partial_linear(m: Module, x: Any, env: Env) -> Any:
    chosen = [n - 1 for n in m.args.partition or range(1, m.args.outputSize + 1)]
    bias = env.parameter(m, "bias")
    return F.linear(x, env.parameter(m, "weight")[chosen], None if bias is None else bias[0, chosen])


def bilinear(m: Module, x: Any, env: Env) -> Any:
    return F.bilinear(x[0], x[1], env.parameter(m, "weight"), env.parameter(m, "bias"))


def maxout(m: Module, x: Any, env: Env) -> Any:
    y = F.linear(x, env.parameter(m, "weight"), env.parameter(m, "bias"))
    return y.unflatten(-1, (m.args.maxoutNumber, m.args.outputSize)).amax(-2)


TWINS: dict[str, Twin] = {
    "Maxout": maxout,
    "Identity": lambda m, x, env: x,
    "Linear": linear,
    "LinearNoBias": linear,
    "PartialLinear": partial_linear,
    "Bilinear": bilinear,
}
