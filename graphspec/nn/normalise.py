"""Rows brought to one length."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import SimpleNamespace

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Leaf, Module, ParameterSpec, Record, Sample, register
from graphspec.graph.parameter import fill
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import TORCH, TORCH_CODE, drop_axis, mean_of, only
from graphspec.nn.compare import norm
from graphspec.shapes.cells import Cell
from graphspec.shapes.infer import Types


def normalised(b: Lowering, x: Value, p: float, eps: float) -> Value:
    """x over the p-norm of its last axis, eps in Torch's places: inside of the root, or added to the largest element."""
    last = x.type.rank - 1
    length = b.shift_by(b.reduce_max(b.abs(x), [last]), eps) if math.isinf(p) else norm(b, x, p, eps)
    return b.div(x, drop_axis(b, length, x, last))


@register
class Normalize(Record):
    """``y = x / (sum_j |x_j| ** p + eps) ** (1 / p)`` for each row: ``[..., n] -> [..., n]``.

    With ``p = math.huge`` it is ``x / (max_j |x_j| + eps)``.
    """

    name = "Normalize"
    doc = "y = x / (sum_j |x_j| ** p + eps) ** (1 / p)"
    source = TORCH + "simple.md#normalize"
    differs = "more leading axes than one are taken too"
    arguments = (Argument("p", "number"), Argument("eps", "number", 1e-10))
    samples = (Sample((2,), (4,)), Sample((1,), Leaf((2, 3), gap=0.1)), Sample((3, 1e-3), Leaf((2, 3), gap=0.1)),
               Sample((2, 0.1), (2, 3, 2)), Sample((math.inf,), Leaf((2, 3), values=(0.3, -0.9, 0.5, 0.8, 0.2, -0.4))),
               Sample((1.5,), Leaf((3, 2), 0.2, 1.0)))

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        if not a.p > 0:
            raise fail("E0422", f"nn.{self.name}: p must be more than 0, got {a.p:g}", origin)
        if not a.eps >= 0:
            raise fail("E0422", f"nn.{self.name}: eps must be at least 0, got {a.eps:g}", origin)

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.like(x, y)
        s.last_axis(x, s.unknown("n"))

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        return normalised(b, only(x), m.args.p, m.args.eps)


@register
class LayerNormalization(Record):
    """``y = (x - mean) / sqrt(var + eps / n) * weight + bias`` over the last axis: ``[..., nOutput] -> [..., nOutput]``.

    The weight begins as 1, the bias as the argument ``bias`` (0).  Ba, Kiros and Hinton (2016).
    """

    name = "LayerNormalization"
    doc = "y = (x - mean) / sqrt(var + eps / n) * weight + bias, over the features of each row"
    source = TORCH_CODE + "LayerNormalization.lua"
    differs = "more leading axes than one are taken too"
    arguments = (Argument("nOutput"), Argument("bias", "number", 0.0), Argument("eps", "number", 1e-10), Argument("affine", "flag", True))
    samples = (Sample((4,), (4,)), Sample((3, 0.5), (2, 3)), Sample((3, None, 0.1), (2, 3)), Sample((3, None, None, False), (2, 3)),
               Sample((3,), (2, 2, 3)))

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        if not a.eps >= 0:
            raise fail("E0422", f"nn.{self.name}: eps must be at least 0, got {a.eps:g}", origin)

    def parameters(self, a: SimpleNamespace) -> Mapping[str, ParameterSpec]:
        if not a.affine:
            return {}
        return {"weight": ParameterSpec((a.nOutput,), fill(1)), "bias": ParameterSpec((a.nOutput,), fill(a.bias))}

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.like(x, y)
        s.last_axis(x, m.args.nOutput)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x, n = only(x), m.args.nOutput
        last = x.type.rank - 1
        mean = mean_of(b, b.reduce_sum(x, [last]), x.shape[last])
        y = b.scale(normalised(b, b.sub(x, drop_axis(b, mean, x, last)), 2.0, m.args.eps), math.sqrt(n))
        if not m.args.affine:
            return y
        y = b.mul(y, b.broadcast_last(b.parameter(m, "weight"), y))
        return b.add(y, b.broadcast_last(b.parameter(m, "bias"), y))
