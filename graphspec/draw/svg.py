"""A placed scene as one SVG file: no reference to anything outside, light and dark by ``prefers-color-scheme``."""

from __future__ import annotations

from itertools import pairwise, takewhile
from xml.sax.saxutils import escape, quoteattr

from graphspec.draw.layout import Drawing, draw
from graphspec.draw.metrics import GAP, HEADING, ONE_ROW, header, second_line, summary, tag_width, width
from graphspec.draw.scene import Box, Item, Leaf, Scene
from graphspec.draw.theme import style
from graphspec.draw.wires import Points

LOOKS = {"transfer": "act", "own": "piece", "input": "io", "output": "io", "piece": "piece", "folded": "folded", "wrong": "wrong"}


def to_svg(scene: Scene) -> str:
    """The scene as the text of an SVG file (the same scene gives the same text)."""
    return render(draw(scene))


def render(drawing: Drawing) -> str:
    scene = drawing.scene
    w, h = f"{drawing.w:g}", f"{drawing.h:g}"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="gs" width="{w}" height="{h}" viewBox="0 0 {w} {h}" role="img"'
        f" aria-label={quoteattr(clean(scene.title))}>",
        f"<style>{style()}</style>",
        f'<rect width="{w}" height="{h}" class="bg"/>',
        f'<text x="12" y="25"><tspan class="h">{text(scene.title)}</tspan><tspan class="n" dx="14">{text(summary(scene))}</tspan></text>',
    ]
    boxes = [item for item in scene.root.walk() if isinstance(item, Box)]
    lines += [_box(box) for box in boxes]
    drawn: dict[Leaf, list[Points]] = {}
    for edge, points in drawing.lines:
        others = drawn.setdefault(edge.source, [])
        fresh = points[max((_shared(points, other) for other in others), default=1) - 1 :]
        others.append(points)
        lines.append(f'<g class="e" data-e="{edge.source.number} {edge.target.number}">{_line(fresh)}</g>')
    lines += [f'<g class="l" data-e="{loop.source.number} {loop.target.number}">{_line(points)}</g>' for loop, points in drawing.loops]
    for box in boxes:
        lines.append(f'<g class="b">{_heading(box, drawing.headings[box])}</g>')
    for label in drawing.labels:
        turn = "" if label.upright else f' transform="rotate(-90 {label.x:g} {label.y:g})" text-anchor="middle"'
        lines.append(f'<text class="{"n" if label.upright else "loop"}" x="{label.x:g}" y="{label.y:g}"{turn}>{text(label.text)}</text>')
    lines += [_leaf(leaf) for leaf in scene.root.leaves()]
    return "\n".join([*lines, "</svg>"]) + "\n"


def clean(value: str) -> str:
    """Without characters that XML does not allow."""
    return "".join(ch if ch >= " " and ch not in "\x7f\ufffe\uffff" and not "\ud800" <= ch <= "\udfff" else "�" for ch in value)


def text(value: str) -> str:
    return escape(clean(value))


def _box(box: Box) -> str:
    classes = ["b", "d" if len(box.walls) % 2 == 0 else "", "scan" if box.over else ""]
    rect = f'<rect x="{box.x:g}" y="{box.y:g}" width="{box.w:g}" height="{box.h:g}" rx="8"/>'
    return f'<g class="{" ".join(filter(None, classes))}" data-i="{box.number}">{rect}</g>'


def _leaf(leaf: Leaf) -> str:
    look = LOOKS.get(leaf.look) or ("learn" if leaf.count else "")
    radius = 6 if leaf.look not in ("input", "output", "piece") else leaf.h / 2
    parts = [f'<rect x="{leaf.x:g}" y="{leaf.y:g}" width="{leaf.w:g}" height="{leaf.h:g}" rx="{radius:g}"/>']
    title, second = [("t", leaf.title)], second_line(leaf)
    middle = leaf.x + (leaf.w - tag_width(leaf)) / 2
    if leaf.h == ONE_ROW:
        parts.append(_centred([*title, *second], middle, leaf.y + 15))
    else:
        parts += [_centred(title, middle, leaf.y + 14.5), _centred(second, leaf.x + leaf.w / 2, leaf.y + 27)]
    if leaf.tied:
        wide = tag_width(leaf) - 4
        right = leaf.x + leaf.w - 4
        parts.append(
            f'<g class="tie"><rect x="{right - wide:g}" y="{leaf.y + 4:g}" width="{wide:g}" height="13" rx="6.5"/>'
            f'<text x="{right - wide / 2:g}" y="{leaf.y + 14:g}" text-anchor="middle">{leaf.tied}</text></g>'
        )
    return f'<g class="{" ".join(filter(None, ["i", look]))}" data-i="{leaf.number}"><title>{_hint(leaf)}</title>{"".join(parts)}</g>'


def _centred(pieces: list[tuple[str, str]], x: float, y: float) -> str:
    dx = f' dx="{GAP:g}"'
    spans = [f'<tspan class="{kind}"{dx if i else ""}>{text(value)}</tspan>' for i, (kind, value) in enumerate(pieces)]
    return f'<text x="{x:g}" y="{y:g}" text-anchor="middle">{"".join(spans)}</text>'


def _hint(item: Item) -> str:
    """What a browser shows for an SVG by itself."""
    span = item.facts.span
    place = f"{span.source.path}:{span.line}: {span.source.line(span.line).strip()}" if span else ""
    parts = [f"{item.title}: {item.kind}", item.facts.doc, place]
    return text(" — ".join(filter(None, parts)))


def _heading(box: Box, places: list[float]) -> str:
    """The pieces of a heading, in one text where no line runs between them."""
    found: list[str] = []
    end: float | None = None
    for x, (kind, value) in zip(places, header(box), strict=True):
        if end is None or x > end + 0.1:
            found += ["</text>"] if found else []
            found.append(f'<text x="{box.x + x:g}" y="{box.y + 15:g}"><tspan class="{kind}">{text(value)}</tspan>')
        else:
            found.append(f'<tspan class="{kind}" dx="{GAP:g}">{text(value)}</tspan>')
        end = x + width(value, HEADING, kind == "t") + GAP
    return "".join(found) + "</text>"


def _line(points: Points) -> str:
    """Straight along an axis, an S between layers, round corners; an arrow at the end."""
    points = [p for i, p in enumerate(points) if not 0 < i < len(points) - 1 or not points[i - 1][0] == p[0] == points[i + 1][0]]
    path = [f"M{points[0][0]:g} {points[0][1]:g}"]
    for i, ((x0, y0), (x1, y1)) in enumerate(pairwise(points), 1):
        after = points[i + 1] if i + 1 < len(points) else None
        if x0 != x1 and y0 != y1:
            middle = (y0 + y1) / 2
            path.append(f"C{x0:g} {middle:g} {x1:g} {middle:g} {x1:g} {y1:g}")
        elif after and ((y0 == y1 and after[0] == x1) or (x0 == x1 and after[1] == y1)) and (x0 == x1) != (after[0] == x1):
            r = min(7.0, (abs(x1 - x0) + abs(y1 - y0)) / 2, (abs(after[0] - x1) + abs(after[1] - y1)) / 2)
            path.append(f"L{x1 - r * _sign(x1 - x0):g} {y1 - r * _sign(y1 - y0):g}")
            path.append(f"Q{x1:g} {y1:g} {x1 + r * _sign(after[0] - x1):g} {y1 + r * _sign(after[1] - y1):g}")
        else:
            path.append(f"L{x1:g} {y1:g}")
    x, y = points[-1]
    return f'<path d="{"".join(path)}"/><polygon points="{x:g},{y:g} {x - 3:g},{y - 6:g} {x + 3:g},{y - 6:g}"/>'


def _shared(points: Points, others: Points) -> int:
    """How many points two lines of one value have in common before they part."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(points, others, strict=False)))


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
