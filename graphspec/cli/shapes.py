"""``graphspec compile --emit shapes``: the shape on every node, and what fixed each size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from graphspec.errors import Origin, one_line
from graphspec.graph import Node
from graphspec.program import Typed
from graphspec.shapes.infer import Use


def shape_report(model: Typed) -> list[dict[str, Any]]:
    """For each node: ``{node, module, shape, fixed_by: [{size, by, file, line, column}]}``; ``by`` is "itself", "assumed", or code."""
    return [
        {
            "node": name,
            "module": kind_of(node),
            "shape": model.types.show(use.y),
            "fixed_by": _reasons(model, node, use),
        }
        for name, node, use in _nodes(model, model.use, "")
    ]


def kind_of(node: Node) -> str:
    """``nn.Linear``, or ``piece 1 of 2``."""
    if node.piece:
        return f"piece {node.piece[0] + 1} of {node.piece[1]}"
    return f"nn.{node.module.record.name}" if node.module else ""


def _nodes(model: Typed, graph: Use, prefix: str) -> Iterator[tuple[str, Node, Use]]:
    """Nodes in order; those inside a gModule or a scan's cell as ``outer/inner``."""
    for number, (node, use) in enumerate((n, u) for n, u in graph.subs.items() if isinstance(n, Node)):
        name = prefix + (node.name or f"node {number + 1}")
        yield name, node, use
        yield from _nodes(model, use.subs.get("cell", use), f"{name}/")


def _reasons(model: Typed, node: Node, use: Use) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for leaf in model.types.leaves(use.y):
        sizes = [str(n) for n in model.types.dims(leaf) or ()]
        assumed = bool(model.types.find(leaf).note)
        for size, (origin, later) in zip(sizes, model.types.fixed_by(leaf), strict=True):
            reason = {"size": size, **_by(origin, node, assumed and not later)}
            if reason not in found:
                found.append(reason)
    return found


def _by(origin: Origin, node: Node, assumed: bool) -> dict[str, Any]:
    if assumed:
        return {"by": "assumed"}
    if origin.span is None or origin.span == node.origin.span:
        return {"by": "itself"}
    line, column = origin.span.source.position(origin.span.start)
    return {"by": one_line(origin.span.text, 48), "file": origin.span.source.path, "line": line, "column": column}


def shape_rows(report: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """The report as lines of a table."""
    rows: list[tuple[str, ...]] = [("node", "module", "shape", "fixed by")]
    for entry in report:
        grouped: dict[str, list[str]] = {}
        for reason in entry["fixed_by"]:
            place = f"{reason['by']} at line {reason['line']}" if "line" in reason else reason["by"]
            grouped.setdefault(place, []).append(reason["size"])
        said = [place if len(grouped) == 1 else f"{', '.join(dict.fromkeys(sizes))}: {place}" for place, sizes in grouped.items()]
        rows.append((entry["node"], entry["module"], one_line(entry["shape"], 40), "; ".join(said)))
    return rows
