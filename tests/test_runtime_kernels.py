"""Every primitive as a plan of one instruction against the reference: dtypes, no elements, strides, outputs inside wholes."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest

from graphspec.ir.builder import Builder
from graphspec.ir.core import DTYPES, Port, Program, tensor
from graphspec.ir.ops import PRIMITIVES
from graphspec.plan import make_plan
from graphspec.reference import interpret
from graphspec.sizes import Size
from graphspec_runtime import Executable, open_device
from graphspec_runtime.devices.base import Device
from graphspec_runtime.kernels import POINTWISE

UNARY = sorted(name for name in POINTWISE if name in PRIMITIVES and [len(case.inputs) for case in PRIMITIVES[name].cases[:1]] == [1])
MODES = ("plain", "strided", "in a loop", "placed")


@dataclass(frozen=True)
class KernelCase:
    """One sample of a primitive, its floats as ``dtype``, in one of the surroundings of MODES."""

    name: str
    number: int
    dtype: str
    mode: str

    def __str__(self) -> str:
        return f"{self.name}-{self.number}-{self.dtype}-{self.mode.replace(' ', '-')}"


def kernel_cases() -> list[KernelCase]:
    return [
        KernelCase(name, i, dtype, mode)
        for name, primitive in PRIMITIVES.items()
        for i in range(len(primitive.cases))
        for dtype in ("float64", "float32")
        for mode in MODES
    ]


def kernel_program(case: KernelCase) -> tuple[Program, dict[str, np.ndarray]]:
    sample = PRIMITIVES[case.name].cases[case.number]
    b, rng = Builder(dtype=case.dtype), np.random.default_rng(7)
    arguments: dict[str, np.ndarray] = {}
    attrs = {k: Size.const(v) if k == "size" and isinstance(v, int) else v for k, v in sample.attrs.items()}
    attrs = {k: case.dtype if v in ("float32", "float64") else v for k, v in attrs.items()}
    for i, (shape, dtype) in enumerate(sample.inputs):
        dtype = case.dtype if dtype == "float64" else dtype
        if dtype == "bool":
            value = rng.random(shape) < 0.5
        elif dtype in ("int32", "int64"):
            value = rng.integers(0, sample.index or 3, shape).astype(dtype)
        else:
            value = rng.uniform(sample.low, sample.high, shape).astype(dtype)
        if case.mode == "strided" and value.ndim:  # every second element of axis 0, axes stored the other way round
            spread = np.zeros([2 * shape[0], *shape[1:]], dtype)
            spread[::2] = value
            value = np.asfortranarray(spread)
        arguments[f"x{i}"] = np.asarray(value)
        b.param(tensor(np.shape(value), dtype), f"x{i}")
    inputs = list(b.block.params)
    if case.mode == "strided":
        for i, x in enumerate(inputs):
            if x.type.rank:  # a transposed copy of every second row, so that no input of the op is contiguous
                pairs = b.reshape(x, [x.shape[0].value // 2, 2, *x.shape[1:]])  # type: ignore[operator]
                inputs[i] = b.reshape(b.slice(pairs, 1, 0, 1), [x.shape[0].value // 2, *x.shape[1:]])  # type: ignore[operator]
    if case.mode == "in a loop":

        def body(inner: Builder, t: Any, consts: list[Any], carries: list[Any], xs: list[Any]) -> tuple[list[Any], list[Any], list[Any]]:
            outs = inner.emit(case.name, *consts, **attrs)
            return [], outs, [out for out in outs if out.type.is_float]

        _, ys, sums = b.scan(3, inputs, [], [], body)
        b.block.results = [*ys, *sums]
    else:
        outs = b.emit(case.name, *inputs, **attrs)
        placed = case.mode == "placed"
        b.block.results = [b.concat([out, out], out.type.rank - 1) if placed and out.type.rank else out for out in outs]
    outputs = [Port(f"o{i}", "output") for i in range(len(b.block.results))]
    return Program(b.block, [Port(v.name, "input") for v in b.block.params], outputs), arguments


def check_case(case: KernelCase, device: Device) -> None:
    program, arguments = kernel_program(case)
    with np.errstate(all="ignore"):
        wanted = interpret(program, arguments)
    executable = Executable(make_plan(program), device)
    tolerance = 1e-12 if case.dtype == "float64" else 2e-6
    for _ in range(2):
        got = executable.call(arguments)
        for name, value in wanted.items():
            assert got[name].dtype == value.dtype and got[name].shape == value.shape
            if case.name == "random" and PRIMITIVES["random"].cases[case.number].attrs["kind"] == "uniform" and case.mode != "in a loop":
                np.testing.assert_array_equal(got[name], value)
            np.testing.assert_allclose(got[name], value, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("case", kernel_cases(), ids=str)
def test_kernel_agrees_with_the_reference(case: KernelCase) -> None:
    check_case(case, open_device("numpy"))


def test_every_primitive_has_cases_and_a_kernel() -> None:
    views = {"full", "size", "reshape", "transpose", "broadcast", "slice", "windows", "concat", "pad", "scan", "fused", "stop_gradient"}
    from graphspec_runtime.kernels import KERNELS

    assert set(PRIMITIVES) - views == set(KERNELS) - {"copy"}
    assert {case.name for case in kernel_cases()} == set(PRIMITIVES) - {"scan", "fused"}


@pytest.mark.parametrize("name", UNARY)
def test_columns_of_any_width(name: str) -> None:
    """A column of one matrix into a column of another, as where a gate is computed into its place."""
    b = Builder(dtype="float64")
    attrs = {"dtype": "float64"} if name == "cast" else {}
    for n in range(2, 18):
        x = b.param(tensor([3, n], "float64"), f"x{n}")
        y = b.one(name, b.slice(x, 1, 1, 1), **attrs)
        b.block.results.append(b.concat([b.full(0, [3, 2]), y], 1))
    program = Program(b.block, [Port(v.name, "input") for v in b.block.params], [Port(f"o{n}", "output") for n in range(2, 18)])
    arguments = {f"x{n}": np.random.default_rng(n).uniform(0.3, 1, (3, n)) for n in range(2, 18)}
    got = Executable(make_plan(program), open_device("numpy")).call(arguments)
    for key, value in interpret(program, arguments).items():
        np.testing.assert_allclose(got[key], value, rtol=1e-12, err_msg=key)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 5e-7), ("float64", 1e-15)])
def test_a_sigmoid_beside_zero_has_a_logarithm(dtype: str, tolerance: float) -> None:
    """The loss of an answer that is sure and wrong."""
    b = Builder(dtype=dtype)
    x = b.param(tensor([7], dtype), "x")
    b.block.results = [b.sigmoid(x), b.log(b.sigmoid(x))]
    program = Program(b.block, [Port("x", "input")], [Port("y", "output"), Port("log", "output")])
    x64 = np.array([-80.0, -40, -17, -9, 0, 9, 80])
    got = Executable(make_plan(program), open_device("numpy")).call({"x": x64.astype(dtype)})
    np.testing.assert_allclose(got["y"], 1 / (1 + np.exp(-x64)), rtol=tolerance)
    np.testing.assert_allclose(got["log"], -np.log1p(np.exp(-x64)), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("n", [1, 2, 7, 200])
@pytest.mark.parametrize("name", ["numpy", "reference"])
def test_the_largest_of_few_different_numbers(n: int, name: str) -> None:
    """Ties inside and at the edge of what is taken, NaN, infinities."""
    values = np.array([-np.inf, -1, -0.0, 0, 2, 2.5, np.inf, np.nan])
    rows = np.random.default_rng(n).choice(values, (6, n)).astype("float32")
    for k in sorted({1, 2, n // 5, n // 2, n} & set(range(1, n + 1))):
        b = Builder()
        x = b.param(tensor([6, n], "float32"), "x")
        b.block.results = list(b.top_k(x, k))
        program = Program(b.block, [Port("x", "input")], [Port("values", "output"), Port("positions", "output")])
        run = partial(interpret, program) if name == "reference" else Executable(make_plan(program), open_device(name)).call
        found = run({"x": rows})
        for row, largest, positions in zip(rows, found["values"], found["positions"], strict=True):
            order = sorted(range(n), key=lambda i: (np.isnan(row[i]), -row[i] if row[i] == row[i] else 0, i))
            assert positions.tolist() == order[:k]
            np.testing.assert_array_equal(largest, row[positions])


@pytest.mark.parametrize("source", DTYPES)
@pytest.mark.parametrize("target", DTYPES)
def test_casts(source: str, target: str) -> None:
    b = Builder()
    x = b.param(tensor([4], source), "x")
    b.block.results = [b.cast(x, target)]
    program = Program(b.block, [Port("x", "input")], [Port("y", "output")])
    arguments = {"x": np.array([0, 1, 2.7, -3.2]).astype(source)}
    wanted, got = interpret(program, arguments), Executable(make_plan(program), open_device("numpy")).call(arguments)
    np.testing.assert_array_equal(got["y"], wanted["y"])
    assert got["y"].dtype == target


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("across", [False, True])
def test_a_part_of_a_wider_matrix_is_multiplied_where_it_lies(side: int, across: bool) -> None:
    b, n = Builder(dtype="float32"), 256
    wide, whole = b.param(tensor([n, 2 * n], "float32"), "wide"), b.param(tensor([n, n], "float32"), "whole")
    part = b.slice(wide, 1, n, n)
    part = b.transpose(part, (1, 0)) if across else part
    b.block.results = [b.matmul(*((part, whole) if side == 0 else (whole, part)))]
    program = Program(b.block, [Port(v.name, "parameter") for v in b.block.params], [Port("y", "output")])
    rng = np.random.default_rng(3)
    arguments = {v.name: rng.standard_normal([n.evaluate({}) for n in v.shape]).astype("float32") for v in b.block.params}
    executable = Executable(make_plan(program), open_device("numpy"))
    got = executable.run(arguments)["y"]
    np.testing.assert_allclose(got, interpret(program, arguments)["y"], rtol=1e-4, atol=1e-4)
    tracemalloc.start()
    try:
        executable.run(arguments)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < n * n, "a copy was made"
