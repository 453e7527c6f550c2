"""A picture as one page to explore: pan, zoom, search, and for each node the line of the spec that made it.

It asks for nothing from outside."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from graphspec.draw.metrics import shape_text
from graphspec.draw.scene import Item, Leaf, Scene
from graphspec.draw.svg import clean, text, to_svg

HEIGHT = 620
"""Of a picture in a notebook, pixels."""


def to_html(scene: Scene) -> str:
    """The page's text (the same scene gives the same text)."""
    folder = files("graphspec.draw")
    page, css, js = ((folder / name).read_text(encoding="utf-8") for name in ("page.html", "page.css", "page.js"))
    parts = {"title": text(scene.title), "css": css, "svg": to_svg(scene), "facts": _facts(scene), "js": js}
    found, rest = "", page
    while "{{" in rest:  # each place once, so that nothing that is put in is read as a place
        before, _, after = rest.partition("{{")
        name, _, rest = after.partition("}}")
        found += before + parts[name]
    return found + rest


def notebook_html(scene: Scene) -> str:
    """The page in a frame of its own, as notebooks show it."""
    page = to_html(scene).replace("&", "&amp;").replace('"', "&quot;")
    return f'<iframe srcdoc="{page}" sandbox="allow-scripts" style="width:100%;height:{HEIGHT}px;border:0"></iframe>'


def _facts(scene: Scene) -> str:
    """What the page knows of each item, as JSON that cannot close the element it stands in."""
    known = {str(item.number): _fact(item) for item in scene.root.walk()}
    return json.dumps(known, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c").replace("\u2028", "\\u2028")


def _fact(item: Item) -> dict[str, Any]:
    facts, span = item.facts, item.facts.span
    return {
        "title": clean(item.title),
        "kind": clean(item.kind),
        "shape": clean(item.shape) if isinstance(item, Leaf) else "",
        "tied": item.tied if isinstance(item, Leaf) else "",
        "count": item.count,
        "place": clean(f"{span.source.path}:{span.line}") if span else "",
        "text": clean(span.source.line(span.line).strip()) if span else "",
        "calls": [clean(call) for call in facts.calls],
        "doc": clean(facts.doc),
        "signature": clean(facts.signature),
        "parameters": [[clean(name), shape_text(shape)] for name, shape in facts.parameters[:12]],
    }
