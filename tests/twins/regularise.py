"""PyTorch twins of dropout and batch normalisation."""

from __future__ import annotations

from typing import Any

from graphspec.graph import Module
from twins.common import Env, Twin

try:
    import torch
    import torch.nn.functional as F
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]


def dropout(m: Module, x: Any, env: Env) -> Any:
    if env.training or m.args.stochasticInference:
        return x * env.noise
    return x * (1 - m.args.p) if m.args.v1 else x


def batch_norm(m: Module, x: Any, env: Env) -> Any:
    mean, var = env.buffer(m, "running_mean").clone(), env.buffer(m, "running_var").clone()
    rows = x.reshape(-1, x.shape[-1])
    y = F.batch_norm(rows, mean, var, env.parameter(m, "weight"), env.parameter(m, "bias"), env.training, m.args.momentum, m.args.eps)
    if env.training:
        env.updated = {id(m.buffers["running_mean"]): mean, id(m.buffers["running_var"]): var}
    return y.reshape(x.shape)


TWINS: dict[str, Twin] = {
    "Dropout": dropout,
    "BatchNormalization": batch_norm,
}
