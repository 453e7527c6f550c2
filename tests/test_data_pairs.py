"""``data.pairs``: files of pairs, what is left out of them, batches, padding, what is held out, what a checkpoint keeps."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from num2words import num2words

from graphspec.data import Batch, Vocabulary
from graphspec.data.pairs import FilePairs, PairSource
from graphspec.data.tasks import _name, number_name
from graphspec.errors import SpecError
from sources import assert_same, opened

Pair = tuple[str, str]
WORDS = [("ab" * (n % 7 + 1), "c" * (n % 5 + 1) + "d" * (n // 5)) for n in range(100)]


def pairs_of(folder: Path, text: str | bytes, **fields: Any) -> FilePairs:
    """A source of one file."""
    (folder / "pairs.tsv").write_bytes(text.encode() if isinstance(text, str) else text)
    source = opened("data.pairs", folder, path="pairs.tsv", **fields)
    assert isinstance(source, FilePairs)
    return source


def table(pairs: Iterable[Pair]) -> str:
    return "".join(f"{source}\t{target}\n" for source, target in pairs)


def held(source: PairSource) -> set[Pair]:
    """Everything that was read."""
    return set(zip(source.pairs.source, source.pairs.target, strict=True))


def read(source: PairSource, batches: Iterable[Batch]) -> list[Pair]:
    """The pairs in batches, as texts, by their lengths."""
    left, right = source.vocabularies
    found = []
    for batch in batches:
        a = batch.arrays
        for column, (length, target_length) in enumerate(zip(a["source_length"], a["target_length"], strict=True)):
            target = a["target_out"][: target_length - 1, column]
            found.append((left.decode(a["source"][:length, column]), right.decode(target)))
    return found


def a_pass(source: PairSource, turn: int = 0) -> list[Batch]:
    return [source.batch(turn * source.batches + n) for n in range(source.batches)]


# -- files -----------------------------------------------------------------------------------------------------------------------

FILES: dict[str, tuple[str | bytes, set[Pair]]] = {
    "plain": ("a\tb\nc\td\n", {("a", "b"), ("c", "d")}),
    "no last line end": ("a\tb\nc\td", {("a", "b"), ("c", "d")}),
    "CR LF": ("a\tb\r\nc\td\r\n", {("a", "b"), ("c", "d")}),
    "CR": ("a\tb\rc\td\r", {("a", "b"), ("c", "d")}),
    "byte order mark": (b"\xef\xbb\xbfa\tb\nc\td\n", {("a", "b"), ("c", "d")}),
    "blank lines": ("\na\tb\n\n  \nc\td\n\n", {("a", "b"), ("c", "d")}),
    "more columns": ("a\tb\tby someone\nc\td\t\n", {("a", "b"), ("c", "d")}),
    "white space around": (" a \t b c\u00a0\nd\te\n", {("a", "b c"), ("d", "e")}),
    "an empty side": ("a\t\n\tb\n \t \nc\td\ne\tf\n", {("c", "d"), ("e", "f")}),
    "the same again": ("a\tb\na\tb\na\tc\n a\tb \n", {("a", "b"), ("a", "c")}),
    "line separator of Unicode": ("a\u2028b\tc\x0cd\ne\tf\n", {("a\u2028b", "c\x0cd"), ("e", "f")}),
    "what looks like marks": ("<s>\t</s>\n<unk>\t0\n", {("<s>", "</s>"), ("<unk>", "0")}),
    "astral characters": ("\U0001f600\té\ne\u0301\tı\n", {("\U0001f600", "é"), ("e\u0301", "ı")}),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_a_table(case: str, tmp_path: Path) -> None:
    text, expected = FILES[case]
    source = pairs_of(tmp_path, text)
    assert held(source) == expected
    assert len(source.pairs.source) == len(expected)
    assert set(read(source, source.valid(whole=True))) == expected


def test_two_files(tmp_path: Path) -> None:
    (tmp_path / "left.txt").write_bytes("\ufeffone\r\n\r\ntwo\u2028three\r\nfour".encode())
    (tmp_path / "right.txt").write_bytes(b"eins\n\nzwei drei\nvier\n")
    source = opened("data.pairs", tmp_path, source_path="left.txt", target_path="right.txt")
    assert isinstance(source, FilePairs)
    assert held(source) == {("one", "eins"), ("two\u2028three", "zwei drei"), ("four", "vier")}


@pytest.mark.parametrize(("longest", "kept"), [(200, 3), (4, 2), (3, 1), (1, 0)])
def test_pairs_with_a_long_side_are_left_out(longest: int, kept: int, tmp_path: Path) -> None:
    text = "abc\tabcd\nabcde\ta\nab\tabc\n"
    if kept:
        assert len(held(pairs_of(tmp_path, text, max_length=longest))) == kept
    else:
        with pytest.raises(SpecError, match=r"E0613.*pairs.tsv holds no pair whose sides have 1 to 1 symbols \(data.max_length\)"):
            held(pairs_of(tmp_path, text, max_length=longest))


@pytest.mark.parametrize(("level", "kept"), [("char", 3), ("word", 1), ("token", 2)])
def test_pairs_are_the_same_when_their_symbols_are(level: str, kept: int, tmp_path: Path) -> None:
    """Or the model would have been trained on what is held out."""
    assert len(held(pairs_of(tmp_path, "a, b\tc\na,  b\tc\na , b\tc\n", level=level, valid=0.0))) == kept


def test_length_is_counted_in_symbols(tmp_path: Path) -> None:
    assert held(pairs_of(tmp_path, "one two\ttrois\none two three\tquatre\n", level="word", max_length=2)) == {("one two", "trois")}


BAD: dict[str, tuple[dict[str, bytes], dict[str, Any], str]] = {
    "no tab": ({"a.tsv": b"a\tb\n\nc d\n"}, {"path": "a.tsv"}, r"E0619.*a.tsv is not a table of pairs: line 3 has no tab"),
    "other counts": (
        {"a": b"1\n2\n", "b": b"1\n"}, {"source_path": "a", "target_path": "b"}, r"E0619.*do not match: a has 2 lines, b 1"
    ),
    "half": ({"a": b"1\n"}, {"source_path": "a"}, r"E0616.*takes data.path, or both data.source_path and data.target_path"),
    "other half": ({"a": b"1\n"}, {"target_path": "a"}, r"E0616.*takes data.path, or both"),
    "all three": ({"a": b"1\t2\n"}, {"path": "a", "source_path": "a", "target_path": "a"}, r"E0616.*takes data.path, or both"),
    "missing": ({}, {"path": "a.tsv"}, r"E0610.*a.tsv does not exist"),
    "outside": ({}, {"source_path": "/etc/hostname", "target_path": "b"}, r"E0611.*leads outside the roots"),
    "latin-1": ({"a.tsv": b"caf\xe9\tb\n"}, {"path": "a.tsv"}, r"E0612.*byte 0xe9 in line 1"),
    "empty": ({"a.tsv": b""}, {"path": "a.tsv"}, r"E0613.*a.tsv is empty"),
    "nothing in it": ({"a.tsv": b"\n\t\n"}, {"path": "a.tsv"}, r"E0613.*a.tsv holds no pair"),
    "a mark as a token": ({"a.tsv": b"a\tb\na </s>\tb\n"}, {"path": "a.tsv", "level": "token"}, r"E0619.*a.tsv: line 2 holds </s> as a"),
    "a mark in a target": ({"a.tsv": b"a\t<s> b\n"}, {"path": "a.tsv", "level": "token"}, r"E0619.*a.tsv: line 1 holds <s> as a"),
    "one pair": ({"a.tsv": b"a\tb\n"}, {"path": "a.tsv"}, r"E0614.*a.tsv has one example only"),
    "level": ({"a.tsv": b"a\tb\n"}, {"path": "a.tsv", "level": "line"}, r"E0616.*one of char, word, token"),
    "batch": ({"a.tsv": b"a\tb\nc\td\n"}, {"path": "a.tsv", "batch": 0}, r"E0616.*data.batch must be a whole number"),
    "seed": ({"a.tsv": b"a\tb\nc\td\n"}, {"path": "a.tsv", "seed": -1}, r"E0616.*data.seed must be a whole number"),
    "valid": ({"a.tsv": b"a\tb\nc\td\n"}, {"path": "a.tsv", "valid": 1.0}, r"E0616.*data.valid must be at least 0"),
    "max_length": ({"a.tsv": b"a\tb\n"}, {"path": "a.tsv", "max_length": 0}, r"E0616.*data.max_length must be a whole number"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_told(case: str, tmp_path: Path) -> None:
    files, fields, words = BAD[case]
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(SpecError, match=words):
        opened("data.pairs", tmp_path, **fields).batch(0)


# -- batches ---------------------------------------------------------------------------------------------------------------------

SIZES = [(64, 0.05), (7, 0.3), (1, 0.0), (100, 0.5), (1000, 0.05), (10**12, 0.0)]


@pytest.mark.parametrize(("batch", "valid"), SIZES)
def test_a_pass_is_every_training_pair_once(batch: int, valid: float, tmp_path: Path) -> None:
    source = pairs_of(tmp_path, table(WORDS), batch=batch, valid=valid)
    held_out = read(source, source.valid())
    assert len(held_out) == round(100 * valid)
    training = Counter(held(source) - set(held_out))
    assert training.total() == source.split
    for turn in range(3):
        batches = a_pass(source, turn)
        assert all(1 <= b.arrays["source"].shape[1] <= batch for b in batches)
        assert Counter(read(source, batches)) == training
    assert Counter(read(source, source.valid(whole=True))) == Counter(held(source))


@given(st.integers(2, 60), st.integers(1, 70), st.floats(0, 0.99), st.integers(0, 5), st.data())
def test_a_batch_is_a_function_of_its_number(count: int, batch: int, valid: float, seed: int, data: st.DataObject) -> None:
    """Also asked for in another order, by a source that was just opened: what makes a resumed run exact."""
    fields = {"task": "copy", "size": count, "batch": batch, "valid": valid, "seed": seed}
    one = opened("data.generated", **fields)
    numbers = data.draw(st.lists(st.integers(0, 3 * one.batches), min_size=1, max_size=8))
    expected = {number: one.batch(number) for number in numbers}
    other = opened("data.generated", **fields)
    for number in reversed(numbers):
        assert_same(other.batch(number), expected[number])


def test_each_pass_has_its_own_order_and_its_own_batches(tmp_path: Path) -> None:
    source = pairs_of(tmp_path, table((a, b) for a, _ in WORDS for _, b in WORDS[:20]), batch=6, valid=0.0)
    first, second = (a_pass(source, turn) for turn in (0, 1))
    assert read(source, first) != read(source, second)
    alike = {frozenset(read(source, [b])) for b in first} & {frozenset(read(source, [b])) for b in second}
    assert len(alike) < len(first) / 4


def test_a_seed_changes_the_order_and_what_is_held_out(tmp_path: Path) -> None:
    one, same, other = (pairs_of(tmp_path, table(WORDS), batch=8, seed=seed) for seed in (1, 1, 2))
    assert_same(one.batch(3), same.batch(3))
    assert read(one, a_pass(one)) != read(other, a_pass(other))
    assert set(read(one, one.valid())) != set(read(other, other.valid()))


def test_what_is_held_out_of_a_sorted_file_is_like_the_rest(tmp_path: Path) -> None:
    source = pairs_of(tmp_path, table(("a" * n, "b" * n) for n in range(1, 101)), valid=0.2)
    lengths = sorted(len(text) for text, _ in read(source, source.valid()))
    assert lengths[0] < 20 and lengths[-1] > 80


def padding(batches: Iterable[Batch]) -> float:
    """The part of all numbers that stands for nothing."""
    real, total = 0, 0
    for a in (batch.arrays for batch in batches):
        real += int(a["source_length"].sum() + a["target_length"].sum())
        total += a["source"].size + a["target_out"].size
    return 1 - real / total


def test_pairs_of_like_lengths_come_together() -> None:
    source = opened("data.generated", task="reverse", size=4000, batch=32, length=20)
    assert isinstance(source, PairSource)
    rows = np.random.default_rng(0).permutation(source.split)
    left, right = source.encoded
    mixed = [source.padded([left[i] for i in part], [right[i] for i in part]) for part in np.array_split(rows, source.batches)]
    assert padding(mixed) > 0.35
    assert padding(a_pass(source)) < 0.05
    longest = [b.arrays["source"].shape[0] for b in a_pass(source)]
    assert longest != sorted(longest)


def test_padding_says_nothing(tmp_path: Path) -> None:
    source = pairs_of(tmp_path, "abc\tx\nd\twxyz\n", valid=0.0)
    left, right = source.vocabularies
    assert left.symbols == ("<s>", "</s>", "a", "b", "c", "d")
    batch = source.padded([left.encode(s) for s in ("abc", "d")], [right.encode(t) for t in ("x", "wxyz")])
    assert {name: array.tolist() for name, array in batch.arrays.items()} == {
        "source": [[3, 6], [4, 2], [5, 2]],
        "source_length": [3, 1],
        "target_in": [[1, 1], [4, 3], [2, 4], [2, 5], [2, 6]],
        "target_out": [[4, 3], [2, 4], [0, 5], [0, 6], [0, 2]],
        "target_length": [2, 5],
    }  # fmt: skip
    assert {array.dtype for array in batch.arrays.values()} == {np.dtype(np.int32)}
    assert batch.symbols == 7
    assert batch.starts


def test_symbols_are_the_targets_that_count(tmp_path: Path) -> None:
    source = pairs_of(tmp_path, table(WORDS), batch=16)
    for batch in [*a_pass(source), *source.valid()]:
        assert batch.symbols == (batch.arrays["target_out"] > 0).sum()
        assert batch.symbols == batch.arrays["target_length"].sum()
        assert batch.arrays["source"].shape[0] == batch.arrays["source_length"].max()


# -- vocabularies ----------------------------------------------------------------------------------------------------------------


def test_characters_are_those_of_all_pairs(tmp_path: Path) -> None:
    source = pairs_of(tmp_path, table(WORDS), valid=0.9)
    assert source.attributes == {"source_vocab_size": 4, "target_vocab_size": 4}


def test_words_are_those_of_the_training_part(tmp_path: Path) -> None:
    source = pairs_of(tmp_path, table((f"s{n} yes", f"oui t{n}") for n in range(20)), valid=0.5, level="word")
    left, right = source.vocabularies
    assert left.symbols[:4] == ("<s>", "</s>", "<unk>", "yes")
    assert (len(left), len(right)) == (14, 14)
    assert {text for text, _ in read(source, source.valid())} == {"<unk> yes"}
    assert "<unk>" not in " ".join(text for text, _ in read(source, a_pass(source)))


def test_the_most_frequent_words_are_kept(tmp_path: Path) -> None:
    source = pairs_of(tmp_path, "a a a b b c\tx\na b d\ty\n", level="token", vocab=5, valid=0.0)
    assert source.vocabularies[0].symbols == ("<s>", "</s>", "<unk>", "a", "b")
    assert sorted(read(source, a_pass(source))) == [("a a a b b <unk>", "x"), ("a b <unk>", "y")]


# -- what a checkpoint keeps -----------------------------------------------------------------------------------------------------


def test_a_stored_source_needs_no_file(tmp_path: Path) -> None:
    source = pairs_of(tmp_path, table(WORDS))
    source.batch(0)
    kept = source.to_json()
    (tmp_path / "pairs.tsv").unlink()
    again = opened("data.pairs", tmp_path, kept, path="pairs.tsv")
    assert isinstance(again, PairSource)
    assert again.attributes == source.attributes
    assert again.to_json() == kept
    left, right = again.vocabularies
    assert left.decode(again.padded([left.encode("abab")], [right.encode("")]).arrays["source"][:, 0]) == "abab"
    with pytest.raises(SpecError, match=r"E0610.*pairs.tsv does not exist"):
        again.batch(0)


def change_a_pair(folder: Path) -> dict[str, Any]:
    (folder / "pairs.tsv").write_text(table([*WORDS[:-1], ("ab", "dddd")]))
    return {}


CHANGES: dict[str, tuple[Callable[[Path], dict[str, Any]], str]] = {
    "the file": (change_a_pair, r"E0617.*pairs.tsv is not the set of pairs that the checkpoint was made with"),
    "the level": (lambda folder: {"level": "word"}, r"E0617.*made with data.level = 'char', not 'word'"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_change_is_noticed(case: str, tmp_path: Path) -> None:
    kept = pairs_of(tmp_path, table(WORDS)).to_json()
    change, words = CHANGES[case]
    again = opened("data.pairs", tmp_path, kept, **{"path": "pairs.tsv", **change(tmp_path)})
    with pytest.raises(SpecError, match=words):
        again.batch(0)


def test_another_file_is_read_with_the_stored_vocabulary(tmp_path: Path) -> None:
    kept = pairs_of(tmp_path, table(WORDS)).to_json()
    (tmp_path / "more.tsv").write_text("ba\tdc\nbb\tc\n")
    again = opened("data.pairs", tmp_path, kept, path="more.tsv")
    assert isinstance(again, PairSource)
    assert set(read(again, again.valid(whole=True))) == {("ba", "dc"), ("bb", "c")}
    assert again.to_json()["sha256"] != kept["sha256"]
    assert Vocabulary.from_json(again.to_json()["source_vocabulary"]).symbols == ("<s>", "</s>", "a", "b")


# -- without a file --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def fresh_names() -> None:
    """Names are kept between sources; here they are made again."""
    _name.cache_clear()


@pytest.mark.usefixtures("fresh_names")
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "num2words", None)
    with pytest.raises(SpecError) as caught:
        opened("data.pairs").batch(0)
    problem = caught.value.diagnostics[0]
    assert problem.code == "E0820"
    assert problem.message == "number names need the package num2words, which is not installed"
    assert problem.helps == (
        "pip install num2words (or: pip install 'graphspec[data]')",
        "or give pairs of your own: `data.path=pairs.tsv`",
    )


@pytest.mark.usefixtures("fresh_names")
def test_a_package_that_does_not_work_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "num2words.py").write_text("import a_part_that_is_missing\n")
    monkeypatch.delitem(sys.modules, "num2words", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SpecError, match=r"E0820.*num2words, which cannot be imported: No module named 'a_part_that_is_missing'"):
        opened("data.pairs").batch(0)


def test_number_names_hold_out_a_thousand_pairs() -> None:
    source = opened("data.pairs")
    assert isinstance(source, PairSource)
    held_out = read(source, source.valid())
    assert (source.split, len(held_out)) == (19_000, 1000)
    training = set(zip(source.pairs.source[:19_000], source.pairs.target[:19_000], strict=True))
    assert len(training) == 19_000
    assert training.isdisjoint(held_out)
    assert source.attributes["source_vocab_size"] < 40
    same = opened("data.generated", task="numbers")
    assert_same(same.batch(5), source.batch(5))
    assert same.to_json() == source.to_json()


def test_number_names_are_english_and_german() -> None:
    assert [number_name(n, "en") for n in (21, 340_007)] == ["twenty-one", "three hundred and forty thousand and seven"]
    assert [number_name(n, "de") for n in (21, 340_007)] == ["einundzwanzig", "dreihundertvierzigtausendsieben"]


@pytest.mark.parametrize("language", ["en", "de"])
def test_number_names_are_those_of_num2words(language: str) -> None:
    """Every rest after one number of thousands, every number of thousands before one rest, and others."""
    draw = np.random.default_rng(1).integers(0, 1_000_000, 1000).tolist()
    for n in [*range(21_000, 22_000), *range(1, 1_000_000, 1000), *range(101, 1_000_000, 10_000), *draw]:
        assert number_name(n, language) == num2words(n, lang=language)
