"""The primitives: one record each (shape rule, gradient, samples), one file a family.

What each one means is said by :mod:`graphspec.ir.builder` and done, slowly and obviously, by :mod:`graphspec.reference`.
"""

from __future__ import annotations

from graphspec.ir.ops import control, order, pointwise, product, random, reduce, shape, windows
from graphspec.ir.ops.record import PRIMITIVES, Case, IRError, Primitive, check_attributes, primitive

__all__ = [
    "PRIMITIVES",
    "Case",
    "IRError",
    "Primitive",
    "check_attributes",
    "control",
    "order",
    "pointwise",
    "primitive",
    "product",
    "random",
    "reduce",
    "shape",
    "windows",
]
