"""From a module's name to its record, or to what is said where there is none."""

from __future__ import annotations

from typing import Any

from graphspec.graph.record import LEFT_OUT, REGISTRY, Record
from graphspec.suggest import did_you_mean


def find_record(name: str) -> Record | None:
    """The record of ``nn.<name>``."""
    return REGISTRY.get(name)


def about_missing(name: str) -> dict[str, Any]:
    """What an error says of a name that no record has: why it was left out, or the nearest name (``notes`` or ``helps``)."""
    return {"notes": [LEFT_OUT[name]]} if name in LEFT_OUT else {"helps": did_you_mean(name, REGISTRY, "nn.{}")}
