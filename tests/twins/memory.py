"""PyTorch twins of what a memory is made of."""

from __future__ import annotations

from typing import Any

from graphspec.graph import Module
from twins.common import Env, Twin

try:
    import torch
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]


def outer(m: Module, x: Any, env: Env) -> Any:
    return torch.einsum("...i,...j->...ij", *x) if len(x) == 2 else torch.einsum("...i,...j,...k->...ijk", *x)


def circular(m: Module, x: Any, env: Env) -> Any:
    vector, kernel = x
    middle = kernel.shape[-1] // 2
    turned = [vector.roll(j - middle, -1) * kernel[..., j : j + 1] for j in range(kernel.shape[-1])]
    return torch.stack(turned).sum(0)


def similarity(m: Module, x: Any, env: Env) -> Any:
    memory, key = x
    lengths = memory.norm(dim=-1) * key.norm(dim=-1, keepdim=True)
    return torch.einsum("...nm,...m->...n", memory, key) / (lengths + m.args.smoothen)


TWINS: dict[str, Twin] = {
    "ScalarMulTable": lambda m, x, env: x[0] * x[1],
    "ScalarDivTable": lambda m, x, env: x[0] / x[1],
    "PowTable": lambda m, x, env: torch.pow(x[0], x[1]),
    "OuterProd": outer,
    "CircularConvolution": circular,
    "SmoothCosineSimilarity": similarity,
}
