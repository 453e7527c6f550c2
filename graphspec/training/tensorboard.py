"""What a run tells, for TensorBoard: its losses, measures and pace as event files in ``<run>/tensorboard``."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from graphspec.errors import fail
from graphspec.extras import need
from graphspec.tensorfile import make_folder
from graphspec.training.loop import measures
from graphspec.training.measures import LOSS, is_share
from graphspec.training.rundir import Event, RunDir

TOLD = ("loss", "learning_rate", "gradient_norm")
"""What every step tells."""
PACE = "train/symbols_per_second"
EVERY = 1.0
"""Seconds over which the pace is taken."""


class TensorBoard:
    """Writes a run's events as they come; E0820 when the package ``tensorboard`` is not installed.

    Each session of a run (it may be stopped and resumed) has a file of its own, which begins by taking back what earlier ones said of steps
    from the resumed one on: TensorBoard shows every step once.  A run that only looks at its end writes nothing.
    """

    def __init__(self, run: Path, clock: Callable[[], float] = time.time) -> None:
        need("tensorboard", "tensorboard", "event files need")
        self.run = run
        self.clock = clock
        self._records: Any = None
        self._start = 0
        self._symbols, self._since = 0, clock()

    def follow(self, events: Generator[Event, None, None]) -> Generator[Event, None, None]:
        """Write each event and hand it on; E0805 when writing fails.  Closing this closes ``events``."""
        try:
            with contextlib.closing(events):
                for event in events:
                    self._write(event)
                    yield event
        finally:
            if self._records is not None:
                self._records.close()

    def _write(self, event: Event) -> None:
        if event["event"] == "start":
            self._start, self._symbols, self._since = event["step"], 0, self.clock()
        if event["event"] not in ("step", "valid"):
            return
        try:
            if self._records is None:
                self._open()
            self._add(event["step"], {**scalars(event), **self._pace(event)})
        except OSError as failure:
            raise fail("E0805", f"{self.run / 'tensorboard'} cannot be written: {failure.strerror or failure}") from None

    def _open(self) -> None:
        from tensorboard.compat.proto.event_pb2 import Event as Message
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder = self.run / "tensorboard"
        make_folder(folder)
        number = 1 + max((int(p.suffix[1:]) for p in folder.glob("events.out.tfevents.*") if p.suffix[1:].isdigit()), default=0)
        # by number, not by time: files are read in the order of their names, whatever the clock did between two sessions
        self._records = RecordWriter(open(folder / f"events.out.tfevents.{number:06d}", "xb", buffering=0))  # noqa: SIM115  (closed in follow)
        now = self.clock()
        self._record(Message(wall_time=now, file_version="brain.Event:2"))
        self._record(Message(wall_time=now, step=self._start, session_log=SessionLog(status=SessionLog.START)))
        for _, event in RunDir(self.run).events():  # a kill may have come between a checkpoint and what was said of its step
            if event["event"] in ("step", "valid") and event["step"] == self._start:
                self._add(self._start, scalars(event))

    def _pace(self, event: Event) -> dict[str, float]:
        """Symbols a second since it was told last, when that is long enough ago; validation counts, as in the progress display."""
        self._symbols += event.get("symbols", 0)
        seconds = self.clock() - self._since
        if seconds < EVERY:
            return {}
        pace = self._symbols / seconds
        self._symbols, self._since = 0, self.clock()
        return {PACE: pace}

    def _add(self, step: int, scalars: dict[str, float]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event as Message
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        self._record(Message(wall_time=self.clock(), step=step, summary=Summary(value=values)))

    def _record(self, message: Any) -> None:
        self._records.write(message.SerializeToString())


def scalars(event: Event) -> dict[str, float]:
    """The numbers of a step or a validation, by their tags."""
    if event["event"] == "step":
        running = {f"train/running_{name}": event[f"train_{name}"] for name in event if f"train_{name}" in event}
        return {**{f"train/{name}": event[name] for name in TOLD}, **running, **{f"train/{n}": v for n, v in event.items() if is_share(n)}}
    loss = {"valid/loss": event[LOSS]} if LOSS in event else {}
    return {**loss, **{f"valid/{name}": value for name, value in measures(event).items()}}
