"""PyTorch twins of modules that rearrange tables."""

from __future__ import annotations

from typing import Any

from graphspec.graph import Module
from twins.common import Env, Twin, flat


def narrow_table(m: Module, x: Any, env: Env) -> Any:
    first, length = m.args.offset - 1, m.args.length
    return x[first : first + length] if length >= 0 else x[first : len(x) + 1 + length]


TWINS: dict[str, Twin] = {
    "SelectTable": lambda m, x, env: x[m.args.index - (m.args.index > 0)],
    "NarrowTable": narrow_table,
    "FlattenTable": lambda m, x, env: flat(x),
    "ReverseTable": lambda m, x, env: list(reversed(x)),
    "ZipTable": lambda m, x, env: [[row[j] for row in x] for j in range(len(x[0]))],
    "ZipTableOneToMany": lambda m, x, env: [[x[0], item] for item in x[1]],
}
