"""``graphspec sample``: text from a trained model, symbol by symbol."""

from __future__ import annotations

import argparse
from pathlib import Path

from graphspec.cli.common import overrides
from graphspec.cli.output import Output
from graphspec.errors import fail
from graphspec.training.checkpoint import checkpoint_file
from graphspec.training.experiment import Experiment


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("run", metavar="RUN", help="a run folder, or a checkpoint file")
    sub.add_argument("options", nargs="*", metavar="NAME=VALUE", help="options, to go before those it was trained with")
    sub.add_argument("--length", type=int, default=500, help="symbols to write (default: 500)")
    sub.add_argument(
        "--temperature", type=float, default=0.8, help="1: as the model says; smaller: safer; 0: always the likeliest (default: 0.8)"
    )
    sub.add_argument("--prime", default="", metavar="TEXT", help="what comes before")
    sub.add_argument("--seed", type=int, default=1)


def run(args: argparse.Namespace, out: Output) -> int:
    if args.length < 0 or not 0 <= args.temperature < float("inf"):
        raise fail("E0807", "--length and --temperature cannot be negative")
    file = checkpoint_file(Path(args.run))
    experiment = Experiment.load(file, device=args.device, threads=args.threads, **overrides(args.options))
    pieces = experiment.stream(args.length, args.temperature, args.prime, args.seed)
    if args.json:
        out.json({"text": "".join(pieces), "prime": args.prime, "checkpoint": str(file), "steps": experiment.steps})
        return 0
    out.text(args.prime, end="")
    for piece in pieces:
        out.text(piece, end="")
    out.text("")
    return 0
