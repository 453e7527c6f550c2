"""Doing an op of a scan's body once for all steps: what the op becomes when its operands are stacks ``[T, *shape]``.

An operand that is the same in every step stays as it is where the op allows it (the weight of a product, the table of a lookup), and is
repeated over the steps elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphspec.ir.builder import Builder
from graphspec.ir.core import Op, Value
from graphspec.ir.ops import primitive
from graphspec.sizes import Size, product

Fixed = Callable[[Value], bool]
"""Whether a value of the body is the same in every step."""

AXES: dict[str, Callable[[Any], Any]] = {
    "axis": lambda axis: axis + 1,
    "axes": lambda axes: tuple(a + 1 for a in axes),
}
"""What becomes of attributes that name axes."""

ROWWISE = frozenset(
    "reduce_sum reduce_max argmax top_k cumsum pick place slice pad windows overlap concat check_index".split()
)
"""Ops that leave the leading axes alone, or name the axes they work on."""


def liftable(op: Op, fixed: Fixed) -> bool:
    """Whether all steps can be done at once.  A stack that would grow with another size besides the steps and one more (scores over a
    source, say) is not made."""
    if any(len({letter for n in v.shape for letter in n.letters}) > 1 for v in op.outputs):
        return False
    if op.name == "gather":
        return fixed(op.inputs[0])
    return primitive(op.name).pointwise or op.name in ROWWISE or op.name in ("reshape", "transpose", "broadcast", "matmul")


def gains(op: Op, fixed: Fixed) -> bool:
    """Whether doing all steps at once is faster: a product with a matrix that stays the same is one large product."""
    return op.name == "matmul" and op.output.type.rank == 2 and fixed(op.inputs[1]) and not fixed(op.inputs[0])


def lift(b: Builder, op: Op, trip: Size, operands: list[Value], stacked: list[bool]) -> tuple[Value, ...]:
    """The op on ``operands``, of which those marked are stacks; its results are stacks."""
    with b.at(op.origin):
        if op.name == "matmul" and stacked[0] and not stacked[1] and op.output.type.rank == 2:
            left, right = operands
            rows = b.reshape(left, (product(left.shape[:2]), left.shape[2]))
            return (b.reshape(b.matmul(rows, right), (trip, *op.output.shape)),)
        if op.name == "gather":
            return (b.gather(*operands),)
        operands = [v if is_stack else repeated(b, v, trip) for v, is_stack in zip(operands, stacked, strict=True)]
        if op.name == "reshape":
            return (b.reshape(operands[0], (trip, *op.output.shape)),)
        if op.name == "transpose":
            return (b.transpose(operands[0], (0, *(a + 1 for a in op.attrs["axes"]))),)
        if op.name == "broadcast":
            return (b.broadcast(operands[0], (trip, *op.output.shape), (0, *(a + 1 for a in op.attrs["axes"]))),)
        attrs = {name: AXES[name](value) if name in AXES else value for name, value in op.attrs.items()}
        return b.emit(op.name, *operands, **attrs)


def repeated(b: Builder, v: Value, trip: Size) -> Value:
    """The same value at every step: ``[T, *shape]``."""
    return b.broadcast(v, (trip, *v.shape), range(1, v.type.rank + 1))
