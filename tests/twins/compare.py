"""PyTorch twins of products and distances of vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twins.common import Env, Twin

try:
    import torch
    import torch.nn.functional as F
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]


def number(function: Callable[..., Any]) -> Twin:
    """One number of two vectors; of two single vectors a tensor of one element."""

    def twin(m: Any, x: Any, env: Env) -> Any:
        return torch.atleast_1d(function(m, *x))

    return twin


TWINS: dict[str, Twin] = {
    "DotProduct": number(lambda m, a, b: torch.einsum("...n,...n->...", a, b)),
    "CosineDistance": number(lambda m, a, b: F.cosine_similarity(a, b, dim=-1, eps=1e-12)),
    "PairwiseDistance": number(lambda m, a, b: torch.linalg.vector_norm(a - b, m.args.p, -1)),
    "CrossProduct": lambda m, x, env: torch.linalg.cross(*x),
}
