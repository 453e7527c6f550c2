"""Words and tokens: what a symbol is, which are kept, texts made of them, baselines."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphspec.data import TextSource, Vocabulary
from graphspec.data.vocabulary import LINE_END, UNKNOWN, symbols_of
from graphspec.errors import SpecError
from sources import assert_same, opened

TEXT = "".join(f"the {n % 7} bottles, the {n}th wall; don't fall.\n" for n in range(200))


def text_source(tmp_path: Path, text: str = TEXT, **fields: Any) -> TextSource:
    (tmp_path / "corpus.txt").write_text(text, encoding="utf-8", newline="")
    source = opened("data.text", tmp_path, **{"path": "corpus.txt", "batch": 4, "seq_len": 10, "level": "word", **fields})
    assert isinstance(source, TextSource)
    return source


# -- symbols ---------------------------------------------------------------------------------------------------------------------

CUT: dict[str, tuple[str, str, list[str]]] = {
    "punctuation": ("word", "Well, (he) said:", ["Well", ",", "(", "he", ")", "said", ":"]),
    "inside a word": ("word", "don't o’clock twenty-one -- 'tis", ["don't", "o’clock", "twenty-one", "-", "-", "'", "tis"]),
    "line ends": ("word", "a\nb\r\n\rc", ["a", "<eos>", "b", "<eos>", "<eos>", "c"]),
    "other white space": ("word", "a\u2028b\x0cc\td\u00a0e", ["a", "b", "c", "d", "e"]),
    "accents apart": ("word", "cafe\u0301 au lait", ["cafe\u0301", "au", "lait"]),
    "vowel signs": ("word", "हिन्दी में।", ["हिन्दी", "में", "।"]),
    "joiners": ("word", "می\u200cخواهم", ["می\u200cخواهم"]),
    "other letters": ("word", "Größe naïve 東京 x_1", ["Größe", "naïve", "東京", "x_1"]),
    "symbols": ("word", "3.5% \U0001f600!", ["3", ".", "5", "%", "\U0001f600", "!"]),
    "nothing": ("word", "", []),
    "white space only": ("word", " \t ", []),
    "tokens": ("token", "n't <unk> N 3.5% <eos>\n  $ x\n", ["n't", "<unk>", "N", "3.5%", "<eos>", "<eos>", "$", "x", "<eos>"]),
    "tokens, CR LF": ("token", "a b\r\nc\r\n", ["a", "b", "<eos>", "c", "<eos>"]),
    "characters": ("char", "a\r\n", ["a", "\r", "\n"]),
}  # fmt: skip


@pytest.mark.parametrize("case", CUT)
def test_symbols(case: str) -> None:
    level, text, expected = CUT[case]
    assert list(symbols_of(text, level)) == expected


@given(st.sampled_from(["word", "token"]), st.text())
def test_no_character_but_white_space_is_lost(level: str, text: str) -> None:
    symbols = [symbol for symbol in symbols_of(text, level) if symbol != LINE_END]
    assert "".join(symbols) == "".join(text.split()).replace(LINE_END, "")
    assert all(symbol and not any(map(str.isspace, symbol)) for symbol in symbols)


# -- vocabularies ----------------------------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from("abcdefgh")), st.integers(1, 12))
def test_the_most_frequent_come_first(symbols: list[str], size: int) -> None:
    vocabulary = Vocabulary.of_symbols(symbols, size, "word")
    counts, (unknown, *kept) = Counter(symbols), vocabulary.symbols
    assert unknown == UNKNOWN
    assert len(kept) == min(size - 1, len(counts))
    assert kept == sorted(counts, key=lambda s: (-counts[s], symbols.index(s)))[: len(kept)]
    indices = vocabulary.encode_symbols(symbols)
    assert indices.tolist() == [kept.index(s) + 2 if s in kept else 1 for s in symbols]
    assert indices.dtype == np.int32


def test_the_texts_own_unknowns_are_the_unknown_ones() -> None:
    """As in the Penn Treebank; also where there would be no room for a symbol so rare."""
    vocabulary = Vocabulary.of_symbols("a a a b b <unk> c".split(), 3, "token")
    assert vocabulary.symbols == ("<unk>", "a", "b")
    assert vocabulary.encode("b <unk> c z").tolist() == [3, 1, 1, 1]


def test_indices_are_those_of_the_symbols() -> None:
    vocabulary = Vocabulary.of_symbols("b b a".split(), 10, "word", ["<s>", "</s>"])
    assert [vocabulary.index(s) for s in ("<s>", "</s>", "<unk>", "b", "a")] == [1, 2, 3, 4, 5]


def test_without_an_unknown_a_word_is_named() -> None:
    with pytest.raises(SpecError, match=r"E0615.*'c' is not in the vocabulary of 2 words"):
        Vocabulary(["a", "b"], "word").encode("a c d")


# -- texts made of symbols -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("symbols", "text"),
    [
        ("a b c", "a b c"),
        ("a , b <eos>", "a , b\n"),
        ("<eos> <eos> a <eos> <eos> b", "\n\na\n\nb"),
        ("<eos>", "\n"),
        ("", ""),
    ],
)
def test_words_stand_apart_and_lines_end(symbols: str, text: str) -> None:
    vocabulary = Vocabulary.of_symbols(symbols.split(), 10, "word")
    assert vocabulary.decode(vocabulary.encode_symbols(symbols.split())) == text
    assert [*vocabulary.pieces(symbols.split())] == [*vocabulary.pieces(iter(symbols.split()))]
    assert "".join(vocabulary.pieces(symbols.split())) == text


@given(st.sampled_from(["word", "token"]), st.text(st.sampled_from("ab'- .\n")))
def test_a_text_that_is_decoded_has_the_same_symbols(level: str, text: str) -> None:
    symbols = symbols_of(text, level)
    vocabulary = Vocabulary.of_symbols(symbols, 100, level)
    again = Vocabulary.from_json(vocabulary.to_json())
    indices = again.encode(text)
    assert again.encode(again.decode(indices)).tolist() == indices.tolist()
    assert again.decode(indices).split() == again.join(symbols).split()


# -- a text as words -------------------------------------------------------------------------------------------------------------


def test_a_text_becomes_streams_of_words(tmp_path: Path) -> None:
    source = text_source(tmp_path, "one two, three\n" * 40, batch=2, seq_len=5, valid=0.0)
    assert source.attributes == {"vocab_size": 6}
    batch = source.batch(0)
    assert source.vocabulary.decode(batch.arrays["tokens"][:, 0]) == "one two , three\n"
    assert source.vocabulary.decode(batch.arrays["targets"][:, 0]) == "two , three\none"
    assert batch.symbols == 10


def test_the_vocabulary_is_that_of_the_training_part(tmp_path: Path) -> None:
    text = "seen " * 95 + "new " * 5
    source = text_source(tmp_path, text, batch=1, seq_len=5)
    assert source.vocabulary.symbols == ("<unk>", "seen")
    assert source.validation_part.tolist() == [1] * 5
    assert source.training_part.tolist() == [2] * 95


def test_vocab_bounds_the_symbols(tmp_path: Path) -> None:
    assert text_source(tmp_path, vocab=20).attributes == {"vocab_size": 20}
    assert text_source(tmp_path, vocab=2).vocabulary.symbols == ("<unk>", "the")
    with pytest.raises(SpecError, match=r"E0616.*data.vocab must be a whole number of at least 2"):
        text_source(tmp_path, vocab=1).batch(0)


def test_a_text_of_too_few_words(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"E0614.*corpus.txt is too short for one batch: 5 words to train on"):
        text_source(tmp_path, "a b c d e\n").batch(0)


def test_a_checkpoint_keeps_the_words(tmp_path: Path) -> None:
    source = text_source(tmp_path, vocab=50)
    first, kept = source.batch(3), source.to_json()
    again = opened("data.text", tmp_path, kept, path="corpus.txt", batch=4, seq_len=10, level="word", vocab=50)
    assert isinstance(again, TextSource)
    assert again.attributes == {"vocab_size": 50}
    assert "corpus" not in vars(again)
    assert_same(again.batch(3), first)
    assert again.to_json() == kept
    with pytest.raises(SpecError, match=r"E0617.*made with data.level = 'word', not 'char'"):
        opened("data.text", tmp_path, kept, path="corpus.txt").batch(0)


# -- baselines -------------------------------------------------------------------------------------------------------------------


def test_baselines_of_words_are_perplexities(tmp_path: Path) -> None:
    source = text_source(tmp_path)
    assert source.measured(np.log(8)) == {"perplexity": pytest.approx(8)}
    found = source.baselines()
    assert 1 < found["ngram3"] < found["unigram"] < source.attributes["vocab_size"]


def test_baselines_of_a_megabyte_of_words_take_a_moment(tmp_path: Path) -> None:
    """Words by Zipf's law, each drawn by itself: no model is better than the law, and the unigram's comes near it."""
    draw = np.random.default_rng(1)
    p = 1 / np.arange(1, 5001)
    p /= p.sum()
    words = draw.choice(5000, 220_000, p=p)
    text = " ".join(f"w{n}" for n in words)
    assert len(text) > 900_000
    source = text_source(tmp_path, text, vocab=10_000, level="token")
    began = time.perf_counter()
    found = source.baselines()
    assert time.perf_counter() - began < 10
    law = float(np.exp(-np.log(p[words[len(words) * 95 // 100 :]]).mean()))
    assert law < found["unigram"] < 1.05 * law
    assert found["unigram"] < found["ngram3"] < 1.6 * law
