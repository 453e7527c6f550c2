"""``graphspec plot``: the learning curves of runs, on one page."""

from __future__ import annotations

import argparse

from graphspec.cli.common import place
from graphspec.cli.output import Output
from graphspec.plots import encoded, learning_curves, save
from graphspec.plots.style import format_of
from graphspec.training.history import read_run


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("runs", nargs="+", metavar="RUN", help="a run folder; several are drawn on one page")
    where = "where to write it: .svg, .png or .pdf (default: SVG on standard output)"
    sub.add_argument("-o", "--out", type=place, metavar="FILE", help=where)
    sub.add_argument("--time", action="store_true", help="over the time of training instead of its steps")
    sub.add_argument("--title", default="", metavar="TEXT")


def run(args: argparse.Namespace, out: Output) -> int:
    if args.out:
        format_of(args.out)
    runs = [read_run(path) for path in args.runs]
    out.warnings([warning for run in runs for warning in run.damaged])
    picture = learning_curves(runs, args.title, args.time)
    if args.out:
        save(picture, args.out)
    if args.json:
        told = [{"run": str(run.path), "steps": run.last_step, "damaged": [d.to_json() for d in run.damaged]} for run in runs]
        out.json({"file": args.out, "runs": told})
    elif args.out:
        out.text(f"{args.out}: {', '.join(f'{run.name} to step {run.last_step:,}' for run in runs)}")
    else:
        out.text(encoded(picture, "svg").decode(), end="")
    return 0
