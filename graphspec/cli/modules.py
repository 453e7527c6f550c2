"""``graphspec modules``: every ``nn`` module with its arguments and shapes, and how it is proved."""

from __future__ import annotations

import argparse

from graphspec.cli.output import Output
from graphspec.errors import fail
from graphspec.graph import LEFT_OUT, about_missing, find_record, load_installed
from graphspec.tools.modules import chapters, describe, every, page


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("name", nargs="?", metavar="NAME", help="such as Linear; without one, all are listed")
    sub.add_argument("--left-out", action="store_true", help="what Torch has and specs have not, with the reasons")


def run(args: argparse.Namespace, out: Output) -> int:
    if args.name is not None and args.left_out:
        raise fail("E0807", f"--left-out lists modules that are not there; {args.name} beside it has no meaning")
    if args.left_out:
        _left_out(args, out)
    elif args.name is None:
        load_installed()
        _list(args, out)
    else:
        name = args.name.removeprefix("nn.")
        record = find_record(name)
        if record is None:
            raise fail("E0401", f"there is no module nn.{name}", **about_missing(name))
        if args.json:
            out.json(describe(record))
        else:
            out.markdown(page(record))
    return 0


def _list(args: argparse.Namespace, out: Output) -> None:
    if args.json:
        out.json([describe(record) for record in every()])
        return
    for families in chapters(every()).values():
        for title, records in families.items():
            out.text(f"{title}\n")
            out.table([(record.name, record.doc) for record in records])
            out.text("")
    out.text(f"{len(every())} modules; more about one: graphspec modules NAME")
    if LEFT_OUT:
        out.text(f"{len(LEFT_OUT)} of Torch's are left out, each for a reason: graphspec modules --left-out")


def _left_out(args: argparse.Namespace, out: Output) -> None:
    if args.json:
        out.json(dict(sorted(LEFT_OUT.items())))
    else:
        for name, reason in sorted(LEFT_OUT.items()):
            out.text(f"nn.{name}\n  {reason}")
