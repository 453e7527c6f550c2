"""What convolutions and poolings share: a kernel that moves along one, two or three axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Module, Record
from graphspec.ir.core import Value
from graphspec.lower import Lowering
from graphspec.nn.common import unless_known, with_size
from graphspec.shapes.cells import FLOAT, Cell, Mismatch, show
from graphspec.shapes.infer import Types
from graphspec.sizes import Size


@dataclass(frozen=True)
class Sweep:
    """How a kernel moves along one axis.  ``ceil`` lets the last window reach over the end, as long as it begins inside."""

    k: int
    stride: int = 1
    pad: int = 0
    dilation: int = 1
    ceil: bool = False

    @property
    def reach(self) -> int:
        """How many elements a window spans."""
        return (self.k - 1) * self.dilation + 1

    def length(self, n: Size) -> Size | None:
        """How many windows there are on an axis of n; None where that depends on what n is.  Mismatch where there are none."""
        room = n + 2 * self.pad - self.reach
        fixed = dict(room.terms).get((), 0)
        steps = (room - fixed).divide(self.stride)
        if steps is None:
            return None
        over = -(-fixed // self.stride) if self.ceil else fixed // self.stride
        count = steps + over + 1
        beyond = ((count - 1) * self.stride - n - self.pad).value
        if self.ceil and beyond is not None and beyond >= 0:
            count = count - 1
        if count.value is not None and count.value < 1:
            padding = f" with {self.pad} on both sides" if self.pad else ""
            raise Mismatch(f"an axis of {n}{padding} is too small for a window of {self.reach}")
        return count

    def origin_of(self, count: Size) -> Size | None:
        """The size of an axis that has so many windows, where only one has."""
        return (count - 1) + self.reach - 2 * self.pad if self.stride == 1 else None

    def lack(self, n: Size, count: Size) -> Size:
        """What is missing behind an axis of n for the last window (less than 0: what is left over)."""
        return (count - 1) * self.stride + self.reach - n - self.pad

    def after(self, n: Size, count: Size) -> Size | int:
        """How many elements have to be put behind an axis of n for the last window."""
        lack = self.lack(n, count)
        return max(lack.value, 0) if lack.value is not None else lack


def cut(b: Lowering, x: Value, axis: int, sweep: Sweep, fill: float = 0.0) -> Value:
    """``[..., n, ...] -> [..., windows, k, ...]``, with ``fill`` around the axis."""
    n = x.shape[axis]
    count = sweep.length(n)
    assert count is not None, "inference left an axis unsized"
    x = around(b, x, axis, sweep.pad, sweep.after(n, count), fill)
    return b.windows(x, axis, count, sweep.k, sweep.stride, sweep.dilation)


def uncut(b: Lowering, x: Value, axis: int, sweep: Sweep, n: Size) -> Value:
    """The windows of :func:`cut` back in their places on an axis of n, added up where they overlap; zeros where no window was."""
    after = sweep.after(n, x.shape[axis])
    y = b.overlap(x, axis, n + sweep.pad + after, sweep.stride, sweep.dilation)
    return y if sweep.pad == 0 and after == 0 else b.slice(y, axis, sweep.pad, n)


def around(b: Lowering, x: Value, axis: int, before: int, after: Size | int, fill: float) -> Value:
    """So many elements more before and after along an axis."""
    if before == 0 and after == 0:
        return x
    if fill == 0:
        return b.pad(x, axis, before, after)
    parts = [b.full(fill, with_size(x.shape, axis, n), x.dtype) if n != 0 else None for n in (before, after)]
    return b.concat([part for part in (parts[0], x, parts[1]) if part is not None], axis)


def cut_all(b: Lowering, x: Value, first: int, sweeps: Sequence[Sweep], fill: float = 0.0) -> Value:
    """Windows of the axes from ``first`` on: ``[..., n, m] -> [..., windows, k, windows, k]``."""
    for i in reversed(range(len(sweeps))):
        x = cut(b, x, first + i, sweeps[i], fill)
    return x


def kernel_arguments(axes: str, stride: int | None = 1, pad: bool = True, dilation: bool = False) -> tuple[Argument, ...]:
    """kW, kH, dW, dH, padW, padH ... in Torch's order; a stride of None is that of the kernel's size."""
    found = [Argument(f"k{axis}") for axis in axes]
    found += [Argument(f"d{axis}", "size", stride) for axis in axes]
    found += [Argument(f"pad{axis}", "int", 0) for axis in axes if pad]
    return (*found, *(Argument(f"dilation{axis}", "size", 1) for axis in axes if dilation))


class Windowed(Record):
    """Base of modules that move a kernel over the axes named by :attr:`axes`.

    The tensor is ``[planes, *axes]`` or, where ``frames`` says so, ``[*axes, planes]``, with or without a batch axis in front.
    """

    axes: ClassVar[str] = "HW"
    """One letter for each axis, as they lie in the tensor."""
    frames: ClassVar[bool] = False
    unsized: ClassVar[str] = "a window that moves by more than 1"
    """What needs an axis whose size is a number."""

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        a.ceil_mode = getattr(a, "ceil_mode", False)
        before = 0
        for axis in sorted(self.axes, key="TWH".index):  # Torch's order: the same padding further on, where it says so
            k, pad = getattr(a, f"k{axis}"), f"pad{axis}"
            if getattr(a, f"d{axis}", 1) is None:
                setattr(a, f"d{axis}", k)
            if hasattr(a, pad):
                if getattr(a, pad) is None:
                    setattr(a, pad, before)
                before = getattr(a, pad)
                if before < 0:
                    raise fail("E0422", f"nn.{self.name}: {pad} must be at least 0, got {before}", origin)

    def sweeps(self, a: SimpleNamespace) -> list[Sweep]:
        """How the kernel moves along each axis."""
        def of(name: str, default: int) -> list[int]:
            return [getattr(a, name + axis, default) for axis in self.axes]

        return [Sweep(*each, a.ceil_mode) for each in zip(of("k", 1), of("d", 1), of("pad", 0), of("dilation", 1), strict=True)]

    def planes(self, a: SimpleNamespace) -> tuple[int | None, int | None]:
        """How many planes go in and come out; None: any number, as many as go in."""
        return None, None

    def forward(self, m: Module, i: int, n: Size) -> Size | None:
        """The size of the output along axis i; None where it cannot be told from this size."""
        return self.sweeps(m.args)[i].length(n)

    def backward(self, m: Module, i: int, n: Size) -> Size | None:
        """The size of the input along axis i, where there is only one."""
        return self.sweeps(m.args)[i].origin_of(n)

    def by_frames(self, a: SimpleNamespace) -> bool:
        return self.frames

    def bounds(self, s: Types, m: Module, i: int, n: Size) -> None:
        """What must hold of a size that is known at run time only: one window at least."""
        sweep = self.sweeps(m.args)[i]
        s.at_most(sweep.reach, n + 2 * sweep.pad)

    def places(self, m: Module, rank: int) -> tuple[int, int]:
        """The planes' axis, and the first of the others; Mismatch for a tensor that has too few or too many."""
        n = len(self.axes)
        if rank not in (n + 1, n + 2):
            names = ["time"] if n == 1 else [{"T": "time", "H": "height", "W": "width"}[axis] for axis in self.axes]
            wanted = [*names, "frame"] if self.by_frames(m.args) else ["frame" if n == 1 else "planes", *names]
            raise Mismatch(f"[{', '.join(wanted)}] is wanted here, or a batch of them, got {rank} {'axis' if rank == 1 else 'axes'}")
        lead = rank - n - 1
        return (rank - 1, lead) if self.by_frames(m.args) else (lead, lead + 1)

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.set(x, dtype=FLOAT)
        s.set(y, dtype=FLOAT)
        s.wish(x, len(self.axes) + 2)
        dims, known = s.dims(x), s.dims(y)
        given, made = self.planes(m.args)
        if dims is None:
            if known is not None:
                plane, first = self.places(m, len(known))
                back: list[Any] = list(known)
                back[plane] = given if given is not None else s.unknown("planes") if made is not None else known[plane]
                for i in range(len(self.axes)):
                    size = self.backward(m, i, known[first + i])
                    back[first + i] = s.unknown("n", i) if size is None else size
                s.set(x, back)
            return
        plane, first = self.places(m, len(dims))
        if given is not None:
            s.equate(dims[plane], given, plane)
        out: list[Any] = list(dims)
        if made is not None:
            out[plane] = made
        for i in range(len(self.axes)):
            n = dims[first + i]
            size = self.forward(m, i, n)
            if n.value is None:
                self.bounds(s, m, i, n)
            if size is None:
                unless_known(s, m, f"{self.unsized} needs a size that is a number, and {show(n)} is none",
                             f"dim {first + i + 1} of the input is {show(n)}", n)
                size = s.unknown("out", i)
            out[first + i] = size
        s.set(y, out)

    def as_batch(self, b: Lowering, x: Value) -> Value:
        """With a batch axis in front, of 1 where there was none."""
        return x if x.type.rank == len(self.axes) + 2 else b.reshape(x, (1, *x.shape))
