"""Images and volumes: batch and response normalisation, larger images."""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Module, Record, Sample, register
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import TORCH, only, rows
from graphspec.nn.pointwise import power
from graphspec.nn.regularise import BatchNormalization
from graphspec.nn.windowed import Sweep, cut
from graphspec.shapes.cells import FLOAT, Cell, Mismatch
from graphspec.shapes.infer import Types

PAGE = TORCH + "convolution.md#nn."

FIXED = "its kernel is fixed, and its edges have weights of their own; write SpatialCrossMapLRN or SpatialBatchNormalization"

LEFT_OUT = {
    "SpatialSubtractiveNormalization": FIXED,
    "SpatialDivisiveNormalization": FIXED,
    "SpatialContrastiveNormalization": FIXED,
}


class PlaneNormalization(BatchNormalization):
    """Base of batch normalisations whose features are axis 2 of a batch."""

    rank: ClassVar[int] = 4

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.like(x, y, self.rank)
        dims = s.dims(x)
        if dims is None:
            return
        if len(dims) != self.rank:
            raise Mismatch(f"a batch with {self.rank} axes is wanted, got {len(dims)}")
        s.equate(dims[1], m.args.n, 1)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        last = (0, *range(2, self.rank), 1)
        y = only(super().lower(b, m, b.transpose(only(x), last)))
        return b.transpose(y, (0, self.rank - 1, *range(1, self.rank - 1)))


@register
class SpatialBatchNormalization(PlaneNormalization):
    """BatchNormalization of n planes, over the batch and all places: ``[B, n, h, w] -> [B, n, h, w]``."""

    name = "SpatialBatchNormalization"
    doc = "normalises each plane over the batch and all places"
    source = "Ioffe and Szegedy (2015); " + PAGE + "SpatialBatchNormalization"
    samples = (
        Sample((3,), (2, 3, 2, 2)), Sample((2, 1e-3, 0.3), (2, 2, 1, 3)), Sample((2, None, None, False), (3, 2, 2, 1)),
        Sample((3,), (2, 3, 2, 2), evaluate=True),
    )  # fmt: skip


@register
class VolumetricBatchNormalization(PlaneNormalization):
    """BatchNormalization of n volumes: ``[B, n, t, h, w] -> [B, n, t, h, w]``."""

    name = "VolumetricBatchNormalization"
    doc = "normalises each volume over the batch and all places"
    source = "Ioffe and Szegedy (2015); " + PAGE + "VolumetricBatchNormalization"
    rank = 5
    samples = (Sample((2,), (2, 2, 2, 1, 2)), Sample((2, None, None, False), (2, 2, 1, 2, 2)), Sample((2,), (1, 2, 2, 1, 2), evaluate=True))


class Image(Record):
    """Base of modules of images ``[planes, h, w]``, with or without a batch axis in front."""

    def image(self, s: Types, x: Cell, y: Cell) -> bool:
        """Whether the rank is known; Mismatch for one that is none of an image."""
        s.set(x, dtype=FLOAT)
        s.set(y, dtype=FLOAT)
        s.wish(x, 4)
        dims = s.dims(x)
        if dims is not None and len(dims) not in (3, 4):
            raise Mismatch(f"`[planes, h, w]` is wanted here, or a batch of them, got {len(dims)} axes")
        return dims is not None


@register
class SpatialCrossMapLRN(Image):
    """``y_i = x_i / (k + alpha / size * sum_j x_j ** 2) ** beta``, j over the ``size`` planes around plane i.

    Krizhevsky, Sutskever and Hinton (2012).
    """

    name = "SpatialCrossMapLRN"
    doc = "y_i = x_i / (k + alpha / size * sum_j x_j ** 2) ** beta, over the planes around each"
    source = PAGE + "SpatialCrossMapLRN"
    arguments = (Argument("size"), Argument("alpha", "number", 1e-4), Argument("beta", "number", 0.75), Argument("k", "number", 1.0))
    samples = (Sample((3,), (4, 2, 2)), Sample((5, 0.5, 0.6, 2.0), (2, 3, 2, 1)), Sample((1, 1.0, 2.0), (1, 2, 2, 2)))

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        if a.size % 2 == 0:
            raise fail("E0422", f"nn.{self.name}: size must be odd, so that as many planes lie on both sides, got {a.size}", origin)
        if not a.k > 0:
            raise fail("E0422", f"nn.{self.name}: k must be more than 0, got {a.k:g}", origin)

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        self.image(s, x, y)
        s.same(x, y)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x, a = only(x), m.args
        axis = x.type.rank - 3
        around = b.reduce_sum(cut(b, b.mul(x, x), axis, Sweep(a.size, pad=a.size // 2)), [axis + 1])
        return b.div(x, power(b, b.shift_by(b.scale(around, a.alpha / a.size), a.k), a.beta))


@register
class SpatialUpSamplingNearest(Image):
    """Each element ``scale`` times along height and width: ``[..., h, w] -> [..., h scale, w scale]``."""

    name = "SpatialUpSamplingNearest"
    doc = "each element repeated along height and width"
    source = PAGE + "SpatialUpSamplingNearest"
    arguments = (Argument("scale"),)
    samples = (Sample((2,), (1, 2, 2, 3)), Sample((3,), (2, 1, 2)), Sample((1,), (1, 2, 2)))

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        dims = s.dims(x)
        if self.image(s, x, y) and dims is not None:
            s.set(y, [*dims[:-2], dims[-2] * m.args.scale, dims[-1] * m.args.scale])

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x, n = only(x), m.args.scale
        *lead, high, wide = x.shape
        first = len(lead)
        y = b.broadcast(x, (*lead, high, n, wide, n), (*range(first + 1), first + 2))
        return b.reshape(y, (*lead, high * n, wide * n))


@register
class SpatialUpSamplingBilinear(Image):
    """An image of ``(h - 1) (scale - 1) + h`` by ``(w - 1) (scale - 1) + w`` places, its corners those of x, linear in between."""

    name = "SpatialUpSamplingBilinear"
    doc = "an image stretched, linear between the places of x, whose corners stay corners"
    source = PAGE + "SpatialUpSamplingBilinear"
    differs = "it takes a scale, not a table of oheight and owidth"
    arguments = (Argument("scale"),)
    samples = (Sample((2,), (1, 2, 2, 3)), Sample((3,), (2, 3, 2)), Sample((2,), (1, 1, 4)))

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        dims = s.dims(x)
        if self.image(s, x, y) and dims is not None:
            s.set(y, [*dims[:-2], *((n - 1) * (m.args.scale - 1) + n for n in dims[-2:])])

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x = only(x)
        for axis in (x.type.rank - 1, x.type.rank - 2):
            swapped = [*range(x.type.rank)]
            swapped[axis], swapped[-1] = swapped[-1], swapped[axis]
            x = b.transpose(self.stretched(b, b.transpose(x, swapped), m.args.scale), swapped)
        return x

    @staticmethod
    def stretched(b: Lowering, x: Value, scale: int) -> Value:
        """The last axis: place i of the new one is place ``i / scale`` of the old, a mean of its two neighbours by distance."""
        n = x.shape[-1]
        out = (n - 1) * (scale - 1) + n
        places = b.broadcast(b.scale(b.iota(out, x.dtype), 1 / scale), (n, out), (1,))
        distance = b.abs(b.sub(places, b.broadcast(b.iota(n, x.dtype), (n, out), (0,))))
        hats = b.maximum(b.shift_by(b.neg(distance), 1), b.full_like(distance, 0))
        flat = rows(b, x)
        return b.reshape(b.matmul(flat, hats), (*x.shape[:-1], out))
