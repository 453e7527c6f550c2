"""What a run folder tells of its run, read with patience: what is damaged is named and left out."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from graphspec.errors import Diagnostic, error, fail
from graphspec.training.checkpoint import Checkpoints
from graphspec.training.lock import holder
from graphspec.training.measures import LOSS, is_share

Event = dict[str, Any]
T = TypeVar("T")
Series = list[tuple[int, float]]
"""A step and a value, in the order of the file."""

SHOWN = 5
"""Damaged lines that are named one by one."""
PREFIXES = {"options": "", "data": "data.", "optimizer": "optim.", "experiment": "experiment."}
"""Parts of run.json, and how the command line begins the names in them."""
CHANGED = "changed"
"""Of run.json: what was set otherwise when the run went on, in words; the rest of it is as it was set last."""
KINDS = {
    **dict.fromkeys(("data", "environment", "experiment", "given", "limits", "optimizer", "options", "plugin_files"), dict),
    **dict.fromkeys((CHANGED, "plugins", "roots"), list),
}
"""What parts of run.json are; one that somebody made something else is left out."""
DEPTH = 3
"""Folders inside folders that are searched for runs."""


@dataclass
class History:
    """One run.  ``settings`` is its run.json (empty where there is none that can be read); ``damaged`` a warning for each file of which a
    part cannot be read."""

    path: Path
    settings: dict[str, Any] = field(default_factory=dict)
    steps: list[Event] = field(default_factory=list)
    valid: list[Event] = field(default_factory=list)
    end: Event | None = None
    times: list[tuple[int, float, str | None]] = field(default_factory=list)
    damaged: list[Diagnostic] = field(default_factory=list)
    going: bool = False
    """Whether a process has the folder's lock."""

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.path.resolve().name

    @property
    def spec(self) -> str:
        """The spec's file name."""
        return Path(str(self.settings.get("spec", "unknown"))).name

    @property
    def last_step(self) -> int:
        return max([event["step"] for event in (*self.steps, *self.valid, *([self.end] if self.end else []))], default=0)

    @property
    def state(self) -> str:
        """``finished``; ``running``; ``stopped``: all that it did is saved; ``interrupted``: it was killed, or it failed."""
        if self.end is not None:
            return "finished"
        if self.going:
            return "running"
        saved = Checkpoints(self.path).steps()
        return "stopped" if saved and saved[0][0] >= self.last_step else "interrupted"

    # -- measures ----------------------------------------------------------------------------------------------------

    def training(self, name: str = "loss") -> Series:
        """The training loss, or what else steps measure, smoothed as it was recorded."""
        found = f"train_{name}"
        return [(event["step"], float(event[found])) for event in self.steps if _is_number(event.get(found))]

    def measures(self) -> dict[str, Series]:
        """``valid_loss`` and the others (``bits_per_char``, ``perplexity``, ``accuracy``, ``exact`` ...) at each validation."""
        found: dict[str, Series] = {}
        for event in self.valid:
            for name, value in event.items():
                if name not in ("event", "step", "best") and _is_number(value):
                    found.setdefault(name, []).append((event["step"], float(value)))
        return found

    def final(self) -> dict[str, float]:
        """Each measure at the last validation."""
        return {name: series[-1][1] for name, series in self.measures().items()}

    def best_step(self) -> int | None:
        """The step of the best checkpoint: of the lowest held-out loss, or of the highest of the measure that is the run's ``best_by``."""
        by = self.settings.get("experiment", {}).get("best_by")
        sign, name = (-1, str(by)) if is_share(str(by)) else (1, LOSS)
        values = [(sign * value, step) for step, value in self.measures().get(name, []) if not math.isnan(value)]
        return min(values)[1] if values else None

    def best(self) -> dict[str, float]:
        """Each measure at the best step."""
        best = self.best_step()
        return {name: value for name, series in self.measures().items() for step, value in series if step == best}

    # -- time --------------------------------------------------------------------------------------------------------

    def began(self) -> str | None:
        """When, in UTC (``2026-01-31T12:00:00+00:00``)."""
        return next((at for _, _, at in self.times if at), None)

    def clock(self) -> Series:
        """Seconds of training up to a step, over all the times it was resumed; what was done and lost does not count."""
        found: Series = []
        before = 0.0
        for step, seconds, at in self.times:
            if at is not None:  # it begins, or goes on, after this step
                found = [point for point in found if point[0] <= step]
                before = found[-1][1] if found else 0.0
            found.append((step, before + seconds))
        return found

    def seconds(self) -> float:
        """How long it has trained in all."""
        return max((seconds for _, seconds in self.clock()), default=0.0)

    def pace(self) -> float | None:
        """Symbols a second, validation included."""
        clock = self.clock()
        if not clock or not self.seconds():
            return None
        symbols: int = sum(event.get("symbols", 0) for event in self.steps if event["step"] <= clock[-1][0])
        return symbols / self.seconds()

    # -- what it was made with ---------------------------------------------------------------------------------------

    def options(self) -> dict[str, Any]:
        """Everything that could be set, by the name it is set with, and a hash of the spec's text."""
        parts = {prefix: self.settings.get(part) for part, prefix in PREFIXES.items()}
        found = {prefix + name: value for prefix, part in parts.items() if isinstance(part, dict) for name, value in part.items()}
        found.update({name: self.settings[name] for name in ("parameters", "dtype", "device") if name in self.settings})
        return {"spec": self.spec, **found, "the spec's text": self._digest()}

    def changed(self) -> list[str]:
        """What was set otherwise when it went on: ``after step 400, optim.learningRate: 0.002, now 0.001``."""
        return [text for text in self.settings.get(CHANGED, []) if isinstance(text, str)]

    def environment(self) -> dict[str, Any]:
        """Versions and machine."""
        return dict(self.settings.get("environment", {}))

    def _digest(self) -> str | None:
        folder = self.path / "spec"
        copies = sorted(p for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else []
        total = hashlib.sha256()
        for path in copies:
            total.update(f"{path.relative_to(folder).as_posix()}\0".encode(errors="surrogateescape") + _bytes(path) + b"\0")
        return f"sha256 {total.hexdigest()[:12]}" if copies else None


def is_run(path: Path) -> bool:
    """Whether a folder holds a run."""
    return os.path.isfile(path / "run.json") or os.path.isfile(path / "metrics.jsonl")


def read_run(path: str | Path) -> History:
    """The run in a folder; E0835 when there is none, E0801 when a file of it cannot be read."""
    folder = Path(path)
    if not is_run(folder):
        what = "is no folder of a run" if folder.is_dir() else "is a file, not the folder of a run" if folder.exists() else "does not exist"
        inside = ", ".join(map(str, find_runs(folder)[:SHOWN]))
        help = f"in it: {inside}" if inside else "a run's folder is what `graphspec run --out DIR` makes; it holds metrics.jsonl"
        raise fail("E0835", f"{folder} {what}", helps=[help])
    found = History(folder, going=holder(folder) is not None)
    found.settings = _settings(folder / "run.json", found.damaged)
    for event in _lines(folder / "metrics.jsonl", found.damaged, _event):
        if event["event"] == "step":
            found.steps.append(event)
        elif event["event"] == "valid":
            found.valid.append(event)
        elif event["event"] == "end":
            found.end = event
    found.times = _lines(folder / "times.jsonl", found.damaged, _time)
    return found


def find_runs(folder: Path, depth: int = DEPTH) -> list[Path]:
    """The folders of runs in a folder (or it itself), by name; hidden ones, and those that may not be read, are passed over."""
    if is_run(folder):
        return [folder]
    if not depth or not os.path.isdir(folder) or not os.access(folder, os.R_OK | os.X_OK):
        return []
    inside = sorted(p for p in folder.iterdir() if os.path.isdir(p) and not p.name.startswith("."))
    return [run for path in inside for run in find_runs(path, depth - 1)]


def differing(tables: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """The names whose values are not the same in all, with the value of each (None where it has none)."""
    names = dict.fromkeys(name for table in tables for name in table)
    rows = {name: [table.get(name) for table in tables] for name in names}
    return {name: values for name, values in rows.items() if any(a != b for a, b in pairwise(values))}


# -- reading ---------------------------------------------------------------------------------------------------------------------


def _bytes(path: Path) -> bytes:
    """The bytes of a file, none where there is no file; E0801 for a folder or a device (which may have no end) in its place."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise fail("E0801", f"{path} cannot be read: it is not a file")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as failure:
        raise fail("E0801", f"{path} cannot be read: {failure.strerror or failure}") from None


def _settings(path: Path, damaged: list[Diagnostic]) -> dict[str, Any]:
    found = _json(_bytes(path))
    if isinstance(found, dict):
        return sound(found)
    damaged.append(error("W0835", f"{path} is damaged or missing: what the run was set to is not known", severity="warning"))
    return {}


def sound(settings: dict[str, Any]) -> dict[str, Any]:
    """A run.json without the parts that are not what a run writes."""
    return {name: value for name, value in settings.items() if isinstance(value, KINDS.get(name, object))}


def _lines(path: Path, damaged: list[Diagnostic], entry: Callable[[Any], T | None]) -> list[T]:
    """The entries of a file of JSON lines; one warning names those that are none."""
    lines = _bytes(path).decode(errors="replace").split("\n")
    read = [(number, line, entry(_json(line))) for number, line in enumerate(lines, 1) if line.strip()]
    wrong = [(number, line) for number, line, found in read if found is None]
    if wrong:
        named = [f"line {number}: {line[:60]}{'...' if len(line) > 60 else ''}" for number, line in wrong[:SHOWN]]
        rest = [f"and {len(wrong) - SHOWN:,} more"] if len(wrong) > SHOWN else []
        message = f"{path}: left out, because they are damaged or not whole: {len(wrong):,} of {len(read):,} lines"
        damaged.append(error("W0835", message, severity="warning", notes=[*named, *rest]))
    return [found for _, _, found in read if found is not None]


def _json(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and _is_number(value) and value >= 0


def _event(found: Any) -> Event | None:
    """A line of metrics.jsonl, if it is one; kinds that this version does not know are let through."""
    if not isinstance(found, dict) or not isinstance(found.get("event"), str) or not _is_count(found.get("step")):
        return None
    whole = found["event"] != "step" or (_is_number(found.get("train_loss")) and _is_count(found.get("symbols", 0)))
    return found if whole else None


def _time(found: Any) -> tuple[int, float, str | None] | None:
    """A line of times.jsonl, if it is one."""
    if not isinstance(found, dict) or not _is_count(found.get("step")) or not _is_number(found.get("seconds")):
        return None
    at = found.get("at")
    return found["step"], float(found["seconds"]), at if isinstance(at, str) else None
