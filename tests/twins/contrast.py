"""PyTorch twins of normalisations by mean and deviation."""

from __future__ import annotations

from typing import Any

from graphspec.graph import Module
from twins.common import Env, Twin
from twins.convolution import batched

try:
    import torch
    import torch.nn.functional as F
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]


def means(m: Module, x: Any, env: Env) -> tuple[Any, Any]:
    """Means around each place of a batch, and how much of the weights lies inside."""
    kernel = env.buffer(m, "kernel")
    if kernel.dim() == 1:
        kernel = torch.outer(kernel, kernel)
    weight = (kernel / kernel.sum() / x.shape[1]).expand(1, x.shape[1], *kernel.shape)
    padding = tuple(n // 2 for n in kernel.shape)
    return F.conv2d(x, weight, padding=padding), F.conv2d(torch.ones_like(x[:1]), weight, padding=padding)


def subtractive(m: Module, x: Any, env: Env) -> Any:
    mean, inside = means(m, x, env)
    return x - mean / inside


def divisive(m: Module, x: Any, env: Env) -> Any:
    mean, inside = means(m, x.square(), env)
    return x / F.threshold(mean.sqrt() / inside, m.args.threshold, m.args.thresval)


def feature(m: Module, x: Any, env: Env) -> Any:
    return (x - env.buffer(m, "mean")[:, None, None]) / env.buffer(m, "std")[:, None, None]


TWINS: dict[str, Twin] = {
    "SpatialSubtractiveNormalization": lambda m, x, env: batched(x, "HW", lambda b: subtractive(m, b, env)),
    "SpatialDivisiveNormalization": lambda m, x, env: batched(x, "HW", lambda b: divisive(m, b, env)),
    "SpatialContrastiveNormalization": lambda m, x, env: batched(x, "HW", lambda b: divisive(m, subtractive(m, b, env), env)),
    "SpatialFeatNormalization": feature,
}
