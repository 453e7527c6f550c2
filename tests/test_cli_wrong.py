"""Command lines that are wrong: what is said, what is suggested, the exit code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import test_cli
from graphspec.suggest import ELSEWHERE, did_you_mean
from test_cli import CHAR_LM, LSTM, SMALL

elsewhere, run = test_cli.elsewhere, test_cli.run


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("", 2, "required: COMMAND"),
        ("", 2, "infer shapes, compile"),
        ("compile linear.spec --threds 1", 2, "did you mean `--threads`?"),
        (f"run {CHAR_LM} --stepz 5", 2, "did you mean `--steps`?"),
        (f"run {CHAR_LM} --out ''", 2, "argument --out: a name is wanted"),
        ("draw linear.spec --out ''", 2, "argument -o/--out: a name is wanted"),
        ("compil linear.spec", 2, "did you mean `compile`?"),
        ("compile linear.spec --emit picture", 2, "--emit"),
        ("compile linear.spec --frobnicate", 2, "unrecognized arguments: --frobnicate"),
        ("compile nowhere.spec", 1, "E0801"),
        ("compile .", 1, "E0802"),
        ("compile linear.spec size=3", 1, "size"),
        ("compile broken.spec", 1, "broken.spec:2:"),
        ("compile linear.spec --at Q=3", 1, "E0807"),
        ("compile linear.spec --limit step=3", 1, "did you mean `steps`?"),
        ("compile linear.spec --limit steps=3", 1, "E05"),
        ("compile linear.spec --device nowhere", 4, "E0701"),
        ("compile linear.spec --device cuda:99", 4, "E0701"),
        ("compile linear.spec --threads 0", 1, "E0807"),
        ("check linear.spec --seed -1", 1, "E0807"),
        ("check linear.spec --scale nan", 1, "E0807"),
        ("probe linear.spec --seed -1", 1, "E0807"),
        (f"run {CHAR_LM} --seed 9223372036854775808", 1, "E0606"),
        (f"compile {LSTM}", 1, "E0430"),
        (f"compile {LSTM} --entry network({{rnn_size}})", 1, "error[E"),
        ("run linear.spec --steps 1", 1, "error[E"),
        (f"run {CHAR_LM} --steps 0", 1, "E0807"),
        (f"run {CHAR_LM} --steps 1 --resume", 1, "E0807"),
        (f"run {CHAR_LM} rnn_sise=3", 1, "did you mean `rnn_size`?"),
        (f"run {CHAR_LM} data.bach=3", 1, "did you mean `data.batch`?"),
        (f"run {CHAR_LM} data.path=nowhere.txt", 1, "E0610"),
        ("sample nowhere", 1, "E0801"),
        ("sample .", 1, "E0801"),
        ("sample linear.spec", 1, "E0705"),
    ],
)
def test_what_is_wrong_is_said_and_has_its_exit_code(run: Any, line: str, code: int, words: str) -> None:
    said = run(line)
    assert (said.code, said.out) == (code, ""), said.out
    assert words in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f"run {CHAR_LM} optim.lr=1", "did you mean `optim.learningRate`?"),
        (f"run {CHAR_LM} lr=1", "did you mean `optim.learningRate`?"),
        (f"run {CHAR_LM} experiment.lr=1", "did you mean `optim.learningRate`?"),
        (f"run {CHAR_LM} epochs=1", "did you mean `experiment.epochs`?"),
        (f"run {CHAR_LM} hidden_size=1", "did you mean `rnn_size`?"),
        (f"run {CHAR_LM} optimizer=sgd", "stands in the spec, `optimizer = optim.sgd { learningRate = 0.1 }`"),
        (f"run {CHAR_LM} experiment.optimizer=sgd", "stands in the spec, `optimizer = optim.sgd { learningRate = 0.1 }`"),
        (f"run {CHAR_LM} --lr 3", "did you mean `optim.learningRate=3`?"),
        (f"run {CHAR_LM} --lr", "did you mean `optim.learningRate=...`?"),
        (f"run {CHAR_LM} --epochs=3", "did you mean `experiment.epochs=3`?"),
        (f"run {CHAR_LM} --batch-size 3", "did you mean `data.batch=3`?"),
        (f"run {CHAR_LM} --learning-rate 3", "did you mean `optim.learningRate=3`?"),
        (f"run {CHAR_LM} --optimizer adam", "stands in the spec, `optimizer = optim.sgd { learningRate = 0.1 }`"),
        (f"run {CHAR_LM} --rnn_size 30", "options of a spec have no dashes: `rnn_size=30`"),
        (f"run {CHAR_LM} -rnn_size 30", "options of a spec have no dashes: `rnn_size=30`"),
        ("compile linear.spec --emit plans", "did you mean `plan`?"),
        (f"run {CHAR_LM} --dtype float16", "'float32', 'float64'"),
        ("train", "did you mean `run`?"),
        ("convert", "did you mean `weights`?"),
        ("compile linear.spec --at B", "sizes are given as `--at B=50,T=50`"),
        ("compile linear.spec --limit steps", "limits are given as `--limit steps=1000000`"),
        ("compile linear.spec --device gpu", "did you mean `cuda`?"),
        ("compile linear.spec --device gpu", "reference"),
        ("check-module Linear --device gpu", "did you mean `cuda`?"),
        ("sample linear.spec", "train it with `graphspec run linear.spec`"),
        ("eval linear.spec", "train it with `graphspec run linear.spec`"),
        (f"run {CHAR_LM} experiment.epochs=0", "experiment.epochs must be a whole number of at least 1"),
        ("compile linear", "did you mean `linear.spec`?"),
        ("compile ./lineal.spec", "did you mean `linear.spec`?"),
        ("compile ../{here}/linear", "did you mean `../{here}/linear.spec`?"),
        ("bench char", "did you mean `--config char`?"),
        ("bench gru,lstm", "did you mean `--cell gru,lstm`?"),
        ("bench torch", "did you mean `--peers torch`?"),
        ("bench tables", "did you mean `--without tables`?"),
        ("bench lineal.spec", "did you mean `linear.spec`?"),
        (f"run {CHAR_LM} --entry net", "`--entry` is an option of compile, probe, profile, draw, check, weights"),
        (f"run {CHAR_LM} --cell 3", "options of a spec have no dashes: `cell=3`"),
        ("compile linear.spec size=3", "it has none at all"),
        ("cache clear", "did you mean `--clear`?"),
        ("help", "did you mean `--help`?"),
        ("version", "did you mean `--version`?"),
        ("explain nonsense", "`graphspec explain`"),
    ],
)
def test_what_may_be_meant_is_suggested(run: Any, elsewhere: Path, line: str, words: str) -> None:
    said = run(line.replace("{here}", elsewhere.name))
    assert said.code != 0 and words.replace("{here}", elsewhere.name) in said.err, said.err


def test_what_is_suggested_for_an_option_works(run: Any) -> None:
    said = run(f"run {CHAR_LM} {SMALL} --steps 1 --lr 0.25")
    field = said.err.split("did you mean `")[1].split("`")[0]
    assert run(f"run {CHAR_LM} {SMALL} --steps 1 {field} --json").events[1]["learning_rate"] == 0.25


def test_only_what_is_missing_is_named(run: Any) -> None:
    assert run("run").err.endswith("graphspec: the following arguments are required: SPEC\n")


def test_names_of_others_lead_somewhere() -> None:
    """Each to something that there is: a field, a command, a device, a type of numbers, an option that specs use to have."""
    from graphspec.cli.main import COMMANDS, fields_of_experiments
    from graphspec.settings import DEVICES, DTYPES, PRECISIONS

    known = {*fields_of_experiments(), *COMMANDS, *DEVICES, *DTYPES, *PRECISIONS, "rnn_size", "n_layers"}
    assert set(ELSEWHERE.values()) <= known
    assert all(name == name.lower().replace("_", "") for name in ELSEWHERE)
    assert did_you_mean("decoder.weight", ["Linear.weight", "decoders.weight"]) == ["did you mean `decoders.weight`?"]


@pytest.mark.parametrize("line", ["compile broken.spec", "check broken.spec", "sample nowhere"])
def test_errors_as_json(run: Any, line: str) -> None:
    said = run(line + " --json")
    assert (said.code, said.err) == (1, "")
    (problem,) = said.json["errors"]
    assert {"code", "message", "severity"} <= problem.keys()
    if "broken" in line:
        assert (Path(problem["file"]).name, problem["line"]) == ("broken.spec", 2)


def test_a_shortened_option_is_the_option(run: Any) -> None:
    assert run("compile broken.spec --js").json["errors"][0]["line"] == 2


@pytest.mark.parametrize(
    ("line", "words", "helps"),
    [
        ("compile linear.spec --threads x", "argument --threads: invalid int value: 'x'", []),
        ("compil linear.spec", "there is no command 'compil'", ["did you mean `compile`?"]),
        (f"run {CHAR_LM} --lr 3", "unrecognized arguments: --lr 3", ["did you mean `optim.learningRate=3`?"]),
        ("run", "the following arguments are required: SPEC", []),
    ],
)
def test_what_is_wrong_with_the_command_line_is_json_too(run: Any, line: str, words: str, helps: list[str]) -> None:
    said = run(f"{line} --json")
    (problem,) = said.json["errors"]
    assert (said.code, said.err) == (2, "")
    assert (problem["code"], problem["message"], problem["help"]) == ("E0807", words, helps)


@pytest.mark.parametrize("option", ["--steps 3", "--seed 2", "--resume", "--detect-anomaly"])
def test_an_option_of_the_command_written_as_one_of_the_spec(run: Any, option: str) -> None:
    name, _, value = option.removeprefix("--").partition(" ")
    said = run(f"run {CHAR_LM} {name.replace('-', '_')}={value or 'true'} nothing=3")
    assert said.code == 1 and f"did you mean `{option}`?" in said.err and "no option nothing" in said.err


def test_a_warning_of_old_files_is_explained_as_the_error_that_it_is(run: Any, elsewhere: Path) -> None:
    (elsewhere / "old.lua").write_text("local x = nn.Identity{'B', 3}()\nlocal y = nn.Tanh()(x)\nreturn nn.gModule({x}, {nn.Tanh()(x)})\n")
    said = run("compile old.lua --lenient")
    assert said.code == 0 and "W0409" in said.err and "old.lua:2:11" in said.err
    assert run("explain W0409").out == run("explain E0409").out
