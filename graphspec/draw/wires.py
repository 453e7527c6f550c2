"""Lines as they pass the walls of boxes: each is cut into stretches, one for every box that it runs through."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from graphspec.draw.scene import Box, Edge, Item, Leaf, Loop

Points = list[tuple[float, float]]
Net = Leaf | Loop
Port = tuple[str, Net]
"""("in" or "out", value); or ("start" or "end", loop), inside the wall of a loop's box."""

End = Item | Port


@dataclass(frozen=True)
class Stretch:
    """The part of a line inside one box, between children and ports."""

    box: Box
    a: End
    b: End
    net: Net


def stretches(edge: Edge) -> list[Stretch]:
    """An edge box by box: out of those around its source, across, into those around its target."""
    source, target = [*edge.source.walls, edge.source], [*edge.target.walls, edge.target]
    shared = 0
    while shared < min(len(source), len(target)) - 1 and source[shared] is target[shared]:
        shared += 1
    net = edge.source
    across = source[shared - 1]
    assert isinstance(across, Box)
    return [*_outwards(source[shared:], net), Stretch(across, source[shared], target[shared], net), *_inwards(target[shared:], net)]


def tail(box: Box, loop: Loop) -> list[Stretch]:
    """A loop's line from its source to the end of the step."""
    path = [*loop.source.walls, loop.source]
    path = path[path.index(box) :]
    return [*_outwards(path[1:], loop.source), Stretch(box, path[1], ("end", loop), loop.source)]


def head(box: Box, loop: Loop) -> list[Stretch]:
    """A loop's line from the start of the step to its target."""
    path = [*loop.target.walls, loop.target]
    path = path[path.index(box) :]
    return [Stretch(box, ("start", loop), path[1], loop), *_inwards(path[1:], loop)]


def _outwards(path: Sequence[Item], net: Leaf) -> Iterator[Stretch]:
    for box, child in list(pairwise(path))[::-1]:
        assert isinstance(box, Box)
        yield Stretch(box, child, ("out", net), net)


def _inwards(path: Sequence[Item], net: Net) -> Iterator[Stretch]:
    for box, child in pairwise(path):
        assert isinstance(box, Box)
        yield Stretch(box, ("in", net), child, net)


class Wires:
    """All stretches of a scene, by the box that they run through."""

    def __init__(self, root: Box, edges: Sequence[Edge]) -> None:
        self.boxes = [root, *(item for item in root.walk() if isinstance(item, Box))]
        found: dict[Box, list[Stretch]] = {box: [] for box in self.boxes}
        self.entered: dict[Box, list[Port]] = {box: [] for box in self.boxes}
        """Ports of lines that end at the box itself."""
        for edge in edges:
            for stretch in stretches(edge):
                found[stretch.box].append(stretch)
            if isinstance(edge.target, Box):
                self.entered[edge.target].append(("in", edge.source))
        for box in self.boxes:
            for loop in box.loops:
                for stretch in (*tail(box, loop), *head(box, loop)):
                    found[stretch.box].append(stretch)
        self.inside = {box: list(dict.fromkeys(some)) for box, some in found.items()}
        self.feeding: dict[tuple[Item, Net], Stretch] = {}
        """The stretch that brings a value to a box."""
        for some in self.inside.values():
            for s in some:
                if isinstance(s.b, Item):
                    self.feeding[s.b, s.net] = s

    def ports(self, box: Box) -> list[Port]:
        ends: list[End] = [end for s in self.inside[box] for end in (s.a, s.b)] + list(self.entered[box])
        return list(dict.fromkeys(end for end in ends if isinstance(end, tuple)))
