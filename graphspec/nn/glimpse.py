"""Patches of images: glimpses at a place that is an input, crops at a place that is drawn."""

from __future__ import annotations

import math
from types import SimpleNamespace

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Leaf, Module, Sample, Table, register
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import DPNN, exchanged, only, pair
from graphspec.nn.pooling import windows_last
from graphspec.nn.spatial import Image, stretched_all
from graphspec.nn.windowed import Sweep, cut_all
from graphspec.shapes.cells import FLOAT, Cell, Mismatch
from graphspec.shapes.infer import Types
from graphspec.sizes import Size

MOST = 2**24


def pieces(b: Lowering, x: Value, axis: int, starts: Value, size: int) -> Value:
    """``size`` elements of an axis of each image of a batch, from a place of its own on: ``[B, ..., n, ...] -> [B, ..., size, ...]``."""
    turned = exchanged(b, x, 1, axis)
    batch, n, *rest = turned.shape
    places = b.add(b.mul(b.iota(batch), b.broadcast(b.size_value(n, "int32"), (batch,), ())), starts)
    index = b.add(b.broadcast(places, (batch, size), (0,)), b.broadcast(b.iota(size), (batch, size), (1,)))
    return exchanged(b, b.gather(b.reshape(turned, (batch * n, *rest)), index), 1, axis)


def whole(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 1 <= value <= MOST and float(value).is_integer()


@register
class SpatialGlimpse(Image):
    """Patches around a place of an image, each ``scale`` times as large as the one before and brought to one size:
    ``{[B, planes, H, W], [B, 2]} -> [B, depth * planes, h, w]``, or both without the batch axis.

    ``size`` is ``{h, w}``, or a number for both.  The location is (y, x), from (-1, -1) at the top left to (1, 1); what lies outside of the
    image is 0.  With a scale of 2 larger patches are averaged, else they are shrunk, linear in between, their corners staying corners.  The
    location has no gradient; NaN is taken for -1.  Mnih, Heess, Graves and Kavukcuoglu (2014).
    """

    name = "SpatialGlimpse"
    doc = "patches of growing scale around a place of an image, all of one size"
    source = DPNN + "SpatialGlimpse.lua"
    arguments = (Argument("size", "table"), Argument("depth", "size", 3), Argument("scale", "number", 2.0))
    samples = (
        Sample((2, 2), ((2, 1, 4, 3), Leaf((2, 2), values=(-0.9, 0.3, 0.8, 2.0)))),
        Sample((Table((1, 2)), 3), ((2, 5, 4), Leaf((2,), values=(0.1, -0.4)))),
        Sample((Table((2, 3)), 2, 1.5), ((1, 2, 3, 4), Leaf((1, 2), values=(0.7, -0.9)))),
        Sample((3, 1), ((2, 1, 2, 2), Leaf((2, 2), values=(0.0, -1.5, -0.2, 0.9)))),
    )

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        sides = list(a.size.items)
        if a.size.fields or len(sides) not in (1, 2) or not all(map(whole, sides)):
            raise fail("E0422", f"nn.{self.name}: size must be a whole number from 1, or a table {{height, width}} of two", origin)
        if not 1 <= a.scale <= MOST:
            raise fail("E0422", f"nn.{self.name}: scale must be at least 1, got {a.scale:g}", origin)
        if a.depth > 1 and a.scale == 1:
            raise fail("E0422", f"nn.{self.name}: scale must be more than 1 where there are several patches", origin)
        a.patches = [[int(sides[0]), int(sides[-1])]]
        while len(a.patches) < a.depth:
            larger = [math.floor(n * a.scale) for n in a.patches[-1]]
            if max(larger) > MOST:
                raise fail("E0422", f"nn.{self.name}: patch {len(a.patches) + 1} of {a.depth} would be {max(larger)} wide", origin)
            a.patches.append(larger)

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        image, location = s.table(x, 2)
        s.set(location, dtype=FLOAT)
        dims, place = s.dims(image), s.dims(location)
        if place is not None and len(place) not in (1, 2):
            raise Mismatch(f"a location (y, x), or a batch of them, is wanted, got {len(place)} axes")
        if not self.image(s, image, y):
            return
        assert dims is not None
        s.set(location, [*dims[:-3], 2])
        for n, sides in zip(dims[-2:], zip(*m.args.patches, strict=True), strict=True):
            least = 2 if any(side % 2 == 0 for side in sides) else 1  # around a patch of even size one place less is added
            if n.value is None:
                s.at_most(least, n)
            elif n.value < least:
                raise Mismatch(f"an image that is {n} wide has no patch of {next(side for side in sides if side % 2 == 0)}")
        s.set(y, [*dims[:-3], dims[-3] * m.args.depth, *m.args.patches[0]])

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        image, location = pair(x)
        if image.type.rank == 3:
            image, location = b.unsqueeze(image, 0), b.unsqueeze(location, 0)
        place = b.scale(b.shift_by(b.cast(b.stop_gradient(location), "float64"), 1), 0.5)
        found = [self.patch(b, m, image, place, sides) for sides in m.args.patches]
        return b.reshape(b.concat(found, 1), b.type_of(b.use.y).shape)

    @staticmethod
    def patch(b: Lowering, m: Module, x: Value, place: Value, sides: list[int]) -> Value:
        """What the image shows at the place, brought to the size of the first patch."""
        for axis, side in ((2, sides[0]), (3, sides[1])):
            margin = (side - 1) // 2
            x = b.pad(x, axis, margin, margin) if margin else x
            at = b.select(place, 1, axis - 2)
            room = b.broadcast(b.size_value(x.shape[axis] - side, "float64"), at.shape, ())
            inside = b.compare(at, b.full_like(at, 0), "gt")  # not so where it is NaN, which is no place either
            at = b.where(inside, b.minimum(room, b.mul(at, room)), b.full_like(at, 0))
            x = pieces(b, x, axis, b.cast(at, "int32"), side)
        first = m.args.patches[0]
        if sides == first:
            return x
        if m.args.scale != 2:
            return stretched_all(b, x, [Size.const(n) for n in first])
        sweeps = [Sweep(side // n, side // n) for side, n in zip(sides, first, strict=True)]
        seen = windows_last(b, cut_all(b, x, 2, sweeps), 2)
        return b.scale(b.reduce_sum(seen, [4]), 1 / math.prod(sweep.k for sweep in sweeps))


@register
class SpatialUniformCrop(Image):
    """A patch of ``oheight x owidth`` (owidth is oheight unless given) of each image: ``[..., H, W] -> [..., oheight, owidth]``.

    In training its place is drawn for each image of a batch, such that the last row and column are left aside; in evaluation it is in the
    middle.
    """

    name = "SpatialUniformCrop"
    doc = "a patch of each image, drawn in training"
    source = DPNN + "SpatialUniformCrop.lua"
    differs = ("takes no scale, with which patches of other sizes are drawn and brought to this one; one as large as the image is taken "
               "in evaluation too")
    arguments = (Argument("oheight"), Argument("owidth", "size", None))
    samples = (Sample((2, 3), (3, 2, 5, 4)), Sample((2,), (1, 4, 2)), Sample((2,), (2, 1, 5, 4), evaluate=True),
               Sample((3,), (1, 3, 3), evaluate=True))

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        a.sides = (a.oheight, a.oheight if a.owidth is None else a.owidth)

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        if not self.image(s, x, y):
            return
        dims = s.dims(x) or ()
        for n, side in zip(dims[-2:], m.args.sides, strict=True):
            if n.value is None:
                s.at_most(side, n)
            elif n.value < side:
                raise Mismatch(f"a patch of {side} of an axis of {n}")
        s.set(y, [*dims[:-2], *m.args.sides])

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x = only(x)
        batch = x if x.type.rank == 4 else b.unsqueeze(x, 0)
        drawn = b.cast(b.draw("uniform", (batch.shape[0], 2)), "float64") if b.training else None
        for axis, side in ((2, m.args.sides[0]), (3, m.args.sides[1])):
            room = b.broadcast(b.size_value(batch.shape[axis] - side, "float64"), (batch.shape[0],), ())
            at = b.scale(room, 0.5)
            if drawn is not None:
                at = b.shift_by(b.mul(b.select(drawn, 1, axis - 2), b.shift_by(room, -0.01)), 0.01)
            batch = pieces(b, batch, axis, self.before(b, at), side)
        return b.reshape(batch, b.type_of(b.use.y).shape)

    @staticmethod
    def before(b: Lowering, at: Value) -> Value:
        """The last whole number less than ``at`` and at least 0: what Torch rounds up, counting from 1."""
        down = b.cast(at, "int32")
        found = b.where(b.compare(b.cast(down, at.dtype), at, "lt"), down, b.sub(down, b.full_like(down, 1)))
        return b.maximum(found, b.full_like(down, 0))
