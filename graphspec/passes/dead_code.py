"""Dead code: ops whose results nobody reads, and what a scan carries, stacks, sums or is given for nothing.

Checks of indices stay: they are there for their errors.
"""

from __future__ import annotations

from graphspec.ir.core import Block, Op, Program, Value, scan_parts
from graphspec.ir.rewrite import keep_scan_parts
from graphspec.passes.told import Told, told


def run(program: Program) -> Told:
    before = sum(1 for _ in program.block.walk())
    _clean(program.block)
    removed = before - sum(1 for _ in program.block.walk())
    return told({"{:op} removed": removed})


def _clean(block: Block) -> None:
    live = set(block.results)
    kept: list[Op] = []
    for op in reversed(block.ops):
        if not any(v in live for v in op.outputs) and not _checks(op):
            continue
        if op.name == "scan":
            _clean_scan(op, live)
        live.update(op.inputs)
        kept.append(op)
    block.ops = kept[::-1]


def _checks(op: Op) -> bool:
    """Whether an index is checked here or inside: the error is wanted even where the value is not."""
    return op.name == "check_index" or any(_checks(inner) for block in op.blocks for inner in block.ops)


def _clean_scan(op: Op, live: set[Value]) -> None:
    """To the fixpoint: what a scan inside is no longer given need not be handed in from here."""
    before = -1
    while before != (now := len(op.inputs) + sum(len(inner.inputs) for inner in op.blocks[0].walk())):
        before = now
        _clean_once(op, live)


def _clean_once(op: Op, live: set[Value]) -> None:
    p = scan_parts(op)
    ys = [i for i, v in enumerate(p.ys) if v in live]
    sums = [i for i, v in enumerate(p.sums) if v in live]
    carries = {i for i, v in enumerate(p.last) if v in live}
    while True:  # a carry also lives if something live in the body reads it
        body = op.blocks[0]
        wanted = [*(p.next_carries[i] for i in sorted(carries)), *(p.body_ys[i] for i in ys), *(p.body_sums[i] for i in sums)]
        reached = _reached(body, wanted)
        more = {i for i, v in enumerate(p.body_carries) if v in reached} - carries
        if not more:
            break
        carries |= more
    keep_scan_parts(
        op,
        consts=[i for i, v in enumerate(p.body_consts) if v in reached],
        carries=sorted(carries),
        xs=[i for i, v in enumerate(p.body_xs) if v in reached],
        ys=ys,
        sums=sums,
    )
    _clean(op.blocks[0])


def _reached(body: Block, wanted: list[Value]) -> set[Value]:
    """Everything the wanted values are computed from."""
    reached = set(wanted)
    for op in reversed(body.ops):
        if _checks(op) or any(v in reached for v in op.outputs):
            reached.update(op.inputs)
    return reached
