"""One run at a time in a run folder, and nothing in the way of the next when one is killed."""

from __future__ import annotations

import errno
import os
import platform
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from graphspec.cli.main import main
from graphspec.cli.run import fresh_folder
from graphspec.errors import SpecError
from graphspec.training.experiment import Experiment
from graphspec.training.lock import NAME, Lock, holder
from graphspec.training.loop import RunSettings, run
from test_run import command, small

ME = f"process {os.getpid()} on {platform.node()}"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_text("the quick brown fox jumps over the lazy dog. " * 40)
    return path


def test_one_has_it_until_it_lets_go(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "run"
    first, second = Lock(folder), Lock(folder)
    assert holder(folder) is None and first.take() == []
    assert holder(folder) == ME
    with pytest.raises(SpecError, match="is in use by another run") as caught:
        second.take()
    assert caught.value.code == "E0809" and ME in str(caught.value)
    second.release()  # of what it never had
    assert holder(folder) == ME
    first.release()
    assert holder(folder) is None and list(folder.iterdir()) == []
    assert second.take() == []
    second.release()


def test_what_a_killed_run_left_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("process 1 on elsewhere\n")
    assert holder(tmp_path) is None
    lock = Lock(tmp_path)
    assert lock.take() == [] and holder(tmp_path) == ME
    lock.release()


def test_a_moments_look_does_not_turn_a_run_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    looking = open(tmp_path / NAME, "w")  # noqa: SIM115  (closed when the run has waited once)
    fcntl.flock(looking, fcntl.LOCK_SH)
    monkeypatch.setattr(time, "sleep", lambda _: looking.close())
    lock = Lock(tmp_path)
    assert lock.take() == []
    lock.release()


@pytest.mark.parametrize("failure", [OSError(errno.ENOLCK, os.strerror(errno.ENOLCK)), ImportError("fcntl")])
def test_without_locks_a_run_warns_and_goes_on(tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception) -> None:
    def none(*_: Any, **__: Any) -> None:
        raise failure

    monkeypatch.setattr("graphspec.training.lock._flock", none)
    found = list(run(small(corpus), RunSettings(2, tmp_path)))
    assert [e["event"] for e in found[:2]] == ["warning", "start"] and found[-1]["event"] == "end"
    assert found[0]["diagnostic"].code == "W0809" and "cannot be locked" in found[0]["diagnostic"].message
    assert not (tmp_path / NAME).exists()


def test_a_second_run_in_a_folder_is_refused_and_the_first_is_whole(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    going = run(small(corpus), RunSettings(6, folder))
    for event in going:
        if event["event"] == "step" and event["step"] == 3:
            break
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    for more in ([], ["--resume"]):
        assert main(command(corpus, folder, 6, *more)[3:]) == 1
        err = capsys.readouterr().err
        assert "error[E0809]" in err and f"process {os.getpid()}" in err
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    assert list(going)[-1]["event"] == "end"
    assert Experiment.load(folder, last=True).steps == 6 and not (folder / NAME).exists()


def test_a_run_that_was_killed_can_go_on(tmp_path: Path, corpus: Path) -> None:
    process = subprocess.Popen(command(corpus, tmp_path, 1_000_000, "--json"), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if '"step": 5,' in line:
            break
    assert str(process.pid) in (holder(tmp_path) or "")
    process.kill()
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    assert (tmp_path / NAME).exists() and holder(tmp_path) is None
    assert next(run(small(corpus), RunSettings(1_000_000, tmp_path, resume=True)))["step"] >= 4


@pytest.mark.parametrize("below", ["", "run", "run/deeper"])
def test_a_file_in_the_place_of_a_folder_is_told(tmp_path: Path, below: str) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(SpecError, match="file is a file and not a folder") as caught:
        Lock(file / below).take()
    assert caught.value.code == "E0805" and file.read_text() == "mine"


def test_a_folder_that_may_only_be_read_is_not_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: Any, **__: Any) -> Any:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("graphspec.training.lock.open", denied, raising=False)
    with pytest.raises(SpecError, match="cannot be written") as caught:
        Lock(tmp_path).take()
    assert caught.value.code == "E0805"
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert Lock(tmp_path).take() == []


def test_runs_that_begin_together_get_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [str(fresh_folder("a")) for _ in range(3)] == [f"runs/a-{n}" for n in (1, 2, 3)]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    Path("runs").write_text("")
    with pytest.raises(SpecError, match="cannot be written"):
        fresh_folder("a")
