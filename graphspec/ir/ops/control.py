"""scan: a loop that stays a loop."""

from __future__ import annotations

from graphspec.ir.core import TensorType, index_type, stacked
from graphspec.ir.ops.record import Attrs, Blocks, Primitive, Types, define, need


def _infer(types: Types, attrs: Attrs, blocks: Blocks) -> list[TensorType]:
    need(len(blocks) == 1, "scan owns one block")
    nc, nk, ny = attrs["consts"], attrs["carries"], attrs["ys"]
    body = blocks[0]
    params, results = [v.type for v in body.params], [v.type for v in body.results]
    need(len(params) == len(types) + 1, f"scan of {len(types)} operands, body of {len(params)} parameters")
    need(len(results) >= nk + ny and len(types) >= nc + nk, f"scan: {len(results)} results for {nk} carries and {ny} ys")
    need(params[0] == index_type(), f"scan: the index is {params[0]}")
    for k in range(nc + nk):
        need(params[1 + k] == types[k], f"scan: operand {k} is {types[k]}, the body takes {params[1 + k]}")
    for k in range(nc + nk, len(types)):
        need(
            stacked(params[1 + k], attrs["trip"]) == types[k],
            f"scan: x {types[k]} for a body that takes {params[1 + k]} at each of {attrs['trip']} steps",
        )
    for k in range(nk):
        need(results[k] == types[nc + k], f"scan: carry {k} goes in as {types[nc + k]} and comes out as {results[k]}")
    need(all(t.is_float for t in results[nk + ny :]), "scan: sums are floats")
    return [*results[:nk], *(stacked(t, attrs["trip"]) for t in results[nk : nk + ny]), *results[nk + ny :]]


define(Primitive("scan", "runs its body once for each step; its gradient is in graphspec.autodiff", _infer,
                 takes="trip reverse consts carries ys"))


def _infer_fused(types: Types, attrs: Attrs, blocks: Blocks) -> list[TensorType]:
    need(len(blocks) == 1, "fused owns one block")
    body, shape, rows = blocks[0], attrs["shape"], attrs["rows"]
    need([v.type for v in body.params] == list(types), "fused: its block takes what it is given")
    need(rows <= len(shape), f"fused: {rows} axes of {list(shape)} are rows")
    for v in (*body.params, *(v for op in body.ops for v in op.outputs)):
        need(v.shape in (shape, shape[:rows], ()), f"fused over {list(shape)}, {rows} of them rows: {v.type}")
    return [v.type for v in body.results]


define(Primitive("fused", "pointwise ops and reductions of rows in one kernel: what its block does", _infer_fused, takes="shape rows"))
