"""``graphspec cache``: what was compiled and is kept."""

from __future__ import annotations

import argparse
from typing import Any

from graphspec.cli.output import Output, amount
from graphspec.engine import CODES
from graphspec.errors import fail
from graphspec_runtime import PlanError, cache


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--clear", action="store_true", help="delete it; what is wanted again is compiled again")


def run(args: argparse.Namespace, out: Output) -> int:
    found = examine()
    if args.clear:
        cache.clear()
    if args.json:
        out.json({**found, "cleared": args.clear})
    else:
        out.text(f"{told(found)}{', deleted' if args.clear and found['files'] else ''}")
    return 0


def examine() -> dict[str, Any]:
    """The folder, what is in it, and how much may be (bytes); E0701 where that is not to be understood."""
    try:
        most = cache.largest()
    except PlanError as failure:
        raise fail(CODES[failure.kind], failure.message) from None
    kept = cache.kept()
    return {"folder": str(cache.folder()), "files": len(kept), "bytes": sum(one.size for one in kept), "largest": most}


def told(found: dict[str, Any]) -> str:
    if not found["files"]:
        return f"{found['folder']}: nothing is kept (at most {amount(found['largest'])} would be)"
    many = "" if found["files"] == 1 else "s"
    return f"{found['folder']}: at most {amount(found['largest'])}, now {found['files']} file{many}, {amount(found['bytes'])}"
