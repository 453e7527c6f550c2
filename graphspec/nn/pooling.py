"""Poolings over time, images and volumes: reductions of the windows that a kernel sees."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Module, ParameterSpec, Sample, register
from graphspec.graph.parameter import uniform
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import CONVOLUTIONS, distinct, exchanged, only
from graphspec.nn.windowed import Windowed, around, cut_all, kernel_arguments
from graphspec.shapes.infer import Types
from graphspec.sizes import Size


def windows_last(b: Lowering, cuts: Value, n: int) -> Value:
    """``[B, planes, windows, k, windows, k ...]`` as ``[B, planes, windows, windows ..., k * k ...]``."""
    order = (0, 1, *range(2, 2 + 2 * n, 2), *range(3, 3 + 2 * n, 2))
    y = b.transpose(cuts, order)
    k = math.prod(size.value or 1 for size in y.shape[2 + n :])
    return b.reshape(y, (*y.shape[: 2 + n], k))


def largest(b: Lowering, x: Value) -> Value:
    """The largest along the last axis; the gradient goes to the first of equals, as in Torch."""
    return b.pick(x, b.argmax(b.stop_gradient(x)))


class Pooling(Windowed):
    """Base of poolings: ``pool`` makes of all windows, laid along the last axis, one number each."""

    def pool(self, b: Lowering, m: Module, x: Value) -> Value:
        raise NotImplementedError

    fill: ClassVar[float] = 0.0

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x = only(x)
        n = len(self.axes)
        batch = self.as_batch(b, x)
        if self.by_frames(m.args):
            batch = b.transpose(batch, (0, n + 1, *range(1, n + 1)))
        y = self.pool(b, m, batch)
        if self.by_frames(m.args):
            y = b.transpose(y, (0, *range(2, n + 2), 1))
        return b.reshape(y, b.type_of(b.use.y).shape)

    def seen(self, b: Lowering, m: Module, x: Value) -> Value:
        """What each window sees, along the last axis."""
        return windows_last(b, cut_all(b, x, 2, self.sweeps(m.args), self.fill), len(self.axes))


class Rounded(Pooling):
    """Base of poolings that take ``:ceil()``: the last window may reach over the end."""

    differs = "after ceil() a window that begins behind the end is left out; Torch leaves it out only where there is padding"
    methods: ClassVar[tuple[str, ...]] = ("ceil", "floor")

    def call(self, m: Module, method: str, args: Sequence[Any], origin: Origin) -> Module:
        m.args = SimpleNamespace(**{**vars(m.args), "ceil_mode": method == "ceil"})
        return m


class MaxPooling(Rounded):
    """Base of max poolings; what lies around the input is less than anything."""

    fill = -math.inf

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        super().check(a, origin)
        for sweep in self.sweeps(a):
            if 2 * sweep.pad > sweep.k:
                raise fail("E0422", f"nn.{self.name}: padding must be at most half of the kernel, got {sweep.pad}", origin)

    def pool(self, b: Lowering, m: Module, x: Value) -> Value:
        seen = self.seen(b, m, x)
        places = b.argmax(b.stop_gradient(seen))
        b.scope.places[id(b.use)] = places
        return b.pick(seen, places)


@register
class SpatialMaxPooling(MaxPooling):
    """The largest of each window of ``kH x kW``: ``[..., H, W] -> [..., H', W']``, of images with or without a batch.

    ``H' = floor((H + 2 padH - kH) / dH) + 1``, with ``:ceil()`` rounded up; dW and dH are kW and kH unless given.
    """

    name = "SpatialMaxPooling"
    doc = "the largest of each window of an image"
    source = CONVOLUTIONS + "SpatialMaxPooling"
    arguments = kernel_arguments("WH", None)
    samples: ClassVar[tuple[Sample, ...]] = (
        Sample((2, 2), distinct(1, 2, 4, 5)), Sample((3, 2, 2, 1, 1, 1), distinct(2, 4, 5)), Sample((2, 3, 1, 1), distinct(1, 1, 4, 3)),
        Sample((2, 2, 2, 2), distinct(1, 2, 3, 5), methods=(("ceil", ()),)),
    )  # fmt: skip


@register
class SpatialDilatedMaxPooling(MaxPooling):
    """SpatialMaxPooling of windows whose elements lie dilationW and dilationH apart:
    ``H' = floor((H + 2 padH - dilationH (kH - 1) - 1) / dH) + 1``, W' likewise."""

    name = "SpatialDilatedMaxPooling"
    doc = "the largest of each window with gaps"
    source = CONVOLUTIONS + "SpatialDilatedMaxPooling"
    arguments = kernel_arguments("WH", None, dilation=True)
    samples = (Sample((2, 2, 1, 1, 0, 0, 2, 1), distinct(1, 2, 4, 5)), Sample((2, 2, 1, 1, 1, 1, 2, 2), distinct(1, 4, 5)))


@register
class VolumetricMaxPooling(MaxPooling):
    """The largest of each window of ``kT x kH x kW``: ``[..., T, H, W] -> [..., T', H', W']``, of volumes with or without a batch.

    ``T' = floor((T + 2 padT - kT) / dT) + 1``, H' and W' likewise, with ``:ceil()`` rounded up; the step is the kernel's size unless given.
    """

    name = "VolumetricMaxPooling"
    doc = "the largest of each window of a volume"
    source = CONVOLUTIONS + "VolumetricMaxPooling"
    axes = "THW"
    arguments = kernel_arguments("TWH", None)
    samples = (Sample((2, 2, 2), distinct(1, 1, 2, 4, 3)), Sample((2, 2, 3, 1, 1, 1, 1, 0, 1), distinct(1, 2, 3, 2)),
               Sample((2, 2, 2), distinct(1, 1, 3, 3, 2), methods=(("ceil", ()),)))


@register
class VolumetricDilatedMaxPooling(MaxPooling):
    """VolumetricMaxPooling of windows whose elements lie dilationT, dilationW and dilationH apart:
    ``T' = floor((T + 2 padT - dilationT (kT - 1) - 1) / dT) + 1``, H' and W' likewise."""

    name = "VolumetricDilatedMaxPooling"
    doc = "the largest of each window of a volume, with gaps"
    source = CONVOLUTIONS + "VolumetricDilatedMaxPooling"
    axes = "THW"
    arguments = kernel_arguments("TWH", None, dilation=True)
    samples = (Sample((2, 2, 2, 1, 1, 1, 0, 0, 0, 1, 2, 2), distinct(1, 1, 2, 3, 4)),
               Sample((2, 3, 2, 2, 1, 3, 1, 0, 1, 2, 1, 1), distinct(2, 4, 3, 3), methods=(("ceil", ()),)))


@register
class TemporalMaxPooling(MaxPooling):
    """The largest of each kW frames, for each feature: ``[T, n] -> [T', n]``, or with a batch in front.

    ``T' = floor((T - kW) / dW) + 1``; dW is kW unless given.
    """

    name = "TemporalMaxPooling"
    doc = "the largest of each window of frames"
    source = CONVOLUTIONS + "TemporalMaxPooling"
    differs = ""
    axes = "W"
    frames = True
    methods = ()
    arguments = kernel_arguments("W", None, pad=False)
    samples = (Sample((2,), distinct(4, 3)), Sample((3, 1), distinct(2, 5, 2)))


class AveragePooling(Rounded):
    """Base of average poolings.

    Zeros of the padding count as elements, unless ``:setCountExcludePad()`` was called; what a rounded-up window sees beyond them
    never does.
    """

    methods: ClassVar[tuple[str, ...]] = ("ceil", "floor", "setCountIncludePad", "setCountExcludePad")

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        super().check(a, origin)
        a.padded_counts = getattr(a, "padded_counts", True)
        for sweep in self.sweeps(a):
            if 2 * sweep.pad > sweep.k:
                raise fail("E0422", f"nn.{self.name}: padding must be at most half of the kernel, got {sweep.pad}", origin)

    def call(self, m: Module, method: str, args: Sequence[Any], origin: Origin) -> Module:
        if method in ("ceil", "floor"):
            return super().call(m, method, args, origin)
        m.args = SimpleNamespace(**{**vars(m.args), "padded_counts": method == "setCountIncludePad"})
        return m

    def pool(self, b: Lowering, m: Module, x: Value) -> Value:
        sums = b.reduce_sum(self.seen(b, m, x), [x.type.rank])
        sweeps = self.sweeps(m.args)
        if all(not sweep.ceil and (m.args.padded_counts or not sweep.pad) for sweep in sweeps):
            return b.scale(sums, 1 / math.prod(sweep.k for sweep in sweeps))
        for i, n in enumerate(x.shape[2:]):
            sums = b.div(sums, b.broadcast(self.counted(b, m, i, n), sums.shape, (2 + i,)))
        return sums

    def counted(self, b: Lowering, m: Module, i: int, n: Size) -> Value:
        """How many elements each window has along axis i."""
        sweep = self.sweeps(m.args)[i]
        count = sweep.length(n)
        assert count is not None, "inference left an axis unsized"
        inside = sweep.pad if m.args.padded_counts else 0
        lack = sweep.lack(n, count) - inside
        after = max(lack.value, 0) if lack.value is not None else lack
        ones = around(b, b.full(1, (n + 2 * inside,)), 0, sweep.pad - inside, after, 0)
        return b.reduce_sum(b.windows(ones, 0, count, sweep.k, sweep.stride, sweep.dilation), [1])


@register
class SpatialAveragePooling(AveragePooling):
    """The mean of each window of ``kH x kW``: ``[..., H, W] -> [..., H', W']``; dW and dH are 1 unless given."""

    name = "SpatialAveragePooling"
    doc = "the mean of each window of an image"
    source = CONVOLUTIONS + "SpatialAveragePooling"
    arguments = kernel_arguments("WH")
    samples = (
        Sample((2, 2), (1, 2, 3, 4)), Sample((3, 2, 2, 2, 1, 1), (2, 4, 5)), Sample((2, 2, 2, 2), (1, 1, 3, 5), methods=(("ceil", ()),)),
        Sample((3, 3, 2, 2, 1, 1), (1, 1, 4, 4), methods=(("setCountExcludePad", ()),)),
        Sample((3, 2, 2, 2, 1, 1), (1, 1, 4, 4), methods=(("setCountExcludePad", ()), ("ceil", ()))),
        Sample((3, 2, 1, 1, 1, 1), (1, 1, 4, 4), methods=(("setCountExcludePad", ()), ("setCountIncludePad", ()))),
    )  # fmt: skip


@register
class VolumetricAveragePooling(Pooling):
    """The mean of each window of ``kT x kH x kW``: ``[..., T, H, W] -> [..., T', H', W']``; the step is the kernel's size unless given."""

    name = "VolumetricAveragePooling"
    doc = "the mean of each window of a volume"
    source = CONVOLUTIONS + "VolumetricAveragePooling"
    axes = "THW"
    arguments = kernel_arguments("TWH", None, pad=False)
    samples = (Sample((2, 2, 2), (1, 1, 2, 4, 3)), Sample((2, 2, 1, 1, 1, 2), (2, 3, 2, 3)))

    def pool(self, b: Lowering, m: Module, x: Value) -> Value:
        seen = self.seen(b, m, x)
        return b.scale(b.reduce_sum(seen, [x.type.rank]), 1 / math.prod(sweep.k for sweep in self.sweeps(m.args)))


class SubSampling(Pooling):
    """Base of ``weight * (sum of each window) + bias``, both one number for each plane."""

    plane_argument: ClassVar[str] = "nInputPlane"

    def planes(self, a: SimpleNamespace) -> tuple[int | None, int | None]:
        n = getattr(a, self.plane_argument)
        return n, n

    def parameters(self, a: SimpleNamespace) -> Mapping[str, ParameterSpec]:
        bound = 1 / math.sqrt(math.prod(sweep.k for sweep in self.sweeps(a)))
        shape = (getattr(a, self.plane_argument),)
        return {key: ParameterSpec(shape, uniform(-bound, bound)) for key in ("weight", "bias")}

    def pool(self, b: Lowering, m: Module, x: Value) -> Value:
        y = b.reduce_sum(self.seen(b, m, x), [x.type.rank])
        y = b.mul(y, b.broadcast(b.parameter(m, "weight"), y.shape, (1,)))
        return b.add(y, b.broadcast(b.parameter(m, "bias"), y.shape, (1,)))


@register
class SpatialSubSampling(SubSampling):
    """``y = weight * (sum of each window of kH x kW) + bias``, both one number for each plane:
    ``[nInputPlane, H, W] -> [nInputPlane, H', W']``, or with a batch in front; ``H' = floor((H - kH) / dH) + 1``."""

    name = "SpatialSubSampling"
    doc = "y = weight * sum of each window of an image + bias"
    source = CONVOLUTIONS + "SpatialSubSampling"
    arguments = (Argument("nInputPlane"), *kernel_arguments("WH", pad=False))
    samples = (Sample((2, 2, 2), (1, 2, 3, 4)), Sample((2, 3, 2, 2, 1), (2, 3, 5)))


@register
class TemporalSubSampling(SubSampling):
    """``y = weight * (sum of each kW frames) + bias``: ``[T, inputFrameSize] -> [T', inputFrameSize]``, or with a batch in front."""

    name = "TemporalSubSampling"
    doc = "y = weight * sum of each window of frames + bias"
    source = CONVOLUTIONS + "TemporalSubSampling"
    axes = "W"
    frames = True
    plane_argument = "inputFrameSize"
    arguments = (Argument("inputFrameSize"), *kernel_arguments("W", pad=False))
    samples = (Sample((2, 2), (4, 2)), Sample((3, 3, 2), (2, 5, 3)))


class AdaptivePooling(Pooling):
    """Base of poolings to an image of ``H x W``: window i of an axis of n is ``floor(i n / H) .. ceil((i + 1) n / H) - 1``."""

    arguments = (Argument("W"), Argument("H"))
    unsized = "a number of windows"
    differs = "sizes of the image have to be known as numbers, unless one number is made of all of an axis"

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        """Any W and H will do."""

    def forward(self, m: Module, i: int, n: Size) -> Size | None:
        out = getattr(m.args, self.axes[i])
        return Size.const(out) if n.value is not None or out == 1 else None

    def backward(self, m: Module, i: int, n: Size) -> Size | None:
        return None

    def bounds(self, s: Types, m: Module, i: int, n: Size) -> None:
        s.at_most(1, n)

    def reduce(self, b: Lowering, x: Value) -> Value:
        """Over the last axis."""
        raise NotImplementedError

    def pool(self, b: Lowering, m: Module, x: Value) -> Value:
        for axis, out in ((3, m.args.W), (2, m.args.H)):
            last = exchanged(b, x, axis, 3)
            n = x.shape[axis]
            if out == 1:
                parts = [last]
            else:
                assert n.value is not None, "inference left an axis unsized"
                starts = [(i * n.value // out, -(-(i + 1) * n.value // out)) for i in range(out)]
                parts = [b.slice(last, 3, start, end - start) for start, end in starts]
            x = b.concat([b.unsqueeze(self.reduce(b, part), 3) for part in parts], 3)
            x = exchanged(b, x, axis, 3)
        return x


@register
class SpatialAdaptiveAveragePooling(AdaptivePooling):
    """Means that make an image of ``H x W`` of one of any size: ``[..., h, w] -> [..., H, W]``."""

    name = "SpatialAdaptiveAveragePooling"
    doc = "means of windows that make an image of a fixed size"
    source = CONVOLUTIONS + "SpatialAdaptiveAveragePooling"
    samples = (Sample((2, 3), (1, 2, 4, 5)), Sample((1, 1), (2, 3, 2)), Sample((4, 2), (1, 3, 3)))

    def reduce(self, b: Lowering, x: Value) -> Value:
        n = x.shape[3]
        y = b.reduce_sum(x, [3])
        if n.value is not None:
            return b.scale(y, 1 / n.value)
        return b.div(y, b.broadcast(b.size_value(n), y.shape, ()))


@register
class SpatialAdaptiveMaxPooling(AdaptivePooling):
    """Maxima that make an image of ``H x W`` of one of any size: ``[..., h, w] -> [..., H, W]``."""

    name = "SpatialAdaptiveMaxPooling"
    doc = "maxima of windows that make an image of a fixed size"
    source = CONVOLUTIONS + "SpatialAdaptiveMaxPooling"
    samples = (Sample((2, 3), distinct(1, 2, 4, 5)), Sample((1, 1), distinct(2, 3, 2)), Sample((4, 2), distinct(1, 3, 3)))

    def reduce(self, b: Lowering, x: Value) -> Value:
        return largest(b, x)
