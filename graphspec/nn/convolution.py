"""Convolutions over time, images and volumes, and their transposes.

All of them are one product of a matrix of weights with the windows of the input.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Module, ParameterSpec, Sample, register
from graphspec.graph.parameter import linear_init
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import CONVOLUTIONS, only
from graphspec.nn.windowed import Windowed, cut_all, kernel_arguments
from graphspec.shapes.cells import Cell, Mismatch
from graphspec.shapes.infer import Types
from graphspec.sizes import Size, product

PLANES = (Argument("nInputPlane"), Argument("nOutputPlane"))
LESS_BIAS = (("noBias", ()),)

LEFT_OUT = {
    "SpatialConvolutionMap": "It takes a table of the pairs of planes that it connects: write nn.SpatialConvolution for all of them "
    "(nn.tables.full), or nn.SpatialDepthWiseConvolution for each plane alone (nn.tables.oneToOne).",
    "SpatialFullConvolutionMap": "It takes a table of the pairs of planes that it connects: write nn.SpatialFullConvolution for all.",
}


class Convolution(Windowed):
    """Base of convolutions: a weight, a bias that ``noBias()`` takes away."""

    methods: ClassVar[tuple[str, ...]] = ("noBias",)

    def call(self, m: Module, method: str, args: Sequence[Any], origin: Origin) -> Module:
        m.parameters.pop("bias", None)
        return m

    def planes(self, a: SimpleNamespace) -> tuple[int | None, int | None]:
        return a.nInputPlane, a.nOutputPlane

    def kernel(self, a: SimpleNamespace) -> tuple[int, ...]:
        """Sizes of the kernel, as its axes lie in the weight."""
        return tuple(getattr(a, f"k{axis}") for axis in self.axes)

    def weight_shape(self, a: SimpleNamespace) -> tuple[int, ...]:
        return (a.nOutputPlane, a.nInputPlane, *self.kernel(a))

    def bias_shape(self, a: SimpleNamespace) -> tuple[int, ...]:
        return (a.nOutputPlane,)

    def parameters(self, a: SimpleNamespace) -> Mapping[str, ParameterSpec]:
        given, _ = self.planes(a)
        assert given is not None
        init = linear_init(math.prod(self.kernel(a)) * given)
        return {"weight": ParameterSpec(self.weight_shape(a), init), "bias": ParameterSpec(self.bias_shape(a), init)}

    def with_bias(self, b: Lowering, m: Module, y: Value, axis: int) -> Value:
        """y and a number more for each index of an axis, if there is a bias."""
        return b.add(y, b.broadcast(b.parameter(m, "bias"), y.shape, (axis,))) if "bias" in m.parameters else y

    def columns(self, b: Lowering, m: Module, x: Value) -> tuple[Value, tuple[Size, ...]]:
        """The windows of ``[B, planes, *axes]`` as columns, ``[planes * kernel, B * windows]``; and the sizes B and windows."""
        n = len(self.axes)
        cuts = cut_all(b, x, 2, self.sweeps(m.args))
        kernel, windows = range(3, 3 + 2 * n, 2), range(2, 2 + 2 * n, 2)
        cuts = b.transpose(cuts, (1, *kernel, 0, *windows))
        return b.reshape(cuts, (product(cuts.shape[: n + 1]), product(cuts.shape[n + 1 :]))), cuts.shape[n + 1 :]

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x = only(x)
        columns, (batch, *sizes) = self.columns(b, m, self.as_batch(b, x))
        weight = b.parameter(m, "weight")
        y = self.with_bias(b, m, b.matmul(b.reshape(weight, (weight.shape[0], columns.shape[0])), columns), 0)
        y = b.transpose(b.reshape(y, (weight.shape[0], batch, *sizes)), (1, 0, *range(2, 2 + len(sizes))))
        return b.reshape(y, b.type_of(b.use.y).shape)


@register
class SpatialConvolution(Convolution):
    """``[B, nInputPlane, H, W] -> [B, nOutputPlane, H', W']``, or without the batch axis.

    A kernel of ``kH x kW`` moves by dH and dW over an image with padH and padW zeros on each side; padH is padW unless given.
    ``H' = floor((H + 2 padH - kH) / dH) + 1``, which for a step of more than 1 needs H as a number, or a multiple of the step.
    """

    name = "SpatialConvolution"
    doc = "y = W * windows of an image + b"
    source = CONVOLUTIONS + "SpatialConvolution"
    differs = "padH is padW unless given, as in Torch's code; its page says 0"
    arguments: ClassVar[tuple[Argument, ...]] = (*PLANES, *kernel_arguments("WH")[:-1], Argument("padH", "int", None))
    samples: ClassVar[tuple[Sample, ...]] = (
        Sample((2, 3, 2, 3), (2, 2, 4, 4)),
        Sample((2, 2, 3, 2, 2, 1, 1, 0), (1, 2, 4, 5)),
        Sample((1, 2, 2, 2, 1, 1, 1), (1, 3, 2)),
        Sample((2, 2, 1, 1), (2, 2, 2, 3), methods=LESS_BIAS),
    )


@register
class SpatialConvolutionMM(SpatialConvolution):
    """SpatialConvolution with its weight as a matrix, ``[nOutputPlane, nInputPlane * kH * kW]``."""

    name = "SpatialConvolutionMM"
    doc = "SpatialConvolution with a matrix as weight"
    samples = (
        Sample((2, 3, 2, 3), (2, 2, 4, 4)),
        Sample((1, 2, 2, 2, 2, 1, 1), (1, 4, 3)),
        Sample((1, 2, 2, 1), (1, 1, 2, 3), methods=LESS_BIAS),
    )

    def weight_shape(self, a: SimpleNamespace) -> tuple[int, ...]:
        return (a.nOutputPlane, a.nInputPlane * a.kH * a.kW)


@register
class SpatialDilatedConvolution(SpatialConvolution):
    """SpatialConvolution whose kernel has gaps, its elements being dilationH and dilationW apart:
    ``H' = floor((H + 2 padH - dilationH (kH - 1) - 1) / dH) + 1``, W' likewise."""

    name = "SpatialDilatedConvolution"
    doc = "y = W * windows of an image with gaps + b"
    source = CONVOLUTIONS + "SpatialDilatedConvolution"
    arguments = (*SpatialConvolution.arguments, Argument("dilationW", "size", 1), Argument("dilationH", "size", 1))
    samples = (
        Sample((2, 2, 2, 3, 1, 1, 0, 0, 2, 1), (2, 2, 4, 4)),
        Sample((1, 2, 2, 2, 2, 1, 1, 1, 1, 2), (1, 3, 4)),
        Sample((1, 2, 2, 2), (1, 1, 3, 2), methods=LESS_BIAS),
    )


@register
class VolumetricConvolution(Convolution):
    """``[B, nInputPlane, T, H, W] -> [B, nOutputPlane, T', H', W']``, or without the batch axis; kernel, steps and padding as
    SpatialConvolution has them, for time, width and height.  padW is padT and padH is padW unless given."""

    name = "VolumetricConvolution"
    doc = "y = W * windows of a volume + b"
    source = CONVOLUTIONS + "VolumetricConvolution"
    differs = "padW is padT and padH is padW unless given, as in Torch's code; its page says 0"
    axes = "THW"
    arguments: ClassVar[tuple[Argument, ...]] = (
        *PLANES, *kernel_arguments("TWH")[:-2], Argument("padW", "int", None), Argument("padH", "int", None),
    )
    samples: ClassVar[tuple[Sample, ...]] = (
        Sample((1, 2, 2, 1, 2), (2, 1, 2, 3, 2)),
        Sample((2, 1, 2, 2, 1, 1, 2, 1, 1, 0, 0), (2, 2, 2, 3)),
        Sample((1, 1, 1, 2, 1, 1, 1, 1, 1), (1, 1, 2, 1, 2), methods=LESS_BIAS),
    )


@register
class VolumetricDilatedConvolution(VolumetricConvolution):
    """VolumetricConvolution whose kernel has gaps: its elements are dilationT, dilationH and dilationW apart."""

    name = "VolumetricDilatedConvolution"
    doc = "y = W * windows of a volume with gaps + b"
    source = CONVOLUTIONS + "VolumetricDilatedConvolution"
    arguments = (*VolumetricConvolution.arguments, *(Argument(f"dilation{axis}", "size", 1) for axis in "TWH"))
    samples = (
        Sample((1, 2, 2, 1, 2, 1, 1, 1, 0, 0, 0, 2, 1, 1), (1, 1, 3, 2, 2)),
        Sample((2, 1, 1, 2, 2, 1, 1, 1, 0, 1, 1, 1, 2, 2), (2, 1, 2, 2)),
    )


class FullConvolution(Convolution):
    """Base of transposed convolutions: what the gradient of a convolution does, with the arguments of that convolution."""

    extra: ClassVar[str] = "WH"

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        super().check(a, origin)
        for axis in self.axes:
            adj = getattr(a, f"adj{axis}")
            if not 0 <= adj < getattr(a, f"d{axis}"):
                raise fail("E0422", f"nn.{self.name}: adj{axis} must be at least 0 and less than d{axis}, got {adj}", origin)

    def weight_shape(self, a: SimpleNamespace) -> tuple[int, ...]:
        return (a.nInputPlane, a.nOutputPlane, *self.kernel(a))

    def adj(self, m: Module, i: int) -> int:
        return int(getattr(m.args, f"adj{self.axes[i]}"))

    def forward(self, m: Module, i: int, n: Size) -> Size | None:
        sweep = self.sweeps(m.args)[i]
        made = (n - 1) * sweep.stride - 2 * sweep.pad + sweep.reach + self.adj(m, i)
        if made.value is not None and made.value < 1:
            raise Mismatch(f"nothing is left of an axis of {n} with {sweep.pad} taken away on both sides")
        return made

    def backward(self, m: Module, i: int, n: Size) -> Size | None:
        sweep = self.sweeps(m.args)[i]
        steps = (n + 2 * sweep.pad - sweep.reach - self.adj(m, i)).divide(sweep.stride)
        return None if steps is None else steps + 1

    def bounds(self, s: Types, m: Module, i: int, n: Size) -> None:
        if (made := self.forward(m, i, n)) is not None:
            s.at_most(1, made)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x = self.as_batch(b, only(x))
        weight, sizes, sweeps = b.parameter(m, "weight"), x.shape[2:], self.sweeps(m.args)
        n = len(sizes)
        rows = b.reshape(b.transpose(x, (1, 0, *range(2, 2 + n))), (x.shape[1], product((x.shape[0], *sizes))))
        flat = b.reshape(weight, (weight.shape[0], product(weight.shape[1:])))
        parts = b.reshape(b.matmul(b.transpose(flat, (1, 0)), rows), (*weight.shape[1:], x.shape[0], *sizes))
        pairs = [axis for i in range(n) for axis in (2 + n + i, 1 + i)]
        y = b.transpose(parts, (1 + n, 0, *pairs))
        for i in reversed(range(n)):
            sweep = sweeps[i]
            full = (sizes[i] - 1) * sweep.stride + sweep.reach + self.adj(m, i)
            y = b.overlap(y, 2 + 2 * i, full, sweep.stride, sweep.dilation)
            y = b.slice(y, 2 + 2 * i, sweep.pad, full - 2 * sweep.pad)
        return b.reshape(self.with_bias(b, m, y, 1), b.type_of(b.use.y).shape)


@register
class SpatialFullConvolution(FullConvolution):
    """``[B, nInputPlane, H, W] -> [B, nOutputPlane, H', W']``, or without the batch axis: the transpose of a SpatialConvolution from
    nOutputPlane to nInputPlane.  ``H' = (H - 1) * dH - 2 padH + kH + adjH``."""

    name = "SpatialFullConvolution"
    doc = "the transpose of a convolution of images, + b"
    source = CONVOLUTIONS + "SpatialFullConvolution"
    differs = "there is no table with a second tensor whose size the output is to have: give adjW and adjH"
    arguments = (*PLANES, *kernel_arguments("WH"), Argument("adjW", "int", 0), Argument("adjH", "int", 0))
    samples = (
        Sample((2, 3, 2, 3), (2, 2, 3, 2)),
        Sample((2, 1, 3, 2, 2, 3, 1, 1, 1, 2), (2, 2, 3)),
        Sample((1, 2, 2, 2, 1, 2), (1, 1, 2, 2), methods=LESS_BIAS),
    )


@register
class VolumetricFullConvolution(FullConvolution):
    """``[B, nInputPlane, T, H, W] -> [B, nOutputPlane, T', H', W']``, or without the batch axis: the transpose of a
    VolumetricConvolution."""

    name = "VolumetricFullConvolution"
    doc = "the transpose of a convolution of volumes, + b"
    source = CONVOLUTIONS + "VolumetricFullConvolution"
    differs = "there is no table with a second tensor whose size the output is to have: give adjT, adjW and adjH"
    axes = "THW"
    arguments = (*PLANES, *kernel_arguments("TWH"), *(Argument(f"adj{axis}", "int", 0) for axis in "TWH"))
    samples = (
        Sample((1, 2, 2, 1, 2), (1, 1, 2, 2, 1)),
        Sample((2, 1, 2, 2, 1, 2, 1, 2, 1, 0, 0, 1, 0, 1), (2, 2, 1, 2)),
        Sample((1, 1, 1, 2, 1), (1, 1, 1, 2, 2), methods=LESS_BIAS),
    )


@register
class SpatialDepthWiseConvolution(SpatialConvolution):
    """Each plane alone, with nOutputPlane kernels: ``[B, nInputPlane, H, W] -> [B, nInputPlane * nOutputPlane, H', W']``, or without the
    batch axis.  Plane ``i * nOutputPlane + o`` of the result is that of plane i and kernel o."""

    name = "SpatialDepthWiseConvolution"
    doc = "a convolution of each plane of an image alone"
    source = CONVOLUTIONS + "SpatialDepthWiseConvolution"
    samples = (
        Sample((2, 3, 2, 3), (2, 2, 4, 4)),
        Sample((3, 2, 2, 2, 2, 1, 1, 0), (3, 3, 4)),
        Sample((2, 1, 2, 1), (1, 2, 2, 3), methods=LESS_BIAS),
    )

    def planes(self, a: SimpleNamespace) -> tuple[int | None, int | None]:
        return a.nInputPlane, a.nInputPlane * a.nOutputPlane

    def bias_shape(self, a: SimpleNamespace) -> tuple[int, ...]:
        return (a.nOutputPlane, a.nInputPlane)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        columns, (batch, *sizes) = self.columns(b, m, self.as_batch(b, only(x)))
        planes, out = m.args.nInputPlane, m.args.nOutputPlane
        kernel = math.prod(self.kernel(m.args))
        weight = b.transpose(b.reshape(b.parameter(m, "weight"), (out, planes, kernel)), (1, 0, 2))
        y = b.matmul(weight, b.reshape(columns, (planes, kernel, columns.shape[1])))
        if "bias" in m.parameters:
            y = b.add(y, b.broadcast(b.transpose(b.parameter(m, "bias"), (1, 0)), y.shape, (0, 1)))
        y = b.transpose(b.reshape(y, (planes * out, batch, *sizes)), (1, 0, 2, 3))
        return b.reshape(y, b.type_of(b.use.y).shape)


@register
class SpatialConvolutionLocal(SpatialConvolution):
    """A SpatialConvolution of images of ``iH x iW`` with a weight and a bias of their own at each place:
    ``[B, nInputPlane, iH, iW] -> [B, nOutputPlane, oH, oW]``, or without the batch axis; oH and oW are its H' and W'."""

    name = "SpatialConvolutionLocal"
    doc = "a convolution with another weight at each place"
    source = CONVOLUTIONS + "SpatialConvolutionLocal"
    arguments = (*PLANES, Argument("iW"), Argument("iH"), *SpatialConvolution.arguments[2:])
    methods = ()
    samples = (Sample((2, 3, 3, 4, 2, 3), (2, 2, 4, 3)), Sample((1, 2, 4, 3, 2, 2, 2, 1, 1, 0), (1, 3, 4)))

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        super().check(a, origin)
        a.out = []
        for n, sweep in zip((a.iH, a.iW), self.sweeps(a), strict=True):
            count = (n + 2 * sweep.pad - sweep.k) // sweep.stride + 1
            if count < 1:
                raise fail("E0422", f"nn.{self.name}: a kernel of {sweep.k} does not fit into {n} with {sweep.pad} on both sides", origin)
            a.out.append(count)

    def weight_shape(self, a: SimpleNamespace) -> tuple[int, ...]:
        return (*a.out, a.nOutputPlane, a.nInputPlane, a.kH, a.kW)

    def bias_shape(self, a: SimpleNamespace) -> tuple[int, ...]:
        return (a.nOutputPlane, *a.out)

    def forward(self, m: Module, i: int, n: Size) -> Size | None:
        return Size.const(m.args.out[i])

    def backward(self, m: Module, i: int, n: Size) -> Size | None:
        return Size.const((m.args.iH, m.args.iW)[i])

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        dims = s.dims(x)
        if dims is not None:
            _, first = self.places(m, len(dims))
            for i, n in enumerate((m.args.iH, m.args.iW)):
                s.equate(dims[first + i], Size.const(n), first + i)
        super().shapes(s, m, x, y)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        columns, (batch, high, wide) = self.columns(b, m, self.as_batch(b, only(x)))
        places, kernel, out = high * wide, columns.shape[0], m.args.nOutputPlane
        weight = b.reshape(b.parameter(m, "weight"), (places, out, kernel))
        columns = b.transpose(b.reshape(columns, (kernel, batch, places)), (2, 0, 1))
        y = b.transpose(b.matmul(weight, columns), (2, 1, 0))
        y = b.add(y, b.broadcast(b.reshape(b.parameter(m, "bias"), (out, places)), y.shape, (1, 2)))
        return b.reshape(y, b.type_of(b.use.y).shape)
