"""A writer of Torch's ``.t7`` files, for tests: Lua values as Python's."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
CLASSES = {"float64": "Double", "float32": "Float", "float16": "Half", "int64": "Long", "int32": "Int", "uint8": "Byte", "int8": "Char"}


@dataclass(eq=False)
class Thing:
    """An object of a class, with its fields."""

    kind: str
    fields: dict[Any, Any]


@dataclass(eq=False)
class View:
    """A tensor on a storage that others may share."""

    storage: Array
    offset: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]


class Writer:
    """Writes one object; what was written before is referred to by its index."""

    def __init__(self, ascii_file: bool = False, cuda: bool = False) -> None:
        self.ascii = ascii_file
        self.cuda = "Cuda" if cuda else ""
        self.parts: list[bytes] = []
        self.indices: dict[int, int] = {}
        self.kept: list[Any] = []

    def file(self, value: Any) -> bytes:
        self.value(value)
        return b"".join(self.parts)

    def numbers(self, form: str, *values: Any) -> None:
        if self.ascii:
            words = [f"{v:.17g}" if form in "dfe" else str(int(v)) for v in values]
            self.parts.append(" ".join(words).encode() + b"\n" if words else b"")
        else:
            self.parts.append(struct.pack(f"<{len(values)}{form}", *values))

    def text(self, text: str) -> None:
        self.numbers("i", len(text.encode()))
        self.parts.append(text.encode() + (b"\n" if self.ascii and text else b""))

    def index(self, value: Any) -> bool:
        """Writes the index; whether the object itself must follow."""
        known = id(value) in self.indices
        self.kept.append(value)
        self.numbers("i", self.indices.setdefault(id(value), len(self.indices) + 1))
        return not known

    def value(self, value: Any) -> None:
        if value is None:
            self.numbers("i", 0)
        elif isinstance(value, bool):
            self.numbers("i", 5)
            self.numbers("i", int(value))
        elif isinstance(value, (int, float)):
            self.numbers("i", 1)
            self.numbers("d", float(value))
        elif isinstance(value, str):
            self.numbers("i", 2)
            self.text(value)
        elif isinstance(value, dict):
            self.numbers("i", 3)
            if self.index(value):
                self.table(value)
        elif callable(value):  # a function: some bytecode, and a table of what it closes over
            self.numbers("i", 8)
            if self.index(value):
                self.text("\x1bLJ bytecode")
                self.value({1: {"name": "x", "value": 3}})
        else:
            self.numbers("i", 4)
            if self.index(value):
                self.object(value)

    def table(self, entries: dict[Any, Any]) -> None:
        self.numbers("i", len(entries))
        for key, value in entries.items():
            self.value(key)
            self.value(value)

    def object(self, value: Any) -> None:
        self.text("V 1")
        if isinstance(value, Thing):
            self.text(value.kind)
            self.value(value.fields)
            return
        if isinstance(value, View):
            view, dtype = value, value.storage.dtype.name
        else:
            flat = np.ascontiguousarray(value)
            strides = tuple(s // flat.itemsize for s in flat.strides)
            view, dtype = View(flat.reshape(-1), 0, flat.shape, strides), flat.dtype.name
        kind = f"torch.{self.cuda}{CLASSES[dtype] if not (self.cuda and dtype == 'float32') else ''}"
        self.text(f"{kind}Tensor")
        self.numbers("i", len(view.sizes))
        self.numbers("q", *view.sizes)
        self.numbers("q", *view.strides)
        self.numbers("q", view.offset + 1)
        self.numbers("i", 4)
        if self.index(view.storage):
            self.text("V 1")
            self.text(f"{kind}Storage")
            self.numbers("q", len(view.storage))
            if self.ascii and view.storage.dtype.itemsize > 1:
                self.numbers("d" if view.storage.dtype.kind == "f" else "q", *view.storage.tolist())
            else:
                self.parts.append(view.storage.tobytes() + (b"\n" if self.ascii and len(view.storage) else b""))


def t7(value: Any, **how: bool) -> bytes:
    """A file that holds a value."""
    return Writer(**how).file(value)
