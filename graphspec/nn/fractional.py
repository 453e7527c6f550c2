"""Fractional max poolings: windows that are drawn, and move by steps of no whole number.  Graham (2014)."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Module, Sample, register
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import CONVOLUTIONS, distinct, of_rows, only
from graphspec.nn.windowed import Windowed
from graphspec.shapes.cells import Mismatch
from graphspec.shapes.infer import Types
from graphspec.sizes import Size, product


def fractional_arguments(axes: str) -> tuple[Argument, ...]:
    """Window sizes, then sizes of the output (or ratios), in Torch's order of axes."""
    return (*(Argument(f"poolSize{axis}") for axis in axes), *(Argument(f"out{axis}", "number") for axis in axes))


class FractionalMaxPooling(Windowed):
    """Base of max poolings whose windows are drawn for each plane, in evaluation too.

    Window i of an axis of n begins at ``floor((i + u) a) - floor(u a)``, with ``a = (n - poolSize) / (out - 1)`` and u from [0, 1);
    the last one ends where the axis does.
    """

    order: ClassVar[str]
    """The axes as Torch's arguments name them, and its samples."""
    stochastic = True
    unsized = "an output that is a share of the input"
    methods: ClassVar[tuple[str, ...]] = ("fixPoolingRegions",)
    differs = ("other windows are drawn at each step of training, not in each evaluation between two steps; with `:fixPoolingRegions()` "
               "they are those of the seed; a caller may inject the samples u, `[..., planes, axes]`, axes in the order of the arguments")

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        a.fixed = getattr(a, "fixed", False)
        outs = {axis: getattr(a, f"out{axis}") for axis in self.order}
        names = ", ".join(f"out{axis}" for axis in self.order)
        if not (all(1 <= out < 2**31 and float(out).is_integer() for out in outs.values()) or all(0 < out < 1 for out in outs.values())):
            given = ", ".join(f"{out:g}" for out in outs.values())
            raise fail("E0422", f"nn.{self.name}: {names} must be whole numbers from 1, or ratios between 0 and 1, got {given}", origin)
        for axis in self.order:
            if getattr(a, f"poolSize{axis}") < 2:
                raise fail("E0422", f"nn.{self.name}: poolSize{axis} must be at least 2, got {getattr(a, f'poolSize{axis}')}", origin)

    def call(self, m: Module, method: str, args: Sequence[Any], origin: Origin) -> Module:
        value = args[0] if args else None
        if value is not None and not isinstance(value, bool):
            raise fail("E0422", f"nn.{self.name}:fixPoolingRegions takes true or false", origin)
        m.args = SimpleNamespace(**{**vars(m.args), "fixed": value is not False})
        return m

    def forward(self, m: Module, i: int, n: Size) -> Size | None:
        out, pool = getattr(m.args, f"out{self.axes[i]}"), getattr(m.args, f"poolSize{self.axes[i]}")
        if out < 1:
            if n.value is None:
                return None
            out = int(n.value * out)
        if out < 1 or (n.value is not None and n.value < out + pool):
            raise Mismatch(f"an axis of {n} is too small for {int(out)} windows of {pool}, which needs {max(int(out), 1) + pool} elements")
        return Size.const(int(out))

    def backward(self, m: Module, i: int, n: Size) -> Size | None:
        return None

    def bounds(self, s: Types, m: Module, i: int, n: Size) -> None:
        out = self.forward(m, i, n)
        if out is not None:
            s.at_most(out + getattr(m.args, f"poolSize{self.axes[i]}"), n)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x, n = self.as_batch(b, only(x)), len(self.axes)
        shape = b.type_of(b.use.y).shape
        outs, kernel = shape[-n:], [getattr(m.args, f"poolSize{axis}") for axis in self.axes]
        samples = b.cast(self.samples_of(b, m, (*x.shape[:2], n)), "float64")
        whole = (*x.shape[:2], *outs, *kernel)
        places = b.full(0, whole, "int32")
        for i, (axis, size) in enumerate(zip(self.axes, x.shape[2:], strict=True)):
            starts = self.starts(b, b.select(samples, 2, self.order.index(axis)), size, outs[i], kernel[i])
            here = b.add(b.broadcast(starts, whole, (0, 1, 2 + i)), b.broadcast(b.iota(kernel[i]), whole, (2 + n + i,)))
            places = b.add(b.mul(places, b.broadcast(b.size_value(size, "int32"), whole, ())), here)
        places = b.reshape(places, (*whole[: 2 + n], product(kernel)))
        planes = b.reshape(x, (*x.shape[:2], product(x.shape[2:])))
        largest = b.argmax(of_rows(b, b.stop_gradient(planes), places))
        return b.reshape(of_rows(b, planes, b.pick(places, largest)), shape)

    def noise_shape(self, y: Sequence[Size]) -> Sequence[Size]:
        """A number for each plane and axis."""
        n = len(self.axes)
        return (*y[:-n], Size.const(n))

    @staticmethod
    def samples_of(b: Lowering, m: Module, shape: Sequence[Size | int]) -> Value:
        """The numbers u."""
        if b.injected is not None:
            return b.reshape(b.injected, shape)
        if not m.args.fixed:
            return b.draw("uniform", shape)
        assert b.scope.seed is not None
        b.session.sites += 1
        return b.random("uniform", b.scope.seed, b.full(0, (), "int64"), [], b.session.sites, shape)

    @staticmethod
    def starts(b: Lowering, sample: Value, n: Size, out: Size, pool: int) -> Value:
        """Where the windows of each plane begin on an axis of n: ``[B, planes] -> [B, planes, out]``; in float64, so that they are the same
        ones in a float32 model."""
        count, shape = out.value or 1, (*sample.shape, out)
        last = b.size_value(n - pool, "float64")
        step = b.broadcast(b.scale(last, 1 / max(count - 1, 1)), shape, ())
        place, moved = (b.broadcast(v, shape, axes) for v, axes in ((b.iota(out, "float64"), (2,)), (sample, (0, 1))))
        begins = b.sub(*(b.cast(b.mul(v, step), "int32") for v in (b.add(place, moved), moved)))
        final = b.compare(place, b.full_like(place, count - 1), "ge")
        return b.where(final, b.broadcast(b.size_value(n - pool, "int32"), shape, ()), begins)


@register
class SpatialFractionalMaxPooling(FractionalMaxPooling):
    """The largest of each of ``outH x outW`` windows of ``poolSizeH x poolSizeW``, which are drawn for each plane:
    ``[..., H, W] -> [..., outH, outW]``, of images with or without a batch.

    Ratios between 0 and 1 in the place of outW and outH make an output of ``floor(H * outH)`` by ``floor(W * outW)``.  Each run draws other
    windows, in evaluation too, unless ``:fixPoolingRegions()`` was called.
    """

    name = "SpatialFractionalMaxPooling"
    doc = "the largest of each window of an image, the windows drawn and a fraction of them as many as its elements"
    source = CONVOLUTIONS + "SpatialFractionalMaxPooling"
    order = "WH"
    arguments = fractional_arguments("WH")
    samples = (
        Sample((2, 2, 3, 2), distinct(2, 2, 4, 6)), Sample((2, 3, 0.5, 0.4), distinct(2, 5, 6)), Sample((3, 2, 1, 3), distinct(2, 1, 6, 4)),
        Sample((2, 2, 3, 4), distinct(1, 2, 7, 6), evaluate=True),
        Sample((2, 2, 2, 2), distinct(2, 4, 5), methods=(("fixPoolingRegions", ()),)),
    )  # fmt: skip


@register
class VolumetricFractionalMaxPooling(FractionalMaxPooling):
    """The largest of each of ``outH x outW x outT`` windows of ``poolSizeH x poolSizeW x poolSizeT``, which are drawn for each plane:
    ``[..., H, W, T] -> [..., outH, outW, outT]``, time last.

    Ratios, and ``:fixPoolingRegions()``, as with SpatialFractionalMaxPooling.
    """

    name = "VolumetricFractionalMaxPooling"
    doc = "the largest of each window of a volume, the windows drawn and a fraction of them as many as its elements"
    source = CONVOLUTIONS + "VolumetricFractionalMaxPooling"
    axes, order = "HWT", "TWH"
    arguments = fractional_arguments("TWH")
    samples = (Sample((2, 2, 2, 2, 1, 2), distinct(1, 2, 4, 3, 4)), Sample((2, 2, 2, 0.5, 0.4, 0.5), distinct(2, 4, 5, 4)))
