"""Tables: what is done to the rows looked up in a small table is done to the table instead.

A product with one-hot rows is a lookup.  ``gather(E, i) W`` is ``gather(E W, i)``: where the table has fewer rows than are looked up,
that is less work, and the product need not be done for every step (a character model's embedding and the input half of its first layer).
The same holds for sums with a bias and other pointwise ops whose operands are the same for every row.  In the gradients, ``X' D`` with
looked-up rows X is ``E' S`` and the table's own gradient ``scatter(i, D W')`` is ``S W'``, with ``S = scatter(i, D)``: rows are added up
before they are multiplied.

Whether a table is small is guessed: a size that is not known counts as 50.  It decides what is faster, never what comes out.
"""

from __future__ import annotations

from graphspec.ir.builder import Builder
from graphspec.ir.core import Block, Op, Program, Shape, Value, scan_parts
from graphspec.ir.ops import primitive
from graphspec.ir.rewrite import add_scan_const, add_scan_x, invariants, replace_scan_x, substitute, uses
from graphspec.passes.products import transposed, untransposed
from graphspec.passes.told import Told, told
from graphspec.sizes import Size, product


def run(program: Program) -> Told:
    done = _Done()
    before = None
    while before != (now := vars(done).copy()):  # what is looked up in a loop may lead on there
        before = now
        _block(program.block, _Around(Size.const(1)), done)
    return told({
        "{:product} with looked-up rows done on the table": done.products,
        "{:other op} on looked-up rows done on the table": done.others,
        "{:lookup} done in the loop that reads them": done.moved,
    })  # fmt: skip


class _Done:
    def __init__(self) -> None:
        self.products = self.others = self.moved = 0


class _Around:
    """Where ops stand: what never changes there, and how often each is done."""

    def __init__(self, times: Size, fixed: set[Value] | None = None) -> None:
        self.times, self.fixed = times, fixed

    def inside(self, scan: Op) -> _Around:
        """The body of a scan: its consts, and what is made of them alone, never change."""
        return _Around(self.times * scan.attrs["trip"], invariants(scan))

    def made(self, op: Op) -> None:
        """Told of an op that is new."""
        if self.fixed is not None and all(map(self.steady, op.inputs)):
            self.fixed.update(op.outputs)

    def steady(self, v: Value) -> bool:
        return self.fixed is None or v in self.fixed

    def small(self, rows: Size, looked_up: Shape) -> bool:
        """Whether a table of so many rows is small for so many lookups."""
        return 2 * rows.guess() <= (product(looked_up) * self.times).guess()

    def looked_up(self, v: Value) -> tuple[Value, Value] | None:
        """The table and the index of rows looked up in a small table that never changes."""
        op = v.op
        if op is None or op.name != "gather" or not self.steady(op.inputs[0]):
            return None
        return (op.inputs[0], op.inputs[1]) if self.small(op.inputs[0].shape[0], op.inputs[1].shape) else None

    def flat(self, v: Value) -> tuple[Value, Value] | None:
        """The table and the index of ``[N, k]`` rows, also where they were looked up as ``[T, B, k]``."""
        found = self.looked_up(v)
        if found is None and v.op is not None and v.op.name == "reshape" and v.type.rank == 2:
            found = self.looked_up(v.op.inputs[0])
        if found is None or found[0].type.rank != 2 or v.type.rank != 2 or found[0].shape[1] != v.shape[1]:
            return None
        return found


def _block(block: Block, around: _Around, done: _Done) -> None:
    for op in block.ops:
        if op.name == "scan":
            _block(op.blocks[0], around.inside(op), done)
    ops: list[Op] = []
    table: dict[Value, Value] = {}
    for op in block.ops:
        op.inputs = tuple(table.get(v, v) for v in op.inputs)
        b = Builder()
        with b.at(op.origin):
            new = _rewritten(b, op, around, done) if len(op.outputs) == 1 else None
        if new is None:
            ops.append(op)
            continue
        for made in b.block.ops:
            around.made(made)
        ops += b.block.ops
        new.name = new.name or op.output.name
        table[op.output] = new
    block.ops = ops
    substitute(block, table)
    for op in block.ops:
        if op.name == "scan":
            done.moved += _into_loop(block, op)


def _rewritten(b: Builder, op: Op, around: _Around, done: _Done) -> Value | None:
    new = None
    if op.name == "matmul" and op.output.type.rank == 2:
        new = _product(b, op, around)
        done.products += new is not None
    elif op.name == "scatter_add":
        new = _scattered(b, op, around)
        done.products += new is not None
    elif op.name in ("reshape", "slice"):
        new = _view(b, op, around)
        done.others += new is not None
    elif primitive(op.name).pointwise and op.inputs and op.output.type.is_float:
        new = _pointwise(b, op, around)
        done.others += new is not None
    return new


def _one_hot(v: Value) -> Value | None:
    """The index, where the rows of v are 1 there and 0 elsewhere."""
    op = v.op
    if op is not None and op.name == "reshape":
        op = op.inputs[0].op
    if op is None or op.name != "place" or v.type.rank != 2 or op.output.shape[-1] != v.shape[1]:
        return None
    one = op.inputs[1].op
    return op.inputs[0] if one is not None and one.name == "full" and one.attrs["value"] == 1 else None


def _product(b: Builder, op: Op, around: _Around) -> Value | None:
    left, right = op.inputs
    index = _one_hot(left)
    if index is not None:
        return b.reshape(b.gather(right, index), op.output.shape)
    index = _one_hot(right)
    if index is not None:
        total = _added(b, index, transposed(b, left), right.shape[1])
        return b.transpose(total, (1, 0))
    found = around.flat(left)
    if found is not None and around.steady(right):
        table, index = found
        rows = b.gather(b.matmul(table, right), index)
        return b.reshape(rows, op.output.shape)
    if around.fixed is not None:  # in a loop a sum of each step's rows would gain nothing
        return None
    found = around.flat(right)
    if found is not None:
        table, index = found[0], _unflattened(found[1])
        total = _added(b, index, transposed(b, left), table.shape[0])
        return b.matmul(b.transpose(total, (1, 0)), table)
    base = untransposed(left)
    found = around.flat(base) if base is not left else None
    if found is not None:
        table, index = found[0], _unflattened(found[1])
        return b.matmul(b.transpose(table, (1, 0)), _added(b, index, right, table.shape[0]))
    return None


def _added(b: Builder, index: Value, rows: Value, n: Size) -> Value:
    """Rows ``[N, k]`` added up where an index of any shape says, ``[n, k]``."""
    return b.scatter_add(index, b.reshape(rows, (*index.shape, rows.shape[1])), n)


def _scattered(b: Builder, op: Op, around: _Around) -> Value | None:
    index, rows = _unflattened(op.inputs[0]), op.inputs[1]
    maker, small = rows.op, around.fixed is None and around.small(op.attrs["size"], index.shape)
    if maker is not None and maker.name == "add" and small and _adds_product(rows):
        return b.total([b.scatter_add(op.inputs[0], v, op.attrs["size"]) for v in maker.inputs])
    if maker is not None and maker.name == "reshape":
        maker = maker.inputs[0].op
    if maker is None or maker.name != "matmul" or maker.output.type.rank != 2 or op.output.type.rank != 2 or not small:
        return None
    if maker.output.shape[1] != op.output.shape[1]:
        return None
    left, right = maker.inputs
    total = _added(b, index, left, op.attrs["size"])
    return b.matmul(total, right)


def _adds_product(v: Value) -> bool:
    """Whether a product is a term of v."""
    op = v.op.inputs[0].op if v.op is not None and v.op.name == "reshape" else v.op
    return op is not None and (op.name == "matmul" or op.name == "add" and any(map(_adds_product, op.inputs)))


def _unflattened(index: Value) -> Value:
    """The index as it was before it was given another shape, so that sums over it meet."""
    return index.op.inputs[0] if index.op is not None and index.op.name == "reshape" else index


def _view(b: Builder, op: Op, around: _Around) -> Value | None:
    found = around.looked_up(op.inputs[0])
    if found is None:
        return None
    table, index = found
    lead, rest = index.type.rank, table.type.rank - 1
    if op.name == "slice":
        axis = op.attrs["axis"] - lead
        return b.gather(b.slice(table, axis + 1, op.attrs["start"], op.attrs["length"]), index) if axis >= 0 else None
    shape = op.output.shape
    kept = len(shape) - rest
    if kept < 0 or shape[kept:] != table.shape[1:] or (product(shape[:kept]) - product(index.shape)).value != 0:
        return None
    return b.gather(table, b.reshape(index, shape[:kept]))


def _pointwise(b: Builder, op: Op, around: _Around) -> Value | None:
    """On rows of one table (or of several, looked up by one index) and on what is the same for every row."""
    sources = [around.looked_up(v) for v in op.inputs]
    first = next((s for s in sources if s is not None), None)
    if first is None:
        return None
    table, index = first
    lead = index.type.rank
    operands = []
    for v, source in zip(op.inputs, sources, strict=True):
        if source is not None:
            if source[1] is not index or source[0].shape != table.shape:
                return None
            operands.append(source[0])
            continue
        shape = (table.shape[0], *v.shape[lead:])
        maker = v.op
        if not around.steady(v):
            return None
        if maker is not None and maker.name == "full":
            operands.append(b.full(maker.attrs["value"], shape, v.dtype))
        elif maker is not None and maker.name == "broadcast" and all(axis >= lead for axis in maker.attrs["axes"]):
            operands.append(b.broadcast(maker.inputs[0], shape, [axis - lead + 1 for axis in maker.attrs["axes"]]))
        else:
            return None
    return b.gather(b.one(op.name, *operands, **op.attrs), index)


def _into_loop(block: Block, scan: Op) -> int:
    """Rows that one scan alone reads, step by step, are looked up in its steps: they need no memory for all steps."""
    counts = uses(block)
    moved = 0
    for position in reversed(range(len(scan_parts(scan).xs))):
        p = scan_parts(scan)
        outer, inner = p.xs[position], p.body_xs[position]
        lookup = outer.op
        if lookup is None or lookup.name != "gather" or counts[outer] != 1 or lookup.inputs[1].type.rank < 1:
            continue
        rows, index = lookup.inputs
        if rows.type.rank == 0 or index.shape[:1] != (scan.attrs["trip"],):
            continue
        table, step = add_scan_const(scan, rows), add_scan_x(scan, index)
        b = Builder()
        with b.at(lookup.origin):
            found = b.gather(table, step)
        replace_scan_x(scan, inner, b.block.ops, found)
        moved += 1
    return moved
