"""The picture that fits a screen best: leaves with one or two rows of text, the whole in one column or in two."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from graphspec.draw.metrics import SMALL, summary, width
from graphspec.draw.placement import HEADER, LABELS, Placement
from graphspec.draw.scene import Box, Edge, Item, Loop, Scene
from graphspec.draw.wires import Points

TOP = 44.0
"""Room for the picture's own heading."""

SCREEN = (1280.0, 900.0)

LONG = (124.0, 0.0, 1000.0)
"""Leaves whose text is no longer (pixels) have one row of it; what is tried, the best looking first."""

MAX_TRIED = 200
"""Lines above which there is only one try."""

WORTH = 1.06
"""How much better another try must fit than the best so far."""


@dataclass(frozen=True)
class Text:
    """A small label; ``upright`` or turned to the right."""

    x: float
    y: float
    text: str
    upright: bool = True


@dataclass
class Drawing:
    """Everything with its place, in pixels."""

    scene: Scene
    w: float = 0.0
    h: float = 0.0
    lines: list[tuple[Edge, Points]] = field(default_factory=list)
    loops: list[tuple[Loop, Points]] = field(default_factory=list)
    headings: dict[Box, list[float]] = field(default_factory=dict)
    """x of the pieces of a box's heading, from the box's left side."""
    labels: list[Text] = field(default_factory=list)


def draw(scene: Scene) -> Drawing:
    """Places for everything in the scene.  Items keep the places of the picture that fits best."""
    drawing = drawing_of(scene, LONG[0], 0)
    best, score = (LONG[0], 0), fit(drawing)
    if len(drawing.lines) > MAX_TRIED:
        return drawing
    tries = [(long, cut) for cut in (0, *cuts(scene)) for long in LONG][1:]
    for long, cut in tries:
        if score * WORTH > 1:
            break
        found = fit(drawing_of(scene, long, cut))
        if found > score * (WORTH if cut == best[1] else WORTH**2):
            best, score = (long, cut), found
    return drawing_of(scene, *best)


def fit(drawing: Drawing) -> float:
    """How large the picture can be shown on a screen; at most 1."""
    return min(1.0, SCREEN[0] / drawing.w, SCREEN[1] / drawing.h)


def cuts(scene: Scene) -> list[int]:
    """Places between the picture's outermost items where a second column may begin: before the boxes next to the middle."""
    middle = scene.root.y + scene.root.h / 2
    boxes = [i for i, item in enumerate(scene.root.children) if isinstance(item, Box)][1:]
    return sorted(boxes, key=lambda i: abs(scene.root.children[i].y - middle))[:2]


def drawing_of(scene: Scene, long: float, cut: int) -> Drawing:
    with columns(scene, cut):
        placement = Placement(scene.root, scene.edges, long)
        placement.run(TOP)
        drawing = Drawing(scene, headings=placement.headings)
        drawing.lines = [(edge, placement.line(edge)) for edge in scene.edges]
        for box in placement.wires.boxes:
            drawing.labels += labels(placement, box)
            for loop in box.loops:
                points = placement.loop(box, loop)
                drawing.loops.append((loop, points))
                right = max(x for x, _ in points)
                drawing.labels.append(Text(right - 5, (points[0][1] + points[-1][1]) / 2, loop.text, upright=False))
        drawing.w, drawing.h = max(scene.root.w, width(scene.title, 15, True) + width(summary(scene), SMALL) + 36), scene.root.h + TOP
    return drawing


@contextmanager
def columns(scene: Scene, cut: int) -> Iterator[None]:
    """Inside, the outermost items stand in two columns, cut at ``cut``; what only items of the second column read stands there too."""
    root, items = scene.root, scene.root.children
    if cut:
        second: set[Item] = set(items[cut:])
        reads: dict[Item, set[Item]] = {item: set() for item in items}
        for edge in scene.edges:
            source, target = ([*i.walls, i][1] for i in (edge.source, edge.target))
            reads[source].add(target)
        fed = {target for some in reads.values() for target in some}
        for item in items[:cut][::-1]:
            if item not in fed and reads[item] and reads[item] <= second:
                second.add(item)
        groups = [[i for i in items if i not in second], [i for i in items if i in second]]
        root.children = []
        for group in groups:
            column = Box("", "column", children=group)
            root.add(column)
            for item in group:
                item.parent = column
    try:
        yield
    finally:
        root.children = items
        for item in items:
            item.parent = root


def labels(placement: Placement, box: Box) -> Iterator[Text]:
    """The names that a module gives to its ports."""
    for leaf, name in box.inlets.items():
        if (box, ("in", leaf)) in placement.ports:
            yield Text(box.x + placement.ports[box, ("in", leaf)][0] + 5, box.y + HEADER + LABELS - 4, name)
    for leaf, name in box.outlets.items():
        if (box, ("out", leaf)) in placement.ports:
            yield Text(box.x + placement.ports[box, ("out", leaf)][0] + 5, box.y + box.h - 5, name)
