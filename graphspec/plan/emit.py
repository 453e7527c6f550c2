"""From a block to instructions: every value gets a place, every op at most a few kernel calls.

Views cost nothing; what is computed goes where it is wanted (:mod:`graphspec.plan.destinations`), else over an input that dies
(pointwise ops), else into a storage of its own.  Scans are in :mod:`graphspec.plan.scans`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from graphspec.errors import Origin
from graphspec.ir.core import Block, Op, Shape, Value
from graphspec.plan.destinations import Destinations, elementwise
from graphspec.plan.kernels import kernel_tree
from graphspec.plan.liveness import Liveness
from graphspec.plan.place import ZERO, Place, Storage
from graphspec.plan.shards import sharded_rows
from graphspec.sizes import Size, product, to_expr
from graphspec_runtime.plan import Instruction, Loop, View, walk

ATTRS = {
    "compare": ("how",), "logical": ("how",), "reduce_sum": ("axes",), "reduce_max": ("axes",), "random": ("kind", "site"),
    "shift": ("reverse",), "cumsum": ("reverse",),
    "overlap": ("axis", "stride", "dilation"),
}  # fmt: skip
"""What a kernel is told besides its views: attributes that shapes and dtypes do not say."""

ACCUMULATES = frozenset({"matmul", "reduce_sum", "scatter_add", "scan"})
"""Ops that can add to their output instead of writing it."""

Moves = list[tuple[Place, Place]]
"""Destinations and sources of copies that happen at once."""


class Code:
    """The plan under construction: storages, instructions, open loops, numbers."""

    def __init__(self) -> None:
        self.storages: list[Storage] = []
        self.steps: list[list[Instruction | Loop]] = [[]]
        self.path: tuple[int, ...] = ()
        self.origins: dict[str, int] = {}
        self.loops = 0
        self.serial = 0
        self.views: list[tuple[Storage, Place]] = []
        self._constants: dict[tuple[str, object], Storage] = {}
        self._index: dict[Storage, int] = {}
        self._starts: list[int] = []
        self._outer: list[set[Storage]] = []

    def storage(self, name: str, dtype: str, count: Size) -> Storage:
        return self.add(Storage(name, dtype, count, "arena", self.path))

    def add(self, storage: Storage) -> Storage:
        self._index[storage] = len(self.storages)
        self.storages.append(storage)
        return storage

    def new(self, v: Value) -> Place:
        """A storage of its own for a value."""
        return Place.whole(self.storage(v.name, v.dtype, product(v.shape)), v.shape)

    def constant(self, value: float | Size, dtype: str, shape: Shape) -> Place:
        """One element in memory, repeated by strides of 0."""
        key = (dtype, value if isinstance(value, Size) else repr(value))
        if key not in self._constants:
            self._constants[key] = self.add(Storage("", dtype, Size.const(1), "constant", value=value))
        return Place(self._constants[key], ZERO, (), ()).broadcast(shape, ())

    def emit(self, kernel: str, inputs: Sequence[Place], outputs: Sequence[Place], origin: Origin, **attrs: Any) -> None:
        self.serial += 1
        for place in (*inputs, *outputs):
            self.touch(place.storage)
        views = [tuple(self.view(place) for place in places) for places in (inputs, outputs)]
        self.steps[-1].append(Instruction(kernel, views[0], views[1], attrs, self.origin(origin), self.serial))

    def touch(self, storage: Storage) -> None:
        """Extend a storage's lifetime to the present instruction; to the whole of a loop, if the storage was made outside of it."""
        depth = len(storage.path)
        if depth < len(self.path):
            storage.touch(self._starts[depth])
            self._outer[depth].add(storage)
        else:
            storage.touch(self.serial)

    def open_loop(self) -> int:
        loop, self.loops = self.loops, self.loops + 1
        self.serial += 1
        self.path = (*self.path, loop)
        self._starts.append(self.serial)
        self._outer.append(set())
        self.steps.append([])
        return loop

    def close_loop(self, trip: Size, reverse: bool, origin: Origin) -> None:
        self.serial += 1
        loop, self.path = self.path[-1], self.path[:-1]
        start = self._starts.pop()
        for storage in self._outer.pop():
            storage.touch(self.serial)
        body = tuple(self.steps.pop())
        made = Loop(loop, to_expr(trip), reverse, body, self.origin(origin))
        rows = sharded_rows(made)
        if rows is not None:  # threads are at different turns: what one has read already, another has yet to write
            for buffer in {v.buffer for step, _ in walk(body) for v in (*step.inputs, *step.outputs)}:
                self.storages[buffer].touch(start)
                self.storages[buffer].touch(self.serial)
        self.steps[-1].append(replace(made, rows=rows))

    def view(self, place: Place) -> View:
        steps = tuple((loop, to_expr(step)) for loop, step in place.steps)
        shape, strides = (tuple(to_expr(n) for n in sizes) for sizes in (place.shape, place.strides))
        return View(self._index[place.storage], to_expr(place.offset), shape, strides, steps)

    def origin(self, origin: Origin) -> int:
        if origin.span is None:
            return -1
        return self.origins.setdefault(str(origin), len(self.origins))

    def copies(self, moves: Moves, origin: Origin) -> None:
        """Parallel moves: no destination is overwritten before everything that reads it is done; a cycle goes through memory."""
        waiting = [(to, source) for to, source in moves if to != source]
        while waiting:
            for k, (to, source) in enumerate(waiting):
                others = waiting[:k] + waiting[k + 1 :]
                if source.storage is not to.storage and all(other.storage is not to.storage for _, other in others):
                    self.emit("copy", [source], [to], origin)
                    waiting = others
                    break
            else:
                to, source = waiting[0]
                saved = Place.whole(self.storage("", source.storage.dtype, product(source.shape)), source.shape)
                self.emit("copy", [source], [saved], origin)
                waiting[0] = (to, saved)


class BlockEmitter:
    """Emits one block, all but its scans.

    ``places`` says where values lie (the block's parameters must be there); ``sums`` are the values of this block that are added to a
    place instead of being written.
    """

    def __init__(self, code: Code, places: dict[Value, Place], block: Block) -> None:
        self.code, self.places, self.block = code, places, block
        self.sums: dict[Value, Place] = {}
        self.live = Liveness(block)
        self.wishes = Destinations(self.live, places, self.reserve)

    def run(self) -> None:
        """Emit every op; wishes for the block's results have been asked."""
        self.wishes.spread(self.block, self.scan_wishes)
        for op in self.block.ops:
            emitter = getattr(self, f"op_{op.name}", self.compute)
            emitter(op)

    def scan_wishes(self, op: Op) -> None:
        raise NotImplementedError

    def reserve(self, v: Value) -> Place:
        """The place of a concat or pad, decided when its first part is computed."""
        if v not in self.places:
            self.places[v] = self.wishes.wanted(v) or self.code.new(v)
        return self.places[v]

    def compute(self, op: Op) -> None:
        """One kernel call that writes all outputs."""
        attrs = {name: op.attrs[name] for name in ATTRS.get(op.name, ())}
        if op.name == "fused":
            attrs.update(kernel_tree(op))
            found = (self.code.origin(inner.origin) for inner in op.blocks[0].ops)
            attrs["origins"] = tuple(dict.fromkeys(i for i in found if i >= 0))
        elif op.name == "matmul" and op.origin.parts:
            work: dict[int, Size] = {}
            for origin, n in op.origin.parts:
                i = self.code.origin(origin)
                work[i] = work.get(i, ZERO) + n
            if min(work) >= 0:
                attrs.update(origins=tuple(work), work=tuple(map(to_expr, work.values())))
        taken: list[Place] = []
        for out in op.outputs:
            total = self.sums.get(out)
            place = total or self.wishes.wanted(out)
            if place is None or place in taken:
                place = self._over_input(op, out, taken) or self.code.new(out)
            self.places[out] = place
            taken.append(place)
            if total:
                attrs["accumulate"] = True
        self.code.emit(op.name, [self.places[v] for v in op.inputs], [self.places[v] for v in op.outputs], op.origin, **attrs)

    def _over_input(self, op: Op, out: Value, taken: Sequence[Place]) -> Place | None:
        """The place of an input that an elementwise op may overwrite: all of a storage made here, and read for the last time."""
        if not elementwise(op):
            return None
        for v in op.inputs:
            place = self.places[v]
            storage = place.storage
            dies = self.live.last_read(v) == self.live.position[op]
            if not dies or storage.kind != "arena" or storage.path != self.code.path or not place.covers_storage:
                continue
            if any(other.storage is storage for other in taken):
                continue
            alike = all(self.places[u] == place for u in op.inputs if self.places[u].storage is storage)
            if alike and v.type == out.type:
                return place
        return None

    # -- ops that are views, or parts written into a whole ---------------------------------------------------------

    def op_full(self, op: Op) -> None:
        self.places[op.output] = self.code.constant(op.attrs["value"], op.output.dtype, op.output.shape)

    def op_size(self, op: Op) -> None:
        self.places[op.output] = self.code.constant(op.attrs["size"], op.output.dtype, ())

    def op_reshape(self, op: Op) -> None:
        (x,), out = op.inputs, op.output
        place = self.places[x].reshape(out.shape)
        if place is None:  # strides cannot say it: one copy
            place = self.wishes.wanted(out)
            target = place and place.reshape(x.shape)
            if place is None or target is None:
                place = self.code.new(out)
                target = Place.whole(place.storage, x.shape)
            self.code.emit("copy", [self.places[x]], [target], op.origin)
        self.places[out] = place

    def op_transpose(self, op: Op) -> None:
        self.places[op.output] = self.places[op.inputs[0]].transpose(op.attrs["axes"])

    def op_broadcast(self, op: Op) -> None:
        self.places[op.output] = self.places[op.inputs[0]].broadcast(op.output.shape, op.attrs["axes"])

    def op_slice(self, op: Op) -> None:
        place = self.places[op.inputs[0]].slice(op.attrs["axis"], op.attrs["start"], op.attrs["length"])
        target = self.wishes.copied(op.output)
        if target is not None and place.storage.kind == "arena" and place.storage is not target.storage:
            self.code.emit("copy", [place], [target], op.origin)
            place = target
        self.places[op.output] = place

    def op_windows(self, op: Op) -> None:
        a = op.attrs
        self.places[op.output] = self.places[op.inputs[0]].windows(a["axis"], a["length"], a["size"], a["stride"], a["dilation"])

    def op_stop_gradient(self, op: Op) -> None:
        self.places[op.output] = self.places[op.inputs[0]]

    def op_check_index(self, op: Op) -> None:
        place = self.places[op.output] = self.places[op.inputs[0]]
        self.code.emit("check_index", [place], [], op.origin, size=to_expr(op.attrs["size"]), base=op.attrs["base"])

    def op_concat(self, op: Op) -> None:
        whole, axis, at = self.reserve(op.output), op.attrs["axis"], ZERO
        for v in op.inputs:
            n = v.shape[axis]
            self._put(v, whole.slice(axis, at, n), op)
            at = at + n

    def op_pad(self, op: Op) -> None:
        whole, axis, (v,) = self.reserve(op.output), op.attrs["axis"], op.inputs
        n, before, after = v.shape[axis], op.attrs["before"], op.attrs["after"]
        for start, length in ((ZERO, before), (before + n, after)):
            if length != ZERO:
                border = whole.slice(axis, start, length)
                self.code.emit("copy", [self.code.constant(0, v.dtype, border.shape)], [border], op.origin)
        self._put(v, whole.slice(axis, before, n), op)

    def _put(self, v: Value, target: Place, op: Op) -> None:
        if self.places[v] != target and ZERO not in v.shape:
            self.code.emit("copy", [self.places[v]], [target], op.origin)
