"""Fused kernels: ops over the same rows become one op, ``fused``, that a device runs in one pass over memory.

A fused op owns a block of pointwise ops, and of sums, largest elements and picked elements along its rows (so layer norm, softmax, and a
loss with its gradient fuse as well).  It has a *domain*: the shape that its elements run over.  Its values have that shape, or the shape
of its leading axes alone, one number a row.  What it reads twice is loaded once, and what nobody else reads is never stored.

Only devices that compile kernels ask for this pass.
"""

from __future__ import annotations

from collections.abc import Iterator

from graphspec.ir.core import Block, Op, Program, Shape, Value
from graphspec.ir.ops import primitive
from graphspec.ir.rewrite import copy_op
from graphspec.passes.told import Told, told

ROWS = frozenset({"reduce_sum", "reduce_max", "pick", "place"})
"""Ops between an element's level and its row's."""

LIMIT = 96
"""Ops in one kernel: more would not fit in registers, and takes compilers long."""


def run(program: Program) -> Told:
    ops, kernels = _block(program.block)
    return told({"{:op} became {:kernel}": (ops, kernels)})


def _block(block: Block) -> tuple[int, int]:
    ops, kernels = 0, 0
    for op in block.ops:
        for inner in op.blocks if op.name != "fused" else ():
            found = _block(inner)
            ops, kernels = ops + found[0], kernels + found[1]
    groups = _Groups(block)
    made = groups.build()
    return ops + sum(len(g.ops) for g in made), kernels + len(made)


class _Group:
    """Ops that will be one, ``before`` those of the block that they read; ``rows`` counts the domain's leading axes where that matters
    already."""

    def __init__(self, op: Op, before: set[Op], shape: Shape, rows: int | None) -> None:
        self.ops = [op]
        self.before = before
        self.shape = shape
        self.rows = rows


def _fits(op: Op) -> tuple[Shape, int | None] | None:
    """The domain that an op asks for, and how many of its axes lead to a row; None for what is never fused."""
    if op.name in ("reduce_sum", "reduce_max"):
        x = op.inputs[0]
        rows = op.output.type.rank
        return (x.shape, rows) if op.attrs["axes"] == tuple(range(rows, x.type.rank)) and x.type.is_float else None
    if op.name == "pick":
        return op.inputs[0].shape, op.output.type.rank
    if op.name == "place":
        return op.output.shape, op.inputs[0].type.rank
    if op.name == "broadcast":
        axes = op.attrs["axes"]
        return (op.output.shape, len(axes)) if axes and axes == tuple(range(len(axes))) else None
    return (op.output.shape, None) if primitive(op.name).pointwise else None


class _Groups:
    """The groups of one block, grown op by op in the order of the block."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self.of: dict[Op, _Group] = {}
        self.position = {op: i for i, op in enumerate(block.ops)}
        self.before = {op: {v.op for v in op.inputs if v.op is not None and v.op in self.position} for op in block.ops}
        self.readers: dict[Value, list[Op]] = {}
        for op in block.ops:
            for v in op.inputs:
                self.readers.setdefault(v, []).append(op)
        self.results = set(block.results)
        fits = {op: found for op in block.ops if (found := _fits(op)) is not None}
        wanted = set(block.ops) - set(fits)
        for op in reversed(block.ops):  # what nobody reads has no place in a kernel; another pass takes it away
            if any(v in self.results or not wanted.isdisjoint(self.readers.get(v, ())) for v in op.outputs):
                wanted.add(op)
        for op, found in fits.items():
            if op in wanted:
                self._add(op, *found)

    def _add(self, op: Op, shape: Shape, rows: int | None) -> None:
        group = _Group(op, set(self.before[op]), shape, rows)
        self.of[op] = group
        for v in op.inputs:
            other = self.of.get(v.op) if v.op is not None else None
            if other is not None and other is not group:
                group = self._joined(other, group) or group

    def _joined(self, a: _Group, b: _Group) -> _Group | None:
        """One group of two, where their domains agree and nothing between them lies outside."""
        domain = _agree(a, b)
        if domain is None or len(a.ops) + len(b.ops) > LIMIT or self._apart(a, b):
            return None
        a.ops = sorted(a.ops + b.ops, key=self.position.__getitem__)
        a.before |= b.before
        a.shape, a.rows = domain
        for op in b.ops:
            self.of[op] = a
        return a

    def _apart(self, a: _Group, b: _Group) -> bool:
        """Whether something that reads one group, and is in neither, is read by the other."""
        members = {*a.ops, *b.ops}
        first = min(self.position[a.ops[0]], self.position[b.ops[0]])
        reached: set[Op] = set()
        waiting = (a.before | b.before) - members  # backwards from what the members read of others
        while waiting:
            op = waiting.pop()
            if op in reached:
                continue
            group = self.of.get(op)
            together = group.ops if group is not None else [op]
            reached.update(together)
            if self.position[together[-1]] < first:  # it stands before all of them, and reads none
                continue
            before = group.before if group is not None else self.before[op]
            if not members.isdisjoint(before):
                return True
            waiting |= before - reached
        return False

    # -- building ----------------------------------------------------------------------------------------------------

    def build(self) -> list[_Group]:
        """Put a fused op in the place of each group that has more than one op; returns those groups."""
        groups = list(dict.fromkeys(self.of[op] for op in self.block.ops if op in self.of))
        made = [
            g for g in groups
            if len(g.ops) > 1 and (sum(op.name != "broadcast" for op in g.ops) > 1 or any(op.name in ROWS for op in g.ops))
        ]  # fmt: skip
        if not made:
            return []
        chosen = {op: g for g in made for op in g.ops}
        table: dict[Value, Value] = {}
        fused = {id(g): self._fused(g, table) for g in made}
        ordered = [fused[id(item)] if isinstance(item, _Group) else item for item in self._order(chosen)]
        for op in ordered:
            op.inputs = tuple(table.get(v, v) for v in op.inputs)
        self.block.ops = ordered
        self.block.results = [table.get(v, v) for v in self.block.results]
        return made

    def _order(self, chosen: dict[Op, _Group]) -> Iterator[Op | _Group]:
        """Ops and groups such that each comes after what it reads, otherwise as they stood."""
        done: set[Op | _Group] = set()
        for start in self.block.ops:
            work: list[tuple[Op | _Group, bool]] = [(chosen.get(start, start), False)]
            while work:
                item, ready = work.pop()
                if item in done:
                    continue
                members = item.ops if isinstance(item, _Group) else [item]
                if ready:
                    done.add(item)
                    yield item
                    continue
                work.append((item, True))
                before = [v.op for op in members for v in op.inputs if v.op is not None and v.op in self.position]
                needed = dict.fromkeys(chosen.get(op, op) for op in sorted(before, key=self.position.__getitem__, reverse=True))
                work += [(each, False) for each in needed if each is not item and each not in done]

    def _fused(self, group: _Group, table: dict[Value, Value]) -> Op:
        members = set(group.ops)
        body = Block()
        inside: dict[Value, Value] = {}
        outer: list[Value] = []

        def value(v: Value) -> Value:
            if v not in inside:
                maker = v.op
                if maker is not None and maker.name in ("full", "size"):  # a number in the kernel's text
                    copied = copy_op(maker, ())
                    body.ops.append(copied)
                    inside[v] = copied.output
                else:
                    inside[v] = Value(v.type, v.name)
                    body.params.append(inside[v])
                    outer.append(v)
            return inside[v]

        for op in group.ops:
            copied = copy_op(op, [value(v) for v in op.inputs])
            body.ops.append(copied)
            inside.update(zip(op.outputs, copied.outputs, strict=True))
        kept = [v for op in group.ops for v in op.outputs if v in self.results or any(r not in members for r in self.readers.get(v, ()))]
        body.results = [inside[v] for v in kept]
        rows = len(group.shape) if group.rows is None else group.rows
        origin = group.ops[-1].origin
        fused = Op("fused", outer, {"shape": group.shape, "rows": rows}, [v.type for v in kept], [body], origin)
        for old, new in zip(kept, fused.outputs, strict=True):
            new.name = old.name
            table[old] = new
        return fused


def _agree(a: _Group, b: _Group) -> tuple[Shape, int | None] | None:
    """The domain of two groups together."""
    if a.shape == b.shape:
        if a.rows is None or b.rows is None or a.rows == b.rows:
            return a.shape, b.rows if a.rows is None else a.rows
        return None
    small, large = (a, b) if len(a.shape) < len(b.shape) else (b, a)
    rows = len(small.shape)
    if small.rows is None and large.rows in (None, rows) and rows < len(large.shape) and large.shape[:rows] == small.shape:
        return large.shape, rows
    return None
