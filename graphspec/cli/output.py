"""All printing: plain text to a pipe, rich text to a terminal, JSON where asked; and the exit codes."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from graphspec.errors import Diagnostic, SpecError
from graphspec.render import render

OK, FAILED, USAGE, WRONG_GRADIENTS, NO_DEVICE, INTERRUPTED = 0, 1, 2, 3, 4, 130
"""Exit codes: all is well; something is wrong with a spec, its data or its run, or a value makes no sense; the command line cannot be
read; ``check`` found wrong gradients; the device cannot be had; interrupted."""


def amount(n: int) -> str:
    """Bytes for people."""
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if n >= size:
            return f"{n / size:.1f} {unit}"
    return f"{n} bytes"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Unwritable(Exception):
    """Standard output takes nothing: a full disk behind it, or it is closed."""


class Output:
    """Where a command says things.  Results go to stdout, notes and diagnostics to stderr."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self._work = False
        self._unheard: Exception | None = None

    @contextlib.contextmanager
    def at_work(self, wanted: bool = True) -> Iterator[None]:
        """Where files are still to be written: a reader that leaves, or a full disk behind standard output, ends nothing before."""
        self._work = wanted
        try:
            yield
        finally:
            self._work = False
        if self._unheard is not None:
            raise self._unheard

    def json(self, value: Any, indent: int | None = 2) -> None:
        """What is not finite is null: JSON has no word for it, and its readers stop at NaN."""
        self.text(json.dumps(_plain(value), indent=indent, allow_nan=False))

    def text(self, text: str, end: str = "\n") -> None:
        """On stdout, at once; Unwritable where it cannot be written, BrokenPipeError where nobody reads any more."""
        if self._unheard is not None:
            return
        try:
            self._write(text + end)
        except (BrokenPipeError, Unwritable) as failure:
            if not self._work:
                raise
            self._unheard = failure

    @staticmethod
    def _write(text: str) -> None:
        if sys.stdout is None:
            raise Unwritable("it is closed")
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            raise
        except UnicodeEncodeError as failure:
            raise Unwritable(f"{failure.encoding} has no {failure.object[failure.start]!r}; with PYTHONIOENCODING=utf-8 it has") from None
        except (OSError, ValueError) as failure:  # ValueError: closed meanwhile
            raise Unwritable(getattr(failure, "strerror", None) or "it is closed") from None

    def markdown(self, text: str) -> None:
        """A page: laid out for a terminal, as it is for a pipe."""
        if not self.colour(sys.stdout):
            self.text(text, end="")
            return
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(text, code_theme="ansi_light"))

    def note(self, text: str) -> None:
        """On stderr; where that cannot be written there is nobody to tell."""
        if sys.stderr is not None:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(text + "\n")
                sys.stderr.flush()

    def warnings(self, warnings: list[Diagnostic]) -> None:
        """On stderr, unless the JSON on stdout has them."""
        if not self.as_json:
            for warning in warnings:
                self.note(render(warning, self.colour(sys.stderr)) + "\n")

    def failure(self, failure: SpecError) -> None:
        """Diagnostics as text on stderr, or as JSON on stdout."""
        if self.as_json:
            self.json({"errors": [d.to_json() for d in failure.diagnostics]}, indent=None)
        else:
            self.note("\n\n".join(render(d, self.colour(sys.stderr)) for d in failure.diagnostics))
            if self.live:
                self.note(f"\nmore about this: graphspec explain {failure.code}")

    @staticmethod
    def colour(stream: Any) -> bool:
        return bool(stream is not None and stream.isatty()) and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"

    @property
    def live(self) -> bool:
        """Whether somebody looks on: progress bars make sense."""
        return not self.as_json and self.colour(sys.stderr)

    @staticmethod
    def bar(share: float, width: int = 10) -> str:
        """A bar of blocks, as long as the share of ``width``; of # where the output's encoding has no blocks."""
        eighths = max(0, min(round(share * width * 8), width * 8))
        text = "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
        try:
            text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
        except (UnicodeEncodeError, LookupError):
            text = "#" * ((eighths + 4) // 8)
        return text

    def table(self, rows: Sequence[tuple[str, ...]], right: tuple[int, ...] = (), indent: str = "  ") -> None:
        """Columns, as wide as needed; ``right`` are aligned to the right."""
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
        for row in rows:
            cells = [cell.rjust(w) if i in right else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))]
            self.text((indent + "  ".join(cells)).rstrip())
