"""Vectors: products with one column, or with inner size one, are pointwise work, so that kernels can take them in.

``X v`` is a sum along the rows of X times v (the scores of an attention), and the outer product ``d v'`` is d times v element by element
(their gradient); likewise for a batch of matrices with a vector each (the memory of a cell).  Beside the op that computes X, or the one
that reads the outer product, they cost no pass over memory of their own.
For devices that compile kernels.
"""

from __future__ import annotations

from graphspec.ir.builder import Builder
from graphspec.ir.core import Block, Op, Program, Shape, Value
from graphspec.ir.ops import primitive
from graphspec.ir.rewrite import substitute
from graphspec.passes.told import Told, told
from graphspec.sizes import product


def run(program: Program) -> Told:
    return told({"{:product} with a vector done in the kernels beside": _block(program.block)})


def _block(block: Block) -> int:
    changed = sum(_block(inner) for op in block.ops for inner in op.blocks)
    readers: dict[Value, list[Op]] = {}
    for op in block.ops:
        for v in op.inputs:
            readers.setdefault(v, []).append(op)
    results = set(block.results)
    ops: list[Op] = []
    table: dict[Value, Value] = {}
    for op in block.ops:
        op.inputs = tuple(table.get(v, v) for v in op.inputs)
        b = Builder()
        new = None
        if op.name == "matmul" and op.output not in results:
            with b.at(op.origin):
                new = _scores(b, op) or _outer(b, op, readers.get(op.output, []))
        if new is None:
            ops.append(op)
            continue
        changed += 1
        ops += b.block.ops
        new.name = op.output.name
        table[op.output] = new
    block.ops = ops
    substitute(block, table)
    return changed


def _scores(b: Builder, op: Op) -> Value | None:
    """``[..., N, k] x [..., k, 1]``, where a kernel of this block computes the rows."""
    left, right = op.inputs
    if op.output.shape[-1] != 1 or left.shape[-1] == 1:
        return None
    batch = left.type.rank - 2
    source = left.op.inputs[0] if left.op is not None and left.op.name == "reshape" and not batch else left
    if source.op is None or not primitive(source.op.name).pointwise or source.type.rank < 2 or source.shape[-1] != left.shape[-1]:
        return None
    last = source.type.rank - 1
    vector = b.broadcast(b.reshape(right, right.shape[:-1]), source.shape, [*range(batch), last])
    return b.reshape(b.reduce_sum(b.mul(source, vector), [last]), op.output.shape)


def _outer(b: Builder, op: Op, readers: list[Op]) -> Value | None:
    """``[..., N, 1] x [..., 1, k]``, where kernels of this block read the result, in the shape in which they read it."""
    left, right = op.inputs
    if left.shape[-1] != 1 or op.output.shape[-1] == 1 or not readers:
        return None
    shape: Shape = op.output.shape
    batch = len(shape) - 2
    if not batch and all(reader.name == "reshape" for reader in readers):
        shape = readers[0].output.shape
        if any(reader.output.shape != shape for reader in readers) or shape[-1] != op.output.shape[1] or len(shape) < 2:
            return None
    elif not all(primitive(reader.name).pointwise for reader in readers):
        return None
    if product(shape[:-1]) != product(left.shape):
        return None
    rows = b.broadcast(b.reshape(left, shape[:-1]), shape, range(len(shape) - 1))
    columns = b.broadcast(b.reshape(right, (*shape[:batch], shape[-1])), shape, [*range(batch), len(shape) - 1])
    return b.reshape(b.mul(rows, columns), op.output.shape)
