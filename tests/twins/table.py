"""PyTorch twins of modules on tables."""

from __future__ import annotations

from typing import Any

from graphspec.graph import Module
from twins.common import Env, Twin, axis, flat, total

try:
    import torch
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]


def narrow_table(m: Module, x: Any, env: Env) -> Any:
    first, length = m.args.offset - 1, m.args.length
    return x[first : first + length] if length >= 0 else x[first : len(x) + 1 + length]


TWINS: dict[str, Twin] = {
    "CAddTable": lambda m, x, env: total(x, torch.add),
    "CSubTable": lambda m, x, env: total(x, torch.sub),
    "CMulTable": lambda m, x, env: total(x, torch.mul),
    "CDivTable": lambda m, x, env: total(x, torch.div),
    "JoinTable": lambda m, x, env: torch.cat(x, axis(m.args.dimension, x[0].dim(), m.args.nInputDims)),
    "SplitTable": lambda m, x, env: list(x.unbind(axis(m.args.dimension, x.dim(), m.args.nInputDims))),
    "SelectTable": lambda m, x, env: x[m.args.index - (m.args.index > 0)],
    "NarrowTable": narrow_table,
    "FlattenTable": lambda m, x, env: flat(x),
}
