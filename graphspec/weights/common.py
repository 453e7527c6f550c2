"""What the readers of foreign files share: bounded reading, views of storages, names of tensors in nested tables."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from graphspec.errors import SpecError, fail

Array = np.ndarray[Any, Any]
MAX_NAME = 1000
MAX_TENSORS = 100_000
MAX_EXPANDED = 2**20
"""Elements of a tensor that has more than its storage, because strides are 0."""


class Damaged(Exception):
    """What is wrong with a file, in words; :func:`unreadable` makes an error of it."""


def unreadable(path: Path, why: object, *helps: str) -> SpecError:
    """E0720."""
    return fail("E0720", f"{path} cannot be read as weights: {why}", helps=helps)


class Bytes:
    """Bytes that are read from the start to the end, and never past it."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def take(self, count: int) -> bytes:
        """The next bytes; nothing is allocated for those that are not there."""
        if not 0 <= count <= self.left:
            raise Damaged(f"byte {self.at:,} claims {count:,} more, of which {self.left:,} are there")
        self.at += count
        return self.data[self.at - count : self.at]

    def integer(self, size: int, signed: bool = False) -> int:
        return int.from_bytes(self.take(size), "little", signed=signed)

    def line(self) -> bytes:
        """Up to the next newline, which is passed over."""
        end = self.data.find(b"\n", self.at)
        if end < 0:
            raise Damaged(f"a line that begins at byte {self.at:,} does not end")
        found, self.at = self.data[self.at : end], end + 1
        return found


def widened(words: Array) -> Array:
    """Numbers in bf16, which are the upper halves of float32, as float32."""
    return (words.astype(np.uint32) << 16).view(np.float32)


def strided(storage: Array, offset: int, sizes: Sequence[int], strides: Sequence[int]) -> Array:
    """A view of a flat storage, read-only; Damaged where it would reach outside, or have more elements than there are.

    Python's integers do not overflow, so that no product of claimed sizes comes out small.
    """
    numbers = (offset, *sizes, *strides)
    if not all(type(n) is int and n >= 0 for n in numbers) or len(sizes) != len(strides) or len(sizes) > 32:
        raise Damaged("a tensor's sizes and strides make no sense")
    count = math.prod(sizes)
    if count == 0:
        if math.prod(filter(None, sizes)) >= 2**31:
            raise Damaged("an empty tensor claims a size that is too large")
        return np.zeros(sizes, storage.dtype)
    last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
    if last >= len(storage) or count > max(len(storage), MAX_EXPANDED):
        raise Damaged(f"a tensor of {count:,} elements reaches outside its storage of {len(storage):,}")
    width = storage.itemsize
    steps = [stride * width if size > 1 else width for size, stride in zip(sizes, strides, strict=True)]
    return np.lib.stride_tricks.as_strided(storage[offset:], tuple(sizes), steps, writeable=False)


def named_tensors(root: Any, inside: Callable[[Any], Iterable[tuple[Any, Any]] | None]) -> dict[str, Array]:
    """Every array under a tree of tables by the path to it, ``layers.0.weight``; ``inside`` gives a table's entries, None for what is none.

    Breadth first, each table once: where two paths lead to a table its tensors have the shorter one, and circles end.
    """
    found: dict[str, Array] = {}
    if isinstance(root, np.ndarray):
        return {"tensor": root}
    queue: deque[tuple[Any, str | None]] = deque([(root, "")])
    seen = {id(root)}
    while queue:
        table, path = queue.popleft()
        for key, value in inside(table) or ():
            if type(key) not in (str, int):
                continue
            name = f"{path}.{key}" if path else str(key)
            within = path is not None and len(name) <= MAX_NAME
            if isinstance(value, np.ndarray):
                if not within:
                    raise Damaged(f"a tensor's name is longer than {MAX_NAME:,} characters")
                if name in found:
                    raise Damaged(f"two tensors are named {name}")
                if len(found) >= MAX_TENSORS:
                    raise Damaged(f"it holds more than {MAX_TENSORS:,} tensors")
                found[name] = value
            elif id(value) not in seen and inside(value) is not None:
                seen.add(id(value))
                queue.append((value, name if within else None))
    return found
