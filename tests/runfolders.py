"""Run folders written by hand, for what reads them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

BEGAN = "2026-01-31T12:00:00+00:00"
SETTINGS: dict[str, Any] = {
    "spec": "specs/char_lm.spec", "roots": ["/elsewhere"], "given": {}, "options": {"rnn_size": 128.0}, "experiment": {"seed": 1},
    "optimizer": {"name": "rmsprop", "learningRate": 0.002}, "data": {"kind": "text", "sha256": "abc"}, "parameters": 1000,
    "dtype": "float32", "device": "cpu", "environment": {"numpy": "2.4.6", "threads": 1},
}  # fmt: skip
TIMES = [{"step": 0, "seconds": 0.0, "at": BEGAN}, {"step": 3, "seconds": 6.0}]


def step(number: int, loss: float = 2.0) -> dict[str, Any]:
    rates = {"learning_rate": 0.002, "gradient_norm": 1.0, "symbols": 100}
    return {"event": "step", "step": number, "loss": loss, "train_loss": loss, **rates}


def valid(number: int, loss: float, **measures: float) -> dict[str, Any]:
    return {"event": "valid", "step": number, "valid_loss": loss, **measures, "best": True}


def end(number: int) -> dict[str, Any]:
    return {"event": "end", "step": number, "train_loss": 1.0, "best_step": number, "best_loss": 1.0, "early": False, "baselines": {}}


def lines(entries: list[Any]) -> str:
    """Entries as JSON lines; text stands as it is."""
    return "".join(entry if isinstance(entry, str) else json.dumps(entry) + "\n" for entry in entries)


def make_run(
    folder: Path, events: list[Any], times: list[Any] | None = None, settings: Any = None, *,
    checkpoints: Sequence[str] = (), spec: str = "a",
) -> Path:  # fmt: skip
    """A run folder; ``settings`` go over the usual ones, or are the whole text of run.json."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "spec").mkdir()
    (folder / "spec" / "char_lm.spec").write_text(spec)
    (folder / "run.json").write_text(settings if isinstance(settings, str) else json.dumps({**SETTINGS, **(settings or {})}))
    (folder / "metrics.jsonl").write_text(lines(events))
    (folder / "times.jsonl").write_text(lines(TIMES if times is None else times))
    for name in checkpoints:
        (folder / "checkpoints" / name).write_bytes(b"")
    return folder
