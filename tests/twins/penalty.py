"""PyTorch twins of penalties: what is minimised beside the outputs is the last output, in training."""

from __future__ import annotations

from typing import Any

from graphspec.graph import Module
from twins.common import Env, Twin

try:
    import torch
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]


def l1_penalty(m: Module, x: Any, env: Env) -> Any:
    y = x * 1 if m.args.provideOutput else x.detach()
    norm = torch.linalg.vector_norm(x, 1) * m.args.l1weight
    return [y, norm / x.numel() if m.args.sizeAverage else norm] if env.training else y


def categorical_entropy(m: Module, x: Any, env: Env) -> Any:
    p = x.sum(0) / x.sum().item()
    entropy = -(p * (p + 1e-6).log()).sum()
    wanted = m.args.minEntropy is None or entropy.item() < m.args.minEntropy
    term = -m.args.scale * entropy / (len(x) if m.args.sizeAverage else 1) if wanted else x.sum() * 0
    return [x * 1, term] if env.training else x * 1


TWINS: dict[str, Twin] = {
    "L1Penalty": l1_penalty,
    "CategoricalEntropy": categorical_entropy,
    "NormStabilizer": lambda m, x, env: [x * 1, x.sum() * 0] if env.training else x * 1,  # one step; more: tests/test_objective.py
    "ZeroGrad": lambda m, x, env: x.detach(),
    "CopyGrad": lambda m, x, env: x * 1,
}
