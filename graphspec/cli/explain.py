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
    if code not in CODES:
        raise fail("E0807", f"there is no code {args.code}", helps=did_you_mean(code, CODES))
    page = (ERROR_PAGES / f"{code}.md").read_text(encoding="utf-8")
    if args.json:
        out.json({"code": code, "title": CODES[code], "page": page})
    else:
        out.markdown(page)
    return 0
