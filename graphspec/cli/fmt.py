"""``graphspec fmt``: specs in their standard layout."""

from __future__ import annotations

import argparse
import difflib
import io
import sys
from typing import Any

from graphspec.cli.output import FAILED, OK, Output
from graphspec.errors import SpecError
from graphspec.tools.files import Formatted, format_bytes, format_file, rewrite

STDIN = "-"


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("files", nargs="+", metavar="FILE", help="a .spec file; - reads stdin and writes to stdout")
    sub.add_argument(
        "--check", action="store_true", help="change nothing; list the files that would change, and exit with 1 if there are any"
    )
    sub.add_argument("--diff", action="store_true", help="change nothing; show what would change")


def run(args: argparse.Namespace, out: Output) -> int:
    done: list[Formatted] = []
    failures: list[SpecError] = []
    with out.at_work():
        for path in dict.fromkeys(args.files):
            try:
                formatted = format_bytes(sys.stdin.buffer.read(), "<stdin>") if path == STDIN else format_file(path)
                if formatted.changed and path != STDIN and not (args.check or args.diff):
                    rewrite(formatted)
            except SpecError as failure:
                failures.append(failure)
                continue
            done.append(formatted)
            if not args.json:
                say(formatted, path, args, out)
    if args.json:
        out.json(to_json(done, failures, args))
    elif failures:
        out.failure(SpecError(*(d for failure in failures for d in failure.diagnostics)))
    return FAILED if failures or (args.check and any(f.changed for f in done)) else OK


def say(formatted: Formatted, path: str, args: argparse.Namespace, out: Output) -> None:
    """A diff, the formatted text of stdin, or the name of a file that changes."""
    if args.diff:
        out.text(difference(formatted), end="")
    elif path == STDIN and not args.check:
        out.text(formatted.new.decode(), end="")
    elif formatted.changed:
        out.text(formatted.path)


def difference(formatted: Formatted) -> str:
    """A unified diff; empty where only line endings change."""
    before, after = (list(io.StringIO(text)) for text in (formatted.before, formatted.after))
    lines = difflib.unified_diff(before, after, formatted.path, formatted.path)
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def to_json(done: list[Formatted], failures: list[SpecError], args: argparse.Namespace) -> dict[str, Any]:
    def entry(formatted: Formatted) -> dict[str, Any]:
        found: dict[str, Any] = {"file": formatted.path, "changed": formatted.changed}
        if args.diff:
            found["diff"] = difference(formatted)
        elif formatted.path == "<stdin>" and not args.check:
            found["text"] = formatted.new.decode()
        return found

    found: dict[str, Any] = {"files": [entry(formatted) for formatted in done]}
    if failures:
        found["errors"] = [d.to_json() for failure in failures for d in failure.diagnostics]
    return found
