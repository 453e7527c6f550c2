"""How much room a text takes, and how large leaves are: estimates that hold for the sans-serif fonts that browsers have, the widest of
which is DejaVu Sans."""

from __future__ import annotations

import math

from graphspec.draw.scene import Box, Leaf, Scene

TITLE, HEADING, SMALL = 12.0, 11.0, 10.5
"""Font sizes, pixels: names of leaves, headings of boxes, all else."""

_WIDTHS = {
    "ijl'|": 0.24, "ftI.,:;! /\\": 0.3, "()[]r-*\"·`": 0.37, "cksvxyzJ": 0.52, "FTZL": 0.62, "ABEKPSVXY&": 0.68,
    "{}": 0.61, "CDHNRUw": 0.74, "GOQ×+=<>#~^": 0.8, "mM%": 0.9, "W@…": 1.0,
}  # fmt: skip
_WIDTH = {character: width for characters, width in _WIDTHS.items() for character in characters}
_MARGIN = 1.06
_BOLD = 1.07


def width(text: str, size: float, bold: bool = False) -> float:
    """Pixels that a text takes at a font size, rather too many than too few."""
    ems = sum(_WIDTH.get(ch, 0.58 if ord(ch) < 0x250 else 0.7 if ord(ch) < 0x1100 else 1.05) for ch in text)
    return ems * size * _MARGIN * (_BOLD if bold else 1)


def count(n: int) -> str:
    """A number of parameters in a few characters: 30, 4,096, 1.31M."""
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if n >= limit:
            return f"{n / limit:.3g}{unit}"
    return f"{n:,}"


def second_line(leaf: Leaf) -> list[tuple[str, str]]:
    """What stands below a leaf's title: (class, text) pieces."""
    kind = leaf.kind.removeprefix("nn.")
    named = leaf.look not in ("input", "piece", "own") and kind != leaf.title
    pieces = [("k", kind)] if named else []
    pieces += [("s", leaf.shape)] if leaf.shape else []
    pieces += [("p", f"θ {count(leaf.count)}")] if leaf.count else []
    return pieces


def header(box: Box) -> list[tuple[str, str]]:
    """A box's heading: (class, text) pieces."""
    pieces = [("t", box.title)]
    pieces += [("k", box.note)] if box.note else []
    pieces += [("p", f"θ {count(box.count)}")] if box.count else []
    return pieces


def summary(scene: Scene) -> str:
    """What stands beside the picture's title."""
    parts = [f"{scene.count:,} parameters (θ)" if scene.count else "no parameters"]
    parts += ["the same letter: tied"] if any(leaf.tied for leaf in scene.root.leaves()) else []
    parts += [f"{scene.folded} boxes folded"] if scene.folded else []
    return " · ".join(parts)


GAP = 5.0
"""Between pieces of one line."""


def line_width(pieces: list[tuple[str, str]], size: float) -> float:
    return sum(width(text, size, kind == "t") for kind, text in pieces) + GAP * max(len(pieces) - 1, 0)


def tag_width(leaf: Leaf) -> float:
    """Room for the letter of tied leaves."""
    return width(leaf.tied, 9.5, True) + 13 if leaf.tied else 0.0


def leaf_size(leaf: Leaf, long: float) -> tuple[float, float]:
    """Width and height of a leaf, pixels: its text stands in one row where that is no longer than ``long``, else in two."""
    title, rest = width(leaf.title, TITLE, True) + tag_width(leaf), line_width(second_line(leaf), SMALL)
    margin = 20 if leaf.look in ("piece", "input", "output") else 16
    row = title + (GAP + 1 + rest if rest else 0) + margin - 2
    if row <= long or not rest:
        return even(max(row, 30)), ONE_ROW
    return even(max(title, rest) + margin), 33.0


ONE_ROW = 22.0
"""Height of a leaf with one row of text."""


def even(n: float) -> float:
    """The next even number: the middle then is a whole one, and lines can be straight."""
    return float(2 * math.ceil(n / 2))


def shape_text(shape: tuple[int, ...]) -> str:
    """A parameter's shape: 5 × 20."""
    return " × ".join(map(str, shape)) or "one number"
