"""Residuals: which forward values a backward scan keeps, and which it computes again.

Autodiff stacks every varying forward value that a backward body reads.  A stack is dropped where the value can be had
again for less: by cheap arithmetic, views, comparisons and counter-based random numbers on what the backward body has anyway
(its consts, the forward xs, other residuals, the carry before the step).  What needs a transcendental function or a product is
kept, unless an output expresses it already.  Of what is put together from smaller values, or repeats one, those are kept instead.
"""

from __future__ import annotations

from graphspec.ir.builder import Builder
from graphspec.ir.core import Block, Op, Program, Value, scan_parts
from graphspec.ir.rewrite import add_scan_const, add_scan_x, add_scan_y, copy_op, replace_scan_x, uses
from graphspec.passes.told import Told, told
from graphspec.sizes import product

CHEAP = frozenset(
    "add sub mul neg compare logical where cast full iota size reshape transpose broadcast slice windows random maximum minimum"
    " sign abs concat".split()
)
"""Ops that cost less to do again than to store and load their result for every step."""

ARRANGED = frozenset("broadcast concat reshape transpose full size iota".split())
"""Those that compute nothing: their result says no more than what they read."""


def run(program: Program) -> Told:
    dropped = 0
    while found := _block(program.block):  # what is kept instead of one may give another
        dropped += found
    return told({"{:value} a step computed again instead of stored": dropped})


def _block(block: Block) -> int:
    dropped = sum(_block(inner) for op in block.ops for inner in op.blocks)
    stacks = {out: (op, value) for op in block.ops if op.name == "scan" for out, value in _stacks(op)}
    for op in list(block.ops):
        if op.name == "scan":
            dropped += _backward(block, op, stacks)
    return dropped


def _stacks(op: Op) -> list[tuple[Value, Value]]:
    p = scan_parts(op)
    return list(zip(p.ys, p.body_ys, strict=True))


def _backward(block: Block, op: Op, stacks: dict[Value, tuple[Op, Value]]) -> int:
    """Look at every x of one scan that another scan stacked with the opposite direction."""
    counts = uses(block)
    dropped = 0
    for outer in dict.fromkeys(scan_parts(op).xs):
        if outer not in stacks or counts.get(outer, 0) > sum(v is outer for v in op.inputs):
            continue
        source, value = stacks[outer]
        if source is op or source.attrs["trip"] != op.attrs["trip"] or source.attrs["reverse"] == op.attrs["reverse"]:
            continue
        if value.op is None or value.op.name not in CHEAP or value in scan_parts(source).next_carries:
            continue
        again = _Again(op, source, outer, block)
        if again.possible(value) or again.supply(value):
            p = scan_parts(op)
            position = next(i for i, v in enumerate(p.xs) if v is outer)
            param = p.body_xs[position]
            new = again.build(value)
            replace_scan_x(op, param, again.ops, new)
            dropped += 1
    return dropped


class _Again:
    """Computing a value of the forward body once more in the backward body."""

    def __init__(self, op: Op, source: Op, skip: Value, block: Block) -> None:
        self.op, self.source, self.block = op, source, block
        self.parts = scan_parts(source)
        self.ops: list[Op] = []
        self.done: dict[Value, Value] = {}
        self.consts = dict(zip(self.parts.body_consts, self.parts.consts, strict=True))
        self.xs = dict(zip(self.parts.body_xs, self.parts.xs, strict=True))
        given = set(scan_parts(op).xs)
        self.saved = {value: out for out, value in _stacks(source) if out in given and out is not skip}
        self.stack_of = {value: out for out, value in _stacks(source)}
        self.previous = self._shifted(source, given)

    def _shifted(self, source: Op, given: set[Value]) -> dict[Value, Value]:
        """Carries before the step whose shifted stack the backward scan reads already."""
        found = {}
        for param, init, following in zip(self.parts.body_carries, self.parts.carries, self.parts.next_carries, strict=True):
            for v in given:
                shift = v.op if v.op is not None and v.op.name == "shift" else None
                if shift and shift.inputs == (init, self.stack_of.get(following)) and shift.attrs["reverse"] == source.attrs["reverse"]:
                    found[param] = v
        return found

    def possible(self, value: Value) -> bool:
        if value is self.parts.index or value in self.consts or value in self.xs or value in self.saved or value in self.previous:
            return True
        return value.op is not None and value.op.name in CHEAP and all(self.possible(v) for v in value.op.inputs)

    def supply(self, value: Value) -> bool:
        """Make it possible, if that takes smaller stacks than its own: of what it is put together from or repeats.  What does not wait
        for the step before counts nothing: there will be a stack of it before the loop."""
        parts, waits = self.parts, self._waiting()
        before = dict(zip(parts.body_carries, zip(parts.carries, parts.next_carries, strict=True), strict=True))
        kept: dict[Value, None] = {}
        shifted: list[Value] = []
        waiting = [value]
        while waiting:
            v = waiting.pop()
            if v in before and v not in self.previous:
                shifted.append(v)
                kept[before[v][1]] = None
            elif not self.possible(v):
                if v.op is not None and v.op.name in ARRANGED:
                    waiting += v.op.inputs
                else:
                    kept[v] = None
        new = [v for v in kept if v in waits and v not in self.stack_of]
        if value in kept or sum(product(v.shape).guess() for v in new) >= product(value.shape).guess():
            return False
        stacks = {v: add_scan_y(self.source, v) for v in kept}
        self.saved |= stacks
        b = Builder()
        with b.at(self.op.origin):
            for v in shifted:
                init, following = before[v]
                self.previous[v] = b.shift(init, stacks[following], reverse=self.source.attrs["reverse"])
        at = self.block.ops.index(self.op)
        self.block.ops[at:at] = b.block.ops
        return True

    def _waiting(self) -> set[Value]:
        """What waits for the step before."""
        found = set(self.parts.body_carries)
        for op in self.source.blocks[0].ops:
            if not found.isdisjoint(op.inputs):
                found.update(op.outputs)
        return found

    def build(self, value: Value) -> Value:
        if value not in self.done:
            self.done[value] = self._build(value)
        return self.done[value]

    def _build(self, value: Value) -> Value:
        if value is self.parts.index:
            return scan_parts(self.op).index
        if value in self.consts:
            return add_scan_const(self.op, self.consts[value])
        for table in (self.xs, self.saved, self.previous):
            if value in table:
                return add_scan_x(self.op, table[value])
        assert value.op is not None
        copied = copy_op(value.op, [self.build(v) for v in value.op.inputs])
        self.ops.append(copied)
        return copied.outputs[value.op.outputs.index(value)]
