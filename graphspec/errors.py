"""Diagnostics: errors and warnings as data first, text second.

Everything that can go wrong for a user becomes a :class:`Diagnostic` with a code, positions in the user's own
text, notes and hints.  :class:`SpecError` carries one or several of them.  How a diagnostic is drawn is the
business of :mod:`graphspec.render`.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from graphspec.sizes import Size


@dataclass(frozen=True, eq=False)
class Source:
    """A text and the name it is shown under (a path as the user wrote it, or ``<text>``)."""

    path: str
    text: str
    _starts: list[int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        starts = [0]
        starts.extend(i + 1 for i, ch in enumerate(self.text) if ch == "\n")
        object.__setattr__(self, "_starts", starts)

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column, both counted from 1, of a character offset."""
        line = bisect.bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def line(self, number: int) -> str:
        """The text of line ``number`` (from 1) without its newline."""
        start = self._starts[number - 1]
        end = self._starts[number] if number < len(self._starts) else len(self.text) + 1
        return self.text[start : end - 1].rstrip("\r")


@dataclass(frozen=True)
class Span:
    """A half-open range of characters in a source."""

    source: Source
    start: int
    end: int

    @property
    def line(self) -> int:
        return self.source.position(self.start)[0]

    @property
    def column(self) -> int:
        return self.source.position(self.start)[1]

    @property
    def text(self) -> str:
        return self.source.text[self.start : self.end]

    def __str__(self) -> str:
        line, column = self.source.position(self.start)
        return f"{self.source.path}:{line}:{column}"


@dataclass(frozen=True)
class Frame:
    """One step on the way evaluation took to a place: a call, a turn of a loop, or a ``require``.

    ``text`` is the user's own text (``lstm(x, prev_c)`` or ``for L = 1, layers``); ``span`` is where it stands
    (for a call: the call expression); ``binding`` is the loop variable and its value in this turn.  For a call,
    ``name`` is the function's name and ``serial`` differs between any two activations (canonical parameter names count
    them); for a ``require`` the name is the module's.
    """

    kind: Literal["call", "loop", "require"]
    text: str
    span: Span
    binding: tuple[str, str] | None = None
    name: str = ""
    serial: int = 0


@dataclass(frozen=True)
class Origin:
    """Where something was made: the expression, the frames around it (innermost first), and the values of the
    plain number variables that the expression reads.  ``parts``: of one thing that does the work of several, what each was made by, and
    how much of the work is its."""

    span: Span | None = None
    frames: tuple[Frame, ...] = ()
    values: tuple[tuple[str, str], ...] = ()
    parts: tuple[tuple[Origin, Size], ...] = ()

    def flat(self) -> tuple[Origin, ...]:
        """Itself and what its work was made by."""
        return (self, *(origin for origin, _ in self.parts))

    def __str__(self) -> str:
        return str(self.span) if self.span else "<built in>"


NOWHERE = Origin()


@dataclass(frozen=True)
class Label:
    """A span of the user's text with what to say about it."""

    span: Span
    text: str = ""
    primary: bool = False


@dataclass(frozen=True)
class Fix:
    """A change of the text that may be what was meant; told to the user only after it was tried and compiles."""

    span: Span
    text: str


Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Diagnostic:
    """One thing to tell the user.  ``code`` is stable (``E0301``); see ``docs/errors``."""

    code: str
    message: str
    labels: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()
    helps: tuple[str, ...] = ()
    severity: Severity = "error"
    fixes: tuple[Fix, ...] = ()

    @property
    def span(self) -> Span | None:
        """The primary place, else the first one."""
        for label in self.labels:
            if label.primary:
                return label.span
        return self.labels[0].span if self.labels else None

    def with_notes(self, *notes: str) -> Diagnostic:
        return replace(self, notes=(*self.notes, *notes))

    def with_help(self, *helps: str) -> Diagnostic:
        return replace(self, helps=(*self.helps, *helps))

    def to_json(self) -> dict[str, Any]:
        """Plain data; ``file``, ``line`` and ``column`` are those of the primary label, where there is one."""

        def place(span: Span) -> dict[str, Any]:
            line, column = span.source.position(span.start)
            end_line, end_column = span.source.position(span.end)
            return {"file": span.source.path, "line": line, "column": column, "end_line": end_line, "end_column": end_column}

        first = next((place(b.span) for b in self.labels if b.primary), {})
        return {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            **{key: first[key] for key in ("file", "line", "column") if first},
            "labels": [{**place(b.span), "text": b.text, "primary": b.primary} for b in self.labels],
            "notes": list(self.notes),
            "help": list(self.helps),
        }


class SpecError(Exception):
    """One or more diagnostics about a spec, its options, its data or its run.

    ``str(error)`` is the full rendered text, so an uncaught one reads well in a notebook too.
    """

    def __init__(self, *diagnostics: Diagnostic) -> None:
        super().__init__(diagnostics[0].message)
        self.diagnostics: tuple[Diagnostic, ...] = diagnostics
        self.typed: Any = None
        """What inference knew of the model when it failed, for a picture."""
        self.draw_as: str | None = None
        """The spec's path, when it asked for a picture (``nngraph.setDebug(true)``)."""

    @property
    def code(self) -> str:
        return self.diagnostics[0].code

    def __str__(self) -> str:
        from graphspec.render import render

        return "\n\n".join(render(d) for d in self.diagnostics)


def error(
    code: str,
    message: str,
    at: Origin | Span | None = None,
    label: str = "",
    *,
    others: Iterable[tuple[Span | Origin | None, str]] = (),
    notes: Iterable[str] = (),
    helps: Iterable[str] = (),
    severity: Severity = "error",
) -> Diagnostic:
    """A diagnostic whose primary label is ``at`` and whose secondary labels are ``others``.

    The call chain, loop bindings and number values of an :class:`Origin` become notes, in the words of
    ``docs/errors``.
    """
    origin = at if isinstance(at, Origin) else Origin(at)
    labels = []
    values: dict[str, str] = {}
    for place, text in others:
        span = place.span if isinstance(place, Origin) else place
        if isinstance(place, Origin):
            values.update(place.values)
        if span is not None and (span != origin.span):
            labels.append(Label(span, text))
    if origin.span is not None:
        labels.append(Label(origin.span, label, primary=True))
    values.update(origin.values)
    told = [describe(frame) for frame in origin.frames[:6]]
    if len(origin.frames) > 6:
        told.append(f"... and {len(origin.frames) - 6} calls further out")
    if values:
        told.append(", ".join(f"{name} = {value}" for name, value in values.items()))
    return Diagnostic(code, message, tuple(labels), (*told, *notes), tuple(helps), severity)


def describe(frame: Frame) -> str:
    """A frame in words: "in `lstm(x)`, called at a.spec:3:4"."""
    if frame.kind == "loop":
        place = f"{frame.span.source.path}:{frame.span.line}"
        turn = f", {frame.binding[0]} = {frame.binding[1]}" if frame.binding else ""
        return f"in `{frame.text}` at {place}{turn}"
    verb = "called" if frame.kind == "call" else {"include": "included", "dofile": "run"}.get(frame.text.split()[0], "required")
    return f"in `{frame.text}`, {verb} at {frame.span}"


def one_line(text: str, most: int) -> str:
    """A text on one line, with at most so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 3] + "..."


def fail(code: str, message: str, at: Origin | Span | None = None, label: str = "", **more: Any) -> SpecError:
    """Shorthand for ``SpecError(error(...))``; write ``raise fail(...)``."""
    return SpecError(error(code, message, at, label, **more))
