"""What concerns training only: dropout of whole planes, white noise, draws from normal distributions, reversed gradients."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Module, Record, Sample, register
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import DPNN, TORCH, TORCH_CODE, Pointwise, equal_shapes, only, pair, with_gradient_of
from graphspec.nn.regularise import STOCHASTIC, bernoulli, check_chance
from graphspec.shapes.cells import Cell, Mismatch
from graphspec.shapes.infer import Types


class PlaneDropout(Record):
    """Base of dropouts that zero whole planes in training; in evaluation ``y = x * (1 - p)``, as in Torch.

    With ``stochasticInference`` planes are dropped in evaluation too.
    """

    differs = "p has to be less than 1, as that of Dropout; in evaluation there is a gradient too"
    arguments: ClassVar[tuple[Argument, ...]] = (Argument("p", "number", 0.5), STOCHASTIC)
    stochastic = True
    methods = ("setp",)
    axes = 2

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        check_chance(self, a.p, origin)

    def call(self, m: Module, method: str, args: Sequence[Any], origin: Origin) -> Module:
        self.set(m, "p", args[0] if args else None, origin)
        return m

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.like(x, y, self.axes + 2)
        dims = s.dims(x)
        if dims is not None and len(dims) not in (self.axes + 1, self.axes + 2):
            raise Mismatch(f"{self.axes + 1} axes are wanted, or {self.axes + 2} with a batch, got {len(dims)}")

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x = only(x)
        if not b.training and not m.args.stochasticInference:
            return b.scale(x, 1 - m.args.p)
        if b.injected is not None:
            return b.mul(x, b.injected)
        planes = x.type.rank - self.axes
        noise = bernoulli(b, b.full(0, x.shape[:planes], x.dtype), 1 - m.args.p)
        return b.mul(x, b.broadcast(noise, x.shape, range(planes)))


@register
class SpatialDropout(PlaneDropout):
    """Zeroes planes of ``[n, h, w]`` or ``[B, n, h, w]`` in training, each with probability p; in evaluation ``y = x * (1 - p)``, unless
    ``stochasticInference`` says that planes are zeroed there too.  Tompson et al. (2015)."""

    name = "SpatialDropout"
    doc = "zeroes whole planes of images at random in training"
    source = TORCH + "simple.md#spatialdropout"
    samples = (Sample((), (3, 2, 2)), Sample((0.3,), (2, 3, 2, 2)), Sample((0.3,), (2, 3, 2, 2), evaluate=True),
               Sample((0.3, True), (4, 2, 2), evaluate=True))


@register
class VolumetricDropout(PlaneDropout):
    """Zeroes volumes of ``[n, t, h, w]`` or ``[B, n, t, h, w]``, in training and in evaluation as SpatialDropout zeroes planes."""

    name = "VolumetricDropout"
    doc = "zeroes whole volumes at random in training"
    source = TORCH + "simple.md#volumetricdropout"
    axes = 3
    samples = (Sample((), (3, 1, 2, 2)), Sample((0.3,), (2, 3, 2, 1, 2)), Sample((0.3,), (3, 2, 1, 2), evaluate=True))


@register
class TotalDropout(Pointwise):
    """In training the whole input is 0 with probability p, else left as it is; ``y = x`` in evaluation."""

    name = "TotalDropout"
    doc = "zeroes the whole input at random in training"
    source = DPNN + "TotalDropout.lua"
    differs = "in evaluation there is a gradient too"
    arguments = (Argument("p", "number", 0.5),)
    stochastic = True
    samples = (Sample((0.001,), (2, 3)), Sample((0,), (4,)), Sample((0.3,), (2, 3, 2), evaluate=True))

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        check_chance(self, a.p, origin)

    def apply(self, b: Lowering, m: Module, x: Value) -> Value:
        if not b.training:
            return x
        if b.injected is not None:
            return b.mul(x, b.injected)
        return b.mul(x, b.broadcast(bernoulli(b, b.full(0, (), x.dtype), 1 - m.args.p), x.shape, ()))


@register
class SpatialRegionDropout(PlaneDropout):
    """Zeroes one edge of ``[n, h, w]`` or ``[B, n, h, w]`` in training: a share p of the rows at the top or at the bottom, or of the
    columns at the left or at the right, which of the four being drawn once for the whole batch; the rest is divided by 1 - p.

    The number of rows or columns is rounded down; ``y = x`` in evaluation.
    """

    name = "SpatialRegionDropout"
    doc = "zeroes one edge of images in training, drawn from the four"
    source = DPNN + "SpatialRegionDropout.lua"
    differs = "in evaluation there is a gradient too"
    arguments = (Argument("p", "number", 0.2),)
    samples = (Sample((), (2, 5, 5)), Sample((0.5,), (2, 1, 4, 3)), Sample((0.3,), (1, 2, 2), evaluate=True))

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x, p = only(x), m.args.p
        if not b.training:
            return x
        if b.injected is not None:
            return b.mul(x, b.injected)
        edge = b.draw("uniform", ())
        rows = self.near(b, x, x.type.rank - 2, b.compare(edge, b.full_like(edge, 0.25), "lt"), p)
        columns = self.near(b, x, x.type.rank - 1, b.compare(edge, b.full_like(edge, 0.75), "lt"), p)
        upright = b.broadcast(edge, x.shape, ())
        upright = b.compare(upright, b.full_like(upright, 0.5), "lt")
        left, right = b.full_like(x, 0), b.full_like(x, 1 / (1 - p))
        return b.mul(x, b.where(upright, b.where(rows, left, right), b.where(columns, left, right)))

    @staticmethod
    def near(b: Lowering, x: Value, axis: int, start: Value, p: float) -> Value:
        """Which elements lie in the share p at the start of an axis, or at its end; in float64, where ``10 * 0.3`` is 3 as in Lua."""
        n = x.shape[axis]
        place = b.shift_by(b.cast(b.iota(n), "float64"), 1)
        size = b.broadcast(b.size_value(n, "float64"), (n,), ())
        place = b.where(b.broadcast(start, (n,), ()), place, b.sub(b.shift_by(size, 1), place))
        return b.broadcast(b.compare(place, b.scale(size, p), "le"), x.shape, [axis])


@register
class WhiteNoise(Pointwise):
    """``y = x + noise`` in training, the noise drawn from a normal distribution; ``y = x + mean`` in evaluation."""

    name = "WhiteNoise"
    doc = "adds normal noise in training, its mean in evaluation"
    source = TORCH_CODE + "WhiteNoise.lua"
    differs = "in evaluation there is a gradient too"
    arguments = (Argument("mean", "number", 0.0), Argument("std", "number", 0.1))
    stochastic = True
    samples = (Sample((), (2, 3)), Sample((0.5, 2.0), (4,)), Sample((0.5, 2.0), (4,), evaluate=True))

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        if a.std < 0:
            raise fail("E0422", f"nn.{self.name}: std must be at least 0, got {a.std:g}", origin)

    def apply(self, b: Lowering, m: Module, x: Value) -> Value:
        if not b.training:
            return b.shift_by(x, m.args.mean) if m.args.mean else x
        return b.add(x, b.shift_by(b.scale(b.draw("normal", x.shape), m.args.std), m.args.mean))


@register
class Sampler(Record):
    """A draw from normal distributions, ``y = mean + exp(v / 2) e`` with v the logarithm of the variance and e standard normal:
    ``{mean [...], v [...]} -> [...]``.

    Both get gradients.  A caller may inject e.
    """

    name = "Sampler"
    doc = "a draw from a normal distribution of which the mean and the logarithm of the variance are given"
    source = "Kingma and Welling (2013), https://arxiv.org/abs/1312.6114; https://github.com/y0ast/VAE-Torch"
    differs = "in evaluation it gives the mean"
    stochastic = True
    samples = (Sample((), ((2, 3), (2, 3))), Sample((), ((4,), (4,))), Sample((), ((2, 3), (2, 3)), evaluate=True))

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        mean, variance = s.table(x, 2)
        s.like(mean, y)
        equal_shapes(s, m, [mean, variance])

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        mean, variance = pair(x)
        if not b.training:
            return mean
        noise = b.injected if b.injected is not None else b.draw("normal", mean.shape)
        return b.add(mean, b.mul(b.exp(b.scale(variance, 0.5)), only(noise)))


@register
class GradientReversal(Pointwise):
    """``y = x``, and the gradient of x is ``-lambda`` times that of y; Ganin and Lempitsky (2015)."""

    name = "GradientReversal"
    doc = "y = x; going back, the gradient is multiplied by -lambda"
    source = TORCH + "simple.md#gradientreversal"
    arguments = (Argument("lambda", "number", 1.0),)
    methods = ("setLambda",)
    samples = (Sample((), (5,)), Sample((-1,), (2, 3)), Sample((0.3,), (2, 3)))

    def call(self, m: Module, method: str, args: Sequence[Any], origin: Origin) -> Module:
        self.set(m, "lambda", args[0] if args else None, origin)
        return m

    def apply(self, b: Lowering, m: Module, x: Value) -> Value:
        turned = b.scale(x, -float(vars(m.args)["lambda"]))
        return with_gradient_of(b, x, turned)
