"""What specs can describe: data sources from :mod:`graphspec.data`, optimizers and experiment fields from :mod:`graphspec.training`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graphspec.build import Description, Schema
from graphspec.data import SOURCES, Sources
from graphspec.training.fields import FIELDS
from graphspec.training.optimizers import SCHEMAS


class StandardLibrary:
    """The library that every command and the API use.  ``stored``: what a checkpoint kept of the sources."""

    def __init__(self, roots: Sequence[Path] = (), stored: Mapping[str, Any] | None = None) -> None:
        self.sources = Sources(roots, stored)

    @property
    def schemas(self) -> Mapping[str, Schema]:
        return {**{kind: source.schema for kind, source in SOURCES.items()}, **SCHEMAS}

    @property
    def experiment_fields(self) -> Mapping[str, Any]:
        return FIELDS

    def attribute(self, description: Description, name: str) -> Any:
        return self.sources.attribute(description, name)

    def names(self, description: Description) -> tuple[frozenset[str], frozenset[str]]:
        source = self.sources.open(description)
        return frozenset(source.attributes), source.streams
