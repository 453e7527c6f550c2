"""Products: matrix products that share an operand, or are added up, become one.

``x A`` and ``x B`` are ``x [A B]`` cut in two (the Linears of the gates of a cell); ``A x`` and ``B x`` are ``[A; B] x`` (the gradients of
their weights); ``a A + b B`` is ``[a b] [A; B]`` (the gradient of the state that the gates read).  One large product runs at the speed of
the machine where several small ones do not.  The weights are put together once, outside of loops.

Values are only put side by side where they can be computed into their place at once; what a loop stacks besides is stacked together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from graphspec.errors import Origin
from graphspec.ir.builder import Builder
from graphspec.ir.core import Block, Op, Program, TensorType, Value, scan_parts
from graphspec.ir.ops import primitive
from graphspec.ir.rewrite import substitute, sum_terms, uses
from graphspec.passes.stacking import stack_beside, stack_together
from graphspec.passes.told import Told, told
from graphspec.sizes import Size

PLACED = frozenset({"matmul", "reduce_sum", "gather", "scatter_add"})
"""Ops, besides pointwise ones, that write their result where they are told."""


def run(program: Program) -> Told:
    done = _Done()
    _block(program.block, done)
    return done.told()


class _Done:
    """What was done, counted."""

    def __init__(self) -> None:
        self.merged = self.left = self.turned = 0

    def told(self) -> Told:
        moved = "{:op} moved to where products meet"
        return told({"{:product} became {}": (self.merged, self.left), moved: self.turned})

    def one_for(self, products: Sequence[Op]) -> None:
        self.merged, self.left = self.merged + len(products), self.left + 1


def _block(block: Block, done: _Done) -> None:
    for op in block.ops:
        for inner in op.blocks:
            _block(inner, done)
    before = None
    while before != (now := (done.merged, done.turned)):  # one merger may make way for another
        before = now
        done.turned += stack_beside(block) + stack_together(block) + _turn(block) + _add_first(block)
        for side in (0, 1):
            while groups := _share(block, side):  # what was merged is known later than before, so that others may follow, or may not
                for group in groups:
                    done.one_for(group)
        while turned := _add_whole(block):
            done.turned += turned
        while terms := _added(block):
            _one_above_the_other(block, *terms)
            done.one_for(terms[1])
        done.turned += _reduce_together(block)


def _turn(block: Block) -> int:
    """The transpose of a product is the product of the transposes: the gradient of a weight then has the weight's own layout."""
    counts = uses(block)
    ops: list[Op] = []
    table: dict[Value, Value] = {}
    for op in block.ops:
        op.inputs = tuple(table.get(v, v) for v in op.inputs)  # its product may be of one that was turned
        product = op.inputs[0].op if op.name == "transpose" else None
        if product is None or product.name != "matmul" or product not in ops or counts[product.output] > 1 or not _turns(op):
            ops.append(op)
            continue
        b = Builder()
        with b.at(product.origin):
            left, right = (transposed(b, v) for v in reversed(product.inputs))
            out = b.matmul(left, right)
        out.name = op.output.name
        ops.remove(product)
        ops += b.block.ops
        table[op.output] = out
    block.ops = ops
    substitute(block, table)
    return len(table)


def _add_first(block: Block) -> int:
    """Reshaped terms of a sum that were of one shape are added before, so that the products among them meet."""
    counts, members = uses(block), set(block.ops)
    inner = {v.op for op in block.ops if op.name == "add" for v in op.inputs if counts[v] == 1}
    ops: list[Op] = []
    table: dict[Value, Value] = {}
    gone: set[Op | None] = set()
    for op in block.ops:
        ops.append(op)
        if op.name != "add" or op in inner:
            continue
        sums, terms = sum_terms(op, members, counts)
        alike: dict[TensorType, dict[Value, Value]] = {}
        for v in terms:
            if v.op is not None and v.op in members and v.op.name == "reshape" and counts[v] == 1:
                alike.setdefault(v.op.inputs[0].type, {})[v] = v.op.inputs[0]
        groups = [group for group in alike.values() if len(group) > 1]
        if not groups:
            continue
        met = {v for group in groups for v in group}
        b = Builder()
        with b.at(op.origin):
            together = [b.reshape(b.total(list(group.values())), op.output.shape) for group in groups]
            total = b.total([*together, *(v for v in terms if v not in met)])
        total.name = op.output.name
        ops[-1:] = b.block.ops
        gone.update(sums, (v.op for v in met))
        table[op.output] = total
    block.ops = [op for op in ops if op not in gone]
    substitute(block, table)
    return len(table)


def transposed(b: Builder, v: Value) -> Value:
    """The transpose of a matrix, or of each of a batch: what v is the transpose of, if it is one."""
    base = untransposed(v)
    return base if base is not v else b.transpose(v, _swapped(v.type.rank))


def untransposed(v: Value) -> Value:
    """What a matrix, or each of a batch, is the transpose of; v itself where it is none."""
    return v.op.inputs[0] if v.op is not None and _turns(v.op) else v


def _swapped(rank: int) -> tuple[int, ...]:
    return (*range(rank - 2), rank - 1, rank - 2)


def _turns(op: Op) -> bool:
    """Whether an op is the transpose of a matrix, or of each of a batch."""
    return op.name == "transpose" and op.output.type.rank >= 2 and op.attrs["axes"] == _swapped(op.output.type.rank)


def _sharing(block: Block, side: int, position: Mapping[Op | None, int]) -> Iterator[list[Op]]:
    """Groups of products whose operand ``side`` is the same value, and that may all be done where the last of their other operands is
    known."""
    first_use: dict[Value, int] = {}
    for i, op in enumerate(block.ops):
        for v in op.inputs:
            first_use.setdefault(v, i)
    groups: dict[Value, list[Op]] = {}
    for op in block.ops:
        if op.name == "matmul" and op.output.type.rank == 2 and not _looked_up(op.inputs[1 - side]):
            groups.setdefault(op.inputs[side], []).append(op)

    def known(op: Op) -> int:
        return max((position[v.op] for v in op.inputs if v.op in position), default=-1)

    for group in groups.values():
        waiting = group
        while len(waiting) > 1:
            taken: list[Op] = []
            rest: list[Op] = []
            for op in waiting:
                together = [*taken, op]
                fits = max(map(known, together)) < min(first_use.get(each.output, len(block.ops)) for each in together)
                fits = fits and not any(v.op in taken for v in op.inputs)  # x W W is no product beside x W
                (taken if fits else rest).append(op)
            if len(taken) > 1:
                yield taken
            waiting = rest


def _looked_up(v: Value) -> bool:
    """Whether v is rows of a table: beside others they would be copied, and the product could not be done on the table (``tables``)."""
    maker = _behind(v).op
    return maker is not None and maker.name == "gather"


def _in_order(group: Sequence[Op], side: int) -> list[Op]:
    """The products in the order in which their operands ``side`` lie in one value, where they are slices of one: nothing is copied then.
    Else in the order of their weights' names, so that what goes forward and what goes back put them together alike, and once."""
    starts = []
    wholes = set()
    for op in group:
        maker = _behind(op.inputs[side]).op
        if maker is None or maker.name != "slice" or maker.attrs["start"].value is None:
            return sorted(group, key=_weights)
        wholes.add((maker.inputs[0], maker.attrs["axis"]))
        starts.append(maker.attrs["start"].value)
    if len(wholes) > 1:
        return sorted(group, key=_weights)
    return [op for _, op in sorted(zip(starts, group, strict=True), key=lambda each: each[0])]


def _weights(op: Op) -> str:
    """The name of what a product multiplies by, or of what that is a view of."""
    return _behind(op.inputs[1], lambda v: not v.name).name


def _behind(v: Value, through: Callable[[Value], bool] = lambda v: True) -> Value:
    """What a value is transposed or reshaped from, as far back as ``through`` lets it."""
    while v.op is not None and v.op.name in ("transpose", "reshape") and through(v):
        v = v.op.inputs[0]
    return v


def _share(block: Block, side: int) -> list[list[Op]]:
    """One product for each group that shares operand ``side``, where the last of its operands is known; returns those groups.  Groups that
    read one of them, or are read by one, are left for another time."""
    position: dict[Op | None, int] = {op: i for i, op in enumerate(block.ops)}
    merged: list[list[Op]] = []
    places: dict[int, list[Op]] = {}
    table: dict[Value, Value] = {}
    read: set[Value] = set()
    for group in _sharing(block, side, position):
        operands = {v for op in group for v in op.inputs}
        if not operands.isdisjoint(table) or any(op.output in read for op in group):
            continue
        merged.append(group)
        read |= operands
        at = max((position[v.op] for v in operands if v.op in position), default=-1) + 1
        places.setdefault(at, []).extend(_side_by_side(group, side, table))
    gone = {op for group in merged for op in group}
    ends = [*block.ops, None]
    block.ops = [op for i, old in enumerate(ends) for op in (*places.get(i, ()), old) if op is not None and op not in gone]
    substitute(block, table)
    return merged


def _side_by_side(group: Sequence[Op], side: int, table: dict[Value, Value]) -> list[Op]:
    """One product for a group, and what its members' results are of that, in ``table``."""
    group = _in_order(group, 1 - side)
    axis, shared, at = 1 - side, group[0].inputs[side], Size.const(0)
    b = Builder()
    with b.at(_together(group)):
        whole = b.concat([op.inputs[1 - side] for op in group], axis)
        product = b.matmul(*((shared, whole) if side == 0 else (whole, shared)))
        for op in group:
            n = op.output.shape[axis]
            with b.at(op.origin):
                part = b.slice(product, axis, at, n)
            part.name = op.output.name
            table[op.output] = part
            at = at + n
    return b.block.ops


def _together(products: Sequence[Op]) -> Origin:
    """The origin of one product for several: the first one's, which knows of the others and of their multiply-adds."""
    parts: list[tuple[Origin, Size]] = []
    for op in products:
        (m, n), k = op.output.shape, op.inputs[0].shape[1]
        parts += op.origin.parts or [(op.origin, m * n * k)]
    return replace(products[0].origin, parts=tuple(parts))


def _replace(block: Block, group: Sequence[Op], needed: Sequence[Value], build: Callable[[Builder], None], origin: Origin) -> None:
    """Take the ops of a group out, and put what ``build`` makes where everything needed is known."""
    gone = set(group)
    ops = [op for op in block.ops if op not in gone]
    position = {op: i for i, op in enumerate(ops)}
    at = max((position[v.op] for v in needed if v.op in position), default=-1) + 1
    b = Builder()
    with b.at(origin):
        build(b)
    block.ops = [*ops[:at], *b.block.ops, *ops[at:]]


def _add_whole(block: Block) -> int:
    """Sums of like slices of two products, where all of one is added to all of the other, are slices of one sum: what goes back from the
    gates of a cell to everything that they read."""
    counts = uses(block)
    pairs: dict[tuple[Value, ...], list[Op]] = {}
    for op in block.ops:
        cuts = [v.op for v in op.inputs if v.op is not None and v.op.name == "slice" and counts[v] == 1]
        wholes = tuple(sorted({cut.inputs[0] for cut in cuts}, key=lambda v: v.serial))
        if op.name == "add" and len(wholes) == 2 and cuts[0].attrs == cuts[1].attrs and wholes[0].type == wholes[1].type:
            pairs.setdefault(wholes, []).append(op)
    chosen = {
        op: wholes for wholes, adds in pairs.items() for op in adds
        if len(adds) > 1 and all(counts[v] == len(adds) and v.op is not None and v.op.name in ("matmul", "add") for v in wholes)
    }  # fmt: skip
    sums: dict[tuple[Value, ...], Value] = {}
    ops: list[Op] = []
    table: dict[Value, Value] = {}
    for op in block.ops:
        if op not in chosen:
            ops.append(op)
            continue
        b, (left, right), cut = Builder(), chosen[op], op.inputs[0].op
        assert cut is not None
        with b.at(op.origin):
            if chosen[op] not in sums:
                sums[chosen[op]] = b.add(left, right)
            part = b.slice(sums[chosen[op]], cut.attrs["axis"], cut.attrs["start"], cut.attrs["length"])
        part.name = op.output.name
        ops += b.block.ops
        table[op.output] = part
    gone = {v.op for op in chosen for v in op.inputs}
    block.ops = [op for op in ops if op not in gone]
    substitute(block, table)
    return len(table)


def _added(block: Block) -> tuple[Op, list[Op]] | None:
    """A sum, and the products among its terms (two or more), each read by it alone and each with a left operand that can be computed into
    its place."""
    counts = uses(block)
    members = set(block.ops)
    inner = {v.op for op in block.ops if op.name == "add" for v in op.inputs if counts[v] == 1}
    for op in reversed(block.ops):
        if op.name != "add" or op in inner or op.output.type.rank != 2:
            continue
        makers = [v.op for v in sum_terms(op, members, counts)[1] if counts[v] == 1]
        products = [m for m in makers if m is not None and m in members and m.name == "matmul" and _placeable(m.inputs[0], members)]
        if len(products) > 1:
            return op, sorted(products, key=block.ops.index)
    return None


def _placeable(v: Value, members: set[Op]) -> bool:
    """Whether v can be computed into a larger value's place: made here, by an op that writes where it is told."""
    v = _behind(v)
    if v.op is not None and v.op.name == "slice":  # of what a loop stacks together
        v = v.op.inputs[0]
    op = v.op
    if op is None or op not in members:
        return False
    if op.name == "scan":
        p = scan_parts(op)
        return any(y is v and inner not in p.next_carries for y, inner in zip(p.ys, p.body_ys, strict=True))
    return primitive(op.name).pointwise or op.name in PLACED


def _one_above_the_other(block: Block, total: Op, products: Sequence[Op]) -> None:
    """``a A + b B + rest`` as ``[a b] [A; B] + rest``, where the sum stood."""
    products = _in_order(products, 0)
    gone = set(products)
    sums, terms = sum_terms(total, set(block.ops), uses(block))
    b = Builder()
    with b.at(_together(products)):
        lefts, rights = ([op.inputs[i] for op in products] for i in (0, 1))
        whole = b.matmul(b.concat(lefts, 1), b.concat(rights, 0))
    with b.at(total.origin):
        for v in terms:
            if v.op not in gone:
                whole = b.add(whole, v)
    whole.name = total.output.name
    at = block.ops.index(total)
    gone.update(sums)
    block.ops = [op for op in (*block.ops[:at], *b.block.ops, *block.ops[at:]) if op not in gone]
    substitute(block, {total.output: whole})


def _reduce_together(block: Block) -> int:
    """Sums of several slices of one value are the slices of one sum: the gradients of biases."""
    groups: dict[tuple[Value, int, tuple[int, ...]], list[Op]] = {}
    for op in block.ops:
        view = op.inputs[0].op if op.name == "reduce_sum" else None
        if view is not None and view.name == "slice" and view.attrs["axis"] not in op.attrs["axes"]:
            groups.setdefault((view.inputs[0], view.attrs["axis"], op.attrs["axes"]), []).append(op)
    for (_, axis, axes), group in groups.items():
        if len(group) > 1:
            _sum_whole(block, group, axis, axes)
    return sum(len(group) > 1 for group in groups.values())


def _sum_whole(block: Block, group: Sequence[Op], axis: int, axes: tuple[int, ...]) -> None:
    table: dict[Value, Value] = {}
    (whole,) = {v for op in group for view in [op.inputs[0].op] if view is not None for v in view.inputs}

    def build(b: Builder) -> None:
        total = b.reduce_sum(whole, axes)
        kept = axis - sum(1 for a in axes if a < axis)
        for op in group:
            view = op.inputs[0].op
            assert view is not None
            with b.at(op.origin):
                table[op.output] = b.slice(total, kept, view.attrs["start"], view.attrs["length"])

    _replace(block, group, [whole], build, group[0].origin)
    substitute(block, table)
