"""Convolutions whose weights are taken for their signs."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import ClassVar

from graphspec.graph import Module, ParameterSpec, Sample, register
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import DPNN, mean_of, only, with_gradient_of
from graphspec.nn.convolution import SpatialConvolution
from graphspec.sizes import product


@register
class SpatialBinaryConvolution(SpatialConvolution):
    """nn.SpatialConvolution without a bias by the signs of the weight (1 for 0), each plane of the output times the mean of the absolute
    values of its part of the weight: ``[B, nInputPlane, H, W] -> [B, nOutputPlane, H', W']``, or without the batch axis.

    Going back, the weight gets the gradient as if it were its signs, without that factor; so does x, each plane times the mean of the
    absolute values of the weight that reads it.  Rastegari et al. (2016).
    """

    name = "SpatialBinaryConvolution"
    doc = "y = mean |W| * (sign(W) * windows of an image), with gradients that pass the sign by"
    source = DPNN + "SpatialBinaryConvolution.lua"
    methods: ClassVar[tuple[str, ...]] = ()
    samples = (
        Sample((2, 3, 2, 3), (2, 2, 4, 4)),
        Sample((2, 2, 3, 2, 1, 1, 1, 0), (1, 2, 3, 4)),
        Sample((1, 2, 2, 2, 1, 1, 1), (1, 3, 2)),
    )

    def parameters(self, a: SimpleNamespace) -> Mapping[str, ParameterSpec]:
        return {"weight": super().parameters(a)["weight"]}

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x, weight = only(x), b.parameter(m, "weight")
        positive = b.compare(weight, b.full_like(weight, 0), "ge")
        signs = b.where(positive, b.full_like(weight, 1), b.full_like(weight, -1))
        size = b.hold(b.abs(weight))

        def mean(axes: tuple[int, ...]) -> Value:
            return mean_of(b, b.reduce_sum(size, axes), product([weight.shape[axis] for axis in axes]))

        reading = b.mul(x, b.broadcast(mean((0, 2, 3)), x.shape, (x.type.rank - 3,)))
        with b.with_parameter(m, "weight", with_gradient_of(b, signs, weight)):
            y = only(super().lower(b, m, with_gradient_of(b, x, reading)))
        return with_gradient_of(b, b.mul(y, b.broadcast(mean((1, 2, 3)), y.shape, (y.type.rank - 3,))), y)
