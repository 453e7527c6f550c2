"""Reductions over one dimension."""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar

from graphspec.errors import Origin
from graphspec.graph import Argument, Module, Record, Sample, register
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import TORCH, axis_of, distinct, mean_of, only, usual_rank, with_axis, with_size, without
from graphspec.shapes.cells import FLOAT, Cell
from graphspec.shapes.infer import Types
from graphspec.sizes import Size

DIMENSION = (Argument("dimension", "int", 1), Argument("nInputDims", "size", None))


class Reduction(Record):
    """Base of modules that make one number of each row along a dimension, which goes away (of a vector: one element, as Torch's tensors
    have no fewer axes than one).  A negative dimension counts from the end."""

    arguments: ClassVar[tuple[Argument, ...]] = DIMENSION

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        a.squeeze = True

    def reduce(self, b: Lowering, m: Module, x: Value, axis: int) -> Value:
        """``x`` without that axis."""
        raise NotImplementedError

    def dtype(self, a: SimpleNamespace) -> str:
        """The type of the output."""
        return FLOAT

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.set(x, dtype=FLOAT)
        s.set(y, dtype=self.dtype(m.args))
        dims, known, a = s.dims(x), s.dims(y), m.args
        if dims is not None:
            s.set(y, self.reduced(dims, axis_of(a.dimension, len(dims), a.nInputDims), a.squeeze))
        elif known is not None and (len(known) > 1 or not a.squeeze):  # one axis left: of a vector, or of a matrix
            rank = len(known) + (1 if a.squeeze else 0)
            axis = axis_of(a.dimension, rank, a.nInputDims)
            n = s.unknown("n")
            s.set(x, with_axis(known, axis, n) if a.squeeze else with_size(known, axis, n))
        else:
            s.wish(x, usual_rank(a.dimension, a.nInputDims))

    @staticmethod
    def reduced(dims: tuple[Size, ...], axis: int, squeeze: bool) -> tuple[Size, ...]:
        return without(dims, axis) if squeeze and len(dims) > 1 else with_size(dims, axis, 1)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x = only(x)
        axis = axis_of(m.args.dimension, x.type.rank, m.args.nInputDims)
        return b.reshape(self.reduce(b, m, x, axis), self.reduced(x.shape, axis, m.args.squeeze))


@register
class Sum(Reduction):
    """The sum over a dimension, which goes away: ``[B, n] -> [B]`` over the second, ``[n] -> [1]``, as Torch's tensors have no fewer axes
    than one.

    With ``nInputDims`` a tensor with one axis more has a batch axis in front that is not counted; a negative dimension counts from the end;
    ``sizeAverage`` makes it a mean; ``squeeze = false`` keeps the dimension with size 1.
    """

    name = "Sum"
    doc = "the sum over a dimension"
    source = TORCH + "simple.md#sum"
    arguments: ClassVar[tuple[Argument, ...]] = (*DIMENSION, Argument("sizeAverage", "flag", False), Argument("squeeze", "flag", True))
    samples: ClassVar[tuple[Sample, ...]] = (
        Sample((), (2, 3)),
        Sample((2,), (2, 3)),
        Sample((-1,), (2, 3, 2)),
        Sample((1, 1), (2, 3)),
        Sample((1,), (4,)),
        Sample((2, None, True, False), (2, 3, 2)),
    )

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        pass

    def reduce(self, b: Lowering, m: Module, x: Value, axis: int) -> Value:
        y = b.reduce_sum(x, [axis])
        return mean_of(b, y, x.shape[axis]) if m.args.sizeAverage else y


@register
class Mean(Sum):
    """The mean over a dimension, which goes away: ``[B, n] -> [B]`` over the second, ``[n] -> [1]``.

    With ``nInputDims`` a tensor with one axis more has a batch axis in front that is not counted; a negative dimension counts from the end.
    """

    name = "Mean"
    doc = "the mean over a dimension"
    source = TORCH + "simple.md#mean"
    arguments = DIMENSION
    samples = (Sample((), (2, 3)), Sample((2,), (2, 3)), Sample((-1,), (2, 3, 2)), Sample((1, 1), (2, 3)), Sample((1,), (4,)))

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        a.sizeAverage, a.squeeze = True, True


@register
class Max(Reduction):
    """The largest along a dimension, which goes away: ``[B, n] -> [B]`` along the second, ``[n] -> [1]``.

    With ``nInputDims`` a tensor with one axis more has a batch axis in front that is not counted; a negative dimension counts from the end.
    """

    name = "Max"
    doc = "the largest along a dimension"
    source = TORCH + "simple.md#max"
    differs = "among equals the gradient is shared evenly"
    samples: ClassVar[tuple[Sample, ...]] = (
        Sample((), distinct(2, 3)),
        Sample((2,), distinct(2, 4)),
        Sample((-2,), distinct(2, 3, 2)),
        Sample((1, 1), distinct(2, 3)),
        Sample((1,), distinct(4)),
    )

    def reduce(self, b: Lowering, m: Module, x: Value, axis: int) -> Value:
        return b.reduce_max(x, [axis])


@register
class Min(Max):
    """The smallest along a dimension, which goes away: ``[B, n] -> [B]`` along the second, ``[n] -> [1]``.

    With ``nInputDims`` a tensor with one axis more has a batch axis in front that is not counted; a negative dimension counts from the end.
    """

    name = "Min"
    doc = "the smallest along a dimension"
    source = TORCH + "simple.md#min"

    def reduce(self, b: Lowering, m: Module, x: Value, axis: int) -> Value:
        return b.neg(b.reduce_max(b.neg(x), [axis]))


@register
class ArgMax(Reduction):
    """Where the largest along a dimension is, from 1, the first of equals; the dimension goes away: ``[B, n] -> int32 [B]`` along the
    second, ``[n] -> int32 [1]``.

    With ``nInputDim`` a tensor with one axis more has a batch axis in front that is not counted.  The output is int32, or the model's float
    type with ``asLong = false``.
    """

    name = "ArgMax"
    doc = "the index of the largest along a dimension"
    source = "https://github.com/Element-Research/dpnn#nn.ArgMax"
    differs = "a negative dimension counts from the end"
    arguments = (Argument("dim", "int", 1), Argument("nInputDim", "size", None), Argument("asLong", "flag", True))
    samples = (
        Sample((), distinct(2, 3)),
        Sample((2,), distinct(2, 4)),
        Sample((1, 2), distinct(2, 3, 2)),
        Sample((1, None, False), distinct(3, 2)),
        Sample((1,), distinct(4)),
    )

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        a.dimension, a.nInputDims, a.squeeze = a.dim, a.nInputDim, True

    def dtype(self, a: SimpleNamespace) -> str:
        return "int32" if a.asLong else FLOAT

    def reduce(self, b: Lowering, m: Module, x: Value, axis: int) -> Value:
        order = [i for i in range(x.type.rank) if i != axis]
        found = b.argmax(b.transpose(x, [*order, axis]))
        index = b.add(found, b.full_like(found, b.session.index_base))
        return index if m.args.asLong else b.cast(index, b.dtype)
