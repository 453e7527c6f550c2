"""What loops over time stack, put side by side where it is computed, so that products after the loop read it as it lies.

A concat of what a loop stacks is a copy of all of it.  Here the loop stacks the concat itself, and its parts are cut from that.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphspec.ir.builder import Builder
from graphspec.ir.core import Block, Op, Value, scan_parts
from graphspec.ir.rewrite import add_scan_y, keep_scan_parts, substitute
from graphspec.sizes import Size


def stack_together(block: Block) -> int:
    """Where a loop stacks all the parts of a concat, it stacks the whole, and the parts are cut from that."""
    table: dict[Value, Value] = {}
    ops: list[Op] = []
    for op in block.ops:
        ops.append(op)
        if op.name == "scan":
            ops += _cut(op, table)
    block.ops = ops
    substitute(block, table)
    return len(table)


def _cut(scan: Op, table: dict[Value, Value]) -> list[Op]:
    cutting: list[Op] = []
    for concat in scan.blocks[0].ops:
        p = scan_parts(scan)
        ys = dict(zip(p.body_ys, p.ys, strict=True))
        if concat.name != "concat" or any(v not in ys or v in p.next_carries for v in concat.inputs):
            continue
        if len(set(concat.inputs)) < len(concat.inputs):
            continue
        whole = add_scan_y(scan, concat.output)
        gone = set(concat.inputs)
        keep_scan_parts(scan, ys=[i for i, v in enumerate(scan_parts(scan).body_ys) if v not in gone])
        b, axis, start = Builder(), concat.attrs["axis"] + 1, Size.const(0)
        cuts: dict[Value, Value] = {}
        with b.at(concat.origin):
            for v in concat.inputs:
                cuts[v] = b.slice(whole, axis, start, ys[v].shape[axis])
                cuts[v].name = ys[v].name
                start = start + ys[v].shape[axis]
        table.update((y, cuts[v]) for y, v in zip(p.ys, p.body_ys, strict=True) if v in cuts)  # it may be stacked twice
        cutting[:0] = b.block.ops  # first, since others may be cut from a part
    return cutting


@dataclass(frozen=True)
class _Run:
    """Columns of what a loop stacks, from one to before another."""

    stack: Value
    start: Size
    end: Size

    @property
    def width(self) -> Size:
        return self.stack.shape[-1]


def stack_beside(block: Block) -> int:
    """Where the last columns of one stack stand before a second stack, or the first ones after it, the loop puts both side by side, to be
    stacked together: the gradients of a GRU's gates, whose candidate has one for what it reads of the input and another for the state's."""
    for op in block.ops:
        runs = _runs(op, block)
        if runs is not None and _join(op, *(run.stack for run in runs)):
            return 1
    return 0


def _runs(concat: Op, block: Block) -> tuple[_Run, _Run] | None:
    """The two stacks of one loop that a concat of columns consists of, one of them in part."""
    if concat.name != "concat" or concat.attrs["axis"] != concat.output.type.rank - 1:
        return None
    runs: list[_Run] = []
    for v in concat.inputs:
        while v.op is not None and v.op.name == "reshape" and v.op.inputs[0].type.rank and v.op.inputs[0].shape[-1] == v.shape[-1]:
            v = v.op.inputs[0]
        start, length = Size.const(0), v.shape[-1]
        if v.op is not None and v.op.name == "slice" and v.op.attrs["axis"] == v.type.rank - 1:
            start, v = v.op.attrs["start"], v.op.inputs[0]
        if runs and runs[-1].stack is v and runs[-1].end == start:
            runs[-1] = _Run(v, runs[-1].start, start + length)
        else:
            runs.append(_Run(v, start, start + length))
    if len(runs) != 2 or runs[0].stack is runs[1].stack:
        return None
    first, second = runs
    scan, around = first.stack.op, first.stack.shape[:-1]
    if scan is None or scan.name != "scan" or scan is not second.stack.op or scan not in block.ops:
        return None
    if not around or second.stack.shape[:-1] != around:
        return None  # numbers stacked have no columns
    in_part = (first.start != Size.const(0)) != (second.end != second.width)
    return (first, second) if in_part and first.end == first.width and second.start == Size.const(0) else None


def _join(concat: Op, *stacks: Value) -> bool:
    """Put side by side what a loop stacks as these two, where it makes both and neither is put elsewhere."""
    scan = stacks[0].op
    assert scan is not None
    p, body = scan_parts(scan), scan.blocks[0]
    if any(v not in p.ys for v in stacks):
        return False  # but the last value of a carry, or a sum
    inner = [p.body_ys[p.ys.index(v)] for v in stacks]
    if inner[0] is inner[1] or any(v.op not in body.ops or v in p.next_carries for v in inner):
        return False
    if any(op.name == "concat" and v in op.inputs for op in body.ops for v in inner):
        return False
    b = Builder()
    with b.at(concat.origin):
        b.concat(inner, inner[0].type.rank - 1)
    body.ops += b.block.ops
    return True
