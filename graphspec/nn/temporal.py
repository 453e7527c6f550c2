"""Convolutions over time, and the largest frames of each feature."""

from __future__ import annotations

import math
from types import SimpleNamespace

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Module, Record, Sample, register
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import CONVOLUTIONS, TORCH_CODE, distinct, exchanged, of_rows, only, unless_known
from graphspec.nn.convolution import LESS_BIAS, Convolution
from graphspec.nn.windowed import cut
from graphspec.shapes.cells import FLOAT, Cell, Mismatch, show
from graphspec.shapes.infer import Types
from graphspec.sizes import Size, product


@register
class TemporalConvolution(Convolution):
    """``[B, T, inputFrameSize] -> [B, T', outputFrameSize]``, or without the batch axis: W times kW frames in a row, + b.

    ``T' = floor((T - kW) / dW) + 1``, which for a step of more than 1 needs T as a number, or a multiple of the step.
    """

    name = "TemporalConvolution"
    doc = "y = W * (kW frames in a row) + b"
    source = CONVOLUTIONS + "TemporalConvolution"
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
    ``featFirst`` ``[B, inputFrameSize, T] -> [B, inputFrameSize, T']``.  ``T' = floor((T - kW) / dW) + 1``."""

    name = "TemporalRowConvolution"
    doc = "a convolution over time of each number of the frames alone"
    source = CONVOLUTIONS + "TemporalRowConvolution"
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


@register
class TemporalDynamicKMaxPooling(Record):
    """The k largest numbers of each feature, in the order in which they come: ``[T, n] -> [k, n]``, or with a batch in front; k is the
    larger one of ``minK`` and ``ceil(factor * T)``.

    Kalchbrenner, Grefenstette and Blunsom (2014).
    """

    name = "TemporalDynamicKMaxPooling"
    doc = "the k largest numbers of each feature over time, in their order"
    source = TORCH_CODE + "TemporalDynamicKMaxPooling.lua"
    differs = "with a factor the number of frames has to be known as a number; of equal ones the first are taken"
    arguments = (Argument("minK"), Argument("factor", "number", 0.0))
    samples = (Sample((2,), distinct(4, 3)), Sample((1, 0.5), distinct(2, 5, 2)), Sample((3,), distinct(2, 3, 2)),
               Sample((2, 0.3), distinct(2, 4, 1)))

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        if not 0 <= a.factor <= 1:
            raise fail("E0422", f"nn.{self.name}: factor must lie between 0 and 1, got {a.factor:g}", origin)

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.set(x, dtype=FLOAT)
        s.set(y, dtype=FLOAT)
        s.wish(x, 3)
        dims = s.dims(x)
        if dims is None:
            return
        if len(dims) not in (2, 3):
            raise Mismatch(f"[time, frame] is wanted here, or a batch of them, got {len(dims)} {'axis' if len(dims) == 1 else 'axes'}")
        steps, least = dims[-2], m.args.minK
        if steps.value is None:
            s.at_most(least, steps)
        elif steps.value < least:
            raise Mismatch(f"the {least} largest of {steps}")
        if steps.value is None and m.args.factor:
            told = f"a share of the frames needs a number of them, and {show(steps)} is none"
            unless_known(s, m, told, f"dim {len(dims) - 1} is {show(steps)}", steps)
            return
        count = max(least, math.ceil(m.args.factor * (steps.value or 0)))
        s.set(y, [*dims[:-2], Size.const(count), dims[-1]])

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x = only(x)
        time, last = x.type.rank - 2, x.type.rank - 1
        series = exchanged(b, x, time, last)
        k = b.type_of(b.use.y).shape[time]
        _, places = b.top_k(b.stop_gradient(series), k)
        backwards, _ = b.top_k(b.neg(b.cast(places, "float64")), k)  # the smallest place first
        return exchanged(b, of_rows(b, series, b.cast(b.neg(backwards), "int32")), time, last)
