"""PyTorch twins of blocks of convolution networks, written with convolutions and the tensors in order of construction."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from graphspec.graph import Module
from graphspec.prove import Env, Twin
from twins.common import twin_of

try:
    import torch
    import torch.nn.functional as F
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]


def tensors(m: Module, env: Env) -> Iterator[Any]:
    return iter([env.parameters[id(p)] for p in m.all_parameters()])


def fire(m: Module, x: Any, env: Env) -> Any:
    w, b, one, one_b, three, three_b = tensors(m, env)
    f = getattr(torch, m.args.activation.lower())
    h = f(F.conv2d(x, w, b))
    return f(torch.cat([F.conv2d(h, one, one_b), F.conv2d(h, three, three_b, padding=1)], -3))


def inception(m: Module, x: Any, env: Env) -> Any:
    a = m.args
    images = x if x.dim() == 4 else x[None]
    supply = tensors(m, env)

    def conv(h: Any, stride: int, pad: int) -> Any:
        h = F.conv2d(h, next(supply), next(supply), stride, pad)
        if a.batchNorm:
            weight, bias = next(supply), next(supply)
            h = F.batch_norm(h, torch.zeros_like(weight), torch.ones_like(weight), weight, bias, env.training)
        return torch.relu(h)

    columns = []
    for i, size in enumerate(a.kernelSize):
        columns.append(conv(conv(images, a.reduceStride[i], 0), a.kernelStride[i], size // 2 if a.padding else 0))
    i = len(a.kernelSize)
    pooled = F.max_pool2d(images, a.poolSize, a.poolStride)
    columns.append(conv(pooled, a.reduceStride[i], 0) if i < len(a.reduceSize) else pooled)
    if i + 1 < len(a.reduceSize):
        columns.append(conv(images, a.reduceStride[i + 1], 0))
    h, w = (max(c.shape[axis] for c in columns) for axis in (2, 3))

    def amid(c: Any) -> Any:
        down, right = h - c.shape[2], w - c.shape[3]
        return F.pad(c, (right // 2, right - right // 2, down // 2, down - down // 2))

    y = torch.cat([amid(c) for c in columns], 1)
    return y if x.dim() == 4 else y[0]


TWINS: dict[str, Twin] = {
    "FireModule": fire,
    "Inception": inception,
    "Serial": lambda m, x, env: twin_of(m.args.module, x, env),
}
