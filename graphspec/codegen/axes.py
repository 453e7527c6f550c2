"""Which axes one index can run over."""

from __future__ import annotations

from collections.abc import Sequence

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
    if isinstance(inner, int) and isinstance(n, int):
        return outer == inner * n
    if inner == 0 or outer == 0:
        return outer == inner
    return normal(outer) == _product(inner, n)


Normal = frozenset[tuple[tuple[tuple[str, int], ...], int]]


def normal(expr: Expr) -> Normal:
    return frozenset([((), expr)]) if isinstance(expr, int) else frozenset((letters, factor) for factor, letters in expr)


def _product(a: Expr, b: Expr) -> Normal:
    total: dict[tuple[tuple[str, int], ...], int] = {}
    for la, fa in normal(a):
        for lb, fb in normal(b):
            powers = dict(la)
            for name, power in lb:
                powers[name] = powers.get(name, 0) + power
            key = tuple(sorted(powers.items()))
            total[key] = total.get(key, 0) + fa * fb
    return frozenset(total.items())
