"""The formatter: a spec's text laid out anew, with the same syntax tree and the same comments."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from graphspec.errors import Source, Span, fail
from graphspec.lang import Parsed, parse
from graphspec.tools.document import Printer
from graphspec.tools.gaps import dropped, gaps, grammar, start_of, tokens
from graphspec.tools.layout import Layout

WIDTH = 100
"""Lines are broken where they would be longer, if they can be."""


def format_source(source: Source, width: int = WIDTH) -> str:
    """The text of a spec in its standard layout, in lines of at most ``width`` columns where they can be broken.

    SpecError (E01xx, E0502) for syntax errors; E0808 where the layout would not read back as the same program with the same comments.
    """
    parsed = parse(source)
    text = source.text
    shebang = source.line(1) if text.startswith("#") else ""
    tree = grammar().parse(" " * len(shebang) + text[len(shebang) :])
    unused = dropped(tree, text)
    found = [token for token in tokens(tree) if start_of(token) not in unused]
    between = gaps(text, found, len(shebang))
    layout = Printer(width).print(Layout(text, between, unused).document(tree))
    if shebang:
        first = between[start_of(found[0]) if found else len(text)]
        layout = shebang.rstrip() + ("\n\n" if layout and first.blanks[0] else "\n") + layout
    check(source, parsed, layout)
    return layout


def check(source: Source, before: Parsed, layout: str) -> None:
    """E0808 unless the layout reads back as what was read."""
    after = parse(Source(source.path, layout))
    comments = [[c.span.text.rstrip() for c in parsed.comments] for parsed in (before, after)]
    if comments[0] != comments[1] or not same(before.block, after.block):
        raise fail("E0808", f"{source.path} is left as it is: a new layout would change what it means", Span(source, 0, 0))


def same(one: Any, other: Any) -> bool:
    """Whether two syntax trees are equal, wherever they stand in their texts."""
    stack = [(one, other)]
    while stack:
        a, b = stack.pop()
        if type(a) is not type(b):
            return False
        if isinstance(a, tuple):
            if len(a) != len(b):
                return False
            stack.extend(zip(a, b, strict=True))
        elif is_dataclass(a):
            stack.extend((getattr(a, f.name), getattr(b, f.name)) for f in fields(a) if f.name not in ("span", "head"))
        elif repr(a) != repr(b):  # tells 0 from -0, and takes a NaN for itself
            return False
    return True
