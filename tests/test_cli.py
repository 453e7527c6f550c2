"""The command line as it is used: exit codes, JSON forms, and what is said where."""

from __future__ import annotations

import json
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compiled import NEEDS_COMPILER
from graphspec.cli.main import COMMANDS, main
from graphspec.cli.output import amount
from graphspec.ir.ops.record import PRIMITIVES, primitive

ROOT = Path(__file__).parent.parent
LSTM, CHAR_LM = str(ROOT / "specs" / "lstm.spec"), str(ROOT / "specs" / "char_lm.spec")
NETWORK = "network({rnn_size=5,n_layers=2})"
LINEAR = "local x = nn.Identity{'B', 3}()\nlocal y = nn.Tanh()(nn.Linear(3, 2)(x))\nreturn nn.gModule({x}, {y})\n"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, with two small specs and a corpus."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "linear.spec").write_text(LINEAR)
    (tmp_path / "broken.spec").write_text(LINEAR.replace("Linear(3", "Linear(4"))
    (tmp_path / "corpus.txt").write_text("the quick brown fox jumps over the lazy dog. " * 40)
    return tmp_path


SMALL = "data.path=corpus.txt data.batch=4 data.seq_len=7 rnn_size=6 n_layers=1"


class Said:
    """What a command left: exit code, stdout, stderr."""

    def __init__(self, capsys: pytest.CaptureFixture[str], line: str) -> None:
        capsys.readouterr()
        self.code = main(shlex.split(line))
        self.out, self.err = capsys.readouterr()

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    return lambda line: Said(capsys, line)


@pytest.mark.parametrize("name", COMMANDS)
def test_help(run: Any, name: str) -> None:
    said = run(f"{name} --help")
    assert said.code == 0
    assert said.out.startswith(f"usage: graphspec {name}")
    assert "--json" in said.out


def test_compile_json(run: Any) -> None:
    found = run("compile linear.spec --json --at B=50").json
    assert found["inputs"] == [{"name": "input", "node": "x", "shape": ["B", 3], "dtype": "float32"}]
    assert found["outputs"] == [{"name": "output", "node": "y", "shape": ["B", 2], "dtype": "float32"}]
    assert found["parameters"] == [
        {"name": "Linear.weight", "shape": [2, 3], "count": 6},
        {"name": "Linear.bias", "shape": [2], "count": 2},
    ]
    assert found["ops"]["matmul"] == 1
    assert found["bytes"]["parameters"] == 32
    assert found["bytes"]["at"] == {"B": 50}
    assert found["warnings"] == []


def test_compile_shows_options_with_their_help(run: Any) -> None:
    spec = ROOT / "specs" / "char_lm.spec"
    assert re.search(r"options  rnn_size = 7 +units in each layer\n +n_layers = 2 +layers", run(f"compile {spec} rnn_size=7").out)
    found = run(f"compile {spec} --json").json["options"]
    assert found[0] == {"name": "rnn_size", "value": 128, "help": "units in each layer"}


def test_compile_says_the_same_in_words(run: Any) -> None:
    said = run("compile linear.spec")
    assert said.err == ""
    for words in ("linear.spec: forward, float32", "float32[B, 3]", "8 parameters in 2 tensors", "Linear.weight  2 x 3"):
        assert words in said.out


@pytest.mark.parametrize("device", ["numpy", pytest.param("native", marks=NEEDS_COMPILER)])
@pytest.mark.parametrize("spec", ["linear.spec", f"{LSTM} --entry '{NETWORK}'"])
def test_a_kernel_is_no_op_besides_its_own(run: Any, spec: str, device: str) -> None:
    found = re.search(r"(\d+) ops, (\d+) after the passes; ", run(f"compile {spec} --device {device}").out)
    assert found is not None and 0 < int(found[2]) <= int(found[1])


@NEEDS_COMPILER
def test_what_backward_of_a_model_is_made_of(run: Any) -> None:
    """The IR before and after the passes, and the instructions that `profile` counts; a kernel has a line for each op."""
    lowered, optimised = (run(f"compile linear.spec --backward --device native --emit {form}").out for form in ("ir", "optimised"))
    assert "program backward" in lowered and "fused(" not in lowered and "fused(" in optimised
    plan = run("compile linear.spec --backward --device native --emit plan").out
    timed = run("profile linear.spec --device native --steps 1 --json").json["instructions"]
    assert {f"{one['number']:>6}  " for one in timed} <= {line[:8] for line in plan.splitlines()}
    assert re.search(r"\n +\d+  fused for each of \[B, 2\]  ; linear\.spec:.*\n +v0 = b\d", plan) and "= tanh v" in plan
    assert "forward and backward, float32" in run("compile linear.spec --backward").out


def test_what_is_assumed_is_said(run: Any, elsewhere: Path) -> None:
    (elsewhere / "untyped.spec").write_text("local x = nn.Identity()()\nreturn nn.gModule({x}, {nn.Tanh()(x)})")
    said = run("compile untyped.spec")
    assert "assumed" in said.out
    assert run("compile untyped.spec --json").json["warnings"]


@pytest.mark.parametrize("form", ["ir", "plan", "dot", "json"])
def test_emit(run: Any, form: str) -> None:
    said = run(f"compile linear.spec --emit {form}")
    assert said.code == 0
    if form == "json":
        assert said.json["buffers"][0]["name"] == "input"
    else:
        assert {"ir": "matmul", "plan": "matmul", "dot": "digraph"}[form] in said.out


def test_what_fixed_each_shape(run: Any, elsewhere: Path) -> None:
    text = "local x, y = nn.Identity()(), nn.Identity{'B', 4}()\nlocal h = nn.Linear(3, 4)(x)\nlocal z = nn.CAddTable()({h, y})\n"
    (elsewhere / "shapes.spec").write_text(text + "return nn.gModule({x, y}, {z})")
    said = run("compile shapes.spec --emit shapes")
    assert [line.split() for line in said.out.splitlines()] == [
        ["node", "module", "shape", "fixed", "by"],
        ["x", "nn.Identity", "[B,", "3]", *"B: nn.CAddTable()({h, y}) at line 3; 3: nn.Linear(3, 4)(x) at line 2".split()],
        ["y", "nn.Identity", "[B,", "4]", "itself"],
        ["h", "nn.Linear", "[B,", "4]", *"nn.Identity{'B', 4}() at line 1".split()],
        ["z", "nn.CAddTable", "[B,", "4]", *"nn.Identity{'B', 4}() at line 1".split()],
    ]
    first = run("compile shapes.spec --emit shapes --json").json[0]
    assert first["fixed_by"][1] == {"size": "3", "by": "nn.Linear(3, 4)(x)", "file": "shapes.spec", "line": 2, "column": 11}


def test_the_listing_is_checked_whole(run: Any) -> None:
    said = run(f"check {LSTM} --entry {NETWORK} --json")
    found = said.json
    kinds = [entry["kind"] for entry in found["entries"]]
    assert (said.code, found["ok"], kinds.count("parameter"), kinds.count("input")) == (0, True, 32, 5)
    assert found["max_relative_error"] == max(entry["relative_error"] for entry in found["entries"]) < 1e-6
    assert found["entries"][0].keys() == {"name", "kind", "shape", "relative_error"}


@pytest.mark.parametrize(
    ("first", "second", "fix"),
    [
        ("nn.Linear(3, 2*rnn)(x)", "nn.Linear(rnn, 5)(h)", "try `nn.Linear(2*rnn, 5)` at line 4"),
        ("nn.Tanh()(x)", "nn.Linear(rnn, 5)(h)", "try `nn.Linear(3, 5)` at line 4"),
        ("nn.Tanh()(x)", "nn.Linear(rnn, 5)(nn.Linear(4, 5)(h))", "try `nn.Linear(3, 5)` at line 4"),  # no single edit mends this
    ],
)
def test_a_fix_for_a_size_is_told_when_it_compiles(run: Any, elsewhere: Path, first: str, second: str, fix: str) -> None:
    text = f"local rnn = 4\nlocal x = nn.Identity{{'B', 3}}()\nlocal h = {first}\nlocal y = {second}\nreturn nn.gModule({{x}}, {{y}})"
    (elsewhere / "model.spec").write_text(text)
    err = run("compile model.spec").err
    assert ("nn.Linear(4, 5)" in second) != (fix in err), err


@pytest.mark.parametrize("sizes", ["2^40, 2^40", "'B', 2^40"])
def test_sizes_too_large_to_check_are_told(run: Any, elsewhere: Path, sizes: str) -> None:
    (elsewhere / "large.spec").write_text(f"local x = nn.Identity{{{sizes}}}()\nreturn nn.gModule({{x}}, {{nn.Tanh()(x)}})")
    assert "E0702" in run("check large.spec").err


def test_a_planted_wrong_gradient_is_found(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    right = primitive("tanh")
    assert right.vjp is not None
    wrong = replace(right, vjp=lambda b, op, g: [b.mul(x, b.full_like(x, 1.001)) for x in right.vjp(b, op, g)])  # type: ignore[misc,union-attr]
    monkeypatch.setitem(PRIMITIVES, "tanh", wrong)
    said = run(f"check {LSTM} --entry {NETWORK} --json")
    assert said.code == 3
    assert said.json["ok"] is False
    assert 1e-4 < said.json["max_relative_error"] < 1e-2
    assert "WRONG" in run(f"check {LSTM} --entry {NETWORK}").out


def test_a_run_tells_its_events(run: Any) -> None:
    said = run(f"run {CHAR_LM} {SMALL} --steps 3 --out first --json experiment.valid_every=2")
    assert said.code == 0
    assert [event["event"] for event in said.events] == ["start", "step", "step", "valid", "step", "valid", "end"]
    end = said.events[-1]
    assert end.keys() == {
        "event", "step", "train_loss", "valid_loss", "bits_per_char", "best_step", "best_loss", "early", "baselines",
    }  # fmt: skip
    assert (end["step"], end["early"], list(end["baselines"])) == (3, False, ["unigram", "ngram3", "ngram5"])
    assert end["bits_per_char"] == pytest.approx(end["valid_loss"] / 0.6931471805599453)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_run_is_not_written_over_goes_on_and_ends_once(run: Any, elsewhere: Path) -> None:
    command = f"run {CHAR_LM} {SMALL} --out first"
    first = run(f"{command} --steps 2 --json").events
    assert "E0806" in run(f"{command} --steps 2").err
    again = run(f"{command} --steps 4 --resume --json").events
    assert [e["step"] for e in again if e["event"] == "step"] == [3, 4]
    assert (first[0]["step"], again[0]["step"]) == (0, 2)
    before = files(elsewhere / "first")
    third = run(f"{command} --steps 4 --resume --json").events
    assert third[-1] == again[-1]
    assert files(elsewhere / "first") == before


def test_a_person_is_told_that_a_run_is_finished(run: Any) -> None:
    command = f"run {CHAR_LM} {SMALL} --out first"
    run(f"{command} --steps 2")
    assert "finished already, after step 2" in run(f"{command} --steps 2 --resume").err
    assert "going on after step 2" in run(f"{command} --steps 3 --resume").err


def test_a_person_is_told_that_so_many_steps_are_done(run: Any, elsewhere: Path) -> None:
    command = f"run {CHAR_LM} {SMALL} --out first"
    run(f"{command} --steps 3")
    metrics = elsewhere / "first" / "metrics.jsonl"
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:-1]))  # as if it had been stopped
    assert "the run is at step 3 already, past the 1 asked for" in run(f"{command} --steps 1 --resume").err
    said = run(f"{command} --steps 3 --resume").err
    assert "step 3 is done already, and 3 steps asked for: nothing is left to do" in said and "going on" not in said


def test_one_step_is_no_steps(run: Any) -> None:
    said = run(f"run {CHAR_LM} {SMALL} --steps 1")
    assert "1 step of about 28 symbols" in said.err and "\n1 step: training loss" in said.out


def test_amounts_have_the_unit_that_fits(run: Any) -> None:
    assert amount(400_006_000_000) == "400.0 GB"
    assert "1.0 TB arena at B=50000000000" in run("compile linear.spec --at B=50000000000").out


def test_the_seed_and_options_reach_the_run(run: Any) -> None:
    losses = {
        (seed, size): run(f"run {CHAR_LM} {SMALL} --steps 1 --seed {seed} optim.learningRate={size} --json").events[1]
        for seed in (1, 2)
        for size in (0.5, 0.25)
    }
    assert losses[1, 0.5]["loss"] == losses[1, 0.25]["loss"] != losses[2, 0.5]["loss"]
    assert [losses[1, size]["learning_rate"] for size in (0.5, 0.25)] == [0.5, 0.25]


def test_sample_in_text_and_json(run: Any) -> None:
    run(f"run {CHAR_LM} {SMALL} --steps 1 --out first")
    text = run("sample first --length 30 --prime the")
    assert text.code == 0
    assert text.out.startswith("the")
    assert len(text.out) == len("the") + 30 + 1
    found = run("sample first --length 30 --prime the --json").json
    assert text.out == found["prime"] + found["text"] + "\n"
    assert found["steps"] == 1
    cold = {run(f"sample first --length 9 --prime the --temperature 0 --seed {seed}").out for seed in (1, 2)}
    assert len(cold) == 1


def test_a_run_without_a_folder_gets_the_next_number(run: Any, elsewhere: Path) -> None:
    for number in (1, 2):
        run(f"run {CHAR_LM} {SMALL} --steps 1")
        assert (elsewhere / "runs" / f"char_lm-{number}" / "checkpoints" / "best.safetensors").exists()


def test_what_a_person_sees_of_a_run(run: Any) -> None:
    said = run(f"run {CHAR_LM} {SMALL} --steps 2 --out first")
    assert re.search(r"\d+ parameters, 2 steps of about 28 symbols, into first", said.err)
    for words in ("this model", "unigram", "3-gram", "5-gram", "graphspec sample first"):
        assert words in said.out


ARRAYS = """
local points = data.arrays { path = 'points.npz', batch = 4 }
local x, y = nn.Identity{'B', 2}(), nn.Identity{'B', 1}()
return experiment { loss = nn.MSECriterion()({nn.Linear(2, 1)(x), y}), inputs = { [x] = points.x, [y] = points.y } }
"""


def test_a_model_that_is_no_language_model_is_not_told_of_as_one(run: Any, elsewhere: Path) -> None:
    """Its data are examples, its loss is no mean over symbols, and `sample` would refuse it."""
    (elsewhere / "model.spec").write_text(ARRAYS)
    np.savez(elsewhere / "points.npz", x=np.ones((40, 2)), y=np.ones((40, 1)))
    said = run("run model.spec --steps 2 --out first")
    assert "2 steps of about 4 examples, into first" in said.err
    evaluated = run("eval first")
    assert "graphspec eval first" in said.out and "loss  " in evaluated.out
    assert not re.search("symbol|nats|graphspec sample", said.out + said.err + evaluated.out)


def test_a_spec_that_asks_for_it_gets_a_picture_of_its_error(run: Any, elsewhere: Path) -> None:
    text = LINEAR.replace("Linear(3", "Linear(4")
    (elsewhere / "model.spec").write_text("nngraph.setDebug(true)\n" + text)
    said = run("compile model.spec")
    assert "= note: drawn in model.error.svg" in said.err
    picture = (elsewhere / "model.error.svg").read_text()
    assert picture.count('class="i wrong"') == 1 and "[B, 3]" in picture
    assert "drawn" not in run("compile broken.spec").err
    (elsewhere / "model.error.svg").unlink()
    (elsewhere / "model.error.svg").mkdir()
    said = run("compile model.spec")
    assert "E0302" in said.err and "E0805" in said.err


def test_folders_are_made_for_a_picture(run: Any, elsewhere: Path) -> None:
    pytest.importorskip("igraph", reason="drawing needs igraph")
    assert run("draw linear.spec --out new/folder/linear.svg").code == 0
    assert (elsewhere / "new" / "folder" / "linear.svg").read_text().startswith("<svg")
    wanted = "linear.spec/linear.svg cannot be written: linear.spec is a file and not a folder"
    assert run("draw linear.spec --out linear.spec/linear.svg").err == f"error[E0805]: {wanted}\n"


def test_a_picture_needs_a_package(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "igraph", None)
    said = run("draw linear.spec")
    assert said.code == 1
    assert "E0820" in said.err and "graphspec[draw]" in said.err


def test_a_layout_that_would_change_a_file_is_refused(run: Any, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere / "model.spec").write_text(LINEAR.replace(" = ", "="))
    monkeypatch.setattr("graphspec.tools.format.Printer.print", lambda *_: "return 1\n")
    said = run("fmt model.spec")
    assert said.code == 1 and "E0808" in said.err
    assert (elsewhere / "model.spec").read_text() == LINEAR.replace(" = ", "=")


def test_explain(run: Any) -> None:
    page = (ROOT / "docs" / "errors" / "E0301.md").read_text()
    assert run("explain e0301").out == page
    assert run("explain E0301 --json").json == {"code": "E0301", "title": "inputs must have equal shapes", "page": page}
    assert "E0301  inputs must have equal shapes" in run("explain").out
    assert "did you mean `E0301`?" in run("explain E03001").err


def test_doctor(run: Any) -> None:
    found = run("doctor --json").json
    assert {"graphspec", "python", "packages", "blas", "gpu", "warnings"} <= found.keys()
    assert found["graphspec"] in run("doctor").out


def test_a_setting_that_slows_numpy_is_named(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    assert "OPENBLAS_CORETYPE" in run("doctor").out


def test_the_page_of_the_command_line_works_as_it_stands(run: Any, monkeypatch: pytest.MonkeyPatch, elsewhere: Path) -> None:
    (elsewhere / "specs").symlink_to(ROOT / "specs")
    (elsewhere / "tests").symlink_to(ROOT / "tests")
    page = (ROOT / "docs" / "cli.md").read_text()
    assert set(COMMANDS) == set(re.findall(r"^## ([\w-]+)$", page, re.M))
    pages = page + (ROOT / "docs" / "draw.md").read_text()
    lines = [line for block in re.findall(r"```\n(.*?)```", pages, re.S) for line in block.splitlines()]
    assert len(lines) >= 7
    for line in lines:
        said = run(line.removeprefix("graphspec "))
        assert said.code == 0, (line, said.err)


def test_a_root_is_searched_before_the_folder_of_the_spec(run: Any, elsewhere: Path) -> None:
    (elsewhere / "root").mkdir()
    (elsewhere / "root" / "other.spec").write_text("return 4\n")
    (elsewhere / "own.spec").write_text("return 3\n")
    (elsewhere / "both.spec").write_text("return nn.Linear(require 'own', require 'other')\n")
    assert "E0803" in run("compile both.spec").err
    assert run("compile both.spec --root root").code == 0
    (elsewhere / "root" / "own.spec").write_text("return 7\n")
    assert "float32[B, 7]" in run("compile both.spec --root root").out


@pytest.mark.parametrize("valid", ["0.05", "0"])
def test_what_is_told_to_look_at_a_run_again_works(run: Any, valid: str) -> None:
    """Of a run that holds nothing out, on all of its data."""
    said = run(f"run {CHAR_LM} {SMALL} --steps 1 --out 'a run' data.valid={valid}")
    line = said.out.split("Look at it again: graphspec ")[1].strip()
    assert line.endswith("--whole") == (valid == "0")
    assert run(line).code == 0
