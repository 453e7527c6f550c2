"""x coordinates of one box's layers: lines as straight as the order of each layer and the distances in it allow.

What is minimised is a sum of convex functions of differences of coordinates, ``w |t| + q t^2`` of each line's slant ``t``, under
``x[j] >= x[i] + distance``.  Such a function is L-natural-convex, so steepest descent over sets of vertices that move together finds the
minimum over the whole numbers (Murota, Discrete Convex Analysis, 2003, chapter 10); the best set is a minimum cut.  Steps go from
coarse to fine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

STEPS = (512, 128, 32, 8, 4, 2, 1)


@dataclass(frozen=True)
class Pull:
    """Costs ``w |t| + q t^2`` with ``t = x[i] - x[j] + c``."""

    i: int
    j: int
    c: float
    w: float
    q: float

    def cost(self, t: float) -> float:
        return self.w * abs(t) + self.q * t * t


def straighten(igraph: Any, x: list[int], pulls: Sequence[Pull], apart: Sequence[tuple[int, int, int]]) -> list[int]:
    """Coordinates of least cost; ``x`` is where to start, and keeps the distances ``(i, j, distance)``."""
    x = list(x)
    for step in STEPS:
        while True:
            moved = _best_set(igraph, x, pulls, apart, step)
            if not moved:
                break
            for i in moved:
                x[i] += step
    return x


def _best_set(igraph: Any, x: list[int], pulls: Sequence[Pull], apart: Sequence[tuple[int, int, int]], step: int) -> list[int]:
    """The vertices whose move by ``step`` to the right saves most; none when nothing is saved."""
    n = len(x)
    alone = [0.0] * n
    edges: list[tuple[int, int]] = []
    capacity: list[float] = []
    for p in pulls:
        t = x[p.i] - x[p.j] + p.c
        now = p.cost(t)
        right, left = p.cost(t + step) - now, p.cost(t - step) - now
        alone[p.i] += (right - left) / 2
        alone[p.j] -= (right - left) / 2
        edges += [(p.i, p.j), (p.j, p.i)]
        capacity += [(right + left) / 2] * 2
    for i, j, distance in apart:
        if x[j] - x[i] - distance < step:
            edges.append((i, j))
            capacity.append(1e12)
    saved = 0.0
    for i, cost in enumerate(alone):
        if cost:
            edges.append((i, n + 1) if cost > 0 else (n, i))
            capacity.append(abs(cost))
            saved += min(cost, 0.0)
    cut = igraph.Graph(n=n + 2, edges=edges, directed=True).mincut(n, n + 1, capacity=capacity)
    if cut.value + saved > -1e-6:
        return []
    return [i for i in cut.partition[0] if i < n]
