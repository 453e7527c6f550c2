"""The graph as Graphviz text: nodes by function call, with names, modules and shapes."""

from __future__ import annotations

from graphspec.cli.shapes import kind_of
from graphspec.errors import one_line
from graphspec.graph import Node, leaves
from graphspec.program import Typed
from graphspec.shapes.infer import Use


def to_dot(model: Typed) -> str:
    """A digraph; nested gModules and the cells of scans are clusters, and so are the functions that made nodes."""
    lines = [
        "digraph spec {",
        "  rankdir=BT;",
        '  node [shape=box, style="rounded,filled", fillcolor=white, fontname="Helvetica", fontsize=10];',
    ]
    _graph(model, model.use, "n", lines, "  ")
    return "\n".join([*lines, "}"]) + "\n"


def _graph(model: Typed, use: Use, prefix: str, lines: list[str], pad: str) -> None:
    groups: dict[str, list[tuple[Node, Use]]] = {}
    names: dict[Node, str] = {}
    for number, (node, sub) in enumerate((n, u) for n, u in use.subs.items() if isinstance(n, Node)):
        names[node] = f"{prefix}_{number}"
        calls = [f for f in node.origin.frames if f.kind == "call"]
        groups.setdefault(f"{calls[0].name} {calls[0].serial}" if calls else "", []).append((node, sub))
    for position, (call, members) in enumerate(groups.items()):
        inner = pad
        if call:
            lines.append(f"{pad}subgraph cluster_{prefix}_{position} {{")
            inner = pad + "  "
            lines.append(f'{inner}label="{call.rsplit(" ", 1)[0]}"; color=gray70; fontname="Helvetica"; fontsize=10;')
        for node, sub in members:
            lines.append(f'{inner}{names[node]} [label="{_label(model, node, sub)}"{_look(node)}];')
            cell = sub.subs.get("cell")
            nested = cell if cell is not None else sub if sub.nodes else None
            if nested is not None and nested.nodes:
                lines.append(f"{inner}subgraph cluster_{names[node]}_in {{")
                lines.append(f'{inner}  label="{"each step of the Scan" if cell is not None else "gModule"}"; style=dashed; color=gray50;')
                _graph(model, nested, names[node], lines, inner + "  ")
                lines.append(f"{inner}}}")
        if call:
            lines.append(f"{pad}}}")
    for node in names:
        for source in leaves(node.inputs):
            if source in names:
                lines.append(f"{pad}{names[source]} -> {names[node]};")


def _label(model: Typed, node: Node, use: Use) -> str:
    parts = [*([node.name] if node.name else []), kind_of(node), one_line(model.types.show(use.y), 60)]
    return "\\n".join(part.replace('"', "'") for part in parts)


def _look(node: Node) -> str:
    return ', fillcolor="#e8f0fe"' if node.is_source else ', fillcolor="#f5f5f5", shape=ellipse' if node.piece else ""
