"""``data.generated``: data that a program makes, for tasks that show what a model can learn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from graphspec.build.describe import Description, Schema
from graphspec.data.pairs import ATTRIBUTES, STREAMS, PairSource
from graphspec.data.source import Batch, DataSource
from graphspec.data.tasks import DEFAULT_TASK, TASKS, Pairs, make_pairs

ADDING = "adding"
ADDING_STREAMS = frozenset({"inputs", "targets"})


class GeneratedPairs(PairSource):
    """Pairs made by a ``task``, with the streams of ``data.pairs``: ``numbers`` (names of numbers below 10^6, English and German),
    ``copy`` and ``reverse`` (words of 1 to ``length`` letters), ``addition`` (of two numbers of 1 to ``length`` digits).  ``size``
    pairs, no two alike, by ``seed``."""


    def read(self) -> Pairs:
        return make_pairs(self, self.one_of("task", TASKS))


class AddingSource(DataSource):
    """The adding problem (Hochreiter and Schmidhuber, 1997, in the form of Le, Jaitly and Hinton, 2015): ``inputs`` float32 [length,
    B, 2], a number from [0, 1) and a mark; two numbers are marked, one in each half; ``targets`` float32 [B, 1] is their sum.

    Training examples never come again; ``size`` of them are called a pass.  Guessing 1 always has a mean squared error of 1/6.
    """


    @property
    def streams(self) -> frozenset[str]:
        return ADDING_STREAMS

    @property
    def attributes(self) -> Mapping[str, int]:
        return {}

    @property
    def batches(self) -> int:
        return -(-self.whole("size") // self.whole("batch"))

    def batch(self, number: int) -> Batch:
        return self._draw(number + 1, self.whole("batch"))

    def valid(self, whole: bool = False) -> Iterator[Batch]:
        """``valid`` of ``size`` examples, always the same."""
        count = int(self.whole("size") * self.fraction("valid"))
        if count:
            yield self._draw(0, count)

    def _draw(self, stream: int, count: int) -> Batch:
        length = self.whole("length", 2)
        draw = np.random.default_rng([self.whole("seed", 0), stream])
        numbers, marks = draw.random((length, count)), np.zeros((length, count))
        half, rows = length // 2, np.arange(count)
        for low, high in ((0, half), (half, length)):
            marks[draw.integers(low, high, count), rows] = 1
        inputs = np.stack([numbers, marks], -1).astype(np.float32)
        return Batch({"inputs": inputs, "targets": (numbers * marks).sum(0, dtype=np.float32)[:, None]}, True, count)

    def to_json(self) -> dict[str, Any]:
        return {"name": f"<{ADDING}>"}


class Generated:
    """``data.generated``: the source of its ``task``; E0616 for a task that does not exist."""

    schema = Schema(
        fields={
            "task": DEFAULT_TASK, "batch": 64, "size": 30_000, "length": 10, "level": "char", "vocab": 10_000, "valid": 0.02, "seed": 1,
        },
        attributes=ATTRIBUTES,
        streams=STREAMS | ADDING_STREAMS,
    )  # fmt: skip

    def __new__(cls, description: Description, roots: Sequence[Path], stored: Mapping[str, Any] | None = None) -> Any:
        found: DataSource = GeneratedPairs(description, roots, stored)
        return AddingSource(description, roots, stored) if found.one_of("task", [*TASKS, ADDING]) == ADDING else found
