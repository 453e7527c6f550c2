"""``graphspec eval``: a trained model on its held-out data, or on others."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from graphspec.cli.common import overrides, remembered_plugins
from graphspec.cli.output import Output
from graphspec.cli.run import loss_unit, said, words
from graphspec.errors import fail
from graphspec.training.checkpoint import load_checkpoint
from graphspec.training.experiment import Experiment, restored
from graphspec.training.measures import LOSS
from graphspec.training.rundir import RunDir


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("run", metavar="RUN", help="a run folder, or a checkpoint file")
    about = "options, to go before those it was trained with (data.path=...)"
    sub.add_argument("options", nargs="*", default=[], metavar="NAME=VALUE", help=about)
    sub.add_argument("--last", action="store_true", help="the newest checkpoint instead of the best")
    sub.add_argument("--by-length", action="store_true", help="how many pairs come out right, by the length of their source")
    sub.add_argument("--whole", action="store_true", help="on all of the data, not the held-out part alone")


def run(args: argparse.Namespace, out: Output) -> int:
    experiment = load(args, out)
    by_length = experiment.exact_by_length(args.whole) if args.by_length else {}  # first, as it may be that there is no such thing
    found = experiment.evaluate(args.whole)
    if not found:
        raise fail("E0807", "there is nothing held out to evaluate on", helps=["`--whole` takes all of the data"])
    counts = experiment.answers.counts
    if args.json:
        more = {"answers": counts} if counts else {}
        out.json({"step": experiment.steps, **found, **more, **({"by_length": by_length} if args.by_length else {})})
        return 0
    unit = loss_unit(experiment)
    rows = [("step", f"{experiment.steps:,}", ""), (f"loss ({unit})" if unit else "loss", f"{found.pop(LOSS):.4f}", "")]
    out.table([*rows, *((words(name), said(name, value), wrong(*counts.get(name, (0, 0)))) for name, value in found.items())], right=(1,))
    if by_length:
        out.text("")
        out.table([("source symbols", "right", "of"), *((str(n), str(a), str(b)) for n, (a, b) in by_length.items())], right=(0, 1, 2))
    return 0


def wrong(right: int, counted: int) -> str:
    """How many answers were, where that is known."""
    return f"{counted - right:,} of {counted:,} wrong" if counted else ""


def load(args: argparse.Namespace, out: Output) -> Experiment:
    """The experiment of a run folder or checkpoint; data that the spec names are looked for where they were."""
    checkpoint = load_checkpoint(Path(args.run), args.last)
    out.warnings(checkpoint.skipped)
    folder = Path(args.run) if Path(args.run).is_dir() else checkpoint.path.parent.parent
    known = RunDir(folder).read()
    remembered_plugins(folder, known, out)
    roots: list[Any] = args.root or known.get("roots", [])
    return restored(checkpoint, device=args.device, threads=args.threads, roots=roots, options=overrides(args.options))
