"""Pairs that a program can make: number names, copying, reversing, addition."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from graphspec.data.source import DataSource
from graphspec.extras import need

LETTERS = "abcdefghijklmnopqrstuvwxyz"
NUMBERS_BELOW = 1_000_000
MAX_DIGITS = 18
DEFAULT_TASK = "numbers"


@dataclass(frozen=True)
class Pairs:
    """Texts, and what they are on record as."""

    source: Sequence[str]
    target: Sequence[str]
    name: str
    sha256: str


Task = Callable[[DataSource, np.random.Generator, int], Sequence[tuple[str, str]]]


def _numbers(source: DataSource, draw: np.random.Generator, size: int) -> Sequence[tuple[str, str]]:
    """``twenty-one`` and ``einundzwanzig``."""
    if size > NUMBERS_BELOW:
        raise source.wrong("E0616", f"data.size: there are {NUMBERS_BELOW:,} numbers below 10^6, not {size:,}", "size")
    return _names(tuple(int(n) for n in draw.choice(NUMBERS_BELOW, size, replace=False)))


@lru_cache(2)
def _names(numbers: tuple[int, ...]) -> Sequence[tuple[str, str]]:
    """English and German names; about 150 us each, so they are kept."""
    names = need("num2words", "data", "number names need", "or give pairs of your own: `data.path=pairs.tsv`").num2words
    return [(names(n, lang="en"), names(n, lang="de")) for n in numbers]


def _words(source: DataSource, draw: np.random.Generator, size: int) -> list[str]:
    """Different words of 1 to ``length`` letters; all lengths alike, as long as there are enough of each."""
    longest = source.whole("length")
    found: dict[str, None] = {}
    while len(found) < size:
        lengths = draw.integers(1, longest + 1, size)
        letters = draw.integers(0, len(LETTERS), (size, longest))
        before = len(found)
        found.update(("".join(LETTERS[i] for i in row[:n]), None) for row, n in zip(letters, lengths, strict=True))
        if len(found) == before:
            raise source.wrong("E0616", f"data.size: there are not {size:,} different words of up to {longest} letters", "size")
    return list(found)[:size]


def _copy(source: DataSource, draw: np.random.Generator, size: int) -> Sequence[tuple[str, str]]:
    return [(word, word) for word in _words(source, draw, size)]


def _reverse(source: DataSource, draw: np.random.Generator, size: int) -> Sequence[tuple[str, str]]:
    return [(word, word[::-1]) for word in _words(source, draw, size)]


def _addition(source: DataSource, draw: np.random.Generator, size: int) -> Sequence[tuple[str, str]]:
    """``12+345`` and ``357``: numbers of 1 to ``length`` digits, all lengths alike (Zaremba and Sutskever, 2014)."""
    digits = source.whole("length")
    if digits > MAX_DIGITS:
        raise source.wrong("E0616", f"data.length: addition is of numbers of up to {MAX_DIGITS} digits, not {digits}", "length")
    found: dict[tuple[int, int], None] = {}
    while len(found) < size:
        lengths = draw.integers(1, digits + 1, (size, 2))
        terms = draw.integers(np.where(lengths > 1, 10 ** (lengths - 1), 0), 10**lengths)
        before = len(found)
        found.update(((int(a), int(b)), None) for a, b in terms)
        if len(found) == before:
            raise source.wrong("E0616", f"data.size: there are not {size:,} different sums of numbers of up to {digits} digits", "size")
    return [(f"{a}+{b}", str(a + b)) for a, b in list(found)[:size]]


TASKS: dict[str, Task] = {"numbers": _numbers, "copy": _copy, "reverse": _reverse, "addition": _addition}


def make_pairs(source: DataSource, task: str) -> Pairs:
    """``size`` pairs of a task, no two alike, by the source's ``seed``."""
    made = TASKS[task](source, np.random.default_rng(source.whole("seed", 0)), source.whole("size"))
    total = hashlib.sha256("\n".join(f"{s}\t{t}" for s, t in made).encode()).hexdigest()
    left, right = zip(*made, strict=True)
    return Pairs(left, right, f"<{task}>", total)
