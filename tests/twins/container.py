"""PyTorch twins of containers."""

from __future__ import annotations

from typing import Any

from graphspec.graph import Module
from twins.common import Env, Twin, axis, twin_of

try:
    import torch
    import torch.nn.functional as F
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]


def sequential(m: Module, x: Any, env: Env) -> Any:
    for child in m.children:
        x = twin_of(child, x, env)
    return x


def beside(m: Module, x: Any, env: Env) -> list[Any]:
    return [twin_of(child, x, env) for child in m.children]


def concat(m: Module, x: Any, env: Env) -> Any:
    return torch.cat(beside(m, x, env), axis(m.args.dimension, 0))


def depth_concat(m: Module, x: Any, env: Env) -> Any:
    outs = beside(m, x, env)
    along = axis(m.args.dimension, 0) % outs[0].dim()
    largest = [max(out.shape[i] for out in outs) for i in range(outs[0].dim())]
    padded = []
    for out in outs:
        around: list[int] = []
        for i in reversed(range(out.dim())):
            zeros = 0 if i == along else largest[i] - out.shape[i]
            around += [zeros // 2, zeros - zeros // 2]
        padded.append(F.pad(out, around))
    return torch.cat(padded, along)


def parallel(m: Module, x: Any, env: Env) -> Any:
    slices = x.unbind(axis(m.args.inputDimension, 0))
    outs = [twin_of(child, piece, env) for child, piece in zip(m.children, slices, strict=True)]
    return torch.cat(outs, axis(m.args.outputDimension, 0))


def map_table(m: Module, x: Any, env: Env) -> Any:
    modules = [m.children[0]] * len(x) if m.args.shared else m.children
    return [twin_of(child, item, env) for child, item in zip(modules, x, strict=True)]


TWINS: dict[str, Twin] = {
    "Sequential": sequential,
    "ConcatTable": beside,
    "ParallelTable": lambda m, x, env: [twin_of(child, item, env) for child, item in zip(m.children, x, strict=True)],
    "Concat": concat,
    "DepthConcat": depth_concat,
    "Parallel": parallel,
    "MapTable": map_table,
}
