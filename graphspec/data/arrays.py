"""``data.arrays``: arrays of the user's own, from a NumPy file."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from graphspec.build.describe import Schema
from graphspec.data.corpus import MAX_BYTES, find_file
from graphspec.data.source import Batch, DataSource
from graphspec.errors import Origin, SpecError, fail

Array = np.ndarray[Any, Any]

KINDS = {"f": np.float32, "i": np.int32, "u": np.int32, "b": np.int32}
"""By NumPy's kind of an array: the dtype of its stream."""

MAX_ARRAYS = 4_000_000_000
"""Bytes of a file of arrays, packed or not: all of it is read into memory."""


class ArraySource(DataSource):
    """The arrays of an ``.npz`` file, each a stream by its name; their first axis counts examples, and comes out as it is: [B, ...].

    An attribute ``<name>_size`` is the length of an array's last axis, ``<name>_classes`` the largest value of an array of whole
    numbers (which count from 1).  Floats come as float32, whole numbers and truth values as int32.  The last ``valid`` of the examples
    (a fraction) is the validation part; each pass shuffles the rest by ``seed`` and its number, unless ``shuffle = false``.
    """

    counted = "example"
    schema = Schema(fields={"path": "", "batch": 64, "shuffle": True, "seed": 1, "valid": 0.05}, attributes=None, streams=None)

    @cached_property
    def arrays(self) -> dict[str, Array]:
        """By name; E0610, E0611 and E0618 as for a text, E0620 for a file that holds no such arrays, E0617 when they are not those on
        record."""
        given = self.fields["path"]
        if not given:
            raise self.wrong("E0616", "data.arrays needs a path: `data.arrays { path = 'data.npz' }`", "path")
        found = self._read(find_file(self, "path", MAX_ARRAYS))
        counts = {name: len(array) for name, array in found.items()}
        if len(set(counts.values())) != 1:
            told = ", ".join(f"{name} has {count:,}" for name, count in counts.items()) or "there is none"
            raise self._unusable(f"the arrays must have as many examples each, and {told}")
        self.check_recorded("file of arrays", given, _sha256(found))
        return found

    @cached_property
    def sha256(self) -> str:
        return _sha256(self.arrays)

    def _read(self, path: Path) -> dict[str, Array]:
        try:
            found = read_npz(path, self.fields["path"])
        except SpecError as failure:
            problem = failure.diagnostics[0]
            code = "E0610" if problem.code == "E0801" else problem.code  # as for any file of data
            raise self.wrong(code, problem.message, "path", helps=problem.helps) from None
        return {name: self._stream(name, array) for name, array in found.items()}

    def _stream(self, name: str, array: Any) -> Array:
        """An array as its stream has it."""
        if name in self.schema.fields:
            raise self._unusable(f"an array cannot be called {name}: that is a field of data.arrays")
        if not isinstance(array, np.ndarray) or not array.size or not array.ndim or array.dtype.kind not in KINDS:
            kind = f"{array.dtype} {list(array.shape)}" if isinstance(array, np.ndarray) else "no array"
            raise self._unusable(f"{name} is {kind}", helps=["an array of numbers, of which the first axis counts examples, is wanted"])
        dtype = KINDS[array.dtype.kind]
        with np.errstate(over="ignore"):
            stream = array.astype(dtype)
        if dtype is np.int32:
            fits = -(2**31) <= array.min() <= array.max() < 2**31
        else:  # what is infinite or no number in the file is the user's own
            fits = np.array_equal(np.isinf(stream), np.isinf(array))
        if not fits:
            raise self._unusable(f"{name} has numbers beyond 32 bits")
        return stream

    def _unusable(self, why: str, **more: Any) -> SpecError:
        return self.wrong("E0620", f"{self.fields['path']} cannot be used: {why}", "path", **more)

    def check_stream(self, name: str, origin: Origin, classes: bool) -> None:
        """E0620 for one that holds nan, which no loss survives; E0310 for classes that count from 0.  A stored source was checked."""
        if self.stored and "arrays" not in self.__dict__:
            return
        array, whose = self.arrays[name], f"{name} of {self.fields['path']}"
        examples = np.flatnonzero((array != array).reshape(len(array), -1).any(1))
        if len(examples):
            more = f", and in {len(examples) - 1:,} more" if len(examples) > 1 else ""
            helps = [f"leave such examples out: `kept = ~np.isnan({name}).reshape(len({name}), -1).any(1)`, then `x[kept]` of each"]
            raise fail("E0620", f"{whose} holds nan in example {examples[0] + 1:,}{more}", origin, "read here", helps=helps)
        if classes and array.dtype == np.int32 and array.min() == 0:
            raise fail("E0310", f"{whose} counts classes from 0, and they count from 1 here", origin, helps=[f"save `{name} + 1`"])

    @property
    def streams(self) -> frozenset[str]:
        return frozenset(self.stored["streams"] if self.stored else self.arrays)

    @cached_property
    def attributes(self) -> Mapping[str, int]:
        if self.stored:
            return dict(self.stored["attributes"])
        found = {f"{name}_size": array.shape[-1] for name, array in self.arrays.items() if array.ndim > 1}
        found |= {f"{name}_classes": int(array.max()) for name, array in self.arrays.items() if array.dtype == np.int32}
        return {name: value for name, value in found.items() if name not in self.arrays}

    @property
    def total(self) -> int:
        """Examples, held out ones included."""
        return len(next(iter(self.arrays.values())))

    @cached_property
    def split(self) -> int:
        """How many examples are trained on."""
        return self.training_examples(self.fields["path"], self.total)

    @property
    def batches(self) -> int:
        return -(-self.split // self.whole("batch"))

    def batch(self, number: int) -> Batch:
        turn, place = divmod(number, self.batches)
        size = self.whole("batch")
        return self._of_rows(self.order(turn)[place * size : (place + 1) * size])

    @cached_property
    def order(self) -> Callable[[int], Array]:
        """By the number of a pass: its examples in their order."""
        return lru_cache(2)(self._order)

    def _order(self, turn: int) -> Array:
        if not self.fields["shuffle"]:
            return np.arange(self.split)
        return np.random.default_rng([self.whole("seed", 0), turn]).permutation(self.split)

    def valid(self, whole: bool = False) -> Iterator[Batch]:
        size = self.whole("batch")
        for start in range(0 if whole else self.split, self.total, size):
            yield self._of_rows(np.arange(start, min(start + size, self.total)))

    def _of_rows(self, rows: Array) -> Batch:
        return Batch({name: array[rows] for name, array in self.arrays.items()}, True, len(rows))

    def to_json(self) -> dict[str, Any]:
        if self.stored and "arrays" not in self.__dict__:
            return dict(self.stored)
        return {
            "name": self.fields["path"], "sha256": self.sha256,
            "streams": sorted(self.arrays), "attributes": dict(self.attributes),
        }  # fmt: skip


MADE_OF = {
    ".npy": "np.load('{}')", ".csv": "np.genfromtxt('{}', delimiter=',', skip_header=1)",
    ".tsv": "np.genfromtxt('{}', delimiter='\\t', skip_header=1)", ".txt": "np.loadtxt('{}')",
}  # fmt: skip
"""How files of other kinds are read into an array, by their endings."""


def read_npz(path: Path, called: str) -> dict[str, Any]:
    """What an ``.npz`` file holds, by name; E0801 where it cannot be read, E0620 where it is none, E0618 where it is too large."""
    try:
        if not path.is_file():  # a device may have no end
            there = "it is a folder" if path.is_dir() else "it is not a file" if path.exists() else "no such file"
            raise fail("E0801", f"{called} cannot be read: {there}")
        with open(path, "rb") as file:  # is_zipfile takes a file that may not be read for no archive
            packed = zipfile.is_zipfile(file)
    except OSError as failure:
        raise fail("E0801", f"{called} cannot be read: {failure.strerror or failure}") from None
    if not packed:
        made = MADE_OF.get(path.suffix.lower(), "").format(path.name)
        helps = [f"`np.savez('data.npz', x={made})` makes one of it" if made else "numpy.savez writes one"]
        raise fail("E0620", f"{called} cannot be used: it is no .npz file", helps=helps)
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        most = min(MAX_ARRAYS, max(MAX_BYTES, 10 * path.stat().st_size))  # a small file of a great many zeros fills no memory
        if unpacked > most:
            raise fail("E0618", f"{called} is larger than {most:,} bytes unpacked")
        with np.load(path, allow_pickle=False) as content:
            return {name: content[name] for name in content.files}
    except SpecError:
        raise
    except Exception as failure:  # NumPy and the packages below it raise about anything for a damaged file
        raise fail("E0620", f"{called} cannot be used: {failure or type(failure).__name__}") from None


def _sha256(arrays: Mapping[str, Array]) -> str:
    """Of what the streams hold, so that it does not change with the file's packing."""
    total = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        total.update(f"{name}:{array.dtype}:{array.shape};".encode())
        total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()
