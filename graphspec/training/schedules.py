"""Learning-rate schedules, as a factor on the optimizer's ``learningRate``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphspec.errors import fail
from graphspec.suggest import did_you_mean


def _constant(fields: Mapping[str, Any], done: float, epochs: float) -> float:
    return 1.0


def _linear(fields: Mapping[str, Any], done: float, epochs: float) -> float:
    start = fields["schedule_start"]
    return 1.0 if done <= start else max(0.0, (1 - done) / max(1 - start, 1e-12))


def _exponential(fields: Mapping[str, Any], done: float, epochs: float) -> float:
    after = max(0.0, done - fields["schedule_start"]) * epochs
    return float(fields["schedule_decay"] ** int(after))


SCHEDULES = {"constant": _constant, "linear": _linear, "exponential": _exponential}


def rate_factor(fields: Mapping[str, Any], step: int, total: int, per_epoch: int) -> float:
    """The factor for step ``step`` (from 0) of ``total``; E0606 for a schedule that does not exist.

    ``linear``: 1 until the part ``schedule_start`` of the run, then straight down to 0 at its end.  ``exponential``: times
    ``schedule_decay`` for each whole epoch after ``schedule_start`` (char-rnn's).
    """
    rule = SCHEDULES.get(fields["schedule"])
    if rule is None:
        raise fail("E0606", f"there is no schedule {fields['schedule']!r}", helps=did_you_mean(str(fields["schedule"]), SCHEDULES))
    return rule(fields, step / max(total, 1), total / max(per_epoch, 1))
