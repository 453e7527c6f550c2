"""PyTorch twins of transfer functions with a bend, a threshold or a slope of their own."""

from __future__ import annotations

from typing import Any

from graphspec.graph import Module
from twins.common import Env, Twin

try:
    import torch
    import torch.nn.functional as F
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]


def prelu(m: Module, x: Any, env: Env) -> Any:
    weight = env.parameter(m, "weight")
    if x.dim() == 1 and m.args.nOutputPlane:
        return F.prelu(x.unsqueeze(0), weight).squeeze(0)
    return F.prelu(x, weight)


def crelu(m: Module, x: Any, env: Env) -> Any:
    return torch.cat([torch.relu(x), torch.relu(-x)], x.dim() - m.args.nInputDims)


TWINS: dict[str, Twin] = {
    "HardTanh": lambda m, x, env: F.hardtanh(x, m.args.min_value, m.args.max_value),
    "Clamp": lambda m, x, env: torch.clamp(x, m.args.min_value, m.args.max_value),
    "Clip": lambda m, x, env: x + (torch.clamp(x, m.args.minval, m.args.maxval) - x).detach(),
    "ReLU6": lambda m, x, env: F.relu6(x),
    "HardShrink": lambda m, x, env: F.hardshrink(x, vars(m.args)["lambda"]),
    "SoftShrink": lambda m, x, env: F.softshrink(x, vars(m.args)["lambda"]),
    "SoftSign": lambda m, x, env: F.softsign(x),
    "TanhShrink": lambda m, x, env: F.tanhshrink(x),
    "LogSigmoid": lambda m, x, env: F.logsigmoid(x),
    "ELU": lambda m, x, env: F.elu(x, m.args.alpha),
    "LeakyReLU": lambda m, x, env: F.leaky_relu(x, m.args.negval),
    "RReLU": lambda m, x, env: F.rrelu(x, m.args.l, m.args.u, env.training),
    "PReLU": prelu,
    "CReLU": crelu,
    "Threshold": lambda m, x, env: F.threshold(x, m.args.th, m.args.v),
    "GatedLinearUnit": lambda m, x, env: F.glu(x, -1 if m.args.dim is None else m.args.dim - 1),
}
