"""Images and volumes: batch and response normalisation, larger images."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Module, Record, Sample, Table, register
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import CONVOLUTIONS, exchanged, only, rows, with_size
from graphspec.nn.pointwise import power
from graphspec.nn.regularise import BatchNormalization
from graphspec.nn.windowed import Sweep, cut
from graphspec.shapes.cells import FLOAT, Cell, Mismatch
from graphspec.shapes.infer import Types
from graphspec.sizes import Size


class PlaneNormalization(BatchNormalization):
    """Base of batch normalisations whose features are axis 2 of a batch; in evaluation it may be missing, as in Torch."""

    differs = "eps is more than 0"
    rank = 4
    one = "[B, {n}, h, w], not one image"

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.like(x, y, self.rank)
        dims = s.dims(x)
        if dims is None:
            return
        if len(dims) not in (self.rank - 1, self.rank):
            raise Mismatch(f"a batch with {self.rank} axes is wanted, got {len(dims)}")
        plane = len(dims) - self.rank + 1
        s.equate(dims[plane], m.args.n, plane)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x = only(x)
        self.batch_if_training(b, m, x)
        whole = x if x.type.rank == self.rank else b.unsqueeze(x, 0)
        y = only(super().lower(b, m, b.transpose(whole, (0, *range(2, self.rank), 1))))
        return b.reshape(b.transpose(y, (0, self.rank - 1, *range(1, self.rank - 1))), x.shape)


@register
class SpatialBatchNormalization(PlaneNormalization):
    """BatchNormalization of n planes, over the batch and all places: ``[B, n, h, w] -> [B, n, h, w]``; in evaluation ``[n, h, w]`` too."""

    name = "SpatialBatchNormalization"
    doc = "normalises each plane over the batch and all places"
    source = "Ioffe and Szegedy (2015); " + CONVOLUTIONS + "SpatialBatchNormalization"
    samples = (
        Sample((3,), (2, 3, 2, 2)), Sample((2, 1e-3, 0.3), (2, 2, 1, 3)), Sample((2, None, None, False), (3, 2, 2, 1)),
        Sample((3,), (2, 3, 2, 2), evaluate=True), Sample((3,), (3, 1, 2), evaluate=True),
    )  # fmt: skip


@register
class VolumetricBatchNormalization(PlaneNormalization):
    """BatchNormalization of n volumes: ``[B, n, t, h, w] -> [B, n, t, h, w]``; in evaluation ``[n, t, h, w]`` too."""

    name = "VolumetricBatchNormalization"
    doc = "normalises each volume over the batch and all places"
    source = "Ioffe and Szegedy (2015); " + CONVOLUTIONS + "VolumetricBatchNormalization"
    rank = 5
    one = "[B, {n}, t, h, w], not one volume"
    samples = (Sample((2,), (2, 2, 2, 1, 2)), Sample((2, None, None, False), (2, 2, 1, 2, 2)), Sample((2,), (1, 2, 2, 1, 2), evaluate=True),
               Sample((2,), (2, 1, 2, 2), evaluate=True))


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


class SameImage(Image):
    """Base of modules from images to images of the same sizes."""

    def planes(self, a: SimpleNamespace) -> int | None:
        """How many planes they have; None for any number."""
        return None

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.same(x, y)
        dims, planes = s.dims(x), self.planes(m.args)
        if self.image(s, x, y) and dims is not None and planes is not None:
            s.equate(dims[-3], planes, len(dims) - 3)


@register
class SpatialCrossMapLRN(SameImage):
    """``y_i = x_i / (k + alpha / size * sum_j x_j ** 2) ** beta``, j over the ``size`` planes around plane i, of ``[planes, h, w]`` or
    ``[B, planes, h, w]``.

    Krizhevsky, Sutskever and Hinton (2012).
    """

    name = "SpatialCrossMapLRN"
    doc = "y_i = x_i / (k + alpha / size * sum_j x_j ** 2) ** beta, over the planes around each"
    source = CONVOLUTIONS + "SpatialCrossMapLRN"
    differs = "size has to be odd, and k more than 0"
    arguments = (Argument("size"), Argument("alpha", "number", 1e-4), Argument("beta", "number", 0.75), Argument("k", "number", 1.0))
    samples = (Sample((3,), (4, 2, 2)), Sample((5, 0.5, 0.6, 2.0), (2, 3, 2, 1)), Sample((1, 1.0, 2.0), (1, 2, 2, 2)))

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        if a.size % 2 == 0:
            raise fail("E0422", f"nn.{self.name}: size must be odd, so that as many planes lie on both sides, got {a.size}", origin)
        if not a.k > 0:
            raise fail("E0422", f"nn.{self.name}: k must be more than 0, got {a.k:g}", origin)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x, a = only(x), m.args
        axis = x.type.rank - 3
        around = b.reduce_sum(cut(b, b.mul(x, x), axis, Sweep(a.size, pad=a.size // 2)), [axis + 1])
        return b.div(x, power(b, b.shift_by(b.scale(around, a.alpha / a.size), a.k), a.beta))


def repeated(b: Lowering, x: Value, axis: int, n: int) -> Value:
    """Each element n times along an axis."""
    shape: tuple[Size | int, ...] = (*x.shape[: axis + 1], n, *x.shape[axis + 1 :])
    y = b.broadcast(x, shape, [i for i in range(len(shape)) if i != axis + 1])
    return b.reshape(y, with_size(x.shape, axis, x.shape[axis] * n))


def stretched(b: Lowering, x: Value, axis: int, out: Size) -> Value:
    """Linear in between along an axis, whose ends stay its ends: place i of ``out`` is place ``i (n - 1) / (out - 1)`` of n."""
    n, last = x.shape[axis], x.type.rank - 1
    x = exchanged(b, x, axis, last)
    one = b.full(1, ())
    step = b.div(b.size_value(n - 1), b.maximum(b.size_value(out - 1), one))
    places = b.mul(b.iota(out, x.dtype), b.broadcast(step, (out,), ()))
    distance = b.abs(b.sub(b.broadcast(places, (n, out), (1,)), b.broadcast(b.iota(n, x.dtype), (n, out), (0,))))
    hats = b.maximum(b.shift_by(b.neg(distance), 1), b.full_like(distance, 0))  # how much each of the n counts
    y = b.reshape(b.matmul(rows(b, x), hats), (*x.shape[:-1], out))
    return exchanged(b, y, axis, last)


@register
class SpatialUpSamplingNearest(Image):
    """Each element ``scale`` times along height and width: ``[..., h, w] -> [..., h scale, w scale]``."""

    name = "SpatialUpSamplingNearest"
    doc = "each element repeated along height and width"
    source = CONVOLUTIONS + "SpatialUpSamplingNearest"
    arguments = (Argument("scale", field="scale_factor"),)
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
    """An image stretched, linear in between, its corners those of x: ``[..., h, w] -> [..., H, W]``.

    With a ``scale`` it has ``(h - 1) (scale - 1) + h`` by ``(w - 1) (scale - 1) + w`` places; with ``{oheight=H, owidth=W}`` H by W.
    """

    name = "SpatialUpSamplingBilinear"
    doc = "an image stretched, linear between the places of x, whose corners stay corners"
    source = CONVOLUTIONS + "SpatialUpSamplingBilinear"
    differs = "with a scale the sizes are those of Torch's page; its code makes h * scale by w * scale"
    arguments = (Argument("scale", "table"),)
    samples = (Sample((2,), (1, 2, 2, 3)), Sample((3,), (2, 3, 2)), Sample((2,), (1, 1, 4)),
               Sample((Table((), {"oheight": 5, "owidth": 2}),), (2, 1, 3, 4)),
               Sample((Table((), {"oheight": 1, "owidth": 3}),), (1, 2, 2)))

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        a.sizes = target(self, a.scale, ("oheight", "owidth"), origin)

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        dims = s.dims(x)
        if self.image(s, x, y) and dims is not None:
            s.set(y, [*dims[:-2], *larger(m.args.sizes, dims[-2:])])

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x = only(x)
        return stretched_all(b, x, larger(m.args.sizes, x.shape[-2:]))


def target(record: Record, given: Table, names: tuple[str, ...], origin: Origin) -> list[int]:
    """A scale, or sizes by name; all but the last two names may be left out.  E0422 for what is neither."""
    fields, items = given.fields, list(given.items)
    found = [fields[name] for name in names if name in fields] if fields else items
    whole = all(isinstance(n, (int, float)) and not isinstance(n, bool) and 1 <= n < 2**31 and float(n).is_integer() for n in found)
    named = set(names[-2:]) <= set(fields) <= set(names) and not items
    if not whole or not (named if fields else len(found) == 1):
        wanted = ", ".join([*(f"[{name} = {name[1].upper()}]" for name in names[:-2]), "oheight = H", "owidth = W"])
        raise fail("E0422", f"nn.{record.name}: a whole number from 1, or {{{wanted}}} of such numbers, is wanted", origin)
    return [int(n) for n in found]


def larger(sizes: Sequence[int], dims: Sequence[Size]) -> list[Size]:
    """Sizes of what is stretched by a scale, or to sizes."""
    if len(sizes) == 1:
        return [(n - 1) * (sizes[0] - 1) + n for n in dims]
    return [Size.const(n) for n in sizes[-len(dims) :]]


def stretched_all(b: Lowering, x: Value, sizes: Sequence[Size]) -> Value:
    """The last axes, stretched to these sizes."""
    for back, n in enumerate(reversed(sizes), 1):
        x = stretched(b, x, x.type.rank - back, n)
    return x


@register
class UpSampling(Record):
    """A batch of images or volumes made larger: ``[B, planes, h, w]`` or ``[B, planes, d, h, w]``.

    With ``mode`` "nearest", which it is unless given, each element stands ``params`` times along height, width and depth.  With "linear"
    ("bilinear" and "trilinear" say the same) it is stretched, linear in between, its corners those of x: by a scale n places become
    ``(n - 1) (scale - 1) + n``; with ``{oheight=H, owidth=W}``, for volumes ``{odepth=D, oheight=H, owidth=W}``, there are so many.
    """

    name = "UpSampling"
    doc = "images or volumes made larger, each element repeated, or linear in between"
    source = CONVOLUTIONS + "UpSampling"
    differs = "linear with a scale, the sizes are those of Torch's page; its code makes n * scale"
    arguments = (Argument("params", "table"), Argument("mode", "text", None))
    samples = (
        Sample((2,), (1, 2, 2, 3)), Sample((2, "nearest"), (1, 1, 2, 1, 2)), Sample((2, "linear"), (1, 2, 2, 3)),
        Sample((2, "trilinear"), (1, 1, 2, 1, 2)), Sample((Table((), {"oheight": 5, "owidth": 2}), "bilinear"), (2, 1, 3, 4)),
        Sample((Table((), {"odepth": 3, "oheight": 1, "owidth": 4}), "linear"), (1, 2, 2, 2, 3)),
    )

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        a.linear = a.mode in ("linear", "bilinear", "trilinear")
        a.sizes = target(self, a.params, ("odepth", "oheight", "owidth"), origin)
        if len(a.sizes) > 1 and not a.linear:
            raise fail("E0422", f"nn.{self.name}: sizes are for the mode 'linear'; 'nearest' takes a scale", origin)

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.set(x, dtype=FLOAT)
        s.set(y, dtype=FLOAT)
        s.wish(x, 4)
        dims = s.dims(x)
        if dims is None:
            return
        if len(dims) not in (4, 5):
            raise Mismatch(f"a batch of images or volumes, [B, planes, h, w] or [B, planes, d, h, w], is wanted, got {len(dims)} axes")
        if len(dims) == 5 and len(m.args.sizes) == 2:
            raise Mismatch("a volume needs odepth beside oheight and owidth")
        s.set(y, [*dims[:2], *self.made(m, dims)])

    @staticmethod
    def made(m: Module, dims: Sequence[Size]) -> list[Size]:
        """What comes out, without batch and planes."""
        return larger(m.args.sizes, dims[2:]) if m.args.linear else [n * m.args.sizes[0] for n in dims[2:]]

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x = only(x)
        if m.args.linear:
            return stretched_all(b, x, self.made(m, x.shape))
        for axis in range(2, x.type.rank):
            x = repeated(b, x, axis, m.args.sizes[0])
        return x
