"""Pairs that a program can make: number names, copying, reversing, addition."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np

from graphspec.data.source import DataSource
from graphspec.extras import need

Array = np.ndarray[Any, Any]

LETTERS = "abcdefghijklmnopqrstuvwxyz"
NUMBERS_BELOW = 1_000_000
MAX_DIGITS = 18
MAX_LETTERS = 1_000
MAX_SIZE = 1_000_000
MAX_SYMBOLS = 100_000_000
"""At most so many pairs, and pairs times ``length`` (E0616): they are all held in memory."""

BETWEEN = {"en": (" and ", ", "), "de": ("", "")}
"""By language: what num2words puts between the thousands and a rest below 100, and one of 100 or more."""

DEFAULT_TASK = "numbers"
DEFAULTS: Mapping[str, Any] = {"size": 20_000, "valid": 0.05}
"""Of all that is generated: 19,000 examples to train on, 1,000 held out."""


@dataclass(frozen=True)
class Pairs:
    """Texts, and what they are on record as."""

    source: Sequence[str]
    target: Sequence[str]
    name: str
    sha256: str
    notes: Sequence[str] = ()
    """What to say when others come under this name."""


Task = Callable[[DataSource, np.random.Generator, int], Sequence[tuple[str, str]]]


def _numbers(source: DataSource, draw: np.random.Generator, size: int) -> Sequence[tuple[str, str]]:
    """``twenty-one`` and ``einundzwanzig``."""
    return [(number_name(n, "en"), number_name(n, "de")) for n in draw.choice(NUMBERS_BELOW, size, replace=False).tolist()]


def number_name(number: int, language: str) -> str:
    """The name of a number below 10^6 in ``en`` or ``de``, as num2words has it, put together of two of its names: one takes it 0.2 ms."""
    rest = number % 1000
    if rest in (0, number):
        return _name(number, language)
    return _name(number - rest, language) + BETWEEN[language][rest >= 100] + _name(rest, language)


@cache
def _name(number: int, language: str) -> str:
    names = need("num2words", "data", "number names need", "or give pairs of your own: `data.path=pairs.tsv`")
    return str(names.num2words(number, lang=language))


def _copy(source: DataSource, draw: np.random.Generator, size: int) -> Sequence[tuple[str, str]]:
    return [(word, word) for word in _words(source, draw, size)]


def _reverse(source: DataSource, draw: np.random.Generator, size: int) -> Sequence[tuple[str, str]]:
    return [(word, word[::-1]) for word in _words(source, draw, size)]


def _words(source: DataSource, draw: np.random.Generator, size: int) -> list[str]:
    """Different words of 1 to ``length`` letters."""
    longest = source.whole("length")
    if longest > MAX_LETTERS:
        raise source.wrong("E0616", f"data.length: words have up to {MAX_LETTERS:,} letters, not {longest:,}", "length")
    lengths = range(1, longest + 1)
    drawn = _distinct(source, draw, [[(0, len(LETTERS))] * length for length in lengths], size, "words", "letters")
    return ["".join(LETTERS[i] for i in word) for word in drawn]


def _addition(source: DataSource, draw: np.random.Generator, size: int) -> Sequence[tuple[str, str]]:
    """``12+345`` and ``357``: of numbers of 1 to ``length`` digits (Zaremba and Sutskever, 2014)."""
    digits = source.whole("length")
    if digits > MAX_DIGITS:
        raise source.wrong("E0616", f"data.length: addition is of numbers of up to {MAX_DIGITS} digits, not {digits}", "length")
    numbers = [(10 ** (n - 1) if n > 1 else 0, 10**n) for n in range(1, digits + 1)]
    drawn = _distinct(source, draw, list(product(numbers, repeat=2)), size, "sums", "digits")
    return [(f"{a}+{b}", str(a + b)) for a, b in drawn]


TASKS: dict[str, Task] = {"numbers": _numbers, "copy": _copy, "reverse": _reverse, "addition": _addition}


def make_pairs(source: DataSource, task: str) -> Pairs:
    """``size`` pairs of a task, no two alike, in random order, by the source's ``seed``; E0616 for too many of them."""
    size, seed = source.whole("size"), source.whole("seed", 0)
    if size > MAX_SIZE:
        raise source.wrong("E0616", f"data.size: at most {MAX_SIZE:,} pairs are generated, not {size:,}", "size")
    name, notes = f"{task} size={size} seed={seed}", ["number names differ between versions of num2words"]
    if task != DEFAULT_TASK:
        length, notes = source.whole("length"), []
        if size * length > MAX_SYMBOLS:
            message = f"data.length: {size:,} pairs of up to {length:,} symbols are more than {MAX_SYMBOLS:,} symbols"
            raise source.wrong("E0616", message, "length")
        name += f" length={length}"
    made = TASKS[task](source, np.random.default_rng(seed), size)
    total = hashlib.sha256("\n".join(f"{s}\t{t}" for s, t in made).encode()).hexdigest()
    left, right = zip(*made, strict=True)
    return Pairs(left, right, f"<{name}>", total, notes)


Ranges = Sequence[tuple[int, int]]
"""A set of tuples of numbers: for each place the first number and the one after the last."""


def _distinct(
    source: DataSource, draw: np.random.Generator, cells: Sequence[Ranges], size: int, what: str, unit: str
) -> list[tuple[int, ...]]:
    """``size`` different tuples in random order, as many of each cell as of any other that has enough; E0616 when there are not so many."""
    there = [math.prod(high - low for low, high in cell) for cell in cells]
    if size > sum(there):
        length = source.whole("length")
        message = f"data.size: there are {sum(there):,} different {what} of up to {length} {unit}, not {size:,}"
        raise source.wrong("E0616", message, "size")
    found: list[tuple[int, ...]] = []
    for rank, cell in enumerate(sorted(range(len(cells)), key=there.__getitem__)):  # the small ones first: what they lack, others give
        count = min(there[cell], (size - len(found)) // (len(cells) - rank))
        found += _drawn(draw, cells[cell], there[cell], count)
    return [found[i] for i in draw.permutation(size)]


def _drawn(draw: np.random.Generator, cell: Ranges, there: int, count: int) -> list[tuple[int, ...]]:
    """``count`` different tuples of the ``there`` in a cell."""
    low, high = np.asarray(cell).T
    if there <= 4 * count:
        places = np.unravel_index(draw.permutation(there)[:count], high - low)
        return _tuples(low + np.stack(places, -1))
    found: dict[tuple[int, ...], None] = {}
    while len(found) < count:  # at least three of four are new
        found.update(dict.fromkeys(_tuples(draw.integers(low, high, (count, len(cell))))))
    return list(found)[:count]


def _tuples(rows: Array) -> list[tuple[int, ...]]:
    return [tuple(row) for row in rows.tolist()]
