"""A record's sample as something that can be run: a graph around the module, typed, with inputs drawn from its domain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import graphspec.nn  # noqa: F401  (fills the table of records)
from graphspec.check import Array, Probe, Run
from graphspec.errors import NOWHERE
from graphspec.graph import GModule, Leaf, Make, Module, Node, Record, Sample, Table, connect, gmodule, new_module
from graphspec.program import Typed, infer
from graphspec.reference import interpret

LETTERS = "ABCDEFGHJKLMN"


def is_leaf(inputs: Any) -> bool:
    """Whether a sample's inputs are one tensor: a Leaf, or a shape."""
    return isinstance(inputs, Leaf) or (isinstance(inputs, tuple) and all(isinstance(n, int) for n in inputs))


def leaves_of(inputs: Any) -> list[Leaf]:
    """The tensors of a sample's inputs, in order."""
    if isinstance(inputs, Leaf):
        return [inputs]
    return [Leaf(inputs)] if is_leaf(inputs) else [leaf for item in inputs for leaf in leaves_of(item)]


def ranks_of(inputs: Any, uses: int = 1) -> Any:
    """The ranks of a sample's tensors, as the signature of the graph that :func:`graph_of` makes of it."""
    ranks = tuple(len(leaf.shape) for _ in range(uses) for leaf in leaves_of(inputs))
    return ranks if len(ranks) > 1 else ranks[0]


def written(inputs: Any) -> str:
    """The types of a sample's inputs, braces around tables: ``{[2, 3], int32[2]}``."""
    return show_table(nested(inputs, [("int32" if leaf.index else "") + str(list(leaf.shape)) for leaf in leaves_of(inputs)]))


def show_table(tree: Any) -> str:
    """A nested table in braces."""
    return "{" + ", ".join(map(show_table, tree)) + "}" if isinstance(tree, (tuple, list)) else str(tree)


def nested(inputs: Any, supply: Sequence[Any]) -> Any:
    """``supply`` in the nesting of a sample's inputs (lists for tables)."""
    given = iter(supply)

    def build(part: Any) -> Any:
        return next(given) if is_leaf(part) else [build(item) for item in part]

    return build(inputs)


def draw(leaf: Leaf, rng: np.random.Generator) -> Array:
    """An array from the leaf's domain."""
    if leaf.values is not None:
        array = np.array(leaf.values, np.float64).reshape(leaf.shape)
        return array.astype(np.int32) if leaf.index else array
    if leaf.index:
        return rng.integers(1, int(leaf.high) + 1, leaf.shape).astype(np.int32)
    array = np.asarray(rng.uniform(leaf.low, leaf.high, leaf.shape))
    return np.asarray(np.where(np.abs(array) < leaf.gap, np.copysign(leaf.gap + 0.1, array), array))


def module_of(record: Record, sample: Sample) -> Module:
    """The sample's module, children added and methods called."""
    args = [made(arg) if isinstance(arg, Make) else arg for arg in sample.args]
    module = new_module(record.name, args, NOWHERE) if record.name else record.construct(args, NOWHERE)
    return filled(module, sample)


def made(what: Make) -> Module:
    args = [made(arg) if isinstance(arg, Make) else arg for arg in what.args]
    return filled(new_module(what.name, args, NOWHERE), what)


def filled(module: Module, what: Sample | Make) -> Module:
    """The module with its children added and its methods called."""
    for child in what.children:
        module.add(made(child), NOWHERE)
    for name, args in what.methods:
        module.record.call(module, name, [made(arg) if isinstance(arg, Make) else arg for arg in args], NOWHERE)
    return module


def declare(leaf: Leaf, dims: Sequence[Any]) -> Node:
    """A source of that type."""
    fields = {"dtype": "int32"} if leaf.index else {}
    return connect(new_module("Identity", [Table(tuple(dims), fields)], NOWHERE), None, NOWHERE)


def graph_of(module: Module, inputs: Any, letters: bool = False, uses: int = 1) -> GModule:
    """A gModule that feeds the module from declared sources; with ``letters`` the sizes are letters, one for each axis of each input.

    ``uses``: how often the same module object is used, each time on sources of its own.
    """
    sources: list[Node] = []
    outputs: list[Node] = []
    names = iter(f"{LETTERS[i % 13]}{i}" for i in range(1000))
    for _ in range(uses):
        own = [declare(leaf, [next(names) for _ in leaf.shape] if letters else leaf.shape) for leaf in leaves_of(inputs)]
        sources += own
        outputs.append(connect(module, nested(inputs, own), NOWHERE))
    return gmodule(sources, outputs, NOWHERE)


class Case:
    """A sample made runnable."""

    def __init__(self, record: Record, sample: Sample, run: Run = interpret, letters: bool = False, uses: int = 1, seed: int = 3) -> None:
        self.record = record
        self.sample = sample
        self.module = module_of(record, sample)
        self.rng = np.random.default_rng(seed)
        self.inputs = [draw(leaf, self.rng) for _ in range(uses) for leaf in leaves_of(sample.inputs)]
        graph = graph_of(self.module, sample.inputs, letters, uses)
        self.typed: Typed = infer(graph, "float64", ranks_of(sample.inputs, uses))
        self.probe = Probe(self.typed, self.inputs, run, training=not sample.evaluate)
        self.parameters = self.probe.draw_parameters(self.rng, 0.5)
        self.point = self.probe.point(self.parameters)

    @property
    def parameter_names(self) -> list[str]:
        return [p.name for p in self.probe.parameters]
