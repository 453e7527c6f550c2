"""Accuracy: which criterions say what is right, what does not count, and where it is told."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphspec
from graphspec.cli.main import main
from graphspec.nn.classification import corners
from graphspec.training.experiment import Experiment
from graphspec.training.history import read_run
from graphspec.training.loop import Progress, RunSettings, measures, run
from graphspec.training.tensorboard import scalars

Array = np.ndarray[Any, Any]

SPEC = """
local d = data.arrays {{ path = 'd.npz', batch = {batch}, valid = {valid}, shuffle = false }}
local n = {n}
local x, t = nn.Identity{{{x}}}(), nn.Identity{{{t}}}()
local same = nn.Linear(n, n)
same.weight:copy(torch.eye(n))
same.bias:zero()
local y = {y}
{before}
return experiment {{ loss = {loss}, inputs = {{ [x] = d.x, [t] = d.t {inputs} }}, optimizer = optim.sgd {{ learningRate = 0.5 }}, {more} }}
"""
ROWS, CLASSES = "'B', 4", "'B', dtype = 'int32'"
SCORES = np.array([[3, 1, 2, 0], [0, 5, 1, 1], [2, 2, 0, 1], [1, 1, 1, 1], [0, 1, 2, 9], [4, 0, 0, 3]], np.float32) / 4
LABELS = np.array([1, 2, 2, 1, 4, 4])
RIGHT = (4, 6)
"""Of equals the first is predicted: right are rows 1, 2, 4 and 5."""
LOG_P = SCORES - np.log(np.exp(SCORES).sum(-1, keepdims=True))


def write(folder: Path, loss: str, arrays: dict[str, Any], **fields: Any) -> Path:
    """A spec and its data."""
    np.savez(folder / "d.npz", **arrays)
    filled = {"x": ROWS, "n": 4, "t": CLASSES, "y": "same(x)", "batch": 6, "valid": 0, "before": "", "inputs": "", "more": "", **fields}
    (folder / "model.spec").write_text(SPEC.format(loss=loss, **filled))
    return folder / "model.spec"


def made(folder: Path, loss: str, arrays: dict[str, Any], device: str = "numpy", **fields: Any) -> Experiment:
    return graphspec.experiment(write(folder, loss, arrays, **fields), device=device)


PLAIN = {"x": SCORES, "t": LABELS}
STEPS = {"x": "'B', 'T', 4", "t": "'B', 'T', dtype = 'int32'", "y": "nn.Transpose({1, 2})(nn.Bottle(same)(x))"}
IN_STEPS = {"x": np.stack([SCORES, SCORES[::-1]], 1), "t": np.stack([LABELS, LABELS], 1)}
"""Two steps, the second with the rows in the other order."""
SIDES = np.array([[0.4], [0.6], [0.5], [0.9], [0.1], [0.7]], np.float32)
YES = np.array([0, 1, 0, 1, 1, 0])
ONE = {"n": 1, "x": "'B', 1"}


TIME = "nn.Transpose({1, 2})(t)"
SHORT = np.array([[1, 1], [1, 0], [1, 1], [1, 0], [1, 0], [1, 0]])
ONE_TO_ONE = "nn.Transpose({2, 4})(nn.Bottle(same)(nn.Transpose({2, 4})(x)))"
PLANES = SCORES.reshape(2, 3, 4).transpose(0, 2, 1)[..., None]
"""The rows as places of two images of 3 x 1: [2, 4, 3, 1]."""


CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any], tuple[int, int]]] = {
    "ClassNLL": ("nn.ClassNLLCriterion()({nn.LogSoftMax()(y), t})", PLAIN, {}, RIGHT),
    "CrossEntropy": ("nn.CrossEntropyCriterion()({y, t})", PLAIN, {}, RIGHT),
    "its sum": ("nn.CrossEntropyCriterion(nil, false)({y, t})", PLAIN, {}, RIGHT),
    "weights count for the loss alone": ("nn.CrossEntropyCriterion({0, 1, 1, 9})({y, t})", PLAIN, {}, RIGHT),
    "MultiMargin": ("nn.MultiMarginCriterion()({y, t})", PLAIN, {}, RIGHT),
    "ClassSimplex": ("nn.ClassSimplexCriterion(4)({y, t})", {"x": 0.3 * corners(4)[[0, 1, 0, 0, 3, 2]], "t": LABELS}, {}, RIGHT),
    "ignored": ("nn.CrossEntropyCriterion(nil, true, 0)({y, t})", {"x": SCORES, "t": LABELS * [1, 0, 1, 1, 1, 0]}, {}, (3, 4)),
    "nothing counts": ("nn.CrossEntropyCriterion(nil, true, 0)({y, t})", {"x": SCORES, "t": 0 * LABELS}, {}, (0, 0)),
    "rows of zeros": (
        "nn.MaskZeroCriterion(nn.CrossEntropyCriterion(), 1)({y, t})",
        {"x": SCORES * [[1], [0], [1], [1], [1], [0]], "t": LABELS * [1, 0, 1, 1, 1, 0]}, {}, (3, 4),
    ),
    "rows of zeros and ignored ones": (
        "nn.MaskZeroCriterion(nn.CrossEntropyCriterion(nil, true, 2), 1)({y, t})",
        {"x": SCORES * [[1], [0], [1], [1], [1], [1]], "t": LABELS}, {}, (3, 4),
    ),
    "MaskedLoss": (
        "nn.SelectTable(1)(nn.MaskedLoss()({nn.LogSoftMax()(y), t}))", {"x": SCORES, "t": LABELS * [1, 0, 1, 1, 1, 0]}, {}, (4, 4),
    ),
    "scores that are all 0 are a prediction": ("nn.CrossEntropyCriterion()({y, t})", {"x": 0 * SCORES, "t": LABELS}, {}, (2, 6)),
    "SequencerCriterion": (f"nn.SequencerCriterion(nn.CrossEntropyCriterion())({{y, {TIME}}})", IN_STEPS, STEPS, (6, 12)),
    "of all steps at once": (f"nn.CrossEntropyCriterion()({{y, {TIME}}})", IN_STEPS, STEPS, (6, 12)),
    "RepeaterCriterion": ("nn.RepeaterCriterion(nn.CrossEntropyCriterion())({y, nn.Select(2, 1)(t)})", IN_STEPS, STEPS, (6, 12)),
    "rows of zeros in steps": (
        f"nn.SequencerCriterion(nn.MaskZeroCriterion(nn.CrossEntropyCriterion(), 1))({{y, {TIME}}})",
        {"x": IN_STEPS["x"] * SHORT[..., None], "t": IN_STEPS["t"] * SHORT}, STEPS, (5, 8),
    ),
    "ignored in steps": (
        f"nn.SequencerCriterion(nn.CrossEntropyCriterion(nil, true, 0))({{y, {TIME}}})",
        {"x": IN_STEPS["x"], "t": IN_STEPS["t"] * SHORT}, STEPS, (5, 8),
    ),
    "what follows the end of a sequence": (
        f"nn.ClassNLLCriterion()({{y, {TIME}}})", {**IN_STEPS, "x": IN_STEPS["x"] * SHORT[..., None]}, STEPS, (5, 8),
    ),
    "ParallelCriterion": (
        "nn.ParallelCriterion():add(nn.CrossEntropyCriterion(), 0.5):add(nn.MSECriterion())({{y, nn.Tanh()(y)}, {t, x}})", PLAIN, {}, RIGHT,
    ),
    "ModuleCriterion": ("nn.ModuleCriterion(nn.ClassNLLCriterion(), nn.LogSoftMax())({y, t})", PLAIN, {}, RIGHT),
    "planes": (
        "nn.SpatialClassNLLCriterion()({nn.SpatialLogSoftMax()(y), t})",
        {"x": PLANES, "t": LABELS.reshape(2, 3, 1)},
        {"x": "'B', 4, 3, 1", "t": "'B', 3, 1, dtype = 'int32'", "y": ONE_TO_ONE}, RIGHT,
    ),
    "BCE, one output": ("nn.BCECriterion()({y, t})", {"x": SIDES, "t": YES[:, None]}, ONE | {"t": "'B', 1"}, (4, 6)),
    "BCE, numbers": ("nn.BCECriterion()({y, t})", {"x": SIDES, "t": YES}, ONE | {"t": "'B'", "y": "nn.Select(2, 1)(same(x))"}, (4, 6)),
    "MultiLabelSoftMargin": (
        "nn.MultiLabelSoftMarginCriterion()({y, t})", {"x": SIDES - 0.5, "t": YES[:, None]}, ONE | {"t": "'B', 1"}, (4, 6),
    ),
    "SoftMargin": ("nn.SoftMarginCriterion()({y, t})", {"x": SIDES - 0.5, "t": 2 * YES[:, None] - 1}, ONE | {"t": "'B', 1"}, (4, 6)),
    "Margin, whole labels": (
        "nn.MarginCriterion()({y, t})", {"x": SIDES - 0.5, "t": 2 * YES[:, None] - 1}, ONE | {"t": "'B', 1, dtype = 'int32'"}, (4, 6),
    ),
    "logistic": (
        "nn.BinaryLogisticRegression()({y, t})", {"x": SIDES - 0.5, "t": 2 * YES - 1}, ONE | {"t": "'B', dtype = 'int32'"}, (4, 6),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_right_is_counted_in_training_and_in_evaluation(name: str, tmp_path: Path) -> None:
    loss, arrays, fields, counts = CASES[name]
    experiment = made(tmp_path, loss, arrays, **fields)
    found = experiment.evaluate(whole=True)
    assert experiment.answers.counts == {"accuracy": counts}
    assert found.get("accuracy") == (counts[0] / counts[1] if counts[1] else None)
    experiment.train_step()
    assert experiment.answers.counts == {"accuracy": counts}


@pytest.mark.parametrize("device", ["reference", "native"])
def test_every_device_counts_alike(device: str, tmp_path: Path) -> None:
    """In a loop that leaves rows out, beside one that does not."""
    loss = f"nn.CAddTable()({{{CASES['rows of zeros in steps'][0]}, {CASES['RepeaterCriterion'][0]}}})"
    found = []
    for name in ("numpy", device):
        experiment = made(tmp_path, loss, CASES["rows of zeros in steps"][1], name, **STEPS)
        experiment.train_step()
        found.append(experiment.answers.counts)
    assert found[0] == found[1] == {"accuracy_1": (5, 8), "accuracy_2": (6, 12)}


LENGTHS = "local length = nn.Identity{'B', dtype = 'int32'}()\n"
SCANNED = {
    "a criterion after the loop": ("nn.ClassNLLCriterion()({nn.SelectTable(1)(ys), nn.Transpose({1, 2})(t)})", LENGTHS + """
local a, s = nn.Identity{'B', 4}(), nn.Identity{'B', 4}()
local ys = nn.Scan(nn.gModule({a, s}, {nn.LogSoftMax()(a), s})){xs = y, lengths = length}"""),
    "a criterion in it": ("nn.L1Cost()(nn.SelectTable(1)(ys))", LENGTHS + """
local a, g, s = nn.Identity{'B', 4}(), nn.Identity{'B', dtype = 'int32'}(), nn.Identity{'B'}()
local added = nn.gModule({a, g, s}, {nn.CAddTable()({nn.Replicate('B')(nn.CrossEntropyCriterion()({a, g})), s})})
local given, r = nn.Identity()(), nn.Identity{'B'}()
local p, q = given:split(2)
local cell = nn.gModule({given, r}, {added({p, q, r}), r})
local ys = nn.Scan(cell){xs = nn.Identity()({y, nn.Transpose({1, 2})(t)}), lengths = length}"""),
}  # fmt: skip


@pytest.mark.parametrize("name", SCANNED)
def test_steps_after_the_end_of_a_sequence_do_not_count(name: str, tmp_path: Path) -> None:
    loss, before = SCANNED[name]
    arrays = {**IN_STEPS, "length": SHORT.sum(1)}
    experiment = made(tmp_path, loss, arrays, before=before, inputs=", [length] = d.length", **STEPS)
    experiment.evaluate(whole=True)
    assert experiment.answers.counts == {"accuracy": (5, 8)}
    experiment.train_step()
    assert experiment.answers.counts == {"accuracy": (5, 8)}


def test_no_number_is_no_answer(tmp_path: Path) -> None:
    scores = SCORES.copy()
    scores[0, 1] = np.inf  # times the zeros of the matrix: nan
    experiment = made(tmp_path, CASES["CrossEntropy"][0], {"x": scores, "t": LABELS})
    experiment.evaluate(whole=True)
    assert experiment.answers.counts == {"accuracy": (3, 6)}


UNJUDGED = {
    "a regression": ("nn.MSECriterion()({y, t})", {"x": SCORES, "t": SCORES}, {"t": ROWS}),
    "several outputs": ("nn.BCECriterion()({nn.Sigmoid()(y), t})", {"x": SCORES, "t": SCORES}, {"t": ROWS}),
    "never": ("nn.CrossEntropyCriterion()({y, t})", PLAIN, {"more": "accuracy = 'never'"}),
}


@pytest.mark.parametrize("name", UNJUDGED)
def test_where_there_is_no_accuracy(name: str, tmp_path: Path) -> None:
    loss, arrays, fields = UNJUDGED[name]
    experiment = made(tmp_path, loss, arrays, **fields)
    assert set(experiment.evaluate(whole=True)) == {"valid_loss"}
    assert experiment.answers.counts == {}


BOTH = "nn.CAddTable()({nn.CrossEntropyCriterion()({y, t}), nn.CrossEntropyCriterion()({nn.MulConstant(-1)(y), %s})})"


def test_several_criterions_have_an_accuracy_each_by_the_streams_of_their_targets(tmp_path: Path) -> None:
    arrays = {**PLAIN, "s": (-SCORES).argmax(-1) + 1}
    arrays["s"][[0, 4]] = [1, 2]
    more = {"before": f"local s = nn.Identity{{{CLASSES}}}()", "inputs": ", [s] = d.s"}
    experiment = made(tmp_path, BOTH % "s", arrays, **more)
    found = experiment.evaluate(whole=True)
    assert experiment.answers.counts == {"accuracy_t": (4, 6), "accuracy_s": (4, 6)}
    assert list(found) == ["valid_loss", "accuracy_t", "accuracy_s"]


def test_or_by_number_where_one_target_is_that_of_two(tmp_path: Path) -> None:
    experiment = made(tmp_path, BOTH % "t", PLAIN)
    experiment.evaluate(whole=True)
    assert experiment.answers.counts == {"accuracy_1": (4, 6), "accuracy_2": (1, 6)}


def test_a_step_of_several_batches_counts_all_of_them(tmp_path: Path) -> None:
    experiment = made(tmp_path, CASES["CrossEntropy"][0], PLAIN, batch=2, more="accumulate = 3, clip_norm = 1e-9")
    experiment.train_step()
    assert experiment.answers.counts == {"accuracy": RIGHT}


TEXT = Path(__file__).parent.parent / "specs" / "char_lm.spec"
SMALL: dict[str, Any] = {"rnn_size": 6, "n_layers": 1, "data.batch": 4, "data.seq_len": 7}


@pytest.mark.parametrize(("when", "measured"), [("auto", False), ("always", True)])
def test_texts_have_a_measure_of_their_own(when: str, measured: bool, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("abcab" * 200)
    more: dict[str, Any] = {"data.path": str(tmp_path / "text.txt"), "experiment.accuracy": when}
    experiment = graphspec.experiment(TEXT, device="numpy", **SMALL, **more)
    experiment.train_step()
    assert ("accuracy" in experiment.answers.counts) == measured
    assert set(experiment.evaluate()) == {"valid_loss", "bits_per_char", *(["accuracy"] if measured else [])}


# -- the best ------------------------------------------------------------------------------------------------------------------------

VALID = [(1, 2.0, 0.5), (2, 1.5, 0.5), (3, 1.8, 0.7), (4, 1.0, 0.6)]


@pytest.mark.parametrize(("by", "best"), [("valid_loss", [True, True, False, True]), ("accuracy", [True, False, True, False])])
def test_what_the_best_is_chosen_by(by: str, best: list[bool]) -> None:
    progress = Progress()
    assert [progress.validated(step, {"valid_loss": loss, "accuracy": share}, by) for step, loss, share in VALID] == best
    last = max(i for i, found in enumerate(best) if found)
    assert (progress.best_step, progress.best_loss, progress.waited) == (VALID[last][0], VALID[last][1], 3 - last)
    assert progress.best_measure == (VALID[last][2] if by == "accuracy" else None)


def test_a_validation_in_which_nothing_counts_is_not_the_best() -> None:
    progress = Progress()
    assert not progress.validated(1, {"valid_loss": 0.0}, "accuracy")
    assert progress.validated(2, {"valid_loss": 3.0, "accuracy": 0.0}, "accuracy")


LEARNS = {"x": np.random.default_rng(1).normal(size=(80, 4)).astype("f4")}
LEARNS["t"] = LEARNS["x"].argmin(-1) + 1
LOSS = "nn.CrossEntropyCriterion()({y, t})"
RUNS: dict[str, Any] = {"valid": 0.25, "batch": 20}


def trained(folder: Path, out: Path, steps: int, resume: bool = False) -> list[dict[str, Any]]:
    experiment = made(folder, LOSS, LEARNS, **RUNS, more="valid_every = 2, best_by = 'accuracy'")
    return list(run(experiment, RunSettings(steps, out, resume)))


def test_a_resumed_run_goes_on_with_its_accuracy(tmp_path: Path) -> None:
    whole = trained(tmp_path, tmp_path / "whole", 9)
    trained(tmp_path, tmp_path / "parts", 4)
    (tmp_path / "parts" / "run.json").write_text("{}")
    trained(tmp_path, tmp_path / "parts", 9, resume=True)
    left, right = ((tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("whole", "parts"))
    assert left[-6:] == right[-6:]
    end, valid = whole[-1], [event for event in whole if event["event"] == "valid"]
    best = max(valid, key=lambda event: event["accuracy"])
    assert (end["best_step"], end["best_accuracy"], end["best_loss"]) == (best["step"], best["accuracy"], best["valid_loss"])
    assert [event["step"] for event in valid if event["best"]][-1] == best["step"]
    assert measures(end) == {"accuracy": valid[-1]["accuracy"]}
    history = read_run(tmp_path / "whole")
    assert history.best_step() == best["step"]
    assert history.training("accuracy")[-1] == (9, end["train_accuracy"])


def test_the_running_mean_is_that_of_the_loss(tmp_path: Path) -> None:
    steps = [event for event in trained(tmp_path, tmp_path / "run", 3) if event["event"] == "step"]
    mean = steps[0]["accuracy"]
    for event in steps[1:]:
        mean = 0.98 * mean + 0.02 * event["accuracy"]
        assert event["train_accuracy"] == pytest.approx(mean)
    told = scalars(steps[-1])
    assert (told["train/accuracy"], told["train/running_accuracy"]) == (steps[-1]["accuracy"], steps[-1]["train_accuracy"])
    assert scalars({"event": "valid", "step": 1, "valid_loss": 1.0, "accuracy": 0.5, "best": True})["valid/accuracy"] == 0.5


@pytest.mark.parametrize(("loss", "by", "message", "helped"), [
    (LOSS, "acuracy", "one of loss, accuracy, got 'acuracy'", "did you mean `accuracy`?"),
    (LOSS, "exact", "one of loss, accuracy, got 'exact'", None),
    (LOSS, "perplexity", "one of loss, accuracy, got 'perplexity'", "it falls with the loss: `best_by = 'loss'` chooses the same"),
    ("nn.MSECriterion()({y, nn.OneHot(4)(t)})", "accuracy", "one of loss, got 'accuracy'", "criterion of classes"),
])  # fmt: skip
@pytest.mark.parametrize("command", ["run", "compile"])
def test_a_measure_that_there_is_not(
    command: str, loss: str, by: str, message: str, helped: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, loss, PLAIN, more=f"best_by = '{by}'")
    assert main([command, str(path), "--device", "numpy"]) == 1
    said = capsys.readouterr().err
    assert re.match(rf"error\[E0606\]: experiment.best_by must be {re.escape(message)}\n +--> {re.escape(str(path))}:10:8", said)
    assert (helped in said) if helped else ("help" not in said)


# -- what people see -----------------------------------------------------------------------------------------------------------------


def test_what_a_person_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, LOSS, LEARNS, **RUNS, more="valid_every = 4")
    monkeypatch.setattr("graphspec.cli.run.PLAIN_EVERY", 0)
    assert main(["run", "model.spec", "--steps", "8", "--out", "runs/a", "--device", "numpy"]) == 0
    said = capsys.readouterr()
    assert re.search(r"step 7 of 8  loss \d\.\d{4}  accuracy \d+\.\d\d%  ", said.err)
    assert re.search(r"step 8  held-out loss \d\.\d{4}, \d+\.\d\d% accuracy, the best so far", said.err)
    assert re.search(r"accuracy, held out\n    this model +\d+\.\d\d%\n    in training, running mean +\d+\.\d\d%\n", said.out)
    assert main(["eval", "runs/a"]) == 0
    right, shown, count = re.search(r"accuracy +((\d+\.\d\d)%)  (\d+) of 20 wrong", capsys.readouterr().out).groups()  # type: ignore[union-attr]
    assert float(shown) == 100 - 5 * int(count)
    assert main(["eval", "runs/a", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["answers"] == {"accuracy": [20 - int(count), 20]} and found["accuracy"] == (20 - int(count)) / 20
    assert main(["runs"]) == 0
    assert f"{right} accuracy" in capsys.readouterr().out
