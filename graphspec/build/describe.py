"""Descriptions: what a spec says about data, optimizers and experiments, without doing anything."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from graphspec.errors import Origin, SpecError, fail
from graphspec.graph import Module, Node
from graphspec.suggest import did_you_mean


@dataclass(frozen=True)
class Schema:
    """What a data source or optimizer can be told (fields with defaults; None is "not given"), and what can be asked of it; None for
    names that are known when the source has been read (:meth:`Library.names`)."""

    fields: Mapping[str, Any]
    attributes: frozenset[str] | None = frozenset()
    """Numbers, such as ``vocab_size``."""
    streams: frozenset[str] | None = frozenset()
    """What feeds inputs, such as ``tokens``."""


class Fielded:
    """What has fields, from the spec or from outside, and says of one that does not fit where it was given."""

    out_of_range: ClassVar[str]
    """The code of a field whose value makes no sense."""
    fields: dict[str, Any]
    origin: Origin
    trusted: frozenset[str]
    """The fields that came from the command line or the API: a path there is the user's authority."""

    @property
    def group(self) -> str:
        """What a field's name begins with outside the spec: ``data`` in ``data.batch``."""
        raise NotImplementedError

    def wrong(self, code: str, message: str, field: str = "", **more: Any) -> SpecError:
        """An error where this stands, or, for a ``field`` given from outside the spec, one that says so."""
        if field in self.trusted:
            notes = [f"{self.group}.{field} was given from outside the spec", *more.pop("notes", ())]
            return fail(code, message, None, notes=notes, **more)
        return fail(code, message, self.origin, **more)

    def whole(self, field: str, least: int = 1) -> int:
        """A field that counts something; an error when it is no whole number or too small."""
        value = self.fields[field]
        if not float(value).is_integer() or not least <= value < 2**63:
            raise self._must(field, f"be a whole number of at least {least}{', and below 2^63' * (value >= 2**63)}, got {value:g}")
        return int(value)

    def number(self, field: str, least: float = -math.inf, below: float = math.inf) -> float:
        """A finite number in a range; an error for any other."""
        value = float(self.fields[field])
        if not (math.isfinite(value) and least <= value < below):
            low, high = f"at least {least:g}" if least > -math.inf else "", f"less than {below:g}" if below < math.inf else ""
            wanted = " and ".join(filter(None, (low, high or "finite")))
            raise self._must(field, f"be {wanted}, got {value:g}")
        return value

    def fraction(self, field: str) -> float:
        """A field that is a part of the whole; an error when it is below 0, or 1 and more."""
        return self.number(field, 0, 1)

    def one_of(self, field: str, known: Collection[str]) -> str:
        """A field that names one of several things; an error for anything else."""
        value = str(self.fields[field])
        if value not in known:
            raise self._must(field, f"be one of {', '.join(known)}, got {value!r}", helps=did_you_mean(value, known))
        return value

    def _must(self, field: str, what: str, **more: Any) -> SpecError:
        return self.wrong(self.out_of_range, f"{self.group}.{field} must {what}", field, **more)


@dataclass(eq=False)
class Description(Fielded):
    """``data.text{...}`` or ``optim.adam{...}``: a kind (``"data.text"``) and its fields, defaults filled in."""

    out_of_range = "E0616"
    kind: str
    fields: dict[str, Any]
    origin: Origin
    trusted: frozenset[str] = frozenset()

    @property
    def group(self) -> str:
        return self.kind.partition(".")[0]


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
class ExperimentSpec(Fielded):
    """``experiment{...}``.

    ``step`` is one step to generate with, ``{token, state[, context]} -> {y, state}``; ``encode`` makes its first state (and context) from
    what the streams ``encode_inputs`` give.
    """

    group = "experiment"
    out_of_range = "E0606"
    loss: Node
    step: Module | None
    inputs: dict[Node, Stream]
    carry: dict[Node, Node]
    optimizer: Description | None
    fields: dict[str, Any]
    origin: Origin
    encode: Module | None = None
    encode_inputs: tuple[Stream, ...] = ()
    trusted: frozenset[str] = frozenset()

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
