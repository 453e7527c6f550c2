"""Gradient accumulation: several batches make one step, and count as several everywhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphspec
from graphspec.errors import SpecError
from graphspec.ir.verify import verify
from graphspec.training.step import accumulation_program, training_program

POINTS = """
local points = data.arrays { batch = 8, valid = 0 }
local x, y = nn.Identity{'B', 5}(), nn.Identity{'B', 2}()
local predicted = nn.Linear(6, 2)(nn.Tanh()(nn.Linear(5, 6)(x)))
return experiment {
  loss = nn.MSECriterion()({predicted, y}), inputs = { [x] = points.x, [y] = points.y },
  optimizer = optim.adam { learningRate = 1e-2 }, clip_norm = 0.5
}
"""
TEXT = """
local text = data.text { batch = 3, seq_len = 4, valid = 0.9 }
local token, prev = nn.Identity{'B', dtype = 'int32'}(), nn.Identity()()
local x = nn.Dropout(0.5)(nn.BatchNormalization(4)(nn.LookupTable(text.vocab_size, 4)(token)))
local h = nn.Tanh()(nn.CAddTable()({x, nn.Linear(4, 4)(prev)}))
local step = nn.gModule({token, prev}, {nn.LogSoftMax()(nn.Linear(4, text.vocab_size)(h)), h})
local tokens, targets = nn.Identity{'T', 'B', dtype = 'int32'}(), nn.Identity{'T', 'B', dtype = 'int32'}()
local state = nn.Identity()()
local log_p, next_state = nn.Scan(step)({tokens, state}):split(2)
return experiment {
  loss = nn.ClassNLLCriterion()({log_p, targets}),
  inputs = { [tokens] = text.tokens, [targets] = text.targets },
  carry = { [state] = next_state },
  optimizer = optim.adam { learningRate = 1e-2 },
  schedule = 'plateau', schedule_patience = 0, schedule_decay = 0.5
}
"""


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = np.random.default_rng(5)
    x = draw.standard_normal((48, 5))
    path = tmp_path_factory.mktemp("points") / "points.npz"
    np.savez(path, x=x, y=np.tanh(x[:, :2] * x[:, 2:4]))
    return path


def on_points(path: Path, accumulate: int, batch: int, **more: Any) -> graphspec.Experiment:
    given = {"data.path": str(path), "experiment.accumulate": accumulate, "data.batch": batch, **more}
    return graphspec.experiment(POINTS, **{"device": "numpy", "dtype": "float64", **given})


def on_text(accumulate: int, **more: Any) -> graphspec.Experiment:
    return graphspec.experiment(TEXT, **{"device": "numpy", "experiment.accumulate": accumulate, **more})


def contents(experiment: graphspec.Experiment) -> dict[str, bytes]:
    return {name: value.tobytes() for name, value in experiment.tensors().items()}


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 2e-5)])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_batches_of_one_step_are_as_one_large_batch(points: Path, dtype: str, tolerance: float, optimizer: str) -> None:
    """Over two passes, with clipping of the mean gradient."""
    text = POINTS.replace("optim.adam", f"optim.{optimizer}")
    given: dict[str, Any] = {"device": "numpy", "dtype": dtype, "data.path": str(points)}
    parts, whole = (
        graphspec.experiment(text, **given, **{"experiment.accumulate": k, "data.batch": 24 // k}) for k in (3, 1)
    )  # fmt: skip
    assert (parts.total_steps, parts.steps_per_epoch) == (whole.total_steps, whole.steps_per_epoch) == (20, 2)
    for _ in range(4):
        np.testing.assert_allclose(parts.train_step(), whole.train_step(), rtol=tolerance)
        np.testing.assert_allclose(parts.gradient_norm, whole.gradient_norm, rtol=10 * tolerance)
        assert parts.symbols == whole.symbols == 24
    np.testing.assert_allclose(parts.flat_parameters, whole.flat_parameters, rtol=0, atol=10 * tolerance)


def test_at_rate_0_they_are_as_many_steps() -> None:
    """Data, carried state, running statistics and random numbers go on with every batch; the loss is the mean."""
    three, one = on_text(3, **{"optim.learningRate": 0}), on_text(1, **{"optim.learningRate": 0})
    for _ in range(3):
        np.testing.assert_allclose(three.train_step(), np.mean([one.train_step() for _ in range(3)]), rtol=1e-6)
    mine, theirs = contents(three), contents(one)
    same = [name for name in mine if not name.startswith("optimizer.")]
    assert {name: mine[name] for name in same} == {name: theirs[name] for name in same}
    assert any(name.startswith("carry:") for name in same) and any("running" in name for name in same)


@pytest.mark.parametrize("device", ["numpy", "reference"])
@pytest.mark.parametrize("before", [1, 3])
def test_a_resumed_run_is_the_same_bit_for_bit(before: int, device: str, tmp_path: Path) -> None:
    run = on_text(3, device=device)
    for step in range(before):
        run.train_step()
        run.schedule.validated(float(step))  # 0 is the best: the rate falls from the second on
    run.save(tmp_path / "x")
    resumed = graphspec.Experiment.load(tmp_path / "x", device=device)
    for experiment in (run, resumed):
        experiment.schedule.validated(1.0)
    assert [(resumed.learning_rate, resumed.train_step()) for _ in range(3)] == [(run.learning_rate, run.train_step()) for _ in range(3)]
    assert contents(resumed) == contents(run)
    assert run.learning_rate == 1e-2 * 0.5**before


def test_programs_are_sound_and_devices_agree() -> None:
    here, there = on_text(2, dtype="float64"), on_text(2, dtype="float64", device="reference")
    verify(training_program(here.setup))
    verify(accumulation_program(here.setup))
    for _ in range(3):
        np.testing.assert_allclose(here.train_step(), there.train_step(), rtol=1e-12)
    for name, value in here.tensors().items():
        np.testing.assert_allclose(value, there.tensors()[name], rtol=1e-9, atol=1e-12, err_msg=name)


def test_one_batch_a_step_needs_no_buffer(points: Path) -> None:
    names = [[port.name for port in training_program(on_points(points, k, 8).setup).inputs] for k in (1, 2)]
    assert ["gradients" in ports for ports in names] == [False, True]


@pytest.mark.parametrize(
    ("accumulate", "batch", "epochs", "steps"), [(1, 8, 2, 12), (4, 8, 1, 2), (4, 8, 2, 3), (4, 7, 3, 6), (50, 8, 1, 1)]
)
def test_epochs_are_passes_over_the_data(points: Path, accumulate: int, batch: int, epochs: int, steps: int) -> None:
    """48 examples, in 6 batches of 8 or 7 of 7."""
    assert on_points(points, accumulate, batch, **{"experiment.epochs": epochs}).total_steps == steps


def test_schedules_go_by_passes_over_the_data(points: Path) -> None:
    """6 batches a pass, 4 of them a step: the second pass begins within the second step, the third with the fourth."""
    run = on_points(points, 4, 8, **{"experiment.schedule": "step", "experiment.schedule_decay": 0.1})
    rates = []
    for _ in range(5):
        rates.append(run.learning_rate)
        run.train_step()
    np.testing.assert_allclose(rates, [1e-2, 1e-2, 1e-3, 1e-4, 1e-4])


def test_closing_lets_the_thread_go_and_changes_nothing(points: Path) -> None:
    run, other = on_points(points, 2, 8), on_points(points, 2, 8)
    for _ in range(3):
        other.train_step()
    run.close()
    for _ in range(3):
        run.train_step()
        run.close()
    assert contents(run) == contents(other)


@pytest.mark.parametrize("value", [0, 1.5, -1, "nan"])
def test_accumulate_is_a_whole_number(points: Path, value: Any) -> None:
    with pytest.raises(SpecError, match=r"experiment\.accumulate must be a whole number of at least 1") as caught:
        on_points(points, value, 8)
    assert caught.value.diagnostics[0].code == "E0606"
