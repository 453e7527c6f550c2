"""Learning-rate schedules, as a factor on the optimizer's ``learningRate``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any


class Schedule:
    """What an experiment's ``schedule`` fields say, and what ``plateau`` has seen of the validations.

    ``constant``: 1.  ``linear``: 1 until the part ``schedule_start`` of the run, then straight down to 0 at its end.  ``exponential``:
    times ``schedule_decay`` for each whole epoch after ``schedule_start`` (char-rnn's).  ``step``: times ``schedule_decay`` every
    ``schedule_every`` epochs or steps (PyTorch's StepLR).  ``plateau``: times ``schedule_decay`` after more than ``schedule_patience``
    validations in a row that were not better than the best by the part ``schedule_threshold`` (PyTorch's ReduceLROnPlateau).
    ``schedule_floor`` is the least factor of each; in the first ``schedule_warmup`` steps the rate rises to it in equal parts.
    """

    def __init__(self, fields: Mapping[str, Any]) -> None:
        """``fields``: those of an experiment, checked (:func:`graphspec.training.fields.check_fields`)."""
        self.fields = fields
        self._rule: Callable[[int, int, Fraction | int], float] = getattr(self, f"_{fields['schedule']}")
        self._reached = 1.0
        self._best: float | None = None
        self._waited = 0

    def factor(self, step: int, total: int, per_epoch: Fraction | int) -> float:
        """For step ``step`` (from 0) of ``total``, ``per_epoch`` of which are a pass over the data."""
        warmup = int(self.fields["schedule_warmup"])
        warmed = min(1.0, (step + 1) / warmup) if warmup else 1.0
        return warmed * max(float(self.fields["schedule_floor"]), self._rule(step, total, per_epoch))

    def validated(self, loss: float) -> None:
        """A validation's loss; one that is not a number is not better."""
        if self.fields["schedule"] != "plateau":
            return
        if loss < (math.inf if self._best is None else self._best - abs(self._best) * self.fields["schedule_threshold"]):
            self._best, self._waited = loss, 0
            return
        self._waited += 1
        if self._waited > self.fields["schedule_patience"]:
            self._reached, self._waited = self._reached * self.fields["schedule_decay"], 0

    def to_json(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"reached": self._reached, "best": self._best, "waited": self._waited}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where :meth:`to_json` was taken."""
        self._reached, self._best, self._waited = state["reached"], state["best"], state["waited"]

    # -- rules -------------------------------------------------------------------------------------------------------

    def _constant(self, step: int, total: int, per_epoch: Fraction | int) -> float:
        return 1.0

    def _linear(self, step: int, total: int, per_epoch: Fraction | int) -> float:
        done, start = step / max(total, 1), self.fields["schedule_start"]
        return 1.0 if done <= start else max(0.0, (1 - done) / (1 - start))

    def _exponential(self, step: int, total: int, per_epoch: Fraction | int) -> float:
        after = max(0, step - round(self.fields["schedule_start"] * total))
        return float(self.fields["schedule_decay"] ** int(after // per_epoch))

    def _step(self, step: int, total: int, per_epoch: Fraction | int) -> float:
        unit = 1 if self.fields["schedule_unit"] == "steps" else per_epoch
        return float(self.fields["schedule_decay"] ** int(step // (unit * int(self.fields["schedule_every"]))))

    def _plateau(self, step: int, total: int, per_epoch: Fraction | int) -> float:
        return self._reached
