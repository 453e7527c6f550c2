"""PyTorch twins of modules with normalised weights."""

from __future__ import annotations

from typing import Any

from graphspec.graph import Module, Parameter
from twins.common import Env, Twin, twin_of

try:
    import torch
    import torch.nn.functional as F
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]


def linear_weight_norm(m: Module, x: Any, env: Env) -> Any:
    v, g = env.parameter(m, "v"), env.parameter(m, "g")
    weight = g * F.normalize(v, dim=1, eps=m.args.eps)
    return F.linear(x, weight, env.parameter(m, "bias"))


def weight_norm(m: Module, x: Any, env: Env) -> Any:
    child, shape, axis = m.children[0], list(m.args.shape), m.args.outputDim - 1
    v, g = env.parameter(m, "v"), env.parameter(m, "g")
    rows = torch.diag(g) @ v / (v.square().sum(1, keepdim=True) + 1e-4).sqrt()
    stand_in = Parameter(tuple(shape), [])
    child.parameters["weight"] = stand_in
    env.parameters[id(stand_in)] = rows.reshape(shape[axis], *shape[:axis], *shape[axis + 1 :]).movedim(0, axis)
    y = twin_of(child, x, env)
    del child.parameters["weight"], env.parameters[id(stand_in)]
    return y


TWINS: dict[str, Twin] = {"LinearWeightNorm": linear_weight_norm, "WeightNorm": weight_norm}
