"""The samples of every primitive, as programs, and each primitive once more by Python's own arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from graphspec.autodiff import gradients
from graphspec.ir.builder import Builder
from graphspec.ir.core import FLOATS, Port, Program, tensor
from graphspec.ir.ops import PRIMITIVES, Case, Primitive
from graphspec.ir.rewrite import erase_stops
from graphspec.sizes import Size, size

Array = np.ndarray[Any, Any]
F, INT, BOOL = "float64", "int32", "bool"
EMPTY: dict[str, tuple[Case, ...]] = {
    # samples beyond those of the records: no elements, wherever that is legal
    "compare": (Case((((0, 3), F),) * 2, {"how": "lt"}),),
    "logical": (Case((((0,), BOOL),) * 2, {"how": "or"}),),
    "where": (Case((((0, 2), BOOL), ((0, 2), F), ((0, 2), F))),),
    "cast": (Case((((2, 0), F),), {"dtype": "float32"}),),
    "matmul": (
        Case((((0, 3), F), ((3, 4), F))), Case((((2, 3, 1), F), ((2, 1, 4), F))),
        Case((((2, 3, 0), F), ((2, 0, 2), F))), Case((((0, 2, 2), F), ((0, 2, 2), F))),
    ),
    "gather": (Case((((5, 3), F), ((0,), INT)), index=5), Case((((0, 3), F), ((0,), INT))), Case((((5, 0), F), ((2,), INT)), index=5)),
    "scatter_add": (Case((((0,), INT), ((0, 3), F)), {"size": size(5)}), Case((((0,), INT), ((0, 3), F)), {"size": size(0)})),
    "pick": (Case((((0, 5), F), ((0,), INT))), Case((((0, 0), F), ((0,), INT)))),
    "place": (Case((((0,), INT), ((0,), F)), {"size": size(5)}),),
    "check_index": (Case((((0,), INT),), {"size": size(0), "base": 1}),),
    "random": (Case((((), "int64"),) * 2, {"kind": "normal", "site": 0, "shape": (size(0), size(2)), "dtype": F}),),
    "reduce_sum": (Case((((2, 0, 3), F),), {"axes": (0, 2)}), Case((((2, 0), F),), {"axes": (1,)})),
    "reduce_max": (Case((((0, 3), F),), {"axes": (1,)}),),
    "argmax": (Case((((0, 4), F),)),),
    "top_k": (Case((((0, 4), F),), {"size": size(2)}), Case((((2, 3), F),), {"size": size(0)}), Case((((0,), F),), {"size": size(0)})),
    "cumsum": (Case((((2, 0), F),), {"reverse": False}), Case((((0, 3), F),), {"reverse": True})),
    "full": (Case((), {"value": -0.0, "shape": (size(2), size(0)), "dtype": F}),),
    "iota": (Case((), {"size": size(0), "dtype": "int64"}),),
    "size": (Case((), {"size": size(0), "dtype": INT}),),
    "reshape": (Case((((0, 6), F),), {"shape": (size(3), size(0))}),),
    "transpose": (Case((((0, 3, 2), F),), {"axes": (2, 0, 1)}),),
    "broadcast": (
        Case((((3,), F),), {"shape": (size(0), size(3)), "axes": (1,)}),
        Case((((0,), F),), {"shape": (size(0), size(2)), "axes": (0,)}),
    ),
    "slice": (Case((((5, 2), F),), {"axis": 0, "start": size(5), "length": size(0)}),),
    "pad": (
        Case((((0, 2), F),), {"axis": 0, "before": size(1), "after": size(2)}),
        Case((((0, 2), F),), {"axis": 1, "before": size(1), "after": size(0)}),
    ),
    "windows": (
        Case((((0, 4), F),), {"axis": 1, "length": size(2), "size": size(3), "stride": 1, "dilation": 1}),
        Case((((2, 1), F),), {"axis": 1, "length": size(0), "size": size(3), "stride": 2, "dilation": 1}),
    ),
    "overlap": (
        Case((((0, 2, 3), F),), {"axis": 1, "size": size(4), "stride": 1, "dilation": 1}),
        Case((((2, 0, 3), F),), {"axis": 1, "size": size(4), "stride": 1, "dilation": 1}),
    ),
    "concat": (Case((((0, 2), F), ((0, 3), F)), {"axis": 1}),),
    "shift": (Case((((0,), F), ((4, 0), F)), {"reverse": True}),),
}  # fmt: skip
SAMPLES = [(record, case) for record in PRIMITIVES.values() for case in (*record.cases, *EMPTY.get(record.name, ()))]


def params(samples: Sequence[tuple[Primitive, Case]]) -> list[Any]:
    """Samples for parametrize, each with a name that stays."""
    names = [f"{record.name}-{[c for r, c in SAMPLES if r is record].index(case)}" for record, case in samples]
    return [pytest.param(record, case, id=name) for (record, case), name in zip(samples, names, strict=True)]


def draw(case: Case, seed: int = 7) -> list[Array]:
    """Inputs from the sample's domain."""
    rng = np.random.default_rng(seed)
    inputs: list[Array] = []
    for shape, dtype in case.inputs:
        if dtype in FLOATS:
            inputs.append(np.asarray(rng.uniform(case.low, case.high, shape), dtype))
        else:
            inputs.append(np.asarray(rng.integers(0, 2 if dtype == BOOL else case.index or 3, shape), dtype))
    return inputs


def program_of(record: Primitive, case: Case, backward: bool = False) -> Program:
    """The primitive alone: ``x0, x1 ...`` to ``y`` (and ``y1`` ...); with ``backward`` also ``g0 ...`` of its float inputs from a cotangent
    ``d`` of ``y``."""
    b = Builder(dtype=F)
    xs = [b.param(tensor(shape, dtype), f"x{i}") for i, (shape, dtype) in enumerate(case.inputs)]
    y, *others = b.emit(record.name, *xs, **case.attrs)
    results = {"y": y, **{f"y{i}": v for i, v in enumerate(others, 1)}}
    if backward:
        wrt = [x for x in xs if x.type.is_float]
        found = gradients(b, {y: b.param(y.type, "d")}, wrt)
        results.update((f"g{xs.index(x)}", g) for x, g in zip(wrt, found, strict=True) if g is not None)
        erase_stops(b.block)
    b.block.results = list(results.values())
    return Program(b.block, [Port(v.name, "input") for v in b.block.params], [Port(name, "output") for name in results])


def named(inputs: Sequence[Array]) -> dict[str, Array]:
    return {f"x{i}": a for i, a in enumerate(inputs)}


# -- each primitive, element by element --------------------------------------------------------------------------------


def pointwise(f: Callable[..., Any]) -> Callable[..., Array]:
    """f on each element, by Python's own arithmetic."""

    def over(attrs: Mapping[str, Any], *inputs: Array) -> Array:
        shape = inputs[0].shape
        return np.array([f(attrs, *(a[i].item() for a in inputs)) for i in np.ndindex(shape)]).reshape(shape)

    return over


def built(shape: Sequence[Any], f: Callable[[tuple[int, ...]], Any]) -> Array:
    """The array of ``f(index)``."""
    whole = tuple(int(n.value) if isinstance(n, Size) else int(n) for n in shape)
    return np.array([f(i) for i in np.ndindex(whole)], dtype=float).reshape(whole)


def number(n: Any) -> int:
    return int(n.value)


def sign(x: float) -> float:
    return float(x > 0) - float(x < 0)


def reduced(f: Callable[[list[float]], float]) -> Callable[..., Array]:
    def over(attrs: Mapping[str, Any], x: Array) -> Array:
        axes = attrs["axes"]
        kept = [a for a in range(x.ndim) if a not in axes]

        def at(i: tuple[int, ...]) -> float:
            found = []
            for j in np.ndindex(*(x.shape[a] for a in axes)):
                place = dict(zip((*kept, *axes), (*i, *j), strict=True))
                found.append(float(x[tuple(place[a] for a in range(x.ndim))]))
            return f(found)

        return built([x.shape[a] for a in kept], at)

    return over


def matmul(attrs: Mapping[str, Any], a: Array, b: Array) -> Array:
    return built((*a.shape[:-1], b.shape[-1]), lambda i: sum(a[*i[:-1], k] * b[*i[:-2], k, i[-1]] for k in range(a.shape[-1])))


def scatter_add(attrs: Mapping[str, Any], index: Array, rows: Array) -> Array:
    total = np.zeros((number(attrs["size"]), *rows.shape[index.ndim :]))
    for i in np.ndindex(index.shape):
        total[index[i]] += rows[i]
    return total


def place(attrs: Mapping[str, Any], index: Array, x: Array) -> Array:
    return built((*x.shape, attrs["size"]), lambda i: x[i[:-1]] if index[i[:-1]] == i[-1] else 0)


def piece(attrs: Mapping[str, Any], x: Array) -> Array:
    axis, start = attrs["axis"], number(attrs["start"])
    shape = [number(attrs["length"]) if a == axis else n for a, n in enumerate(x.shape)]
    return built(shape, lambda i: x[tuple(k + start if a == axis else k for a, k in enumerate(i))])


def transpose(attrs: Mapping[str, Any], x: Array) -> Array:
    axes = attrs["axes"]
    return built([x.shape[a] for a in axes], lambda i: x[tuple(i[axes.index(a)] for a in range(x.ndim))])


def gather(attrs: Mapping[str, Any], table: Array, index: Array) -> Array:
    lead = index.ndim
    return built((*index.shape, *table.shape[1:]), lambda i: table[(index[i[:lead]], *i[lead:])])


def reshape(attrs: Mapping[str, Any], x: Array) -> Array:
    elements = iter(x.flatten())
    return built(attrs["shape"], lambda _: next(elements))


def pad(attrs: Mapping[str, Any], x: Array) -> Array:
    axis, before = attrs["axis"], number(attrs["before"])
    shape = [n + before + number(attrs["after"]) if a == axis else n for a, n in enumerate(x.shape)]

    def at(i: tuple[int, ...]) -> float:
        k = i[axis] - before
        return float(x[(*i[:axis], k, *i[axis + 1 :])]) if 0 <= k < x.shape[axis] else 0

    return built(shape, at)


def concat(attrs: Mapping[str, Any], *xs: Array) -> Array:
    axis = attrs["axis"]
    rows = [row for x in xs for row in np.moveaxis(x, axis, 0)]
    return np.moveaxis(np.array(rows).reshape(len(rows), *np.moveaxis(xs[0], axis, 0).shape[1:]), 0, axis)


def shift(attrs: Mapping[str, Any], init: Array, stack: Array) -> Array:
    states, last = [], init
    for row in stack[::-1] if attrs["reverse"] else stack:
        states.append(last)
        last = row
    return np.array(states[::-1] if attrs["reverse"] else states).reshape(stack.shape)


def windows(attrs: Mapping[str, Any], x: Array) -> Array:
    a, stride, dilation = attrs["axis"], attrs["stride"], attrs["dilation"]
    shape: list[Any] = [*x.shape[:a], attrs["length"], attrs["size"], *x.shape[a + 1 :]]
    return built(shape, lambda i: x[(*i[:a], i[a] * stride + i[a + 1] * dilation, *i[a + 2 :])])


def overlap(attrs: Mapping[str, Any], x: Array) -> Array:
    a, stride, dilation = attrs["axis"], attrs["stride"], attrs["dilation"]
    pairs = list(np.ndindex(x.shape[a : a + 2]))

    def at(i: tuple[int, ...]) -> float:
        return math.fsum(x[(*i[:a], w, j, *i[a + 1 :])] for w, j in pairs if w * stride + j * dilation == i[a])

    return built([*x.shape[:a], attrs["size"], *x.shape[a + 2 :]], at)


def top_k(attrs: Mapping[str, Any], x: Array) -> tuple[Array, Array]:
    """By one look after another at what is left."""
    shape = (*x.shape[:-1], number(attrs["size"]))
    positions = np.zeros(shape, int)
    for i in np.ndindex(x.shape[:-1]):
        left = list(range(x.shape[-1]))
        for k in range(shape[-1]):
            positions[i][k] = max(left, key=lambda j, row=x[i]: row[j])
            left.remove(positions[i][k])
    return built(shape, lambda i: x[(*i[:-1], positions[i])]), positions


def cumsum(attrs: Mapping[str, Any], x: Array) -> Array:
    return built(x.shape, lambda i: math.fsum(x[i[:-1]][i[-1] :] if attrs["reverse"] else x[i[:-1]][: i[-1] + 1]))


HOW = {"lt": "__lt__", "le": "__le__", "gt": "__gt__", "ge": "__ge__", "eq": "__eq__", "ne": "__ne__"}
KIND: dict[str, Callable[[Any], Any]] = {F: float, "float32": lambda x: float(np.float32(x)), INT: int, "int64": int, BOOL: bool}

FORMULAS: dict[str, Callable[..., Array]] = {
    "add": pointwise(lambda _, a, b: a + b),
    "sub": pointwise(lambda _, a, b: a - b),
    "mul": pointwise(lambda _, a, b: a * b),
    "div": pointwise(lambda _, a, b: a / b),
    "maximum": pointwise(lambda _, a, b: max(a, b)),
    "minimum": pointwise(lambda _, a, b: min(a, b)),
    "neg": pointwise(lambda _, a: 0 - a),
    "exp": pointwise(lambda _, a: math.exp(a)),
    "log": pointwise(lambda _, a: math.log(a)),
    "log1p": pointwise(lambda _, a: math.log1p(a)),
    "sqrt": pointwise(lambda _, a: math.sqrt(a)),
    "abs": pointwise(lambda _, a: max(a, -a)),
    "sign": pointwise(lambda _, a: sign(a)),
    "tanh": pointwise(lambda _, a: (math.exp(a) - math.exp(-a)) / (math.exp(a) + math.exp(-a))),
    "sigmoid": pointwise(lambda _, a: (1 + math.tanh(a / 2)) / 2),
    "stop_gradient": pointwise(lambda _, a: a),
    "compare": pointwise(lambda attrs, a, b: getattr(a, HOW[attrs["how"]])(b)),
    "logical": pointwise(lambda attrs, a, b: (a and b) if attrs["how"] == "and" else (a or b)),
    "where": pointwise(lambda _, c, a, b: a if c else b),
    "cast": pointwise(lambda attrs, a: KIND[attrs["dtype"]](a)),
    "full": lambda attrs: built(attrs["shape"], lambda _: attrs["value"]),
    "iota": lambda attrs: built([attrs["size"]], lambda i: i[0]),
    "size": lambda attrs: np.array(number(attrs["size"])),
    "reshape": reshape,
    "transpose": transpose,
    "broadcast": lambda attrs, x: built(attrs["shape"], lambda i: x[tuple(i[a] for a in attrs["axes"])]),
    "slice": piece,
    "pad": pad,
    "concat": concat,
    "shift": shift,
    "windows": windows,
    "overlap": overlap,
    "reduce_sum": reduced(math.fsum),
    "reduce_max": reduced(max),
    "argmax": lambda attrs, x: built(x.shape[:-1], lambda i: list(x[i]).index(max(x[i]))),
    "top_k": top_k,
    "cumsum": cumsum,
    "matmul": matmul,
    "gather": gather,
    "scatter_add": scatter_add,
    "pick": lambda attrs, x, index: built(index.shape, lambda i: x[(*i, index[i])]),
    "place": place,
    "check_index": lambda attrs, index: index,
}
