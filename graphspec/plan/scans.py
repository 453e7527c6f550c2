"""Scans: loops whose carries, stacks and sums are written where they stay.

A carry that is also a y lives in a stack of T+1 slots: turn t reads slot t and writes slot t+1 (mirrored when reverse), the ys, the
states *before* each step (``shift``) and the last state are views of it.  Any other carry has one buffer; its next value is computed
into it where the old one is done with, else moved there at the end of the turn.  Sums start at zero and are added to in place.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from graphspec.ir.core import Block, Op, ScanParts, Value, inverse, scan_parts
from graphspec.plan.destinations import Root, at
from graphspec.plan.emit import ACCUMULATES, BlockEmitter, Code
from graphspec.plan.place import ONE, ZERO, Place
from graphspec.sizes import Size, product


@dataclass
class Carry:
    """One carry of a scan: the stack ``[T+1, *shape]`` or the buffer that it lives in, made when first asked for."""

    op: Op
    init: Value
    next: Value
    stacked: bool
    code: Code
    _place: Place | None = None

    @property
    def trip(self) -> Size:
        trip: Size = self.op.attrs["trip"]
        return trip

    @property
    def whole(self) -> Place:
        if self._place is None:
            shape = (self.trip + 1, *self.init.shape) if self.stacked else self.init.shape
            storage = self.code.storage(self.next.name or self.init.name, self.init.dtype, product(shape))
            self._place = Place.whole(storage, shape)
        return self._place

    @property
    def before(self) -> Place:
        """The states before each step, ``[T, *shape]``."""
        return self.whole.slice(0, ONE if self.op.attrs["reverse"] else ZERO, self.trip)

    @property
    def after(self) -> Place:
        """The states after each step, ``[T, *shape]``."""
        return self.whole.slice(0, ZERO if self.op.attrs["reverse"] else ONE, self.trip)

    @property
    def first(self) -> Place:
        return self._slot(self.trip if self.op.attrs["reverse"] else ZERO) if self.stacked else self.whole

    @property
    def last(self) -> Place:
        return self._slot(ZERO if self.op.attrs["reverse"] else self.trip) if self.stacked else self.whole

    def _slot(self, slot: Size) -> Place:
        whole = self.whole
        return Place(whole.storage, slot * whole.strides[0], whole.shape[1:], whole.strides[1:])


class Emitter(BlockEmitter):
    """Emits one block, scans included."""

    def __init__(self, code: Code, places: dict[Value, Place], block: Block) -> None:
        super().__init__(code, places, block)
        self._carries: dict[Op, list[Carry]] = {op: self._prepare(op) for op in block.ops if op.name == "scan"}
        for op in block.ops:
            if op.name == "shift" and self._stack_of(op):
                self.live.join(op.inputs[1], op.output)

    def _prepare(self, op: Op) -> list[Carry]:
        """Which carries are stacks; values that lie in one stack are views of one another."""
        p = scan_parts(op)
        stacks: set[Value] = set()
        carries = []
        for init, following, last in zip(p.carries, p.next_carries, p.last, strict=True):
            ys = [y for y, v in zip(p.ys, p.body_ys, strict=True) if v is following]
            stacked = bool(ys) and following not in stacks
            if stacked:
                stacks.add(following)
                for y in ys:
                    self.live.join(last, y)
            carries.append(Carry(op, init, following, stacked, self.code))
        return carries

    def scan_wishes(self, op: Op) -> None:
        """Ask for initial carries to be computed where the loop wants them."""
        for carry, last in zip(self._carries[op], scan_parts(op).last, strict=True):
            if self.wishes.ask(carry.init, Root(partial(_first, carry), allowed=partial(self._may_keep, carry))) and carry.stacked:
                self.live.join(last, carry.init)

    def _may_keep(self, carry: Carry) -> bool:
        """Whether the initial value may lie where the carry will: in its own slot of a stack, or where the loop overwrites it if
        the loop is its last reader, and reads it as this carry alone."""
        readers = [v for v in carry.op.inputs if self.live.group(v) is self.live.group(carry.init)]
        return carry.stacked or (len(readers) == 1 and self.live.last_read(carry.init) == self.live.position[carry.op])

    def _stack_of(self, op: Op) -> Carry | None:
        """The stack that holds the result of ``shift(init, ys)``: ys are the states after each step, and init is in the extra slot."""
        init, ys = op.inputs
        scan = ys.op
        if scan is None or scan not in self._carries or scan.attrs["reverse"] != op.attrs["reverse"]:
            return None
        p = scan_parts(scan)
        following = next((v for y, v in zip(p.ys, p.body_ys, strict=True) if y is ys), None)
        return next((c for c in self._carries[scan] if c.stacked and c.next is following and _same(c.init, init)), None)

    def op_shift(self, op: Op) -> None:
        carry = self._stack_of(op)
        if carry:
            self.places[op.output] = carry.before
        else:
            self.compute(op)

    def op_scan(self, op: Op) -> None:
        code, places, p, carries = self.code, self.places, scan_parts(op), self._carries[op]
        for carry in carries:
            if places[carry.init] != carry.first:
                code.emit("copy", [places[carry.init]], [carry.first], op.origin)
        stacks = {carry.next: carry.after for carry in carries if carry.stacked}
        for y, v in zip(p.ys, p.body_ys, strict=True):
            places[y] = stacks.get(v) or self.wishes.wanted(y) or code.new(y)
        for total in p.sums:
            if total in self.sums:  # a sum of sums: added up in one place, from the outermost loop's zero
                places[total] = self.sums[total]
            else:
                places[total] = self.wishes.wanted(total) or code.new(total)
                code.emit("copy", [code.constant(0, total.dtype, total.shape)], [places[total]], op.origin)
        index = self._index(op, p)
        loop = code.open_loop()
        if index:
            places[p.index] = index.turn(loop)
        for outer, inner in zip(p.consts, p.body_consts, strict=True):
            places[inner] = places[outer]
        for outer, inner in zip(p.xs, p.body_xs, strict=True):
            places[inner] = places[outer].turn(loop)
        for carry, inner in zip(carries, p.body_carries, strict=True):
            places[inner] = carry.before.turn(loop) if carry.stacked else carry.whole
        self._body(op, p, carries, loop)
        code.close_loop(op.attrs["trip"], op.attrs["reverse"], op.origin)
        for carry, last in zip(carries, p.last, strict=True):
            places[last] = carry.last

    def _index(self, op: Op, p: ScanParts) -> Place | None:
        """The step index in memory, ``[T]``, when the body reads it."""
        body = op.blocks[0]
        if p.index not in body.results and not any(p.index in inner.inputs for inner in body.ops):
            return None
        trip = op.attrs["trip"]
        place = Place.whole(self.code.storage("t", "int32", trip), (trip,))
        self.code.emit("iota", [], [place], op.origin)
        return place

    def _body(self, op: Op, p: ScanParts, carries: list[Carry], loop: int) -> None:
        code, places = self.code, self.places
        inner = Emitter(code, places, op.blocks[0])
        separate = [(total, v) for total, v in zip(p.sums, p.body_sums, strict=True) if not inner.add_into(v, places[total])]
        slots = [(v, places[y].turn(loop)) for y, v in zip(p.ys, p.body_ys, strict=True)]
        for v, slot in slots:
            inner.wishes.ask(v, Root(at(slot)))
        for carry, old in zip(carries, p.body_carries, strict=True):
            if not carry.stacked:
                inner.wishes.ask(carry.next, Root(at(carry.whole), over=old))
        inner.run()
        for v, slot in slots:
            if places[v] != slot:
                code.emit("copy", [places[v]], [slot], op.origin)
        for total, v in separate:
            code.emit("add", [places[total], places[v]], [places[total]], op.origin)
        # last, because ys and sums may still read the old carries
        code.copies([(carry.whole, places[carry.next]) for carry in carries if not carry.stacked], op.origin)

    def add_into(self, v: Value, place: Place | None) -> bool:
        """Have v, a result that is summed, added to ``place`` by the op that computes it, if that op can and nobody else reads v."""
        while place and self.live.defined(v) and v.op and self.live.uses[v] == 1:
            if v.op.name in ACCUMULATES and (v.op.name != "scan" or v in scan_parts(v.op).sums):
                self.sums[v] = place
                return True
            if v.op.name == "transpose":
                place = place.transpose(inverse(v.op.attrs["axes"]))
            elif v.op.name == "reshape":
                place = place.reshape(v.op.inputs[0].shape)
            else:
                return False
            v = v.op.inputs[0]
        return False


def _same(a: Value, b: Value) -> bool:
    """Whether two values are the same, or the same constant."""
    if a is b:
        return True
    return a.op is not None and b.op is not None and a.op.name == b.op.name == "full" and a.op.attrs["value"] == b.op.attrs["value"]


def _first(carry: Carry) -> Place:
    return carry.first

