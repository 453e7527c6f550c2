"""Places for everything: each box is laid out from the inside to the outside, and lines are led through its walls by ports.

A value has one port in each wall that it passes, however many readers are behind it.  What feeds a box is placed only after the box
has its size, so the boxes are laid out several times, the order of their ports being improved when the places outside are known.
"""

from __future__ import annotations

from graphspec.draw.level import LANE, Link, Vertex, layers_of, order_layers, place
from graphspec.draw.metrics import GAP, HEADING, SMALL, header, leaf_size, width
from graphspec.draw.scene import Box, Edge, Item, Leaf, Loop
from graphspec.draw.wires import End, Net, Points, Port, Stretch, Wires, head, stretches, tail

HEADER, LABELS, PAD, ROW, LOOP = 21.0, 15.0, 10.0, 14.0, 16.0
"""Pixels: a box's heading, the names of ports, the margin inside a box, the least distance of layers, the room for a loop."""

NEST = 5.0
"""Between loops at their upper and lower ends."""

PASSES = 3


class Placement:
    """The layout of one scene; ``long`` is how long the text of a leaf with one row may be."""

    def __init__(self, root: Box, edges: list[Edge], long: float) -> None:
        self.root, self.long = root, long
        self.wires = Wires(root, edges)
        self.ports: dict[tuple[Box, Port], tuple[float, float]] = {}
        """Where a value passes a wall, from the box's top left corner."""
        self.routes: dict[Stretch, Points] = {}
        """The points of a stretch, from the box's top left corner."""
        self.headings: dict[Box, list[float]] = {}
        """x of the pieces of a box's heading, from its left side."""

    def run(self, top: float) -> None:
        """Size and place everything; the picture begins at ``top``."""
        for turn in range(PASSES):
            self.box(self.root, turn > 0)
            self.shift(self.root, 0.0, top)

    def box(self, box: Box, again: bool) -> None:
        """Size and inner places of a box, after those inside it."""
        for child in box.children:
            if isinstance(child, Box):
                self.box(child, again)
            else:
                assert isinstance(child, Leaf)
                child.w, child.h = leaf_size(child, self.long)
        if any(child.kind == "column" for child in box.children):
            self.columns(box)
            return
        layers, chains = self.vertices(box, again)
        order_layers(layers, fixed_top=again and box.parent is not None)
        for layer in layers:
            for vertex in layer:
                _spread(vertex)
        place(layers)
        self.size(box, layers, chains)

    # -- layers ------------------------------------------------------------------------------------------------------

    def vertices(self, box: Box, again: bool) -> tuple[list[list[Vertex]], dict[Stretch, list[Link]]]:
        """The box's items, ports and bends in layers, and the links that each stretch is made of."""
        parts = self.wires.inside[box]
        number = {child: i for i, child in enumerate(box.children)}
        edges = dict.fromkeys((number[s.a], number[s.b]) for s in parts if isinstance(s.a, Item) and isinstance(s.b, Item))
        fed = {number[s.b] for s in parts if isinstance(s.a, tuple) and isinstance(s.b, Item)}
        pieces = {i for child, i in number.items() if isinstance(child, Leaf) and child.look == "piece"}
        rows = layers_of(len(number), list(edges), fed, pieces)
        ports = self.wires.ports(box)
        top = [p for p in ports if p[0] in ("in", "start")]
        if again:
            top.sort(key=lambda p: self.outside(box, p))
        top.sort(key=lambda p: p[0] == "start")
        depth = max(rows, default=0) + 2
        at: dict[End, Vertex] = {child: Vertex(child.w, child.h, rows[i] + 1, child) for child, i in number.items()}
        for port in (*top, *(p for p in ports if p[0] == "out"), *(p for p in ports if p[0] == "end")):
            at[port] = Vertex(self.port_width(box, port), 0, 0 if port in top else depth, key=port)
        layers: list[list[Vertex]] = [[] for _ in range(depth + 1)]
        for vertex in at.values():
            layers[vertex.layer].append(vertex)
        chains: dict[Stretch, list[Link]] = {}
        bends: dict[tuple[Vertex, Net, int], Vertex] = {}
        for s in parts:
            a, b, out, into = at[s.a], at[s.b], self.leaving(s), self.entering(s)
            backwards = a.layer >= b.layer  # only where nodes were rewired after they were made
            if backwards:
                a, b, out, into = b, a, into, out
            chain, before, x = [], a, out
            for layer in range(a.layer + 1, b.layer):
                bend = bends.get((a, s.net, layer))
                if bend is None:
                    bend = bends[a, s.net, layer] = Vertex(0, 0, layer)
                    layers[layer].append(bend)
                chain.append(_link(before, bend, x, 0.0))
                before, x = bend, 0.0
            chain.append(_link(before, b, x, into))
            chains[s] = chain[::-1] if backwards else chain
        return layers, chains

    def leaving(self, s: Stretch) -> float:
        if isinstance(s.a, Box):
            return self.ports[s.a, ("out", s.net)][0]
        return s.a.w / 2 if isinstance(s.a, Item) else 0.0

    def entering(self, s: Stretch) -> float:
        if isinstance(s.b, Box):
            return self.ports[s.b, ("in", s.net)][0]
        return s.b.w / 2 if isinstance(s.b, Item) else 0.0

    def outside(self, box: Box, port: Port) -> float:
        """The x of what feeds a port from outside, as the previous pass placed it."""
        item: Item | None = box
        while item is not None:
            s = self.wires.feeding.get((item, port[1]))
            if s is not None and isinstance(s.a, Item):
                route = self.routes[s]
                return s.box.x + route[max(len(route) - 4, 0)][0]
            item = item.parent
        return 0.0

    # -- sizes -------------------------------------------------------------------------------------------------------

    def size(self, box: Box, layers: list[list[Vertex]], chains: dict[Stretch, list[Link]]) -> None:
        """y of the layers, the box's size, its ports, heading and the routes inside it."""
        bare = box.kind in ("picture", "column")
        named = [bool(box.inlets or box.loops), bool(box.outlets or box.loops)]
        inner = max((v.x + v.w for layer in layers for v in layer), default=0.0)
        self.headings[box], inner = ([], inner) if bare else self.heading(box, [PAD + v.x for v in layers[0]], inner)
        y, tops, bottoms = 0.0, [], []
        for i, layer in enumerate(layers):
            first, last = i == 0, i == len(layers) - 1
            high = max((v.h for v in layer), default=0.0)
            if first and not bare:
                high = HEADER + (LABELS if named[0] else 0) + NEST * max(len(box.loops) - 1, 0)
            if last and not bare:
                high = LABELS + 3 + NEST * max(len(box.loops) - 1, 0) if named[1] else 0.0
            tops.append(y)
            bottoms.append(y + high)
            slant = max((abs(k.a.x + k.out - k.b.x - k.into) for v in layer for k in v.below), default=0.0)
            wall = first or (i == len(layers) - 2 and not layers[-1])
            gap = 0.0 if last or (first and not any(v.below for v in layer)) else PAD if wall else ROW
            y += high + gap + (min(14.0, (slant - 60) * 0.04) if slant > 60 else 0.0)
        lanes = LOOP * len(box.loops)
        box.w, box.h = round(PAD + inner + PAD + lanes, 1), round(y, 1)
        for i, layer in enumerate(layers):
            for v in layer:
                if v.item is not None:
                    v.item.x, v.item.y = PAD + v.x, tops[i] + (bottoms[i] - tops[i] - v.h) / 2
                elif v.key is not None:
                    self.ports[box, v.key] = (PAD + v.x, 0.0 if v.key[0] == "in" else box.h)
        for s, chain in chains.items():
            route: Points = []
            for k in chain:
                start = k.a.item.y + k.a.h if k.a.item else tops[k.a.layer] if k.a.key else bottoms[k.a.layer]
                stop = k.b.item.y if k.b.item else bottoms[k.b.layer]
                if k.a.key and k.a.key[0] == "start":
                    start = HEADER + 3 + NEST * box.loops.index(k.a.key[1])
                if k.b.key and k.b.key[0] == "end":
                    stop = tops[k.b.layer] + 1 + NEST * (len(box.loops) - 1 - box.loops.index(k.b.key[1]))
                xa, xb = PAD + k.a.x + k.out, PAD + k.b.x + k.into
                route += [(xa, start), (xa, bottoms[k.a.layer]), (xb, tops[k.b.layer]), (xb, stop)]
            self.routes[s] = route if chain[0].a.layer < chain[-1].b.layer or len(chain) == 1 else route[::-1]

    def heading(self, box: Box, lines: list[float], inner: float) -> tuple[list[float], float]:
        """The pieces of the heading clear of the lines that come in: x of each, and the inner width that they need."""
        found: list[float] = []
        x, lines = PAD, sorted(lines)
        wide = [width(text, HEADING, kind == "t") for kind, text in header(box)]
        together = sum(wide) + GAP * (len(wide) - 1)
        start = next((s for s in (PAD, *(line + 6 for line in lines)) if _clear(lines, s, together) and s + together <= PAD + inner), None)
        x = PAD if start is None else start
        for w in wide:
            for line in lines:
                if not _clear([line], x, w):
                    x = line + 6
            found.append(x)
            x += w + GAP
        return found, max(inner, x - GAP - PAD)

    @staticmethod
    def port_width(box: Box, port: Port) -> float:
        """Room for the name beside a port."""
        names = box.inlets if port[0] == "in" else box.outlets if port[0] == "out" else {}
        text = names.get(port[1], "") if isinstance(port[1], Leaf) else ""
        return width(text, SMALL) + 8 if text else 0.0

    # -- columns -----------------------------------------------------------------------------------------------------

    def columns(self, root: Box) -> None:
        """Columns side by side; lines between them go down, up in the gutter, and into the next column from above."""
        x = low = 0.0
        sides = {child: number for number, child in enumerate(root.children)}
        crossing = [s for s in self.wires.inside[root] if isinstance(s.a, Box) and isinstance(s.b, Box)]
        above = LANE * (len(crossing) + 1)
        for child in root.children:
            child.y = above if sides[child] else 0.0
            into = sorted((s for s in crossing if s.b is child), key=lambda s: (sides[s.a], self.leaving(s)))  # type: ignore[index]
            x += LANE * (len(into) + 2) if into else 0.0
            child.x = x
            floor = max((other.y + other.h for other in root.children[: sides[child]]), default=0.0)
            for lane, s in enumerate(into, 1):
                assert isinstance(s.a, Box) and isinstance(s.b, Box)
                gutter, down, up = x - LANE * (lane + 1), floor + LANE * (len(into) - lane), child.y - LANE * lane
                start, end = s.a.x + self.leaving(s), child.x + self.entering(s)
                self.routes[s] = [(start, s.a.y + s.a.h), (start, down), (gutter, down), (gutter, up), (end, up), (end, child.y)]
                low = max(low, down)
            x += child.w
            low = max(low, child.y + child.h)
        root.w, root.h = x, low + PAD

    # -- the whole ---------------------------------------------------------------------------------------------------

    def shift(self, box: Box, x: float, y: float) -> None:
        """From places within boxes to places in the picture."""
        box.x, box.y = round(box.x + x, 1) if box.parent else x, round(box.y + y, 1) if box.parent else y
        for child in box.children:
            if isinstance(child, Box):
                self.shift(child, box.x, box.y)
            else:
                child.x, child.y = round(child.x + box.x, 1), round(child.y + box.y, 1)

    def points(self, parts: list[Stretch]) -> Points:
        """A line's points in the picture, without repetitions."""
        found: Points = []
        for s in parts:
            for x, y in self.routes[s]:
                point = (round(x + s.box.x, 1), round(y + s.box.y, 1))
                if not found or found[-1] != point:
                    found.append(point)
        return found

    def line(self, edge: Edge) -> Points:
        return self.points(stretches(edge))

    def loop(self, box: Box, loop: Loop) -> Points:
        """A loop: down to the end of the step, up at the right side, and to the start of the next."""
        down, into = self.points(tail(box, loop)), self.points(head(box, loop))
        right = round(box.x + box.w - LOOP * (box.loops.index(loop) + 0.6), 1)
        return [*down, (right, down[-1][1]), (right, into[0][1]), *into]


def _clear(lines: list[float], x: float, wide: float) -> bool:
    """Whether no line runs through a text."""
    return not any(x - 5 < line < x + wide + 5 for line in lines)


def _link(a: Vertex, b: Vertex, out: float, into: float) -> Link:
    """A link, or the one that is there already: readers of one value share its line as far as they can."""
    known = next((k for k in a.below if k.b is b and k.out == out and b.thin), None)
    if known is None:
        known = Link(a, b, out, into)
        a.below.append(known)
        b.above.append(known)
    return known


def _spread(vertex: Vertex) -> None:
    """Spread the ends of the lines that enter a leaf along its top, in the order of where they come from."""
    if isinstance(vertex.item, Leaf) and len(vertex.above) > 1:
        step = min(14.0, (vertex.w - 20) / (len(vertex.above) - 1))
        for i, link in enumerate(sorted(vertex.above, key=lambda k: (k.a.order, k.out))):
            link.into = vertex.w / 2 + (i - (len(vertex.above) - 1) / 2) * step
