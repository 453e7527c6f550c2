"""Building IR: one method per primitive, appended to the current block, with the current origin.

Shapes and dtypes of results come from the primitive's own rule (:mod:`graphspec.ir.ops`), so nothing ill-typed can
be built.  Pointwise ops want equal shapes; :meth:`Builder.full` and :meth:`Builder.broadcast` make them equal (both are
free at run time: stride-0 views).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from typing import Any

from graphspec.errors import NOWHERE, Origin
from graphspec.ir.core import Block, Op, TensorType, Value, index_type, tensor
from graphspec.ir.ops import check_attributes, primitive
from graphspec.sizes import Size, SizeLike, size


class Builder:
    """Appends ops to ``block``.  ``dtype`` is the float type that :meth:`full` uses unless told otherwise."""

    def __init__(self, block: Block | None = None, dtype: str = "float32") -> None:
        self.block = block if block is not None else Block()
        self.dtype = dtype
        self.origin: Origin = NOWHERE

    @contextmanager
    def at(self, origin: Origin) -> Iterator[None]:
        """Ops built inside carry ``origin``."""
        before, self.origin = self.origin, origin
        try:
            yield
        finally:
            self.origin = before

    def param(self, type: TensorType, name: str = "") -> Value:
        """A new parameter of the block."""
        value = Value(type, name)
        self.block.params.append(value)
        return value

    def emit(self, name: str, *inputs: Value, blocks: Sequence[Block] = (), **attrs: Any) -> tuple[Value, ...]:
        """Any primitive by name; returns its outputs."""
        rule = primitive(name)
        check_attributes(rule, attrs)
        types = rule.infer([v.type for v in inputs], attrs, blocks)
        op = Op(name, inputs, attrs, types, blocks, self.origin)
        self.block.ops.append(op)
        return op.outputs

    def one(self, name: str, *inputs: Value, **attrs: Any) -> Value:
        (value,) = self.emit(name, *inputs, **attrs)
        return value

    # -- constants ---------------------------------------------------------------------------------------------

    def full(self, value: float, shape: Sequence[SizeLike] = (), dtype: str | None = None) -> Value:
        """A constant in every element."""
        return self.one("full", value=value, shape=tuple(size(n) for n in shape), dtype=dtype or self.dtype)

    def full_like(self, x: Value, value: float) -> Value:
        return self.full(value, x.shape, x.dtype)

    def zeros(self, type: TensorType) -> Value:
        return self.full(0, type.shape, type.dtype)

    def iota(self, n: SizeLike, dtype: str = "int32") -> Value:
        """0, 1, ... n-1."""
        return self.one("iota", size=size(n), dtype=dtype)

    def size_value(self, n: SizeLike, dtype: str | None = None) -> Value:
        """A size polynomial as a scalar (the B of a mean over B)."""
        return self.one("size", size=size(n), dtype=dtype or self.dtype)

    # -- pointwise: equal shapes, equal dtypes unless said otherwise ----------------------------------------------

    def add(self, a: Value, b: Value) -> Value:
        return self.one("add", a, b)

    def total(self, values: Sequence[Value]) -> Value:
        """What one or several values add up to, in their order."""
        return reduce(self.add, values)

    def sub(self, a: Value, b: Value) -> Value:
        return self.one("sub", a, b)

    def mul(self, a: Value, b: Value) -> Value:
        return self.one("mul", a, b)

    def div(self, a: Value, b: Value) -> Value:
        return self.one("div", a, b)

    def maximum(self, a: Value, b: Value) -> Value:
        return self.one("maximum", a, b)

    def minimum(self, a: Value, b: Value) -> Value:
        return self.one("minimum", a, b)

    def neg(self, a: Value) -> Value:
        return self.one("neg", a)

    def exp(self, a: Value) -> Value:
        return self.one("exp", a)

    def log(self, a: Value) -> Value:
        return self.one("log", a)

    def log1p(self, a: Value) -> Value:
        return self.one("log1p", a)

    def sqrt(self, a: Value) -> Value:
        return self.one("sqrt", a)

    def abs(self, a: Value) -> Value:
        return self.one("abs", a)

    def sign(self, a: Value) -> Value:
        return self.one("sign", a)

    def tanh(self, a: Value) -> Value:
        return self.one("tanh", a)

    def sigmoid(self, a: Value) -> Value:
        return self.one("sigmoid", a)

    def stop_gradient(self, a: Value) -> Value:
        """a, taken for a constant by autodiff; finished programs do not contain it (:func:`graphspec.ir.rewrite.erase_stops`)."""
        return self.one("stop_gradient", a)

    def compare(self, a: Value, b: Value, how: str) -> Value:
        """bool; ``how`` is one of lt, le, gt, ge, eq, ne."""
        return self.one("compare", a, b, how=how)

    def logical(self, a: Value, b: Value, how: str) -> Value:
        """bool and/or; ``how`` is "and" or "or"."""
        return self.one("logical", a, b, how=how)

    def where(self, condition: Value, a: Value, b: Value) -> Value:
        """``a`` where the bool ``condition`` holds, else ``b``."""
        return self.one("where", condition, a, b)

    def cast(self, a: Value, dtype: str) -> Value:
        return a if a.dtype == dtype else self.one("cast", a, dtype=dtype)

    def scale(self, a: Value, factor: float) -> Value:
        return self.mul(a, self.full_like(a, factor))

    def shift_by(self, a: Value, amount: float) -> Value:
        return self.add(a, self.full_like(a, amount))

    # -- shape -------------------------------------------------------------------------------------------------

    def reshape(self, x: Value, shape: Sequence[SizeLike]) -> Value:
        """The same elements in row-major order under another shape."""
        wanted = tuple(size(n) for n in shape)
        return x if wanted == x.shape else self.one("reshape", x, shape=wanted)

    def transpose(self, x: Value, axes: Sequence[int]) -> Value:
        """Axis i of the result is axis ``axes[i]`` of x."""
        return x if tuple(axes) == tuple(range(len(axes))) else self.one("transpose", x, axes=tuple(axes))

    def broadcast(self, x: Value, shape: Sequence[SizeLike], axes: Sequence[int]) -> Value:
        """Axis i of x becomes axis ``axes[i]`` (rising) of the result, whose other axes repeat x."""
        return self.one("broadcast", x, shape=tuple(size(n) for n in shape), axes=tuple(axes))

    def broadcast_last(self, x: Value, like: Value) -> Value:
        """x repeated over the leading axes of ``like``."""
        first = like.type.rank - x.type.rank
        return self.broadcast(x, like.shape, range(first, like.type.rank)) if first else x

    def broadcast_first(self, x: Value, like: Value) -> Value:
        """x repeated over the trailing axes of ``like``."""
        return self.broadcast(x, like.shape, range(x.type.rank)) if x.type.rank < like.type.rank else x

    def slice(self, x: Value, axis: int, start: SizeLike, length: SizeLike) -> Value:
        return self.one("slice", x, axis=axis, start=size(start), length=size(length))

    def pad(self, x: Value, axis: int, before: SizeLike, after: SizeLike) -> Value:
        """Zeros before and after along one axis."""
        return self.one("pad", x, axis=axis, before=size(before), after=size(after))

    def windows(self, x: Value, axis: int, length: SizeLike, k: SizeLike, stride: int = 1, dilation: int = 1) -> Value:
        """``[..., n, ...] -> [..., length, k, ...]``: element j of window i is element ``i * stride + j * dilation`` of the axis."""
        return self.one("windows", x, axis=axis, length=size(length), size=size(k), stride=stride, dilation=dilation)

    def overlap(self, x: Value, axis: int, n: SizeLike, stride: int = 1, dilation: int = 1) -> Value:
        """The transpose of :meth:`windows`: ``[..., length, k, ...] -> [..., n, ...]``, windows added up where they overlap."""
        return self.one("overlap", x, axis=axis, size=size(n), stride=stride, dilation=dilation)

    def concat(self, xs: Sequence[Value], axis: int) -> Value:
        return xs[0] if len(xs) == 1 else self.one("concat", *xs, axis=axis)

    def unsqueeze(self, x: Value, axis: int) -> Value:
        return self.reshape(x, (*x.shape[:axis], Size.const(1), *x.shape[axis:]))

    def select(self, x: Value, axis: int, index: SizeLike) -> Value:
        """Element ``index`` (from 0) of an axis, which goes away."""
        piece = self.slice(x, axis, index, 1)
        return self.reshape(piece, (*x.shape[:axis], *x.shape[axis + 1 :]))

    def shift(self, init: Value, stack: Value, reverse: bool = False) -> Value:
        """The stack of *previous* states: ``[init, stack[0], ..., stack[n-2]]``; with ``reverse``
        ``[stack[1], ..., stack[n-1], init]``."""
        return self.one("shift", init, stack, reverse=reverse)

    # -- reductions, products, indices ---------------------------------------------------------------------------

    def reduce_sum(self, x: Value, axes: Sequence[int]) -> Value:
        """Sum over ``axes``, which go away."""
        return self.one("reduce_sum", x, axes=tuple(sorted(axes))) if axes else x

    def reduce_max(self, x: Value, axes: Sequence[int]) -> Value:
        return self.one("reduce_max", x, axes=tuple(sorted(axes)))

    def argmax(self, x: Value) -> Value:
        """int32 position (from 0) of the largest element along the last axis; the first of equals."""
        return self.one("argmax", x)

    def top_k(self, x: Value, k: SizeLike) -> tuple[Value, Value]:
        """The ``k`` largest elements along the last axis, largest first, and their int32 positions (from 0); of equals the first comes
        first, and NaN is less than anything."""
        values, positions = self.emit("top_k", x, size=size(k))
        return values, positions

    def cumsum(self, x: Value, reverse: bool = False) -> Value:
        """Running sums along the last axis, the element itself counted: from the first on, or with ``reverse`` from the last back."""
        return self.one("cumsum", x, reverse=reverse)

    def matmul(self, a: Value, b: Value) -> Value:
        """``[*batch, m, k] x [*batch, k, n] -> [*batch, m, n]``, batch axes equal."""
        return self.one("matmul", a, b)

    def gather(self, table: Value, index: Value) -> Value:
        """Rows: ``table[V, *rest]``, ``index[*lead]`` (int, from 0) -> ``[*lead, *rest]``."""
        return self.one("gather", table, index)

    def scatter_add(self, index: Value, rows: Value, n: SizeLike) -> Value:
        """Gather's transpose: zeros ``[n, *rest]`` with ``rows[*lead, *rest]`` added at ``index[*lead]``."""
        return self.one("scatter_add", index, rows, size=size(n))

    def pick(self, x: Value, index: Value) -> Value:
        """``x[*lead, V]`` at ``index[*lead]`` (int, from 0) -> ``[*lead]``."""
        return self.one("pick", x, index)

    def place(self, index: Value, x: Value, n: SizeLike) -> Value:
        """Pick's transpose: ``x[*lead]`` put at ``index`` in zeros ``[*lead, n]``."""
        return self.one("place", index, x, size=size(n))

    def check_index(self, index: Value, n: SizeLike, base: int = 1) -> Value:
        """``index`` unchanged, after a run-time check that every element is in ``base .. base+n-1``."""
        return self.one("check_index", index, size=size(n), base=base)

    # -- random --------------------------------------------------------------------------------------------------

    def random(
        self, kind: str, seed: Value, step: Value, indices: Sequence[Value], site: int, shape: Sequence[SizeLike], dtype: str | None = None
    ) -> Value:
        """``kind`` is "uniform" ([0, 1)) or "normal"; a pure function of (seed, site, step, scan indices, element).

        ``seed`` and ``step`` are int64 scalars, ``indices`` the step indices of the scans around it, outermost first.
        """
        return self.one(
            "random", seed, step, *indices, kind=kind, site=site, shape=tuple(size(n) for n in shape), dtype=dtype or self.dtype
        )

    # -- scan ----------------------------------------------------------------------------------------------------

    def scan(
        self,
        trip: SizeLike,
        consts: Sequence[Value],
        carries: Sequence[Value],
        xs: Sequence[Value],
        body: Callable[[Builder, Value, list[Value], list[Value], list[Value]], tuple[Sequence[Value], Sequence[Value], Sequence[Value]]],
        reverse: bool = False,
    ) -> tuple[list[Value], list[Value], list[Value]]:
        """``body(builder, index, consts, carries, xs) -> (carries, ys, sums)``; returns (last carries, ys, sums)."""
        inner = Builder(dtype=self.dtype)
        inner.origin = self.origin
        index = inner.param(index_type(), "t")
        in_consts = [inner.param(v.type, v.name) for v in consts]
        in_carries = [inner.param(v.type, v.name) for v in carries]
        in_xs = [inner.param(tensor(v.shape[1:], v.dtype), v.name) for v in xs]
        last, ys, sums = (list(part) for part in body(inner, index, in_consts, in_carries, in_xs))
        inner.block.results = [*last, *ys, *sums]
        outs = self.emit(
            "scan",
            *consts,
            *carries,
            *xs,
            blocks=[inner.block],
            trip=size(trip),
            reverse=reverse,
            consts=len(consts),
            carries=len(carries),
            ys=len(ys),
        )
        nk, ny = len(carries), len(ys)
        return list(outs[:nk]), list(outs[nk : nk + ny]), list(outs[nk + ny :])
