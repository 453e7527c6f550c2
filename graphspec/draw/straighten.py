"""x coordinates of one box's layers: lines as straight as the order of each layer and the distances in it allow.

What is minimised is a sum of convex functions of differences of coordinates, ``w |t| + q t^2`` of each line's slant ``t``, under
``x[j] >= x[i] + distance``.  Such a function is L-natural-convex, so steepest descent over sets of vertices that move together finds the
minimum over the whole numbers (Murota, Discrete Convex Analysis, 2003, chapter 10); the best set is a minimum cut.  Steps go from
coarse to fine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

STEPS = (512, 128, 32, 8, 4, 2, 1)

Array = np.ndarray[Any, Any]
Pull = tuple[int, int, float, float, float]
"""(i, j, c, w, q): costs ``w |t| + q t^2`` with ``t = x[i] - x[j] + c``."""


def straighten(igraph: Any, start: Sequence[int], pulls: Sequence[Pull], apart: Sequence[tuple[int, int, int]]) -> list[int]:
    """Coordinates of least cost; ``start`` is where to begin, and keeps the distances ``(i, j, distance)``."""
    x = np.array(start, np.int64)
    ends = np.array([p[:2] for p in pulls], np.int64).reshape(-1, 2)
    numbers = np.array([p[2:] for p in pulls], float).reshape(-1, 3)
    walls = np.array(apart, np.int64).reshape(-1, 3)
    for step in STEPS:
        while (moved := _best_set(igraph, x, ends, numbers, walls, step)) is not None:
            x[moved] += step
    return [int(i) for i in x]


def _best_set(igraph: Any, x: Array, ends: Array, numbers: Array, walls: Array, step: int) -> Array | None:
    """The vertices whose move by ``step`` to the right saves most; None when nothing is saved."""
    n = len(x)
    i, j = ends.T
    c, w, q = numbers.T
    t = x[i] - x[j] + c
    now = w * abs(t) + q * t * t
    right = w * abs(t + step) + q * (t + step) ** 2 - now
    left = w * abs(t - step) + q * (t - step) ** 2 - now
    alone = np.bincount(i, (right - left) / 2, n) - np.bincount(j, (right - left) / 2, n)
    near = walls[x[walls[:, 1]] - x[walls[:, 0]] - walls[:, 2] < step]
    source, sink = np.flatnonzero(alone < 0), np.flatnonzero(alone > 0)
    heads = [i, j, near[:, 0], np.full(len(source), n), sink]
    tails = [j, i, near[:, 1], source, np.full(len(sink), n + 1)]
    both = (right + left) / 2
    capacity = np.concatenate([both, both, np.full(len(near), 1e12), -alone[source], alone[sink]])
    edges = np.stack([np.concatenate(heads), np.concatenate(tails)], 1)
    cut = igraph.Graph(n=n + 2, edges=edges.tolist(), directed=True).mincut(n, n + 1, capacity=capacity.tolist())
    if cut.value + alone[source].sum() > -1e-6:
        return None
    return np.array([v for v in cut.partition[0] if v < n], np.int64)
