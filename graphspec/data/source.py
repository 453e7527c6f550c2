"""What every data source can do."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from graphspec.build.describe import Description, Fielded, Schema
from graphspec.data.vocabulary import LEVELS, Vocabulary
from graphspec.errors import Origin

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Batch:
    """What one training step reads."""

    arrays: Mapping[str, Array]
    """By the name of the stream."""
    starts: bool
    """A pass over the data begins here: carried states are zero before this batch."""
    symbols: int
    """How many targets it has: the weight of its mean loss among other batches, and what tokens a second count."""


class DataSource(Fielded, ABC):
    """An opened ``data.*`` description, with its fields.

    Nothing in a source moves: batches are a function of their number, so that the position of a run is one integer, a resumed run
    reads exactly what an uninterrupted one would have, and any thread may fetch ahead.
    """

    schema: ClassVar[Schema]
    group = "data"
    out_of_range = "E0616"

    def __init__(self, description: Description, roots: Sequence[Path], stored: Mapping[str, Any] | None = None) -> None:
        """``roots``: where paths that a spec names must lie.  ``stored``: what ``to_json`` gave, out of a checkpoint; what it holds
        (a vocabulary) is taken from there, and the data themselves are read only when a batch is asked for."""
        self.description = description
        self.fields, self.origin, self.trusted = description.fields, description.origin, description.trusted
        self.roots = tuple(roots)
        self.stored = stored

    @classmethod
    def opened(cls, description: Description, roots: Sequence[Path], stored: Mapping[str, Any] | None) -> DataSource:
        """The source of a description; of another class where a field decides."""
        return cls(description, roots, stored)

    @property
    @abstractmethod
    def attributes(self) -> Mapping[str, int]:
        """The values of the schema's attributes."""

    @property
    @abstractmethod
    def streams(self) -> frozenset[str]:
        """The names of what its batches have."""

    @property
    @abstractmethod
    def batches(self) -> int:
        """Training batches in one pass over the data."""

    @abstractmethod
    def batch(self, number: int) -> Batch:
        """Training batch ``number``, counted from 0 and on over all passes: pass ``number // batches``."""

    @abstractmethod
    def valid(self, whole: bool = False) -> Iterator[Batch]:
        """One pass over the validation part (nothing where there is none), or over the whole data."""

    counted = "symbol"
    """What a batch counts, and its loss is a mean over."""

    @property
    def measure(self) -> str:
        """What a loss in nats per symbol is told as beside: ``bits_per_char``, ``perplexity``, or nothing."""
        return ""

    def measured(self, loss: float) -> dict[str, float]:
        """A loss in nats per symbol in the source's own measure."""
        if self.measure == "bits_per_char":
            return {self.measure: loss / math.log(2)}
        if self.measure == "perplexity":
            return {self.measure: math.exp(min(loss, 700.0))}
        return {}

    def baselines(self) -> dict[str, float]:
        """The measure on the validation part of models that only count, by name; empty where they mean nothing."""
        return {}

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """What a checkpoint keeps, so that sampling needs no data and a resumed run knows whether they are still the same: ``name`` and
        ``sha256`` of the data, and what the source needs besides."""

    def check_stream(self, name: str, origin: Origin, classes: bool) -> None:  # most streams are made here, and fit
        """An error at the input, at ``origin``, that reads what nothing can be trained on; ``classes``: as the classes of a criterion."""

    def check_recorded(self, what: str, name: str, sha256: str, notes: Sequence[str] = ()) -> None:
        """E0617 when what is on record under this name has another SHA-256."""
        if self.stored and self.stored.get("name") == name and self.stored["sha256"] != sha256:
            hashes = f"its SHA-256 is {sha256[:12]}..., and was {self.stored['sha256'][:12]}..."
            message = f"{name} is not the {what} that the checkpoint was made with"
            raise self.wrong("E0617", message, "path", notes=[*notes, hashes])

    def recorded_vocabulary(self, stored: Mapping[str, Any]) -> Vocabulary:
        """A vocabulary out of a checkpoint; E0617 when ``level`` asks for other symbols."""
        vocabulary, level = Vocabulary.from_json(stored), self.one_of("level", LEVELS)
        if vocabulary.level != level:
            raise self.wrong("E0617", f"the checkpoint was made with data.level = '{vocabulary.level}', not '{level}'", "level")
        return vocabulary

    def training_examples(self, name: str, total: int) -> int:
        """How many of ``total`` examples are trained on: all but the part ``valid``, which is at least one unless it is 0.  E0614 when
        that leaves none."""
        fraction = self.fraction("valid")
        count = min(max(round(total * (1 - fraction)), 1), total - 1) if fraction else total
        if not count:
            helps = ["give more of them, or hold none out: data.valid=0"]
            raise self.wrong("E0614", f"{name} has one example only, which cannot be trained on and held out", helps=helps)
        return count
