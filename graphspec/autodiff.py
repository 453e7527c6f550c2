"""Gradients: ordinary IR, written once per primitive.

:func:`gradients` walks a block backwards and lets each primitive's rule (``Primitive.vjp``) add the ops of its gradient.
A scan's gradient is a scan of the same form that runs the other way: carries are the gradients of the carries, xs the
gradients of the ys and the values the forward body computed (residuals), ys the gradients of the xs, and sums the
gradients of the consts.

Every forward value that the backward body reads and that varies from step to step becomes a residual here, stacked by the forward
scan; the value of a carry before the step is the shifted stack of the carry itself.  What does not vary (a transposed weight,
a constant) is computed again from the scan's consts.  Which residuals are worth keeping is decided later, by
:mod:`graphspec.passes.residuals`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphspec.ir.builder import Builder
from graphspec.ir.core import Block, Op, Value, index_type, scan_parts, tensor
from graphspec.ir.ops import primitive
from graphspec.ir.rewrite import add_scan_y, copy_op, invariants, substitute

Cotangents = dict[Value, Value]


def gradients(b: Builder, results: Mapping[Value, Value], wrt: Sequence[Value]) -> list[Value | None]:
    """Append to ``b.block`` the gradients with respect to ``wrt`` (None where there is no path).

    ``results`` maps each result to its cotangent, a value of the same type that is defined in the block already.
    """
    active = _active(b.block, wrt)
    cotangents: Cotangents = {}
    for value, given in results.items():
        _accumulate(b, cotangents, value, given)
    _reverse(b, list(b.block.ops), cotangents, active)
    return [cotangents.get(v) for v in wrt]


def _reverse(b: Builder, ops: Sequence[Op], cotangents: Cotangents, active: set[Value]) -> None:
    for op in reversed(ops):
        given = [cotangents.get(v) for v in op.outputs]
        if all(g is None for g in given) or not any(v in active for v in op.inputs):
            continue
        with b.at(op.origin):
            if op.name == "scan":
                parts = _scan_gradient(b, op, given, active)
            else:
                rule = primitive(op.name).vjp
                if rule is None:
                    continue
                parts = rule(b, op, given)
            for value, part in zip(op.inputs, parts, strict=True):
                if part is not None and value in active:
                    _accumulate(b, cotangents, value, part)


def _accumulate(b: Builder, cotangents: Cotangents, value: Value, part: Value) -> None:
    before = cotangents.get(value)
    cotangents[value] = part if before is None else b.add(before, part)


def _active(block: Block, wrt: Sequence[Value]) -> set[Value]:
    """Values that depend on ``wrt`` through differentiable ops; in scans, to the fixpoint over the carries."""
    active = set(wrt)
    _spread(block.ops, active)
    return active


def _spread(ops: Sequence[Op], active: set[Value]) -> None:
    for op in ops:
        if not any(v in active for v in op.inputs):
            continue
        if op.name == "scan":
            _spread_scan(op, active)
        elif primitive(op.name).vjp is not None:
            active.update(v for v in op.outputs if v.type.is_float)


def _spread_scan(op: Op, active: set[Value]) -> None:
    p = scan_parts(op)
    for outer, inner in zip((*p.consts, *p.carries, *p.xs), (*p.body_consts, *p.body_carries, *p.body_xs), strict=True):
        if outer in active:
            active.add(inner)
    while True:
        before = len(active)
        _spread(op.blocks[0].ops, active)
        for result, param in zip(p.next_carries, p.body_carries, strict=True):
            if result in active:
                active.add(param)
        if len(active) == before:
            break
    for result, carry, out in zip(p.next_carries, p.body_carries, p.last, strict=True):
        if result in active or carry in active:
            active.add(out)
    for result, out in zip((*p.body_ys, *p.body_sums), (*p.ys, *p.sums), strict=True):
        if result in active:
            active.add(out)


def _scan_gradient(b: Builder, op: Op, given: Sequence[Value | None], active: set[Value]) -> list[Value | None]:
    """The backward scan of ``op``; returns cotangents for its inputs.  Appends residual ys to ``op``."""
    p = scan_parts(op)
    trip, reverse = op.attrs["trip"], op.attrs["reverse"]
    nk, ny = len(p.last), len(p.ys)
    d_last, d_ys, d_sums = given[:nk], given[nk : nk + ny], given[nk + ny :]
    carries = [k for k in range(nk) if p.body_carries[k] in active and p.last[k].type.is_float]
    xs = [k for k, v in enumerate(p.body_xs) if v in active]
    consts = [k for k, v in enumerate(p.body_consts) if v in active]

    inner = Builder(dtype=b.dtype)
    index = inner.param(index_type(), "t")
    from_ys = {k: inner.param(tensor(g.shape[1:], g.dtype)) for k, g in enumerate(d_ys) if g is not None}
    from_sums = {k: inner.param(g.type) for k, g in enumerate(d_sums) if g is not None}
    from_carries = {k: inner.param(p.last[k].type) for k in carries}
    cotangents: Cotangents = {}
    for k, param in from_carries.items():
        _accumulate(inner, cotangents, p.next_carries[k], param)
    for k, param in from_ys.items():
        _accumulate(inner, cotangents, p.body_ys[k], param)
    for k, param in from_sums.items():
        _accumulate(inner, cotangents, p.body_sums[k], param)
    _reverse(inner, op.blocks[0].ops, cotangents, active)

    def result(value: Value) -> Value:
        found = cotangents.get(value)
        return found if found is not None else inner.zeros(value.type)

    new_carries = [result(p.body_carries[k]) for k in carries]
    ys = [result(p.body_xs[k]) for k in xs]
    sums = [result(p.body_consts[k]) for k in consts]
    inner.block.results = [*new_carries, *ys, *sums]

    _copy_invariants(op, inner.block)
    free = _free_values(inner.block)
    out_consts, out_xs = _residuals(b, op, inner.block, free, index)
    const_params = [*from_sums.values(), *out_consts.values()]
    x_params = [*from_ys.values(), *out_xs.values()]
    inner.block.params = [index, *const_params, *from_carries.values(), *x_params]
    init = [d if d is not None else b.zeros(p.last[k].type) for k, d in ((k, d_last[k]) for k in carries)]
    outs = b.emit(
        "scan", *(g for g in d_sums if g is not None), *out_consts, *init, *(g for g in d_ys if g is not None), *out_xs,
        blocks=[inner.block], trip=trip, reverse=not reverse, consts=len(const_params), carries=len(carries), ys=len(ys),
    )
    inputs: list[Value | None] = [None] * len(op.inputs)
    for position, k in enumerate(carries):
        inputs[len(p.consts) + k] = outs[position]
    for position, k in enumerate(xs, len(carries)):
        inputs[len(p.consts) + len(p.carries) + k] = outs[position]
    for position, k in enumerate(consts, len(carries) + len(xs)):
        inputs[k] = outs[position]
    return inputs


def _free_values(block: Block) -> list[Value]:
    """Values that a block's ops and results read and nothing in it defines, in order of first use."""
    defined = set(block.params)
    free: dict[Value, None] = {}
    for op in block.ops:
        for v in op.inputs:
            if v not in defined:
                free[v] = None
        defined.update(op.outputs)
    for v in block.results:
        if v not in defined:
            free[v] = None
    return list(free)


def _copy_invariants(op: Op, body: Block) -> None:
    """Compute what the backward body reads of the forward body's loop-invariant values from the consts again."""
    steady = invariants(op)
    copies: dict[Value, Value] = {}
    added: list[Op] = []

    def copy(value: Value) -> Value:
        if value in copies or value.op is None or value not in steady:
            return copies.get(value, value)
        twin = copy_op(value.op, [copy(v) for v in value.op.inputs])
        copies.update(zip(value.op.outputs, twin.outputs, strict=True))
        added.append(twin)
        return copies[value]

    for value in _free_values(body):
        copy(value)
    substitute(body, copies)
    body.ops[:0] = added


def _residuals(b: Builder, op: Op, body: Block, free: Sequence[Value], index: Value) -> tuple[dict[Value, Value], dict[Value, Value]]:
    """Give the backward body each forward value it reads: the outer const, the outer x, or a residual that the
    forward scan stacks.  Returns outer values with the body's new parameters: (consts, xs)."""
    p = scan_parts(op)
    outer_const = dict(zip(p.body_consts, p.consts, strict=True))
    outer_x = dict(zip(p.body_xs, p.xs, strict=True))
    consts: dict[Value, Value] = {}
    stacks: dict[Value, Value] = {}
    replace: dict[Value, Value] = {}
    for value in free:
        if value is p.index:
            replace[value] = index
            continue
        if value in outer_const:
            outer, table = outer_const[value], consts
        elif value in outer_x:
            outer, table = outer_x[value], stacks
        elif value in p.body_carries:
            k = p.body_carries.index(value)
            outer, table = b.shift(p.carries[k], add_scan_y(op, p.next_carries[k]), reverse=op.attrs["reverse"]), stacks
        else:
            outer, table = add_scan_y(op, value), stacks
        if outer not in table:
            table[outer] = Value(value.type, value.name)
        replace[value] = table[outer]
    for inner_op in body.ops:
        inner_op.inputs = tuple(replace.get(v, v) for v in inner_op.inputs)
    body.results = [replace.get(v, v) for v in body.results]
    return consts, stacks
