"""Torch's ``.t7`` files, binary and ascii: what ``torch.save`` of Lua wrote, read without Lua.

An object is a type number and what belongs to it; tables, objects of classes and functions have an index, by which they are referred to
again.  Functions are passed over.  The reader keeps a stack of its own, since nngraph's nodes hang together in long chains.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphspec.weights.common import Array, Bytes, Damaged, named_tensors, strided

NIL, NUMBER, STRING, TABLE, TORCH, BOOLEAN, FUNCTION, LEGACY_FUNCTION, RECURSIVE_FUNCTION = range(9)
MAX_OBJECTS = 2_000_000
TYPES = {
    "Byte": "u1", "Char": "i1", "Short": "i2", "Int": "i4", "Long": "i8", "Half": "f2", "Float": "f4", "Double": "f8", "": "f4",
}  # fmt: skip
ARRAYS = re.compile(rf"torch\.(?:Cuda)?({'|'.join(TYPES)})(Tensor|Storage)")
PASSING = set("output gradInput gradWeight gradBias _input _output _gradOutput _gradInput buffer addBuffer noise".split())
"""Fields of a module that the last call left: no weights."""


class Binary(Bytes):
    """Numbers as the machine that wrote them had them: little-endian, with longs of eight bytes."""

    def int32(self) -> int:
        return self.integer(4, signed=True)

    def longs(self, count: int) -> list[int]:
        return [self.integer(8, signed=True) for _ in range(count)]

    def double(self) -> float:
        return float(struct.unpack("<d", self.take(8))[0])

    def text(self) -> bytes:
        return self.take(self.int32())

    def elements(self, kind: str, count: int) -> Array:
        plain = np.dtype(f"<{kind}")
        return np.frombuffer(self.take(count * plain.itemsize), plain) if count else np.zeros(0, plain)


class Ascii(Bytes):
    """Numbers in words, a line's end after each group of them."""

    WORD = re.compile(rb"\s*([^\s]{1,40})[ \n]?")

    def word(self) -> bytes:
        found = self.WORD.match(self.data, self.at)
        if found is None:
            raise Damaged(f"a number is missing at byte {self.at:,}")
        self.at = found.end()
        return found[1]

    def number(self, make: Callable[[bytes], Any]) -> Any:
        word = self.word()
        try:
            return make(word)
        except ValueError:
            raise Damaged(f"a number is wanted before byte {self.at:,}") from None

    def int32(self) -> int:
        return int(self.number(int))

    def longs(self, count: int) -> list[int]:
        self.check(count)
        return [self.int32() for _ in range(count)]

    def double(self) -> float:
        return float(self.number(float))

    def text(self) -> bytes:
        return self.raw(self.int32())

    def raw(self, count: int) -> bytes:
        found = self.take(count)
        if count and self.data[self.at : self.at + 1] == b"\n":
            self.at += 1
        return found

    def check(self, count: int) -> None:
        if not 0 <= count <= self.left:
            raise Damaged(f"byte {self.at:,} claims {count:,} numbers more, which are not there")

    def elements(self, kind: str, count: int) -> Array:
        if kind in ("u1", "i1"):  # bytes are bytes here too
            return np.frombuffer(self.raw(count), kind) if count else np.zeros(0, kind)
        self.check(count)
        make = float if kind[0] == "f" else int
        found = [self.number(make) for _ in range(count)]
        try:
            with np.errstate(over="ignore"):
                return np.array(found, f"<{kind}")
        except OverflowError:
            raise Damaged("a whole number does not fit in its type") from None


@dataclass(eq=False)
class Object:
    """An object of a class of nn's: its fields are a table."""

    kind: str
    fields: Any = None


@dataclass(eq=False)
class Tensor:
    """A view of a storage that comes behind it."""

    dtype: str
    offset: int
    sizes: list[int]
    strides: list[int]
    storage: Any = None

    def array(self) -> Array:
        if self.storage is None:
            self.storage = np.zeros(0, self.dtype)
        if not isinstance(self.storage, np.ndarray):
            raise Damaged("a tensor's storage is none")
        return strided(self.storage, self.offset, self.sizes or [0], self.strides or [1])


@dataclass(eq=False)
class Open:
    """A value that objects still to come belong to."""

    left: int
    """How many of them."""
    take: Callable[[Any], None]


@dataclass(eq=False)
class Table:
    """A table being filled: keys and values take turns."""

    entries: dict[Any, Any] = field(default_factory=dict)
    key: Any = None
    waiting: bool = False

    def take(self, value: Any) -> None:
        self.waiting = not self.waiting
        if self.waiting:
            self.key = value
        elif type(self.key) is str:
            self.entries[self.key] = value
        elif type(self.key) is float and self.key.is_integer():
            self.entries[int(self.key)] = value


class Reader:
    """Objects one after the other."""

    def __init__(self, source: Binary | Ascii) -> None:
        self.source = source
        self.known: dict[int, Any] = {}
        self.stack: list[Open] = []

    def read(self) -> Any:
        """The file's object."""
        found: list[Any] = []
        self.stack.append(Open(1, found.append))
        for _ in range(MAX_OBJECTS):
            if not self.stack:
                return found[0]
            top = self.stack[-1]
            if top.left == 0:
                self.stack.pop()
                continue
            top.left -= 1
            top.take(self.item())
        raise Damaged(f"it holds more than {MAX_OBJECTS:,} objects")

    def item(self) -> Any:
        """The next object; what belongs to it is put on the stack."""
        source, kind = self.source, self.source.int32()
        if kind == NIL:
            return None
        if kind == NUMBER:
            return source.double()
        if kind == BOOLEAN:
            return source.int32() == 1
        if kind == STRING:
            return source.text().decode("utf-8", "replace")
        if kind == FUNCTION:
            return self.function()
        if kind not in (TABLE, TORCH, LEGACY_FUNCTION, RECURSIVE_FUNCTION):
            raise Damaged(f"there is no type {kind}, before byte {source.at:,}")
        index = source.int32()
        if index not in self.known:
            make: Callable[[], Any] = self.table if kind == TABLE else self.object if kind == TORCH else self.function
            self.known[index] = make()
        return self.known[index]

    def function(self) -> None:
        """Its code is not looked at; what it closes over is read, because others may refer to it."""
        self.source.text()
        self.stack.append(Open(1, lambda value: None))

    def table(self) -> dict[Any, Any]:
        size = self.source.int32()
        if size < 0:
            raise Damaged(f"a table claims {size:,} entries")
        table = Table()
        self.stack.append(Open(2 * size, table.take))
        return table.entries

    def object(self) -> Any:
        """A tensor, a storage, or an object whose fields are a table."""
        name = self.source.text()
        if name.startswith(b"V "):  # the class's version stands before its name, in all but the oldest files
            name = self.source.text()
        kind = name.decode("utf-8", "replace")
        array = ARRAYS.fullmatch(kind)
        if array is None:
            if kind.startswith(("torch.", "tds.")):
                raise Damaged(f"it holds a {kind[:80]}, which is not read")
            found = Object(kind)
            self.stack.append(Open(1, lambda value: setattr(found, "fields", value)))
            return found
        dtype = TYPES[array[1]]
        if array[2] == "Storage":
            return self.source.elements(dtype, self.source.longs(1)[0])
        return self.tensor(dtype)

    def tensor(self, dtype: str) -> Tensor:
        rank = self.source.int32()
        if not 0 <= rank <= 32:
            raise Damaged(f"a tensor claims {rank:,} axes")
        sizes, strides = self.source.longs(rank), self.source.longs(rank)
        tensor = Tensor(dtype, self.source.longs(1)[0] - 1, sizes, strides)
        self.stack.append(Open(1, lambda value: setattr(tensor, "storage", value)))
        return tensor


def inside(value: Any) -> Iterable[tuple[Any, Any]] | None:
    """The entries of a table, or of an object without what its last call left; tensors as arrays."""
    dropped = PASSING if type(value) is Object else set()
    entries = value.fields if type(value) is Object else value
    if not isinstance(entries, dict):
        return None
    made = ((key, v.array() if type(v) is Tensor else v) for key, v in entries.items() if key not in dropped)
    return ((key, v) for key, v in made if not (isinstance(v, np.ndarray) and v.size == 0))


def read_t7(data: bytes) -> dict[str, Array]:
    """Tensors by the path of keys and fields to them, ``modules.1.weight``; empty ones and what modules left behind are left out."""
    ascii_file = data[:1].isdigit() and data[1:2] in (b"\n", b" ")
    root = Reader(Ascii(data) if ascii_file else Binary(data)).read()
    return named_tensors(root.array() if type(root) is Tensor else root, inside)


def is_t7(start: bytes) -> bool:
    """Whether a file begins as one of Torch does: with a table's or a class's type number, and index 1."""
    return start.startswith((b"3\n1\n", b"4\n1\n")) or (start[:1] in (b"\x03", b"\x04") and start[1:8] == b"\0\0\0\1\0\0\0")
