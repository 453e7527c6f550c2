"""Layouts: weights that a loop multiplies with at every step lie in memory as a product of few rows reads them fastest.

``x Wᵀ`` reads W across its rows.  For many rows BLAS packs W first and its order costs nothing; for the few of one step it takes up to
twice as long as ``x V`` with V = Wᵀ in memory, row after row, which one copy before the loop gives.  For devices that have a BLAS alone.
"""

from __future__ import annotations

from graphspec.ir.builder import Builder
from graphspec.ir.core import Block, Op, Program, Value, scan_parts
from graphspec.passes.told import Told, told

TURNS = 8
"""Steps of a loop that pay for the copy, which takes as long as five products gain."""


def run(program: Program) -> Told:
    return told({"{:matrix|matrices} transposed in memory for a loop": _block(program.block)})


def _block(block: Block) -> int:
    copies: dict[Value, Value] = {}
    copied = 0
    ops: list[Op] = []
    for op in block.ops:
        if op.name == "scan" and (op.attrs["trip"].value is None or op.attrs["trip"].value >= TURNS):
            for v in _across(op):
                if v not in copies:
                    copies[v] = _copy(v, ops)
                    copied += 1
            op.inputs = tuple(copies.get(v, v) if i < op.attrs["consts"] else v for i, v in enumerate(op.inputs))
        copied += sum(_block(inner) for inner in op.blocks)
        ops.append(op)
    block.ops = ops
    return copied


def _across(scan: Op) -> list[Value]:
    """The scan's constants that are transposes of matrices and multiplied with, on the right, inside."""
    p = scan_parts(scan)
    return [
        outer
        for outer, inner in zip(p.consts, p.body_consts, strict=True)
        if outer.op is not None and outer.op.name == "transpose" and outer.type.rank == 2 and _multiplied(inner, scan.blocks[0])
    ]


def _multiplied(v: Value, block: Block) -> bool:
    """Whether v is the right operand of a product in the block, or in a loop that it is a constant of."""
    for op in block.ops:
        if op.name == "matmul" and op.inputs[1] is v:
            return True
        if op.name == "scan":
            p = scan_parts(op)
            if any(outer is v and _multiplied(inner, op.blocks[0]) for outer, inner in zip(p.consts, p.body_consts, strict=True)):
                return True
    return False


def _copy(v: Value, ops: list[Op]) -> Value:
    """The same matrix as a concat, which lies in memory as its shape says: of the transposed parts of what v is the transpose of."""
    assert v.op is not None
    (whole,) = v.op.inputs
    b = Builder()
    with b.at(v.op.origin):
        rows = whole.op is not None and whole.op.name == "concat" and whole.op.attrs["axis"] == 0
        parts = [b.transpose(part, (1, 0)) for part in whole.op.inputs] if rows and whole.op is not None else [v]
        copy = b.one("concat", *parts, axis=1)
    copy.name = v.name
    ops += b.block.ops
    return copy
