"""What a native program may be given: sizes that are 0, 1 or huge, numbers that are none, views with gaps, bad indices in loops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from compiled import NEEDS_COMPILER
from graphspec.ir.builder import Builder
from graphspec.ir.core import DTYPES, Port, Program, Value, tensor
from graphspec.passes import optimise
from graphspec.plan import make_plan
from graphspec.reference import interpret
from graphspec.sizes import Size
from graphspec_runtime import Executable, PlanError, open_device
from test_plan import program

pytestmark = NEEDS_COMPILER

B, T, K = Size.letter("B"), Size.letter("T"), Size.letter("K")


def executable(p: Program, device: str = "native", passes: bool = False) -> Executable:
    opened = open_device(device)
    if passes:
        optimise(p, kernels=bool(opened.language))
    return Executable(make_plan(p, opened.language), opened)


# -- products --------------------------------------------------------------------------------------------------------------------


def products(dtype: str) -> Program:
    """Products of every layout, alone, added to another, in a loop that packs its matrix, and many at once."""
    b = Builder(dtype=dtype)
    a, at = b.param(tensor([B, K], dtype), "a"), b.param(tensor([K, B], dtype), "at")
    c, ct = b.param(tensor([K, T], dtype), "c"), b.param(tensor([T, K], dtype), "ct")
    many = b.param(tensor([3, B, K], dtype), "many")
    results = []
    for left in (a, b.transpose(at, [1, 0])):
        for right in (c, b.transpose(ct, [1, 0])):
            results += [b.matmul(left, right), b.transpose(b.matmul(left, right), [1, 0])]

    def body(i: Builder, t: Value, consts: list[Value], carries: list[Value], xs: list[Value]) -> Any:
        return [], [i.matmul(xs[0], each) for each in consts], [i.matmul(i.transpose(xs[0], [1, 0]), i.matmul(xs[0], consts[0]))]

    _, ys, sums = b.scan(Size.const(3), [c, b.transpose(ct, [1, 0])], [], [many], body)
    wide = b.broadcast(c, [Size.const(3), *c.shape], [1, 2])
    results += [*ys, *sums, b.matmul(many, wide), b.matmul(b.transpose(many, [0, 2, 1]), many)]
    b.block.results = results
    return Program(b.block, [Port(v.name, "input") for v in b.block.params], [Port(f"o{i}", "output") for i in range(len(results))])


EDGES = (0, 1, 2, 5, 6, 7, 13)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_of_all_sizes(dtype: str) -> None:
    """Tiles and what is left of them: rows of 6, columns of whole vectors, sums of nothing; one size large at a time, then all."""
    p = products(dtype)
    run = executable(p)
    sizes = [(m, n, k) for m in EDGES for n in (0, 1, 3, 16, 17) for k in (0, 1, 9)]
    sizes += [(1, 130, 70), (13, 1, 600), (13, 65, 64), (7, 129, 520), (250, 33, 40), (241, 70, 513), (2, 2100, 8)]
    rng = np.random.default_rng(0)
    for m, n, k in sizes:
        shapes = {"a": (m, k), "at": (k, m), "c": (k, n), "ct": (n, k), "many": (3, m, k)}
        arguments = {name: rng.uniform(-1, 1, shape).astype(dtype) for name, shape in shapes.items()}
        got = run.call(arguments)
        exact = interpret(p, {name: value.astype(dtype) for name, value in arguments.items()})
        for name, value in exact.items():
            limit = (1e-13 if dtype == "float64" else 3e-6) * max(k, 1) * max(m if name == "o10" else 1, 1)
            np.testing.assert_allclose(got[name], value, rtol=0, atol=limit, err_msg=f"{name} of {m}, {n}, {k}")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_no_number_stays_in_its_row_and_column(dtype: str) -> None:
    """A NaN or an infinity in a product reaches what NumPy lets it reach, and nothing else."""
    p = products(dtype)
    run = executable(p)
    rng = np.random.default_rng(1)
    for m, n, k in ((1, 5, 3), (7, 17, 9), (13, 70, 65)):
        shapes = {"a": (m, k), "at": (k, m), "c": (k, n), "ct": (n, k), "many": (3, m, k)}
        for bad in (np.nan, np.inf):
            for where in shapes:
                arguments = {name: rng.uniform(0.5, 1, shape).astype(dtype) for name, shape in shapes.items()}
                arguments[where].reshape(-1)[rng.integers(arguments[where].size)] = bad
                with np.errstate(all="ignore"):
                    wanted = interpret(p, arguments)
                for name, value in run.call(arguments).items():
                    np.testing.assert_array_equal(np.isnan(value), np.isnan(wanted[name]), err_msg=f"{bad} in {where}: {name}")
                    np.testing.assert_array_equal(np.isinf(value), np.isinf(wanted[name]), err_msg=f"{bad} in {where}: {name}")


# -- numbers that are none --------------------------------------------------------------------------------------------------------

ODD = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 1e30, -1e30, 88.0, -104.0, 710.0]


def everything(dtype: str) -> Program:
    """Every pointwise op and reduction of two arrays of rows."""
    b = Builder(dtype=dtype)
    x, y = b.param(tensor([B, K], dtype), "x"), b.param(tensor([B, K], dtype), "y")
    results = {name: b.one(name, x) for name in ("neg", "exp", "log", "log1p", "sqrt", "tanh", "sigmoid", "abs", "sign")}
    results |= {name: b.one(name, x, y) for name in ("add", "sub", "mul", "div", "maximum", "minimum")}
    results |= {how: b.compare(x, y, how) for how in ("lt", "le", "gt", "ge", "eq", "ne")}
    results["where"] = b.where(b.compare(x, y, "lt"), x, y)
    results |= {"row sum": b.reduce_sum(x, [1]), "row max": b.reduce_max(x, [1])}
    results |= {"column max": b.reduce_max(x, [0]), "largest": b.reduce_max(x, [0, 1])}
    results |= {"argmax": b.argmax(x), "cumsum": b.cumsum(x, False), "flags": b.cast(x, "bool")}
    results["values"], results["places"] = b.top_k(x, 5)
    largest = b.broadcast(results["row max"], x.shape, [0])
    results["softmax"] = b.exp(b.sub(x, largest))
    b.block.results = list(results.values())
    return Program(b.block, [Port("x", "input"), Port("y", "input")], [Port(name, "output") for name in results])


@pytest.mark.parametrize("passes", [False, True], ids=["as it is", "fused"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_that_are_none(dtype: str, passes: bool) -> None:
    """Every op on every pair: what is NaN, what is infinite and every finite number, as the reference has it."""
    p = everything(dtype)
    xs, ys = (a.astype(dtype) for a in np.meshgrid(ODD, ODD))
    rows = {"x": np.concatenate([xs, xs[::-1, ::-1]]), "y": np.concatenate([ys, np.roll(ys, 3)])}
    with np.errstate(all="ignore"):
        wanted = interpret(p, rows)
        got = executable(p, passes=passes).call(rows)
    tiny = float(np.finfo(dtype).tiny)
    for name, value in wanted.items():
        found = got[name]
        if value.dtype.kind != "f":
            np.testing.assert_array_equal(found, value, err_msg=name)
            continue
        np.testing.assert_array_equal(np.isnan(found), np.isnan(value), err_msg=name)
        inexact = {"exp": 2 * tiny, "softmax": 2 * tiny, "tanh": 2 * tiny, "sigmoid": 2 * tiny}  # below the normal numbers
        finite = np.isfinite(value)
        np.testing.assert_array_equal(found[np.isinf(value)], value[np.isinf(value)], err_msg=name)
        relative = 1e-13 if dtype == "float64" else 2e-6
        np.testing.assert_allclose(found[finite], value[finite], rtol=relative, atol=inexact.get(name, 0), err_msg=name)


def test_casts() -> None:
    b = Builder()
    sources = {dtype: b.param(tensor([4], dtype), dtype) for dtype in DTYPES}
    b.block.results = [b.cast(x, target) for x in sources.values() for target in DTYPES]
    names = [f"{source} to {target}" for source in DTYPES for target in DTYPES]
    p = Program(b.block, [Port(name, "input") for name in sources], [Port(name, "output") for name in names])
    arguments = {dtype: np.array([0, 1, 2.7, -3.2]).astype(dtype) for dtype in DTYPES}
    got = executable(p).call(arguments)
    for name, value in interpret(p, arguments).items():
        assert got[name].dtype == value.dtype, name
        np.testing.assert_array_equal(got[name], value, err_msg=name)


# -- sizes -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [{"B": 2**40, "T": 2**20}, {"B": 2**31, "T": 2**31}, {"B": 2**62, "T": 1}])
def test_sizes_for_which_there_is_no_memory(sizes: Mapping[str, int]) -> None:
    told = []
    for device in ("native", "numpy"):
        run = executable(program(lambda b, x: [b.mul(x, b.exp(x))], x=(B, T)), device)
        with pytest.raises(PlanError) as caught:
            run.bind(sizes)
        told.append((caught.value.kind, caught.value.message))
    assert told[0] == told[1] and told[0][0] == "memory"


def test_views_with_gaps() -> None:
    """Arguments that lie anyhow: reversed, transposed, with gaps, broadcast, read-only."""
    run = executable(program(lambda b, x, y: [b.matmul(x, y), b.add(x, x)], x=(B, T), y=(T, K)))
    base = np.random.default_rng(0).standard_normal((12, 14))
    views = [base[::2, ::3][:, :4], base.T[3:9, 1:5], base[5::-1, 7:3:-1], np.asfortranarray(base[:6, :4])]
    views.append(np.broadcast_to(base[0, :4], (6, 4)))
    for x in views:
        for y in (base.T[:4, 2:9:2], np.flip(base[:4, :5])):
            got = run.call({"x": x, "y": y})
            np.testing.assert_allclose(got["o0"], x @ y, rtol=1e-13, atol=1e-13)
            np.testing.assert_array_equal(got["o1"], x + x)


# -- indices ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("passes", [False, True], ids=["as it is", "fused"])
@pytest.mark.parametrize("bad", [3, -1, 2**31 - 1, -(2**31)])
def test_an_index_out_of_range_inside_a_loop(bad: int, passes: bool) -> None:
    """Told as NumPy's plan tells it, nothing outside is touched, and the next run is as if nothing had been."""

    def build() -> Program:
        b = Builder(dtype="float64")
        words, table = b.param(tensor([T, B], "int32"), "words"), b.param(tensor([3, 2], "float64"), "table")

        def body(i: Builder, t: Value, consts: list[Value], carries: list[Value], xs: list[Value]) -> Any:
            row = i.gather(consts[0], i.check_index(xs[0], 3, 0))
            return [i.add(carries[0], row)], [row], []

        start = b.full(0.0, [B, 2])
        last, ys, _ = b.scan(T, [table], [start], [words], body)
        b.block.results = [*last, *ys]
        return Program(b.block, [Port("words", "input"), Port("table", "input")], [Port("last", "output"), Port("rows", "output")])

    words = np.array([[0, 1, 2], [2, 1, 0], [1, 1, 1]], "int32")
    wrong = words.copy()
    wrong[1, 2] = bad
    good, table = {"words": words}, {"table": np.arange(6.0).reshape(3, 2)}
    told = []
    for device in ("native", "numpy"):
        run = executable(build(), device, passes)
        with pytest.raises(PlanError) as caught:
            run.call({"words": wrong, **table})
        told.append((caught.value.kind, caught.value.data["value"], caught.value.data["low"], caught.value.data["high"]))
        np.testing.assert_array_equal(run.call({**good, **table})["rows"], table["table"][words])
    assert told[0] == told[1] == ("index", bad, 0, 2)
