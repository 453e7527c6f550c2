"""What loops over time stack, put side by side where it is computed, so that products after the loop read it as it lies.

A concat of what a loop stacks is a copy of all of it.  Here the loop stacks the concat itself, and its parts are cut from that.
"""

from __future__ import annotations

from collections.abc import Sequence
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
        b = Builder()
        with b.at(concat.origin):
            parts = _parts(b, whole, concat.attrs["axis"] + 1, [ys[v] for v in concat.inputs])
        cuts = dict(zip(concat.inputs, parts, strict=True))
        table.update((y, cuts[v]) for y, v in zip(p.ys, p.body_ys, strict=True) if v in cuts)  # it may be stacked twice
        cutting[:0] = b.block.ops  # first, since others may be cut from a part
    return cutting


def _parts(b: Builder, whole: Value, axis: int, like: Sequence[Value]) -> list[Value]:
    """What a concat was made of, cut from it again: parts as wide as these values, and called as they are, which may be stacks of them."""
    parts: list[Value] = []
    at = Size.const(0)
    for v in like:
        width = v.shape[axis - whole.type.rank]
        parts.append(b.slice(whole, axis, at, width))
        parts[-1].name = v.name
        at = at + width
    return parts


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
    """Where the last columns of one stack stand before a second stack, or the first ones after it, the loop stacks both side by side: the
    gradients of a GRU's gates, whose candidate has one for what it reads of the input and another for the state's."""
    for op in block.ops:
        runs = _runs(op, block)
        if runs is not None and _widen(block, op, runs):
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


def _widen(block: Block, concat: Op, runs: tuple[_Run, _Run]) -> bool:
    """Stack both in one and cut the concat from that, where the body knows both before it reads what it puts together itself."""
    scan = runs[0].stack.op
    assert scan is not None
    p, body = scan_parts(scan), scan.blocks[0]
    stacks = [run.stack for run in runs]
    if any(v not in p.ys for v in stacks):
        return False  # but the last value of a carry, or a sum
    inner = [p.body_ys[p.ys.index(v)] for v in stacks]
    makers = [v.op for v in inner if v.op in body.ops and v not in p.next_carries]
    if len(makers) < 2 or inner[0] is inner[1] or any(op.name == "concat" and v in op.inputs for op in body.ops for v in inner):
        return False
    joins = [op for op in makers if op is not None and op.name == "concat" and op.attrs["axis"] == op.output.type.rank - 1]
    parts = [part for v in inner for part in (v.op.inputs if v.op in joins and v.op is not None else (v,))]
    last = max(body.ops.index(op) for op in makers if op is not None)
    if len(set(parts)) < len(parts) or any(op.output in reader.inputs for op in joins for reader in body.ops[:last]):
        return False
    b = Builder()
    with b.at(concat.origin):
        whole = b.concat(parts, inner[0].type.rank - 1)
        cuts = _parts(b, whole, whole.type.rank - 1, stacks)
    stack = add_scan_y(scan, whole)
    keep_scan_parts(scan, ys=[i for i, v in enumerate(scan_parts(scan).body_ys) if v not in inner])
    body.ops[last + 1 : last + 1] = b.block.ops
    body.ops = [op for op in body.ops if op not in joins]
    substitute(body, {v: cut for v, cut in zip(inner, cuts, strict=True) if v.op in joins})
    b = Builder()
    with b.at(concat.origin):
        outer = dict(zip(inner, _parts(b, stack, stack.type.rank - 1, stacks), strict=True))
        between = b.slice(stack, stack.type.rank - 1, runs[0].start, concat.output.shape[-1])
        table = {concat.output: b.reshape(between, concat.output.shape)}
    table.update((y, outer[v]) for y, v in zip(p.ys, p.body_ys, strict=True) if v in outer)
    at = block.ops.index(scan) + 1
    block.ops[at:at] = b.block.ops
    block.ops.remove(concat)
    substitute(block, table)
    return True
