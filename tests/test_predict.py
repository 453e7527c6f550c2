"""What a trained model says of new arrays: `Experiment.predict` and `graphspec predict`."""

from __future__ import annotations

import errno
import io
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphspec
from graphspec.cli.main import main
from graphspec.errors import SpecError

CLASSIFIER = """
local points = data.arrays { path = 'points.npz', batch = 8 }
local x, weight, class = nn.Identity{'B', 3}(), nn.Identity{'B', 3}(), nn.Identity{'B', dtype = 'int32'}()
local hidden = nn.Dropout(0.5)(nn.BatchNormalization(4)(nn.Linear(3, 4)(x)))
local scores = nn.Linear(4, 2)(hidden)
local loss = nn.CrossEntropyCriterion()({scores, class})
"""
ONE = CLASSIFIER + "return experiment { loss = loss, inputs = { [x] = points.x, [class] = points.y } }\n"
SEVERAL = (
    CLASSIFIER
    + """
local also = nn.MSECriterion()({scores, nn.Linear(3, 2)(weight)})
return experiment { loss = nn.CAddTable()({loss, also}), inputs = { [x] = points.x, [weight] = points.x, [class] = points.y } }
"""
)
LANGUAGE = """
local text = data.text { path = 'book.txt', batch = 2, seq_len = 4 }
local embedding, decoder = nn.LookupTable(text.vocab_size, 5), nn.Linear(5, text.vocab_size)
local token, h = nn.Identity{'B', dtype = 'int32'}(), nn.Identity{'B', 5}()
local next_h = nn.Tanh()(nn.CAddTable()({embedding(token), nn.Linear(5, 5)(h)}))
local step = nn.gModule({token, h}, {nn.LogSoftMax()(decoder(next_h)), next_h})
local tokens, targets = nn.Identity{'T', 'B', dtype = 'int32'}(), nn.Identity{'T', 'B', dtype = 'int32'}()
local state = nn.Identity{'B', 5}()
local log_p, next_state = nn.Scan(step)({tokens, state}):split(2)
return experiment {
  loss = nn.ClassNLLCriterion()({log_p, targets}),
  inputs = { [tokens] = text.tokens, [targets] = text.targets },
  carry = { [state] = next_state },
}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    x = draw.standard_normal((64, 3))
    np.savez("points.npz", x=x, y=(x[:, 0] > 0) + 1)
    Path("book.txt").write_text("to be or not to be. " * 20)
    Path("one.spec").write_text(ONE)
    return tmp_path


def trained(text: str = ONE, steps: int = 20, **more: Any) -> graphspec.Experiment:
    found = graphspec.experiment(text, roots=["."], **more)
    for _ in range(steps):
        found.train_step()
    return found


@pytest.mark.parametrize("device", ["cpu", "numpy", "reference"])
def test_it_is_what_the_spec_says_with_the_weights_as_they_are(device: str) -> None:
    """By hand, in evaluate mode; and again after more training."""
    experiment = trained(device=device, dtype="float64")
    x = np.random.default_rng(1).standard_normal((5, 3))
    for _ in range(2):
        p, b = experiment.parameters, experiment.buffers
        y = x @ p["Linear[1].weight"].T + p["Linear[1].bias"]
        y = (y - b["BatchNormalization.running_mean"]) / np.sqrt(b["BatchNormalization.running_var"] + 1e-5)
        y = y * p["BatchNormalization.weight"] + p["BatchNormalization.bias"]
        np.testing.assert_allclose(experiment.predict(x, node="hidden"), y, rtol=1e-9)
        y = y @ p["Linear[2].weight"].T + p["Linear[2].bias"]
        np.testing.assert_allclose(experiment.predict(x), y, rtol=1e-9)
        np.testing.assert_array_equal(experiment.predict(x=x), experiment.predict(x))
        experiment.train_step()


def test_training_and_names_are_left_alone() -> None:
    one, other = trained(), trained(steps=10)
    names = list(one.parameters)
    other.predict(np.ones((2, 3)))
    for _ in range(10):
        other.train_step()
    assert list(other.parameters) == names
    np.testing.assert_array_equal(one.flat_parameters, other.flat_parameters)


def test_a_language_model_takes_its_state_like_an_input() -> None:
    experiment = trained(LANGUAGE)
    log_p = experiment.predict(np.ones((6, 3), np.int32), np.zeros((3, 5)))
    assert log_p.shape[:2] == (6, 3)
    np.testing.assert_allclose(np.exp(log_p).sum(-1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("text", "node", "said"),
    [
        (ONE, "", "E0319.*no node named"),
        (ONE, "score", "E0319.*no node named score.*did you mean `scores`"),
        (SEVERAL, None, "E0807.*the loss has 2 criterions.*`--node scores`, in Python `node='scores'`"),
        ("local x = nn.Identity{'B', 3}()\nlocal points = data.arrays { path = 'points.npz' }\n"
         "return experiment { loss = nn.Select(1, 1)(nn.Mean(1)(nn.View(-1)(nn.Linear(3, 1)(x)))), inputs = { [x] = points.x } }\n",
         None, "E0807.*no criterion of a prediction and its target.*make it a local variable"),
    ],
)  # fmt: skip
def test_which_node_is_meant(text: str, node: str | None, said: str) -> None:
    experiment = graphspec.experiment(text, roots=["."])
    with pytest.raises(SpecError, match=f"(?s){said}"):
        experiment.predict(np.ones((2, 3)), node=node)


def test_a_node_of_several_criterions_by_name() -> None:
    assert trained(SEVERAL, 2).predict(np.ones((2, 3)), node="scores").shape == (2, 2)


@pytest.mark.parametrize("node", ["scores", "turned", "noisy", "all_of_them"])
def test_many_examples_go_through_it_in_pieces(node: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once the memory of 12,000 images was two gigabytes.  What has no axis of examples is made of all of them."""
    more = """
local turned, noisy = nn.Transpose({1, 2})(scores), nn.Sampler()({scores, nn.Identity()(scores)})
local all_of_them = nn.Mean(1)(scores)
local drawn = nn.MSECriterion()({noisy, nn.Transpose({1, 2})(turned)})
local loss = nn.CAddTable()({loss, drawn, nn.Select(1, 1)(all_of_them)})
"""
    experiment = trained(ONE.replace("return", more + "return"), 2)
    x = np.random.default_rng(1).standard_normal((11, 3))
    wanted, seen = experiment.predict(x, node=node), []
    monkeypatch.setattr("graphspec.training.predicting.AT_ONCE", 4)
    call = graphspec.Model.__call__
    monkeypatch.setattr(graphspec.Model, "__call__", lambda model, *given: seen.append(given[0].shape) or call(model, *given))
    found = experiment.predict(x, node=node)
    assert seen == ([(11, 3)] if node == "all_of_them" else [(4, 3), (4, 3), (3, 3)])
    assert found.shape == wanted.shape
    if node == "noisy":
        assert len(np.unique(found.round(4))) == found.size
    else:
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
    np.testing.assert_array_equal(experiment.predict(x, node=node), found)


# -- the command -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def run_folder(folder: Path) -> str:
    assert main(["run", "one.spec", "--steps", "4", "--out", "runs/one"]) == 0
    return "runs/one"


def test_the_command_writes_and_shows_it(run_folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("new.npz", x=np.random.default_rng(2).standard_normal((12, 3)), more=np.zeros(3))
    wanted = graphspec.Experiment.load(run_folder).predict(np.load("new.npz")["x"])
    capsys.readouterr()
    assert main(["predict", run_folder, "new.npz", "-o", "made/scores.npz"]) == 0
    np.testing.assert_array_equal(np.load("made/scores.npz")["prediction"], wanted)
    assert main(["predict", run_folder, "new.npz", "--json", "--node", "scores"]) == 0
    said = capsys.readouterr().out
    assert "prediction  float32 [12, 2]" in said and "written to made/scores.npz" in said
    found = json.loads(said[said.index("{") :])
    np.testing.assert_allclose(found["scores"], wanted)
    assert found["step"] == 4
    assert main(["predict", run_folder, "new.npz"]) == 0
    assert "and 2 more, which `-o FILE` writes" in capsys.readouterr().out


def test_what_is_not_finite_is_null_in_json(run_folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("new.npz", x=np.array([[np.nan, 0, 0], [1, 2, 3]]))
    capsys.readouterr()
    assert main(["predict", run_folder, "new.npz", "--json"]) == 0
    found = json.loads(capsys.readouterr().out, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))["prediction"]
    assert found[0] == [None, None] and None not in found[1]


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({}, "E0807.*new.npz has no array x"),
        ({"X": np.ones((2, 3))}, "E0807.*no array x.*did you mean `X`"),
        ({"x": np.ones((2, 4))}, "E0307.*x is \\[2, 4\\]"),
        ({"x": np.array([{}])}, "E0620.*new.npz cannot be used"),
        (None, "E0620.*it is no .npz file"),
    ],
)
def test_files_that_do_not_fit(run_folder: str, arrays: dict[str, Any] | None, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    if arrays is None:
        Path("new.npz").write_text("1,2,3\n")
    else:
        np.savez("new.npz", **arrays)
    assert main(["predict", run_folder, "new.npz"]) == 1
    assert re.search(said, capsys.readouterr().err, re.S)


def test_only_npz_files_are_written(run_folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that was called scores.csv had the bytes of an archive."""
    np.savez("new.npz", x=np.ones((2, 3)))
    assert main(["predict", run_folder, "new.npz", "-o", "scores.csv"]) == 1
    assert "error[E0807]: scores.csv: predictions are written as .npz" in capsys.readouterr().err
    assert not Path("scores.csv").exists()


@pytest.mark.parametrize(
    ("what", "said"),
    [("missing", "no such file"), ("a folder", "it is a folder"), ("a device", "it is not a file"), ("locked", "Permission denied")],
)
def test_arrays_that_cannot_be_read(
    run_folder: str, what: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is the matter, and not that it is no .npz file.  "Locked" as the system says it to all but root, who may read every file."""
    if what == "a folder":
        Path("new.npz").mkdir()
    elif what == "a device":
        Path("new.npz").symlink_to(os.devnull)
    elif what == "locked":
        np.savez("new.npz", x=np.ones((2, 3)))
        lock("new.npz", monkeypatch)
    assert main(["predict", run_folder, "new.npz"]) == 1
    assert f"error[E0801]: new.npz cannot be read: {said}\n" in capsys.readouterr().err


def test_data_that_may_not_be_read_are_told_as_all_data(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    lock("points.npz", monkeypatch)
    assert main(["run", "one.spec", "--steps", "1"]) == 1
    assert "error[E0610]: points.npz cannot be read: Permission denied" in capsys.readouterr().err


def lock(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens a file of this name is told what the system tells all but root."""
    plain = io.open

    def denied(path: Any, *more: Any, **named: Any) -> Any:
        if isinstance(path, (str, Path)) and Path(path).name == name:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
        return plain(path, *more, **named)

    monkeypatch.setattr("builtins.open", denied)
    monkeypatch.setattr(io, "open", denied)


def test_a_carried_state_is_not_in_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    Path("lm.spec").write_text(LANGUAGE)
    np.savez("new.npz", tokens=np.ones((4, 2), np.int32))
    assert main(["run", "lm.spec", "--steps", "2", "--out", "runs/lm"]) == 0
    assert main(["predict", "runs/lm", "new.npz"]) == 1
    assert "carried state" in capsys.readouterr().err
