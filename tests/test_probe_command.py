"""``graphspec probe``: what it says, its options, runs, the picture."""

from __future__ import annotations

import json
import math
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphspec
from graphspec.cli.main import main
from graphspec.probe import of_experiment
from graphspec.probe.picture import norms_over_time
from probed import COLUMNS, LSTM, RNN, probed


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rnn.spec").write_text(RNN)

    def command(line: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["probe", *shlex.split(line)])
        return code, *capsys.readouterr()

    return command


def test_what_is_said(run: Any) -> None:
    code, said, _ = run(f"{COLUMNS} --entry 'rnn(3, 6)' --entry 'lstm(3, 6)' --steps 30 --sequences 3")
    assert code == 0
    rnn, lstm = said.split("\n\n" + COLUMNS)
    assert rnn.startswith(f"{COLUMNS} rnn(3, 6)\nstate [B, 6]; 3 sequences, 30 steps back from the last\n")
    assert [line.split()[0] for line in rnn.splitlines()[4:11]] == ["1", "2", "5", "10", "20", "30", "bound:"]
    assert "^(t-k), from sigma_max of the weights" in rnn and "no bound follows from the weights alone" in lstm
    assert "forget_gate  0." in lstm and "forget gate" not in rnn


def test_one_step_is_no_steps(run: Any) -> None:
    assert "state [B, 4]; 1 sequence, 1 step back from the last" in run("rnn.spec --steps 1 --sequences 1")[1]


def test_options_stand_behind_their_spec(run: Any) -> None:
    adding = str(Path(COLUMNS).with_name("adding.spec"))
    more = "data.length=12 data.size=20 size=5"
    code, said, _ = run(f"{adding} cell=rnn {more} rnn.spec {adding} --json --steps 100 cell=gru {more}")
    assert code == 0
    rnn, plain, gru = json.loads(said)["scans"]
    assert (rnn["steps"], plain["steps"], gru["steps"]) == (12, 100, 12)
    assert (len(rnn["weights"]), len(gru["weights"])) == (1, 3)
    assert rnn["sequences"] == 1, "one sequence in twenty is held out"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("rnn.spec --sigma .5,x", "a number above 0 is wanted, got 'x'"),
        ("rnn.spec --radius 0", "a number above 0 is wanted, got '0'"),
        ("rnn.spec --steps 0", "--steps must be from 1 to 100,000, got 0"),
        ("size=3 rnn.spec", "size=3 stands before any spec"),
        ("rnn.spec rnn.spec rnn.spec --entry a --entry b", "3 specs and 2 entries"),
        ("rnn.spec --out norms.gif", "'.gif' is no format of pictures"),
    ],
)
def test_a_command_line_that_makes_no_sense(run: Any, line: str, text: str) -> None:
    code, said, told = run(line)
    assert (code, said) == (1, "") and text in told


def test_a_run_is_probed_with_what_it_has_learned(run: Any, tmp_path: Path) -> None:
    adding = str(Path(COLUMNS).with_name("adding.spec"))
    options = "cell=rnn size=5 data.length=12 data.size=100 data.batch=7"
    main(shlex.split(f"run {adding} {options} optim.learningRate=0.05 --steps 3 --out trained --json"))
    experiment = graphspec.Experiment.load("trained")
    weight = next(array for name, array in experiment.parameters.items() if array.shape == (5, 5))
    fresh, trained = json.loads(run(f"{adding} {options} trained --json")[1])["scans"]
    assert trained["weights"][0]["sigma_max"] == pytest.approx(np.linalg.norm(weight.astype(float), 2))
    assert fresh["weights"][0]["sigma_max"] != trained["weights"][0]["sigma_max"]
    assert trained["sequences"] == 4 and trained["log10"]["median"] != fresh["log10"]["median"]
    found = of_experiment(experiment, "it", 2)
    np.testing.assert_allclose(found.inputs["input.1"], next(experiment.source.valid()).arrays["inputs"][:, :2])


# -- the picture -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("least", "marks"), [(-0.02, "0.5 1"), (-0.9, "0.2 0.5 1"), (-20.0, "1e-20 1e-15 1e-10 1e-5 1")])
def test_a_picture_says_how_large_norms_are(least: float, marks: str) -> None:
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    norms = tuple(np.linspace(0, least, 20))
    (axes,) = norms_over_time([replace(probed(LSTM), median=norms, least=norms, largest=norms)]).axes
    form = axes.yaxis.get_major_formatter()
    assert [form(tick) for tick in axes.get_yticks()] == marks.split()


def test_a_picture_has_a_line_for_each_and_dashed_bounds(run: Any, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    found = [probed(RNN), probed(LSTM), replace(probed(RNN), median=(-math.inf,) * 20, least=(-math.inf,) * 20)]
    (axes,) = norms_over_time(found, "norms").axes
    lines = [line for line in axes.get_lines() if len(line.get_xdata()) == 20]
    assert [line.get_linestyle() for line in lines] == ["-", "--", "-", "-", "--"]
    np.testing.assert_allclose(lines[0].get_ydata(), 10.0 ** np.array(found[0].median))
    np.testing.assert_allclose(lines[1].get_ydata(), 10.0 ** np.array(found[0].bound))
    assert np.isnan(lines[3].get_ydata()).all(), "a norm of 0 has no place on a logarithmic axis"
    assert (axes.get_yscale(), axes.get_title(loc="left")) == ("log", "norms")
    assert axes.get_xlabel() and axes.get_ylabel() and axes.get_ylim()[0] < 10 ** found[0].least[-1]
    code, _, _ = run("rnn.spec --steps 10 --sigma .5,2 --out norms.svg")
    text = (tmp_path / "norms.svg").read_text()
    assert code == 0 and "rnn.spec, sigma_max 0.5" in text and "bound by the weights" in text
