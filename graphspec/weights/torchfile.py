"""PyTorch's ``.pt`` files: a zip of storages and a pickle that says how tensors are made of them.

A pickle is a program, and Python's own reader runs whatever it names.  This one knows the few instructions that data are made of and
a handful of names, each of which stands for something here; nothing is imported and nothing is called.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from graphspec.errors import fail
from graphspec.weights.common import Array, Bytes, Damaged, named_tensors, strided, widened

MAX_PICKLE = 2**26
MAX_INSTRUCTIONS = 1_000_000
STATE_DICT = "save its parameters alone: `torch.save(model.state_dict(), path)`"
STORAGES = {
    "DoubleStorage": "f8", "FloatStorage": "f4", "HalfStorage": "f2", "BFloat16Storage": "bf16", "LongStorage": "i8", "IntStorage": "i4",
    "ShortStorage": "i2", "CharStorage": "i1", "ByteStorage": "u1", "BoolStorage": "?",
}  # fmt: skip


def read_zip(path: Path) -> dict[str, Array]:
    """Tensors by name; E0721 for a pickle that names anything else, Damaged for all other mistakes."""
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return Archive(path, archive).tensors()
        except (zipfile.BadZipFile, RuntimeError, EOFError, OSError, ValueError, OverflowError, struct.error) as failure:
            raise Damaged(f"its zip archive is damaged ({failure})") from None  # OSError: places that are none


class Archive:
    """The entries of a zip that PyTorch wrote.  They are stored as they are: what is compressed is none of them, and could be a bomb."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path = path
        self.archive = archive
        self.entries = {info.filename: info for info in archive.infolist()}
        pickles = [name for name in self.entries if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise Damaged("it is a zip archive, but none that torch.save wrote")
        self.prefix = pickles[0].removesuffix("data.pkl")
        total = sum(info.file_size for info in archive.infolist())
        if any(i.compress_type != zipfile.ZIP_STORED or i.compress_size != i.file_size for i in self.entries.values()):
            raise Damaged("entries of its zip archive are compressed, which torch.save does not do")
        if total > path.stat().st_size:
            raise Damaged("entries of its zip archive lie over each other")
        order = self.entry("byteorder") if f"{self.prefix}byteorder" in self.entries else b"little"
        if order not in (b"little", b"big"):
            raise Damaged("its byte order is neither little nor big")
        self.order = "<" if order == b"little" else ">"
        self.arrays: dict[tuple[str, str], Array] = {}

    def entry(self, name: str) -> bytes:
        if self.prefix + name not in self.entries:
            raise Damaged(f"its zip archive lacks {self.prefix}{name}")
        return self.archive.read(self.entries[self.prefix + name])

    def tensors(self) -> dict[str, Array]:
        if self.entries[f"{self.prefix}data.pkl"].file_size > MAX_PICKLE:
            raise Damaged(f"its pickle has more than {MAX_PICKLE:,} bytes")
        return named_tensors(Pickle(self).run(self.entry("data.pkl")), inside)

    def storage(self, kind: str, key: str, count: int) -> Array:
        """A storage's elements, read once."""
        if (kind, key) not in self.arrays:
            raw = self.entry(f"data/{key}")
            plain = np.dtype(self.order + ("u2" if kind == "bf16" else kind))
            array = np.frombuffer(raw[: len(raw) // plain.itemsize * plain.itemsize], plain)
            if kind == "bf16":
                array = widened(array)
            self.arrays[kind, key] = array.astype(array.dtype.newbyteorder("="), copy=False)
        found = self.arrays[kind, key]
        if not 0 <= count <= len(found):
            raise Damaged(f"storage {key} claims {count:,} elements, and has {len(found):,}")
        return found[:count]


def inside(value: Any) -> Iterable[tuple[Any, Any]] | None:
    """The entries of a dict, list or tuple."""
    if isinstance(value, dict):
        return value.items()
    return enumerate(value) if type(value) in (list, tuple) else None


class Name(NamedTuple):
    """A name that a pickle may use, and what making one of it gives."""

    text: str
    make: Callable[..., Any]


class Storage(NamedTuple):
    elements: Array


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_rest: Any) -> Array:
    if not (type(storage) is Storage and type(size) is type(stride) is tuple):
        raise Damaged("a tensor is not made of a storage, sizes and strides")
    return strided(storage.elements, offset, size, stride)


def _parameter(tensor: Any, *_rest: Any) -> Any:
    return tensor


def _ordered(pairs: Any = (), *_rest: Any) -> dict[Any, Any]:
    """An OrderedDict, which protocol 2 may make of a list of lists of two."""
    if type(pairs) not in (list, tuple) or not all(type(p) in (list, tuple) and len(p) == 2 for p in pairs):
        raise Damaged("an OrderedDict is not made of pairs")
    found: dict[Any, Any] = {}
    for key, value in pairs:
        found[_key(key)] = value
    return found


def _key(key: Any) -> Any:
    """A key that can be hashed at once: a tuple's hash may take for ever, or overflow the stack."""
    if type(key) not in (str, int, bool, float, type(None)):
        raise Damaged("a dict's key is neither a string nor a number")
    return key


def _plain(*arguments: Any) -> Any:
    return arguments[0] if arguments else None


NAMES: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.Size": _plain,
    "torch.device": _plain,
}
"""What a pickle may name, and our own function for it."""

TEXTS = {0x58: 4, 0x8C: 1, 0x8D: 8, 0x42: 4, 0x43: 1, 0x8E: 8, 0x54: 4, 0x55: 1}
"""Instructions for text and bytes, with the size of their length in bytes."""
BYTES = (0x42, 0x43, 0x8E, 0x54, 0x55)
NUMBERS = {0x4A: (4, True), 0x4B: (1, False), 0x4D: (2, False)}
CONSTANTS = {0x4E: None, 0x88: True, 0x89: False}
MARK = object()


class Pickle:
    """The restricted reader: a stack, a memo, and data."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        """What the pickle describes."""
        source = Bytes(data)
        for _ in range(MAX_INSTRUCTIONS):
            code = source.integer(1)
            if code == 0x2E:  # STOP
                return self.pop()
            if not (self.push(code, source) or self.gather(code) or self.build(code, source)):
                raise Damaged(f"its pickle has an instruction that data do not need: 0x{code:02x} at byte {source.at - 1:,}")
        raise Damaged(f"its pickle has more than {MAX_INSTRUCTIONS:,} instructions")

    def push(self, code: int, source: Bytes) -> bool:
        """Instructions that put a value on the stack, or that only say something of what follows."""
        if code in TEXTS:
            raw = source.take(source.integer(TEXTS[code]))
            self.stack.append(raw if code in BYTES else raw.decode("utf-8", "surrogatepass"))
        elif code in NUMBERS:
            self.stack.append(source.integer(*NUMBERS[code]))
        elif code in (0x8A, 0x8B):  # LONG1, LONG4
            self.stack.append(source.integer(source.integer(1 if code == 0x8A else 4), signed=True))
        elif code == 0x47:  # BINFLOAT
            self.stack.append(struct.unpack(">d", source.take(8))[0])
        elif code in CONSTANTS:
            self.stack.append(CONSTANTS[code])
        elif code in (0x5D, 0x7D, 0x29):  # EMPTY_LIST, EMPTY_DICT, EMPTY_TUPLE
            self.stack.append([] if code == 0x5D else {} if code == 0x7D else ())
        elif code in (0x68, 0x6A):  # BINGET, LONG_BINGET
            self.stack.append(self.remembered(source.integer(1 if code == 0x68 else 4)))
        elif code in (0x71, 0x72):  # BINPUT, LONG_BINPUT
            self.memo[source.integer(1 if code == 0x71 else 4)] = self.top()
        elif code == 0x94:  # MEMOIZE
            self.memo[len(self.memo)] = self.top()
        elif code in (0x80, 0x95):  # PROTO, FRAME
            source.take(1 if code == 0x80 else 8)
        elif code == 0x28:
            self.stack.append(MARK)
        else:
            return False
        return True

    def gather(self, code: int) -> bool:
        """Instructions that put values together."""
        if code in (0x85, 0x86, 0x87):  # TUPLE1 to TUPLE3
            values = [self.pop() for _ in range(code - 0x84)]
            self.stack.append(tuple(reversed(values)))
        elif code == 0x74:  # TUPLE
            self.stack.append(tuple(self.since_mark()))
        elif code in (0x61, 0x65):  # APPEND, APPENDS
            added = [self.pop()] if code == 0x61 else self.since_mark()
            self.top(list).extend(added)
        elif code in (0x73, 0x75):  # SETITEM, SETITEMS
            pairs = [self.pop(), self.pop()][::-1] if code == 0x73 else self.since_mark()
            if len(pairs) % 2:
                raise Damaged("its pickle has a key without a value")
            target = self.top(dict)
            for key, value in zip(pairs[::2], pairs[1::2], strict=True):
                target[_key(key)] = value
        else:
            return False
        return True

    def build(self, code: int, source: Bytes) -> bool:
        """Instructions that would import and call."""
        if code == 0x63:  # GLOBAL
            module, name = source.line(), source.line()
            self.stack.append(self.named(f"{module.decode('utf-8', 'replace')}.{name.decode('utf-8', 'replace')}"))
        elif code == 0x93:  # STACK_GLOBAL
            words = [self.pop(), self.pop()]
            if not all(type(word) is str for word in words):
                raise Damaged("its pickle names something that is no text")
            self.stack.append(self.named(f"{words[1]}.{words[0]}"))
        elif code == 0x52:  # REDUCE
            arguments, name = self.pop(), self.pop()
            if type(name) is not Name or type(arguments) is not tuple:
                raise Damaged("its pickle makes something of what is no name")
            try:
                self.stack.append(name.make(*arguments))
            except TypeError:
                raise Damaged(f"its pickle gives {name.text} other arguments than PyTorch does") from None
        elif code == 0x62:  # BUILD: attributes of an OrderedDict, such as versions
            self.pop()
            self.top(dict)
        elif code == 0x51:  # BINPERSID
            self.stack.append(self.storage(self.pop()))
        else:
            return False
        return True

    def named(self, text: str) -> Name:
        """E0721 for a name that is not in the table."""
        module, _, name = text.rpartition(".")
        if text in NAMES:
            return Name(text, NAMES[text])
        if module == "torch" and name in STORAGES:
            return Name(name, _plain)
        shown = text if len(text) <= 80 and text.isprintable() else repr(text[:80])
        if module in ("torch", "torch._utils", "torch.storage") and (name.endswith("Storage") or name.startswith("_rebuild_")):
            raise Damaged(f"it holds a tensor of a kind that is not read ({shown})")
        helps = [STATE_DICT, "graphspec reads data only, and runs nothing that a file names"]
        raise fail("E0721", f"{self.archive.path} names {shown}, which is neither a tensor nor a table", helps=helps)

    def storage(self, key: Any) -> Storage:
        """What a persistent id stands for: ``("storage", kind, entry, device, elements)``."""
        if type(key) is not tuple or len(key) != 5 or key[0] != "storage":
            raise Damaged("its pickle refers to something that is no storage")
        _, kind, entry, _, count = key
        if type(kind) is not Name or kind.text not in STORAGES or type(entry) is not str or type(count) is not int:
            raise Damaged("its pickle refers to a storage of no kind")
        return Storage(self.archive.storage(STORAGES[kind.text], entry, count))

    def pop(self) -> Any:
        """The value on top, which is no mark."""
        self.top()
        return self.stack.pop()

    def top(self, kind: type = object) -> Any:
        if not self.stack or self.stack[-1] is MARK or not isinstance(self.stack[-1], kind):
            raise Damaged("its pickle does not fit together")
        return self.stack[-1]

    def since_mark(self) -> list[Any]:
        """The values above the last mark; they and it go."""
        values = []
        while self.stack and self.stack[-1] is not MARK:
            values.append(self.stack.pop())
        if not self.stack:
            raise Damaged("its pickle does not fit together")
        self.stack.pop()
        return values[::-1]

    def remembered(self, number: int) -> Any:
        if number not in self.memo:
            raise Damaged("its pickle recalls what it never had")
        return self.memo[number]
