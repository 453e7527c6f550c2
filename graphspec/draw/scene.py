"""What a picture shows: leaves (uses of modules, pieces, inputs, outputs) in nested boxes, and edges between leaves.

A box is a call of a Lua function, a turn of a loop, a nested gModule, or a module made of others; one that runs them over and over has one
step inside, and what goes from step to step.
An edge goes from the leaf that makes a value to the leaf that reads it, through as many box walls as lie between.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from graphspec.errors import Span

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Facts:
    """What is known of an item beyond its drawing: where it was made, what it computes, its parameters."""

    span: Span | None = None
    calls: tuple[str, ...] = ()
    signature: str = ""
    doc: str = ""
    parameters: tuple[tuple[str, tuple[int, ...]], ...] = ()
    """Canonical name and shape."""


@dataclass(eq=False)
class Item:
    """A leaf or a box, with its place: ``x``, ``y`` are those of its top left corner in the picture (pixels)."""

    title: str
    kind: str
    facts: Facts = field(default_factory=Facts)
    count: int = 0
    """Parameters inside, each tensor counted once."""
    parent: Box | None = None
    number: int = 0
    x: float = 0.0
    y: float = 0.0
    w: float = 0.0
    h: float = 0.0

    @property
    def walls(self) -> list[Box]:
        """The boxes around it, outermost (the picture itself) first."""
        found: list[Box] = []
        box = self.parent
        while box is not None:
            found.append(box)
            box = box.parent
        return found[::-1]


@dataclass(eq=False)
class Leaf(Item):
    """One use of a module (``look`` is the family it is drawn as), a piece of a split, an input, an output, or a folded box."""

    shape: str = ""
    look: str = "plain"
    tied: str = ""
    """The letter that all leaves sharing a parameter wear."""


@dataclass(eq=False)
class Box(Item):
    """Items that belong together."""

    note: str = ""
    over: str = ""
    """How many times what is inside runs, where it is a loop."""
    children: list[Item] = field(default_factory=list)
    inlets: dict[Leaf, str] = field(default_factory=dict)
    """What a module calls the values that come in and go out, by the leaf that makes them."""
    outlets: dict[Leaf, str] = field(default_factory=dict)
    loops: list[Loop] = field(default_factory=list)

    def add(self, item: Item) -> None:
        item.parent = self
        self.children.append(item)

    def walk(self) -> Iterator[Item]:
        """All items inside, outer first, in order."""
        for child in self.children:
            yield child
            if isinstance(child, Box):
                yield from child.walk()

    def leaves(self) -> Iterator[Leaf]:
        return (item for item in self.walk() if isinstance(item, Leaf))


@dataclass(frozen=True, eq=False)
class Edge:
    """``source`` makes a value that ``target`` reads."""

    source: Leaf
    target: Item


@dataclass(frozen=True, eq=False)
class Loop:
    """A value that goes from the end of one step to the start of the next."""

    source: Leaf
    target: Leaf
    text: str


@dataclass(eq=False)
class Scene:
    """A picture before it is placed."""

    title: str
    root: Box
    edges: list[Edge]
    count: int
    folded: int = 0
    """Boxes that are drawn as one leaf, because the picture would be too large otherwise."""

    def finish(self) -> None:
        """Number the items in order, drop repeated edges."""
        for number, item in enumerate(self.root.walk(), 1):
            item.number = number
        kept = {(e.source.number, e.target.number): e for e in self.edges}
        self.edges = [kept[key] for key in sorted(kept)]

    def to_json(self) -> dict[str, Any]:
        """Nodes, boxes and edges as plain data."""

        def common(item: Item) -> dict[str, Any]:
            facts, parent = item.facts, item.parent
            found: dict[str, Any] = {"id": item.number, "in": parent.number if parent else 0, "kind": item.kind, "title": item.title}
            if facts.span:
                found |= {"file": facts.span.source.path, "line": facts.span.line}
            return found | {"parameters": item.count}

        items = list(self.root.walk())
        return {
            "title": self.title,
            "parameters": self.count,
            "nodes": [{**common(i), "shape": i.shape, **({"tied": i.tied} if i.tied else {})} for i in items if isinstance(i, Leaf)],
            "boxes": [{**common(i), "note": i.note} for i in items if isinstance(i, Box)],
            "edges": [[e.source.number, e.target.number] for e in self.edges],
            "loops": [[e.source.number, e.target.number] for i in items if isinstance(i, Box) for e in i.loops],
            "folded": self.folded,
        }


def fold(scene: Scene, most: int) -> None:
    """Draw the innermost boxes as one leaf each, level by level, until there are few enough leaves and lines (or no box is left)."""
    boxes = [item for item in scene.root.walk() if isinstance(item, Box)]
    depth = max((len(box.walls) for box in boxes), default=0)
    while depth and (depth > MAX_DEPTH or sum(1 for _ in scene.root.leaves()) > most or len(scene.edges) > MAX_LINES):
        stand_ins: dict[Item, Leaf] = {}
        for box in [b for b in boxes if len(b.walls) == depth]:
            assert box.parent is not None
            inside = list(box.walk())
            size = sum(int(i.shape.split()[0]) if isinstance(i, Leaf) and i.look == "folded" else 1 for i in inside if isinstance(i, Leaf))
            leaf = Leaf(box.title, box.kind, box.facts, box.count, box.parent, shape=f"{size} nodes", look="folded")
            box.parent.children[box.parent.children.index(box)] = leaf
            stand_ins |= dict.fromkeys([box, *inside], leaf)
            scene.folded += 1
        boxes = [b for b in boxes if b not in stand_ins]
        _stand_in(scene, boxes, stand_ins)
        depth -= 1
    scene.finish()


def _stand_in(scene: Scene, boxes: Iterable[Box], stand_ins: dict[Item, Leaf]) -> None:
    """Edges and names of what was folded, for the leaves that are drawn instead."""

    def shown(leaf: Leaf) -> Leaf:
        return stand_ins.get(leaf, leaf)

    ends = dict.fromkeys((shown(e.source), stand_ins.get(e.target, e.target)) for e in scene.edges)
    scene.edges = [Edge(a, b) for a, b in ends if a is not b]
    for box in boxes:
        box.inlets = {shown(leaf): text for leaf, text in box.inlets.items()}
        box.outlets = {shown(leaf): text for leaf, text in box.outlets.items()}
        box.loops = [Loop(shown(loop.source), shown(loop.target), loop.text) for loop in box.loops]


MAX_LINES = 1200
"""Lines that are drawn."""

MAX_DEPTH = 24
"""Boxes within boxes that are drawn; what is deeper is folded."""
