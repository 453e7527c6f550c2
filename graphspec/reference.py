"""The reference: every primitive done slowly and obviously.

:func:`interpret` runs a program op by op over NumPy arrays, without passes, Plan or arena.  It is the definition of every
primitive; passes and devices are compared with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphspec.binding import bind_sizes, check_guards, index_error
from graphspec.ir.core import Block, Op, Program, Value, scan_parts
from graphspec.sizes import Size

Array = np.ndarray[Any, Any]
Letters = Mapping[str, int]


Watch = Callable[[Op, Sequence[Array], Sequence[Array], tuple[int, ...]], None]
"""Told of every op that was done: its inputs, its outputs, and the steps of the scans around it, outermost first."""

Held = dict[tuple[Value, tuple[int, ...]], Array]
"""What ops gave, by their output and the steps of the scans around them."""


def interpret(program: Program, arguments: Mapping[str, Any], watch: Watch | None = None, held: Held | None = None) -> dict[str, Array]:
    """Results by name.  ``arguments`` maps port names to arrays of the declared dtype; none of them is changed.

    ``held``: what each stop_gradient gives is taken from there; what is not there yet is put there.
    """
    given = [np.asarray(arguments[port.name], v.dtype) for port, v in zip(program.inputs, program.block.params, strict=True)]
    letters = bind_sizes(program, {port.name: a.shape for port, a in zip(program.inputs, given, strict=True)})
    check_guards(program, letters)
    results = run_block(program.block, given, letters, watch, (), held)
    return {port.name: np.array(a) for port, a in zip(program.outputs, results, strict=True)}


def run_block(
    block: Block, given: Sequence[Array], letters: Letters, watch: Watch | None = None, steps: tuple[int, ...] = (),
    held: Held | None = None,
) -> list[Array]:  # fmt: skip
    """A block on arrays for its parameters."""
    values: dict[Value, Array] = dict(zip(block.params, given, strict=True))
    for op in block.ops:
        inputs = [values[v] for v in op.inputs]
        if op.name == "scan":
            outputs = _scan(op, inputs, letters, watch, steps, held)
        elif op.name == "fused":
            outputs = run_block(op.blocks[0], inputs, letters, watch, steps, held)
        else:
            found = OPS[op.name](op, letters, *inputs)
            outputs = [np.asarray(a, v.dtype) for a, v in zip(found if len(op.outputs) > 1 else [found], op.outputs, strict=True)]
        if held is not None and op.name == "stop_gradient":
            outputs = [held.setdefault((op.output, steps), outputs[0])]
        for v, a in zip(op.outputs, outputs, strict=True):
            wanted = _shape(v.shape, letters)
            assert a.shape == wanted, f"{op.name} gave {a.shape}, typed {wanted}"
            values[v] = a
        if watch is not None:
            watch(op, inputs, outputs, steps)
    return [values[v] for v in block.results]


def _scan(
    op: Op, inputs: Sequence[Array], letters: Letters, watch: Watch | None, steps: tuple[int, ...], held: Held | None
) -> list[Array]:
    p = scan_parts(op)
    nc, nk, ny = len(p.consts), len(p.carries), len(p.ys)
    trip = op.attrs["trip"].evaluate(letters)
    consts, carries, xs = list(inputs[:nc]), list(inputs[nc : nc + nk]), inputs[nc + nk :]
    ys = [np.zeros(_shape(v.shape, letters), v.dtype) for v in p.ys]
    sums = [np.zeros(_shape(v.shape, letters), v.dtype) for v in p.sums]
    for t in reversed(range(trip)) if op.attrs["reverse"] else range(trip):
        given = [np.asarray(t, np.int32), *consts, *carries, *(x[t] for x in xs)]
        results = run_block(op.blocks[0], given, letters, watch, (*steps, t), held)
        carries = results[:nk]
        for stack, y in zip(ys, results[nk : nk + ny], strict=True):
            stack[t] = y
        sums = [total + part for total, part in zip(sums, results[nk + ny :], strict=True)]
    return [*carries, *ys, *sums]


def _shape(shape: Sequence[Size], letters: Letters) -> tuple[int, ...]:
    return tuple(n.evaluate(letters) for n in shape)


def _broadcast(op: Op, letters: Letters, x: Array) -> Array:
    shape, axes = _shape(op.attrs["shape"], letters), op.attrs["axes"]
    return np.broadcast_to(x.reshape([n if i in axes else 1 for i, n in enumerate(shape)]), shape)


def _slice(op: Op, letters: Letters, x: Array) -> Array:
    start, length = op.attrs["start"].evaluate(letters), op.attrs["length"].evaluate(letters)
    assert start >= 0 and start + length <= x.shape[op.attrs["axis"]]
    part: Array = x[(slice(None),) * op.attrs["axis"] + (slice(start, start + length),)]
    return part


def _pad(op: Op, letters: Letters, x: Array) -> Array:
    widths = [(0, 0)] * x.ndim
    widths[op.attrs["axis"]] = (op.attrs["before"].evaluate(letters), op.attrs["after"].evaluate(letters))
    return np.pad(x, widths)


def _windows(op: Op, letters: Letters, x: Array) -> Array:
    length, k = op.attrs["length"].evaluate(letters), op.attrs["size"].evaluate(letters)
    index = np.arange(length)[:, None] * op.attrs["stride"] + np.arange(k) * op.attrs["dilation"]
    part: Array = x[(slice(None),) * op.attrs["axis"] + (index,)]
    return part


def _overlap(op: Op, letters: Letters, x: Array) -> Array:
    total, axis = np.zeros(_shape(op.output.shape, letters), x.dtype), op.attrs["axis"]
    for i, j in np.ndindex(x.shape[axis : axis + 2]):
        before = (slice(None),) * axis
        total[(*before, i * op.attrs["stride"] + j * op.attrs["dilation"])] += x[(*before, i, j)]
    return total


def _shift(op: Op, letters: Letters, init: Array, stack: Array) -> Array:
    if not len(stack):
        return stack
    return np.concatenate([stack[1:], init[None]] if op.attrs["reverse"] else [init[None], stack[:-1]])


def _top_k(op: Op, letters: Letters, x: Array) -> tuple[Array, Array]:
    positions = np.argsort(-x, axis=-1, kind="stable")[..., : op.attrs["size"].evaluate(letters)]
    return np.take_along_axis(x, positions, -1), positions


def _cumsum(op: Op, letters: Letters, x: Array) -> Array:
    return x[..., ::-1].cumsum(-1)[..., ::-1] if op.attrs["reverse"] else x.cumsum(-1)


def _scatter_add(op: Op, letters: Letters, index: Array, rows: Array) -> Array:
    total = np.zeros(_shape(op.output.shape, letters), rows.dtype)
    np.add.at(total, index, rows)
    return total


def _place(op: Op, letters: Letters, index: Array, x: Array) -> Array:
    total = np.zeros(_shape(op.output.shape, letters), x.dtype)
    np.put_along_axis(total, index[..., None], x[..., None], -1)
    return total


def _check_index(op: Op, letters: Letters, index: Array) -> Array:
    n, base = op.attrs["size"].evaluate(letters), op.attrs["base"]
    bad = np.argwhere((index < base) | (index >= base + n))
    if len(bad):
        place = tuple(int(i) for i in bad[0])
        raise index_error(int(index[place]), place, base, n, op.origin)
    return index


def _sigmoid(op: Op, letters: Letters, x: Array) -> Array:
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-x)))


def philox(counter: Sequence[Array], key: Sequence[Array]) -> list[Array]:
    """Philox4x32-10 (Salmon et al., 2011) on uint64 arrays that hold 32-bit words."""
    mask = np.uint64(0xFFFFFFFF)
    c0, c1, c2, c3 = (np.asarray(c, np.uint64) & mask for c in counter)
    k0, k1 = (np.asarray(k, np.uint64) & mask for k in key)
    for _ in range(10):
        p0, p1 = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = (p1 >> np.uint64(32)) ^ c1 ^ k0, p1 & mask, (p0 >> np.uint64(32)) ^ c3 ^ k1, p0 & mask
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & mask, (k1 + np.uint64(0xBB67AE85)) & mask
    return [c0, c1, c2, c3]


def random_words(n: int, seed: int, step: int, indices: Sequence[int], site: int) -> Array:
    """n 32-bit words (as uint64): element e is word e % 4 of counter e // 4."""
    outer = indices[0] if indices else 0
    inner = 0
    for index in indices[1:]:
        inner = ((inner ^ index) * 2654435761) & 0xFFFFFFFF
    blocks = np.arange((n + 3) // 4, dtype=np.uint64)
    same = np.ones_like(blocks)
    key = ((seed & 0xFFFFFFFF) ^ ((site * 0x9E3779B9) & 0xFFFFFFFF), ((seed >> 32) ^ (step >> 32)) & 0xFFFFFFFF)
    words = philox(
        [blocks, same * np.uint64(outer), same * np.uint64(inner), same * np.uint64(step & 0xFFFFFFFF)],
        [same * np.uint64(key[0]), same * np.uint64(key[1])],
    )
    return np.stack(words, -1).reshape(-1)[:n]


def _random(op: Op, letters: Letters, seed: Array, step: Array, *indices: Array) -> Array:
    shape = _shape(op.attrs["shape"], letters)
    n = int(np.prod(shape))
    counters = (int(seed), int(step), [int(i) for i in indices], op.attrs["site"])
    if op.attrs["kind"] == "uniform":
        return (random_words(n, *counters) >> np.uint64(8)).reshape(shape) * 2.0**-24
    words = (random_words(2 * n, *counters) >> np.uint64(8)) * 2.0**-24
    radius = np.sqrt(-2 * np.log(words[0::2] + 2.0**-25))
    drawn: Array = (radius * np.cos(2 * np.pi * words[1::2])).reshape(shape)
    return drawn


COMPARE = {"lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal}

OPS: dict[str, Callable[..., Any]] = {
    "full": lambda op, letters: np.full(_shape(op.attrs["shape"], letters), op.attrs["value"], op.attrs["dtype"]),
    "iota": lambda op, letters: np.arange(op.attrs["size"].evaluate(letters)),
    "size": lambda op, letters: op.attrs["size"].evaluate(letters),
    "add": lambda op, letters, a, b: a + b,
    "sub": lambda op, letters, a, b: a - b,
    "mul": lambda op, letters, a, b: a * b,
    "div": lambda op, letters, a, b: a / b,
    "maximum": lambda op, letters, a, b: np.maximum(a, b),
    "minimum": lambda op, letters, a, b: np.minimum(a, b),
    "neg": lambda op, letters, a: -a,
    "exp": lambda op, letters, a: np.exp(a),
    "log": lambda op, letters, a: np.log(a),
    "log1p": lambda op, letters, a: np.log1p(a),
    "sqrt": lambda op, letters, a: np.sqrt(a),
    "abs": lambda op, letters, a: np.abs(a),
    "sign": lambda op, letters, a: np.sign(a),
    "stop_gradient": lambda op, letters, a: a,
    "tanh": lambda op, letters, a: np.tanh(a),
    "sigmoid": _sigmoid,
    "compare": lambda op, letters, a, b: COMPARE[op.attrs["how"]](a, b),
    "logical": lambda op, letters, a, b: a & b if op.attrs["how"] == "and" else a | b,
    "where": lambda op, letters, c, a, b: np.where(c, a, b),
    "cast": lambda op, letters, a: a.astype(op.attrs["dtype"]),
    "reshape": lambda op, letters, a: a.reshape(_shape(op.attrs["shape"], letters)),
    "transpose": lambda op, letters, a: a.transpose(op.attrs["axes"]),
    "broadcast": _broadcast,
    "slice": _slice,
    "pad": _pad,
    "concat": lambda op, letters, *xs: np.concatenate(xs, op.attrs["axis"]),
    "shift": _shift,
    "windows": _windows,
    "overlap": _overlap,
    "reduce_sum": lambda op, letters, a: a.sum(axis=op.attrs["axes"], dtype=a.dtype),
    "reduce_max": lambda op, letters, a: a.max(axis=op.attrs["axes"]),
    "argmax": lambda op, letters, a: a.argmax(-1),
    "top_k": _top_k,
    "cumsum": _cumsum,
    "matmul": lambda op, letters, a, b: a @ b,
    "gather": lambda op, letters, table, index: table[index],
    "scatter_add": _scatter_add,
    "pick": lambda op, letters, x, index: np.take_along_axis(x, index[..., None], -1)[..., 0],
    "place": _place,
    "check_index": _check_index,
    "random": _random,
}
