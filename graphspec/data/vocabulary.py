"""Symbols and their numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, cached_property
from typing import Any
from unicodedata import category

import numpy as np

from graphspec.errors import SpecError, fail

Array = np.ndarray[Any, Any]

LEVELS = ("char", "word", "token")
"""What a symbol can be: a character; a word or a punctuation mark; what stands between white space (for text that is tokenised already,
such as the Penn Treebank's)."""

START, STOP, UNKNOWN, LINE_END = "<s>", "</s>", "<unk>", "<eos>"


@cache
def _word() -> re.Pattern[str]:
    """A word, apostrophes and hyphens inside it included, or one other mark."""
    # To ``re`` an accent or vowel sign that is a character of its own (as in Hindi, or "e" and U+0301) is no part of a word.
    signs = "".join(chr(code) for code in range(0x300, 0x20000) if category(chr(code)).startswith("M"))
    letter = f"[\\w{signs}\u200c\u200d]"
    return re.compile(rf"{letter}+(?:['’-]{letter}+)*|\S")


def symbols_of(text: str, level: str) -> Sequence[str]:
    """The symbols of a text, in order; above characters a line's end is one too, ``<eos>``, as in Mikolov's Penn Treebank."""
    if level == "char":
        return text
    split = _word().findall if level == "word" else str.split
    found: list[str] = []
    for line in text.splitlines(keepends=True):
        found += split(line)
        if line[-1] in "\r\n":
            found.append(LINE_END)
    return found


class Vocabulary:
    """An ordered set of symbols; the first has index 1, as Torch counts.

    Characters stand in the order of their code points, words in that of their frequency, so that one text gives one vocabulary everywhere.
    """

    def __init__(self, symbols: Sequence[str], level: str = "char") -> None:
        self.symbols = tuple(symbols)
        self.level = level

    def __len__(self) -> int:
        return len(self.symbols)

    @staticmethod
    def of_text(text: str, special: Sequence[str] = ()) -> Vocabulary:
        """The characters of a text, after the ``special`` symbols."""
        return Vocabulary([*special, *(chr(code) for code in np.flatnonzero(np.bincount(code_points(text))))])

    @staticmethod
    def of_symbols(symbols: Iterable[str], size: int, level: str, special: Sequence[str] = ()) -> Vocabulary:
        """``special`` symbols, ``<unk>``, which stands for what is left out, and the most frequent symbols (of equals, those that
        come first), ``size`` in all."""
        first = (*special, UNKNOWN)
        rest = [symbol for symbol, _ in Counter(symbols).most_common() if symbol not in first]
        return Vocabulary([*first, *rest][:size], level)

    def index(self, symbol: str) -> int:
        """The index of a symbol that is in the vocabulary, from 1."""
        return self._indices[symbol]

    @cached_property
    def _codes(self) -> Array:
        """For each code point the index of that character, or 0."""
        single = [(ord(symbol), i) for i, symbol in enumerate(self.symbols, 1) if len(symbol) == 1]
        table = np.zeros(max((code for code, _ in single), default=0) + 1, np.int32)
        for code, index in single:
            table[code] = index
        return table

    @cached_property
    def _indices(self) -> dict[str, int]:
        return {symbol: i for i, symbol in enumerate(self.symbols, 1)}

    def encode(self, text: str) -> Array:
        """Indices [symbols], int32, from 1.  A word that is not in the vocabulary is ``<unk>``; E0615 names the first character that is
        not, or word where there is no ``<unk>``."""
        if self.level != "char":
            return self.encode_symbols(symbols_of(text, self.level))
        codes = code_points(text)
        table = self._codes
        known = codes < len(table)
        indices = np.where(known, table[np.where(known, codes, 0)], 0)
        missing = np.flatnonzero(indices == 0)
        if len(missing):
            at = int(missing[0])
            line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
            where = f"character {column} of line {line}" if "\n" in text else f"character {column}"
            place = f"it is {where}; {len(missing):,} of {len(text):,} characters are unknown"
            count = sum(len(symbol) == 1 for symbol in self.symbols)
            raise fail("E0615", f"{text[at]!r} (U+{ord(text[at]):04X}) is not in the vocabulary of {count} characters", notes=[place])
        return indices

    def encode_each(self, texts: Iterable[str], what: str, first: int = 1) -> list[Array]:
        """The indices of each text, without the white space around it; errors of `encode` name the text: ``what`` and its number, from
        ``first`` on."""
        found = []
        for number, text in enumerate(texts, first):
            try:
                found.append(self.encode(text.strip()))
            except SpecError as failure:
                raise SpecError(*(problem.with_notes(f"in {what} {number}: {text!r:.60}") for problem in failure.diagnostics)) from None
        return found

    def encode_symbols(self, symbols: Iterable[str]) -> Array:
        """Indices [symbols], int32, of what :func:`symbols_of` gave; errors as :meth:`encode`."""
        unknown = self._indices.get(UNKNOWN)
        found = [self._indices.get(symbol, unknown) for symbol in symbols]
        if unknown is None and None in found:
            word = next(s for s, i in zip(symbols, found, strict=True) if i is None)
            raise fail("E0615", f"{word!r} is not in the vocabulary of {len(self)} words")
        return np.asarray(found, np.int32)

    def decode(self, indices: Iterable[int]) -> str:
        """The text of indices from 1; E0615 for one outside the vocabulary."""
        found = []
        for index in indices:
            if not 1 <= index <= len(self.symbols):
                raise fail("E0615", f"index {index} is outside the vocabulary, which has 1 to {len(self)}")
            found.append(self.symbols[index - 1])
        return self.join(found)

    def join(self, symbols: Iterable[str]) -> str:
        """Symbols as a text: words with spaces between them, ``<eos>`` as a line's end."""
        return "".join(self.pieces(symbols))

    def pieces(self, symbols: Iterable[str]) -> Iterator[str]:
        """What each symbol adds to the text, so that it can be written as it comes."""
        if self.level == "char":
            yield from symbols
            return
        space = ""
        for symbol in symbols:
            yield "\n" if symbol == LINE_END else space + symbol
            space = "" if symbol == LINE_END else " "

    def to_json(self) -> dict[str, Any]:
        return {"level": self.level, "symbols": list(self.symbols)}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Vocabulary:
        return Vocabulary(data["symbols"], data["level"])


def code_points(text: str) -> Array:
    """The code point of each character, uint32; a lone surrogate counts as a character, as in Python."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
