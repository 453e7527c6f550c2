"""What passes did, counted, so that several runs of one pass are told as one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Told = Mapping[str, tuple[int, ...]]
"""Sentences and their numbers: ``{"{:op} removed": (3,)}`` is "3 ops removed".  Numbers of several runs are added up."""


class Count(int):
    """A number that is written with what it counts: ``{:op}`` is "1 op" or "1,234 ops", ``{:matrix|matrices}`` has a plural of its own."""

    def __format__(self, nouns: str) -> str:
        one, _, many = nouns.partition("|")
        return f"{int(self):,} {one if self == 1 else many or f'{one}s'}" if nouns else f"{int(self):,}"


def told(sentences: Mapping[str, int | tuple[int, ...]]) -> Told:
    """Those that count something."""
    each = {text: numbers if isinstance(numbers, tuple) else (numbers,) for text, numbers in sentences.items()}
    return {text: numbers for text, numbers in each.items() if any(numbers)}


@dataclass
class PassReport:
    """What all runs of one pass did, and the seconds they took."""

    name: str
    told: dict[str, tuple[int, ...]] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, told: Told, seconds: float) -> None:
        self.seconds += seconds
        for text, numbers in told.items():
            before = self.told.get(text, (0,) * len(numbers))
            self.told[text] = tuple(a + b for a, b in zip(before, numbers, strict=True))

    @property
    def sentences(self) -> list[str]:
        """In words; none where nothing was done."""
        return [text.format(*map(Count, numbers)) for text, numbers in self.told.items()]
