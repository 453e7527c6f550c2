"""Tensor files and checkpoints: exact, unchanged by damage unseen, and whole after a failure or a kill at any place."""

from __future__ import annotations

import builtins
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

import graphspec
from graphspec.errors import SpecError
from graphspec.tensorfile import PART, read_tensors, write_bytes, write_tensors
from graphspec.training.checkpoint import BEST, Checkpoints, load_checkpoint
from graphspec.training.loop import RunSettings, run

CHAR_LM = Path(__file__).parent.parent / "specs" / "char_lm.spec"
HEADER = {"steps": 12, "nested": {"rate": 0.1, "name": "é", "list": [1, None, True]}}


def some_tensors(value: float = 1.0) -> dict[str, Any]:
    return {"a.weight": np.full((2, 3), value), "b": np.arange(3, dtype=np.int64)}


def same(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return found.keys() == wanted.keys() and all(
        found[k].dtype == wanted[k].dtype and found[k].shape == wanted[k].shape and found[k].tobytes() == wanted[k].tobytes() for k in found
    )


# -- tensor files ----------------------------------------------------------------------------------------------------------------


def test_tensors_of_every_kind_come_back_exactly(tmp_path: Path) -> None:
    base = np.arange(24.0).reshape(2, 3, 4)
    tensors = {
        "scalar": np.array(3.0), "empty": np.zeros((0, 4), np.float32), "transposed": base.T, "sliced": base[:, ::2, 1:],
        "reversed": base[::-1], "stride 0": np.broadcast_to(np.float32(2), (3, 2)), "integers": np.array([-1, 2**40]),
        "flags": np.array([True, False]), "special": np.array([np.nan, np.inf, -0.0, 5e-324]),
    }  # fmt: skip
    path = tmp_path / "new" / "folders" / "x.safetensors"
    write_tensors(path, tensors, HEADER)
    found, header = read_tensors(path)
    assert same(found, tensors)
    assert header == HEADER
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_no_tensors_and_keys_that_are_numbers(tmp_path: Path) -> None:
    write_tensors(tmp_path / "x", {}, {"by number": {2: "two", 10: "ten"}})  # JSON makes them strings, which sort differently
    assert read_tensors(tmp_path / "x") == ({}, {"by number": {"2": "two", "10": "ten"}})


def test_the_same_contents_make_the_same_bytes(tmp_path: Path) -> None:
    tensors = some_tensors()
    write_tensors(tmp_path / "x", tensors, {"a": 1, "b": 2})
    write_tensors(tmp_path / "y", dict(reversed(tensors.items())), {"b": 2, "a": 1})
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


def test_a_flipped_bit_anywhere_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_tensors(path, some_tensors(), HEADER)
    good = path.read_bytes()
    for place in range(len(good)):
        for bit in (0, 5, 7):
            damaged = bytearray(good)
            damaged[place] ^= 1 << bit
            path.write_bytes(damaged)
            if bit == 5 and good[place - 4 : place + 2] == rb"\u00e9":  # \u00E9 is another spelling of the same
                assert read_tensors(path)[1] == HEADER
                continue
            with pytest.raises(SpecError) as caught:
                read_tensors(path)
            assert caught.value.code == "E0705"


def test_a_file_cut_short_anywhere_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_tensors(path, some_tensors(), HEADER)
    good = path.read_bytes()
    for length in range(len(good)):
        path.write_bytes(good[:length])
        with pytest.raises(SpecError) as caught:
            read_tensors(path)
        assert caught.value.code == "E0705"


def test_files_of_others_and_missing_ones(tmp_path: Path) -> None:
    safetensors.numpy.save_file(some_tensors(), tmp_path / "other")
    safetensors.numpy.save_file(some_tensors(), tmp_path / "odd", {"graphspec": "[1]"})
    for name, code in (("other", "E0705"), ("odd", "E0705"), ("missing", "E0801"), ("", "E0801")):
        with pytest.raises(SpecError) as caught:
            read_tensors(tmp_path / name)
        assert caught.value.code == code, name


@pytest.mark.parametrize("load", [graphspec.load, graphspec.Experiment.load])
def test_a_spec_where_what_was_trained_belongs(tmp_path: Path, load: Callable[[Path], Any]) -> None:
    (tmp_path / "model.spec").write_text("return 1")
    with pytest.raises(SpecError, match="is a spec, and nothing that was trained or saved") as caught:
        load(tmp_path / "model.spec")
    assert caught.value.code == "E0705" and f"graphspec run {tmp_path / 'model.spec'}" in caught.value.diagnostics[0].helps[0]


def test_a_library_that_writes_wrong_data_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    write_tensors(path, some_tensors(1.0), HEADER)
    save = safetensors.numpy.save
    monkeypatch.setattr(safetensors.numpy, "save", lambda tensors, header: save({**tensors, "a.weight": np.zeros((2, 3))}, header))
    with pytest.raises(SpecError, match="does not read back the same") as caught:
        write_tensors(path, some_tensors(2.0), HEADER)
    assert caught.value.code == "E0805"
    assert same(read_tensors(path)[0], some_tensors(1.0))
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_file_where_a_folder_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "x", tmp_path / "file" / "y" / "x"):
        with pytest.raises(SpecError, match="cannot be written") as caught:
            write_bytes(place, b"")
        assert caught.value.code == "E0805"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_what_is_no_file_is_not_replaced_by_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(SpecError, match="is not a file") as caught:
        write_bytes(pipe, b"x")
    assert caught.value.code == "E0805" and pipe.is_fifo() and list(tmp_path.iterdir()) == [pipe]


# -- failures and kills at every place -------------------------------------------------------------------------------------------


class Killed(BaseException):
    """The process is gone: nothing of it runs any more."""


class Faults:
    """Counts the calls that touch the disk; the ``at``-th fails with a full disk, or is where the process is killed."""

    def __init__(self, at: int = -1, kill: bool = False) -> None:
        self.at, self.kill, self.count = at, kill, 0
        self.hit = ""

    def step(self, name: str) -> None:
        number, self.count = self.count, self.count + 1
        if number == self.at or (self.kill and self.hit):
            self.hit = self.hit or name
            raise Killed if self.kill else OSError(errno.ENOSPC, "No space left on device")

    def wrap(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **more: Any) -> Any:
            self.step(name)
            return original(*arguments, **more)

        return called

    def open(self, path: Path, mode: str) -> Any:
        self.step("open")
        file = builtins.open(path, mode)  # noqa: SIM115  (closed by whoever asked for it)
        return HalfWritten(file, self) if mode == "wb" else file

    @contextmanager
    def armed(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("mkdir", "open", "fsync", "replace", "unlink"):
                patch.setattr(os, name, self.wrap(name, getattr(os, name)))
            patch.setattr("graphspec.tensorfile.open", self.open, raising=False)
            yield


class HalfWritten:
    """A file of which a failing write puts down the first half."""

    def __init__(self, file: Any, faults: Faults) -> None:
        self.file, self.faults = file, faults

    def __enter__(self) -> HalfWritten:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def write(self, data: bytes) -> None:
        self.file.write(data[: len(data) // 2])
        self.faults.step("write")
        self.file.write(data[len(data) // 2 :])


def write_step(checkpoints: Checkpoints, step: int) -> None:
    checkpoints.write(step, some_tensors(step), {"steps": step}, best=True)


@pytest.mark.parametrize("kill", [False, True], ids=["fails", "killed"])
@pytest.mark.parametrize("earlier", [0, 2])
def test_a_failure_or_kill_at_any_place_leaves_a_good_checkpoint(tmp_path: Path, kill: bool, earlier: int) -> None:
    hits: set[str] = set()
    for place in range(100):  # until every place had its turn
        if "" in hits:
            break
        checkpoints = Checkpoints(tmp_path / f"run {place}")
        for step in range(1, earlier + 1):
            write_step(checkpoints, step)
        before = {p.name: p.read_bytes() for p in checkpoints.folder.glob("step-*")}
        faults, told = Faults(place, kill), ""
        try:
            with faults.armed():
                write_step(checkpoints, earlier + 1)
        except (SpecError, Killed) as failure:
            told = failure.code if isinstance(failure, SpecError) else "killed"
        hits.add(faults.hit)
        if faults.hit not in ("", "unlink"):  # what cannot be removed may be left
            assert told == ("killed" if kill else "E0805"), faults.hit
            assert kill or not list(checkpoints.folder.glob(f"*{PART}"))
        newest = checkpoints.newest()
        if newest is None:
            assert earlier == 0 and told
            continue
        tensors, state, skipped, _ = newest
        assert skipped == []
        assert state["steps"] == earlier + 1 or (told and state["steps"] == earlier)
        assert same(tensors, some_tensors(state["steps"]))
        if state["steps"] == earlier:
            assert {p.name: p.read_bytes() for p in checkpoints.folder.glob("step-*.safetensors")} == before
        write_step(checkpoints, earlier + 2)  # and the run goes on
        assert len([*checkpoints.folder.iterdir()]) == len([*checkpoints.steps()]) + 1
    assert hits >= {"", "open", "write", "fsync", "replace", "unlink"} | ({"mkdir"} if earlier == 0 else set())


# -- the checkpoints of a run ----------------------------------------------------------------------------------------------------


def names(checkpoints: Checkpoints) -> list[str]:
    return sorted(p.name for p in checkpoints.folder.iterdir())


def test_the_two_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.newest() is None
    for step in (5, 10, 15):
        checkpoints.write(step, some_tensors(step), {"steps": step}, best=step == 5)
    assert names(checkpoints) == [BEST, "step-00000010.safetensors", "step-00000015.safetensors"]
    assert read_tensors(checkpoints.folder / BEST)[1] == {"experiment": {"steps": 5}}
    found = checkpoints.newest()
    assert found is not None and found[1] == {"steps": 15} and found[2] == []
    assert load_checkpoint(tmp_path).path == checkpoints.folder / BEST
    assert load_checkpoint(tmp_path, last=True).state == {"steps": 15}
    assert load_checkpoint(checkpoints.folder / "step-00000010.safetensors").state == {"steps": 10}


def test_a_damaged_one_is_named_and_skipped_and_does_not_push_out_a_good_one(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (5, 10):
        checkpoints.write(step, some_tensors(step), {"steps": step})
    damaged = checkpoints.folder / "step-00000010.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    found = checkpoints.newest()
    assert found is not None and found[1] == {"steps": 5}
    (warning,) = found[2]
    assert (warning.code, warning.severity) == ("W0705", "warning") and str(damaged) in warning.message
    checkpoints.write(7, some_tensors(7), {"steps": 7})
    assert names(checkpoints) == ["step-00000005.safetensors", "step-00000007.safetensors"]


def test_when_all_are_damaged_each_is_named(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (5, 10):
        checkpoints.write(step, some_tensors(step), {"steps": step})
    write_tensors(checkpoints.folder / "step-00000005.safetensors", some_tensors(), {"model": {}})  # whole, but no experiment
    (checkpoints.folder / "step-00000010.safetensors").write_bytes(b"")
    with pytest.raises(SpecError) as caught:
        checkpoints.newest()
    assert caught.value.code == "E0705"
    later, earlier = caught.value.diagnostics[0].notes
    assert "step-00000010" in later and "step-00000005" in earlier


def test_a_folder_without_a_good_checkpoint_cannot_be_loaded(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    write_step(checkpoints, 1)
    (checkpoints.folder / BEST).write_bytes(b"")
    found = load_checkpoint(tmp_path)
    assert found.path.name == "step-00000001.safetensors"
    assert [(w.code, w.severity) for w in found.skipped] == [("W0705", "warning")] and BEST in found.skipped[0].message
    found.path.write_bytes(b"")
    with pytest.raises(SpecError, match="no checkpoint") as caught:
        load_checkpoint(tmp_path)
    assert caught.value.code == "E0801" and len(caught.value.diagnostics[0].notes) == 2


# -- experiments -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("the quick brown fox jumps over the lazy dog. " * 40)
    return path


def small(corpus: Path, **more: Any) -> graphspec.Experiment:
    options = {"data.path": str(corpus), "data.batch": 4, "data.seq_len": 7, "experiment.valid_every": 3, **more}
    return graphspec.experiment(CHAR_LM, dtype="float64", rnn_size=6, n_layers=2, **options)


def test_a_saved_experiment_goes_on_bit_for_bit(tmp_path: Path, corpus: Path) -> None:
    whole = small(corpus)
    losses = [whole.train_step() for _ in range(8)]
    first = small(corpus)
    assert [first.train_step() for _ in range(5)] == losses[:5]
    first.save(tmp_path / "x")
    second = graphspec.Experiment.load(tmp_path / "x")
    assert second.steps == 5 and same(second.tensors(), first.tensors())
    assert [second.train_step() for _ in range(3)] == losses[5:]
    assert same(second.tensors(), whole.tensors())
    assert any(name.startswith("carry:") and array.any() for name, array in whole.tensors().items())


def test_a_saved_experiment_samples_without_its_corpus(tmp_path: Path, corpus: Path) -> None:
    experiment = small(corpus)
    experiment.train_step()
    experiment.save(tmp_path / "x")
    wanted = experiment.sample(20, seed=3)
    corpus.unlink()
    assert graphspec.Experiment.load(tmp_path / "x").sample(20, seed=3) == wanted


def files(folder: Path) -> dict[str, Any]:
    """Of a run folder, all that must not depend on when it was interrupted."""
    found: dict[str, Any] = {p.name: p.read_bytes() for p in sorted((folder / "checkpoints").iterdir())}
    found["metrics"] = (folder / "metrics.jsonl").read_bytes()
    return found


def test_a_run_killed_after_any_step_and_resumed_is_the_same_run(tmp_path: Path, corpus: Path) -> None:
    out = tmp_path / "run"
    left = []
    for number, event in enumerate(run(small(corpus), RunSettings(steps=7, out=out))):
        if event["event"] in ("step", "valid"):  # what is on the disk now is what a kill would leave
            left.append(Path(shutil.copytree(out, tmp_path / f"killed {number}")))
    assert len(left) == 7 + 3
    for folder in left:
        (folder / "checkpoints").mkdir(exist_ok=True)
        (folder / "checkpoints" / f"step-00000099.safetensors{PART}").write_bytes(b"half")
        events = list(run(small(corpus), RunSettings(steps=7, out=folder, resume=True)))
        assert events[-1]["event"] == "end" and events[-1]["step"] == 7
        assert files(folder) == files(out), folder.name
