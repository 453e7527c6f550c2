"""``graphspec run``: train an experiment, and show how it goes."""

from __future__ import annotations

import argparse
import contextlib
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from graphspec.cli.common import opened, spec_arguments
from graphspec.cli.output import Output
from graphspec.errors import fail
from graphspec.training.experiment import Experiment
from graphspec.training.loop import Event, RunSettings
from graphspec.training.loop import run as train

PLAIN_EVERY = 10.0
"""Seconds between lines where no terminal looks on."""


def arguments(sub: argparse.ArgumentParser) -> None:
    spec_arguments(sub, entry=False)
    sub.add_argument("--steps", type=int, help="training steps in all (default: the spec's epochs)")
    sub.add_argument("--seed", type=int, help="of initial values and random numbers (default: the spec's)")
    sub.add_argument("--out", metavar="DIR", help="run folder for checkpoints and metrics (default: runs/<spec>-<number>)")
    sub.add_argument("--resume", action="store_true", help="go on with the run in --out; starts afresh when there is none")
    sub.add_argument("--dtype", default="float32", choices=("float32", "float64"))


def run(args: argparse.Namespace, out: Output) -> int:
    if args.steps is not None and args.steps < 1:
        raise fail("E0807", f"--steps must be at least 1, got {args.steps}")
    if args.resume and not args.out:
        raise fail("E0807", "--resume needs the run's folder: `--out DIR`")
    more = {"experiment.seed": args.seed} if args.seed is not None else {}
    experiment = Experiment(opened(args, **more), dtype=args.dtype, device=args.device, threads=args.threads)
    out.warnings(experiment.opened.warnings)
    folder = Path(args.out) if args.out else fresh_folder(Path(args.spec).stem)
    events = train(experiment, RunSettings(args.steps, folder, args.resume))
    with contextlib.closing(events):  # closed early, it saves a checkpoint first
        end = _json(events, out) if args.json else _show(events, out, args.spec, folder)
    if not args.json:
        _summary(end, out)
    return 0


def fresh_folder(stem: str) -> Path:
    """``runs/<stem>-<n>`` with the first number that is free."""
    number = 1
    while (Path("runs") / f"{stem}-{number}").exists():
        number += 1
    return Path("runs") / f"{stem}-{number}"


def _json(events: Iterator[Event], out: Output) -> Event:
    event: Event = {}
    for event in events:
        if event["event"] == "warning":
            event = {"event": "warning", "diagnostic": event["diagnostic"].to_json()}
        out.json(event, indent=None)
    return event


def _show(events: Iterator[Event], out: Output, spec: str, folder: Path) -> Event:
    start = next(events)
    while start["event"] == "warning":
        out.warnings([start["diagnostic"]])
        start = next(events)
    out.note(f"{spec}: {start['parameters']:,} parameters, {start['steps']:,} steps of {start['symbols']:,} symbols, into {folder}")
    if start["done"]:
        out.note(f"going on after step {start['done']:,}")
    return _bar(events, out, start) if out.live else _lines(events, out, start)


class Pace:
    """Symbols a second and the time that is left."""

    def __init__(self, start: Event) -> None:
        self.start = start
        self.began = time.perf_counter()

    def speed(self, step: int) -> float:
        return float((step - self.start["done"]) * float(self.start["symbols"]) / max(time.perf_counter() - self.began, 1e-9))

    def left(self, step: int) -> str:
        done = step - self.start["done"]
        seconds = (time.perf_counter() - self.began) / max(done, 1) * (self.start["steps"] - step)
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _lines(events: Iterator[Event], out: Output, start: Event) -> Event:
    pace, told = Pace(start), time.perf_counter()
    event: Event = {}
    for event in events:
        if event["event"] == "step" and time.perf_counter() - told > PLAIN_EVERY:
            told = time.perf_counter()
            step = event["step"]
            out.note(
                f"step {step:,} of {start['steps']:,}  loss {event['train_loss']:.4f}  "
                f"{pace.speed(step):,.0f} symbols/s  {pace.left(step)} left"
            )
        elif event["event"] == "valid":
            out.note(_valid_line(event))
    return event


def _valid_line(event: Event) -> str:
    if "valid_loss" not in event:
        return f"step {event['step']:,}  saved (no held-out part)"
    return f"step {event['step']:,}  held-out loss {event['valid_loss']:.4f}, {event['bits_per_char']:.3f} bits per character"


def _bar(events: Iterator[Event], out: Output, start: Event) -> Event:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    pace = Pace(start)
    columns: list[Any] = [TextColumn("training"), BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn("{task.fields[text]}")]
    event: Event = {}
    with Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=5) as progress:
        task = progress.add_task("training", total=start["steps"], completed=start["done"], text="")
        for event in events:
            if event["event"] == "step":
                step, bits = event["step"], event["train_loss"] / math.log(2)
                text = f"loss {event['train_loss']:.3f} ({bits:.2f} bits)  {pace.speed(step):,.0f} symbols/s  {pace.left(step)} left"
                progress.update(task, completed=step, text=text)
            elif event["event"] == "valid":
                progress.console.print(_valid_line(event), highlight=False)
    return event


def _summary(end: Event, out: Output) -> None:
    out.text(
        f"\n{end['steps']:,} steps: training loss {end['train_loss']:.4f}"
        if end["train_loss"] is not None
        else f"\n{end['steps']:,} steps",
        end="",
    )
    out.text(f", held-out loss {end['valid_loss']:.4f} nats a symbol" if end["valid_loss"] is not None else "")
    if end["bits_per_char"] is not None:
        names = {"unigram": "unigram", "ngram3": "3-gram", "ngram5": "5-gram"}
        rows = [("bits per character, held out", ""), ("  this model", f"{end['bits_per_char']:.3f}")]
        rows += [(f"  {names.get(name, name)}", f"{bits:.3f}") for name, bits in end["baselines"].items()]
        out.table(rows, right=(1,))
    out.text(f"\nSample from it: graphspec sample {end['run_dir']}")
