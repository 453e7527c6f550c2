"""One box laid out: its items in layers, lines between them bent only between layers, so that no line crosses an item.

Layers and a first order are igraph's (Sugiyama, Tagawa and Toda, 1981; the layering is optimal, as in Gansner et al., 1993).  igraph knows
points only; what depends on sizes is done here and in :mod:`graphspec.draw.straighten`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphspec.draw.scene import Item
from graphspec.draw.straighten import Pull, straighten
from graphspec.extras import need

SPACE, LANE = 16.0, 10.0
"""Between items of a layer, and between lines."""

SWEEPS, MANY = 24, 2000
"""Rounds of ordering, and the vertices from which on there are but two."""

CURVE, AXIS = 0.002, 3e-7
"""How much more long slants cost than short ones, and how much wide items are drawn to the middle."""


@dataclass(eq=False)
class Vertex:
    """An item, a port in the box's wall, or a bend of a long line."""

    w: float
    h: float
    layer: int = 0
    item: Item | None = None
    key: Any = None
    """The port's name; None for items and bends."""
    x: float = 0.0
    order: int = 0
    above: list[Link] = field(default_factory=list)
    below: list[Link] = field(default_factory=list)

    @property
    def thin(self) -> bool:
        return self.item is None


@dataclass(eq=False)
class Link:
    """A line from one layer to the next; ``out`` and ``into`` are the places of its ends, from the vertices' left sides."""

    a: Vertex
    b: Vertex
    out: float
    into: float

    @property
    def weight(self) -> float:
        """Long lines are kept straight."""
        return (1.0, 2.0, 6.0)[self.a.thin + self.b.thin]


def igraph() -> Any:
    """The library that orders layers; E0820 when it is not installed."""
    return need("igraph", "draw", "pictures need")


def layers_of(count: int, edges: Sequence[tuple[int, int]], fed: set[int], early: set[int]) -> list[int]:
    """The layer of each vertex, from 0, such that edges lead down and their total length is least.

    A vertex that no edge leads to is moved down to right above its first reader, unless a line from outside the box leads to it
    (``fed``); those that are ``early`` are moved up to right below their sources.
    """
    if not edges:
        return [0] * count
    coords = igraph().Graph(n=count, edges=list(edges), directed=True).layout_sugiyama().coords[:count]
    found = [round(y) for _, y in coords]
    above, below = _sides(count, edges)
    for i in range(count):
        if not above[i] and below[i] and i not in fed:
            found[i] = max(found[i], min(found[j] for j in below[i]) - 1)
    for i in sorted(range(count), key=lambda i: (-found[i], i)):  # down along the lines that lead to other readers of its sources
        if above[i] and below[i] and i not in fed:
            lowest = min(max(found[k] for k in below[j]) for j in above[i])
            found[i] = max(found[i], min(lowest, min(found[k] for k in below[i]) - 1))
    for i in range(count):
        if i in early and above[i]:
            found[i] = min(found[i], max(found[j] for j in above[i]) + 1)
    rows = sorted(set(found))
    return [rows.index(y) for y in found]


def _sides(count: int, edges: Sequence[tuple[int, int]]) -> tuple[list[list[int]], list[list[int]]]:
    above: list[list[int]] = [[] for _ in range(count)]
    below: list[list[int]] = [[] for _ in range(count)]
    for a, b in edges:
        above[b].append(a)
        below[a].append(b)
    return above, below


def order_layers(layers: list[list[Vertex]], fixed_top: bool) -> None:
    """Order the vertices of each layer so that few lines cross; with ``fixed_top`` the first layer is as it should be."""
    vertices = [v for layer in layers for v in layer]
    number = {v: i for i, v in enumerate(vertices)}
    edges = [(number[link.a], number[link.b]) for v in vertices for link in v.below]
    if edges:
        graph = igraph().Graph(n=len(vertices), edges=edges, directed=True)
        coords = graph.layout_sugiyama(layers=[v.layer for v in vertices]).coords
        for layer in layers[1 if fixed_top else 0 :]:
            layer.sort(key=lambda v: (_pinned(v), coords[number[v]][0], number[v]))
    for layer in layers:
        _renumber(layer)
    best, kept, idle = crossings(layers), [list(layer) for layer in layers], 0
    for sweep in range(SWEEPS if len(vertices) <= MANY else 2):
        if not best or idle == 4:
            break
        down = sweep % 2 == 0
        rest = range(1, len(layers)) if down else range(len(layers) - 2, 0 if fixed_top else -1, -1)
        for at in rest:
            layer = layers[at]
            layer.sort(key=lambda v: (_pinned(v), v.order if _pinned(v) else _mean([_end(link.a, link.out) for link in v.above] if down
                                            else [_end(link.b, link.into) for link in v.below], v.order), v.order))  # fmt: skip
            _renumber(layer)
        swapped = True
        while swapped:
            swapped = sum(_swap(layer) for layer in layers[1 if fixed_top else 0 :]) > 0
        found = crossings(layers)
        idle += 1
        if found < best:
            best, kept, idle = found, [list(layer) for layer in layers], 0
    for layer, order in zip(layers, kept, strict=True):
        layer[:] = order
        _renumber(layer)


def _renumber(layer: list[Vertex]) -> None:
    for order, vertex in enumerate(layer):
        vertex.order = order


def _end(vertex: Vertex, offset: float) -> float:
    return vertex.order + (offset / vertex.w if vertex.w else 0.5)


def _mean(values: list[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _swap(layer: list[Vertex]) -> bool:
    """Exchange neighbours where fewer lines cross then."""
    done = False
    for i in range(len(layer) - 1):
        left, right = layer[i], layer[i + 1]
        if _pinned(left) or _pinned(right):
            continue
        gain = 0
        for mine, theirs in (
            ([_end(k.a, k.out) for k in left.above], [_end(k.a, k.out) for k in right.above]),
            ([_end(k.b, k.into) for k in left.below], [_end(k.b, k.into) for k in right.below]),
        ):
            gain += sum((a > b) - (a < b) for a in mine for b in theirs)
        if gain > 0:
            layer[i], layer[i + 1] = right, left
            left.order, right.order = i + 1, i
            done = True
    return done


def _pinned(vertex: Vertex) -> bool:
    """The ends of a loop stay at the side where the loop goes up."""
    return vertex.key is not None and vertex.key[0] in ("start", "end")


def crossings(layers: Sequence[Sequence[Vertex]]) -> int:
    """How often lines cross, by inversions between one layer and the next."""
    total = 0
    for layer in layers:
        ends = np.array(sorted((_end(v, k.out), _end(k.b, k.into)) for v in layer for k in v.below)).reshape(-1, 2)
        for start in range(0, len(ends), 500):
            a, b = ends[start : start + 500, None, 0], ends[start : start + 500, None, 1]
            total += int(((a < ends[:, 0]) & (b > ends[:, 1])).sum())
    return total


def place(layers: list[list[Vertex]]) -> None:
    """x of every vertex: as near to straight lines as the order and the distances allow; wide items are drawn to one axis."""
    vertices = [v for layer in layers for v in layer]
    number = {v: i for i, v in enumerate(vertices)}
    axis = len(vertices)
    start: list[int] = []
    apart = []
    for layer in layers:
        x = 0
        for i, vertex in enumerate(layer):
            start.append(x)
            if i + 1 < len(layer):
                distance = math.ceil(vertex.w + (4 if vertex.thin and vertex.w else LANE if vertex.thin or layer[i + 1].thin else SPACE))
                apart.append((number[vertex], number[layer[i + 1]], distance))
                x += distance
    pulls: list[Pull] = [(number[v], axis, v.w / 2, 0.0, v.w * v.w * AXIS) for v in vertices if v.w]
    for v in vertices:
        pulls += [(number[v], number[k.b], k.out - k.into, k.weight, k.weight * CURVE) for k in v.below]
    found = straighten(igraph(), [*start, 0], pulls, apart)
    least = min(found[:axis], default=0)
    for vertex, place in zip(vertices, found, strict=False):
        vertex.x = float(place - least)
