"""Containers: modules made of modules that are added one by one."""

from __future__ import annotations

from graphspec.graph import Make, Module, Record, Sample, register
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import TORCH
from graphspec.shapes.cells import Cell
from graphspec.shapes.infer import Types


class Container(Record):
    """Base of modules that ``:add`` works on."""

    children = True


@register
class Sequential(Container):
    """Each child reads what the one before gives: ``nn.Sequential():add(a):add(b)``."""

    name = "Sequential"
    doc = "modules one after another"
    source = TORCH + "containers.md#sequential"
    samples = (
        Sample((), (2, 3), children=(Make("Linear", (3, 4)), Make("Tanh"), Make("Linear", (4, 2)))),
        Sample((), (2, 3)),
        Sample((), ((2, 3), (2, 1)), children=(Make("JoinTable", (2,)), Make("Square"))),
    )

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        if not m.children:
            s.same(x, y)
        for position, child in enumerate(m.children):
            last = position == len(m.children) - 1
            x = s.child(position, child, x, y if last else Cell()).y

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        for position in range(len(m.children)):
            x = b.child(position, x)
        return x
