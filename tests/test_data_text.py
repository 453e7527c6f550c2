"""``data.text``: paths and their authority, vocabulary, layout of the batches, splitting, what a checkpoint keeps."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphspec.data import Batch, Sources, TextSource, Vocabulary
from graphspec.data.corpus import default_corpus
from graphspec.errors import SpecError
from sources import HERE, THERE
from sources import describe as describe_any

CORPUS = "".join(f"{i} green bottles, standing on the wall;\n" for i in range(100))


describe = partial(describe_any, "data.text")


def text_source(tmp_path: Path, text: str = CORPUS, stored: Mapping[str, Any] | None = None, **fields: Any) -> TextSource:
    (tmp_path / "corpus.txt").write_text(text, encoding="utf-8", newline="")
    return TextSource(describe(**{"path": "corpus.txt", "batch": 4, "seq_len": 10, **fields}), [tmp_path], stored)


def columns(batches: list[Batch], name: str, vocabulary: Vocabulary) -> list[str]:
    """Each stream's text over all batches."""
    return [vocabulary.decode(column) for column in np.concatenate([b.arrays[name] for b in batches]).T]


# -- the corpus ------------------------------------------------------------------------------------------------------------------


def test_the_default_corpus_is_the_text_every_python_has() -> None:
    source = TextSource(describe(), [])
    assert source.corpus.name == "<pydoc_data.topics>"
    assert len(source.corpus.text) > 300_000
    assert source.corpus.sha256 == hashlib.sha256(source.corpus.text.encode()).hexdigest()
    assert source.batches > 100


def test_the_hash_is_that_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_bytes(b"\xef\xbb\xbfna\xc3\xafve\r\n" * 50)
    source = TextSource(describe(path="corpus.txt"), [tmp_path])
    assert source.corpus.sha256 == hashlib.sha256((tmp_path / "corpus.txt").read_bytes()).hexdigest()
    assert source.corpus.text.startswith("naïve\r\n")


def make_link(folder: Path) -> str:
    (folder / "outside.txt").write_text("secret")
    (folder / "root" / "link.txt").symlink_to(folder / "outside.txt")
    return "link.txt"


def make_bytes(data: bytes) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        (folder / "root" / "corpus.txt").write_bytes(data)
        return "corpus.txt"

    return make


def make_loop(folder: Path) -> str:
    (folder / "root" / "loop.txt").symlink_to(folder / "root" / "loop.txt")
    return "loop.txt"


def make_pipe(folder: Path) -> str:
    os.mkfifo(folder / "root" / "pipe")
    return "pipe"


BAD_PATHS: dict[str, tuple[Callable[[Path], str], str, str]] = {
    "missing": (lambda folder: "no.txt", "E0610", "no.txt does not exist"),
    "folder": (lambda folder: ".", "E0610", ". is a folder"),
    "pipe": (make_pipe, "E0610", "pipe is not a file"),
    "nul": (lambda folder: "a\0b", "E0610", "cannot be read: "),
    "long": (lambda folder: "a" * 5000, "E0610", "File name too long"),
    "loop": (make_loop, "E0610", "loop.txt"),
    "upwards": (lambda folder: "../outside.txt", "E0611", "leads outside the roots"),
    "absolute": (lambda folder: "/etc/passwd", "E0611", "leads outside the roots"),
    "link": (make_link, "E0611", "leads outside the roots"),
    "latin-1": (make_bytes(b"ab\ncaf\xe9"), "E0612", "is not UTF-8 text: byte 0xe9 in line 2"),
    "empty": (make_bytes(b""), "E0613", "corpus.txt is empty"),
    "only a mark": (make_bytes(b"\xef\xbb\xbf"), "E0613", "corpus.txt is empty"),
}


@pytest.mark.parametrize("case", BAD_PATHS)
def test_a_path_in_the_spec_is_refused(case: str, tmp_path: Path) -> None:
    make, code, words = BAD_PATHS[case]
    (tmp_path / "root").mkdir()
    source = TextSource(describe(path=make(tmp_path)), [tmp_path / "root"])
    with pytest.raises(SpecError) as caught:
        source.attributes["vocab_size"]
    assert caught.value.code == code
    assert words in caught.value.diagnostics[0].message
    assert caught.value.diagnostics[0].span == HERE.span


@pytest.mark.parametrize(("encoding", "told"), [("latin-1", "iconv -f LATIN1 "), ("utf-16", "iconv -f UTF-16 ")])
def test_how_a_text_becomes_utf_8(encoding: str, told: str, tmp_path: Path) -> None:
    """One in UTF-16, as Windows writes them, was told that it is Latin-1."""
    (tmp_path / "corpus.txt").write_text("café\n", encoding=encoding)
    with pytest.raises(SpecError) as caught:
        TextSource(describe(path="corpus.txt"), [tmp_path]).corpus  # noqa: B018
    assert told in caught.value.diagnostics[0].helps[0]


def test_a_text_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphspec.data.corpus.MAX_BYTES", 100)
    with pytest.raises(SpecError, match=r"E0618.*larger than 100 bytes"):
        text_source(tmp_path).corpus  # noqa: B018


def test_a_path_in_a_spec_without_a_file_has_no_root() -> None:
    with pytest.raises(SpecError, match=r"E0611.*there is no root to look under"):
        TextSource(describe(path="corpus.txt"), []).corpus  # noqa: B018


def test_a_misspelt_name_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text(CORPUS)
    with pytest.raises(SpecError, match=r"did you mean `corpus.txt`"):
        TextSource(describe(path="corpsu.txt"), [tmp_path]).corpus  # noqa: B018
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "corpus.txt").write_text(CORPUS)
    with pytest.raises(SpecError, match=r"did you mean `texts/corpus.txt`"):
        TextSource(describe(path="texts/corpsu.txt"), [tmp_path]).corpus  # noqa: B018


def test_a_later_root_is_looked_in(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "corpus.txt").write_text("here")
    assert TextSource(describe(path="corpus.txt"), [tmp_path / "a", tmp_path / "b"]).corpus.text == "here"


def test_a_path_from_outside_is_the_users_authority(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "elsewhere.txt").write_text("free")
    path = str(tmp_path / "elsewhere.txt")
    assert TextSource(describe(("path",), path=path), [tmp_path / "root"]).corpus.text == "free"
    with pytest.raises(SpecError, match=r"E0611"):
        TextSource(describe((), path=path), [tmp_path / "root"]).corpus  # noqa: B018


def test_an_error_of_a_path_from_outside_does_not_point_into_the_spec(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        TextSource(describe(("path",), path=str(tmp_path / "no.txt")), []).corpus  # noqa: B018
    problem = caught.value.diagnostics[0]
    assert (problem.code, problem.span) == ("E0610", None)
    assert "data.path was given from outside the spec" in problem.notes


# -- fields ----------------------------------------------------------------------------------------------------------------------

BAD_FIELDS: dict[str, tuple[dict[str, Any], str, str]] = {
    "batch 0": ({"batch": 0}, "E0616", "data.batch must be a whole number of at least 1, got 0"),
    "batch 2.5": ({"batch": 2.5}, "E0616", "data.batch must be a whole number of at least 1, got 2.5"),
    "seq_len inf": ({"seq_len": float("inf")}, "E0616", "data.seq_len must be a whole number"),
    "valid 1": ({"valid": 1.0}, "E0616", "data.valid must be at least 0 and less than 1, got 1"),
    "valid -1": ({"valid": -1.0}, "E0616", "data.valid must be at least 0 and less than 1, got -1"),
    "valid nan": ({"valid": float("nan")}, "E0616", "data.valid must be at least 0"),
    "level": ({"level": "syllable"}, "E0616", "data.level must be one of char, word, token, got 'syllable'"),
    "too short": ({"batch": 40, "seq_len": 100}, "E0614", "3,790 characters to train on, and 40 streams of 100 take 4,001"),
    "too short to validate": ({"valid": 0.0005}, "E0614", "its last 0.0005 is 2 characters, and there are 4 streams"),
}


@pytest.mark.parametrize("case", BAD_FIELDS)
def test_a_field_out_of_range(case: str, tmp_path: Path) -> None:
    fields, code, words = BAD_FIELDS[case]
    with pytest.raises(SpecError) as caught:
        text_source(tmp_path, **fields).batch(0)
    assert caught.value.code == code
    assert words in caught.value.diagnostics[0].message
    assert caught.value.diagnostics[0].span == HERE.span


def test_a_text_of_exactly_one_batch_is_enough(tmp_path: Path) -> None:
    source = text_source(tmp_path, "abcdefghi", batch=2, seq_len=4, valid=0.0)
    assert source.batches == 1
    assert columns([source.batch(0)], "tokens", source.vocabulary) == ["abcd", "efgh"]
    assert columns([source.batch(0)], "targets", source.vocabulary) == ["bcde", "fghi"]
    with pytest.raises(SpecError, match=r"E0614"):
        text_source(tmp_path, "abcdefgh", batch=2, seq_len=4, valid=0.0).batch(0)


# -- vocabulary ------------------------------------------------------------------------------------------------------------------


@given(st.text(min_size=1), st.data())
def test_vocabulary_is_sorted_by_code_point_and_turns_back(text: str, data: st.DataObject) -> None:
    vocabulary = Vocabulary.of_text(text)
    assert list(vocabulary.symbols) == sorted(set(text))
    again = Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json())))
    piece = data.draw(st.text(st.sampled_from(text)))
    indices = again.encode(piece)
    assert indices.dtype == np.int32
    assert indices.tolist() == [vocabulary.symbols.index(ch) + 1 for ch in piece]
    assert again.decode(indices) == piece


@pytest.mark.parametrize("stranger", ["b", "A", "é", "\U0001f600"])
def test_a_character_outside_the_vocabulary_is_named(stranger: str) -> None:
    with pytest.raises(SpecError) as caught:
        Vocabulary.of_text("ac\n").encode(f"aa\nc{stranger}a{stranger}")
    problem = caught.value.diagnostics[0]
    assert problem.code == "E0615"
    assert problem.message == f"{stranger!r} (U+{ord(stranger):04X}) is not in the vocabulary of 3 characters"
    assert problem.notes == ("it is character 2 of line 2; 2 of 7 characters are unknown",)


@pytest.mark.parametrize("index", [0, -1, 4])
def test_an_index_outside_the_vocabulary_is_named(index: int) -> None:
    with pytest.raises(SpecError, match=f"E0615.*index {index} is outside the vocabulary, which has 1 to 3"):
        Vocabulary.of_text("abc").decode([1, index])


# -- layout ----------------------------------------------------------------------------------------------------------------------


def test_batches_are_contiguous_streams_that_carry_on(tmp_path: Path) -> None:
    source = text_source(tmp_path)
    batches = [source.batch(n) for n in range(source.batches)]
    tokens, targets = columns(batches, "tokens", source.vocabulary), columns(batches, "targets", source.vocabulary)
    training = CORPUS[: int(len(CORPUS) * 0.95)]
    stride = (len(training) - 1) // 4
    for stream in range(4):
        assert tokens[stream] == training[stream * stride :][: len(tokens[stream])]
        assert targets[stream] == training[stream * stride + 1 :][: len(tokens[stream])]
    assert len(training) - sum(map(len, tokens)) <= 4 * (10 + 1)
    assert [b.starts for b in batches] == [True] + [False] * (len(batches) - 1)
    for batch in batches:
        assert batch.symbols == 40
        for array in batch.arrays.values():
            assert array.shape == (10, 4)
            assert array.dtype == np.int32
            assert array.flags.c_contiguous
            assert array.flags.owndata


def test_a_batch_is_a_function_of_its_number(tmp_path: Path) -> None:
    """Which is what makes a position one integer, and a resumed run exact."""
    one, other = text_source(tmp_path), text_source(tmp_path)
    expected = [one.batch(n) for n in range(2 * one.batches + 3)]
    for number in (2 * one.batches + 2, 0, one.batches, 5):
        batch = other.batch(number)
        assert batch.starts == expected[number].starts == (number % one.batches == 0)
        for name in ("tokens", "targets"):
            np.testing.assert_array_equal(batch.arrays[name], expected[number].arrays[name])


def test_writing_to_a_batch_does_not_change_the_text(tmp_path: Path) -> None:
    source = text_source(tmp_path)
    before = source.batch(0).arrays["tokens"].copy()
    source.batch(0).arrays["tokens"][:] = 0
    np.testing.assert_array_equal(source.batch(0).arrays["tokens"], before)


@pytest.mark.parametrize(("batch", "steps", "fraction"), [(4, 10, 0.05), (1, 7, 0.1), (5, 1000, 0.05), (3, 63, 0.05)])
def test_validation_reads_every_symbol_but_a_few(batch: int, steps: int, fraction: float, tmp_path: Path) -> None:
    source = text_source(tmp_path, batch=batch, seq_len=min(steps, 50), valid=fraction)
    held_out = CORPUS[int(len(CORPUS) * (1 - fraction)) :]
    batches = list(source.valid())
    assert batches[0].starts
    assert not any(b.starts for b in batches[1:])
    read = "".join(columns(batches, "targets", source.vocabulary))
    assert read == held_out[: len(read)]
    assert len(held_out) - len(read) < batch
    assert sum(b.symbols for b in batches) == len(read)
    preceding = CORPUS[int(len(CORPUS) * (1 - fraction)) - 1]
    assert "".join(columns(batches, "tokens", source.vocabulary)) == preceding + held_out[: len(read) - 1]


def test_without_a_validation_part_there_is_nothing_to_validate(tmp_path: Path) -> None:
    source = text_source(tmp_path, valid=0.0)
    assert list(source.valid()) == []
    assert len(source.training_part) == len(CORPUS)
    assert len(source.validation_part) == 0


# -- what a checkpoint keeps -----------------------------------------------------------------------------------------------------


def opened(tmp_path: Path, stored: Mapping[str, Any] | None = None, **fields: Any) -> tuple[Sources, TextSource]:
    sources = Sources([tmp_path], stored)
    source = sources.open(describe(**{"path": "corpus.txt", "batch": 2, "seq_len": 5, **fields}))
    assert isinstance(source, TextSource)
    return sources, source


def test_a_stored_source_knows_its_vocabulary_without_the_corpus(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text(CORPUS)
    sources, source = opened(tmp_path)
    size = sources.attribute(source.description, "vocab_size")
    stored = json.loads(json.dumps(sources.to_json()))
    assert next(iter(stored)) == "data.text a.spec:1:14"

    (tmp_path / "corpus.txt").unlink()
    sources, again = opened(tmp_path, stored)
    assert sources.attribute(again.description, "vocab_size") == size
    assert again.vocabulary.decode(again.vocabulary.encode("green bottles")) == "green bottles"
    assert sources.to_json() == stored
    with pytest.raises(SpecError, match=r"E0610.*corpus.txt does not exist"):
        again.batch(0)


def test_a_changed_corpus_is_noticed_and_another_one_is_read(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text(CORPUS)
    sources, source = opened(tmp_path)
    size = len(source.vocabulary)
    stored = sources.to_json()

    (tmp_path / "corpus.txt").write_text(CORPUS.replace("green", "brown"))
    with pytest.raises(SpecError, match=r"E0617.*corpus.txt is not the text that the checkpoint was made with"):
        opened(tmp_path, stored)[1].batch(0)

    (tmp_path / "other.txt").write_text("the wall is green. " * 20)
    sources, other = opened(tmp_path, stored, path="other.txt")
    assert len(other.vocabulary) == size
    with pytest.raises(SpecError, match=r"E0615.*'\.' \(U\+002E\)"):
        other.batch(0)
    assert next(iter(sources.to_json().values()))["sha256"] == other.corpus.sha256


def test_baselines_are_measured_on_the_validation_part(tmp_path: Path) -> None:
    found = text_source(tmp_path).baselines()
    assert found["ngram5"] < found["ngram3"] < found["unigram"] < np.log2(len(set(CORPUS)))
    assert text_source(tmp_path, valid=0.0).baselines() == {}


def test_another_python_has_another_default_corpus() -> None:
    stored = {"name": default_corpus().name, "sha256": "0" * 64, "characters": 1, "vocabulary": {"level": "char", "symbols": ["a"]}}
    source = TextSource(describe(), [], stored)
    assert source.attributes == {"vocab_size": 1}
    with pytest.raises(SpecError, match="it differs between versions of Python"):
        source.batch(0)


def test_sources_are_opened_once_each_and_told_apart(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text(CORPUS)
    sources = Sources([tmp_path])
    first, second, looped = describe(path="corpus.txt"), describe(path="corpus.txt", origin=THERE), describe(path="corpus.txt")
    assert sources.open(first) is sources.open(first)
    assert sources.open(first) is not sources.open(second)
    assert sources.open(first) is not sources.open(looped)
    assert sources.open(looped) is sources.open(looped)
    assert list(sources.to_json()) == ["data.text a.spec:1:14", "data.text a.spec:2:14", "data.text a.spec:1:14 #2"]
