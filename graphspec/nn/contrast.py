"""Local contrast: images less the mean around each place, over the deviation around it; planes brought to a mean and a deviation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import ClassVar

import numpy as np

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Leaf, Module, ParameterSpec, Record, Sample, Table, register
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.activation import above
from graphspec.nn.common import CONVOLUTIONS, DPNN, TORCH_CODE, Array, constant, distinct, drop_axis, numbers, only, rows
from graphspec.nn.pointwise import from_zero
from graphspec.nn.pooling import windows_last
from graphspec.nn.spatial import SameImage
from graphspec.nn.windowed import Sweep, cut_all
from graphspec.sizes import product

ROW = Table((1.0, 2.0, 0.5))
PLANE = Table((Table((1.0, 0.5, 2.0)),))
THRESHOLDS = (Argument("threshold", "number", 1e-4), Argument("thresval", "number", None))


def tensor_of(record: Record, a: SimpleNamespace, name: str, ranks: tuple[int, ...], origin: Origin) -> Array:
    """A tensor argument as an array; E0422 for what is none."""
    array = numbers(getattr(a, name))
    if array is None or array.ndim not in ranks:
        axes = {(1,): "one axis", (1, 2): "one axis or two"}[ranks]
        raise fail("E0422", f"nn.{record.name}: {name} must be a tensor of finite numbers with {axes}", origin)
    return array


class Neighbourhood(SameImage):
    """Base of normalisations by what lies around each place, in all planes, weighted by ``kernel``: a plane of weights with odd sides, or a
    row of which that plane is the product with itself.

    The weights are brought to a sum of 1; at the edges those that fall outside do not count.
    """

    arguments: ClassVar[tuple[Argument, ...]] = (Argument("nInputPlane", "size", 1), Argument("kernel", "table", None))
    differs = "the kernel is not changed, and stays as it was when the module was made"

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        if a.kernel is None:
            a.kernel = Table((Table((1.0,) * 9),) * 9)
        kernel = tensor_of(self, a, "kernel", (1, 2), origin)
        if any(n % 2 == 0 for n in kernel.shape):
            sides = " x ".join(map(str, kernel.shape))
            raise fail("E0422", f"nn.{self.name}: the sides of kernel must be odd, so that it has a middle, got {sides}", origin)
        total = float(kernel.sum())
        if not (total and math.isfinite(1 / total)):
            raise fail("E0422", f"nn.{self.name}: the sum of kernel must not be 0", origin)
        a.weights = kernel / total

    def buffers(self, a: SimpleNamespace) -> Mapping[str, ParameterSpec]:
        return {"kernel": constant(a.weights)}

    def planes(self, a: SimpleNamespace) -> int:
        return int(a.nInputPlane)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x = only(x)
        batch = x if x.type.rank == 4 else b.unsqueeze(x, 0)
        return b.reshape(self.normalised(b, m, batch), x.shape)

    def normalised(self, b: Lowering, m: Module, x: Value) -> Value:
        """Of a batch."""
        raise NotImplementedError

    @classmethod
    def around(cls, b: Lowering, m: Module, x: Value) -> tuple[Value, Value]:
        """The weighted mean of all planes around each place of a batch, and how much of the weights lies inside; both as large as x."""
        mean = b.scale(b.reduce_sum(x, [1]), 1 / m.args.nInputPlane)
        inside = b.full(1, (1, *mean.shape[1:]), x.dtype)
        found, share = (cls.weighted(b, m, b.unsqueeze(y, 1)) for y in (mean, inside))
        return drop_axis(b, b.reshape(found, mean.shape), x, 1), b.broadcast(b.reshape(share, mean.shape[1:]), x.shape, (2, 3))

    @staticmethod
    def weighted(b: Lowering, m: Module, x: Value) -> Value:
        """The weighted sum around each place of ``[B, 1, h, w]``: of a plane of weights, or along one axis after the other."""
        kernel = b.buffer(m, "kernel")
        sides = [[n.value or 1 for n in kernel.shape]] if kernel.type.rank == 2 else [[1, kernel.shape[0].value or 1]]
        for high, wide in sides if kernel.type.rank == 2 else [*sides, sides[0][::-1]]:
            cuts = windows_last(b, cut_all(b, x, 2, [Sweep(high, pad=high // 2), Sweep(wide, pad=wide // 2)]), 2)
            x = b.reshape(b.matmul(rows(b, cuts), b.reshape(kernel, (product(kernel.shape), 1))), x.shape)
        return x


def subtracted(b: Lowering, m: Module, x: Value) -> Value:
    """x less the mean around each place."""
    mean, inside = Neighbourhood.around(b, m, x)
    return b.sub(x, b.div(mean, inside))


def divided(b: Lowering, m: Module, x: Value) -> Value:
    """x over the deviation from 0 around each place, over ``thresval`` where that is not above ``threshold``."""
    squares, inside = Neighbourhood.around(b, m, b.mul(x, x))
    deviation = b.div(from_zero(b, squares, b.sqrt), inside)
    return b.div(x, above(b, deviation, m.args.threshold, deviation, b.full_like(deviation, m.args.thresval)))


@register
class SpatialSubtractiveNormalization(Neighbourhood):
    """``y = x - mean``, the mean of all planes around each place: ``[B, nInputPlane, h, w]``, or without the batch axis.

    ``kernel``, a tensor, holds the weights of the places around: a plane with odd sides, or a row of which it is the product with itself
    (9 x 9 equal ones, unless given).  At the edges the weights that fall outside do not count.
    """

    name = "SpatialSubtractiveNormalization"
    doc = "y = x - the weighted mean around each place, of all planes"
    source = CONVOLUTIONS + "SpatialSubtractiveNormalization"
    samples = (Sample((2, ROW), (2, 2, 4, 3)), Sample((1, PLANE), (1, 3, 4)), Sample((), (1, 1, 3, 2)),
               Sample((2, Table((PLANE.items[0], ROW, ROW))), (2, 4, 4)))

    def normalised(self, b: Lowering, m: Module, x: Value) -> Value:
        return subtracted(b, m, x)


class Divisive(Neighbourhood):
    """Base of those that divide by deviations above a threshold."""

    arguments = (*Neighbourhood.arguments, *THRESHOLDS)

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        super().check(a, origin)
        if a.thresval is None:
            a.thresval = a.threshold
        if not (math.isfinite(a.threshold) and math.isfinite(a.thresval)):
            raise fail("E0422", f"nn.{self.name}: threshold and thresval must be finite numbers", origin)


@register
class SpatialDivisiveNormalization(Divisive):
    """``y = x / deviation``, with ``deviation = sqrt(mean of x ** 2) / w`` of all planes around each place, w being how much of the weights
    lies inside the image: ``[B, nInputPlane, h, w]``, or without the batch axis.

    ``kernel``, a tensor, holds the weights of the places around, as that of SpatialSubtractiveNormalization.  Where the deviation is not
    above ``threshold`` it is ``thresval`` (``threshold``, unless given).
    """

    name = "SpatialDivisiveNormalization"
    doc = "y = x / the weighted deviation from 0 around each place, of all planes"
    source = TORCH_CODE + "SpatialDivisiveNormalization.lua"
    samples = (Sample((2, ROW), (2, 2, 4, 3)), Sample((1, PLANE, 0.4, 2.0), distinct(1, 3, 4)), Sample((), (1, 1, 3, 2)),
               Sample((1, ROW, 0.4), Leaf((1, 3, 3), values=(0.1, 0.2, -0.1, 0.3, 0.0, 1.0, 2.0, -1.5, 0.7))))

    def normalised(self, b: Lowering, m: Module, x: Value) -> Value:
        return divided(b, m, x)


@register
class SpatialContrastiveNormalization(Divisive):
    """SpatialSubtractiveNormalization, and SpatialDivisiveNormalization of what it gives, with one kernel: ``[B, nInputPlane, h, w]``, or
    without the batch axis."""

    name = "SpatialContrastiveNormalization"
    doc = "the mean around each place subtracted, then over the deviation around it"
    source = TORCH_CODE + "SpatialContrastiveNormalization.lua"
    samples = (Sample((2, ROW), (2, 2, 4, 3)), Sample((1, PLANE, 0.4, 2.0), distinct(1, 3, 4)), Sample((), (1, 1, 3, 2)))

    def normalised(self, b: Lowering, m: Module, x: Value) -> Value:
        return divided(b, m, subtracted(b, m, x))


@register
class SpatialFeatNormalization(SameImage):
    """``y = (x - mean) / std`` for each plane: ``[B, n, h, w]``, or without the batch axis.

    ``mean`` and ``std`` (of ones, unless given) are tensors of n numbers.
    """

    name = "SpatialFeatNormalization"
    doc = "y = (x - mean) / std, with a mean and a deviation for each plane"
    source = DPNN + "SpatialFeatNormalization.lua"
    arguments = (Argument("mean", "table"), Argument("std", "table", None))
    samples = (Sample((Table((0.5, -1.0)), Table((2.0, 0.5))), (2, 2, 2, 3)), Sample((Table((0.3,)),), (1, 2, 2)))

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        a.means = tensor_of(self, a, "mean", (1,), origin)
        a.deviations = np.ones(a.means.shape) if a.std is None else tensor_of(self, a, "std", (1,), origin)
        if a.deviations.shape != a.means.shape or not a.deviations.all():
            raise fail("E0422", f"nn.{self.name}: std must be {len(a.means)} numbers as mean is, none of them 0", origin)

    def buffers(self, a: SimpleNamespace) -> Mapping[str, ParameterSpec]:
        return {"mean": constant(a.means), "std": constant(a.deviations)}

    def planes(self, a: SimpleNamespace) -> int:
        return len(a.means)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x = only(x)
        mean, std = (b.broadcast(b.buffer(m, key), x.shape, (x.type.rank - 3,)) for key in ("mean", "std"))
        return b.div(b.sub(x, mean), std)
