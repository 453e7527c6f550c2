"""Which loops may be done for some rows at a time: each thread can take its rows through all turns, and wait for nobody.

A loop is *sharded* over its batch where every instruction works on rows (its first axis, as long everywhere) and each row of each buffer
that the loop writes is read and written by the same row alone, turn after turn.  This is found from where the views lie, for any cell.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphspec.sizes import Size, product, to_expr, to_size
from graphspec_runtime.kernels import POINTWISE
from graphspec_runtime.plan import Expr, Instruction, Loop, View

ROWWISE = frozenset({*POINTWISE, "fused", "matmul", "gather", "pick", "place", "argmax", "top_k", "cumsum"})
"""Kernels that work on each index of their first axis alone."""

ALONG = frozenset({"top_k", "cumsum"})
"""Those that go along the last axis, which is the first one where there is no other."""


def sharded_rows(loop: Loop) -> Expr | None:
    """How many rows a loop can be split into; None where it cannot."""
    steps = [step for step in loop.body if isinstance(step, Instruction)]
    if len(steps) < len(loop.body) or not steps or not steps[0].outputs or not steps[0].outputs[0].shape:
        return None
    rows = to_size(steps[0].outputs[0].shape[0])
    written = {v.buffer for step in steps for v in step.outputs}
    if len(rows.terms) != 1 or not all(_by_rows(step, rows, written) for step in steps):
        return None
    strides: dict[int, Size] = {}
    for step in steps:
        for v in (*step.inputs, *step.outputs):
            if v.buffer in written and not _private(v, rows, strides):
                return None
    return to_expr(rows)


def _by_rows(step: Instruction, rows: Size, written: set[int]) -> bool:
    if step.kernel not in ROWWISE or step.attrs.get("accumulate") and step.kernel != "matmul":
        return False
    if any(not v.shape or to_size(v.shape[0]) != rows for v in step.outputs):
        return False
    if step.kernel in ALONG and len(step.inputs[0].shape) < 2:
        return False
    if step.kernel == "fused" and step.attrs["rows"] == 0:
        return False
    shared = {"gather": step.inputs[:1], "matmul": step.inputs[1:] if len(step.outputs[0].shape) == 2 else ()}.get(step.kernel, ())
    for v in step.inputs:
        if any(v is other for other in shared):
            if v.buffer in written:
                return False
        elif not v.shape or to_size(v.shape[0]) != rows:
            return False
    return True


def _private(v: View, rows: Size, strides: dict[int, Size]) -> bool:
    """Whether row i of a view lies where row i of the buffer's other views lies, and nowhere else."""
    stride = to_size(v.strides[0])
    if strides.setdefault(v.buffer, stride) != stride or len(stride.terms) != 1:
        return False
    whole = rows * stride
    if any(to_size(step).divide(whole) is None for _, step in v.steps):
        return False
    rest = Size([term for term in to_size(v.offset).terms if Size([term]).divide(whole) is None])
    reach = _extent(v.shape[1:], v.strides[1:])
    room = stride - rest - reach - 1
    return all(factor >= 0 for _, factor in (*rest.terms, *room.terms)) and product(map(to_size, v.shape)) != 0


def _extent(shape: Sequence[Expr], strides: Sequence[Expr]) -> Size:
    """The last element's distance from the first."""
    total = Size.const(0)
    for n, s in zip(shape, strides, strict=True):
        total = total + (to_size(n) - 1) * to_size(s)
    return total
