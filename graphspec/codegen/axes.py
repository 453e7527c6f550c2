"""Which axes one index can run over, and loops over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphspec.codegen.text import Lines, product
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


def nest(out: Lines, groups: Sequence[Sequence[int]], shape: Sequence[Expr], indices: Sequence[str], body: Callable[[], None],
         first: bool = False, simd: str = "#pragma omp simd") -> None:  # fmt: skip
    """Loops over groups of axes around ``body``; with ``first`` the very first axis runs from ``lo`` to ``hi``."""
    if not groups:
        with out.block(""):
            body()
        return
    head, *rest = groups
    count = product([shape[axis] for axis in (head[1:] if first else head)])
    start, end = (f"lo * {count}", f"hi * {count}") if first and count != "1" else ("lo", "hi") if first else ("0", count)
    if not rest and simd:
        out.add(simd)
    with out.loop(indices[0], end, start):
        if rest:
            nest(out, rest, shape, indices[1:], body, simd=simd)
        else:
            body()
