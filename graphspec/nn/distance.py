"""How far a vector is from each of a number of learned ones."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import ClassVar

from graphspec.graph import Argument, Module, ParameterSpec, Sample, register
from graphspec.graph.parameter import fill, linear_init
from graphspec.ir.core import Value
from graphspec.lower import Lowering
from graphspec.nn.common import TORCH
from graphspec.nn.compare import norm
from graphspec.nn.linear import Projection

EPSILON = 1e-12
"""What Cosine adds to each length."""


@register
class Euclidean(Projection):
    """``y_j = |w_j - x|`` for each of ``outputSize`` centres w_j, the columns of the weight: ``[..., inputSize] -> [..., outputSize]``."""

    name = "Euclidean"
    doc = "y_j = |w_j - x|, the distance from each centre"
    source = TORCH + "simple.md#euclidean"
    differs = "more leading axes than one are taken too; the gradient is exact, where Torch adds 1e-7 to the distance; at a centre it is 0"
    arguments = (Argument("inputSize"), Argument("outputSize"))
    samples: ClassVar[tuple[Sample, ...]] = (
        Sample((3, 4), (2, 3)), Sample((4, 2), (4,)), Sample((2, 3), (3, 1, 2)), Sample((1, 2), (3, 1)),
    )

    def parameters(self, a: SimpleNamespace) -> Mapping[str, ParameterSpec]:
        return {"weight": ParameterSpec((a.inputSize, a.outputSize), linear_init(a.inputSize))}

    def difference(self, b: Lowering, m: Module, x: Value) -> Value:
        """``[B, outputSize, inputSize]``: what lies between x and each centre."""
        a = m.args
        shape = (x.shape[0], a.outputSize, a.inputSize)
        centres = b.transpose(b.parameter(m, "weight"), (1, 0))
        return b.sub(b.broadcast(x, shape, (0, 2)), b.broadcast(centres, shape, (1, 2)))

    def map(self, b: Lowering, m: Module, x: Value) -> Value:
        return norm(b, self.difference(b, m, x))


@register
class WeightedEuclidean(Euclidean):
    """``y_j = |c_j * (w_j - x)|`` with a factor c_ji for each centre and element (``diagCov``, 1 to begin with), ``outputSize`` centres
    w_j: ``[..., inputSize] -> [..., outputSize]``."""

    name = "WeightedEuclidean"
    doc = "y_j = |c_j * (w_j - x)|, a distance with learned scales"
    source = TORCH + "simple.md#weightedeuclidean"

    def parameters(self, a: SimpleNamespace) -> Mapping[str, ParameterSpec]:
        return {**super().parameters(a), "diagCov": ParameterSpec((a.inputSize, a.outputSize), fill(1))}

    def difference(self, b: Lowering, m: Module, x: Value) -> Value:
        between = super().difference(b, m, x)
        return b.mul(between, b.broadcast_last(b.transpose(b.parameter(m, "diagCov"), (1, 0)), between))


@register
class Cosine(Projection):
    """``y_j = (w_j . x) / (|w_j| |x|)`` for each of ``outputSize`` vectors w_j, the rows of the weight; 1e-12 is added to each length:
    ``[..., inputSize] -> [..., outputSize]``."""

    name = "Cosine"
    doc = "y_j = (w_j . x) / (|w_j| |x|), the cosine of the angle to each learned vector"
    source = TORCH + "simple.md#cosine"
    arguments = (Argument("inputSize"), Argument("outputSize"))
    samples = (Sample((3, 4), (2, 3)), Sample((4, 2), (4,)), Sample((2, 3), (3, 1, 2)))

    def parameters(self, a: SimpleNamespace) -> Mapping[str, ParameterSpec]:
        return {"weight": ParameterSpec((a.outputSize, a.inputSize), linear_init(a.outputSize))}

    def map(self, b: Lowering, m: Module, x: Value) -> Value:
        weight = b.parameter(m, "weight")
        y = b.matmul(x, b.transpose(weight, (1, 0)))
        own, given = (b.shift_by(norm(b, v), EPSILON) for v in (weight, x))
        return b.div(b.div(y, b.broadcast_last(own, y)), b.broadcast_first(given, y))
