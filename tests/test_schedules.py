"""Schedules beyond PyTorch's: starts, floors, warm-up, passes that are no whole number of steps, state, errors."""

from __future__ import annotations

import json
import math
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import graphspec
from graphspec.build.values import number_text
from graphspec.errors import SpecError
from graphspec.training.fields import FIELDS, PARTS, SCHEDULES, WHOLE
from graphspec.training.schedules import Schedule

CHAR_LM = Path(__file__).parent.parent / "specs" / "char_lm.spec"


def schedule(name: str, **fields: Any) -> Schedule:
    return Schedule({**FIELDS, "schedule": name, **{f"schedule_{k}": v for k, v in fields.items()}})


def factors(found: Schedule, steps: int, per_epoch: Fraction | int = 4) -> list[float]:
    return [round(found.factor(step, steps, per_epoch), 12) for step in range(steps)]


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (schedule("constant"), [1.0] * 10),
        (schedule("linear"), [1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2]),
        (schedule("linear", start=0.0, floor=0.75), [1, 0.9, 0.8, *[0.75] * 7]),
        (schedule("exponential", start=0.3, decay=0.5), [1, 1, 1, 1, 1, 1, 1, 0.5, 0.5, 0.5]),
        (schedule("step", decay=0.5), [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]),
        (schedule("step", decay=0.5, every=2), [1, 1, 1, 1, 1, 1, 1, 1, 0.5, 0.5]),
        (schedule("step", decay=0.5, every=2, floor=0.6), [1, 1, 1, 1, 1, 1, 1, 1, 0.6, 0.6]),
        (schedule("step", decay=0.1, unit="steps", every=4), [1, 1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01]),
        (schedule("constant", warmup=4), [0.25, 0.5, 0.75, *[1.0] * 7]),
        (schedule("step", decay=0.5, warmup=5), [0.2, 0.4, 0.6, 0.8, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]),
        (schedule("constant", warmup=2, floor=0.9), [0.5, *[1.0] * 9]),
    ],
)
def test_factors_over_ten_steps_of_four_an_epoch(found: Schedule, wanted: list[float]) -> None:
    assert factors(found, 10) == wanted


def test_passes_end_within_steps() -> None:
    """Ten thirds of a step a pass: in floats, 30 // (10 / 3) would be 8."""
    found = schedule("step", decay=0.5)
    counts = [-math.log2(found.factor(step, 100, Fraction(10, 3))) for step in range(31)]
    assert counts == [step * 3 // 10 for step in range(31)]
    assert counts[30] == 9


def test_the_end_of_a_longer_run_is_not_below_0() -> None:
    assert schedule("linear").factor(12, 10, 4) == 0
    assert schedule("linear").factor(0, 0, 4) == 1


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_begins_with_the_full_rate(name: str) -> None:
    assert schedule(name).factor(0, 10, 4) == 1


def test_a_plateau_below_0_is_one_too() -> None:
    """Log likelihoods of densities are: what is as good as the best is not better."""
    found = schedule("plateau", patience=2, decay=0.5)
    for _ in range(4):
        found.validated(-100.0)
    assert found.factor(0, 1, 1) == 0.5
    found.validated(-100.02)
    assert found.to_json()["best"] == -100.02


def test_only_the_plateau_listens() -> None:
    found = schedule("step", patience=0)
    before = found.to_json()
    for loss in (1.0, 2.0, 3.0):
        found.validated(loss)
    assert found.to_json() == before


@pytest.mark.parametrize("at", range(9))
def test_a_restored_plateau_goes_on_as_it_would_have(at: int) -> None:
    losses = [math.nan, 3.0, 3.0, 3.0, 2.0, 2.5, 2.5, 2.5, 2.5]
    whole, first = schedule("plateau", patience=1, decay=0.5), schedule("plateau", patience=1, decay=0.5)
    for loss in losses[:at]:
        first.validated(loss)
    second = schedule("plateau", patience=1, decay=0.5)
    second.restore(json.loads(json.dumps(first.to_json(), allow_nan=False)))
    for loss in losses[at:]:
        second.validated(loss)
    for loss in losses:
        whole.validated(loss)
    assert second.to_json() == whole.to_json() == {"reached": 0.125, "best": 2.0, "waited": 0}


WRONG: dict[str, tuple[Any, str]] = {
    "schedule": ("linaer", "experiment.schedule must be one of constant, linear, exponential, step, plateau, got 'linaer'"),
    "schedule_unit": ("batches", "experiment.schedule_unit must be one of epochs, steps, got 'batches'"),
    "accuracy": ("yes", "experiment.accuracy must be one of auto, always, never, got 'yes'"),
    "best_by": ("accuracy", "experiment.best_by must be one of loss, got 'accuracy'"),
    "clip_norm": (-1, "experiment.clip_norm must be at least 0 and finite, got -1"),
    "clip_value": ("inf", "experiment.clip_value must be at least 0 and finite, got inf"),
    **{name: (n - 1, f"experiment.{name} must be a whole number of at least {n}, got {n - 1}") for name, n in WHOLE.items()},
    **{name: (1, f"experiment.{name} must be at least 0 and less than 1, got 1") for name in PARTS},
}


def test_every_field_is_checked() -> None:
    assert set(WRONG) == set(FIELDS)


@pytest.mark.parametrize("name", FIELDS)
def test_the_documentation_has_its_row(name: str) -> None:
    default = FIELDS[name]
    shown = f"'{default}'" if isinstance(default, str) else number_text(float(default))
    assert f"\n| `{name} = {shown}` | " in (CHAR_LM.parent.parent / "docs" / "language.md").read_text()


@pytest.mark.parametrize("name", WRONG)
def test_a_field_out_of_range_is_an_error_before_anything_runs(name: str) -> None:
    value, message = WRONG[name]
    with pytest.raises(SpecError, match=re.escape(message)) as caught:
        graphspec.experiment(CHAR_LM, rnn_size=4, **{f"experiment.{name}": value})
    (found,) = caught.value.diagnostics
    assert (found.code, found.span) == ("E0606", None)
    assert found.notes == (f"experiment.{name} was given from outside the spec",)


def test_a_seed_that_no_program_can_take_is_told() -> None:
    with pytest.raises(SpecError, match=r"E0606.*experiment\.seed must be a whole number of at least 0, and below 2\^63, got 1e\+22"):
        graphspec.experiment(CHAR_LM, rnn_size=4, **{"experiment.seed": "10000000000000000000000"})


def test_an_unknown_schedule_in_the_spec_is_told_there() -> None:
    text = CHAR_LM.read_text().replace("epochs = 10", "schedule = 'linaer'")
    with pytest.raises(SpecError, match="'linaer'") as caught:
        graphspec.experiment(text, rnn_size=4, roots=[CHAR_LM.parent])
    (found,) = caught.value.diagnostics
    assert found.code == "E0606"
    assert found.span is not None and found.span.text.startswith("experiment {")
    assert found.helps == ("did you mean `linear`?",)
