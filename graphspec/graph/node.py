"""Nodes and gModules: nngraph's construction rules.

The rules have numbers (N1 ...); each stands in docs/language.md and has a test named after it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Union

from graphspec.errors import Diagnostic, Origin, SpecError, error, fail
from graphspec.graph.module import Module
from graphspec.graph.record import REGISTRY, Record, register
from graphspec.suggest import did_you_mean

_serial = itertools.count()

Inputs = Union["Node", tuple["Inputs", ...]]
"""A node, or a (nested) tuple of nodes: the value on an edge."""

Warn = Callable[[Diagnostic], None]


class Node:
    """One use of a module in a graph, or one piece of another node's table (``split``)."""

    def __init__(self, module: Module | None, inputs: Inputs | None, origin: Origin, piece: tuple[int, int] | None = None) -> None:
        self.module = module
        self.inputs = inputs
        self.origin = origin
        self.piece = piece
        """(index from 0, number of pieces) when this node is a piece of ``inputs``."""
        self.name: str | None = None
        self.labels: tuple[str, ...] | None = None
        """Names of the inputs, when they were given by name (``nn.Scan(cell){xs = ..., s0 = ...}``)."""
        self.annotations: dict[str, Any] = {}
        self.discarded = False
        self.serial = next(_serial)
        self.readers: list[Node] = []
        for parent in leaves(inputs):
            parent.readers.append(self)

    @property
    def is_source(self) -> bool:
        return self.inputs is None

    @property
    def title(self) -> str:
        """How to name it to a person."""
        if self.name:
            return f"'{self.name}'"
        if self.piece:
            return f"piece {self.piece[0] + 1} of a split"
        return f"a nn.{self.module.record.name}" if self.module else "a node"

    def __repr__(self) -> str:
        return f"<node {self.title}>"


def leaves(inputs: Inputs | None) -> Iterator[Node]:
    """The nodes of a nested value, in order."""
    if isinstance(inputs, Node):
        yield inputs
    elif inputs is not None:
        for item in inputs:
            yield from leaves(item)


def gathered(inputs: Inputs | None, values: Mapping[Node, Any]) -> Any:
    """A nested value with what ``values`` has for each node in its place; an empty tuple where there are no inputs."""
    if inputs is None:
        return ()
    return values[inputs] if isinstance(inputs, Node) else tuple(gathered(item, values) for item in inputs)


def freeze(value: Any, origin: Origin, what: str, unwrap: bool = True) -> Inputs:
    """A nested list of nodes as nested tuples; a one-element table is unwrapped (N3); E0402 for anything else."""
    if isinstance(value, Node):
        return value
    if isinstance(value, (list, tuple)):
        if not value:
            raise fail("E0402", f"{what}: an empty table is not an input", origin)
        items = tuple(freeze(item, origin, what, unwrap=False) for item in value)
        return items[0] if unwrap and len(items) == 1 else items
    if isinstance(value, Module):
        raise fail(
            "E0403",
            f"{what}: input is a module, not a node",
            origin,
            others=[(value.origin, f"this makes the module nn.{value.record.name}")],
            helps=["a second pair of parentheses makes a node: `nn.Module(...)(input)`"],
        )
    kind = "nil" if value is None else type(value).__name__
    raise fail("E0402", f"{what}: input is {kind}, not a node", origin)


def connect(module: Module, argument: Any, origin: Origin) -> Node:
    """``module(argument)``: N1 no argument makes a source; N2 a node or a table of nodes is connected; N7 no node twice.

    A dict connects by input name, for records that have ``input_names``.
    """
    if argument is None:
        return Node(module, None, origin)
    labels = None
    if isinstance(argument, dict):
        labels = _check_labels(module, argument, origin)
        inputs: Inputs = tuple(freeze(argument[name], origin, f"nn.{module.record.name}, {name}") for name in labels)
    else:
        inputs = freeze(argument, origin, f"nn.{module.record.name}")
    seen: dict[int, int] = {}
    for position, node in enumerate(leaves(inputs), 1):
        if id(node) in seen:
            given = zip(labels or (), inputs if isinstance(inputs, tuple) else (), strict=False)
            names = [name for label, value in given for name in _leaf_names(label, value)]
            raise duplicate(module, node, (seen[id(node)], position), origin, names)
        seen[id(node)] = position
    node = Node(module, inputs, origin)
    node.labels = labels
    return node


def _leaf_names(label: str, value: Inputs) -> list[str]:
    """What the nodes of an input are called that was given by name: ``context``, or ``s0[1]``, ``s0[2]`` ..."""
    if isinstance(value, Node):
        return [label]
    return [name for i, item in enumerate(value, 1) for name in _leaf_names(f"{label}[{i}]", item)]


def _check_labels(module: Module, argument: dict[str, Any], origin: Origin) -> tuple[str, ...]:
    """Named inputs in the record's order; E0411 for a module without them, or a name it does not have."""
    known = module.record.input_names
    for name in argument:
        if name not in known:
            helps = did_you_mean(name, known) if known else ["write the inputs as a list: `{a, b}`"]
            what = f"no input named {name}" if known else "no named inputs"
            raise fail("E0411", f"nn.{module.record.name} has {what}", origin, helps=helps)
    return tuple(name for name in known if name in argument)


def duplicate(module: Module, node: Node, positions: tuple[int, int], origin: Origin, names: Sequence[str] = ()) -> SpecError:
    """E0404: the same node twice in one table; ``names`` of inputs that were given by name."""
    helps = [f"a second node of the same value is `nn.Identity()({node.name or 'node'})`"]
    if module.record.name == "CMulTable":
        helps = ["for x*x write `nn.Square()(x)`"]
    elif module.record.name == "CAddTable":
        helps = ["for x+x write `nn.MulConstant(2)(x)`"]
    what = " and ".join(names[p - 1] for p in positions) if names else f"inputs {positions[0]} and {positions[1]}"
    return fail(
        "E0404",
        f"nn.{module.record.name}: {what} are the same node",
        origin,
        others=[(node.origin, f"{node.title} is made here")],
        helps=helps,
    )


def split(node: Node, n: int, origin: Origin) -> list[Node]:
    """``node:split(n)``: n nodes, one for each element of the table on ``node`` (N4)."""
    if n < 1:
        raise fail("E0405", f"split({n}): a table has at least one piece", origin)
    return [Node(None, node, origin, (i, n)) for i in range(n)]


@register
class GModuleRecord(Record):
    """The record behind ``nn.gModule``; made by :func:`gmodule` only."""

    name = "gModule"
    doc = "a graph of nodes as a module"
    source = "https://github.com/torch/nngraph"
    kind = "graph"

    def construct(self, args: Sequence[Any], origin: Origin) -> Module:
        lists = [list(a.items) if hasattr(a, "items") and not isinstance(a, dict) else a for a in args]
        if len(lists) != 2 or not all(isinstance(a, list) for a in lists):
            raise fail("E0406", "nn.gModule takes two tables: {inputs}, {outputs}", origin)
        return gmodule(lists[0], lists[1], origin)

    def shapes(self, s: Any, m: Module, x: Any, y: Any) -> None:
        assert isinstance(m, GModule)
        s.graph(m, x, y)

    def lower(self, b: Any, m: Module, x: Any) -> Any:
        assert isinstance(m, GModule)
        return b.graph(m, x)


class GModule(Module):
    """A graph of nodes: inputs, outputs, and every node between, in execution order."""

    def __init__(self, inputs: list[Node], outputs: list[Node], origin: Origin) -> None:
        super().__init__(GRAPH, SimpleNamespace(), origin)
        self.inputs = inputs
        self.outputs = outputs
        self.nodes = leading_to(outputs, inputs)
        self.children = list({id(n.module): n.module for n in self.nodes if n.module}.values())

    def put(self, old: Module, new: Module) -> None:
        super().put(old, new)
        for node in self.nodes:
            if node.module is old:
                node.module = new

    def copied_from(self, source: Module, modules: dict[int, Module]) -> None:
        assert isinstance(source, GModule)
        nodes: dict[Node, Node] = {}
        for node in source.nodes:
            module = modules[id(node.module)] if node.module else None
            twin = Node(module, node.inputs and gathered(node.inputs, nodes), node.origin, node.piece)
            twin.name, twin.labels, twin.annotations, twin.discarded = node.name, node.labels, dict(node.annotations), node.discarded
            nodes[node] = twin
        self.inputs, self.outputs, self.nodes = ([nodes[n] for n in part] for part in (source.inputs, source.outputs, source.nodes))


GRAPH = REGISTRY["gModule"]


def gmodule(
    inputs: Sequence[Any], outputs: Sequence[Any], origin: Origin, *, lenient: bool = False, warn: Warn | None = None, closed: bool = True
) -> GModule:
    """``nn.gModule({inputs}, {outputs})``.

    Checks the construction rules: inputs are sources (N8), listed once (N7); every source that is reached is listed (N9); nothing
    that this graph feeds is left dangling (N10), no piece of a split unused (N11; assign it to ``_`` to discard it).
    ``lenient`` turns N7, N10 and N11 into warnings; ``closed=False`` (an experiment's own graph) skips N10 and N11.
    """
    ins = _nodes(inputs, "input", origin)
    outs = _nodes(outputs, "output", origin)
    problems: list[Diagnostic] = []
    seen: set[int] = set()
    for position, node in enumerate(ins, 1):
        if id(node) in seen:
            problems.append(
                error(
                    "E0404", f"nn.gModule: input {position} is listed twice", origin, others=[(node.origin, f"{node.title} is made here")]
                )
            )
        seen.add(id(node))
        if not node.is_source:
            raise fail(
                "E0407",
                f"nn.gModule: input {position} ({node.title}) has inputs of its own",
                origin,
                others=[(node.origin, "this node is computed from others, so it cannot be an input")],
                helps=["list the source nodes, those made with empty parentheses: `nn.Identity()()`"],
            )
    graph = GModule(list(dict.fromkeys(ins)), outs, origin)
    listed = {id(n) for n in ins}
    for node in graph.nodes:
        if node.is_source and id(node) not in listed and not (node.module and node.module.record.sourceless):
            text, helps = f"nn.gModule: the source node {node.title} is used but not listed as an input", []
            if not closed:  # the user wrote no gModule
                text = f"experiment: the source node {node.title} is used, and nothing feeds it"
                helps = [f"add `[{node.name or 'node'}] = ...` to inputs, or to carry"]
            raise fail("E0408", text, origin, others=[(node.origin, "made here, with empty parentheses")], helps=helps)
    if closed:
        problems += _dangling(graph, origin)
    if problems and not lenient:
        raise SpecError(*problems[:20])
    for problem in problems:
        if warn:
            warn(replace(problem, code="W" + problem.code[1:], severity="warning"))
    return graph


def _nodes(values: Sequence[Any], what: str, origin: Origin) -> list[Node]:
    found = []
    if not values and what == "output":
        raise fail("E0406", "nn.gModule needs at least one output", origin)
    for position, value in enumerate(values, 1):
        if isinstance(value, (list, tuple)):
            raise fail(
                "E0402",
                f"nn.gModule: {what} {position} is a table, not a node",
                origin,
                helps=["to hand on several values as one, write `nn.Identity()({a, b})`"],
            )
        node = freeze(value, origin, f"nn.gModule {what} {position}")
        assert isinstance(node, Node)
        found.append(node)
    return found


def leading_to(outputs: Sequence[Node], inputs: Sequence[Node] = ()) -> list[Node]:
    """All nodes that reach an output (and the inputs), parents first, else in order of creation."""
    seen: dict[int, Node] = {id(n): n for n in inputs}
    stack = [*outputs]
    while stack:
        node = stack.pop()
        if id(node) not in seen:
            seen[id(node)] = node
            stack.extend(leaves(node.inputs))
    return sorted(seen.values(), key=lambda n: n.serial)


def _dangling(graph: GModule, origin: Origin) -> list[Diagnostic]:
    seen = {id(n) for n in graph.nodes}
    problems = []
    for node in graph.nodes:
        for reader in node.readers:
            if id(reader) in seen or reader.discarded:
                continue
            seen.add(id(reader))  # what reads two nodes of the graph is told once
            if reader.piece:
                index, count = reader.piece
                if reader.readers and not all(r.discarded for r in reader.readers):
                    problems.append(
                        error(
                            "E0409",
                            f"{reader.title} feeds nothing that reaches an output",
                            reader.origin,
                            "this piece leads nowhere",
                            others=[(origin, "the graph is closed here")],
                        )
                    )
                else:
                    problems.append(
                        error(
                            "E0410",
                            f"piece {index + 1} of split({count}) is never used",
                            reader.origin,
                            others=[(origin, "the graph is closed here")],
                            helps=["assign it to `_` to discard it"],
                        )
                    )
            else:
                problems.append(
                    error(
                        "E0409",
                        f"{reader.title} is fed by this graph but reaches no output",
                        reader.origin,
                        "computed for nothing",
                        others=[(origin, "the graph is closed here")],
                        helps=["add it to the outputs, or remove it"],
                    )
                )
    return problems
