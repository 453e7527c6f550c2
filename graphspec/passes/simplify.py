"""Simplification: constants folded, views of views made one view, arithmetic with 0 and 1 left out, equal ops done once.

Everything here gives the same numbers bit for bit (but for the sign of a zero).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from graphspec.ir.builder import Builder
from graphspec.ir.core import Block, Op, Program, Value
from graphspec.ir.ops import primitive
from graphspec.ir.rewrite import substitute
from graphspec.passes.told import Told, told
from graphspec.sizes import Size

FOLDED: dict[str, Callable[..., float]] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b,
    "neg": lambda a: -a, "maximum": max, "minimum": min,
}  # fmt: skip
"""Arithmetic on constants that is exact, or rounded alike, in Python and on every device (float64 constants alone are folded)."""

NEUTRAL = {"add": (0, "both"), "sub": (0, "right"), "mul": (1, "both"), "div": (1, "right")}
"""The operand that changes nothing, and on which side."""


def run(program: Program) -> Told:
    gone = 0
    while found := _block(program.block):  # one rule makes way for another
        gone += found
    return told({"{:op} folded, or done once instead of again": gone})


def _block(block: Block) -> int:
    gone = sum(_block(inner) for op in block.ops for inner in op.blocks)
    table: dict[Value, Value] = {}
    seen: dict[tuple[Any, ...], Op] = {}
    kept: list[Op] = []
    for op in block.ops:
        op.inputs = tuple(table.get(v, v) for v in op.inputs)
        helpers: list[Op] = []
        gone += _rewrite(op) or _smaller(op, helpers)
        for helper in helpers:
            helper.inputs = tuple(table.get(v, v) for v in helper.inputs)
            first = seen.setdefault(_key(helper), helper)
            if first is helper:
                kept.append(helper)
            else:
                table[helper.output] = first.output
        op.inputs = tuple(table.get(v, v) for v in op.inputs)
        same = _same(op)
        if same is None:
            first = op if op.blocks or len(op.outputs) != 1 else seen.setdefault(_key(op), op)
            if first is op:
                kept.append(op)
                continue
            same = first.output
        if not same.name:
            same.name = op.output.name
        table[op.output] = same
        gone += 1
    block.ops = kept
    substitute(block, table)
    return gone


def _constant(v: Value) -> float | None:
    """The number in every element, where it is one."""
    if v.op is None:
        return None
    if v.op.name == "full":
        value: float = v.op.attrs["value"]
        return value
    return _constant(v.op.inputs[0]) if v.op.name == "broadcast" else None


def _rewrite(op: Op) -> int:
    """The op made a simpler one in its place; its output stays the same value.  1 if it was."""
    if len(op.outputs) != 1 or op.name == "full":
        return 0
    out = op.output
    if op.name in ("broadcast", "reshape", "transpose", "slice"):
        source = op.inputs[0]
        value = _constant(source)
        if value is not None:
            return _become(op, "full", (), {"value": value, "shape": out.shape, "dtype": out.dtype})
        maker = source.op
        if maker is not None and maker.name == op.name and (op.name != "slice" or op.attrs["axis"] == maker.attrs["axis"]):
            return _become(op, op.name, maker.inputs, _joined(op, maker))
        return 0
    values = [_constant(v) for v in op.inputs]
    numbers = all(v is not None and not math.isnan(v) for v in values)  # of NaN and 1, Python's max is the first
    if op.name in FOLDED and out.dtype == "float64" and numbers:
        found = FOLDED[op.name](*values)
        if math.isfinite(found):
            return _become(op, "full", (), {"value": found, "shape": out.shape, "dtype": out.dtype})
    return 0


def _smaller(op: Op, helpers: list[Op]) -> int:
    """The op done before its operands are repeated, or put side by side as rows: the ops it needs go to ``helpers``.  1 if it was."""
    makers = [v.op for v in op.inputs]
    if op.name == "concat" and op.output.type.rank == 2 and all(m is not None and m.name == "transpose" for m in makers):
        b = Builder()
        with b.at(op.origin):
            whole = b.concat([m.inputs[0] for m in makers if m is not None], 1 - op.attrs["axis"])
        helpers += b.block.ops
        return _become(op, "transpose", (whole,), {"axes": (1, 0)})
    if op.name == "concat":
        return _concat(op, helpers)
    spread = [m for m in makers if m is not None and m.name == "broadcast"]
    if not spread or not primitive(op.name).pointwise:
        return 0
    axes, shape = spread[0].attrs["axes"], spread[0].inputs[0].shape
    if any(m.attrs["axes"] != axes for m in spread) or any(m is None or m.name not in ("broadcast", "full") for m in makers):
        return 0
    b = Builder()
    with b.at(op.origin):
        sources = [m.inputs[0] if m.inputs else b.full(m.attrs["value"], shape, m.attrs["dtype"]) for m in makers if m is not None]
        small = b.one(op.name, *sources, **op.attrs)
    helpers += b.block.ops
    return _become(op, "broadcast", (small,), {"shape": op.output.shape, "axes": axes})


def _become(op: Op, name: str, inputs: tuple[Value, ...], attrs: dict[str, Any]) -> int:
    op.name, op.inputs, op.attrs = name, inputs, attrs
    return 1


def _concat(op: Op, helpers: list[Op]) -> int:
    """A concat of slices that follow on each other is a slice; slices that were all reshaped alike make one that is reshaped."""
    axis, views = op.attrs["axis"], [v.op for v in op.inputs]
    found = None
    if all(view is not None and view.name == "slice" for view in views):
        found = _following(op.inputs, axis)
    elif axis == op.output.type.rank - 1 and all(view is not None and view.name == "reshape" for view in views):
        sources = [view.inputs[0] for view in views if view is not None]
        if all(u.type.rank and u.shape[-1] == v.shape[-1] for u, v in zip(sources, op.inputs, strict=True)):
            found = _following(sources, sources[0].type.rank - 1)
    if found is None:
        return 0
    whole, along, start = found
    b = Builder()
    with b.at(op.origin):
        part = b.slice(whole, along, start, op.output.shape[axis])
    helpers += b.block.ops
    return _become(op, "reshape", (part,), {"shape": op.output.shape})


def _following(parts: Sequence[Value], axis: int) -> tuple[Value, int, Size] | None:
    """The value whose slices along ``axis`` the parts are, one after another, and where the first begins."""
    views = [v.op for v in parts if v.op is not None and v.op.name == "slice" and v.op.attrs["axis"] == axis]
    if len(views) < len(parts) or len({view.inputs[0] for view in views}) > 1:
        return None
    if any(b.attrs["start"] != a.attrs["start"] + a.attrs["length"] for a, b in pairwise(views)):
        return None
    return views[0].inputs[0], axis, views[0].attrs["start"]


def _joined(op: Op, maker: Op) -> dict[str, Any]:
    """The attributes of one view that does what two did."""
    if op.name == "reshape":
        return {"shape": op.attrs["shape"]}
    if op.name == "transpose":
        return {"axes": tuple(maker.attrs["axes"][i] for i in op.attrs["axes"])}
    if op.name == "slice":
        return op.attrs | {"start": op.attrs["start"] + maker.attrs["start"]}
    return {"shape": op.attrs["shape"], "axes": tuple(op.attrs["axes"][i] for i in maker.attrs["axes"])}


def _same(op: Op) -> Value | None:
    """The input that the op's result is, if it is one."""
    if op.name in ("reshape", "broadcast", "cast") and op.inputs[0].type == op.output.type:
        return op.inputs[0]
    if op.name == "transpose" and op.attrs["axes"] == tuple(range(op.output.type.rank)):
        return op.inputs[0]
    if op.name in ("slice", "pad") and op.inputs[0].type == op.output.type:  # all of it, or nothing beside it
        return op.inputs[0]
    if op.name == "neg" and op.inputs[0].op is not None and op.inputs[0].op.name == "neg":
        return op.inputs[0].op.inputs[0]
    if op.name in NEUTRAL:
        number, side = NEUTRAL[op.name]
        left, right = op.inputs
        if _constant(right) == number:
            return left
        if side == "both" and _constant(left) == number:
            return right
    return None


def _key(op: Op) -> tuple[Any, ...]:
    """What two ops without blocks and of one result have in common that compute the same."""
    inputs = op.inputs
    if op.name in ("add", "mul", "maximum", "minimum"):
        inputs = tuple(sorted(inputs, key=lambda v: v.serial))
    attrs = tuple((name, repr(value) if isinstance(value, float) else value) for name, value in sorted(op.attrs.items()))
    return op.name, inputs, attrs, op.output.type
