"""Images and volumes: batch and response normalisation, larger images."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import ClassVar

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Module, Record, Sample, Table, register
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import TORCH, only, rows
from graphspec.nn.pointwise import power
from graphspec.nn.regularise import BatchNormalization
from graphspec.nn.windowed import Sweep, cut
from graphspec.shapes.cells import FLOAT, Cell, Mismatch
from graphspec.shapes.infer import Types
from graphspec.sizes import Size

PAGE = TORCH + "convolution.md#nn."

FIXED = "its kernel is fixed, and its edges have weights of their own; write SpatialCrossMapLRN or SpatialBatchNormalization"

LEFT_OUT = {
    "UpSampling": "one name for what has two; write SpatialUpSamplingNearest or SpatialUpSamplingBilinear, for images",
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


def repeated(b: Lowering, x: Value, axis: int, n: int) -> Value:
    """Each element n times along an axis."""
    shape: tuple[Size | int, ...] = (*x.shape[: axis + 1], n, *x.shape[axis + 1 :])
    y = b.broadcast(x, shape, [i for i in range(len(shape)) if i != axis + 1])
    return b.reshape(y, (*x.shape[:axis], x.shape[axis] * n, *x.shape[axis + 1 :]))


def stretched(b: Lowering, x: Value, axis: int, out: Size) -> Value:
    """Linear in between along an axis, whose ends stay its ends: place i of ``out`` is place ``i (n - 1) / (out - 1)`` of n."""
    n, last = x.shape[axis], x.type.rank - 1
    swapped = [*range(x.type.rank)]
    swapped[axis], swapped[last] = last, axis
    x = b.transpose(x, swapped)
    one = b.full(1, ())
    step = b.div(b.size_value(n - 1), b.maximum(b.size_value(out - 1), one))
    places = b.mul(b.iota(out, x.dtype), b.broadcast(step, (out,), ()))
    distance = b.abs(b.sub(b.broadcast(places, (n, out), (1,)), b.broadcast(b.iota(n, x.dtype), (n, out), (0,))))
    hats = b.maximum(b.shift_by(b.neg(distance), 1), b.full_like(distance, 0))  # how much each of the n counts
    y = b.reshape(b.matmul(rows(b, x), hats), (*x.shape[:-1], out))
    return b.transpose(y, swapped)


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
        x = only(x)
        return repeated(b, repeated(b, x, x.type.rank - 1, m.args.scale), x.type.rank - 2, m.args.scale)


@register
class SpatialUpSamplingBilinear(Image):
    """An image stretched, linear in between, its corners those of x.

    With a ``scale`` it has ``(h - 1) (scale - 1) + h`` by ``(w - 1) (scale - 1) + w`` places; with ``{oheight=H, owidth=W}`` H by W.
    """

    name = "SpatialUpSamplingBilinear"
    doc = "an image stretched, linear between the places of x, whose corners stay corners"
    source = PAGE + "SpatialUpSamplingBilinear"
    differs = "with a scale the sizes are those of Torch's page; its code makes h * scale by w * scale"
    arguments = (Argument("scale", "table"),)
    samples = (Sample((2,), (1, 2, 2, 3)), Sample((3,), (2, 3, 2)), Sample((2,), (1, 1, 4)),
               Sample((Table((), {"oheight": 5, "owidth": 2}),), (2, 1, 3, 4)),
               Sample((Table((), {"oheight": 1, "owidth": 3}),), (1, 2, 2)))

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        fields, items = a.scale.fields, a.scale.items
        given = [fields.get("oheight"), fields.get("owidth")] if set(fields) == {"oheight", "owidth"} and not items else list(items)
        whole = all(isinstance(n, (int, float)) and not isinstance(n, bool) and float(n).is_integer() and 1 <= n < 2**31 for n in given)
        if not whole or len(given) != (2 if fields else 1):
            raise fail("E0422", f"nn.{self.name}: a whole number from 1, or {{oheight = H, owidth = W}} of such numbers, is wanted", origin)
        a.sizes = [int(n) for n in given]

    @staticmethod
    def sizes(m: Module, dims: Sequence[Size]) -> list[Size]:
        """Height and width of the result."""
        if len(m.args.sizes) == 2:
            return [Size.const(n) for n in m.args.sizes]
        return [(n - 1) * (m.args.sizes[0] - 1) + n for n in dims[-2:]]

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        dims = s.dims(x)
        if self.image(s, x, y) and dims is not None:
            s.set(y, [*dims[:-2], *self.sizes(m, dims)])

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x = only(x)
        high, wide = self.sizes(m, x.shape)
        return stretched(b, stretched(b, x, x.type.rank - 1, wide), x.type.rank - 2, high)
