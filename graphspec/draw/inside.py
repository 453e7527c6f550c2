"""The inside of a module that is made of others, as its record tells it: branches, one after another, over and over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Union

from graphspec.draw.scene import Box, Edge, Facts, Key, Leaf, Loop
from graphspec.shapes.cells import Cell
from graphspec.shapes.infer import Types, Use

if TYPE_CHECKING:
    from graphspec.draw.gather import Gather


@dataclass(eq=False)
class Carried:
    """The value that the previous step left, such as a recurrent state: the arrow of a loop leads to whatever reads it."""

    text: str
    start: Ends
    """What makes it to begin with."""
    readers: list[Leaf] = field(default_factory=list)


Ends = Union[Leaf, Carried, tuple["Ends", ...]]
"""The leaf that makes a value, or a table of them."""


def flatten(ends: Ends) -> list[Leaf]:
    """The leaves of a table of makers."""
    if isinstance(ends, tuple):
        return [leaf for item in ends for leaf in flatten(item)]
    return flatten(ends.start) if isinstance(ends, Carried) else [ends]


def carried(ends: Ends) -> list[Carried]:
    """The values in a table that the previous step left."""
    if isinstance(ends, tuple):
        return [found for item in ends for found in carried(item)]
    return [ends] if isinstance(ends, Carried) else []


class Inside:
    """A record's way through the modules inside (:class:`graphspec.graph.Walk`), drawn into a box."""

    def __init__(self, gather: Gather, use: Use, box: Box, around: tuple[Key, ...]) -> None:
        self.gather, self.use, self.box, self.around = gather, use, box, around
        self.made: list[Leaf] = []
        """What the module makes itself."""

    @property
    def types(self) -> Types:
        return self.gather.model.types

    def child(self, key: Any, x: Ends) -> Ends:
        sub = self.use.subs[key]
        role = key if isinstance(key, str) and len(self.use.subs) > 1 else ""
        return self.gather.inner(sub, x, self.box, self.around, role, alone=len(self.use.subs) == 1)

    def items(self, x: Ends, count: int) -> Sequence[Ends]:
        return x if isinstance(x, tuple) and len(x) == count else [x] * count

    def own(self, what: str, *xs: Ends, gain: float = 0) -> Ends:
        assert self.use.module is not None
        leaf = Leaf(what, f"nn.{self.use.module.record.name}", Facts(self.use.origin.span), look="own")
        self.box.add(leaf)
        self.made.append(leaf)
        return self.gather.read(xs, leaf)

    def carried(self, text: str, cell: Cell, start: Ends | None = None) -> Carried:
        return Carried(text, () if start is None else start)

    def carry(self, before: Carried, new: Ends) -> None:
        """Draw the arrow from a step's new state to its readers, in the box of the loop around; outside of loops there is one step, whose
        state is zeros."""
        if not before.readers:
            return
        (target, *more), loops = before.readers, self.gather.loops
        if more or not loops:  # one loop, to a place that all read
            title = f"{before.text} before" if loops else "zeros"
            target = Leaf(title, title, Facts(self.use.origin.span), look="piece")
            self.box.add(target)
            self.gather.edges += [Edge(target, reader) for reader in before.readers]
        if loops:
            loops[-1].loops += [Loop(source, target, before.text) for source in flatten(new)[:1]]

    def ports(self, ins: Mapping[str, Ends], outs: Mapping[str, Ends]) -> None:
        inside = set(self.box.leaves())
        for name, ends in ins.items():
            for leaf in flatten(ends):
                self.box.inlets[leaf] = ", ".join(filter(None, [self.box.inlets.get(leaf), name]))
                if not any(edge.source is leaf and edge.target in inside for edge in self.gather.edges):
                    self.gather.edges.append(Edge(leaf, self.box))  # the module itself reads it
        for name, ends in outs.items():
            for leaf in flatten(ends):
                self.box.outlets.setdefault(leaf, name)
