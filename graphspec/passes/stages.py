"""Stages: a scan taken apart into what must go step by step and what can be done for all steps at once.

The ops of a body that depend on each other around the loop (a recurrence) must stay in a loop.  A product with a matrix that is the same
in every step need not, unless it is part of a recurrence: of all steps at once it is one large product.  So the body is put in stages,
alternately *at once* and *step by step*: what depends on xs alone comes before the loop (the input product), what only makes ys comes
after it (a decoder and its softmax), and between two layers stands the product that leads from one to the other, each layer in a loop of
its own.  Ops that cost little stay in a loop where their operands come from or go to, so that they need no memory of their own.

What is the same in every step is computed once, before the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from graphspec.ir.builder import Builder
from graphspec.ir.core import Block, Op, Program, Value, index_type, scan_parts, tensor
from graphspec.ir.rewrite import copy_op, substitute, sum_terms, uses
from graphspec.passes.components import components
from graphspec.passes.lift import gains, lift, liftable, repeated
from graphspec.passes.told import Told, told

FREE = frozenset({"full", "size", "iota", "broadcast"})
"""Ops that cost nothing where they are used; of a value that is the same in every step they stay in the loop."""

Node = Op | Value
"""What has a stage: an op of the body, or a carry before the step."""


def run(program: Program) -> Told:
    done = _Done()
    _block(program.block, done)
    return done.told()


class _Done:
    """What was done, counted."""

    def __init__(self) -> None:
        self.scans = self.loops = self.products = self.fixed = 0

    def told(self) -> Told:
        return told({
            "{:loop} more, so that each layer has its own": max(self.loops - self.scans, 0),
            "{:loop} not needed any more": max(self.scans - self.loops, 0),
            "{:product} done for all steps at once": self.products, "{:value} that never changed computed once": self.fixed,
        })  # fmt: skip


def _block(block: Block, done: _Done) -> None:
    ops: list[Op] = []
    table: dict[Value, Value] = {}
    for op in block.ops:
        for inner in op.blocks:
            _block(inner, done)
        op.inputs = tuple(table.get(v, v) for v in op.inputs)
        apart = Apart(op) if op.name == "scan" else None
        if apart is not None:
            apart.regroup()
        if apart is None or not apart.wanted:
            ops.append(op)
            continue
        ops += apart.build(table)
        done.scans += 1
        done.loops += apart.loops
        done.products += apart.products
        done.fixed += len(apart.outside)
    block.ops = ops
    substitute(block, table)


class Apart:
    """One scan and its stages: even ones at once, odd ones step by step."""

    def __init__(self, op: Op) -> None:
        self.op = op
        self._analyse()

    def _analyse(self) -> None:
        self.p = scan_parts(self.op)
        self._sort()
        self._assign()

    def regroup(self) -> None:
        """Add sums up in the order in which their terms are known."""
        if _regroup(self.op.blocks[0], self._rank):
            self._analyse()

    @property
    def loops(self) -> int:
        return len({s for s in self.stage.values() if s % 2})

    @property
    def products(self) -> int:
        """Those that are done for all steps at once."""
        return sum(1 for inner in self.moving if self.stage[inner] % 2 == 0 and gains(inner, self.is_fixed))

    def _sort(self) -> None:
        """What never changes, and what does."""
        self.fixed = set(self.p.body_consts)
        self.outside: list[Op] = []
        """Ops whose results never change, and that cost something."""
        self.moving: list[Op] = []
        for inner in self.op.blocks[0].ops:
            if inner.name != "check_index" and all(v in self.fixed for v in inner.inputs):
                self.fixed.update(inner.outputs)
                if inner.name not in FREE:
                    self.outside.append(inner)
            else:
                self.moving.append(inner)

    def _rank(self, v: Value) -> int:
        """When a term of a sum is known: -1 before everything, else its stage."""
        if v in self.fixed:
            return -1
        maker = self._maker(v)
        return self.stage[maker] if maker is not None else 0

    @property
    def wanted(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.outside) or self.loops > 1 or any(s % 2 == 0 for s in self.stage.values())

    def is_fixed(self, v: Value) -> bool:
        return v in self.fixed

    # -- stages ------------------------------------------------------------------------------------------------------

    def _maker(self, v: Value) -> Node | None:
        """The node that a moving value comes from; None for xs, the index and what never changes."""
        if v in self.fixed:
            return None
        if v in self.p.body_carries:
            return v
        return v.op if v.op is not None and v.op in self._members else None

    def _assign(self) -> None:
        self.stage: dict[Node, int] = {}
        self.recurrence: dict[Node, list[Node]] = {}
        """What each node depends on, and what depends on it, around the loop; it is not there where nothing does."""
        self._members = set(self.moving)
        following = dict(zip(self.p.body_carries, self.p.next_carries, strict=True))
        nodes: list[Node] = [*self.p.body_carries, *self.moving]

        def before(node: Node) -> list[Node]:
            read: Iterable[Value] = [following[node]] if isinstance(node, Value) else node.inputs
            return [m for m in map(self._maker, read) if m is not None]

        edges = {node: before(node) for node in nodes}
        for group in components(nodes, edges):
            least = max((self.stage[m] for node in group for m in edges[node] if m in self.stage), default=0)
            only = group[0]
            if len(group) > 1:
                self.recurrence.update(dict.fromkeys(group, group))
            if len(group) > 1 or isinstance(only, Value) or only in edges[only] or not liftable(only, self.is_fixed):
                least += least % 2 == 0
            elif gains(only, self.is_fixed):
                least += least % 2
            for node in group:
                self.stage[node] = least
        self._move_into_loops(edges)

    def _move_into_loops(self, edges: dict[Node, list[Node]]) -> None:
        """What costs little and is read in loops alone is done in the first of them."""
        readers: dict[Node, list[Node]] = {}
        for node, makers in edges.items():
            for maker in makers:
                readers.setdefault(maker, []).append(node)
        products = self._sums_of_products()
        for op in reversed(self.moving):
            stages = [self.stage[r] for r in readers.get(op, ())]
            if self.stage[op] % 2 == 0 and stages and op not in products and all(s % 2 for s in stages):
                self.stage[op] = min(stages)

    def _sums_of_products(self) -> set[Op]:
        """Products that are done at once, and their sums: those become one product."""
        found: set[Op] = set()
        for op in self.moving:
            terms = [v for v in op.inputs if v not in self.fixed]
            added = op.name == "add" and all(v.op is not None and v.op in found and self.stage[v.op] == self.stage[op] for v in terms)
            if self.stage[op] % 2 == 0 and (added or gains(op, self.is_fixed)):
                found.add(op)
        return found

    # -- building ----------------------------------------------------------------------------------------------------

    def build(self, table: dict[Value, Value]) -> list[Op]:
        """The ops that stand in the scan's place; ``table`` gets what stands for its outputs."""
        p, trip = self.p, self.op.attrs["trip"]
        self.b = Builder()
        self.outer = dict(zip(p.body_consts, p.consts, strict=True))
        self.stacks = dict(zip(p.body_xs, p.xs, strict=True))
        for inner in self.outside:
            copied = copy_op(inner, [self._constant(v) for v in inner.inputs])
            self.b.block.ops.append(copied)
            self.outer.update(zip(inner.outputs, copied.outputs, strict=True))
        self.last: dict[Value, Value] = {}
        self.totals: dict[int, Value] = {}
        for stage in range(max(self.stage.values(), default=0) + 1):
            if stage % 2:
                self._loop(stage)
                continue
            for inner in self.moving:
                if self.stage[inner] == stage:
                    self._at_once(inner)
        with self.b.at(self.op.origin):
            for old, param in zip(p.last, p.body_carries, strict=True):
                table[old] = self.last[param]
            for old, v in zip(p.ys, p.body_ys, strict=True):
                table[old] = repeated(self.b, self._constant(v), trip) if v in self.fixed else self._stack(v)
            for k, (old, v) in enumerate(zip(p.sums, p.body_sums, strict=True)):
                table[old] = self.totals[k] if k in self.totals else self._total(v)
        return self.b.block.ops

    def _constant(self, v: Value) -> Value:
        """A value that never changes, outside; the free ones are made where they are wanted."""
        if v in self.outer:
            return self.outer[v]
        assert v.op is not None
        copied = copy_op(v.op, [self._constant(u) for u in v.op.inputs])
        self.b.block.ops.append(copied)
        self.outer[v] = copied.output
        return copied.output

    def _stack(self, v: Value) -> Value:
        """All steps of a moving value, ``[T, *shape]``."""
        if v not in self.stacks:
            trip = self.op.attrs["trip"]
            if v is self.p.index:
                self.stacks[v] = self.b.iota(trip)
            else:  # a carry before the step
                k = self.p.body_carries.index(v)
                after = self.p.next_carries[k]
                stack = repeated(self.b, self._constant(after), trip) if after in self.fixed else self._stack(after)
                self.stacks[v] = self.b.shift(self.p.carries[k], stack, reverse=self.op.attrs["reverse"])
        return self.stacks[v]

    def _total(self, v: Value) -> Value:
        """The sum over all steps of a value that no loop computes; not the number of steps times it, which is no zero where it is NaN and
        there are no steps."""
        stack = repeated(self.b, self._constant(v), self.op.attrs["trip"]) if v in self.fixed else self._stack(v)
        return self.b.reduce_sum(stack, [0])

    def _at_once(self, inner: Op) -> None:
        stacked = [v not in self.fixed for v in inner.inputs]
        operands = [self._stack(v) if moves else self._constant(v) for v, moves in zip(inner.inputs, stacked, strict=True)]
        for old, new in zip(inner.outputs, lift(self.b, inner, self.op.attrs["trip"], operands, stacked), strict=True):
            new.name = new.name or old.name
            self.stacks[old] = new

    def _loop(self, stage: int) -> None:
        """The scan of one stage."""
        p = self.p
        ops = [inner for inner in self.moving if self.stage[inner] == stage]
        carries = [k for k, v in enumerate(p.body_carries) if self.stage[v] == stage]
        if not ops and not carries:
            return
        own = {v for inner in ops for v in inner.outputs} | {p.body_carries[k] for k in carries}
        sums = [k for k, v in enumerate(p.body_sums) if v in own]
        body = _Body(self, own)
        for inner in ops:
            body.add(inner)
        next_carries = [body.value(p.next_carries[k]) for k in carries]
        ys = self._wanted_outside(stage, own, [*(v for k, v in enumerate(p.body_sums) if k not in sums), *p.body_ys])
        results = [*next_carries, *(body.value(v) for v in ys), *(body.value(p.body_sums[k]) for k in sums)]
        block = body.finish([p.body_carries[k] for k in carries], results)
        with self.b.at(self.op.origin):
            outs = self.b.emit(
                "scan", *body.consts, *(p.carries[k] for k in carries), *body.xs, blocks=[block],
                trip=self.op.attrs["trip"], reverse=self.op.attrs["reverse"], consts=len(body.consts), carries=len(carries), ys=len(ys),
            )
        for k, out in zip(carries, outs, strict=False):
            out.name = p.last[k].name
            self.last[p.body_carries[k]] = out
        for v, out in zip(ys, outs[len(carries) :], strict=False):
            out.name = v.name
            self.stacks[v] = out
        for k, out in zip(sums, outs[len(carries) + len(ys) :], strict=True):
            self.totals[k] = out

    def _wanted_outside(self, stage: int, own: set[Value], results: Sequence[Value]) -> list[Value]:
        """The values of one loop that other stages read, or that the scan stacked: each becomes a stack.  A carry before the step is had
        from the stack of the carry after it."""
        p = self.p
        following = dict(zip(p.body_carries, p.next_carries, strict=True))
        read = [v for inner in self.moving if self.stage[inner] != stage for v in inner.inputs]
        read += [following[c] for c in p.body_carries if self.stage[c] != stage]
        found: dict[Value, None] = {}
        for v in (*read, *results):
            passed: list[Value] = []
            while v in own and v in following and v not in passed:
                passed.append(v)
                v = following[v]
            if v in own:
                found[passed[0] if v in passed else v] = None  # carries that only change places come from no op
        return list(found)


class _Body:
    """The body of one new scan."""

    def __init__(self, apart: Apart, own: set[Value]) -> None:
        self.apart, self.own = apart, own
        self.ops: list[Op] = []
        self.values: dict[Value, Value] = {}
        self.consts: dict[Value, Value] = {}
        self.xs: dict[Value, Value] = {}
        self.index = Value(index_type(), "t")
        self.values[apart.p.index] = self.index
        for v in own & set(apart.p.body_carries):
            self.values[v] = Value(v.type, v.name)

    def add(self, inner: Op) -> None:
        copied = copy_op(inner, [self.value(v) for v in inner.inputs])
        self.ops.append(copied)
        self.values.update(zip(inner.outputs, copied.outputs, strict=True))

    def value(self, v: Value) -> Value:
        """The value inside: made here, handed in as a const or an x, or, where it is free, made again."""
        if v not in self.values:
            assert v not in self.own, "read before it is made"
            if v not in self.apart.fixed:
                outer = self.apart._stack(v)
                self.values[v] = self.xs.setdefault(outer, Value(tensor(outer.shape[1:], outer.dtype), v.name))
            elif v.op is not None and v.op.name in FREE:
                self.add(v.op)
            else:
                outer = self.apart._constant(v)
                self.values[v] = self.consts.setdefault(outer, Value(v.type, v.name))
        return self.values[v]

    def finish(self, carries: Sequence[Value], results: Sequence[Value]) -> Block:
        params = [self.index, *self.consts.values(), *(self.values[v] for v in carries), *self.xs.values()]
        return Block(params, self.ops, list(results))


def _regroup(block: Block, rank: Callable[[Value], int]) -> bool:
    """Sums of three or more terms are added up in the order in which the terms are known, so that what can be added outside is one term
    inside.  Whether any was changed."""
    counts = uses(block)
    members = set(block.ops)
    inner = {v.op for op in block.ops if op.name == "add" for v in op.inputs if counts[v] == 1}
    table: dict[Value, Value] = {}
    ops: list[Op] = []
    gone: set[Op] = set()
    for op in block.ops:
        ops.append(op)
        if op.name != "add" or op in inner:
            continue
        sums, terms = sum_terms(op, members, counts)
        ranks = sorted(map(rank, terms))
        kinds = [(r if r % 2 == 0 else -1) for r in ranks if r < ranks[-1]]
        if len(kinds) < 2 or ranks[-1] % 2 == 0 or _in_order(op, set(sums), rank):
            continue
        terms.sort(key=rank)
        b = Builder()
        with b.at(op.origin):
            total = b.total(terms)
        total.name = op.output.name
        ops[-1:] = b.block.ops
        gone.update(sums)
        table[op.output] = total
    block.ops = [op for op in ops if op not in gone]
    substitute(block, table)
    return bool(table)


def _in_order(total: Op, sums: set[Op], rank: Callable[[Value], int]) -> bool:
    """Whether a chain of additions takes its terms in the order in which they are known."""
    op, bound = total, rank(total.output)
    while True:
        inner = [v for v in op.inputs if v.op in sums]
        leaves = [rank(v) for v in op.inputs if v.op not in sums]
        if len(inner) > 1 or any(r > bound for r in leaves):
            return False
        if not inner:
            return True
        bound = min(bound, *leaves) if leaves else bound
        op = inner[0].op  # type: ignore[assignment]
        assert op is not None
