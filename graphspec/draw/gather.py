"""From a typed graph to a scene: nodes grouped by the function calls and loop turns that made them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, takewhile

from graphspec.draw.inside import Ends, Inside, carried, flatten
from graphspec.draw.scene import MAX_LINES, Box, Edge, Facts, Item, Key, Leaf, Loop, Scene, fold
from graphspec.errors import Frame, Origin, describe, fail
from graphspec.graph import GModule, Module, Node, Parameter, gathered
from graphspec.program import Typed
from graphspec.shapes.cells import Cell
from graphspec.shapes.infer import Use

MAX_LEAVES = 500
"""Leaves that are drawn; a larger graph has its innermost boxes folded, and one that is larger even so is E0510."""

MAX_TEXT = 32


def make_scene(model: Typed, title: str = "", most: int = MAX_LEAVES) -> Scene:
    """The model as boxes, leaves and edges; at most ``most`` leaves, E0510 when folding cannot bring it down to that."""
    root = Box(title or "model", "picture")
    gather = Gather(model)
    module = model.module
    ends: Ends = ()
    if isinstance(module, GModule):
        ends, _ = gather.graph(model.use, module, root, {}, ())
    _tidy(root)
    if isinstance(module, GModule):
        gather.outputs(module, root, ends if isinstance(ends, tuple) and len(module.outputs) > 1 else (ends,))
    total = sum(p.size for p in module.all_parameters())
    scene = Scene(root.title, root, gather.edges, total)
    gather.mark_tied()
    _count(root, gather.parameters)
    fold(scene, most)
    found = sum(1 for _ in root.leaves())
    if found > most or len(scene.edges) > MAX_LINES:
        raise fail(
            "E0510",
            f"a picture of {found:,} nodes and {len(scene.edges):,} lines is more than anybody can read",
            module.origin,
            notes=[f"the limits are {most:,} nodes and {MAX_LINES:,} lines, after boxes were folded"],
            helps=["build parts of the model in functions: a call is a box, and boxes are folded where there are too many nodes"],
        )
    return scene


class Gather:
    """What is drawn of a model, as it is found."""

    def __init__(self, model: Typed) -> None:
        self.model = model
        self.edges: list[Edge] = []
        self.parameters: dict[Item, list[Parameter]] = {}
        self.loops: list[Box] = []
        """The boxes of the loops that are being drawn, outermost first."""

    # -- graphs ------------------------------------------------------------------------------------------------------

    def graph(self, use: Use, graph: GModule, box: Box, given: dict[Node, Ends], around: tuple[Key, ...]) -> tuple[Ends, dict[Node, Ends]]:
        """Draw a graph's nodes in ``box``; ``given`` has the leaves that make its inputs, ``around`` the calls that box is in.

        Returns the leaves that make its outputs, and those of every node.
        """
        nodes = [node for node in graph.nodes if node in use.subs]
        paths = {node: _path(node.origin) for node in nodes}
        shared = _shared(list(paths.values()))
        ends: dict[Node, Ends] = {}
        open_boxes: list[tuple[Key, Box]] = []
        for node in nodes:
            frames = paths[node][len(shared) :]
            keys = [_key(f) for f in frames]
            same = len(list(takewhile(lambda pair: pair[0] == pair[1][0], zip(keys, open_boxes, strict=False))))
            del open_boxes[same:]
            for position in range(same, len(frames)):
                inner = _call_box(frames, position)
                (open_boxes[-1][1] if open_boxes else box).add(inner)
                open_boxes.append((keys[position], inner))
            place = open_boxes[-1][1] if open_boxes else box
            calls = (*around, *map(_key, paths[node]))
            ends[node] = self.node(node, use.subs[node], place, ends, given, calls)
        outs = tuple(ends[node] for node in graph.outputs if node in ends)  # where inference failed, some may be missing
        return (outs[0] if len(outs) == 1 else outs), ends

    def outputs(self, module: GModule, root: Box, ends: Sequence[Ends]) -> None:
        """Marks for the picture's outputs: a leaf each, or the look of the node itself where it only hands on."""
        read = {edge.source for edge in self.edges}
        for number, (node, end) in enumerate(zip(module.outputs, ends, strict=True), 1):
            name = f"output {number}" if len(ends) > 1 else "output"
            if isinstance(end, Leaf) and end.parent is root and end not in read and (end.look == "piece" or end.kind == "nn.Identity"):
                end.title = name if end.title == "Identity" else end.title
                end.kind, end.look = name, "output"
                continue
            leaf = Leaf(name, name, Facts(module.origin.span), shape=self.shape(self.model.use.nodes[node]), look="output")
            root.add(leaf)
            self.edges += [Edge(source, leaf) for source in dict.fromkeys(flatten(end))]

    def node(self, node: Node, use: Use, box: Box, ends: dict[Node, Ends], given: dict[Node, Ends], around: tuple[Key, ...]) -> Ends:
        shape = self.shape(use.y)
        if node.piece is not None:
            assert isinstance(node.inputs, Node)
            index, count = node.piece
            source = ends[node.inputs]
            leaf = self.leaf(node, node.name or f"{index + 1} of {count}", f"piece {index + 1} of {count}", shape, "piece", box)
            picked = source[index] if isinstance(source, tuple) and len(source) == count else source
            return self.read(picked, leaf)
        assert node.module is not None and use.module is not None
        if node.is_source:
            leaf = self.leaf(node, node.name or "input", "input", shape, "input", box)
            return self.read(given.get(node, ()), leaf)
        return self.inner(use, gathered(node.inputs, ends), box, around, node.name or "")

    def inner(self, use: Use, argument: Ends, box: Box, around: tuple[Key, ...], name: str, alone: bool = False) -> Ends:
        """A use of a module, called by ``name``, its own one or its kind: a leaf, or a box with what is inside.

        ``alone``: it is all there is in its box, so that a graph needs none of its own.
        """
        module = use.module
        assert module is not None
        record, title = module.record, name or module.name or module.record.name
        if isinstance(module, GModule):
            if any(node not in use.subs for node in module.nodes):  # where inference failed
                return self.plain(use, argument, box, title)
            place = box if alone else self.box_of(use, module, box, around, name)
            return self.graph(use, module, place, _hand(module.inputs, argument), around)[0]
        looped = record.loops and "T" in use.fresh
        inside = [sub.module for sub in use.subs.values()]
        opened = record.tells(use) and not record.closed and not module.parameters and all(child in inside for child in module.children)
        if not opened and not looped:
            leaf = self.plain(use, argument, box, title)
            if record.carries and self.loops:
                self.loops[-1].loops.append(Loop(leaf, leaf, ", ".join(record.carries)))
            return leaf
        graph = inside[0] if len(inside) == 1 and isinstance(inside[0], GModule) else None
        place = self.box_of(use, graph or module, box, around, name)
        if looped:
            place.over = str(self.model.types.resolve(use.fresh["T"]))
            kind = "" if place.title == record.name else f"{record.name} "
            place.note = f"{kind}over {place.over}" + (", backwards" if getattr(module.args, "reverse", False) else "")
            self.loops.append(place)
        if opened:
            walk = Inside(self, use, place, around)
            found: Ends = record.inside(walk, module, argument)
            if isinstance(found, Leaf) and found in walk.made:
                found.shape = self.shape(use.y)
        else:
            found = self.plain(use, argument, place, record.name)
            place.loops.append(Loop(found, found, ", ".join(record.carries)))
        if looped:
            self.loops.pop()
        return found

    def plain(self, use: Use, argument: Ends, box: Box, title: str) -> Leaf:
        """A leaf for a module."""
        module = use.module
        assert module is not None
        look = module.record.__class__.__module__.rpartition(".")[2]
        leaf = Leaf(_cut(title), f"nn.{module.record.name}", self.facts(use.origin, module), shape=self.shape(use.y), look=look)
        self.parameters[leaf] = module.all_parameters()
        box.add(leaf)
        return self.read(argument, leaf)

    def shape(self, cell: Cell) -> str:
        """A type in few characters: equal parts of a table are counted."""
        types = self.model.types
        items = types.find(cell).items
        if items is None:
            return _cut(types.show(cell))
        shown = [self.shape(item) for item in items]
        parts = [f"{len(same)} × {text}" if len(same) > 1 else text for text, same in ((t, list(g)) for t, g in groupby(shown))]
        return _cut("{" + ", ".join(parts) + "}")

    # -- items -------------------------------------------------------------------------------------------------------

    def leaf(self, node: Node, title: str, kind: str, shape: str, look: str, box: Box) -> Leaf:
        leaf = Leaf(_cut(title), kind, self.facts(node.origin, node.module), shape=shape, look=look)
        box.add(leaf)
        return leaf

    def read(self, ends: Ends, leaf: Leaf) -> Leaf:
        """The leaf reads what these make."""
        self.edges += [Edge(source, leaf) for source in flatten(ends)]
        for value in carried(ends):
            value.readers.append(leaf)
        return leaf

    def box_of(self, use: Use, module: Module, box: Box, around: tuple[Key, ...], name: str) -> Box:
        """A box for what is inside a use, which is a ``module``: titled by its variable, else by the function that closed the graph (if
        that is not drawn around it), else by its kind."""
        assert use.module is not None
        kind, maker = use.module.record.name, None
        if isinstance(module, GModule):
            makers = [f for f in module.origin.frames if f.kind == "call"][:1]
            maker = next((f.name for f in makers if _key(f) not in around), None)
        title = name or use.module.name or (module.name if maker is None else None) or maker
        inner = Box(_cut(title or kind), f"nn.{kind}", self.facts(use.origin, use.module), note=kind if title and title != kind else "")
        box.add(inner)
        return inner

    def facts(self, origin: Origin, module: Module | None) -> Facts:
        own = () if module is None else tuple((p.name, p.shape) for p in module.all_parameters())
        calls = tuple(describe(f) for f in origin.frames[:6])
        if module is None:
            return Facts(origin.span, calls)
        return Facts(origin.span, calls, module.record.signature, module.record.doc, own)

    def mark_tied(self) -> None:
        """A letter for every group of leaves that share parameters."""
        users: dict[int, list[Item]] = {}
        for item, parameters in self.parameters.items():
            for parameter in parameters:
                users.setdefault(id(parameter), []).append(item)
        number = 0
        for items in users.values():
            marked = [i for i in items if isinstance(i, Leaf)]
            if len(marked) < 2:
                continue
            known = next((i.tied for i in marked if i.tied), "")
            if not known:
                known, number = _letters(number), number + 1
            for leaf in marked:
                leaf.tied = leaf.tied or known


def _hand(inputs: Sequence[Node], argument: Ends) -> dict[Node, Ends]:
    """Who makes the value of each input of a nested graph."""
    if len(inputs) == 1:
        return {inputs[0]: argument}
    if isinstance(argument, tuple) and len(argument) == len(inputs):
        return dict(zip(inputs, argument, strict=True))
    return dict.fromkeys(inputs, argument)


# -- calls -----------------------------------------------------------------------------------------------------------


def _path(origin: Origin) -> list[Frame]:
    return list(reversed(origin.frames))


def _key(frame: Frame) -> Key:
    return (frame.kind, frame.serial, frame.span.start, frame.span.source.path, frame.binding)


def _shared(paths: Sequence[list[Frame]]) -> list[Frame]:
    """What all paths begin with."""
    if not paths:
        return []
    first, keys = paths[0], [[_key(f) for f in path] for path in paths]
    length = 0
    while length < len(first) and all(len(k) > length and k[length] == keys[0][length] for k in keys):
        length += 1
    return first[:length]


def _call_box(frames: Sequence[Frame], position: int) -> Box:
    frame = frames[position]
    title = f"{frame.binding[0]} = {frame.binding[1]}" if frame.binding else frame.name or frame.text
    calls = tuple(describe(f) for f in reversed(frames[: position + 1]))
    return Box(_cut(title), frame.kind, Facts(frame.span, calls, frame.text))


def _tidy(box: Box) -> None:
    """Remove boxes that say nothing: of a call that made a single leaf, and of a loop's turn that holds a single call."""
    for position, child in enumerate(box.children):
        if not isinstance(child, Box):
            continue
        _tidy(child)
        if child.kind not in ("call", "loop", "require") or len(child.children) != 1:
            continue
        (only,) = child.children
        if isinstance(only, Leaf):
            if child.kind == "call" and f"nn.{only.title}" == only.kind:
                only.title = child.title
        elif child.kind == "loop" and isinstance(only, Box):
            only.note = ", ".join(filter(None, [only.note, child.title]))
        else:
            continue
        only.parent, box.children[position] = box, only


def _count(box: Box, parameters: dict[Item, list[Parameter]]) -> dict[int, int]:
    found: dict[int, int] = {}
    for child in box.children:
        own = _count(child, parameters) if isinstance(child, Box) else {id(p): p.size for p in parameters.get(child, [])}
        child.count = sum(own.values())
        found |= own
    return found


# -- words -----------------------------------------------------------------------------------------------------------


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def _letters(number: int) -> str:
    """A, B ... Z, AA ..."""
    text = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        text = chr(65 + rest) + text
    return text

