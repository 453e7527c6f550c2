"""Parts: a product in a loop of which one part belongs to the recurrence and another does not becomes a product for each part.

Where a cell multiplies a matrix by its input and its state side by side, ``[x, h] W`` is ``x V + h U``, V and U being rows of W: what the
input adds need not wait for the state.  On the way back, columns of ``g W`` that lead to the input's gradient are cut from those that
lead to the state's; where several gates read one ``[x, h]``, ``g W + k V`` is cut first.  What is done with the parts, ``stages`` and
``products`` decide.
"""

from __future__ import annotations

from itertools import groupby

from graphspec.ir.builder import Builder
from graphspec.ir.core import Block, Op, Program, Value, scan_parts
from graphspec.ir.rewrite import invariants, substitute, sum_terms, uses
from graphspec.passes.told import Told, told
from graphspec.sizes import Size


def run(program: Program) -> Told:
    return told({"{:product} in a loop cut where only a part belongs to the recurrence": _inside(program.block)})


def _inside(block: Block) -> int:
    return sum(_inside(inner) for op in block.ops for inner in op.blocks) + sum(_body(op) for op in block.ops if op.name == "scan")


def _body(scan: Op) -> int:
    _cut_sums(scan)
    body, fixed, after = scan.blocks[0], invariants(scan), _Reach(scan)
    ops: list[Op] = []
    table: dict[Value, Value] = {}
    done = 0
    for op in body.ops:
        if op.name == "matmul" and op.output.type.rank == 2 and op.inputs[1] in fixed and op.inputs[0] not in fixed:
            b = Builder()
            with b.at(op.origin):
                found = _rows(b, op, after) or _columns(b, op, after)
            if found:
                ops += b.block.ops
                table |= found
                done += 1
                continue
        ops.append(op)
    body.ops = [op for op in ops if not (op.name == "slice" and op.output in table)]
    substitute(body, table)
    return done


def _cut_sums(scan: Op) -> None:
    """Slices of a sum of products become sums of slices, if they are all that is read of it and only some lead to the next step's sum."""
    body, after = scan.blocks[0], _Reach(scan)
    members, counts = set(body.ops), uses(body)
    ops: list[Op] = []
    table: dict[Value, Value] = {}
    for op in body.ops:
        ops.append(op)
        if op.name != "add" or not _cut_between(after, op.output, op.output):
            continue
        sums, terms = sum_terms(op, members, counts)
        if not any(v.op is not None and v.op.name == "matmul" for v in terms):
            continue
        ops = [other for other in ops if other not in sums]
        for use in after.readers[op.output]:
            b = Builder()
            with b.at(use.origin):
                parts = [b.slice(v, 1, use.attrs["start"], use.attrs["length"]) for v in terms]
                table[use.output] = b.total(parts)
            ops += b.block.ops
    body.ops = [op for op in ops if not (op.name == "slice" and op.output in table)]
    substitute(body, table)


def _cut_between(after: _Reach, whole: Value, target: Value) -> list[Op]:
    """The slices of columns that are all that is read of a matrix, where some lead to ``target`` in a later step and others do not."""
    slices = after.readers.get(whole, [])
    if whole in after.results or any(use.name != "slice" or use.attrs["axis"] != 1 for use in slices):
        return []
    return slices if len({after.leads(use.output, target) for use in slices}) == 2 else []


def _rows(b: Builder, op: Op, after: _Reach) -> dict[Value, Value]:
    """``[x, h] W`` as a sum; nothing where all of the left side waits for the product of the step before, or none of it does."""
    left, matrix = op.inputs
    if left.op is None or left.op.name != "concat" or left.op.attrs["axis"] != 1:
        return {}
    terms, start = [], Size.const(0)
    for _, group in groupby(left.op.inputs, lambda v: after.leads(op.output, v)):
        parts = list(group)
        side = b.concat(parts, 1) if len(parts) > 1 else parts[0]
        terms.append(b.matmul(side, b.slice(matrix, 0, start, side.shape[1])))
        start = start + side.shape[1]
    if len(terms) < 2:
        return {}
    total = b.total(terms)
    total.name = op.output.name
    return {op.output: total}


def _columns(b: Builder, op: Op, after: _Reach) -> dict[Value, Value]:
    """Slices of ``g W``, if they are all that is read of it; nothing where all of them lead to g of the next step, or none does."""
    left, matrix = op.inputs
    slices = _cut_between(after, op.output, left)
    return {use.output: b.matmul(left, b.slice(matrix, 1, use.attrs["start"], use.attrs["length"])) for use in slices}


class _Reach:
    """What a value of a body leads to, in its step and in later ones."""

    def __init__(self, scan: Op) -> None:
        p = scan_parts(scan)
        self.results = set(scan.blocks[0].results)
        self.readers: dict[Value, list[Op]] = {}
        for op in scan.blocks[0].ops:
            for v in dict.fromkeys(op.inputs):
                self.readers.setdefault(v, []).append(op)
        self.carried: dict[Value, list[Value]] = {}
        for before, now in zip(p.body_carries, p.next_carries, strict=True):
            self.carried.setdefault(now, []).append(before)

    def leads(self, source: Value, target: Value) -> bool:
        """Whether ``target`` is computed from ``source``."""
        seen, waiting = {source}, [source]
        while waiting:
            v = waiting.pop()
            if v is target:
                return True
            new = [out for op in self.readers.get(v, ()) for out in op.outputs] + self.carried.get(v, [])
            waiting += [w for w in new if w not in seen]
            seen.update(new)
        return False
