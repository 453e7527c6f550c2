"""``data.arrays``: arrays of the user's own, from a NumPy file."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from graphspec.build.describe import Schema
from graphspec.data.corpus import find_file
from graphspec.data.source import Batch, DataSource

Array = np.ndarray[Any, Any]


class ArraySource(DataSource):
    """The arrays of an ``.npz`` file, each a stream by its name; their first axis counts examples, and comes out as it is: [B, ...].

    An attribute ``<name>_size`` is the length of an array's last axis, ``<name>_classes`` the largest value of an array of whole
    numbers (which count from 1).  Floats come as float32, whole numbers as int32.  The last ``valid`` of the examples (a fraction) is
    the validation part; each pass shuffles the rest by ``seed`` and its number, unless ``shuffle = false``.
    """

    schema = Schema(fields={"path": "", "batch": 64, "valid": 0.05, "shuffle": True, "seed": 1}, attributes=None, streams=None)

    @cached_property
    def arrays(self) -> dict[str, Array]:
        """By name; E0610 and E0618 as for a text, E0620 for a file that holds no such arrays, E0617 when they are not those on record."""
        if not self.description.fields["path"]:
            raise self.wrong("E0616", "data.arrays needs a path: `data.arrays { path = 'data.npz' }`", "path")
        path = find_file(self, "path")
        try:
            with np.load(path, allow_pickle=False) as content:
                if not isinstance(content, np.lib.npyio.NpzFile):
                    raise ValueError("it is one array")
                found = {name: self._plain(name, content[name]) for name in content.files}
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as failure:
            raise self.wrong("E0620", f"{path} is no file of named arrays: {failure}", "path", helps=["numpy.savez writes one"]) from None
        counts = {name: len(array) for name, array in found.items()}
        if len(set(counts.values())) != 1 or not all(counts.values()):
            told = ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "none"
            raise self.wrong("E0620", f"the arrays of {path} must have as many examples each, and one at least: {told}", "path")
        return found

    def _plain(self, name: str, array: Array) -> Array:
        kind = {"f": np.float32, "i": np.int32, "u": np.int32, "b": np.int32}.get(array.dtype.kind)
        if kind is None or not array.ndim:
            raise ValueError(f"{name} is {array.dtype} of rank {array.ndim}")
        if kind is np.int32 and array.size and (array.min() < -(2**31) or array.max() >= 2**31):
            raise ValueError(f"{name} has whole numbers beyond 32 bits")
        return array.astype(kind)

    @cached_property
    def sha256(self) -> str:
        total = hashlib.sha256()
        for name, array in sorted(self.arrays.items()):
            total.update(f"{name}:{array.dtype}:{array.shape};".encode() + array.tobytes())
        return total.hexdigest()

    @property
    def streams(self) -> frozenset[str]:
        return frozenset(self.stored["streams"] if self.stored else self.arrays)

    @cached_property
    def attributes(self) -> Mapping[str, int]:
        if self.stored:
            return dict(self.stored["attributes"])
        found = {f"{name}_size": array.shape[-1] for name, array in self.arrays.items() if array.ndim > 1}
        return found | {f"{name}_classes": int(array.max()) for name, array in self.arrays.items() if array.dtype == np.int32}

    @cached_property
    def split(self) -> int:
        """How many examples are trained on."""
        total = len(next(iter(self.arrays.values())))
        split = round(total * (1 - self.fraction("valid")))
        if not split:
            raise self.wrong("E0614", f"there are {total} examples, which leaves none to train on", helps=["give a smaller data.valid"])
        return split

    @property
    def batches(self) -> int:
        return -(-self.split // self.whole("batch"))

    def batch(self, number: int) -> Batch:
        turn, place = divmod(number, self.batches)
        size = self.whole("batch")
        return self._cut(self._order(turn)[place * size : (place + 1) * size])

    def _order(self, turn: int) -> Array:
        if not self.description.fields["shuffle"]:
            return np.arange(self.split)
        known = self._shuffled  # once: another thread may put another pass there
        if known[0] != turn:
            known = self._shuffled = turn, np.random.default_rng([self.whole("seed", 0), turn]).permutation(self.split)
        return known[1]

    _shuffled: tuple[int, Array] = (-1, np.zeros(0, np.int64))

    def valid(self, whole: bool = False) -> Iterator[Batch]:
        rows, size = np.arange(0 if whole else self.split, len(next(iter(self.arrays.values())))), self.whole("batch")
        for start in range(0, len(rows), size):
            yield self._cut(rows[start : start + size])

    def _cut(self, rows: Array) -> Batch:
        return Batch({name: array[rows] for name, array in self.arrays.items()}, True, len(rows))

    def to_json(self) -> dict[str, Any]:
        if self.stored and "arrays" not in self.__dict__:
            return dict(self.stored)
        return {"sha256": self.sha256, "streams": sorted(self.arrays), "attributes": dict(self.attributes)}
