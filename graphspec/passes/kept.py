"""Why products stay in loops over time, as ``graphspec compile --why`` says it.

It reads what the pass ``stages`` found (:class:`~graphspec.passes.stages.Apart`), of loops as the passes left them, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from graphspec.errors import Origin
from graphspec.ir.core import Block, Op, Program, Shape, Value
from graphspec.passes.lift import liftable
from graphspec.passes.stages import Apart


@dataclass(frozen=True)
class Kept:
    """A product that is done in every step: where it was made (one of several: the first's, which knows the others), the shapes of what
    it multiplies, why it stays, and, where it waits for the step before, what makes the carries it waits for (``through``).
    ``reverse``: its loop goes back, as that of gradients does."""

    origin: Origin
    reverse: bool
    left: Shape
    right: Shape
    why: str
    through: tuple[Origin, ...] = ()


def kept(program: Program) -> list[Kept]:
    """Products left in loops, in the order in which they are done."""
    return list(_block(program.block))


def _block(block: Block) -> Iterator[Kept]:
    for op in block.ops:
        apart = Apart(op) if op.name == "scan" else None
        for inner in op.blocks:
            if apart is not None:
                yield from (_why(product, apart) for product in inner.ops if product.name == "matmul")
            yield from _block(inner)


def _why(op: Op, apart: Apart) -> Kept:
    left, right = op.inputs
    through: tuple[Origin, ...] = ()
    if op in apart.recurrence:
        why = "waits for the step before"
        through = _carried(op, apart)
    elif not liftable(op, apart.is_fixed):
        stack = ", ".join(map(str, (apart.op.attrs["trip"], *op.output.shape)))
        why = f"all steps at once would need memory for [{stack}]"
    elif apart.is_fixed(left):
        why = "what it multiplies by changes in every step"
    elif apart.is_fixed(right):
        why = "many small products: all steps at once would be no faster"
    else:
        why = "both operands change in every step"
    return Kept(op.origin, apart.op.attrs["reverse"], left.shape, right.shape, why, through)


def _carried(op: Op, apart: Apart) -> tuple[Origin, ...]:
    """Where the carries are made that a product depends on around the loop."""
    following = dict(zip(apart.p.body_carries, apart.p.next_carries, strict=True))
    makers = [following[node].op for node in apart.recurrence[op] if isinstance(node, Value)]
    return tuple(dict.fromkeys(maker.origin for maker in makers if maker is not None))
