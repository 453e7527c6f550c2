"""A picture as one page to explore: pan, zoom, search, and for each node the line of the spec that made it.

It asks for nothing from outside."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from graphspec.draw.gather import make_scene
from graphspec.draw.metrics import shape_text
from graphspec.draw.scene import Item, Leaf, Scene
from graphspec.draw.svg import clean, text, to_svg
from graphspec.errors import SpecError, fail
from graphspec.program import Typed
from graphspec.tensorfile import write_bytes

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


def picture(model: Typed, path: str, entry: str | None, html: bool) -> str:
    """The text of a picture of the model that a spec gives: a page, or SVG."""
    scene = make_scene(model, title_of(path, entry))
    return to_html(scene) if html else to_svg(scene)


def notebook_html(model: Typed, path: str, entry: str | None) -> str:
    """The page in a frame of its own, as notebooks show it; the reason where there can be none."""
    try:
        page = picture(model, path, entry, html=True)
    except SpecError as failure:
        return f"<pre>{text(str(failure))}</pre>"
    page = page.replace("&", "&amp;").replace('"', "&quot;")
    return f'<iframe srcdoc="{page}" sandbox="allow-scripts" style="width:100%;height:{HEIGHT}px;border:0"></iframe>'


def title_of(path: str, entry: str | None) -> str:
    """The spec's file name and the entry."""
    return f"{Path(path).name}: {entry}" if entry else Path(path).name


def is_page(path: str | Path) -> bool:
    """Whether a file of this name is a page, and not an SVG; E0837 for the ending of what is neither."""
    ending = Path(path).suffix.lower()
    if ending in (".png", ".pdf", ".jpg", ".jpeg", ".gif", ".eps"):
        raise fail("E0837", f"{path}: a graph is drawn as .svg, or as a page, .html", helps=["browsers show both, and print them as PDF"])
    return ending in (".html", ".htm")


def write(made: str, path: str | Path) -> None:
    """A picture to a file, whole or not at all; folders are made where there are none.  E0805 when it cannot be written."""
    write_bytes(Path(path), made.encode())


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
