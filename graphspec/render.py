"""Drawing a diagnostic as text, after the manner of rustc."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from graphspec.errors import Diagnostic, Label, Source

COLOURS = {"error": "\x1b[1;31m", "warning": "\x1b[1;33m", "gutter": "\x1b[1;34m", "bold": "\x1b[1m", "off": "\x1b[0m"}
LONG = 160
"""Characters of a line that are drawn at most."""

NEAR = 2
"""Lines at most between two labelled lines that are drawn rather than left out."""


def render(diagnostic: Diagnostic, colour: bool = False) -> str:
    """The text a person reads, without a newline at the end."""
    paint = (lambda text, name: f"{COLOURS[name]}{text}{COLOURS['off']}") if colour else (lambda text, name: text)
    head = paint(f"{diagnostic.severity}[{diagnostic.code}]", diagnostic.severity) + paint(f": {diagnostic.message}", "bold")
    lines = [head]
    span = diagnostic.span
    width = 0
    if span is not None:
        groups = _by_source(diagnostic.labels, span.source)
        numbers = [label.span.source.position(label.span.start)[0] for label in diagnostic.labels]
        width = max(len(str(n)) for n in numbers)
        for position, (source, labels) in enumerate(groups):
            first = next((b for b in labels if b.primary), labels[0])
            arrow = "-->" if position == 0 else ":::"
            lines.append(f"{' ' * width}{paint(arrow, 'gutter')} {first.span}")
            lines += _excerpt(source, labels, width, paint)
    pad = " " * width
    for note in diagnostic.notes:
        lines.append(f"{pad} {paint('=', 'gutter')} note: {note}")
    for text in diagnostic.helps:
        lines.append(f"{pad} {paint('=', 'gutter')} help: {text}")
    return "\n".join(lines)


def _by_source(labels: Sequence[Label], first: Source) -> list[tuple[Source, list[Label]]]:
    """Labels by file, the primary one's file first."""
    groups: dict[int, tuple[Source, list[Label]]] = {id(first): (first, [])}
    for label in labels:
        groups.setdefault(id(label.span.source), (label.span.source, []))[1].append(label)
    return list(groups.values())


def _excerpt(source: Source, labels: Sequence[Label], width: int, paint: object) -> list[str]:
    assert callable(paint)
    bar = paint("|", "gutter")
    out = [f"{' ' * width} {bar}"]
    by_line: dict[int, list[Label]] = {}
    for label in labels:
        by_line.setdefault(source.position(label.span.start)[0], []).append(label)
    before = None
    for number in sorted(by_line):
        if before is not None and number > before + 1:
            if number - before - 1 <= NEAR:
                for between in range(before + 1, number):
                    out.append(f"{paint(str(between).rjust(width), 'gutter')} {bar} {_expand(source.line(between))}".rstrip())
            else:
                out.append("...")
        text = _expand(source.line(number))
        cut = 0
        if len(text) > LONG:  # keep what the first label points at
            cut = max(0, _columns(source, by_line[number][0], number)[0] - LONG // 4)
            text = ("…" if cut else "") + text[cut : cut + LONG] + "…"
        out.append(f"{paint(str(number).rjust(width), 'gutter')} {bar} {text}".rstrip())
        for label in sorted(by_line[number], key=lambda b: b.span.start):
            start, end = (max(0, n - cut + bool(cut)) for n in _columns(source, label, number))
            start, end = min(start, LONG), min(end, LONG)
            mark = ("^" if label.primary else "-") * max(1, end - start)
            out.append(f"{' ' * width} {bar} {' ' * start}{mark} {label.text}".rstrip())
        before = number
    return out


def _columns(source: Source, label: Label, number: int) -> tuple[int, int]:
    """Screen columns (from 0) of the part of a label that lies on its first line."""
    text = source.line(number)
    _, column = source.position(label.span.start)
    length = label.span.end - label.span.start
    start, end = column - 1, min(column - 1 + length, len(text))
    return _width(text[:start]), _width(text[:end])


def _expand(text: str) -> str:
    return text.replace("\t", "    ")


def _width(text: str) -> int:
    """Cells on a screen: tabs are four, wide characters two, combining ones none."""
    return sum(4 if ch == "\t" else 0 if unicodedata.combining(ch) else 2 if unicodedata.east_asian_width(ch) in "WF" else 1 for ch in text)


def line_numbers(lines: Sequence[tuple[str, int]]) -> str:
    """``lstm.spec:6, 8-15``: files by name, lines that follow on each other as one."""
    parts: list[str] = []
    for path in dict.fromkeys(path for path, _ in lines):
        numbers = [line for other, line in lines if other == path]
        runs: list[list[int]] = []
        for n in numbers:
            if runs and n == runs[-1][1] + 1:
                runs[-1][1] = n
            else:
                runs.append([n, n])
        text = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
        parts.append(f"{path.rpartition('/')[2]}:{text}")
    return ", ".join(parts)
