"""The native device: what is printed compiles without a warning and gives what the reference gives.

Many programs are compiled together (:mod:`merged`), since a compiler takes most of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from graphspec.engine import Engine
from graphspec.ir.builder import Builder
from graphspec.ir.core import Port, Program, Value, tensor
from graphspec.ir.rewrite import copy_program
from graphspec.ir.verify import verify
from graphspec.passes import optimise
from graphspec.plan import make_plan
from graphspec.reference import interpret
from graphspec_runtime import Executable, PlanError, compiler, open_device
from graphspec_runtime.devices import native
from merged import Arrays, named, together
from random_programs import Generator, draw_arguments
from test_passes import PROGRAMS, backward_of, draw
from test_runtime_kernels import MODES, KernelCase, kernel_cases, kernel_program

try:
    compiler.find_compiler()
except PlanError:
    pytest.skip("there is no C compiler", allow_module_level=True)

WARNINGS = ("-Wall", "-Wextra", "-Werror")


@pytest.fixture(scope="module", autouse=True)
def strict() -> Iterator[None]:
    """Warnings are errors here."""
    before = compiler.FLAGS
    compiler.FLAGS = (*before, *WARNINGS)
    compiler.identity.cache_clear()
    yield
    compiler.FLAGS = before
    compiler.identity.cache_clear()


@pytest.fixture(scope="module")
def device() -> native.NativeDevice:
    found = open_device("native")
    assert isinstance(found, native.NativeDevice)
    return found


def agree(wanted: Arrays, got: Arrays, tolerance: float | Callable[[str], float]) -> None:
    assert wanted.keys() == got.keys()
    for name, value in wanted.items():
        assert got[name].shape == value.shape and got[name].dtype == value.dtype, name
        limit = tolerance if isinstance(tolerance, float) else tolerance(name)
        scale = max(1.0, float(np.abs(value, where=np.isfinite(value), out=np.zeros_like(value, float)).max())) if value.size else 1.0
        np.testing.assert_allclose(got[name], value, rtol=0, atol=limit * scale, err_msg=name)


# -- every kernel ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("mode", MODES)
def test_every_primitive_agrees_with_the_reference(device: native.NativeDevice, mode: str, dtype: str) -> None:
    cases: list[KernelCase] = [case for case in kernel_cases() if case.mode == mode and case.dtype == dtype]
    built = [kernel_program(case) for case in cases]
    executable = Executable(make_plan(together([program for program, _ in built]), "c"), device)
    with np.errstate(all="ignore"):
        wanted = named([interpret(program, arguments) for program, arguments in built])
    for _ in range(2):
        got = executable.call(named([arguments for _, arguments in built]))
        agree(wanted, got, 1e-12 if dtype == "float64" else 2e-6)
        for i, case in enumerate(cases):
            if case.name == "random" and "uniform" in str(kernel_program(case)[0].block.ops[-1].attrs) and mode != "in a loop":
                np.testing.assert_array_equal(got[f"{i}:o0"], wanted[f"{i}:o0"])


def test_functions_at_their_edges(device: native.NativeDevice) -> None:
    """float32 over its whole range, infinities and NaN: what they are, and how exact the printed polynomials are."""
    edges = np.array([0, -0.0, np.inf, -np.inf, np.nan, 1e-30, -1e-30, 1e-8, 87, 88, 88.7, 89, 200, -87, -88, -110, 1e30, -1e30, 9.1, -9.1])
    x = np.concatenate([edges, np.linspace(-20, 20, 4001), np.geomspace(1e-12, 80, 500)]).astype("float32")
    b = Builder()
    v = b.param(tensor([len(x)], "float32"), "x")
    part = b.slice(v, 0, len(edges), 4000)
    b.block.results = [b.tanh(v), b.sigmoid(v), b.exp(v), b.maximum(v, b.neg(v)), b.reduce_max(v, [0]), b.reduce_max(part, [0])]
    program = Program(b.block, [Port("x", "input")], [Port(n, "output") for n in ("tanh", "sigmoid", "exp", "largest", "nan", "max")])
    got = Executable(make_plan(program, "c"), device).call({"x": x})
    exact = x.astype("float64")
    with np.errstate(all="ignore"):
        for name, wanted in (("tanh", np.tanh(exact)), ("sigmoid", 1 / (1 + np.exp(-exact))), ("exp", np.exp(exact))):
            normal = np.abs(np.nan_to_num(wanted, nan=1, posinf=1)) > 1.2e-38
            finite = normal & (exact > -87.3) & (exact < 88.72) | ~np.isfinite(exact) | (name != "exp")
            np.testing.assert_allclose(got[name][finite], wanted[finite], rtol=4e-7, atol=1.2e-38, err_msg=name)
        assert got["exp"][x > 89].min() == np.inf and got["exp"][x < -110].max() == 0
        np.testing.assert_array_equal(got["tanh"][np.abs(x) > 9.02], np.sign(x[np.abs(x) > 9.02]))  # with no gradient left
        np.testing.assert_array_equal(got["largest"], np.maximum(x, -x))
    assert np.isnan(got["nan"]) and got["max"] == x[len(edges) : len(edges) + 4000].max()


# -- random programs -----------------------------------------------------------------------------------------------------------

BINDINGS = [{"B": 2, "T": 3}, {"B": 1, "T": 1}, {"B": 3, "T": 0}, {"B": 7, "T": 5}]


def run_together(device: native.NativeDevice, seeds: range, kernels: bool) -> None:
    """Random programs and their gradients, as one."""
    forward = [Generator(seed).program() for seed in seeds]
    backward = [backward_of(program) for program in forward]
    whole = together([*forward, *backward])
    verify(whole)
    if kernels:
        optimise(whole, check=True, kernels=True)
    executable = Executable(make_plan(whole, "c"), device)
    for sizes in BINDINGS:
        arguments = [draw_arguments(program, sizes, seed) for program, seed in zip(forward, seeds, strict=True)]
        arguments += [{**draw(program, sizes, seed), **a} for program, a, seed in zip(backward, list(arguments), seeds, strict=True)]
        with np.errstate(all="ignore"):
            wanted = named([interpret(program, a) for program, a in zip([*forward, *backward], arguments, strict=True)])
        agree(wanted, executable.call({name: np.array(value, order="C") for name, value in named(arguments).items()}), 1e-10)


@pytest.mark.parametrize("kernels", [False, True], ids=["as it is", "fused"])
def test_random_programs(device: native.NativeDevice, kernels: bool) -> None:
    run_together(device, range(24), kernels)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(100, 1100, 50))
def test_many_random_programs(device: native.NativeDevice, start: int) -> None:
    run_together(device, range(start, start + 50), kernels=True)


# -- whole specs -----------------------------------------------------------------------------------------------------------------

FEW = ("lstm-0-backward_program", "char_lm-training", "translate-training")


def run_spec(device: native.NativeDevice, name: str) -> None:
    program = PROGRAMS[name]()
    arguments = draw(program)
    wanted = interpret(program, arguments)
    engine = Engine(copy_program(program), device, check=True)
    got = engine.run({k: np.array(v) for k, v in arguments.items()})
    agree(wanted, {k: engine.to_host(v) for k, v in got.items()}, 1e-10)


@pytest.mark.parametrize("name", FEW)
def test_a_spec(device: native.NativeDevice, name: str) -> None:
    run_spec(device, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(PROGRAMS) - set(FEW)))
def test_every_spec(device: native.NativeDevice, name: str) -> None:
    run_spec(device, name)


@pytest.mark.parametrize(("product", "parts"), [(False, {0}), (True, {0, 2})])
def test_kernels_are_compiled_for_products_that_a_plan_has(
    device: native.NativeDevice, monkeypatch: pytest.MonkeyPatch, product: bool, parts: set[int]
) -> None:
    """An optimizer's few numbers in float64 made every first run compile products in float64."""
    b = Builder(dtype="float64")
    x = b.param(tensor([3, 3], "float64"), "x")
    b.block.results = [b.exp(b.matmul(x, x) if product else x)]
    program = Program(b.block, [Port("x", "input")], [Port("y", "output")])
    asked: set[int] = set()
    found = native.kernels

    def kernels(compiler: tuple[str, ...], part: int) -> Callable[[], object]:
        asked.add(part)
        return found(compiler, part)

    monkeypatch.setattr(native, "kernels", kernels)
    Executable(make_plan(program, device.language), device).call({"x": np.ones([3, 3])})
    assert asked == parts


# -- errors ------------------------------------------------------------------------------


def test_an_index_out_of_range_is_told_as_elsewhere(device: native.NativeDevice) -> None:
    b = Builder()
    x = b.param(tensor([2, 3], "int32"), "words")
    b.block.results = [b.gather(b.full(1.0, [5, 2]), b.check_index(x, 5, 0))]
    program = Program(b.block, [Port("words", "input")], [Port("y", "output")])
    bad = {"words": np.array([[0, 4, 1], [2, 5, -1]], "int32")}
    told = []
    for found in (device, open_device("numpy")):
        with pytest.raises(PlanError) as caught:
            Executable(make_plan(program, found.language), found).call(bad)
        told.append((caught.value.kind, caught.value.message, caught.value.data))
    assert told[0] == told[1] and "index 5 of `words` at position [1, 1]" in told[0][1]


@pytest.mark.parametrize(("dtype", "number"), [("int32", -1), ("int64", -1), ("float32", -np.inf), ("float64", -np.inf)])
def test_constants_below_zero_in_a_kernel(device: native.NativeDevice, dtype: str, number: float) -> None:
    """Minus a constant of -1 is no decrement."""
    b = Builder()
    x = b.param(tensor([3], dtype), "x")
    c = b.full(number, [3], dtype)
    b.block.results = [b.add(b.neg(c), x), b.sub(x, c), b.mul(b.abs(c), x), b.maximum(b.sign(c), x), b.where(b.compare(x, c, "gt"), x, c)]
    program = Program(b.block, [Port("x", "input")], [Port(f"y{i}", "output") for i in range(5)])
    fused = copy_program(program)
    optimise(fused, kernels=True)
    assert any(op.name == "fused" for op in fused.block.ops)
    arguments = {"x": np.array([-3, 1, 2], dtype)}
    agree(interpret(program, arguments), Executable(make_plan(fused, "c"), device).call(arguments), 0.0)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "bool"])
def test_a_value_compared_with_itself(device: native.NativeDevice, dtype: str) -> None:
    """Of a whole number there is nothing to compare, which compilers warn of; of a float it tells whether it is NaN."""
    b = Builder()
    x, y = (b.param(tensor([3], dtype), name) for name in "xy")
    comparisons = ("lt", "le", "gt", "ge", "eq", "ne")
    b.block.results = [b.where(b.compare(x, x, how), x, y) for how in comparisons]
    program = Program(b.block, [Port("x", "input"), Port("y", "input")], [Port(how, "output") for how in comparisons])
    fused = copy_program(program)
    optimise(fused, kernels=True)
    assert any(op.name == "fused" for op in fused.block.ops)
    arguments = {"x": np.array([0, 1, 2 if dtype.startswith("int") else np.nan]).astype(dtype), "y": np.array([1, 0, 5]).astype(dtype)}
    for each in (program, fused):
        agree(interpret(program, arguments), Executable(make_plan(each, "c"), device).call(arguments), 0.0)


def test_products_of_one_matrix_with_rows_that_lie_otherwise(device: native.NativeDevice) -> None:
    """In a loop: rows as they are, columns as rows, and one number everywhere, which lies in memory once."""
    b = Builder(dtype="float64")
    xs, h, w = (b.param(tensor(shape, "float64"), name) for name, shape in (("xs", [5, 2, 2]), ("h", [2, 2]), ("w", [2, 3])))

    def body(i: Builder, t: object, cs: list[Value], ks: list[Value], xs: list[Value]) -> tuple[list[Value], list[Value], list[Value]]:
        lefts = [ks[0], i.transpose(ks[0], (1, 0)), i.full(2.5, [2, 2]), i.transpose(xs[0], (1, 0))]
        return [i.tanh(i.add(ks[0], xs[0]))], [i.matmul(left, cs[0]) for left in lefts], []

    b.block.results = b.scan(5, [w], [h], [xs], body)[1]
    program = Program(b.block, [Port(v.name, "input") for v in b.block.params], [Port(f"y{i}", "output") for i in range(4)])
    rng = np.random.default_rng(0)
    arguments = {"xs": rng.normal(size=(5, 2, 2)), "h": rng.normal(size=(2, 2)), "w": rng.normal(size=(2, 3))}
    plan = make_plan(program, "c")
    assert "gs_gemm_packed" in plan.sources["c"]
    agree(interpret(program, arguments), Executable(plan, device).call(arguments), 1e-12)


def test_the_largest_is_found_again_among_sums_of_products(device: native.NativeDevice) -> None:
    """A kernel that passes over its rows twice computes what is compared with their largest anew: rounded otherwise, none would be it."""
    b = Builder(dtype="float64")
    x, y, z = (b.param(tensor([300, 5], "float64"), name) for name in "xyz")
    product = b.mul(x, y)
    largest = b.reduce_max(b.add(product, z), [1])
    b.block.results = [b.mul(product, b.broadcast(largest, product.shape, [0]))]
    program = backward_of(Program(b.block, [Port(v.name, "input") for v in b.block.params], [Port("o", "output")]))
    rng = np.random.default_rng(0)
    arguments = {port.name: rng.normal(size=(300, 5)) for port in program.inputs}
    wanted = interpret(program, arguments)
    optimise(program, kernels=True)
    agree(wanted, Executable(make_plan(program, "c"), device).call(arguments), 1e-12)


def test_a_plan_without_c_is_refused(device: native.NativeDevice) -> None:
    b = Builder()
    x = b.param(tensor([2], "float32"), "x")
    b.block.results = [b.neg(x)]
    program = Program(b.block, [Port("x", "input")], [Port("y", "output")])
    with pytest.raises(PlanError, match="no C in it"):
        Executable(make_plan(program), device).call({"x": np.zeros(2, "float32")})
