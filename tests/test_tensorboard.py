"""Event files, read back with TensorBoard's own reader."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tensorboard", reason="event files are written and read with the package tensorboard")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from graphspec import SpecError
from graphspec.cli.main import main
from graphspec.training.rundir import Event
from graphspec.training.tensorboard import TensorBoard
from runfolders import end, make_run, step, valid

CHAR_LM = str(Path(__file__).parent.parent / "specs" / "char_lm.spec")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shown(run: str | Path) -> dict[str, list[tuple[int, float]]]:
    """Each tag's steps and values, as TensorBoard shows them."""
    accumulator = EventAccumulator(str(Path(run) / "tensorboard"), size_guidance={"scalars": 0})
    accumulator.Reload()
    tags: list[str] = accumulator.Tags()["scalars"]
    return {tag: [(event.step, event.value) for event in accumulator.Scalars(tag)] for tag in tags}


def told(events: list[Event]) -> Generator[Event, None, None]:
    yield from events


def follow(run: str, events: list[Event], clock: Callable[[], float] | None = None) -> None:
    board = TensorBoard(Path(run), clock) if clock else TensorBoard(Path(run))
    assert list(board.follow(told(events))) == events


def start(at: int) -> Event:
    return {"event": "start", "step": at, "steps": 10, "parameters": 5, "symbols": 100}


def test_what_a_run_tells() -> None:
    follow("a", [start(0), step(1, 3.0), step(2, 2.0), valid(2, 1.5, bits_per_char=2.25), step(3, 1.0), end(3)])
    found = shown("a")
    assert found.pop("train/learning_rate") == [(n, pytest.approx(0.002)) for n in (1, 2, 3)]
    assert found == {
        "train/loss": [(1, 3.0), (2, 2.0), (3, 1.0)], "train/running_loss": [(1, 3.0), (2, 2.0), (3, 1.0)],
        "train/gradient_norm": [(1, 1.0), (2, 1.0), (3, 1.0)], "valid/loss": [(2, 1.5)], "valid/bits_per_char": [(2, 2.25)],
    }  # fmt: skip


def test_the_pace_is_taken_over_a_second_or_more() -> None:
    seconds = itertools.count(0, 0.125)  # the clock is looked at several times a step
    follow("a", [start(0), *(step(n) for n in range(1, 40))], lambda: next(seconds))
    pace = shown("a")["train/symbols_per_second"]
    assert 3 < len(pace) < 30
    assert all(0 < value < 100 / 0.125 for _, value in pace)


def test_a_resumed_run_is_shown_once() -> None:
    follow("a", [start(0), *(step(n, 1.0) for n in range(1, 6)), valid(5, 1.0), step(6, 1.0), step(7, 1.0), valid(7, 1.0)])
    make = [*(step(n, 1.0) for n in range(1, 6)), valid(5, 1.0)]
    (Path("a") / "metrics.jsonl").write_text(make_run(Path("lines"), make).joinpath("metrics.jsonl").read_text())
    follow("a", [start(5), step(6, 2.0), valid(6, 2.0), end(6)])
    found = shown("a")
    assert found["train/loss"] == [*((n, 1.0) for n in range(1, 6)), (6, 2.0)]
    assert found["valid/loss"] == [(5, 1.0), (6, 2.0)]


def test_a_kill_in_the_middle_of_a_record_loses_nothing_that_was_saved() -> None:
    make_run(Path("a"), [step(1), step(2), valid(2, 1.0)])
    follow("a", [start(0), step(1), step(2)])
    (file,) = (Path("a") / "tensorboard").iterdir()
    file.write_bytes(file.read_bytes()[:-7])
    follow("a", [start(2), step(3)])
    found = shown("a")
    assert [n for n, _ in found["train/loss"]] == [1, 2, 3]
    assert found["valid/loss"] == [(2, 1.0)]


def test_a_finished_run_that_is_looked_at_gets_no_file() -> None:
    follow("a", [start(3), end(3)])
    assert not Path("a").exists()


def test_what_fails_closes_the_run_first() -> None:
    closed = []

    def events() -> Iterator[Event]:
        try:
            yield from [start(0), step(1)]
        finally:
            closed.append(True)

    Path("a").write_text("")
    with pytest.raises(SpecError) as caught:
        list(TensorBoard(Path("a")).follow(events()))  # type: ignore[arg-type]
    assert caught.value.code == "E0805" and closed == [True]


SMALL = "data.path=corpus.txt data.batch=4 data.seq_len=7 rnn_size=6 n_layers=1 experiment.valid_every=2".split()


@pytest.fixture
def train(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    (elsewhere / "corpus.txt").write_text("the quick brown fox jumps over the lazy dog. " * 40)

    def run(*words: str) -> str:
        main(["run", CHAR_LM, *SMALL, "--out", "a", *words])
        return capsys.readouterr().err

    return run


def test_the_command_writes_them_and_goes_on_with_them(train: Any) -> None:
    train("--steps", "3", "--tensorboard")
    train("--steps", "5", "--resume", "--tensorboard")
    found = shown("a")
    assert [n for n, _ in found["train/loss"]] == [1, 2, 3, 4, 5]
    assert [n for n, _ in found["valid/bits_per_char"]] == [2, 3, 4, 5]
    files = {p: p.read_bytes() for p in Path("a/tensorboard").iterdir()}
    train("--steps", "5", "--resume", "--tensorboard")
    assert {p: p.read_bytes() for p in Path("a/tensorboard").iterdir()} == files


def test_without_the_package_nothing_is_begun(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    said = train("--steps", "1", "--tensorboard")
    assert "E0820" in said and "graphspec[tensorboard]" in said
    assert not Path("a").exists()
    train("--steps", "1")
    assert not Path("a/tensorboard").exists() and Path("a/metrics.jsonl").exists()
