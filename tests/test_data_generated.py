"""``data.generated``: what each task makes, that it ends, the adding problem."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphspec.data.generated import AddingSource
from graphspec.data.pairs import PairSource
from graphspec.data.tasks import _distinct
from graphspec.errors import SpecError
from sources import assert_same, opened


def generated(task: str, **fields: Any) -> PairSource:
    source = opened("data.generated", task=task, **fields)
    assert isinstance(source, PairSource)
    return source


def pairs(source: PairSource) -> list[tuple[str, str]]:
    return list(zip(source.pairs.source, source.pairs.target, strict=True))


# -- pairs -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("task", "turned"), [("copy", False), ("reverse", True)])
def test_words_come_out_as_they_are_or_backwards(task: str, turned: bool) -> None:
    found = pairs(generated(task, size=2000, length=8))
    assert len(set(found)) == 2000
    assert all(target == (source[::-1] if turned else source) for source, target in found)
    assert set("".join(source for source, _ in found)) == set("abcdefghijklmnopqrstuvwxyz")


def test_sums_are_right() -> None:
    found = pairs(generated("addition", size=2000, length=12))
    assert len(set(found)) == 2000
    for source, target in found:
        left, right = source.split("+")
        assert int(left) + int(right) == int(target)
        assert str(int(left)) == left and str(int(right)) == right


def test_lengths_are_alike_as_far_as_they_go() -> None:
    words = Counter(len(word) for word, _ in pairs(generated("copy", size=3000, length=5)))
    assert words == {1: 26, 2: 676, 3: 766, 4: 766, 5: 766}
    digits = Counter(tuple(map(len, sum_.split("+"))) for sum_, _ in pairs(generated("addition", size=900, length=3)))
    assert set(digits.values()) == {100}


def test_what_is_held_out_is_as_long_as_the_rest() -> None:
    source = generated("copy", size=2000, length=10, valid=0.2)
    held_out = source.pairs.source[source.split :]
    assert np.mean([len(word) for word in held_out]) == pytest.approx(5.6, abs=0.5)
    assert not set(held_out) & set(source.pairs.source[: source.split])


@pytest.mark.parametrize(
    ("task", "length", "there"), [("copy", 1, 26), ("reverse", 2, 702), ("copy", 3, 18_278), ("addition", 1, 100), ("addition", 2, 10_000)]
)
def test_all_that_there_are_can_be_drawn_and_no_more(task: str, length: int, there: int) -> None:
    """Drawing until enough were found would hardly ever find the last ones."""
    assert len(set(pairs(generated(task, size=there, length=length)))) == there
    with pytest.raises(SpecError, match=rf"E0616.*data.size: there are {there:,} different (words|sums) of up to {length} "):
        pairs(generated(task, size=there + 1, length=length))


@given(st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=3), min_size=1, max_size=5), st.integers(0, 10**6), st.data())
def test_draws_are_different_and_from_their_cells(shapes: list[list[int]], seed: int, data: st.DataObject) -> None:
    cells = [[(10 * n, 10 * n + width) for width in shape] for n, shape in enumerate(shapes)]
    there = sum(int(np.prod(shape)) for shape in shapes)
    size = data.draw(st.integers(1, there))
    drawn = _distinct(generated("copy"), np.random.default_rng(seed), cells, size, "things", "parts")
    assert len(drawn) == len(set(drawn)) == size
    for found in drawn:
        cell = cells[found[0] // 10]
        assert len(found) == len(cell)
        assert all(low <= number < high for number, (low, high) in zip(found, cell, strict=True))


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "task": ({"task": "copi"}, r"E0616.*data.task must be one of numbers, copy, reverse, addition, adding, got 'copi'"),
    "size": ({"task": "copy", "size": 10**7}, r"E0616.*data.size: at most 1,000,000 pairs are generated, not 10,000,000"),
    "numbers": ({"size": 1_000_001}, r"E0616.*data.size: at most 1,000,000 pairs"),
    "no size": ({"task": "copy", "size": 0}, r"E0616.*data.size must be a whole number of at least 1"),
    "length": ({"task": "copy", "length": 0}, r"E0616.*data.length must be a whole number of at least 1"),
    "memory": ({"task": "reverse", "length": 10**6}, r"E0616.*20,000 pairs of up to 1,000,000 symbols are more than"),
    "letters": ({"task": "copy", "length": 1001, "size": 10}, r"E0616.*data.length: words have up to 1,000 letters, not 1,001"),
    "digits": ({"task": "addition", "length": 19}, r"E0616.*addition is of numbers of up to 18 digits, not 19"),
    "too short to add": ({"task": "adding", "length": 1}, r"E0616.*data.length must be a whole number of at least 2"),
    "one example": ({"task": "copy", "size": 1}, r"E0614.*<copy size=1 seed=1 length=10> has one example only"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_field_out_of_range(case: str) -> None:
    fields, words = BAD[case]
    with pytest.raises(SpecError, match=words):
        opened("data.generated", **fields).batch(0)


def test_what_is_on_record_is_what_was_made() -> None:
    source = generated("copy", size=100)
    kept = source.to_json()
    assert kept["name"] == "<copy size=100 seed=1 length=10>"
    again = opened("data.generated", None, kept, task="copy", size=100)
    assert_same(again.batch(1), source.batch(1))
    assert opened("data.generated", None, kept, task="copy", size=100, seed=2).batch(0).symbols > 0
    with pytest.raises(SpecError, match=r"E0617.*<copy size=100 seed=1 length=10> is not the set of pairs"):
        opened("data.generated", None, {**kept, "sha256": "0" * 64}, task="copy", size=100).batch(0)


def test_other_names_of_numbers_are_another_versions() -> None:
    kept = {**generated("numbers", size=50).to_json(), "sha256": "0" * 64}
    with pytest.raises(SpecError, match="number names differ between versions of num2words"):
        opened("data.generated", None, kept, size=50).batch(0)


# -- the adding problem ----------------------------------------------------------------------------------------------------------


def adding(**fields: Any) -> AddingSource:
    source = opened("data.generated", task="adding", **fields)
    assert isinstance(source, AddingSource)
    return source


@pytest.mark.parametrize("length", [2, 3, 100])
def test_two_marked_numbers_are_added(length: int) -> None:
    batch = adding(length=length, batch=40).batch(7)
    inputs, targets = batch.arrays["inputs"], batch.arrays["targets"]
    assert (inputs.shape, targets.shape) == ((length, 40, 2), (40, 1))
    assert inputs.dtype == targets.dtype == np.float32
    numbers, marks = inputs[..., 0], inputs[..., 1]
    assert numbers.min() >= 0 and numbers.max() < 1
    assert (marks[: length // 2].sum(0) == 1).all() and (marks[length // 2 :].sum(0) == 1).all()
    np.testing.assert_allclose((numbers * marks).sum(0), targets[:, 0], rtol=1e-6)


def test_to_guess_one_is_a_sixth_wrong() -> None:
    """The variance of a sum of two uniform numbers: 2/12."""
    (held_out,) = adding(length=10, size=40_000, valid=0.5, batch=20_000).valid()
    assert ((held_out.arrays["targets"] - 1) ** 2).mean() == pytest.approx(1 / 6, rel=0.02)


def test_every_batch_is_new_and_a_function_of_its_number() -> None:
    one, other = adding(length=6, batch=16), adding(length=6, batch=16)
    later = one.batch(5000)
    assert_same(other.batch(5000), later)
    batches = [later, one.batch(0), one.batch(1), next(one.valid()), adding(length=6, batch=16, seed=2).batch(0)]
    assert len({b.arrays["inputs"].tobytes() for b in batches}) == len(batches)


def test_a_thousand_are_held_out_and_stay_the_same() -> None:
    source = adding(length=4)
    held_out = list(source.valid())
    assert [b.symbols for b in held_out] == [64] * 15 + [40]
    assert source.batches == -(-19_000 // 64)
    for one, other in zip(held_out, adding(length=4).valid(), strict=True):
        assert_same(one, other)
    assert list(adding(length=4, valid=0.0).valid()) == []


def test_the_record_tells_problems_apart() -> None:
    kept = [adding(length=length, seed=seed).to_json() for length, seed in ((10, 1), (11, 1), (10, 2))]
    assert len({record["sha256"] for record in kept}) == len({record["name"] for record in kept}) == 3
    assert adding(length=10, batch=3).to_json() == kept[0]
