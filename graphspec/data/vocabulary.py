"""Symbols and their numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from graphspec.errors import fail

Array = np.ndarray[Any, Any]


class Vocabulary:
    """An ordered set of symbols; the first has index 1, as Torch counts.

    Characters stand in the order of their code points, so that one text gives one vocabulary everywhere.
    """

    def __init__(self, symbols: Sequence[str]) -> None:
        self.symbols = tuple(symbols)

    def __len__(self) -> int:
        return len(self.symbols)

    @staticmethod
    def of_text(text: str) -> Vocabulary:
        """The characters of a text."""
        return Vocabulary([chr(code) for code in np.flatnonzero(np.bincount(code_points(text)))])

    @cached_property
    def _indices(self) -> Array:
        """By code point: the index of that character, or 0."""
        codes = code_points("".join(self.symbols))
        table = np.zeros(int(codes.max(initial=0)) + 1, np.int32)
        table[codes] = np.arange(1, len(codes) + 1)
        return table

    def encode(self, text: str) -> Array:
        """Indices [characters], int32, from 1; E0615 names the first character that is not in the vocabulary."""
        codes = code_points(text)
        table = self._indices
        known = codes < len(table)
        indices = np.where(known, table[np.where(known, codes, 0)], 0)
        missing = np.flatnonzero(indices == 0)
        if len(missing):
            at = int(missing[0])
            line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
            place = f"it is character {column} of line {line}; {len(missing):,} of {len(text):,} characters are unknown"
            raise fail("E0615", f"{text[at]!r} (U+{ord(text[at]):04X}) is not in the vocabulary of {len(self)} characters", notes=[place])
        return indices

    def decode(self, indices: Iterable[int]) -> str:
        """The text of indices from 1; E0615 for one outside the vocabulary."""
        found = []
        for index in indices:
            if not 1 <= index <= len(self.symbols):
                raise fail("E0615", f"index {index} is outside the vocabulary, which has 1 to {len(self)}")
            found.append(self.symbols[index - 1])
        return "".join(found)

    def to_json(self) -> list[str]:
        return list(self.symbols)

    @staticmethod
    def from_json(data: Sequence[str]) -> Vocabulary:
        return Vocabulary(data)


def code_points(text: str) -> Array:
    """The code point of each character, uint32; a lone surrogate counts as a character, as in Python."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
