"""Where a value lies: a strided window into a storage, in sizes that may be letters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Literal

from graphspec.ir.core import Shape
from graphspec.sizes import Size, product

ONE = Size.const(1)
ZERO = Size.const(0)


@dataclass(eq=False)
class Storage:
    """A buffer of the plan to be.  ``path`` names the loops it was made in; one that is used in a deeper loop lives as long as
    that loop.  ``first`` and ``last`` are instruction numbers, filled in while the program is emitted."""

    name: str
    dtype: str
    size: Size
    kind: Literal["argument", "arena", "constant"]
    path: tuple[int, ...] = ()
    value: float | Size | None = None
    first: int | None = None
    last: int = 0

    def touch(self, serial: int) -> None:
        self.first = serial if self.first is None else min(self.first, serial)
        self.last = max(self.last, serial)


@dataclass(frozen=True)
class Place:
    """Element ``i`` lies at ``offset + sum(i * strides) + sum(turn * step)``."""

    storage: Storage
    offset: Size
    shape: Shape
    strides: tuple[Size, ...]
    steps: tuple[tuple[int, Size], ...] = ()

    @staticmethod
    def whole(storage: Storage, shape: Shape) -> Place:
        return Place(storage, ZERO, shape, row_major(shape))

    @cached_property
    def covers_storage(self) -> bool:
        """Whether it is all of the storage, in order."""
        return not self.steps and self.offset == ZERO and self.strides == row_major(self.shape) and product(self.shape) == self.storage.size

    def transpose(self, axes: Sequence[int]) -> Place:
        return replace(self, shape=tuple(self.shape[a] for a in axes), strides=tuple(self.strides[a] for a in axes))

    def broadcast(self, shape: Shape, axes: Sequence[int]) -> Place:
        strides = [ZERO] * len(shape)
        for stride, axis in zip(self.strides, axes, strict=True):
            strides[axis] = stride
        return replace(self, shape=shape, strides=tuple(strides))

    def slice(self, axis: int, start: Size, length: Size) -> Place:
        shape = (*self.shape[:axis], length, *self.shape[axis + 1 :])
        return replace(self, offset=self.offset + start * self.strides[axis], shape=shape)

    def windows(self, axis: int, length: Size, k: Size, stride: int, dilation: int) -> Place:
        """Windows of an axis, which may overlap: to read, never to write."""
        step = self.strides[axis]
        shape = (*self.shape[:axis], length, k, *self.shape[axis + 1 :])
        strides = (*self.strides[:axis], step * stride, step * dilation, *self.strides[axis + 1 :])
        return replace(self, shape=shape, strides=strides)

    def turn(self, loop: int) -> Place:
        """Element t of the leading axis in turn t of a loop."""
        steps = self.steps if self.strides[0] == ZERO else (*self.steps, (loop, self.strides[0]))
        return replace(self, shape=self.shape[1:], strides=self.strides[1:], steps=steps)

    def reshape(self, shape: Shape) -> Place | None:
        """The same elements in row-major order under another shape, where strides can say it."""
        strides = _reshape(self.shape, self.strides, shape)
        return None if strides is None else replace(self, shape=shape, strides=strides)


def row_major(shape: Shape) -> tuple[Size, ...]:
    strides, step = [], ONE
    for n in reversed(shape):
        strides.append(step)
        step = step * n
    return tuple(reversed(strides))


def _reshape(old: Shape, old_strides: tuple[Size, ...], new: Shape) -> tuple[Size, ...] | None:
    """Strides for ``new``, or None.  Axes are matched in groups of equal product; a group's old axes must follow on each other."""
    if old == new:
        return old_strides
    if ZERO in old or old_strides == row_major(old):
        return row_major(new)
    axes = [(n, s) for n, s in zip(old, old_strides, strict=True) if n != ONE]
    wanted = [i for i, n in enumerate(new) if n != ONE]
    strides: dict[int, Size] = {}
    while axes or wanted:
        group, targets = _group(axes, wanted, new)
        if group is None:
            return None
        axes, wanted = axes[len(group) :], wanted[len(targets) :]
        if any(outer != n * inner for (_, outer), (n, inner) in pairwise(group)):
            return None
        step = group[-1][1]
        for i in reversed(targets):
            strides[i] = step
            step = step * new[i]
    result: list[Size] = []
    for i in reversed(range(len(new))):  # an axis of one element takes the stride it would have if it were contiguous
        following = result[-1] * new[i + 1] if result else ONE
        result.append(strides.get(i, following))
    return tuple(reversed(result))


def _group(axes: list[tuple[Size, Size]], wanted: list[int], new: Shape) -> tuple[list[tuple[Size, Size]] | None, list[int]]:
    """The shortest leading parts of both that hold equally many elements."""
    taken, targets = 1, 1
    while taken <= len(axes) and targets <= len(wanted):
        have, want = product(n for n, _ in axes[:taken]), product(new[i] for i in wanted[:targets])
        if have == want:
            return axes[:taken], wanted[:targets]
        longer, shorter = have.divide(want) is not None, want.divide(have) is not None
        if longer or not shorter:
            targets += 1
        if shorter or not longer:
            taken += 1
    return None, []
