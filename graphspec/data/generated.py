"""``data.generated``: data that a program makes, for tasks that show what a model can learn."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from graphspec.build.describe import Description, Schema
from graphspec.data.pairs import PairSource
from graphspec.data.source import Batch, DataSource
from graphspec.data.tasks import DEFAULT_TASK, DEFAULTS, TASKS, Pairs, make_pairs

ADDING = "adding"
TRAINING, HELD_OUT = 0, 1


class GeneratedPairs(PairSource):
    """Pairs made by a ``task``, with the streams of ``data.pairs``: ``numbers`` (names of numbers below 10^6, English and German),
    ``copy`` and ``reverse`` (words of 1 to ``length`` letters), ``addition`` (of two numbers of 1 to ``length`` digits).  ``size``
    pairs, no two alike, by ``seed``; each length is as frequent as any other of which there are enough."""

    schema = Schema(
        fields={"task": DEFAULT_TASK, "length": 10, "batch": 64, "level": "char", "vocab": 10_000, "seed": 1, **DEFAULTS},
        attributes=None,
        streams=None,
    )

    @classmethod
    def opened(cls, description: Description, roots: Sequence[Path], stored: Mapping[str, Any] | None) -> DataSource:
        """The task ``adding`` is no pairs; E0616 for one that does not exist."""
        adding = description.one_of("task", [*TASKS, ADDING]) == ADDING
        return (AddingSource if adding else cls)(description, roots, stored)

    def read(self) -> Pairs:
        return make_pairs(self, self.one_of("task", TASKS))


class AddingSource(DataSource):
    """The adding problem (Hochreiter and Schmidhuber, 1997, in the form of Le, Jaitly and Hinton, 2015): ``inputs`` float32 [length,
    B, 2], a number from [0, 1) and a mark; two numbers are marked, one in each half; ``targets`` float32 [B, 1] is their sum.

    Training examples never come again; ``size`` of them, less the part ``valid``, are called a pass, and that part is held out, always
    the same.  Guessing 1 always has a mean squared error of 1/6.
    """

    counted = "example"

    @property
    def streams(self) -> frozenset[str]:
        return frozenset({"inputs", "targets"})

    @property
    def attributes(self) -> Mapping[str, int]:
        return {}

    @property
    def name(self) -> str:
        return f"<{ADDING} length={self.whole('length', 2)} seed={self.whole('seed', 0)}>"

    @property
    def split(self) -> int:
        """Training examples in a pass."""
        return self.training_examples(self.name, self.whole("size"))

    @property
    def batches(self) -> int:
        return -(-self.split // self.whole("batch"))

    def batch(self, number: int) -> Batch:
        return self._draw(TRAINING, number, self.whole("batch"))

    def valid(self, whole: bool = False) -> Iterator[Batch]:
        """What is held out; there is no more of the whole."""
        count, size = self.whole("size") - self.split, self.whole("batch")
        for number, start in enumerate(range(0, count, size)):
            yield self._draw(HELD_OUT, number, min(size, count - start))

    def _draw(self, part: int, number: int, count: int) -> Batch:
        """The first ``count`` examples of a stream of random numbers for each batch of each part."""
        length = self.whole("length", 2)
        draw = np.random.default_rng([self.whole("seed", 0), part, number])
        numbers, marks = draw.random((length, count)), np.zeros((length, count))
        half, rows = length // 2, np.arange(count)
        for low, high in ((0, half), (half, length)):
            marks[draw.integers(low, high, count), rows] = 1
        inputs = np.stack([numbers, marks], -1).astype(np.float32)
        return Batch({"inputs": inputs, "targets": (numbers * marks).sum(0)[:, None].astype(np.float32)}, True, count)

    def to_json(self) -> dict[str, Any]:
        first = self._draw(HELD_OUT, 0, 1).arrays["inputs"]
        return {"name": self.name, "sha256": hashlib.sha256(first.tobytes()).hexdigest()}
