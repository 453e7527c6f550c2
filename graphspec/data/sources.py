"""All kinds of sources, and the opened sources of one spec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graphspec.build.describe import Description
from graphspec.data.arrays import ArraySource
from graphspec.data.generated import GeneratedPairs
from graphspec.data.pairs import FilePairs
from graphspec.data.source import DataSource
from graphspec.data.text import TextSource

SOURCES: dict[str, type[DataSource]] = {
    "data.text": TextSource, "data.pairs": FilePairs, "data.generated": GeneratedPairs, "data.arrays": ArraySource,
}  # fmt: skip
"""By the kind of the description: what has its schema and opens it."""


class Sources:
    """The sources of one spec, each opened when first asked for.

    In a checkpoint (``to_json``) a source is known by its kind and its place in the spec (file name, line, column), which the checkpoint's
    own copy of the spec keeps; so fields may change from one command to the next (``data.path=...``) and the vocabulary still be found.
    """

    def __init__(self, roots: Sequence[Path] = (), stored: Mapping[str, Any] | None = None) -> None:
        self.roots = tuple(roots)
        self.stored = dict(stored or {})
        self._opened: dict[str, tuple[Description, DataSource]] = {}

    def open(self, description: Description) -> DataSource:
        """The source that a description describes; E06xx where there is something wrong with it."""
        span = description.origin.span
        place = f"{description.kind} {Path(span.source.path).name}:{span.line}:{span.column}" if span else description.kind
        key, turn = place, 1
        while key in self._opened and self._opened[key][0] is not description:  # one made in a loop shares its place with others
            turn += 1
            key = f"{place} #{turn}"
        if key not in self._opened:
            source = SOURCES[description.kind].opened(description, self.roots, self.stored.get(key))
            self._opened[key] = (description, source)
        return self._opened[key][1]

    def attribute(self, description: Description, name: str) -> int:
        """Such as ``text.vocab_size``."""
        return self.open(description).attributes[name]

    def to_json(self) -> dict[str, Any]:
        """What a checkpoint keeps of all opened sources; give it back as ``stored``."""
        return {key: source.to_json() for key, (_, source) in self._opened.items()}
