"""Sums of products: what a scan adds up over its steps becomes one product after it.

The gradient of a weight is a sum over the steps of ``a_t b_t``, a product whose inner axis is the batch.  Over T steps it is one product
whose inner axis is T times as long: the same arithmetic, at the speed of a large product instead of T small ones, and without reading and
writing the whole sum at every step.  What the product needs of each step is stacked, unless a stack of it is there already.  The same
holds for outer products of vectors, one for each sequence (the gradient of what an attention reads), for rows added up by index (the
gradient of an embedding), and for sums over the batch (the gradient of a bias) of what is stacked anyway.

A stack that would grow with more than one size besides the steps (scores over a source, say) is not made: a product with so long an
inner axis is large enough inside the loop.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphspec.ir.builder import Builder
from graphspec.ir.core import Block, Op, Program, Shape, Value, scan_parts
from graphspec.ir.rewrite import add_scan_y, keep_scan_parts, substitute, uses
from graphspec.passes.products import untransposed
from graphspec.passes.told import Told, told
from graphspec.sizes import product


def run(program: Program) -> Told:
    moved = _block(program.block)
    return told({"{:sum} over the steps of a loop, each now one product after it": moved})


def _block(block: Block) -> int:
    moved = 0
    ops: list[Op] = []
    table: dict[Value, Value] = {}
    for op in block.ops:
        moved += sum(_block(inner) for inner in op.blocks)
        ops.append(op)
        if op.name == "scan":
            after = _After(op)
            moved += after.run(table)
            ops += after.b.block.ops
    block.ops = ops
    substitute(block, table)
    return moved


class _After:
    """The ops that come after one scan instead of its sums."""

    def __init__(self, op: Op) -> None:
        self.op = op
        self.b = Builder()
        self.counts = uses(op.blocks[0])
        self.inside = {v for inner in op.blocks[0].ops for v in inner.outputs}

    def run(self, table: dict[Value, Value]) -> int:
        """Replace what can be; ``table`` gets what stands for the scan's outputs."""
        sums = scan_parts(self.op).sums
        found = [(position, self._terms(part)) for position, part in enumerate(scan_parts(self.op).body_sums)]
        found.sort(key=lambda each: any(_reduces(v) for v, _ in each[1]))  # these read the stacks that the others make
        kept = []
        for position, terms in found:
            if all(self._possible(v) for v, _ in terms):
                parts = [self._product(v, views) for v, views in terms]
                with self.b.at(self.op.origin):
                    table[sums[position]] = self.b.total(parts)
            else:
                kept.append(position)
        moved = len(sums) - len(kept)
        if moved:
            keep_scan_parts(self.op, sums=sorted(kept))
        return moved

    def _terms(self, v: Value) -> list[tuple[Value, tuple[Op, ...]]]:
        """What v is a sum of: each the output of a product, with the views between it and v, outermost first."""
        found: list[tuple[Value, tuple[Op, ...]]] = []
        waiting: list[tuple[Value, tuple[Op, ...]]] = [(v, ())]
        while waiting:
            v, views = waiting.pop()
            maker = v.op if v in self.inside and self.counts.get(v) == 1 else None
            if maker is not None and maker.name == "add":
                waiting += [(w, views) for w in reversed(maker.inputs)]
            elif maker is not None and maker.name in ("transpose", "reshape"):
                waiting.append((maker.inputs[0], (*views, maker)))
            else:
                found.append((v, views))
        return found

    def _possible(self, v: Value) -> bool:
        op = v.op if v in self.inside and self.counts.get(v) == 1 else None
        if op is None:
            return False
        if op.name == "reduce_sum":
            return self._has_stack(op.inputs[0])
        if op.name == "matmul":
            return (op.output.type.rank == 2 or _outer(op)) and all(self._stackable(untransposed(w)) for w in op.inputs)
        return op.name == "scatter_add" and all(map(self._stackable, op.inputs))

    def _has_stack(self, v: Value) -> bool:
        p = scan_parts(self.op)
        return v in p.body_xs or v in p.body_ys or (self._reshaped(v) and v.op is not None and self._has_stack(v.op.inputs[0]))

    def _reshaped(self, v: Value) -> bool:
        return v in self.inside and v.op is not None and v.op.name == "reshape"

    def _stackable(self, v: Value) -> bool:
        if self._has_stack(v):
            return True
        p = scan_parts(self.op)
        letters = {letter for n in v.shape for letter in n.letters}
        return v not in p.body_consts and v is not p.index and len(letters) <= 1 and not self._cheap(v)

    @staticmethod
    def _cheap(v: Value) -> bool:
        """A constant, or something repeated: its stack would be larger than what it says."""
        return v.op is not None and v.op.name in ("full", "size", "iota", "broadcast")

    def _stack(self, v: Value) -> Value:
        """``[T, *shape]``, outside."""
        p = scan_parts(self.op)
        for inner, outer in zip(p.body_xs, p.xs, strict=True):
            if inner is v:
                return outer
        if v.op is not None and self._reshaped(v) and v not in p.body_ys:
            return self.b.reshape(self._stack(v.op.inputs[0]), (self.op.attrs["trip"], *v.shape))
        return add_scan_y(self.op, v)

    def _product(self, v: Value, views: Sequence[Op]) -> Value:
        """The sum over all steps of one term, its views put on again."""
        assert v.op is not None
        with self.b.at(v.op.origin):
            total = self._over_all_steps(v.op)
        for view in reversed(views):
            with self.b.at(view.origin):
                total = self.b.one(view.name, total, **view.attrs)
        return total

    def _over_all_steps(self, op: Op) -> Value:
        if op.name == "matmul":
            left, right = op.inputs
            b = self.b
            if _outer(op):
                *batch, m, n = op.output.shape
                lines, rank = (self._line(left, (*batch, m)), self._line(right, (*batch, n))), op.output.type.rank
                return b.matmul(b.transpose(lines[0], (*range(1, rank), 0)), b.transpose(lines[1], (*range(1, rank - 1), 0, rank - 1)))
            if parts := self._joined(right):
                columns = self._columns(left)
                return b.concat([b.matmul(columns, self._rows(v)) for v in parts], 1)
            if left is not (base := untransposed(left)) and (parts := self._joined(base)):
                rows = self._rows(right)
                return b.concat([b.matmul(b.transpose(self._rows(v), (1, 0)), rows) for v in parts], 0)
            return b.matmul(self._columns(left), self._rows(right))
        if op.name == "reduce_sum":
            return self.b.reduce_sum(self._stack(op.inputs[0]), [0, *(axis + 1 for axis in op.attrs["axes"])])
        index, rows = map(self._stack, op.inputs)
        return self.b.scatter_add(index, rows, op.attrs["size"])

    def _joined(self, v: Value) -> Sequence[Value]:
        """What stands side by side in a matrix, where there are stacks of that, and one of looked-up rows: its product may be done on
        the table.  Others are better one product than several."""
        if v.op is None or v.op.name != "concat" or v.op.attrs["axis"] != 1 or self._has_stack(v):
            return ()
        parts = v.op.inputs
        return parts if all(map(self._has_stack, parts)) and any(_looked_up(self._stack(part)) for part in parts) else ()

    def _line(self, v: Value, shape: Shape) -> Value:
        """Vectors of all steps, ``[T, *shape]``, that stand as a row or a column."""
        return self.b.reshape(self._stack(untransposed(v)), (self.op.attrs["trip"], *shape))

    def _rows(self, v: Value) -> Value:
        """``v_t [k, n]`` of all steps above each other: ``[T * k, n]``."""
        base = untransposed(v)
        stack = self._stack(base)
        if base is not v:
            stack = self.b.transpose(stack, (0, 2, 1))
        return self.b.reshape(stack, (product(stack.shape[:2]), stack.shape[2]))

    def _columns(self, v: Value) -> Value:
        """``v_t [m, k]`` of all steps beside each other: ``[m, T * k]``."""
        base = untransposed(v)
        if base is not v:
            return self.b.transpose(self._rows(base), (1, 0))
        stack = self.b.transpose(self._stack(v), (1, 0, 2))
        return self.b.reshape(stack, (stack.shape[0], product(stack.shape[1:])))


def _outer(op: Op) -> bool:
    """Whether a product, of each of a batch, is of a column and a row."""
    return op.output.type.rank > 2 and op.inputs[0].shape[-1] == 1


def _reduces(v: Value) -> bool:
    return v.op is not None and v.op.name == "reduce_sum"


def _looked_up(stack: Value) -> bool:
    """Whether a stack is of rows of a table, in the loop that made it or before it."""
    op = stack.op
    if op is not None and op.name == "scan":
        p = scan_parts(op)
        op = dict(zip(p.ys, p.body_ys, strict=True))[stack].op if stack in p.ys else None
    return op is not None and op.name == "gather"
