"""Convolutions over time."""

from __future__ import annotations

from types import SimpleNamespace

from graphspec.graph import Argument, Module, Sample, register
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import only
from graphspec.nn.convolution import LESS_BIAS, PAGE, Convolution
from graphspec.nn.windowed import cut
from graphspec.sizes import product


@register
class TemporalConvolution(Convolution):
    """``[B, T, inputFrameSize] -> [B, T', outputFrameSize]``, or without the batch axis: W times kW frames in a row, + b.

    ``T' = floor((T - kW) / dW) + 1``, which for a step of more than 1 needs T as a number, or a multiple of the step.
    """

    name = "TemporalConvolution"
    doc = "y = W * (kW frames in a row) + b"
    source = PAGE + "TemporalConvolution"
    axes, frames, methods = "W", True, ()
    arguments = (Argument("inputFrameSize"), Argument("outputFrameSize"), Argument("kW"), Argument("dW", "size", 1))
    samples = (Sample((3, 4, 2), (2, 5, 3)), Sample((2, 3, 3, 2), (6, 2)), Sample((3, 2, 1), (4, 3)))

    def planes(self, a: SimpleNamespace) -> tuple[int | None, int | None]:
        return a.inputFrameSize, a.outputFrameSize

    def weight_shape(self, a: SimpleNamespace) -> tuple[int, ...]:
        return (a.outputFrameSize, a.inputFrameSize * a.kW)

    def bias_shape(self, a: SimpleNamespace) -> tuple[int, ...]:
        return (a.outputFrameSize,)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x = only(x)
        cuts = cut(b, x, x.type.rank - 2, self.sweeps(m.args)[0])
        weight = b.parameter(m, "weight")
        rows = b.reshape(cuts, (product(cuts.shape[:-2]), weight.shape[1]))
        y = b.matmul(rows, b.transpose(weight, (1, 0)))
        return b.reshape(self.with_bias(b, m, y, 1), b.type_of(b.use.y).shape)


@register
class TemporalRowConvolution(Convolution):
    """Each number of the frames alone, over time: ``[B, T, inputFrameSize] -> [B, T', inputFrameSize]``, or without the batch axis; with
    ``featFirst`` ``[B, inputFrameSize, T] -> [B, inputFrameSize, T']``."""

    name = "TemporalRowConvolution"
    doc = "a convolution over time of each number of the frames alone"
    source = PAGE + "TemporalRowConvolution"
    axes = "W"

    arguments = (Argument("inputFrameSize"), Argument("kW"), Argument("dW", "size", 1), Argument("featFirst", "flag", False))
    samples = (
        Sample((3, 2), (2, 4, 3)), Sample((2, 2, 2), (5, 2)), Sample((2, 3, 1, True), (2, 2, 4)),
        Sample((3, 2, 1, True), (3, 3), methods=LESS_BIAS),
    )  # fmt: skip

    def by_frames(self, a: SimpleNamespace) -> bool:
        return not a.featFirst

    def planes(self, a: SimpleNamespace) -> tuple[int | None, int | None]:
        return a.inputFrameSize, a.inputFrameSize

    def weight_shape(self, a: SimpleNamespace) -> tuple[int, ...]:
        return (a.inputFrameSize, 1, a.kW)

    def bias_shape(self, a: SimpleNamespace) -> tuple[int, ...]:
        return (a.inputFrameSize,)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x = only(x)
        plane, first = self.places(m, x.type.rank)
        cuts = cut(b, x, first, self.sweeps(m.args)[0])
        plane += plane > first  # the windows' own axis came before it
        weight = b.reshape(b.parameter(m, "weight"), (m.args.inputFrameSize, m.args.kW))
        if plane > first:
            weight = b.transpose(weight, (1, 0))
        y = b.reduce_sum(b.mul(cuts, b.broadcast(weight, cuts.shape, sorted((plane, first + 1)))), (first + 1,))
        return self.with_bias(b, m, y, plane - (plane > first))
