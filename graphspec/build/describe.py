"""Descriptions: what a spec says about data, optimizers and experiments, without doing anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from graphspec.errors import Origin
from graphspec.graph import Module, Node


@dataclass(frozen=True)
class Schema:
    """What a data source or optimizer can be told (fields with defaults; None is "not given"), and what can be asked of it; None for
    names that are known when the source has been read (:meth:`Library.names`)."""

    fields: Mapping[str, Any]
    attributes: frozenset[str] | None = frozenset()
    """Numbers, such as ``vocab_size``."""
    streams: frozenset[str] | None = frozenset()
    """What feeds inputs, such as ``tokens``."""


@dataclass(eq=False)
class Description:
    """``data.text{...}`` or ``optim.adam{...}``: a kind (``"data.text"``) and its fields, defaults filled in.

    ``trusted`` holds the fields that came from the command line or the API: a path there is the user's authority.
    """

    kind: str
    fields: dict[str, Any]
    origin: Origin
    trusted: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Stream:
    """``text.tokens``."""

    description: Description
    name: str


class Library(Protocol):
    """What specs can describe; plugged in from above, so that evaluation never imports data or training."""

    @property
    def schemas(self) -> Mapping[str, Schema]:
        """By kind: ``data.text``, ``optim.adam`` ..."""

    @property
    def experiment_fields(self) -> Mapping[str, Any]:
        """Fields of ``experiment{...}`` beside loss, step, inputs, carry and optimizer, with defaults."""

    def attribute(self, description: Description, name: str) -> Any:
        """An attribute's value; may open the source (E06xx when it cannot)."""

    def names(self, description: Description) -> tuple[frozenset[str], frozenset[str]]:
        """Attributes and streams of a source; opens it (E06xx when it cannot)."""


@dataclass
class ExperimentSpec:
    """``experiment{...}``.

    ``step`` is one step to generate with, ``{token, state[, context]} -> {y, state}``; ``encode`` makes its first state (and context) from
    what the streams ``encode_inputs`` give.
    """

    loss: Node
    step: Module | None
    inputs: dict[Node, Stream]
    carry: dict[Node, Node]
    optimizer: Description | None
    fields: dict[str, Any]
    origin: Origin
    encode: Module | None = None
    encode_inputs: tuple[Stream, ...] = ()

    @property
    def models(self) -> list[Module]:
        """What is there besides the loss: parts of the trained model, to generate with."""
        return [module for module in (self.encode, self.step) if module is not None]


@dataclass
class NoLibrary:
    """A library with nothing in it."""

    schemas: Mapping[str, Schema] = field(default_factory=dict)
    experiment_fields: Mapping[str, Any] = field(default_factory=dict)

    def attribute(self, description: Description, name: str) -> Any:
        raise KeyError(name)

    def names(self, description: Description) -> tuple[frozenset[str], frozenset[str]]:
        return frozenset(), frozenset()
