"""``graphspec run``: train an experiment, and show how it goes."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from graphspec.cli.common import opened, place, precision_argument, remembered_plugins, spec_arguments
from graphspec.cli.output import INTERRUPTED, Output
from graphspec.errors import fail
from graphspec.passes.told import Count
from graphspec.settings import DTYPES, check_settings
from graphspec.tensorfile import make_folder
from graphspec.training.experiment import Experiment
from graphspec.training.loop import Event, RunSettings, measures
from graphspec.training.loop import run as train
from graphspec.training.measures import EXACT, LOSS, is_share
from graphspec.training.rundir import RunDir
from graphspec.training.tensorboard import TensorBoard

PLAIN_EVERY = 10.0
"""Seconds between lines where no terminal looks on."""
NAMES = {LOSS: "loss", "bits_per_char": "bits per character", "ngram3": "3-gram", "ngram5": "5-gram", "exact": "exactly right"}
"""Measures and baselines in words, where they are called otherwise."""


def arguments(sub: argparse.ArgumentParser) -> None:
    spec_arguments(sub, entry=False)
    sub.add_argument("--steps", type=int, help="training steps in all (default: the spec's epochs)")
    sub.add_argument("--seed", type=int, help="of initial values and random numbers (default: the spec's)")
    sub.add_argument("--out", type=place, metavar="DIR", help="run folder for checkpoints and metrics (default: runs/<spec>-<number>)")
    sub.add_argument("--resume", action="store_true", help="go on with the run in --out; starts afresh when there is none")
    sub.add_argument("--dtype", default="float32", choices=DTYPES)
    precision_argument(sub)
    sub.add_argument("--detect-anomaly", action="store_true", help="find the node that the first number comes from that is not finite")
    sub.add_argument("--tensorboard", action="store_true", help="write event files for TensorBoard too, into the run folder")


def run(args: argparse.Namespace, out: Output) -> int:
    if args.steps is not None and args.steps < 1:
        raise fail("E0807", f"--steps must be at least 1, got {args.steps}")
    if (again := RunDir(Path(args.spec)).command()) is not None:
        raise fail("E0802", f"{args.spec} is a run's folder, not a spec", helps=[f"to go on with it: `{again}`"])
    if args.resume and not args.out:
        raise fail("E0807", "--resume needs the run's folder: `--out DIR`")
    more = {"experiment.seed": args.seed} if args.seed is not None else {}
    check_settings(args.dtype, args.precision, 1)
    if args.resume:
        remembered_plugins(Path(args.out), RunDir(Path(args.out)).read(), out)
    settings: dict[str, Any] = {"dtype": args.dtype, "device": args.device, "precision": args.precision, "threads": args.threads}
    experiment = Experiment(opened(args, **more), **settings)
    warnings = experiment.warnings
    out.warnings(warnings)
    folder = Path(args.out) if args.out else fresh_folder(Path(args.spec).stem)
    board = TensorBoard(folder) if args.tensorboard else None
    with Interruption(out) as interruption:
        events = train(experiment, RunSettings(args.steps, folder, args.resume, lambda: interruption.asked, args.detect_anomaly))
        events = board.follow(events) if board else events
        with contextlib.closing(events):  # closed early, it saves a checkpoint first
            end = _json(events, out) if args.json else _show(events, out, args.spec, folder, experiment.source.counted)
    if end["event"] == "stopped":
        if not args.json:
            out.note(f"stopped after step {end['step']:,}; go on with it: {RunDir(folder).command()}")
        return INTERRUPTED
    if not args.json:
        generates = experiment.spec.step is not None and all(warning.code != "W0622" for warning in warnings)
        _summary(end, out, folder, experiment, generates)
    return 0


class Interruption:
    """Ctrl-C (or SIGTERM) asks the run to save and leave after the step it is in; a second one leaves at once."""

    def __init__(self, out: Output) -> None:
        self.out = out
        self.asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interruption:
        with contextlib.suppress(ValueError):  # not in the main thread: whoever runs us there handles signals
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        self.out.note("stopping after this step; once more leaves at once, without saving")


def fresh_folder(stem: str) -> Path:
    """``runs/<stem>-<n>`` with the first number that is free, made at once: of two runs that begin together each gets its own."""
    number = 1
    while True:
        folder = Path("runs") / f"{stem}-{number}"
        try:
            make_folder(folder.parent)
            folder.mkdir()
            return folder
        except OSError as failure:
            if not folder.exists():
                raise fail("E0805", f"{folder} cannot be written: {failure.strerror or failure}") from None
        number += 1


def _json(events: Iterator[Event], out: Output) -> Event:
    event: Event = {}
    for event in events:
        if event["event"] == "warning":
            event = {"event": "warning", "diagnostic": event["diagnostic"].to_json()}
        out.json(event, indent=None)
    return event


def _show(events: Iterator[Event], out: Output, spec: str, folder: Path, counted: str) -> Event:
    start = next(events)
    while start["event"] == "warning":
        out.warnings([start["diagnostic"]])
        start = next(events)
    steps = f"{Count(start['steps']):step} of about {Count(start['symbols']):{counted}}"
    out.note(f"{spec}: {start['parameters']:,} parameters, {steps}, into {folder}")
    if start["finished"]:
        out.note(f"finished already, after step {start['step']:,}: nothing is left to do; more `--steps` go on")
    elif start["step"] >= start["steps"]:
        asked = f"{Count(start['steps']):step} asked for"
        out.note(f"step {start['step']:,} is done already, and {asked}: nothing is left to do; more `--steps` go on")
    elif start["step"]:
        out.note(f"going on after step {start['step']:,}")
    pace = Pace(start, counted)
    return _bar(events, out, pace) if out.live else _lines(events, out, pace)


class Pace:
    """Symbols (or what else is counted) a second and the time that is left."""

    def __init__(self, start: Event, counted: str) -> None:
        self.start = start
        self.counted = counted
        self.began = time.perf_counter()
        self.symbols = 0

    def text(self, event: Event) -> str:
        """How fast the run is after a step, and how long it will take still."""
        self.symbols += event["symbols"]
        seconds = max(time.perf_counter() - self.began, 1e-9)
        left = seconds / max(event["step"] - self.start["step"], 1) * (self.start["steps"] - event["step"])
        return f"{self.symbols / seconds:,.0f} {self.counted}s/s  {clock(left)} left"


def clock(seconds: float) -> str:
    """``1:02:03``, or ``2:03`` within an hour."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def _lines(events: Iterator[Event], out: Output, pace: Pace) -> Event:
    told = time.perf_counter()
    event: Event = {}
    for event in events:
        if event["event"] == "step":
            text = pace.text(event)
            if time.perf_counter() - told > PLAIN_EVERY:
                told = time.perf_counter()
                out.note(f"step {event['step']:,} of {pace.start['steps']:,}  loss {event['train_loss']:.4f}{_shares(event)}  {text}")
        else:
            _told(event, out)
    return event


def _told(event: Event, out: Output) -> None:
    if event["event"] == "valid":
        out.note(_valid_line(event))
    elif event["event"] == "warning":
        out.warnings([event["diagnostic"]])


def _valid_line(event: Event) -> str:
    if "valid_loss" not in event:
        return f"step {event['step']:,}  saved (no held-out part)"
    found = [f"held-out loss {event['valid_loss']:.4f}", *(f"{said(n, v)} {words(n)}" for n, v in measures(event).items())]
    return f"step {event['step']:,}  {', '.join(found)}{', the best so far' if event['best'] else ''}"


def _shares(event: Event) -> str:
    """What part was right in training lately."""
    return "".join(f"  {words(name)} {said(name, event[f'train_{name}'])}" for name in event if is_share(name))


def words(name: str) -> str:
    """A measure or a baseline as people call it."""
    return NAMES.get(name, name.replace("_", " "))


def said(name: str, value: float) -> str:
    """A measure's number as people write it."""
    return f"{value:.1%}" if name == EXACT else f"{value:.2%}" if is_share(name) else f"{value:.3f}"


def _bar(events: Iterator[Event], out: Output, pace: Pace) -> Event:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    start = pace.start
    columns: list[Any] = [TextColumn("training"), BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn("{task.fields[text]}")]
    event: Event = {}
    with Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=5) as progress:
        task = progress.add_task("training", total=start["steps"], completed=start["step"], text="")
        for event in events:
            if event["event"] == "step":
                progress.update(task, completed=event["step"], text=f"loss {event['train_loss']:.3f}{_shares(event)}  {pace.text(event)}")
            elif event["event"] == "valid":
                progress.console.print(_valid_line(event), highlight=False)
            else:
                _told(event, out)
    return event


def loss_unit(experiment: Experiment) -> str:
    """The unit of a mean loss over symbols; none for an experiment on examples, whose loss may be no mean of logarithms."""
    return "nats a symbol" if experiment.source.counted == "symbol" else ""


def _summary(end: Event, out: Output, folder: Path, experiment: Experiment, generates: bool) -> None:
    early = ", ended early: no better validation came" if end["early"] else ""
    training = f": training loss {end['train_loss']:.4f}" if end["train_loss"] is not None else ""
    held_out = f", held-out loss {end['valid_loss']:.4f} {loss_unit(experiment)}".rstrip() if "valid_loss" in end else ""
    out.text(f"\n{Count(end['step']):step}{training}{held_out}{early}")
    for name, value in measures({k: v for k, v in end.items() if k != "step"}).items():
        rows = [(f"{words(name)}, held out", ""), ("  this model", said(name, value))]
        if f"train_{name}" in end:
            rows.append(("  in training, running mean", said(name, end[f"train_{name}"])))
        if name in ("bits_per_char", "perplexity"):
            rows += [(f"  {words(other)}", said(name, number)) for other, number in end["baselines"].items()]
        out.table(rows, right=(1,))
    quoted = shlex.quote(str(folder))
    generate = f"Generate with it: graphspec sample {quoted}    " if generates else ""
    whole = "" if LOSS in end else " --whole"  # nothing is held out
    out.text(f"\n{generate}Look at it again: graphspec eval {quoted}{whole}")
