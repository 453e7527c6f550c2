"""Small tools that passes share: copying, substituting, and changing a scan's operands."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from graphspec.ir.core import Block, Op, Program, Value, scan_parts, stacked


def copy_op(op: Op, inputs: Sequence[Value]) -> Op:
    """The same op on other inputs; its blocks are copied too."""
    copied = Op(op.name, inputs, op.attrs, [v.type for v in op.outputs], [copy_block(block) for block in op.blocks], op.origin)
    for old, new in zip(op.outputs, copied.outputs, strict=True):
        new.name = old.name
    return copied


def copy_block(block: Block) -> Block:
    """A block of new values and ops."""
    table: dict[Value, Value] = {}
    copied = Block()
    for param in block.params:
        table[param] = Value(param.type, param.name)
        copied.params.append(table[param])
    for op in block.ops:
        new = copy_op(op, [table[v] for v in op.inputs])
        table.update(zip(op.outputs, new.outputs, strict=True))
        copied.ops.append(new)
    copied.results = [table[v] for v in block.results]
    return copied


def copy_program(program: Program) -> Program:
    """A program that can be changed without touching the first."""
    return Program(copy_block(program.block), list(program.inputs), list(program.outputs), list(program.guards), program.name)


def substitute(block: Block, table: Mapping[Value, Value]) -> None:
    """Read ``table[v]`` wherever the block's own ops or results read ``v``."""
    if not table:
        return

    def final(v: Value) -> Value:
        while v in table:
            v = table[v]
        return v

    for op in block.ops:
        if not table.keys().isdisjoint(op.inputs):  # most ops of a long block read nothing of it
            op.inputs = tuple(final(v) for v in op.inputs)
    block.results = [final(v) for v in block.results]


def erase_stops(block: Block, but: Collection[Value] = ()) -> None:
    """Remove every stop_gradient, here and in inner blocks: once gradients are taken it is only another name.  ``but``: those outputs."""
    table = {op.output: op.inputs[0] for op in block.ops if op.name == "stop_gradient" and op.output not in but}
    block.ops = [op for op in block.ops if not (op.name == "stop_gradient" and op.output in table)]
    substitute(block, table)
    for op in block.ops:
        for inner in op.blocks:
            erase_stops(inner, but)


def uses(block: Block) -> dict[Value, int]:
    """How often the block's own ops and results read each value."""
    counts: dict[Value, int] = {}
    for op in block.ops:
        for v in op.inputs:
            counts[v] = counts.get(v, 0) + 1
    for v in block.results:
        counts[v] = counts.get(v, 0) + 1
    return counts


def invariants(scan: Op) -> set[Value]:
    """The values of a scan's body that are the same in every step: its consts, and what is made of them alone."""
    found = set(scan_parts(scan).body_consts)
    for op in scan.blocks[0].ops:
        if all(v in found for v in op.inputs):
            found.update(op.outputs)
    return found


def keep_scan_parts(
    op: Op, *, consts: Iterable[int] | None = None, carries: Iterable[int] | None = None, xs: Iterable[int] | None = None,
    ys: Iterable[int] | None = None, sums: Iterable[int] | None = None,
) -> None:  # fmt: skip
    """Drop every operand and result of a scan that is not listed (by position in its kind), in place; None keeps all of a kind."""
    p = scan_parts(op)
    listed = zip((consts, carries, xs, ys, sums), (p.consts, p.carries, p.xs, p.ys, p.sums), strict=True)
    kc, kk, kx, ky, ks = (list(range(len(part)) if kept is None else kept) for kept, part in listed)
    body = op.blocks[0]
    op.inputs = (*(p.consts[i] for i in kc), *(p.carries[i] for i in kk), *(p.xs[i] for i in kx))
    body.params = [p.index, *(p.body_consts[i] for i in kc), *(p.body_carries[i] for i in kk), *(p.body_xs[i] for i in kx)]
    body.results = [*(p.next_carries[i] for i in kk), *(p.body_ys[i] for i in ky), *(p.body_sums[i] for i in ks)]
    op.outputs = (*(p.last[i] for i in kk), *(p.ys[i] for i in ky), *(p.sums[i] for i in ks))
    op.attrs.update(consts=len(kc), carries=len(kk), ys=len(ky))


def add_scan_const(op: Op, value: Value) -> Value:
    """The body's parameter for an outer value as a const, added if it is none yet."""
    p = scan_parts(op)
    for outer, inner in zip(p.consts, p.body_consts, strict=True):
        if outer is value:
            return inner
    at = len(p.consts)
    param = Value(value.type, value.name)
    op.inputs = (*op.inputs[:at], value, *op.inputs[at:])
    op.blocks[0].params.insert(1 + at, param)
    op.attrs["consts"] += 1
    return param


def add_scan_x(op: Op, value: Value) -> Value:
    """The body's parameter for one step of an outer stack, added if it is none yet."""
    p = scan_parts(op)
    for outer, inner in zip(p.xs, p.body_xs, strict=True):
        if outer is value:
            return inner
    param = Value(value.type.with_shape(value.shape[1:]), value.name)
    op.inputs = (*op.inputs, value)
    op.blocks[0].params.append(param)
    return param


def replace_scan_x(op: Op, param: Value, ops: Sequence[Op], value: Value) -> None:
    """Have the body compute, by ``ops`` at its start, what it was given as an x."""
    body = op.blocks[0]
    body.ops[:0] = ops
    substitute(body, {param: value})
    keep_scan_parts(op, xs=[i for i, v in enumerate(scan_parts(op).body_xs) if v is not param])


def add_scan_y(op: Op, value: Value) -> Value:
    """The outer stack of a value of the body, added if it is none yet."""
    p = scan_parts(op)
    for inner, outer in zip(p.body_ys, p.ys, strict=True):
        if inner is value:
            return outer
    at = len(p.last) + len(p.ys)
    out = Value(stacked(value.type, op.attrs["trip"]), value.name, op)
    op.blocks[0].results.insert(at, value)
    op.outputs = (*op.outputs[:at], out, *op.outputs[at:])
    op.attrs["ys"] += 1
    return out


def sum_terms(total: Op, members: set[Op], counts: dict[Value, int]) -> tuple[list[Op], list[Value]]:
    """The additions that a sum consists of, each of which only the next one reads, and the terms that they add up."""
    sums: list[Op] = [total]
    terms: list[Value] = []
    for op in sums:
        for v in op.inputs:
            alone = v.op is not None and v.op in members and counts[v] == 1
            if alone and v.op is not None and v.op.name == "add":
                sums.append(v.op)
            else:
                terms.append(v)
    return sums, terms
