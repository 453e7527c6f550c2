"""``graphspec runs``: which runs there are, and how they differ."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from graphspec.cli.output import Output
from graphspec.cli.run import clock, said, words
from graphspec.errors import Diagnostic, fail
from graphspec.training.history import History, differing, find_runs, read_run
from graphspec.training.measures import EXACT, LOSS, is_share

NONE = "-"
"""Of what a run does not have."""


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.usage = "graphspec runs [DIR] [--json]\n       graphspec runs compare RUN RUN [RUN ...] [--json]"
    sub.add_argument("words", nargs="*", metavar="DIR", help="where to look (default: runs); or `compare` and two runs or more")


def run(args: argparse.Namespace, out: Output) -> int:
    if args.words[:1] == ["compare"]:
        return compare(args.words[1:], out)
    if len(args.words) > 1:
        raise fail("E0807", "one folder to look for runs in is wanted", helps=["to compare runs: `graphspec runs compare RUN RUN`"])
    return listing(Path(args.words[0]) if args.words else None, out)


# -- the list --------------------------------------------------------------------------------------------------------------------


def listing(given: Path | None, out: Output) -> int:
    """Each run below a folder, the oldest first; E0801 for a folder that is not there."""
    folder = given or Path("runs")
    if given is not None and not os.path.isdir(given):
        raise fail("E0802" if given.exists() else "E0801", f"{given} {'is not a folder' if given.exists() else 'does not exist'}")
    runs = sorted((read_run(path) for path in find_runs(folder)), key=lambda run: (run.began() or "", str(run.path)))
    warn(runs, out)
    if out.as_json:
        out.json([summary(run) for run in runs])
    elif runs:
        heading = ("run", "spec", "state", "steps", "time", "held out, best", "began (UTC)")
        out.table([heading, *(row(run) for run in runs)], right=(3, 4), indent="")
    else:
        out.note(f"no runs in {folder}")
    return 0


def row(run: History) -> tuple[str, ...]:
    """One run's line of the list."""
    best = run.best()
    name = measure(best)
    measured = f"{said(name, best[name])} {words(name)}" if name else NONE
    return str(run.path), run.spec, run.state, f"{run.last_step:,}", clock(run.seconds()), measured, moment(run)


def measure(values: dict[str, float]) -> str | None:
    """Which of the measures says most: what part is right, then the data's own, then the loss."""
    return min(values, key=lambda name: (name != EXACT, not is_share(name), name == LOSS), default=None)


def moment(run: History) -> str:
    """When it began, to the minute."""
    return (run.began() or NONE)[:16].replace("T", " ")


def warn(runs: Sequence[History], out: Output) -> None:
    warnings: list[Diagnostic] = [warning for run in runs for warning in run.damaged]
    out.warnings(warnings)


def summary(run: History) -> dict[str, Any]:
    """Everything about one run as plain data."""
    training = run.training()
    return {
        "run": str(run.path), "spec": run.spec, "state": run.state, "steps": run.last_step, "began": run.began(),
        "seconds": round(run.seconds(), 3), "symbols_per_second": run.pace(), "train_loss": training[-1][1] if training else None,
        "final": run.final(), "best_step": run.best_step(), "best": run.best(), "changed": run.changed(),
        "damaged": [d.to_json() for d in run.damaged],
    }  # fmt: skip


# -- the comparison --------------------------------------------------------------------------------------------------------------


def compare(paths: Sequence[str], out: Output) -> int:
    """How runs went, side by side, and what they were made with that differs."""
    if len(paths) < 2:
        raise fail("E0807", "two runs or more are compared", helps=["`graphspec runs compare RUN RUN`"])
    runs = [read_run(path) for path in paths]
    warn(runs, out)
    options, versions = differing([run.options() for run in runs]), differing([run.environment() for run in runs])
    if out.as_json:
        out.json({"runs": [summary(run) for run in runs], "options": options, "environment": versions})
        return 0
    rows = [("", *paths), *facts(runs)]
    rows += section("what differs of options and data", options, len(runs))
    rows += section("what differs of versions and machine", versions, len(runs))
    out.table(rows, indent="")
    return 0


def facts(runs: Sequence[History]) -> list[tuple[str, ...]]:
    """A line for each thing that a run came to."""
    summaries = [summary(run) for run in runs]
    rows: list[tuple[str, ...]] = [
        ("spec", *(run.spec for run in runs)),
        ("state", *(run.state for run in runs)),
        ("began (UTC)", *map(moment, runs)),
        ("steps", *(f"{run.last_step:,}" for run in runs)),
        ("time", *(clock(run.seconds()) for run in runs)),
        ("symbols a second", *(f"{pace:,.0f}" if (pace := s["symbols_per_second"]) else NONE for s in summaries)),
        ("training loss", *(f"{loss:.4f}" if (loss := s["train_loss"]) is not None else NONE for s in summaries)),
        ("best step", *(f"{step:,}" if (step := s["best_step"]) is not None else NONE for s in summaries)),
    ]
    rows += [("changed on the way", *turn) for turn in zip_longest(*(run.changed() for run in runs), fillvalue=NONE)]
    for name in dict.fromkeys(name for s in summaries for name in s["final"]):
        for when in ("best", "final"):
            values = (s[when].get(name) for s in summaries)
            rows.append((f"{words(name)}, held out, {when}", *(NONE if value is None else told(name, value) for value in values)))
    return rows


def told(name: str, value: float) -> str:
    return f"{value:.4f}" if name == LOSS else said(name, value)


def section(title: str, differences: dict[str, list[Any]], count: int) -> list[tuple[str, ...]]:
    """Rows under a heading; one that says so where nothing differs."""
    rows: list[tuple[str, ...]] = [("", *[""] * count), (title if differences else f"{title}: nothing", *[""] * count)]
    return rows + [(f"  {name}", *map(plain, values)) for name, values in differences.items()]


def plain(value: Any) -> str:
    if value is None:
        return NONE
    if isinstance(value, float):  # Lua's numbers all are
        return f"{value:.10g}"
    return value if isinstance(value, str) else json.dumps(value)
