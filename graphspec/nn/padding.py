"""Borders put around planes and volumes, or cut off them; pixels shuffled from channels into planes."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import ClassVar

from graphspec.errors import Origin
from graphspec.graph import Argument, Module, Record, Sample, register
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import TORCH, only, taken, unless_known
from graphspec.shapes.cells import FLOAT, Cell, Mismatch, show
from graphspec.shapes.infer import Types
from graphspec.sizes import Size

PADS = tuple(Argument(f"pad_{side}", "int", None) for side in "rtb")
"""The pads of a plane that are pad_l where they are not given."""


class Border(Record):
    """Base of modules that change the sizes of the last axes of ``[C, ...]`` or ``[B, C, ...]``; pads less than 0 cut off."""

    arguments: ClassVar[tuple[Argument, ...]] = (Argument("pad_l", "int"), *PADS)
    kinds: ClassVar[tuple[str, str]] = ("[C, H, W]", "[B, C, H, W]")

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        first = getattr(a, self.arguments[0].name)
        for argument in self.arguments:
            if getattr(a, argument.name) is None:
                setattr(a, argument.name, first)

    def pads(self, a: SimpleNamespace) -> list[tuple[int, int]]:
        """What comes before and after each axis, the last axis first."""
        values = [int(getattr(a, argument.name)) for argument in self.arguments]
        return list(zip(values[::2], values[1::2], strict=True))

    def fit(self, s: Types, n: Size, before: int, after: int) -> None:
        """Mismatch, now or in the run, when an axis of n is too short for these pads."""
        least = 1 - min(before, 0) - min(after, 0)
        self.at_least(s, n, least)

    @staticmethod
    def at_least(s: Types, n: Size, least: int) -> None:
        if n.value is not None and n.value < least:
            raise Mismatch(f"an axis of at least {least} is wanted here, got {n}")
        s.at_most(least, n)

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.set(x, dtype=FLOAT)
        s.set(y, dtype=FLOAT)
        pads = self.pads(m.args)
        s.wish(x, len(pads) + 2)

        def changed(dims: tuple[Size, ...], way: int) -> Sequence[Size]:
            if len(dims) not in (len(pads) + 1, len(pads) + 2):
                raise Mismatch(f"{self.kinds[0]} or {self.kinds[1]} is wanted here, got {s.show(x if way > 0 else y)}")
            sizes = list(dims)
            for axis, (before, after) in enumerate(pads, 1):
                sizes[-axis] = dims[-axis] + way * (before + after)
                self.fit(s, dims[-axis] if way > 0 else sizes[-axis], before, after)
            return sizes

        s.relate(x, y, lambda d: changed(d, 1), lambda d: changed(d, -1))

    def along(self, b: Lowering, x: Value, axis: int, before: int, after: int) -> Value:
        """One axis with what comes before and after it."""
        raise NotImplementedError

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x = only(x)
        for position, (before, after) in enumerate(self.pads(m.args), 1):
            if before or after:
                x = self.along(b, x, x.type.rank - position, before, after)
        return x


@register
class SpatialZeroPadding(Border):
    """pad_l columns of zeros on the left, pad_r on the right, pad_t rows above, pad_b below (each pad_l unless given): ``[C, H, W]`` or
    ``[B, C, H, W]``.  A pad less than 0 cuts as many off.
    """

    name = "SpatialZeroPadding"
    doc = "zeros around each plane"
    source = TORCH + "convolution.md#spatialzeropadding"
    samples = (
        Sample((1,), (2, 2, 3)), Sample((1, 2, 0, 3), (2, 1, 2, 3)), Sample((-1, 1, 2, -1), (1, 2, 3, 3)),
        Sample((-1, 0, 0, -2), (2, 3, 2)),
    )  # fmt: skip

    def along(self, b: Lowering, x: Value, axis: int, before: int, after: int) -> Value:
        cut = min(before, 0) + min(after, 0)
        x = b.slice(x, axis, -min(before, 0), x.shape[axis] + cut) if cut else x
        return b.pad(x, axis, max(before, 0), max(after, 0)) if before > 0 or after > 0 else x


class Mirrored(Border):
    """Base of borders that repeat what is inside: each element of the result is one of the input."""

    def source_of(self, b: Lowering, position: Value, last: Value) -> Value:
        """Where it comes from, by its position relative to the input, of which ``last`` is the last."""
        raise NotImplementedError

    def along(self, b: Lowering, x: Value, axis: int, before: int, after: int) -> Value:
        n = x.shape[axis]
        position = b.iota(n + (before + after))
        position = b.sub(position, b.full_like(position, before))
        last = b.broadcast(b.size_value(n - 1, "int32"), position.shape, ())
        return taken(b, x, axis, self.source_of(b, position, last))


@register
class SpatialReplicationPadding(Mirrored):
    """The elements at the border again: pad_l times on the left, pad_r on the right, pad_t above, pad_b below (each pad_l unless given):
    ``[C, H, W]`` or ``[B, C, H, W]``.  A pad less than 0 cuts as many off.
    """

    name = "SpatialReplicationPadding"
    doc = "the border of each plane repeated outwards"
    source = TORCH + "convolution.md#spatialreplicationpadding"
    samples: ClassVar[tuple[Sample, ...]] = (
        Sample((1,), (2, 2, 3)), Sample((1, 4, 0, 3), (2, 1, 2, 3)), Sample((-1, 1, 2, -1), (1, 2, 3, 3)),
    )  # fmt: skip

    def source_of(self, b: Lowering, position: Value, last: Value) -> Value:
        return b.minimum(b.maximum(position, b.full_like(position, 0)), last)


@register
class VolumetricReplicationPadding(SpatialReplicationPadding):
    """The elements at the border again, pleft, pright, ptop, pbottom, pfront and pback times (each pleft unless given):
    ``[C, D, H, W]`` or ``[B, C, D, H, W]``, front and back along D.  A pad less than 0 cuts as many off.
    """

    name = "VolumetricReplicationPadding"
    doc = "the border of each volume repeated outwards"
    source = TORCH + "convolution.md#volumetricreplicationpadding"
    arguments = (Argument("pleft", "int"), *(Argument(f"p{side}", "int", None) for side in ("right", "top", "bottom", "front", "back")))
    kinds = ("[C, D, H, W]", "[B, C, D, H, W]")
    samples = (Sample((1,), (1, 2, 1, 2)), Sample((1, 2, 0, 1, 2, -1), (2, 1, 2, 2, 2)), Sample((-1, 1, 1, 0, 0, 2), (1, 2, 2, 3)))


@register
class SpatialReflectionPadding(Mirrored):
    """What lies inside the border, mirrored at it: pad_l columns on the left, pad_r on the right, pad_t rows above, pad_b below (each
    pad_l unless given), fewer than the plane has: ``[C, H, W]`` or ``[B, C, H, W]``.  A pad less than 0 cuts as many off.
    """

    name = "SpatialReflectionPadding"
    doc = "each plane mirrored at its border"
    source = TORCH + "convolution.md#spatialreflectionpadding"
    samples = (Sample((1,), (2, 2, 3)), Sample((1, 2, 0, 1), (2, 1, 2, 3)), Sample((-1, 1, 2, -1), (1, 2, 3, 3)))

    def fit(self, s: Types, n: Size, before: int, after: int) -> None:
        super().fit(s, n, before, after)
        self.at_least(s, n, max(before, after, 0) + 1)

    def source_of(self, b: Lowering, position: Value, last: Value) -> Value:
        inner = b.maximum(position, b.sub(b.full_like(position, 0), position))
        return b.minimum(inner, b.sub(b.add(last, last), inner))


@register
class PixelShuffle(Record):
    """``upscaleFactor^2`` channels become one of a plane that is as many times finer: ``[C*r*r, H, W] -> [C, r*H, r*W]``, a batch axis
    in front or not.
    """

    name = "PixelShuffle"
    doc = "channels laid out as the pixels of finer planes"
    source = TORCH + "simple.md#pixelshuffle"
    arguments = (Argument("upscaleFactor"),)
    samples = (Sample((2,), (2, 4, 2, 3)), Sample((2,), (8, 1, 2)), Sample((1,), (2, 2, 2)), Sample((3,), (1, 9, 1, 2)))

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.set(x, dtype=FLOAT)
        s.set(y, dtype=FLOAT)
        s.wish(x, 4)
        r, channels, height, width = m.args.upscaleFactor, s.unknown("C"), s.unknown("H"), s.unknown("W")
        for cell, sizes in ((x, (channels * (r * r), height, width)), (y, (channels, height * r, width * r))):
            dims = s.dims(cell)
            if dims is None:
                continue
            if len(dims) not in (3, 4):
                raise Mismatch(f"[C, H, W] or [B, C, H, W] is wanted here, got {s.show(cell)}")
            for axis, n in enumerate(sizes, len(dims) - 3):
                s.equate(dims[axis], n, axis)
                if s.resolve(dims[axis]) != s.resolve(n):
                    unless_known(s, m, f"{show(s.resolve(dims[axis]))} has to be a multiple that can be told", s.show(cell))
        s.relate(x, y, lambda d: (*d[:-3], channels, height * r, width * r), lambda d: (*d[:-3], channels * (r * r), height, width))

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x, r = only(x), m.args.upscaleFactor
        height, width = x.shape[-2:]
        lead, channels = x.shape[:-3], b.type_of(b.use.y).shape[-3]
        k = len(lead)
        x = b.reshape(x, (*lead, channels, r, r, height, width))
        x = b.transpose(x, (*range(k + 1), k + 3, k + 1, k + 4, k + 2))
        return b.reshape(x, (*lead, channels, height * r, width * r))
