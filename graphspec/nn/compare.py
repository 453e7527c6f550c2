"""Modules that compare two vectors, or two batches of them: products and distances."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import ClassVar

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Leaf, Module, Record, Sample, register
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import TORCH, equal_shapes, pair
from graphspec.nn.pointwise import power
from graphspec.shapes.cells import FLOAT, Cell, Mismatch
from graphspec.shapes.infer import Types
from graphspec.sizes import Size

VECTORS = (Sample((), ((2, 3), (2, 3))), Sample((), ((4,), (4,))), Sample((), ((2, 1, 3), (2, 1, 3))))


class Comparison(Record):
    """Base of modules that make one number of two vectors: ``{[..., n], [..., n]} -> [...]``; of two single vectors ``[1]``, as Torch's
    tensors have no fewer axes than one."""

    differs = "more leading axes than one are taken too"
    samples: ClassVar[tuple[Sample, ...]] = VECTORS

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        left, right = s.table(x, 2)
        for cell in (left, right, y):
            s.set(cell, dtype=FLOAT)
        s.wish(left, 2)
        known = s.dims(y)
        if s.dims(left) is None and known is not None and (len(known) > 1 or known[0] != 1):  # not what two single vectors give
            s.set(left, (*known, s.unknown("n")))
        equal_shapes(s, m, [left, right])
        dims = s.dims(left)
        if dims is not None:
            if not dims:
                raise Mismatch("a vector is wanted here, got a scalar")
            s.set(y, self.outer(dims))

    @staticmethod
    def outer(dims: tuple[Size, ...]) -> tuple[Size, ...]:
        return dims[:-1] or (Size.const(1),)

    def compare(self, b: Lowering, m: Module, left: Value, right: Value) -> Value:
        """``[..., n]`` twice to ``[...]``."""
        raise NotImplementedError

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        left, right = pair(x)
        return b.reshape(self.compare(b, m, left, right), self.outer(left.shape))


def dot(b: Lowering, left: Value, right: Value) -> Value:
    """The sum over the last axis of the products."""
    return b.reduce_sum(b.mul(left, right), [left.type.rank - 1])


def norm(b: Lowering, x: Value, p: float = 2.0, eps: float = 0.0) -> Value:
    """``(sum_i |x_i|^p + eps)^(1/p)`` over the last axis, for p above 0; the gradient at 0 is 0."""
    powers = power(b, x if p == 2 else b.abs(x), p)
    total = b.reduce_sum(powers, [x.type.rank - 1])
    return power(b, b.shift_by(total, eps) if eps else total, 1 / p)


@register
class DotProduct(Comparison):
    """``y = sum_i a_i b_i``: ``{[..., n], [..., n]} -> [...]``, of two single vectors ``[1]``."""

    name = "DotProduct"
    doc = "the dot product of two vectors"
    source = TORCH + "table.md#dotproduct"

    def compare(self, b: Lowering, m: Module, left: Value, right: Value) -> Value:
        return dot(b, left, right)


@register
class CosineDistance(Comparison):
    """``y = a.b / sqrt((a.a + e) (b.b + e))`` with e = 1e-12: ``{[..., n], [..., n]} -> [...]``, of two single vectors ``[1]``.

    It is 1 where both point the same way: a likeness, whatever its name says.
    """

    name = "CosineDistance"
    doc = "the cosine of the angle between two vectors"
    source = TORCH + "table.md#cosinedistance"

    def compare(self, b: Lowering, m: Module, left: Value, right: Value) -> Value:
        squares = b.mul(*(b.shift_by(dot(b, v, v), 1e-12) for v in (left, right)))
        return b.div(dot(b, left, right), b.sqrt(squares))


@register
class PairwiseDistance(Comparison):
    """``y = (sum_i |a_i - b_i|^p)^(1/p)``: ``{[..., n], [..., n]} -> [...]``, of two single vectors ``[1]``; p is more than 0."""

    name = "PairwiseDistance"
    doc = "the p-norm of the difference of two vectors"
    source = TORCH + "table.md#pairwisedistance"
    differs = ("more leading axes than one are taken too; the gradient is that of the formula for every p, and 0 at equal vectors; Torch's "
               "adds 1e-6 to the distance, is another for p < 2, and of a random sign for p = 1 where two elements are equal")
    arguments = (Argument("p", "number", 2.0, field="norm"),)
    samples = (
        *VECTORS,
        Sample((1,), ((2, 3), Leaf((2, 3), 2.0, 3.0))),
        Sample((3,), ((2, 3), Leaf((2, 3), 2.0, 3.0))),
        Sample((1.5,), ((4,), Leaf((4,), -3.0, -2.0))),
    )

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        if not 0 < a.p < math.inf:
            raise fail("E0422", f"nn.{self.name}: p must be a number more than 0, got {a.p:g}", origin)

    def compare(self, b: Lowering, m: Module, left: Value, right: Value) -> Value:
        return norm(b, b.sub(left, right), m.args.p)


@register
class CrossProduct(Record):
    """The vector product in three dimensions: ``{[..., 3], [..., 3]} -> [..., 3]``."""

    name = "CrossProduct"
    doc = "the vector product of vectors of three elements"
    source = "torch.cross along the last dimension, as CrossProduct.lua of Torch's forks has it"
    samples = (Sample((), ((2, 3), (2, 3))), Sample((), ((3,), (3,))), Sample((), ((2, 2, 3), (2, 2, 3))))

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        left, right = s.table(x, 2)
        s.like(left, y)
        s.last_axis(left, 3)
        equal_shapes(s, m, [left, right])

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        left, right = pair(x)
        axis = left.type.rank - 1

        def turned(v: Value, by: int) -> Value:
            """Element i is element ``i + by`` of v, around the end."""
            return b.concat([b.slice(v, axis, by, 3 - by), b.slice(v, axis, 0, by)], axis)

        return b.sub(b.mul(turned(left, 1), turned(right, 2)), b.mul(turned(left, 2), turned(right, 1)))
