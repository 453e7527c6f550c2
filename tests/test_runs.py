"""What a run folder tells: read with patience, listed, compared."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graphspec import SpecError
from graphspec.cli.common import remembered_plugins
from graphspec.cli.main import main
from graphspec.cli.output import Output
from graphspec.training.history import differing, find_runs, read_run
from graphspec.training.lock import Lock
from graphspec.training.rundir import RunDir
from runfolders import BEGAN, SETTINGS, end, make_run, step, valid

WHOLE = [step(1, 3.0), step(2, 2.0), valid(2, 1.5, bits_per_char=2.1), step(3, 1.0), valid(3, 1.7, bits_per_char=2.4), end(3)]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(["runs", *words])
    out, err = capsys.readouterr()
    return code, out, err


# -- reading ---------------------------------------------------------------------------------------------------------------------


def test_a_run_is_read() -> None:
    run = read_run(make_run(Path("a"), WHOLE))
    assert (run.name, run.spec, run.last_step, run.began(), run.damaged) == ("a", "char_lm.spec", 3, BEGAN, [])
    assert run.training() == [(1, 3.0), (2, 2.0), (3, 1.0)]
    assert run.measures() == {"valid_loss": [(2, 1.5), (3, 1.7)], "bits_per_char": [(2, 2.1), (3, 2.4)]}
    assert (run.best_step(), run.best()["bits_per_char"], run.final()["bits_per_char"]) == (2, 2.1, 2.4)
    assert (run.seconds(), run.pace()) == (6.0, 50.0)


@pytest.mark.parametrize(
    ("events", "checkpoints", "state"),
    [
        (WHOLE, (), "finished"),
        (WHOLE[:4], ("step-00000002.safetensors", "stopped-00000003.safetensors"), "stopped"),
        (WHOLE[:3], ("step-00000002.safetensors",), "stopped"),
        (WHOLE[:4], ("step-00000002.safetensors", "best.safetensors"), "interrupted"),
        (WHOLE[:1], (), "interrupted"),
        ([], (), "interrupted"),
    ],
)
def test_how_a_run_came_to_where_it_is(events: list[Any], checkpoints: tuple[str, ...], state: str) -> None:
    assert read_run(make_run(Path("a"), events, checkpoints=checkpoints)).state == state


@pytest.mark.parametrize(("events", "state"), [(WHOLE, "finished"), (WHOLE[:4], "running"), ([], "running")])
def test_a_run_that_is_still_going_on(capsys: pytest.CaptureFixture[str], events: list[Any], state: str) -> None:
    lock = Lock(make_run(Path("a"), events, checkpoints=("stopped-00000009.safetensors",)))
    lock.take()
    assert (read_run("a").state, told(capsys, ".")[1].split("\n")[1].split()[2]) == (state, state)
    lock.release()
    assert read_run("a").state != "running"


def test_time_that_was_lost_does_not_count() -> None:
    first = [{"step": 0, "seconds": 0.5, "at": BEGAN}, {"step": 100, "seconds": 10.0}, {"step": 200, "seconds": 20.0}]
    second = [{"step": 100, "seconds": 1.0, "at": "2026-02-01T12:00:00+00:00"}, {"step": 200, "seconds": 9.0}]
    run = read_run(make_run(Path("a"), [step(n) for n in range(1, 201)], [*first, *second]))
    assert run.clock() == [(0, 0.5), (100, 10.0), (100, 11.0), (200, 19.0)]
    assert (run.seconds(), run.began(), run.pace()) == (19.0, BEGAN, pytest.approx(200 * 100 / 19))


HALF = json.dumps(step(4))[:40]


@pytest.mark.parametrize(
    "wrong",
    [
        HALF, HALF + "\n", "\0\0\0\n", "[1, 2]\n", "nonsense\n", '{"event": "step"}\n',
        '{"event": "step", "step": -1, "train_loss": 1.0}\n',
        '{"event": "step", "step": 4, "train_loss": "low"}\n', '{"event": "step", "step": true, "train_loss": 1.0}\n',
        '{"event": "step", "step": 4, "train_loss": 1' + "0" * 400 + "}\n", "[" * 100_000 + "\n", '{"event": 4, "step": 4}\n',
    ],
)  # fmt: skip
def test_a_damaged_line_is_named_and_left_out(wrong: str) -> None:
    place = WHOLE[:3] + [wrong] + (WHOLE[3:] if wrong.endswith("\n") else [])
    run = read_run(make_run(Path("a"), place))
    (warning,) = run.damaged
    assert (warning.code, warning.severity) == ("W0835", "warning")
    assert f"1 of {len(place)} lines" in warning.message and "metrics.jsonl" in warning.message
    assert warning.notes[0].startswith(f"line 4: {wrong[:10].strip()}")
    assert run.training() == [(1, 3.0), (2, 2.0), (3, 1.0)][: 3 if wrong.endswith("\n") else 2]


def test_what_else_may_be_damaged() -> None:
    run = read_run(make_run(Path("a"), [*WHOLE, *["broken\n"] * 9], ["{\n"], "{"))
    assert [d.message.partition(":")[0] for d in run.damaged] == ["a/run.json is damaged or missing", "a/metrics.jsonl", "a/times.jsonl"]
    assert [len(d.notes) for d in run.damaged] == [0, 6, 1] and run.damaged[1].notes[-1] == "and 4 more"
    assert (run.spec, run.state, run.seconds(), run.pace(), run.began()) == ("unknown", "finished", 0.0, None, None)


@pytest.mark.parametrize("part", ["data", "environment", "experiment", "given", "limits", "optimizer", "options", "plugins", "roots"])
def test_a_part_of_the_settings_that_is_none_is_left_out(part: str, capsys: pytest.CaptureFixture[str]) -> None:
    for number, value in enumerate((5, None, "x")):
        make_run(Path(f"r/{number}"), WHOLE, settings={part: value})
        RunDir(Path(f"r/{number}")).command()
        remembered_plugins(Path(f"r/{number}"), RunDir(Path(f"r/{number}")).read(), Output(False))
    assert told(capsys, "compare", "r/0", "r/1", "r/2")[0] == told(capsys, "r")[0] == 0


def test_bytes_that_are_no_text_are_damage() -> None:
    folder = make_run(Path("a"), WHOLE)
    (folder / "metrics.jsonl").write_bytes(b'\xff\xfe{"event"\n' + (folder / "metrics.jsonl").read_bytes())
    assert [d.code for d in read_run(folder).damaged] == ["W0835"]
    assert read_run(folder).last_step == 3


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nowhere", "does not exist"), (".", "in it: inside/a"), ("inside", "in it: inside/a"), ("inside/a/run.json", "is a file"),
        ("empty", "metrics.jsonl"),
    ],
)  # fmt: skip
def test_a_folder_that_holds_no_run(path: str, words: str) -> None:
    make_run(Path("inside/a"), WHOLE)
    Path("empty").mkdir()
    with pytest.raises(SpecError) as caught:
        read_run(path)
    assert caught.value.code == "E0835" and words in str(caught.value)


@pytest.mark.parametrize("place", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["folder", "pipe", "endless"])
@pytest.mark.parametrize("name", ["times.jsonl", "metrics.jsonl"])
def test_a_file_of_a_run_that_cannot_be_read(name: str, place: Callable[[Path], None]) -> None:
    folder = make_run(Path("a"), WHOLE)
    (folder / name).unlink()
    place(folder / name)
    with pytest.raises(SpecError) as caught:
        read_run(folder)
    assert caught.value.code == "E0801"


def test_runs_are_found() -> None:
    for path in ("b", "a", "deep/in/c", "too/deep/in/d", ".hidden/e", "a/inside"):
        make_run(Path("r") / path, WHOLE)
    assert find_runs(Path("r")) == [Path("r/a"), Path("r/b"), Path("r/deep/in/c")]
    assert find_runs(Path("r/a")) == [Path("r/a")]
    assert find_runs(Path("nowhere")) == []


@pytest.mark.parametrize(
    ("tables", "found"),
    [
        ([{"a": 1}, {"a": 1}], {}),
        ([{"a": 1, "b": 2}, {"a": 3, "b": 2}], {"a": [1, 3]}),
        ([{"a": 1}, {"a": 1}, {"a": 2}], {"a": [1, 1, 2]}),
        ([{"a": 1}, {"b": 1}], {"a": [1, None], "b": [None, 1]}),
    ],
)
def test_what_differs(tables: list[dict[str, Any]], found: dict[str, list[Any]]) -> None:
    assert differing(tables) == found


# -- the command -----------------------------------------------------------------------------------------------------------------


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    make_run(Path("runs/b"), WHOLE)
    later = [{"step": 0, "seconds": 0.0, "at": "2026-02-01T00:00:00+00:00"}, {"step": 1, "seconds": 3700.0}]
    make_run(Path("runs/a"), WHOLE[:1], later, {"spec": "mine/word_lm.spec"})
    code, out, err = told(capsys)
    assert (code, err) == (0, "")
    assert [line.split("  ")[0] for line in out.splitlines()] == ["run", "runs/b", "runs/a"]
    assert out.splitlines()[1].split() == "runs/b char_lm.spec finished 3 0:06 2.100 bits per character 2026-01-31 12:00".split()
    assert out.splitlines()[2].split() == "runs/a word_lm.spec interrupted 1 1:01:40 - 2026-02-01 00:00".split()
    first, second = json.loads(told(capsys, "runs", "--json")[1])
    assert (first["run"], first["best"], first["best_step"]) == ("runs/b", {"valid_loss": 1.5, "bits_per_char": 2.1}, 2)
    assert (second["state"], second["final"], second["train_loss"], second["symbols_per_second"]) == ("interrupted", {}, 3.0, 100 / 3700)


@pytest.mark.parametrize(
    ("measures", "words"),
    [({"perplexity": 1.25, "exact": 0.5}, "50.0% exactly right"), ({"perplexity": 1.25}, "1.250 perplexity"), ({}, "1.500 loss")],
)
def test_the_list_shows_the_measure_that_says_most(capsys: pytest.CaptureFixture[str], measures: dict[str, float], words: str) -> None:
    make_run(Path("runs/a"), [step(1), valid(1, 1.5, **measures)])
    assert f"  {words}  " in told(capsys)[1]


def test_where_there_are_no_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys) == (0, "", "no runs in runs\n")
    assert told(capsys, "--json")[1] == "[]\n"


def test_damage_is_told_in_words_and_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    make_run(Path("runs/a"), [*WHOLE[:5], HALF])
    code, out, err = told(capsys)
    assert code == 0 and "runs/a" in out and "W0835" in err and "line 6" in err
    code, out, err = told(capsys, "--json")
    assert (code, err, json.loads(out)[0]["damaged"][0]["code"]) == (0, "", "W0835")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("nowhere", "E0801"), ("file", "E0802"), (". .", "E0807"), ("compare", "E0807"), ("compare a", "E0807"),
        ("compare a nowhere", "E0835"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(capsys: pytest.CaptureFixture[str], words: str, code: str) -> None:
    make_run(Path("a"), WHOLE)
    Path("file").write_text("")
    failed, out, err = told(capsys, *words.split())
    assert (failed, out) == (1, "") and f"[{code}]" in err


ENVIRONMENT = SETTINGS["environment"]


def test_a_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    more = {"options": {"rnn_size": 256.0, "n_layers": 2.0}, "environment": {**ENVIRONMENT, "numpy": "2.5.0"}, "given": {"x": 1}}
    make_run(Path("a"), WHOLE)
    make_run(Path("b"), [step(1, 2.5)], settings={**more, "optimizer": {"name": "adam", "learningRate": 0.002}}, spec="b")
    found = json.loads(told(capsys, "compare", "a", "b", "--json")[1])
    assert found["environment"] == {"numpy": ["2.4.6", "2.5.0"]}
    hashes = found["options"].pop("the spec's text")
    assert found["options"] == {"rnn_size": [128.0, 256.0], "n_layers": [None, 2.0], "optim.name": ["rmsprop", "adam"]}
    assert hashes[0] != hashes[1]
    assert [run["run"] for run in found["runs"]] == ["a", "b"]
    code, out, err = told(capsys, "compare", "a", "b")
    assert (code, err) == (0, "")
    cells = {tuple(filter(None, line.split("  "))) for line in out.splitlines()}
    rows = {tuple(cell.strip() for cell in row) for row in cells}
    assert rows > {
        ("steps", "3", "1"), ("rnn_size", "128", "256"), ("n_layers", "-", "2"), ("numpy", "2.4.6", "2.5.0"),
        ("bits per character, held out, best", "2.100", "-"), ("bits per character, held out, final", "2.400", "-"),
    }  # fmt: skip


def test_what_was_changed_on_the_way_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    changed = ["after step 1, optim.learningRate: 0.004, now 0.002", "after step 2, precision"]
    make_run(Path("a"), WHOLE, settings={"changed": changed})
    make_run(Path("b"), WHOLE, settings={"changed": [changed[0], 5]})
    make_run(Path("c"), WHOLE, settings={"changed": 5})
    rows = [line.split("  ") for line in told(capsys, "compare", "a", "b", "c")[1].splitlines() if line.startswith("changed on the way")]
    assert [[cell.strip() for cell in row if cell][1:] for row in rows] == [[changed[0], changed[0], "-"], [changed[1], "-", "-"]]
    assert [run["changed"] for run in json.loads(told(capsys, ".", "--json")[1])] == [changed, changed[:1], []]


def test_runs_that_are_alike(capsys: pytest.CaptureFixture[str]) -> None:
    make_run(Path("a"), WHOLE)
    make_run(Path("b"), WHOLE, settings={"roots": ["/other"]})
    assert told(capsys, "compare", "a", "b", "a")[1].count(": nothing") == 2
