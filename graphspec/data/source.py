"""What every data source can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from graphspec.build.describe import Description, Schema
from graphspec.errors import Origin, SpecError, fail

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


class DataSource(ABC):
    """An opened ``data.*`` description.

    Nothing in a source moves: batches are a function of their number, so that the position of a run is one integer, a resumed run
    reads exactly what an uninterrupted one would have, and any thread may fetch ahead.
    """

    schema: ClassVar[Schema]

    def __init__(self, description: Description, roots: Sequence[Path], stored: Mapping[str, Any] | None = None) -> None:
        """``roots``: where paths that a spec names must lie.  ``stored``: what ``to_json`` gave, out of a checkpoint; what it holds
        (a vocabulary) is taken from there, and the data themselves are read only when a batch is asked for."""
        self.description = description
        self.roots = tuple(roots)
        self.stored = stored

    @property
    @abstractmethod
    def attributes(self) -> Mapping[str, int]:
        """The values of the schema's attributes."""

    @property
    @abstractmethod
    def batches(self) -> int:
        """Training batches in one pass over the data."""

    @abstractmethod
    def batch(self, number: int) -> Batch:
        """Training batch ``number``, counted from 0 and on over all passes: pass ``number // batches``."""

    @abstractmethod
    def valid(self) -> Iterator[Batch]:
        """One pass over the validation part; nothing where there is none."""

    def baselines(self) -> dict[str, float]:
        """Bits per symbol on the validation part of models that only count, by name; empty where they mean nothing."""
        return {}

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """What a checkpoint keeps, so that sampling needs no data and a resumed run knows whether they are still the same."""

    def wrong(self, code: str, message: str, field: str = "", **more: Any) -> SpecError:
        """An error at the description, or, for a ``field`` given from outside the spec, one that says so."""
        if field in self.description.trusted:
            return fail(code, message, None, notes=[f"{self._full(field)} was given from outside the spec", *more.pop("notes", ())], **more)
        return fail(code, message, self.origin, **more)

    @property
    def origin(self) -> Origin:
        return self.description.origin

    def whole(self, field: str, least: int = 1) -> int:
        """A field that counts something; E0616 when it is no whole number or too small."""
        value = self.description.fields[field]
        if not float(value).is_integer() or value < least:
            raise self.wrong("E0616", f"{self._full(field)} must be a whole number of at least {least}, got {value:g}", field)
        return int(value)

    def _full(self, field: str) -> str:
        return f"data.{field}"
