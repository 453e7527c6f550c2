"""PyTorch twins of products, masks and mixtures."""

from __future__ import annotations

from typing import Any

from graphspec.graph import Module
from twins.common import Env, Twin

try:
    import torch
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]


def mm(m: Module, x: Any, env: Env) -> Any:
    a, b = x
    return (a.transpose(-1, -2) if m.args.transA else a) @ (b.transpose(-1, -2) if m.args.transB else b)


def mv(m: Module, x: Any, env: Env) -> Any:
    matrix, vector = x
    return torch.einsum("...mn,...m->...n" if m.args.trans else "...mn,...n->...m", matrix, vector)


def masked_softmax(m: Module, x: Any, env: Env) -> Any:
    scores, mask = x
    y = torch.softmax(scores.masked_fill(mask == 0, -torch.inf), -1)
    return torch.where((mask != 0).any(-1, keepdim=True), y, torch.zeros_like(y)).nan_to_num()


def length_mask(m: Module, x: Any, env: Env) -> Any:
    return (torch.arange(m.args.size.value) < x[..., None]).double()


def mixture(m: Module, x: Any, env: Env) -> Any:
    gater, experts = x
    if not isinstance(experts, list):
        experts = list(experts.unbind((m.args.dim or gater.dim()) - 1))
    parts = []
    for i, expert in enumerate(experts):
        gate = gater[..., i]
        parts.append(expert * gate.reshape([*gate.shape, *[1] * (expert.dim() - gate.dim())]))
    return sum(parts)


TWINS: dict[str, Twin] = {
    "MM": mm,
    "MV": mv,
    "LengthMask": length_mask,
    "MaskedSoftMax": masked_softmax,
    "MixtureTable": mixture,
}
