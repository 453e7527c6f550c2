"""Runs: killed, failing, stopped, resumed, ended early; what is not finite; what has changed since."""

from __future__ import annotations

import builtins
import itertools
import json
import math
import random
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphspec
from graphspec.cli.main import main
from graphspec.errors import SpecError
from graphspec.training.experiment import Experiment
from graphspec.training.history import read_run
from graphspec.training.loop import Event, RunSettings, measures, run
from graphspec.training.rundir import RunDir
from test_checkpoint import Faults, Killed

CHAR_LM = Path(__file__).parent.parent / "specs" / "char_lm.spec"
STEPS = 24


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_text("the quick brown fox jumps over the lazy dog. " * 40)
    return path


OPTIONS = {"rnn_size": 6, "n_layers": 2, "data.batch": 4, "data.seq_len": 7, "experiment.valid_every": 4, "experiment.save_every": 2}


def small(corpus: Path, **more: Any) -> Experiment:
    return graphspec.experiment(CHAR_LM, **{"threads": 1, **OPTIONS, "data.path": str(corpus), **more})


def events(experiment: Experiment, **settings: Any) -> list[Event]:
    return list(run(experiment, RunSettings(**settings)))


def contents(folder: Path) -> dict[str, bytes]:
    """Of a run folder, all that must not depend on the clock or on when it was interrupted."""
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*")) if p.is_file() and p.name not in ("times.jsonl", "run.json")
    }  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> dict[str, bytes]:
    """The uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    events(small(corpus), steps=STEPS, out=folder)
    found = contents(folder)
    assert sorted(found) == [
        "checkpoints/best.safetensors", "checkpoints/step-00000022.safetensors", "checkpoints/step-00000024.safetensors",
        "metrics.jsonl", "spec/char_lm.spec", "spec/columns.spec", "spec/lstm.spec",
    ]  # fmt: skip
    return found


def command(corpus: Path, out: Path, steps: int, *more: str) -> list[str]:
    given = [f"{name}={value}" for name, value in {**OPTIONS, "data.path": corpus}.items()]
    words = ["run", str(CHAR_LM), *given, "--steps", str(steps), "--threads", "1", "--out", str(out), *more]
    return [sys.executable, "-m", "graphspec", *words]


# -- kills -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kills", [4, pytest.param(200, marks=pytest.mark.slow)])
def test_runs_killed_at_random_moments_and_resumed_are_the_uninterrupted_run(tmp_path: Path, corpus: Path, kills: int) -> None:
    def start(out: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(command(corpus, out, STEPS, "--resume"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    began = time.perf_counter()
    assert start(tmp_path / "first").wait() == 0
    length = time.perf_counter() - began
    whole = contents(tmp_path / "first")
    draw, hit = random.Random(1), 0
    for number in range(kills):
        out = tmp_path / str(number)
        while True:  # some runs end before the kill: then the next moment is tried
            process = start(out)
            time.sleep(draw.uniform(0.2, 1.0) * length)
            process.kill()
            if process.wait() == -signal.SIGKILL:
                hit += 1
                break
            length *= 0.8  # the first run was a slow one
        assert start(out).wait() == 0
        assert contents(out) == whole, f"kill {number}"
    assert hit == kills


@pytest.mark.parametrize("stride", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_a_disk_that_fails_at_any_place_is_told_and_the_last_good_checkpoint_loads(tmp_path: Path, corpus: Path, stride: int) -> None:
    told = set()
    for place in itertools.count(step=stride):
        folder = tmp_path / f"run {place}"
        faults = Faults(place)
        try:
            with faults.armed():
                events(small(corpus), steps=4, out=folder)
        except SpecError as failure:
            told.add(failure.code)
        except Killed:
            pytest.fail("nothing is killed here")
        if not faults.hit:
            break
        if list((folder / "checkpoints").glob("*.safetensors")):
            assert graphspec.Experiment.load(folder, last=True).steps in (2, 4)
        events(small(corpus), steps=4, out=folder, resume=True)
        assert graphspec.Experiment.load(folder, last=True).steps == 4
    assert place > 20 and told == {"E0805"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("name", ["metrics.jsonl", "times.jsonl"])
def test_a_record_that_a_full_disk_does_not_take_is_told(tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Once: what could not be written is tried again when the file is closed, and fails again."""
    monkeypatch.setattr(
        "graphspec.training.rundir.open",
        lambda path, *more, **words: builtins.open("/dev/full" if path.name == name else path, *more, **words),  # noqa: SIM115
        raising=False,
    )
    with pytest.raises(SpecError, match="cannot be written: No space left on device") as caught:
        events(small(corpus, **{"experiment.valid_every": 1}), steps=2, out=tmp_path / "run")
    assert caught.value.code == "E0805"
    assert not (tmp_path / "run" / ".lock").exists()


# -- stopping and going on -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", range(1, 9))
def test_a_run_that_is_asked_to_stop_saves_and_leaves(tmp_path: Path, corpus: Path, whole: dict[str, bytes], step: int) -> None:
    experiment = small(corpus)
    found = events(experiment, steps=STEPS, out=tmp_path, stop=lambda: experiment.steps == step)
    assert found[-1] == {"event": "stopped", "step": step}
    assert graphspec.Experiment.load(tmp_path, last=True).steps == step
    assert events(small(corpus), steps=STEPS, out=tmp_path, resume=True)[-1]["event"] == "end"
    assert contents(tmp_path) == whole


@pytest.mark.parametrize("step", [3, 4])
def test_a_run_that_is_closed_saves_first(tmp_path: Path, corpus: Path, whole: dict[str, bytes], step: int) -> None:
    going = run(small(corpus), RunSettings(STEPS, tmp_path))
    for event in going:
        if event["event"] == "step" and event["step"] == step:
            going.close()
    events(small(corpus), steps=STEPS, out=tmp_path, resume=True)
    assert contents(tmp_path) == whole


def test_ctrl_c_saves_and_leaves_with_130(tmp_path: Path, corpus: Path) -> None:
    long = command(corpus, tmp_path / "run", 1_000_000, "--json")
    process = subprocess.Popen(long, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if '"step": 3,' in line:
            process.send_signal(signal.SIGINT)
            break
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    last = json.loads(rest.splitlines()[-1])
    assert last["event"] == "stopped"
    assert graphspec.Experiment.load(tmp_path / "run", last=True).steps == last["step"] >= 3


def test_a_finished_run_is_left_alone_and_a_longer_one_goes_on(tmp_path: Path, corpus: Path, whole: dict[str, bytes]) -> None:
    first = events(small(corpus), steps=10, out=tmp_path)
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in tmp_path.rglob("*") if p.is_file()}
    again = events(small(corpus), steps=10, out=tmp_path, resume=True)
    assert [e["event"] for e in again] == ["start", "end"] and again[-1] == first[-1]
    assert (first[0]["finished"], again[0]["finished"]) == (False, True)
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in tmp_path.rglob("*") if p.is_file()} == before
    events(small(corpus), steps=STEPS, out=tmp_path, resume=True)
    metrics = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [e["step"] for e in metrics if e["event"] == "step"] == list(range(1, STEPS + 1))
    assert [e["event"] for e in metrics].count("end") == 1


def test_a_run_that_is_beyond_the_steps_that_are_asked_for_is_left_alone(tmp_path: Path, corpus: Path) -> None:
    """It was called finished, under options that no step was done with."""
    stops = iter([False, False, True])
    events(small(corpus), steps=STEPS, out=tmp_path, stop=lambda: next(stops))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(SpecError, match="the run is at step 3 already, past the 2 asked for") as caught:
        events(small(corpus, **{"optim.learningRate": 0.5}), steps=2, out=tmp_path, resume=True)
    assert caught.value.code == "E0807"
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_resume_with_nothing_to_resume_starts_afresh(tmp_path: Path, corpus: Path, whole: dict[str, bytes]) -> None:
    assert events(small(corpus), steps=STEPS, out=tmp_path / "new", resume=True)[0]["step"] == 0
    assert contents(tmp_path / "new") == whole


def test_the_best_is_remembered_by_a_resumed_run(tmp_path: Path, corpus: Path) -> None:
    """A learning rate that is far too large after a good start: what follows is worse, and must not become the best."""
    events(small(corpus), steps=20, out=tmp_path)
    best = (tmp_path / "checkpoints" / "best.safetensors").read_bytes()
    found = events(small(corpus, **{"optim.learningRate": 3.0}), steps=28, out=tmp_path, resume=True)
    assert all(not e["best"] for e in found if e["event"] == "valid")
    assert found[-1]["best_step"] == 20 and found[-1]["best_loss"] < found[-1]["valid_loss"]
    assert (tmp_path / "checkpoints" / "best.safetensors").read_bytes() == best


def test_a_run_ends_early_when_no_better_validation_comes(tmp_path: Path, corpus: Path) -> None:
    options = {"optim.learningRate": 3.0, "experiment.patience": 3, "experiment.valid_every": 1}
    found = events(small(corpus, **options), steps=500, out=tmp_path)
    end = found[-1]
    assert end["early"] and end["step"] == end["best_step"] + 3 < 500
    assert events(small(corpus, **options), steps=500, out=tmp_path, resume=True)[-1] == end


def test_an_experiment_says_what_it_is(corpus: Path) -> None:
    experiment = small(corpus)
    experiment.total_steps = 1000
    experiment.train_step()
    count = f"{len(experiment.flat_parameters):,} parameters"
    assert repr(experiment) == f"<Experiment of {CHAR_LM}: {count}, step 1 of 1,000, cpu>"


# -- what has changed since ------------------------------------------------------------------------------------------------------


def changed(corpus: Path, out: Path, **more: Any) -> list[str]:
    found = events(small(corpus, **more), steps=8, out=out, resume=True)
    diagnostics = [e["diagnostic"] for e in found if e["event"] == "warning"]
    assert all(d.code == "W0711" for d in diagnostics)
    return [d.message.partition("began: ")[2] for d in diagnostics]


def test_other_conditions_are_told(tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events(small(corpus), steps=4, out=tmp_path)
    there = json.loads((tmp_path / "run.json").read_text())["environment"]
    monkeypatch.setattr("graphspec.training.rundir.environment", lambda: {**there, "threads": 7, "blas": "another 1.0"})
    assert changed(corpus, tmp_path, **{"experiment.clip_norm": 4}) == [
        "threads of the matrix products: 1, now 7", f"library of matrix products: {there['blas']}, now another 1.0",
        "experiment.clip_norm: 5, now 4",
    ]  # fmt: skip
    monkeypatch.undo()
    events(small(corpus, **{"experiment.clip_norm": 3}), steps=12, out=tmp_path, resume=True)
    first, *_, last = read_run(tmp_path).changed()  # of all times that it went on
    assert (first, last) == ("after step 4, threads of the matrix products: 1, now 7", "after step 8, experiment.clip_norm: 4, now 3")


def test_data_that_were_moved_are_told_once(tmp_path: Path, corpus: Path) -> None:
    events(small(corpus), steps=4, out=tmp_path / "run")
    moved = tmp_path / "moved.txt"
    moved.write_bytes(corpus.read_bytes())
    assert changed(moved, tmp_path / "run") == [f"data.path: {corpus}, now {moved}"]


def test_nothing_is_told_when_nothing_changed(tmp_path: Path, corpus: Path) -> None:
    events(small(corpus), steps=4, out=tmp_path)
    assert changed(corpus, tmp_path) == []


def test_options_that_no_longer_fit_are_named(tmp_path: Path, corpus: Path) -> None:
    events(small(corpus), steps=4, out=tmp_path)
    with pytest.raises(SpecError) as caught:
        events(small(corpus, rnn_size=7, **{"optim.learningRate": 0.5}), steps=8, out=tmp_path, resume=True)
    assert caught.value.code == "E0706"
    assert caught.value.diagnostics[0].notes == ("not as when the run began: rnn_size: 6, now 7; optim.learningRate: 0.002, now 0.5",)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(SpecError) as caught:
        events(small(corpus, rnn_size=7), steps=8, out=tmp_path, resume=True)
    assert caught.value.code == "E0706" and caught.value.diagnostics[0].notes == ()


def test_the_command_that_goes_on_is_told_where_it_is_wanted(tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With all that was given, the total of steps too; of a spec that is no longer there with its copy."""
    settings: dict[str, Any] = {"optim.learningRate": 0.005, "one_hot": True}
    events(small(corpus, **settings), steps=8, out=tmp_path / "whole")
    folder = tmp_path / "a run"
    events(small(corpus, **settings, threads=np.int64(1)), steps=8, out=folder, stop=lambda: True)
    line = RunDir(folder).command()
    assert line is not None and shlex.split(line)[:3] == ["graphspec", "run", str(CHAR_LM)]
    assert main(["run", str(folder)]) == 1 and line in capsys.readouterr().err
    assert main(["run", str(CHAR_LM), "--out", str(folder), "--resume"]) == 1 and f"as it began: `{line}`" in capsys.readouterr().err
    assert main(shlex.split(line)[1:]) == 0
    assert f"graphspec sample '{folder}'" in capsys.readouterr().out
    assert contents(folder)["metrics.jsonl"] == contents(tmp_path / "whole")["metrics.jsonl"]
    told = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**told, "spec": "/nowhere/char_lm.spec", "roots": [], "steps": 10}))
    line = RunDir(folder).command()
    assert line is not None and shlex.split(line)[2] == str(folder / "spec" / "char_lm.spec")
    assert main(shlex.split(line)[1:]) == 0 and graphspec.Experiment.load(folder, last=True).steps == 10
    (folder / "run.json").write_text("[]")
    assert RunDir(folder).command() is None


def test_the_command_that_goes_on_gives_limits_and_threads_again(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A spec that needs a larger limit would not go on without it.  What is the default is not said."""
    monkeypatch.chdir(tmp_path)
    Path("busy.spec").write_text("for i = 1, 400000 do local _ = i end\n" + CHAR_LM.read_text())
    given = [f"{name}={value}" for name, value in {**OPTIONS, "data.path": corpus}.items()]
    line = ["run", "busy.spec", "--root", str(CHAR_LM.parent), *given]
    assert main([*line, "--out", "run"]) == 1 and "--limit" in capsys.readouterr().err
    assert main([*line, "--steps", "2", "--limit", "steps=9000000", "--limit", "text=9000", "--threads", "1", "--out", "run"]) == 0
    again = RunDir(Path("run")).command()
    assert again is not None
    assert {"--limit=steps=9000000", "--limit=text=9000", "--threads=1"} < set(shlex.split(again)) and "tensorboard" not in again
    Path("run/tensorboard").mkdir()
    assert "--tensorboard" in str(RunDir(Path("run")).command())
    assert main([*shlex.split(again)[1:], "--steps", "4"]) == 0


def test_other_data_are_refused(tmp_path: Path, corpus: Path) -> None:
    events(small(corpus), steps=4, out=tmp_path / "run")
    other = tmp_path / "other.txt"
    other.write_text(corpus.read_text().replace("quick", "kciuq"))
    with pytest.raises(SpecError, match="the data are not those that the run began with") as caught:
        events(small(other), steps=8, out=tmp_path / "run", resume=True)
    assert caught.value.code == "E0617"


# -- what is not finite ----------------------------------------------------------------------------------------------------------


def diverging(corpus: Path) -> Experiment:
    return small(corpus, **{"optim.learningRate": 1e37, "experiment.clip_norm": 0})


def test_a_number_that_is_not_finite_ends_the_run_and_is_not_saved(tmp_path: Path, corpus: Path) -> None:
    with pytest.raises(SpecError) as caught:
        events(diverging(corpus), steps=8, out=tmp_path)
    assert caught.value.code == "E0710"
    assert "detect-anomaly" in caught.value.diagnostics[0].helps[1]
    for file in (tmp_path / "checkpoints").glob("*"):
        assert all(math.isfinite(float(a.sum())) for a in graphspec.Experiment.load(file).parameters.values())


@pytest.mark.parametrize(("clipping", "hinted"), [({}, True), ({"experiment.clip_norm": 1e37}, False)])
def test_clipping_is_hinted_at_where_there_is_none(corpus: Path, clipping: dict[str, Any], hinted: bool) -> None:
    with pytest.raises(SpecError) as caught:
        events(small(corpus, **{"optim.learningRate": 1e37, "experiment.clip_norm": 0, **clipping}), steps=8)
    help = caught.value.diagnostics[0].helps[0]
    assert "lower the learning rate (it is 1e+37)" in help and ("clip_norm" in help) == hinted


def test_the_node_that_it_comes_from_is_found(tmp_path: Path, corpus: Path) -> None:
    with pytest.raises(SpecError) as caught:
        events(diverging(corpus), steps=8, out=tmp_path, detect_anomaly=True)
    (problem,) = caught.value.diagnostics
    assert problem.code == "E0711"
    assert problem.labels[0].span.source.text.splitlines()[problem.labels[0].span.line - 1].strip()
    assert any("not finite" in note for note in problem.notes)


def test_watching_changes_no_number(tmp_path: Path, corpus: Path, whole: dict[str, bytes]) -> None:
    events(small(corpus), steps=STEPS, out=tmp_path, detect_anomaly=True)
    assert contents(tmp_path) == whole


# -- events ----------------------------------------------------------------------------------------------------------------------


def test_measures_are_what_a_validation_says_besides_its_loss(corpus: Path) -> None:
    found = events(small(corpus), steps=4)
    valid = next(e for e in found if e["event"] == "valid")
    assert measures(valid).keys() == measures(found[-1]).keys() == {"bits_per_char"}


def test_a_device_in_the_place_of_a_record_is_not_read(tmp_path: Path) -> None:
    for name in ("run.json", "metrics.jsonl"):
        (tmp_path / name).symlink_to("/dev/zero")
    assert RunDir(tmp_path).read() == {} and RunDir(tmp_path).events() == []


def test_a_line_that_a_kill_cut_short_is_dropped(tmp_path: Path, corpus: Path, whole: dict[str, bytes]) -> None:
    experiment = small(corpus)
    events(experiment, steps=STEPS, out=tmp_path, stop=lambda: experiment.steps == 6)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"event": "step", "step": 7, "lo')
    events(small(corpus), steps=STEPS, out=tmp_path, resume=True)
    assert contents(tmp_path) == whole
