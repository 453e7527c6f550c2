"""``nngraph`` and ``graph``: what spec code calls beside ``nn.gModule``.  https://github.com/torch/nngraph

Drawing is a command (``graphspec draw``), so the functions that show a graph on a screen, or write it to a file, only leave a line in
the log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphspec.build.bindings import NodeHost, located, nodes_of
from graphspec.build.namespace import Namespace
from graphspec.build.stdlib import library
from graphspec.build.values import Host, LuaTable, Value, truth
from graphspec.graph import Node, connect, new_module

if TYPE_CHECKING:
    from graphspec.build.interpreter import Interpreter


def _nest(lua: Interpreter, args: list[Value]) -> list[Value]:
    """``nngraph.nest{a, {b, c}}``: one node whose value is that nested table; a node is itself."""
    given = nodes_of(lua, args[0] if args else None, "nngraph.nest")

    def nested(value: Any) -> Node:
        if isinstance(value, Node):
            return value
        lua.budget.node(lua.origin())
        return connect(new_module("Identity", [], lua.origin()), [nested(v) for v in value], located(lua))

    return [NodeHost(nested(given))]


def _annotate_nodes(lua: Interpreter, args: list[Value]) -> list[Value]:
    """Torch names nodes after local variables here; in a spec they are named as soon as they are assigned."""
    return []


def _set_debug(lua: Interpreter, args: list[Value]) -> list[Value]:
    lua.debug = not args or truth(args[0])
    return []


def _picture(name: str) -> Any:
    def call(lua: Interpreter, args: list[Value]) -> list[Value]:
        title = args[1] if len(args) > 1 and isinstance(args[1], str) else "the graph"
        lua.log.append(f"{name}: {title} is drawn by `graphspec draw`")
        return []

    return call


def _todot(lua: Interpreter, args: list[Value]) -> list[Value]:
    return ["", *_picture("todot")(lua, args)]


class NNGraph(Host):
    """``nngraph``: its own functions, and ``nn``'s."""

    title = "nngraph"

    def __init__(self, nn: Namespace) -> None:
        self.nn = nn
        self.table = library(NNGRAPH, "nngraph.")
        self.table.set("simple_print", library({"todot": _todot, "dot": _picture("simple_print.dot")}, "nngraph.simple_print."))

    def index(self, lua: Interpreter, key: Value) -> Value:
        found = self.table.get(key)
        return self.nn.index(lua, key) if found is None else found

    def set_index(self, lua: Interpreter, key: Value, value: Value) -> None:
        self.table.set(key, value)


NNGRAPH: dict[str, Any] = {
    "nest": _nest,
    "annotateNodes": _annotate_nodes,
    "setDebug": _set_debug,
    "display": _picture("nngraph.display"),
    "dot": _picture("nngraph.dot"),
}


def graph_table() -> LuaTable:
    """The global ``graph``."""
    return library({"dot": _picture("graph.dot"), "graphvizFile": _picture("graph.graphvizFile"), "todot": _todot}, "graph.")
