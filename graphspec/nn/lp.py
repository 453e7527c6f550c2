"""Poolings by p-norms, of images and of features."""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Leaf, Module, Record, Sample, register
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import CONVOLUTIONS, TORCH_CODE, only, unless_known, with_size
from graphspec.nn.pointwise import power
from graphspec.nn.pooling import Pooling
from graphspec.nn.windowed import Sweep, cut, kernel_arguments
from graphspec.shapes.cells import FLOAT, Cell, Mismatch, show
from graphspec.shapes.infer import Types


def check_power(record: Record, name: str, p: float, origin: Origin) -> None:
    if not 0 < p < float("inf"):
        raise fail("E0422", f"nn.{record.name}: {name} must be a finite number more than 0, got {p:g}", origin)


@register
class SpatialLPPooling(Pooling):
    """``(sum x ** pnorm) ** (1 / pnorm)`` of each window: ``[B, nInputPlane, H, W] -> [B, nInputPlane, H', W']``, or without the batch
    axis, ``H' = floor((H - kH) / dH) + 1``; dW and dH are kW and kH unless given."""

    name = "SpatialLPPooling"
    doc = "the p-norm of each window of an image, without absolute values"
    source = CONVOLUTIONS + "SpatialLPPooling"
    arguments = (Argument("nInputPlane"), Argument("pnorm", "number"), *kernel_arguments("WH", None, pad=False))
    samples = (Sample((2, 2, 2, 2), (1, 2, 4, 4)), Sample((1, 3, 2, 2, 1, 1), Leaf((1, 3, 4), 0.2, 1.0)),
               Sample((1, 1.5, 2, 1), Leaf((1, 1, 2, 4), 0.2, 1.0)))

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        super().check(a, origin)
        check_power(self, "pnorm", a.pnorm, origin)

    def planes(self, a: SimpleNamespace) -> tuple[int | None, int | None]:
        return a.nInputPlane, a.nInputPlane

    def pool(self, b: Lowering, m: Module, x: Value) -> Value:
        p = m.args.pnorm
        return power(b, b.reduce_sum(self.seen(b, m, power(b, x, p)), [x.type.rank]), 1 / p)


@register
class FeatureLPPooling(Record):
    """``(sum x ** power) ** (1 / power)`` of each ``width`` features in a row, every ``stride`` features: ``[n, ...] -> [n', ...]`` with
    two more axes at most, and with ``batch_mode`` a batch axis in front, ``[B, n, ...] -> [B, n', ...]``.

    ``n' = floor((n - width) / stride) + 1``; width is 2 to 16, stride 1 to 4.
    """

    name = "FeatureLPPooling"
    doc = "the p-norm of each window of features, without absolute values"
    source = TORCH_CODE + "FeatureLPPooling.lua"
    differs = "batch_mode is false unless given"
    arguments = (Argument("width"), Argument("stride"), Argument("power", "number"), Argument("batch_mode", "flag", False))
    most: ClassVar[int] = 3
    """Axes, without that of a batch."""
    samples = (
        Sample((2, 1, 2), (4,)), Sample((3, 2, 2), Leaf((5, 2), 0.2, 1.0)), Sample((2, 1, 1.5), Leaf((3, 2, 2), 0.2, 1.0)),
        Sample((2, 1, 3, True), Leaf((2, 3), 0.2, 1.0)), Sample((3, 1, 2, True), (2, 4, 3)), Sample((2, 2, 2, True), (2, 4, 2, 1)),
    )

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        for name, low, high in (("width", 2, 16), ("stride", 1, 4)):
            if not low <= getattr(a, name) <= high:
                raise fail("E0422", f"nn.{self.name}: {name} must be {low} to {high}, got {getattr(a, name)}", origin)
        check_power(self, "power", a.power, origin)

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.set(x, dtype=FLOAT)
        s.set(y, dtype=FLOAT)
        axis = int(m.args.batch_mode)
        s.wish(x, axis + 1)
        dims = s.dims(x)
        if dims is None:
            return
        if not axis < len(dims) <= axis + self.most:
            raise Mismatch(f"{axis + 1} to {axis + self.most} axes are wanted here, got {len(dims)}")
        sweep = Sweep(m.args.width, m.args.stride)
        count = sweep.length(dims[axis])
        if dims[axis].value is None:
            s.at_most(sweep.reach, dims[axis])
        if count is None:
            unless_known(s, m, f"a window that moves by more than 1 needs a size that is a number, and {show(dims[axis])} is none",
                         f"dim {axis + 1} of the input is {show(dims[axis])}", dims[axis])
            count = s.unknown("out")
        s.set(y, with_size(dims, axis, count))

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x, a = only(x), m.args
        axis = int(a.batch_mode)
        windows = cut(b, power(b, x, a.power), axis, Sweep(a.width, a.stride))
        return power(b, b.reduce_sum(windows, [axis + 1]), 1 / a.power)
