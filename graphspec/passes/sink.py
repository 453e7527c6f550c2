"""Sinking: pointwise ops on stacks that one loop alone reads are done in the loop.

Where kernels are fused they cost nothing there (a bias is added where the gate is computed), and the stack between is neither written nor
read.  For devices that compile kernels: each op more in a loop costs the others a call a step.
"""

from __future__ import annotations

from graphspec.ir.builder import Builder
from graphspec.ir.core import Block, Op, Program, Value, scan_parts
from graphspec.ir.ops import primitive
from graphspec.ir.rewrite import add_scan_const, add_scan_x, replace_scan_x, uses
from graphspec.passes.told import Told, told


def run(program: Program) -> Told:
    return told({"{:op} on stacks done in the loop that reads them": _block(program.block)})


def _block(block: Block) -> int:
    moved, counts = 0, uses(block)
    made_here = set(block.ops)
    for scan in block.ops:
        waiting = list(scan_parts(scan).xs) if scan.name == "scan" else []
        while waiting:
            outer = waiting.pop()
            if counts.get(outer) == 1 and outer.op is not None and outer.op in made_here and _fits(outer.op):
                waiting += _move(scan, outer, outer.op, counts)
                moved += 1
    return moved + sum(_block(inner) for op in block.ops for inner in op.blocks)  # last: what has come into a body may go on inwards


def _fits(op: Op) -> bool:
    """Whether an op on stacks can be done step by step: all it reads has steps, or is the same in each."""
    return primitive(op.name).pointwise and op.output.type.rank > 0


def _move(scan: Op, outer: Value, op: Op, counts: dict[Value, int]) -> list[Value]:
    """Do ``op`` in the body; returns the stacks that the scan reads now instead of its result."""
    inner = next(i for o, i in zip(scan_parts(scan).xs, scan_parts(scan).body_xs, strict=True) if o is outer)
    b = Builder()
    operands, stacks = [], []
    with b.at(op.origin):
        for v in op.inputs:
            maker = v.op
            if maker is not None and maker.name == "full":
                operands.append(b.full(maker.attrs["value"], v.shape[1:], v.dtype))
            elif maker is not None and maker.name == "broadcast" and 0 not in maker.attrs["axes"]:
                same = add_scan_const(scan, maker.inputs[0])
                operands.append(b.broadcast(same, v.shape[1:], [axis - 1 for axis in maker.attrs["axes"]]))
            else:
                operands.append(add_scan_x(scan, v))
                stacks.append(v)
                counts[v] = counts.get(v, 0)  # read by this scan instead of by the op
        new = b.one(op.name, *operands, **op.attrs)
    new.name = outer.name
    replace_scan_x(scan, inner, b.block.ops, new)
    return stacks
