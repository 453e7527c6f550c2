"""Which axes one index can run over."""

from __future__ import annotations

from collections.abc import Sequence

from graphspec.sizes import to_size
from graphspec_runtime.plan import Expr


def collapsed(shape: Sequence[Expr], strides: Sequence[Sequence[Expr]]) -> list[list[int]]:
    """Axes in groups that one index can run over, because every operand's strides follow on each other."""
    groups: list[list[int]] = []
    for axis in range(len(shape)):
        before = groups[-1][-1] if groups else None
        if before is not None and all(_follows(s[before], s[axis], shape[axis]) for s in strides):
            groups[-1].append(axis)
        else:
            groups.append([axis])
    return groups


def _follows(outer: Expr, inner: Expr, n: Expr) -> bool:
    """Whether ``outer == inner * n``."""
    return to_size(outer) == to_size(inner) * to_size(n)
