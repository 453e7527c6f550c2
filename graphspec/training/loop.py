"""The run: training steps, validation, checkpoints and metrics, as a stream of events.  Printing is someone else's business."""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graphspec import __version__
from graphspec.errors import fail
from graphspec.tensorfile import write_bytes
from graphspec.training.checkpoint import Checkpoints
from graphspec.training.experiment import Experiment

Event = dict[str, Any]
SMOOTHING = 0.98
"""Weight of the past in the running training loss."""


@dataclass
class RunSettings:
    """``steps``: the total (None: the spec's epochs); ``out``: the run folder (None: nothing is kept); ``resume``: go on there."""

    steps: int | None = None
    out: Path | None = None
    resume: bool = False


def run(experiment: Experiment, settings: RunSettings) -> Generator[Event, None, None]:
    """Train to the end.

    Events: ``{"event": "start", ...}``, ``"step"`` (after each), ``"valid"``, ``"warning"``, and ``"end"`` with ``steps,
    train_loss, valid_loss, bits_per_char, baselines, run_dir``; losses in nats per symbol, bits_per_char and baselines in
    bits.  Closing the iterator early (Ctrl-C) writes a checkpoint first.  Resuming a finished run changes nothing.  E0710 when
    a loss is not finite.
    """
    log = RunLog(settings.out)
    train_loss: float | None = None
    if settings.resume and (newest := log.checkpoints.newest()) is not None:
        tensors, state, skipped = newest
        for warning in skipped:
            yield {"event": "warning", "diagnostic": warning}
        experiment.restore(tensors, state)
        train_loss = state.get("train_loss")
    if settings.steps is not None:
        experiment.total_steps = settings.steps
    start = {
        "event": "start",
        "steps": experiment.total_steps,
        "done": experiment.steps,
        "parameters": len(experiment.flat_parameters),
        "symbols": experiment.source.batch(0).symbols,
    }
    finished = log.end() if settings.resume and experiment.steps >= experiment.total_steps else None
    if finished is not None:  # nothing is left to do, and nothing is touched
        yield start
        yield finished
        return
    log.open(experiment, resume=experiment.steps > 0)
    try:
        yield start
        yield from _train(experiment, log, train_loss)
    finally:
        log.close()


def _train(experiment: Experiment, log: RunLog, train_loss: float | None) -> Generator[Event, None, None]:
    every = int(experiment.fields["valid_every"]) or experiment.source.batches
    best: float = math.inf
    valid: dict[str, float] | None = None
    try:
        while experiment.steps < experiment.total_steps:
            loss = experiment.train_step()
            if not math.isfinite(loss):
                raise fail(
                    "E0710",
                    f"the loss is {loss} at step {experiment.steps}",
                    experiment.spec.loss.origin,
                    "this loss",
                    helps=["lower the learning rate, or clip gradients: `clip_norm = 5` in the experiment"],
                )
            train_loss = loss if train_loss is None else SMOOTHING * train_loss + (1 - SMOOTHING) * loss
            event = {
                "event": "step",
                "step": experiment.steps,
                "loss": loss,
                "train_loss": train_loss,
                "learning_rate": experiment.learning_rate,
                "gradient_norm": experiment.gradient_norm,
            }
            log.write(event)
            yield event
            valid = None
            if experiment.steps % every == 0:
                valid = experiment.evaluate()
                best = _validated(experiment, log, valid, best, train_loss)
                yield {"event": "valid", "step": experiment.steps, **valid}
    except GeneratorExit:
        log.save(experiment, train_loss)
        raise
    if valid is None:
        valid = experiment.evaluate()
        _validated(experiment, log, valid, best, train_loss)
    found = {"valid_loss": None, "bits_per_char": None, **valid}
    end = {
        "event": "end",
        "steps": experiment.steps,
        "train_loss": train_loss,
        **found,
        "baselines": experiment.source.baselines(),
        "run_dir": str(log.out) if log.out else None,
    }
    log.write(end)
    yield end


def _validated(experiment: Experiment, log: RunLog, valid: dict[str, float], best: float, train_loss: float | None) -> float:
    """Write what a validation says; returns the best loss so far."""
    log.write({"event": "valid", "step": experiment.steps, **valid})
    log.save(experiment, train_loss, best=valid.get("valid_loss", math.inf) < best)
    return min(best, valid.get("valid_loss", math.inf))


class RunLog:
    """A run folder: ``spec/`` (copies), ``run.json`` (options, versions), ``metrics.jsonl``, ``times.jsonl`` (wall times),
    ``checkpoints/``."""

    def __init__(self, out: Path | None) -> None:
        self.out = out
        self.checkpoints = Checkpoints(out or Path())
        self.started = time.perf_counter()
        self._metrics: Any = None
        self._times: Any = None

    def open(self, experiment: Experiment, resume: bool) -> None:
        """Make the folder and say what runs; metrics after the checkpoint that is resumed are dropped.  E0806 for a folder in use."""
        if self.out is None:
            return
        if not resume and (self.out / "metrics.jsonl").exists() and self.checkpoints.steps():
            raise fail(
                "E0806", f"{self.out} holds a run already", helps=["go on with it: `--resume`; or choose another folder with `--out`"]
            )
        for source in experiment.opened.evaluation.sources:
            name = Path(source.path).name if source.path != "<text>" else "spec.spec"
            write_bytes(self.out / "spec" / name, source.text.encode())
        write_bytes(self.out / "run.json", json.dumps(describe(experiment), indent=2, sort_keys=True).encode() + b"\n")
        try:
            kept = self._kept(experiment.steps) if resume else []
            self._metrics = open(self.out / "metrics.jsonl", "w", buffering=1)  # noqa: SIM115  (closed in close)
            self._metrics.writelines(kept)
            self._times = open(self.out / "times.jsonl", "a", buffering=1)  # noqa: SIM115
        except OSError as failure:
            raise fail("E0805", f"{self.out} cannot be written: {failure.strerror or failure}") from None
        self.checkpoints.sweep()

    def _metric_lines(self) -> list[tuple[str, Event]]:
        """What metrics.jsonl holds, up to a line that a kill cut short."""
        path = (self.out or Path()) / "metrics.jsonl"
        found = []
        for line in path.read_text().splitlines(keepends=True) if path.exists() else []:
            try:
                found.append((line, json.loads(line)))
            except ValueError:
                break
        return found

    def _kept(self, steps: int) -> list[str]:
        return [line for line, event in self._metric_lines() if event["event"] in ("step", "valid") and event["step"] <= steps]

    def end(self) -> Event | None:
        """How the run ended, if it did."""
        lines = self._metric_lines()
        return lines[-1][1] if lines and lines[-1][1]["event"] == "end" else None

    def write(self, event: Event) -> None:
        if self._metrics is not None:
            try:
                self._metrics.write(json.dumps(event) + "\n")
                if event["event"] != "step" or event["step"] % 100 == 0:
                    self._times.write(
                        json.dumps({"step": event.get("step", event.get("steps")), "seconds": time.perf_counter() - self.started}) + "\n"
                    )
            except OSError as failure:
                raise fail("E0805", f"{self.out} cannot be written: {failure.strerror or failure}") from None

    def save(self, experiment: Experiment, train_loss: float | None, best: bool = False) -> None:
        if self.out is not None:
            self.checkpoints.write(experiment.steps, experiment.tensors(), {**experiment.state(), "train_loss": train_loss}, best)

    def close(self) -> None:
        for file in (self._metrics, self._times):
            if file is not None:
                file.close()
        self._metrics = self._times = None


def describe(experiment: Experiment) -> dict[str, Any]:
    """What run this is: options, seed, versions, machine."""
    return {
        "graphspec": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "dtype": experiment.dtype,
        "seed": experiment.seed,
        "options": experiment.opened.evaluation.options,
        "experiment": {k: v for k, v in experiment.fields.items() if isinstance(v, (int, float, str, bool))},
        "optimizer": {"name": experiment.setup.optimizer.name, **experiment.setup.optimizer_fields},
        "data": {k: v for k, v in experiment.source.to_json().items() if isinstance(v, (int, float, str, bool))},
    }
