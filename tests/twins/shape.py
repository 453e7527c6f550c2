"""PyTorch twins of modules that rearrange one tensor."""

from __future__ import annotations

from typing import Any

from graphspec.graph import Module
from twins.common import Env, Twin, axis

try:
    import torch
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]


def reshape(m: Module, x: Any, env: Env) -> Any:
    sizes = [n.value for n in m.args.size]
    count = 1
    for n in sizes:
        count *= n
    if m.args.batchMode is False or (m.args.batchMode is None and x.numel() == count and x.shape[0] != 1):
        return x.reshape(sizes)
    return x.reshape([x.shape[0], *sizes])


def view(m: Module, x: Any, env: Env) -> Any:
    """nn.View's own code, batchsize()."""
    sizes = [n.value for n in m.args.sizes]
    count = 1
    for n in sizes:
        count *= n if n >= 0 else 1
    inner = m.args.numInputDims or x.dim()
    ine = 1
    for n in x.shape[max(x.dim() - inner, 0):]:
        ine *= n
    batch = 1 if -1 in sizes else ine // count
    for n in x.shape[: max(x.dim() - inner, 0)]:
        batch *= n
    alone = batch == 1 and (not m.args.numInputDims or x.dim() <= inner)
    return x.reshape(sizes) if alone else x.reshape([batch, *sizes])


def narrow(m: Module, x: Any, env: Env) -> Any:
    dim = axis(m.args.dimension, x.dim())
    length = m.args.length.value
    if length < 0:
        length = x.shape[dim] - m.args.offset + length + 2
    if m.args.offset < 0:
        return x.narrow(dim, 0, x.shape[dim] - length)
    return x.narrow(dim, m.args.offset - 1, length)


def replicate(m: Module, x: Any, env: Env) -> Any:
    dim = m.args.dim - 1 + (m.args.ndim is not None and x.dim() > m.args.ndim)
    return torch.stack([x] * m.args.nFeature.value, dim)


def transpose(m: Module, x: Any, env: Env) -> Any:
    skip = x.dim() - m.args.numInputDims if m.args.numInputDims else 0
    for i, j in m.args.pairs:
        x = x.transpose(i - 1 + skip, j - 1 + skip)
    return x


def select(m: Module, x: Any, env: Env) -> Any:
    return x.select(axis(m.args.dimension, x.dim()), m.args.index - (m.args.index > 0))


TWINS: dict[str, Twin] = {
    "Reshape": reshape,
    "View": view,
    "Select": select,
    "Narrow": narrow,
    "Replicate": replicate,
    "Transpose": transpose,
}
