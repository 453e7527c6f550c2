"""Where each arena buffer lies, once the sizes are known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from graphspec_runtime.errors import PlanError
from graphspec_runtime.plan import Plan, evaluate

ALIGNMENT = 64
"""Bytes: a cache line, and the width of an AVX-512 register."""


def staged(plan: Plan) -> set[int]:
    """The argument buffers that the arena holds: those whose contents are copied in at each run."""
    return {a.buffer for a in plan.arguments if not a.resident}


def assign(plan: Plan, sizes: Mapping[str, int]) -> tuple[dict[int, int], int]:
    """Byte offsets of the buffers in the arena, and the arena's size in bytes.

    Buffers whose lifetimes meet never overlap.  Largest first, each into the tightest gap that its lifetime leaves it.
    PlanError past 2^62 bytes.
    """
    inside = staged(plan)
    wanted = []
    for index, buffer in enumerate(plan.buffers):
        if buffer.kind == "arena" or index in inside:
            count = evaluate(buffer.size, sizes) * np.dtype(buffer.dtype).itemsize
            wanted.append((-(-count // ALIGNMENT) * ALIGNMENT, buffer.first, buffer.last, index))
    if sum(count for count, *_ in wanted) >= 2**62:
        raise PlanError("memory", "these sizes need more than 2^62 bytes")
    wanted.sort(key=lambda item: (-item[0], item[1], item[3]))
    offsets: dict[int, int] = {}
    n, total = len(wanted), 0
    starts, ends, firsts, lasts = (np.zeros(n, np.int64) for _ in range(4))
    for k, (count, first, last, index) in enumerate(wanted):
        meets = (firsts[:k] <= last) & (lasts[:k] >= first)
        place = _tightest(starts[:k][meets], ends[:k][meets], count)
        offsets[index] = place
        starts[k], ends[k], firsts[k], lasts[k] = place, place + count, first, last
        total = max(total, place + count)
    return offsets, total


def _tightest(starts: np.ndarray, ends: np.ndarray, count: int) -> int:
    """The start of the smallest gap of at least ``count`` bytes between the taken ranges, else their end."""
    if not len(starts):
        return 0
    order = np.argsort(starts, kind="stable")
    reach = np.concatenate(([0], np.maximum.accumulate(ends[order])))
    gaps = starts[order] - reach[:-1]
    fits = np.flatnonzero(gaps >= count)
    if not len(fits):
        return int(reach[-1])
    return int(reach[fits[np.argmin(gaps[fits])]])
