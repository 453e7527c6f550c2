"""``graphspec explain``: the page of an error code."""

from __future__ import annotations

import argparse

from graphspec.cli.output import Output
from graphspec.codes import CODES
from graphspec.errors import fail
from graphspec.shipped import ERROR_PAGES
from graphspec.suggest import did_you_mean


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("code", nargs="?", metavar="CODE", help="such as E0301; without one, all are listed")


def run(args: argparse.Namespace, out: Output) -> int:
    if args.code is None:
        if args.json:
            out.json(CODES)
        else:
            out.table(list(CODES.items()), indent="")
        return 0
    code = args.code.upper()
    if code.startswith("W") and code not in CODES:  # what --lenient makes a warning of is explained as the error that it is
        code = f"E{code[1:]}"
    if code not in CODES:
        helps = did_you_mean(code, CODES) or ["all are listed by `graphspec explain`"]
        raise fail("E0807", f"there is no code {args.code}", helps=helps)
    page = (ERROR_PAGES / f"{code}.md").read_text(encoding="utf-8")
    if args.json:
        out.json({"code": code, "title": CODES[code], "page": page})
    else:
        out.markdown(page)
    return 0
