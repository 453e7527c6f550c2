"""``graphspec sample`` and what generates behind it: settings that make no sense, sources, scores, alignments on the command line."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphspec
from decoders import SPECS, pairs_model, table_of_pairs
from graphspec.cli.main import main
from graphspec.errors import SpecError
from graphspec.training.experiment import Experiment


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return table_of_pairs(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def model(table: Path) -> Experiment:
    return pairs_model("attention", table)


@pytest.fixture(scope="module")
def text_model(table: Path) -> Experiment:
    fields = {"data.path": str(table), "data.batch": 2, "data.seq_len": 5}
    return graphspec.experiment(SPECS / "char_lm.spec", threads=1, rnn_size=5, **fields)


# -- from Python -----------------------------------------------------------------------------------------------------------------

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "length": ({"length": -1}, "length must be a whole number of at least 0"),
    "bool": ({"length": True}, "length must be a whole number"),
    "temperature": ({"temperature": -1.0}, "temperature must be at least 0"),
    "large": ({"temperature": 1e39}, "temperature must be at least 0 and at most 1e"),
    "no number": ({"temperature": "hot"}, "temperature must be a number, got 'hot'"),
    "nothing": ({"top_p": None}, "top_p must be a number, got None"),
    "beam of none": ({"beam": 0}, "beam must be at least 1"),
    "top_k of none": ({"temperature": 1.0, "top_k": 0}, "top_k must be at least 1"),
    "nan": ({"temperature": math.nan}, "temperature must be at least 0"),
    "top_p": ({"temperature": 1.0, "top_p": 0.0}, "top_p must be more than 0"),
    "top_k": ({"temperature": 1.0, "top_k": 1.5}, "top_k must be a whole number"),
    "limits": ({"top_k": 3}, "at temperature 0 nothing is"),
    "both": ({"beam": 2, "temperature": 1.0}, "it takes no temperature"),
    "n_best": ({"n_best": 2}, "the 2 best are more than there are"),
    "none": ({"beam": 2, "n_best": 0}, "n_best must be a whole number of at least 1"),
    "penalty": ({"beam": 2, "length_penalty": -1.0}, "length_penalty must be at least 0"),
    "no beam": ({"length_penalty": 1.0}, "what a beam search finds, and there is none"),
    "batch": ({"batch": 0}, "batch must be a whole number of at least 1"),
    "prime": ({"prime": "a"}, "a prime is for language models"),
    "seed": ({"temperature": 1.0, "seed": -1}, "seed must be a whole number of at least 0"),
    "large seed": ({"temperature": 1.0, "seed": 2**63}, f"seed must be at most {2**63 - 1}"),
}


@pytest.mark.parametrize("name", BAD)
def test_settings_that_make_no_sense(model: Experiment, name: str) -> None:
    settings, words = BAD[name]
    with pytest.raises(SpecError, match=words) as caught:
        model.generate(["ab"], **settings)
    assert caught.value.code == "E0624"


GIVEN: dict[str, tuple[str, str, tuple[Any, ...], str]] = {
    "none": ("pairs", "generate", (), "there is none"),
    "sample": ("pairs", "sample", (5,), "there is none"),
    "none to score": ("pairs", "score", (["a"],), "there is none"),
    "no encoder": ("text", "generate", (["a"],), "it has no encoder"),
    "no encoder to score": ("text", "score", (["a"], ["b"]), "it has no encoder"),
    "no encoder to count": ("text", "exact_by_length", (), "answers are counted by the length of their source"),
    "one text": ("pairs", "generate", ("abc",), "sources are a list of texts"),
    "one to score": ("pairs", "score", ("abc", ["a", "b", "c"]), "texts are a list of texts"),
    "a number": ("pairs", "generate", (3,), "sources are a list of texts, got 3"),
    "numbers": ("pairs", "generate", ([3],), "sources are a list of texts, got .3."),
    "a number to score": ("text", "score", (3,), "texts are a list of texts, got 3"),
    "a number to go on from": ("text", "sample", (5, 1.0, 3), "the prime is a text, got 3"),
    "an empty one": ("pairs", "generate", (["a", " "],), "source 2 is empty"),
    "as many": ("pairs", "score", (["a", "b"], ["a"]), "there are 2 texts and 1 sources"),
}


@pytest.mark.parametrize("name", GIVEN)
def test_what_is_not_for_this_kind_of_model(model: Experiment, text_model: Experiment, name: str) -> None:
    kind, method, arguments, words = GIVEN[name]
    with pytest.raises(SpecError, match=words) as caught:
        getattr({"pairs": model, "text": text_model}[kind], method)(*arguments)
    assert caught.value.code == "E0624"


def test_texts_are_scored_in_batches(model: Experiment) -> None:
    texts, wanted = ["a", "bc", "b"], ["c", "a", "bb"]
    assert model.score(texts, wanted, batch=1) == pytest.approx(model.score(texts, wanted))
    with pytest.raises(SpecError, match="batch must be a whole number of at least 1"):
        model.score(texts, wanted, batch=0)


@pytest.mark.parametrize("temperature", [1e-320, 1e-45, 1e30])
def test_extreme_temperatures_warn_of_nothing(text_model: Experiment, temperature: float) -> None:
    assert len(text_model.sample(20, temperature, seed=3)) == 20


def test_a_symbol_that_is_not_known_is_named(model: Experiment, text_model: Experiment) -> None:
    for call in (lambda: model.generate(["abz"]), lambda: text_model.sample(5, prime="xyz")):
        with pytest.raises(SpecError) as caught:
            call()
        assert caught.value.code == "E0615"


@pytest.mark.parametrize("batch", [64, 2])
def test_a_source_or_text_with_a_symbol_that_is_not_known_is_named(model: Experiment, batch: int) -> None:
    for call, place, which in (
        (lambda: model.generate(["ab", "b", "abz"], batch=batch), "character 3; 1 of 3", "in source 3: 'abz'"),
        (lambda: model.score(["a"] * 3, ["b", "a", "z"], batch=batch), "character 1; 1 of 1", "in source 3: 'z'"),
        (lambda: model.score(["a", "z"], ["b", "b"], batch=batch), "character 1; 1 of 1", "in text 2: 'z'"),
    ):
        with pytest.raises(SpecError) as caught:
            call()
        assert caught.value.diagnostics[0].notes == (f"it is {place} characters are unknown", which)


def test_white_space_around_a_source_is_dropped(model: Experiment) -> None:
    assert model.generate([" ab\n"], length=4) != model.generate(["ba"], length=4)
    (((h,)), ((other,))) = model.generate([" ab\n"], length=4), model.generate(["ab"], length=4)
    assert h[0].symbols == other[0].symbols and model.score([" a"], [" ab "]) == model.score(["a"], ["ab"])


def test_what_is_usual_is_the_same_everywhere(model: Experiment, text_model: Experiment) -> None:
    text = text_model.sample(seed=4)
    assert len(text) == 500 and text == "".join(text_model.stream(seed=4)) == text_model.generate(seed=4)[0][0].text
    assert text == text_model.sample(length=500, temperature=0.8, seed=4) != text_model.sample(temperature=1.0, seed=4)
    assert model.generate(["abc"])[0][0].symbols == model.generate(["abc"], length=200, temperature=0)[0][0].symbols
    assert len(text_model.generate(beam=2)[0][0].text) == 500


# -- the command line ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run each of a model with an encoder, and of a language model."""
    out = tmp_path_factory.mktemp("runs")
    small = {
        "pairs": "translate embedding=5 hidden=4 cell=8 align=6 data.batch=32",
        "text": "char_lm rnn_size=5 data.batch=2 data.seq_len=5",
    }
    for name, words in small.items():
        spec, *options = words.split()
        line = ["run", str(SPECS / f"{spec}.spec"), f"data.path={table}", *options, "--steps", "3", "--out", str(out / name)]
        assert main([*line, "--threads", "1"]) == 0
    return out


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(["sample", *words])
    out, err = capsys.readouterr()
    return code, out, err


def test_sources_on_the_command_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines, run = tmp_path / "sources.txt", str(folder / "pairs")
    lines.write_text("abc\n\nb\n")
    code, two, _ = said(capsys, run, "--source", "abc", "--source", "b", "--length", "5")
    wanted = [h.text for (h,) in Experiment.load(run, threads=1).generate(["abc", "b"], length=5)]
    assert code == 0 and two.splitlines() == wanted
    assert said(capsys, run, "--source-file", str(lines), "--length", "5")[1] == two
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"abc\nb")))
    assert said(capsys, run, "--source-file", "-", "--length", "5")[1] == two


def test_beams_and_scores_on_the_command_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, model = str(folder / "pairs"), Experiment.load(folder / "pairs", threads=1)
    line = [run, "--source", "abc", "--beam", "3", "--n-best", "2", "--length", "5", "--length-penalty", "0.6"]
    (entry,) = json.loads(said(capsys, *line, "--json")[1])
    (wanted,) = model.generate(["abc"], beam=3, n_best=2, length=5, length_penalty=0.6)
    assert entry["source"] == "abc" and [h["text"] for h in entry["hypotheses"]] == [h.text for h in wanted]
    assert [h["score"] for h in entry["hypotheses"]] == pytest.approx([h.score for h in wanted])
    shown = said(capsys, *line)[1].splitlines()
    assert [row.split(maxsplit=1)[0] for row in shown] == [f"{h.score:.4f}" for h in wanted]
    code, text, _ = said(capsys, run, "--source", "abc", "--score", "cba", "--json")
    assert code == 0 and json.loads(text) == [{"text": "cba", "log_p": pytest.approx(model.score(["cba"], ["abc"])[0])}]
    (entry,) = json.loads(said(capsys, str(folder / "text"), "--beam", "2", "--prime", "a", "--length", "6", "--json")[1])
    assert len(entry["hypotheses"][0]["text"]) == 6 and not entry["hypotheses"][0]["ended"]
    assert said(capsys, str(folder / "text"), "--beam", "2", "--prime", "a", "--length", "6")[1] == f"a{entry['hypotheses'][0]['text']}\n"


def test_drawing_on_the_command_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, model = str(folder / "text"), Experiment.load(folder / "text", threads=1)
    limited = ["--temperature", "1.5", "--top-k", "3", "--top-p", "0.9", "--seed", "7"]
    wanted = model.sample(60, 1.5, "ab", 7, 3, 0.9)
    assert said(capsys, run, "--prime", "ab", "--length", "60", *limited)[1] == f"ab{wanted}\n"
    assert json.loads(said(capsys, run, "--prime", "ab", "--length", "60", *limited, "--json")[1])["text"] == wanted
    assert wanted != model.sample(60, 1.5, "ab", 7)
    drawn = said(capsys, str(folder / "pairs"), "--source", "abc", "--length", "6", *limited)[1]
    pairs = Experiment.load(folder / "pairs", threads=1)
    assert drawn[:-1] == pairs.generate(["abc"], length=6, temperature=1.5, top_k=3, top_p=0.9, seed=7)[0][0].text


def test_an_alignment_is_drawn_for_each_source(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    run = str(folder / "pairs")
    assert said(capsys, run, "--source", "abc", "--alignment", str(tmp_path / "one.svg"), "--length", "5")[0] == 0
    code, _, err = said(capsys, run, "--source", "abc", "--source", "b", "--alignment", str(tmp_path / "x.svg"), "--length", "5")
    assert code == 0 and "x-1.svg" in err
    assert sorted(p.name for p in tmp_path.glob("*.svg")) == ["one.svg", "x-1.svg", "x-2.svg"]


WRONG: dict[str, tuple[str, str, str]] = {
    "nothing to read": ("pairs", "--source-file missing.txt", "E0610"),
    "both": ("pairs", "--source a --source-file -", "E0807"),
    "no source": ("pairs", "", "E0624"),
    "no source to score for": ("pairs", "--score a", "E0624"),
    "as many": ("pairs", "--source a --score b --score c", "E0807"),
    "alignment of nothing": ("pairs", "--alignment x.svg", "E0807"),
    "negative": ("text", "--length -1", "E0624"),
    "too many": ("pairs", "--source a --n-best 3", "E0624"),
    "too many texts": ("text", "--n-best 3", "E0624"),
    "penalty of a text": ("text", "--length-penalty 1", "E0624"),
    "a seed of many digits": ("text", "--seed 99999999999999999999", "E0624"),
    "a prime": ("pairs", "--source a --prime b", "E0624"),
    "limits of nothing": ("pairs", "--source a --top-p 0.5", "E0624"),
    "penalty of nothing": ("pairs", "--source a --length-penalty 1", "E0624"),
    "a score of what is searched": ("pairs", "--source a --score b --beam 3", "E0807"),
    "a score after a prime": ("text", "--score b --prime a", "E0807"),
    "no encoder": ("text", "--source a", "E0624"),
    "a beam of none": ("text", "--beam 0", "E0624"),
    "a text of none": ("text", "--top-k 0", "E0624"),
    "sources in a beam of none": ("pairs", "--source a --beam 0", "E0624"),
    "no attention": ("text", "--source a --alignment x.svg", "E0807"),
    "drawn and searched": ("text", "--beam 2 --temperature 1", "E0624"),
}


def test_what_is_missing_is_told_as_the_command_line_has_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "`--source TEXT`" in said(capsys, str(folder / "pairs"))[2]
    assert "`--prime TEXT`" in said(capsys, str(folder / "text"), "--source", "a")[2]


def test_a_file_of_sources_that_is_no_text(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "binary").write_bytes(b"ab\nb\xff")
    code, _, err = said(capsys, str(folder / "pairs"), "--source-file", str(tmp_path / "binary"))
    assert code == 1 and err == f"error[E0612]: {tmp_path / 'binary'} is not UTF-8 text: byte 0xff in line 2\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xfe")))
    assert "standard input is not UTF-8 text: byte 0xfe in line 1" in said(capsys, str(folder / "pairs"), "--source-file", "-")[2]
    monkeypatch.setattr("sys.stdin", None)
    assert "standard input cannot be read: it is closed" in said(capsys, str(folder / "pairs"), "--source-file", "-")[2]


@pytest.mark.parametrize("name", WRONG)
def test_wrong_command_lines(folder: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    run, words, code = WRONG[name]
    exit_code, _, err = said(capsys, str(folder / run), *words.split())
    assert exit_code == 1 and f"error[{code}]" in err
    assert "= help" in err or name in ("nothing to read", "negative", "a seed of many digits")


def test_a_step_that_forbids_a_symbol_is_searched_without_it(table: Path) -> None:
    """Minus infinity is no number to compare with, and no hypothesis has it."""
    model = pairs_model("attention", table)
    for key, array in model.parameters.items():
        if key.endswith("bias") and array.shape == (model.decoder.model.symbols,):
            array[2:] = -np.inf
    for how in ({"beam": 4, "n_best": 4}, {}, {"temperature": 1.0}, {"temperature": 1.0, "top_k": 5, "top_p": 0.99}):
        for h in model.generate(["abc"], length=4, **how)[0]:
            assert set(h.symbols) <= {1, 2} and math.isfinite(h.score)
