"""Optimizers without PyTorch: their records, Graves' equations, resuming, agreement of devices, errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphspec
from graphspec.build.values import number_text
from graphspec.errors import SpecError
from graphspec.ir.verify import verify
from graphspec.training.optimizers import OPTIMIZERS, RANGES
from graphspec.training.step import evaluation_program, training_program
from updates import CASES, rate, updates

LANGUAGE = Path(__file__).parent.parent / "docs" / "language.md"
SPEC = """
local points = data.arrays {{ batch = 8, valid = 0.25 }}
local x, y = nn.Identity{{'B', 5}}(), nn.Identity{{'B', 2}}()
local hidden = nn.Dropout(0.3)(nn.BatchNormalization(6)(nn.Tanh()(nn.Linear(5, 6)(x))))
local predicted = nn.Linear(6, 2)(hidden)
return experiment {{
  loss = nn.MSECriterion()({{predicted, y}}), inputs = {{ [x] = points.x, [y] = points.y }},
  optimizer = optim.{optimizer}, clip_norm = 1, {fields}
}}
"""


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = np.random.default_rng(5)
    x = draw.standard_normal((64, 5))
    path = tmp_path_factory.mktemp("points") / "points.npz"
    np.savez(path, x=x, y=np.tanh(x[:, :2] * x[:, 2:4]))
    return path


def made(points: Path, optimizer: str, fields: str = "", **more: Any) -> graphspec.Experiment:
    text = SPEC.format(optimizer=optimizer, fields=fields)
    return graphspec.experiment(text, **{"device": "numpy", "dtype": "float64", "data.path": str(points), **more})


def call(name: str, fields: Mapping[str, Any]) -> str:
    """An optimizer with these fields, in Lua."""
    return f"{name} {{ {', '.join(f'{k} = {str(v).lower()}' for k, v in fields.items())} }}"


@pytest.mark.parametrize("held", ["nn.ZeroGrad()(body(x))", "nn.SelectTable(1)(nn.Scan(cell){xs = nn.View(1, -1, 5)(x)})"])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("optimizer", ["adamw {}", "sgd { weightDecay = 0.5, momentum = 0.9 }"])
def test_decay_leaves_what_no_gradient_reaches(optimizer: str, accumulate: int, held: str, points: Path) -> None:
    """A layer behind nn.ZeroGrad that is not to be trained shrank all the same."""
    text = SPEC.format(optimizer=optimizer, fields=f"accumulate = {accumulate}").replace(
        "local hidden = nn.Dropout(0.3)(nn.BatchNormalization(6)(nn.Tanh()(nn.Linear(5, 6)(x))))",
        "local body, now, before = nn.Linear(5, 6), nn.Identity()(), nn.Identity()()\n"
        "local y1 = nn.ZeroGrad()(body(now))\n"
        "local cell = nn.gModule({now, before}, {y1, nn.CAddTable()({before, y1})})\n"
        f"local hidden = nn.View(-1, 6)({held})",
    )
    experiment = graphspec.experiment(text, device="numpy", **{"data.path": str(points)})
    before = {name: array.copy() for name, array in experiment.parameters.items()}
    for _ in range(3):
        experiment.train_step()
    moved = {name: bool((array != before[name]).all()) for name, array in experiment.parameters.items()}
    assert moved == {"body.weight": False, "body.bias": False, "Linear.weight": True, "Linear.bias": True}


# -- records ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_samples_set_every_field_otherwise(name: str) -> None:
    record = OPTIMIZERS[name]
    assert {k for sample in record.samples for k, v in sample.items() if v != record.fields[k]} == set(record.fields)
    assert {k for k, v in record.fields.items() if not isinstance(v, bool)} <= set(RANGES)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_documentation_has_its_row(name: str) -> None:
    record = OPTIMIZERS[name]
    fields = ", ".join(f"`{k} = {str(v).lower() if isinstance(v, bool) else number_text(float(v))}`" for k, v in record.fields.items())
    assert f"\n| `optim.{name}` | {fields} | {record.source} |\n" in LANGUAGE.read_text()


def test_there_is_no_state_that_is_not_needed(points: Path) -> None:
    wanted = {
        "sgd {}": [], "sgd { momentum = .9 }": ["velocity"], "rmsprop {}": ["square"],
        "rmsprop { momentum = .9, centered = true }": ["square", "mean", "velocity"], "adam {}": ["mean", "square"],
    }  # fmt: skip
    assert {o: [name.partition(".")[2] for name in made(points, o).optimizer_state] for o in wanted} == wanted


# -- arithmetic ------------------------------------------------------------------------------------------------------------------


def graves(fields: Mapping[str, Any], w: Any, gradients: Any) -> list[Any]:
    """Equations 38 to 45 of "Generating sequences with recurrent neural networks", line by line."""
    keep, momentum, eps = fields["alpha"], fields["momentum"], fields["epsilon"]
    n = g = delta = np.zeros_like(w)
    found = []
    for step, epsilon in enumerate(gradients, 1):
        epsilon = epsilon + fields["weightDecay"] * w
        n = keep * n + (1 - keep) * epsilon**2
        g = keep * g + (1 - keep) * epsilon
        delta = momentum * delta - rate(fields, step) * epsilon / np.sqrt(n - g**2 + eps)
        w = w + delta
        found.append(w)
    return found


@pytest.mark.parametrize("case", [case for case, (name, _) in CASES.items() if name == "rmsprop_graves"])
def test_rmsprop_as_graves_wrote_it(case: str) -> None:
    name, fields = CASES[case]
    draw = np.random.default_rng(0)
    start, gradients = draw.standard_normal(7), draw.standard_normal((50, 7))
    for step, (mine, wanted) in enumerate(zip(updates(name, fields, start, gradients), graves(fields, start, gradients), strict=True), 1):
        np.testing.assert_allclose(mine, wanted, rtol=0, atol=1e-10, err_msg=f"step {step}")


@pytest.mark.parametrize("case", CASES)
def test_float32_follows_float64(case: str) -> None:
    """The corrections of Adam's first steps, too, are as good as the type."""
    name, fields = CASES[case]
    draw = np.random.default_rng(0)
    start, gradients = draw.standard_normal(7).astype(np.float32), draw.standard_normal((50, 7)).astype(np.float32)
    singles = list(updates(name, fields, start, gradients))
    doubles = list(updates(name, fields, start.astype(np.float64), gradients.astype(np.float64)))
    assert singles[0].dtype == np.float32
    np.testing.assert_allclose(singles, doubles, rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(singles[0], doubles[0], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("case", CASES)
def test_programs_are_sound_and_devices_agree(case: str, points: Path) -> None:
    optimizer = call(*CASES[case])
    here, there = (made(points, optimizer, device=device) for device in ("numpy", "reference"))
    verify(training_program(here.setup))
    verify(evaluation_program(here.setup))
    for _ in range(4):
        np.testing.assert_allclose(here.train_step(), there.train_step(), rtol=1e-12)
    for name, value in here.tensors().items():
        np.testing.assert_allclose(value, there.tensors()[name], rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_a_resumed_run_is_the_same_bit_for_bit(case: str, points: Path, tmp_path: Path) -> None:
    run = made(points, call(*CASES[case]), "epochs = 2, schedule = 'linear'", dtype="float32")
    for _ in range(5):
        run.train_step()
    run.save(tmp_path / "x")
    resumed = graphspec.Experiment.load(tmp_path / "x", device="numpy", **{"data.path": str(points)})
    assert [resumed.train_step() for _ in range(5)] == [run.train_step() for _ in range(5)]
    after = resumed.tensors()
    assert {name: value.tobytes() for name, value in run.tensors().items()} == {name: value.tobytes() for name, value in after.items()}


# -- errors ----------------------------------------------------------------------------------------------------------------------

WRONG = {
    "sgd { learningRate = -1 }": "optim.learningRate must be at least 0 and finite, got -1",
    "sgd { learningRate = 1/0 }": "optim.learningRate must be at least 0 and finite, got inf",
    "sgd { learningRate = 0/0 }": "optim.learningRate must be at least 0 and finite, got nan",
    "sgd { momentum = -0.5 }": "optim.momentum must be at least 0 and finite, got -0.5",
    "sgd { weightDecay = -0.5 }": "optim.weightDecay must be at least 0 and finite, got -0.5",
    "sgd { momentum = 0.5, dampening = 1/0 }": "optim.dampening must be finite, got inf",
    "sgd { nesterov = true }": "optim.nesterov needs momentum, and no dampening",
    "sgd { nesterov = true, momentum = 0.9, dampening = 0.1 }": "optim.nesterov needs momentum, and no dampening",
    "adagrad { learningRateDecay = -1 }": "optim.learningRateDecay must be at least 0 and finite, got -1",
    "rmsprop { alpha = 1 }": "optim.alpha must be at least 0 and less than 1, got 1",
    "rmsprop { epsilon = -1 }": "optim.epsilon must be at least 0 and finite, got -1",
    "adadelta { rho = 1.5 }": "optim.rho must be at least 0 and less than 1, got 1.5",
    "adam { beta1 = 1 }": "optim.beta1 must be at least 0 and less than 1, got 1",
    "adamw { beta2 = -0.1 }": "optim.beta2 must be at least 0 and less than 1, got -0.1",
}


@pytest.mark.parametrize("optimizer", WRONG)
def test_fields_out_of_range_are_told_where_they_stand(optimizer: str, points: Path) -> None:
    with pytest.raises(SpecError, match=re.escape(WRONG[optimizer])) as caught:
        made(points, optimizer)
    (found,) = caught.value.diagnostics
    assert found.code == "E0616"
    assert found.span is not None and found.span.line == 8


@pytest.mark.parametrize("value", ["-1", "nan", "inf"])
def test_a_field_from_outside_is_told_as_such(value: str, points: Path) -> None:
    with pytest.raises(SpecError, match=r"optim.learningRate must be at least 0.*, got") as caught:
        made(points, "adam {}", **{"optim.learningRate": value})
    (found,) = caught.value.diagnostics
    assert (found.code, found.span) == ("E0616", None)
    assert found.notes == ("optim.learningRate was given from outside the spec",)


def test_data_are_no_optimizer(points: Path) -> None:
    more: dict[str, Any] = {"data.path": str(points)}
    with pytest.raises(SpecError, match=r"optimizer must be made by optim, got data\.arrays") as caught:
        graphspec.experiment(SPEC.replace("optim.{optimizer}", "points").format(fields=""), **more)
    assert caught.value.diagnostics[0].code == "E0606"
