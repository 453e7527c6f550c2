"""Data sources as a spec would open them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from graphspec.build.describe import Description
from graphspec.data import SOURCES, Batch, DataSource, Sources
from graphspec.errors import Origin, Source, Span

SPEC = Source("a.spec", "local text = data.text { path = 'corpus.txt' }\nlocal more = data.text {}\n")
HERE = Origin(Span(SPEC, 13, 46))
THERE = Origin(Span(SPEC, 60, 72))


def describe(kind: str, trusted: tuple[str, ...] = (), origin: Origin = HERE, **fields: Any) -> Description:
    """As evaluation makes it: every field filled in, numbers as doubles."""
    schema = SOURCES[kind].schema
    assert fields.keys() <= schema.fields.keys()
    filled = {**schema.fields, **fields}
    plain = {k: float(v) if isinstance(v, int) and not isinstance(v, bool) else v for k, v in filled.items()}
    return Description(kind, plain, origin, frozenset(trusted))


def opened(kind: str, root: Path | None = None, stored: Mapping[str, Any] | None = None, **fields: Any) -> DataSource:
    """A source of its own; ``stored``: what ``to_json`` gave before, which goes through JSON as it does in a checkpoint."""
    roots = [] if root is None else [root]
    key = f"{kind} a.spec:1:14"
    kept = None if stored is None else {key: json.loads(json.dumps(stored))}
    return Sources(roots, kept).open(describe(kind, **fields))


def assert_same(one: Batch, other: Batch) -> None:
    assert (one.starts, one.symbols, one.arrays.keys()) == (other.starts, other.symbols, other.arrays.keys())
    for name, array in one.arrays.items():
        assert array.dtype == other.arrays[name].dtype
        np.testing.assert_array_equal(array, other.arrays[name])
