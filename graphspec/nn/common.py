"""What several families of records share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from graphspec.errors import Origin, SpecError, fail
from graphspec.graph import Argument, InitStep, Leaf, Module, ParameterSpec, Record, Table
from graphspec.graph.record import MAX_SIZE
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.shapes.cells import UNKNOWN, Cell, Mismatch
from graphspec.shapes.infer import Types
from graphspec.sizes import Size, SizeLike, product, size

Array = np.ndarray[Any, Any]

TORCH_CODE = "https://github.com/torch/nn/blob/master/"
TORCH = TORCH_CODE + "doc/"
CONVOLUTIONS = TORCH + "convolution.md#nn."
CRITERIONS = TORCH + "criterion.md#"
DPNN = "https://github.com/Element-Research/dpnn/blob/master/"
RNN = "https://github.com/Element-Research/rnn#rnn."
"""Where modules are described: Torch's pages, its code, that of dpnn, the page of rnn."""

LOWEST = -1e30
"""Stands for minus infinity: its exp is 0, and it is finite, since ``-inf - -inf`` is no number, in a value or in a gradient."""

INPLACE = Argument("inplace", "flag", False, note="changes nothing: memory is used again wherever that is safe")
"""Torch's request to overwrite the input."""


def only(x: Tree) -> Value:
    """The tensor that inference has promised."""
    assert isinstance(x, Value)
    return x


def pair(x: Tree) -> tuple[Value, Value]:
    """The two tensors that inference has promised."""
    assert isinstance(x, tuple)
    first, second = x
    return only(first), only(second)


def axis_of(dimension: int, rank: int, input_dims: int | None = None) -> int:
    """Torch's dimension as an axis from 0.

    Negative dimensions count from the end; with ``input_dims`` (Torch's nInputDims) a tensor with one axis more has a batch axis in
    front, which is not counted.  Mismatch when the tensor has no such axis.
    """
    if dimension < 0:
        axis = rank + dimension
    else:
        axis = dimension - 1 + (1 if input_dims is not None and rank == input_dims + 1 else 0)
    if not 0 <= axis < rank:
        counted = "" if dimension else ", which count from 1"
        if axis >= dimension > 0:
            counted = ", of which the first is the batch's and does not count"
        raise Mismatch(f"dimension {dimension} of a tensor with {rank} {'axis' if rank == 1 else 'axes'}{counted}")
    return axis


def usual_rank(dimension: int, input_dims: int | None = None) -> int:
    """The rank to assume of a tensor that has this dimension: a batch axis and as many as that takes, at least ``[B, n]``."""
    return max(dimension, 2) if input_dims is None else input_dims + 1


def set_input_dims(record: Record, m: Module, args: Sequence[Any], origin: Origin) -> Module:
    """Torch's ``setNumInputDims(n)``."""
    n = args[0] if len(args) == 1 else None
    if isinstance(n, bool) or not isinstance(n, (int, float)) or not 1 <= n <= MAX_SIZE or not float(n).is_integer():
        raise fail("E0422", f"nn.{record.name}: setNumInputDims takes one whole number from 1", origin)
    m.args = SimpleNamespace(**{**vars(m.args), "numInputDims": int(n)})
    return m


def offset_of(index: int, length: Size) -> Size:
    """Torch's 1-based index along an axis of that length (negative: from the end) as an offset from 0; Mismatch when outside."""
    number = length.value
    if index == 0 or (number is not None and abs(index) > number):
        raise Mismatch(f"index {index} of an axis of {length}{'' if index else ', which counts from 1'}")
    return Size.const(index - 1) if index > 0 else length + index


def without(dims: Sequence[Size], axis: int) -> tuple[Size, ...]:
    """The sizes without one axis."""
    return (*dims[:axis], *dims[axis + 1 :])


def with_axis(dims: Sequence[Size], axis: int, n: Size) -> tuple[Size, ...]:
    """The sizes with one more axis, of size n, at ``axis``."""
    return (*dims[:axis], n, *dims[axis:])


def with_size(dims: Sequence[Size], axis: int, n: SizeLike) -> tuple[Size, ...]:
    """The sizes with n in the place of that of ``axis``."""
    return (*dims[:axis], size(n), *dims[axis + 1 :])


def numbers(value: Any, finite: bool = True) -> Array | None:
    """A number, or a table of numbers, possibly of such tables, as an array; None for anything else.

    ``finite``: neither NaN nor infinite ones.
    """

    def plain(item: Any) -> Any:
        if isinstance(item, Table) and not item.fields and item.items:
            return [plain(inner) for inner in item.items]
        if isinstance(item, (int, float)) and not isinstance(item, bool) and (math.isfinite(item) or not finite):
            return float(item)
        raise ValueError

    try:
        return np.array(plain(value), np.float64)
    except ValueError:  # also when the inner tables are of several lengths
        return None


def constant(array: Array) -> ParameterSpec:
    """A buffer that holds these numbers."""
    return ParameterSpec(array.shape, InitStep("copy", (array,)))


def distinct(*shape: int) -> Leaf:
    """Numbers no two of which are near each other: finite differences must not change which is the largest."""
    n = math.prod(shape)
    step = next(k for k in (7, 11, 13, 17, 19, 23, 29) if math.gcd(k, n) == 1)
    return Leaf(shape, values=tuple(((i * step) % n - n / 2) / 10 for i in range(n)))


def rows(b: Lowering, x: Value, axes: int = 1) -> Value:
    """The leading axes as one; the last ``axes`` stay."""
    first = x.type.rank - axes
    return x if first == 1 else b.reshape(x, (product(x.shape[:first]), *x.shape[first:]))


def mean_of(b: Lowering, total: Value, count: Size) -> Value:
    """A sum over ``count`` elements as a mean."""
    n = b.size_value(count, total.dtype)
    return b.div(total, b.broadcast(n, total.shape, ()) if total.type.rank else n)


def drop_axis(b: Lowering, reduced: Value, like: Value, axis: int) -> Value:
    """A tensor without ``axis`` repeated along it."""
    return b.broadcast(reduced, like.shape, [i for i in range(like.type.rank) if i != axis])


def exchanged(b: Lowering, x: Value, one: int, other: int) -> Value:
    """With two axes in each other's place."""
    axes = list(range(x.type.rank))
    axes[one], axes[other] = axes[other], axes[one]
    return b.transpose(x, axes)


def taken(b: Lowering, x: Value, axis: int, index: Value) -> Value:
    """The elements of an axis that a list of positions (from 0) names."""
    return exchanged(b, b.gather(exchanged(b, x, 0, axis), index), 0, axis)


def of_rows(b: Lowering, x: Value, index: Value) -> Value:
    """Elements of each row by their positions (int32, from 0): ``x [*lead, n], index [*lead, *k] -> [*lead, *k]``."""
    *lead, n = x.shape
    count = product(lead)
    starts = b.mul(b.iota(count), b.broadcast(b.size_value(n, "int32"), (count,), ()))
    places = b.add(index, b.broadcast(b.reshape(starts, lead), index.shape, range(len(lead))))
    return b.gather(b.reshape(x, (count * n,)), places)


def positive(b: Lowering, x: Value) -> Value:
    """``max(x, 0)``, with no gradient at 0; NaN stays."""
    zero = b.full_like(x, 0)
    return b.where(b.compare(x, zero, "le"), zero, x)


def with_gradient_of(b: Lowering, value: Value, other: Value) -> Value:
    """The value, to the last bit, through which gradients go by definition as if it were ``other``: the difference added to it is 0."""
    return b.add(b.hold(value), b.sub(other, b.hold(other)))


def equal_shapes(s: Types, m: Module, cells: Sequence[Cell]) -> None:
    """E0301 unless all inputs have the same type."""
    s.alike(cells, "E0301", f"{m.record.name} inputs must have equal shapes")


def impossible(s: Types, m: Module, message: str, label: str, code: str, **more: Any) -> SpecError:
    """An error about the current use that is not a plain misfit of sizes."""
    return SpecError(s.explain(code, f"nn.{m.record.name}: {message}", label, **more))


def unless_known(s: Types, m: Module, message: str, label: str, size: Size | None = None) -> None:
    """An error (E0313) if inference ends without knowing more than now, such as a ``size`` that nothing in the spec says."""
    unsaid = size is not None and any(letter.startswith(UNKNOWN) for letter in size.letters)
    helps = ["nothing says what size it is: an input can, where it is made, as `nn.Identity{'B', 7}()` does"] if unsaid else []
    s.need(impossible(s, m, message, label, "E0313", helps=helps).diagnostics[0])


class Pointwise(Record):
    """Base of modules that work on each element alone: any rank, output like input."""

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.like(x, y)

    def apply(self, b: Lowering, m: Module, x: Value) -> Value:
        raise NotImplementedError

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        return self.apply(b, m, only(x))
