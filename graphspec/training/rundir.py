"""A run folder: what ran, how it went, and where it can go on."""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from graphspec.build import Limits
from graphspec.errors import Diagnostic, SpecError, error, fail
from graphspec.graph import code_of
from graphspec.machine import environment
from graphspec.tensorfile import write_bytes
from graphspec.training.checkpoint import Checkpoints
from graphspec.training.experiment import Experiment
from graphspec.training.history import CHANGED, PREFIXES, sound
from graphspec.training.lock import Lock

Event = dict[str, Any]
TIMES_EVERY = 100
"""Steps between lines of times.jsonl."""

MATTERS = {"threads": "threads of the matrix products", "blas": "library of matrix products", "numpy": "NumPy", "machine": "machine"}
"""What the last bits of a result depend on, in words."""
FOLLOWS = {("data", "name")}
"""Settings that follow from others, as the data's name does from their path: a difference is not reported twice."""

USUAL = {"steps": None, "device": "cpu", "dtype": "float32", "precision": "float32", "threads": None, "lenient": False}
"""What a command line need not say of a run, by the names of its options."""


class RunDir:
    """``spec/`` (copies), ``run.json`` (options, seed, versions, machine), ``metrics.jsonl``, ``times.jsonl`` and ``checkpoints/``.

    Everything that depends on the clock or the machine is in times.jsonl and run.json: the rest of two runs of one command is equal, byte
    for byte, however often one of them was killed and resumed.  Without a folder (``out`` None) nothing is kept.
    """

    def __init__(self, out: Path | None) -> None:
        self.out = out
        self.checkpoints = Checkpoints(out or Path())
        self._lock = Lock(out) if out is not None else None
        self.started = time.perf_counter()
        self._metrics: Any = None
        self._times: Any = None

    def lock(self) -> list[Diagnostic]:
        """Keep other runs out, until :meth:`close`: E0809 where one is going on, a warning where nothing can be locked."""
        return self._lock.take() if self._lock is not None else []

    def open(self, experiment: Experiment, resume: bool) -> list[Diagnostic]:
        """Make the folder and say what runs; metrics after the checkpoint that is resumed are dropped.

        Returns a warning (W0711) for each thing that may make a resumed run differ in its last bits; run.json keeps them all.  E0806 for a
        folder that is in use.
        """
        if self.out is None:
            return []
        if not resume and (self.out / "metrics.jsonl").exists() and self.checkpoints.steps():
            helps = ["go on with it: `--resume`; or choose another folder with `--out`"]
            raise fail("E0806", f"{self.out} holds a run already", helps=helps)
        now = describe(experiment)
        before = self.read() if resume else {}
        found = changes(before, now) if resume else []
        now[CHANGED] = [*before.get(CHANGED, []), *(f"after step {experiment.steps:,}, {text}" for text in found)]
        for name, text in experiment.opened.to_json()["texts"].items():
            write_bytes(self.out / "spec" / ("spec.spec" if name == "<text>" else name), text.encode())
        write_bytes(self.out / "run.json", json.dumps(now, indent=2, sort_keys=True).encode() + b"\n")
        try:
            kept = self._kept(experiment.steps) if resume else []
            write_bytes(self.out / "metrics.jsonl", "".join(kept).encode())
            self._metrics = open(self.out / "metrics.jsonl", "a", buffering=1, encoding="utf-8")  # noqa: SIM115  (closed in close)
            self._times = open(self.out / "times.jsonl", "a", buffering=1, encoding="utf-8")  # noqa: SIM115
            self._time(experiment.steps, at=datetime.now(UTC).isoformat(timespec="seconds"))
        except OSError as failure:
            raise self._unwritable(failure) from None
        self.checkpoints.sweep()
        message = "the run goes on under other conditions than it began: "
        return [error("W0711", message + text, severity="warning") for text in found]

    def explained(self, failure: SpecError, experiment: Experiment) -> SpecError:
        """Where a checkpoint does not fit (E0706): the same error, with what was set otherwise when the run began."""
        found = set_otherwise(self.read(), describe(experiment)) if failure.code == "E0706" else []
        if not found:
            return failure
        first, *rest = failure.diagnostics
        told = first.with_notes(f"not as when the run began: {'; '.join(found)}")
        again = [f"as it began: `{line}`" for line in [self.command()] if line is not None]
        return SpecError(told.with_help("go on with what the run began with, or start another in a folder of its own", *again), *rest)

    def command(self) -> str | None:
        """The command line that goes on with the run as run.json tells of it; None where it does not say.  A spec that is no longer
        where it was is taken from its copy."""
        known = self.read()
        spec, given = known.get("spec"), known.get("given")
        if self.out is None or not isinstance(spec, str) or not isinstance(given, dict):
            return None
        copy = self.out / "spec" / ("spec.spec" if spec == "<text>" else Path(spec).name)
        words = ["graphspec", "run", str(copy) if copy.is_file() and not os.path.isfile(spec) else spec]
        words += [f"{name}={str(value).lower() if isinstance(value, bool) else _plain(value)}" for name, value in given.items()]
        own = str(Path(spec).resolve().parent)
        words += [f"--root={root}" for root in known.get("roots", []) if root != own]
        for name, usual in USUAL.items():
            if (value := known.get(name, usual)) != usual:
                words.append(f"--{name}" if value is True else f"--{name}={value}")
        words += [f"--limit={name}={value}" for name, value in known.get("limits", {}).items()]
        words += ["--tensorboard"] if (self.out / "tensorboard").is_dir() else []
        return shlex.join([*words, "--out", str(self.out), "--resume"])

    def read(self) -> dict[str, Any]:
        """What run.json holds; nothing where there is none that can be read."""
        path = (self.out or Path()) / "run.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}  # a device may have no end
        except (OSError, ValueError):
            return {}
        return sound(found) if isinstance(found, dict) else {}

    def events(self) -> list[tuple[str, Event]]:
        """What metrics.jsonl holds, line by line, up to one that a kill cut short."""
        path = (self.out or Path()) / "metrics.jsonl"
        found: list[tuple[str, Event]] = []
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True) if path.is_file() else []:
            try:
                event = json.loads(line)
                found.append((line, {"event": event["event"], "step": 0, **event}))
            except (ValueError, KeyError, TypeError):
                break
        return found

    def _kept(self, steps: int) -> list[str]:
        return [line for line, event in self.events() if event["event"] in ("step", "valid") and event["step"] <= steps]

    def end(self) -> Event | None:
        """How the run ended, if it did."""
        lines = self.events()
        return lines[-1][1] if lines and lines[-1][1]["event"] == "end" else None

    def write(self, event: Event) -> None:
        """Add a line to the metrics; E0805 when that fails."""
        if self._metrics is None:
            return
        try:
            self._metrics.write(json.dumps(event) + "\n")
            if event["event"] != "step" or event["step"] % TIMES_EVERY == 0:
                self._time(event["step"])
        except OSError as failure:
            raise self._unwritable(failure) from None

    def _time(self, step: int, **more: str) -> None:
        self._times.write(json.dumps({"step": step, "seconds": round(time.perf_counter() - self.started, 3), **more}) + "\n")

    def save(self, experiment: Experiment, progress: Mapping[str, Any], best: bool = False, stopped: bool = False) -> None:
        """Write a checkpoint, after the metrics up to it have reached the disk."""
        if self.out is None:
            return
        try:
            os.fsync(self._metrics.fileno())
        except OSError as failure:
            raise self._unwritable(failure) from None
        self.checkpoints.write(experiment.steps, experiment.tensors(), {**experiment.state(), "progress": progress}, best, stopped)

    def _unwritable(self, failure: OSError) -> Exception:
        return fail("E0805", f"{self.out} cannot be written: {failure.strerror or failure}")

    def close(self) -> None:
        for file in (self._metrics, self._times):
            if file is not None:
                with suppress(OSError):  # of a full disk: what it could not take was told when it was written
                    file.close()
        self._metrics = self._times = None
        if self._lock is not None:
            self._lock.release()


def describe(experiment: Experiment) -> dict[str, Any]:
    """What run this is, as run.json holds it."""
    opened = experiment.opened
    return {
        "spec": opened.source.path,
        "plugins": list(opened.plugins),
        "plugin_files": {name: file for name in opened.plugins for file in [code_of(name)] if file is not None},
        "roots": [str(root.resolve()) for root in opened.roots],
        "given": {name: value if isinstance(value, (int, float, str, bool)) else str(value) for name, value in opened.options.items()},
        "lenient": opened.lenient,
        "limits": {name: value for name, value in vars(opened.limits).items() if value != getattr(Limits, name)},
        "steps": experiment.total_steps,
        "options": opened.evaluation.options,
        "experiment": experiment.fields,
        "optimizer": {"name": experiment.setup.optimizer.name, **experiment.setup.optimizer_fields},
        "data": {
            "kind": experiment.source.description.kind, **experiment.source.description.fields,
            **{name: value for name, value in experiment.source.to_json().items() if isinstance(value, (int, float, str, bool))},
        },
        "parameters": len(experiment.flat_parameters),
        "dtype": experiment.dtype,
        "device": experiment.device_name,
        "precision": experiment.precision,
        "threads": experiment.threads,
        "environment": environment(),
    }  # fmt: skip


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is not as it was when the run began, as ``name: then, now``."""
    old, new = before.get("environment", {}), now["environment"]
    found = [f"{words}: {old[key]}, now {new[key]}" for key, words in MATTERS.items() if key in old and old[key] != new[key]]
    then, precision = before.get("precision", "float32"), now["precision"]
    found += [f"precision of the matrix products: {then}, now {precision}"] if then != precision else []
    return [*found, *set_otherwise(before, now)]


def set_otherwise(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What was set otherwise when the run began, as ``name: then, now``, by the names that the command line takes."""
    found = []
    for part, prefix in PREFIXES.items():
        then = before.get(part)
        if isinstance(then, dict):
            mine = {name: value for name, value in now[part].items() if then.get(name) != value and (part, name) not in FOLLOWS}
            found += [f"{prefix}{name}: {_shown(then.get(name))}, now {_shown(value)}" for name, value in mine.items()]
    return found


def _plain(value: Any) -> Any:
    return f"{value:.10g}" if isinstance(value, float) else value  # Lua's numbers all are


def _shown(value: Any) -> Any:
    return "''" if value == "" else _plain(value)
