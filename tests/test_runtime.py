"""Binding and running: sizes, arguments, errors, random numbers, threads."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from compiled import NEEDS_COMPILER
from graphspec.errors import Origin, Source, Span
from graphspec.ir.builder import Builder
from graphspec.ir.core import Port, Program, Value, tensor
from graphspec.plan import make_plan
from graphspec.reference import interpret, random_words
from graphspec.sizes import Size
from graphspec_runtime import Executable, PlanError, open_device
from graphspec_runtime.plan import evaluate, letters_of, show
from test_plan import SIZES, B, T, program, recurrence
from test_plan_random import agree


@pytest.fixture(autouse=True, params=["numpy", pytest.param("native", marks=[pytest.mark.slow, NEEDS_COMPILER])])
def cpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Everything here is so on both devices of the processor."""
    monkeypatch.setenv("GRAPHSPEC_CPU", request.param)
    return str(request.param)


def executable(p: Program, kept: int = 4) -> Executable:
    device = open_device()
    return Executable(make_plan(p, device.language), device, kept)


# -- sizes and arguments -----------------------------------------------------------------------------------------------


def test_letters_follow_from_shapes_also_within_sums() -> None:
    e = executable(program(lambda b, x, y: [b.neg(x), b.neg(y)], x=(T * 2 + 1, B), y=(B, B * T)))
    assert e.sizes({"x": np.zeros((7, 2)), "y": np.zeros((2, 6))}) == {"T": 3, "B": 2}


@pytest.mark.parametrize(
    ("x", "y", "match"),
    [
        ((3, 4), (3, 5), r"`y` axis 1 is 5, expected T with T = 4"),
        ((3, 4), (3,), r"`y` has 1 axes \[3\], expected 2: \[B, T\]"),
        ((3, 4), (2, 4), r"`y` axis 0 is 2, expected B with B = 3"),
    ],
)
def test_contradicting_shapes(x: tuple[int, ...], y: tuple[int, ...], match: str) -> None:
    e = executable(program(lambda b, x, y: [b.add(x, y)], x=(B, T), y=(B, T)))
    with pytest.raises(PlanError, match=match) as caught:
        e.run({"x": np.zeros(x), "y": np.zeros(y)})
    assert caught.value.kind == "shape" and caught.value.data["argument"] == "y"


def test_sizes_that_cannot_be_known() -> None:
    e = executable(program(lambda b, x: [b.neg(x)], x=(B * T,)))
    with pytest.raises(PlanError, match="the sizes B, T do not follow"):
        e.run({"x": np.zeros(6)})
    with pytest.raises(PlanError, match="no size for T"):
        e.bind({"B": 2})
    np.testing.assert_array_equal(e.bind({"B": 2, "T": 3}).run({"x": np.ones(6)})["o0"], -np.ones(6))


def test_odd_sizes_do_not_divide() -> None:
    e = executable(program(lambda b, x: [b.neg(x)], x=(B * 2,)))
    with pytest.raises(PlanError, match=r"axis 0 is 5, expected 2\*B"):
        e.run({"x": np.zeros(5)})


def test_missing_unknown_and_ill_typed_arguments() -> None:
    e = executable(program(lambda b, x: [b.neg(x)], x=(B,)))
    with pytest.raises(PlanError, match="argument `x` is missing"):
        e.run({})
    with pytest.raises(PlanError, match="no argument `z`"):
        e.run({"x": np.zeros(2), "z": np.zeros(2)})
    with pytest.raises(PlanError, match="`x` is complex128, expected float64"):
        e.run({"x": np.zeros(2, complex)})
    bound = e.bind({"B": 2})
    with pytest.raises(PlanError, match=r"`x` has shape \[3\], this binding wants \[2\]"):
        bound.run({"x": np.zeros(3)})
    with pytest.raises(PlanError, match="argument `x` is missing"):
        bound.run({})


def test_a_part_of_negative_size_is_an_error() -> None:
    e = executable(program(lambda b, x: [b.exp(b.slice(x, 0, 1, T - 1))], x=(T,)))
    with pytest.raises(PlanError, match=r"shape \[-1\] with \{'T': 0\}"):
        e.run({"x": np.zeros(0)})


def test_float64_is_taken_where_float32_is_wanted() -> None:
    b = Builder()
    x = b.param(tensor([B], "float32"), "x")
    b.block.results = [b.neg(x)]
    got = executable(Program(b.block, [Port("x", "input")], [Port("y", "output")])).run({"x": [1.0, 2.5]})
    assert got["y"].dtype == np.float32
    np.testing.assert_array_equal(got["y"], [-1, -2.5])


# -- bindings ----------------------------------------------------------------------------------------------------------


def test_the_last_bindings_are_kept() -> None:
    e = executable(program(lambda b, x: [b.neg(x)], x=(B,)), kept=2)
    first, second = e.bind({"B": 1}), e.bind({"B": 2})
    assert e.bind({"B": 1}) is first
    third = e.bind({"B": 3})  # drops 2, which was used longest ago
    assert e.bind({"B": 1}) is first and e.bind({"B": 3}) is third
    assert e.bind({"B": 2}) is not second
    e.run({"x": np.zeros(1)})  # found by its shapes, and dropped by them too
    assert e.bind_arguments({"x": np.zeros(3)}) is not third
    assert len(e._bounds) == 2 and len(e._by_shapes) <= 2


def test_resident_arguments_are_used_where_they_lie() -> None:
    p = program(lambda b, m, g: [b.add(m, g)], {0: "m"}, m=(B,), g=(B,))
    e = executable(p)
    m = np.ones(3)
    for step in range(3):
        out = e.run({"m": m, "g": np.full(3, 2.0)})
        assert np.shares_memory(out["o0"], m)
        np.testing.assert_array_equal(m, np.full(3, 1 + 2.0 * (step + 1)))
    other = np.zeros(3)
    e.run({"m": other, "g": np.ones(3)})
    np.testing.assert_array_equal(other, np.ones(3))
    np.testing.assert_array_equal(m, np.full(3, 7.0))


@pytest.mark.parametrize("bad", [np.ones(6)[::2], np.ones(3, np.float32), [1.0, 1.0, 1.0]])
def test_donated_arguments_must_be_writable_in_place(bad: Any) -> None:
    e = executable(program(lambda b, m: [b.neg(m)], {0: "m"}, m=(B,)))
    with pytest.raises(PlanError, match="updated in place"):
        e.run({"m": bad})
    frozen = np.ones(3)
    frozen.flags.writeable = False
    with pytest.raises(PlanError, match="must be a writable"):
        e.run({"m": frozen})


def feedback(role: str, updates: str | None) -> Program:
    """Two states; p is read first, so that the results would like to lie in its memory."""
    b = Builder(dtype="float64")
    p, q = b.param(tensor([B, 3], "float64"), "p"), b.param(tensor([B, 3], "float64"), "q")
    new = b.mul(q, b.broadcast(b.tanh(b.reduce_sum(p, [0, 1])), q.shape, ()))
    b.block.results = [new, b.exp(b.neg(new))]
    outputs = [Port("p2", "state", updates and "p"), Port("q2", "state", updates and "q")]
    return Program(b.block, [Port("p", role), Port("q", role)], outputs)  # type: ignore[arg-type]


@pytest.mark.parametrize("role", ["input", "state"])
@pytest.mark.parametrize("names", [("p2", "q2"), ("q2", "p2")])
def test_results_may_be_handed_in_again(role: str, names: tuple[str, str]) -> None:
    program = feedback(role, None)
    e = executable(program)
    given = wanted = {"p": np.full((2, 3), 0.3), "q": np.linspace(0, 1, 6).reshape(2, 3)}
    for _ in range(5):
        results, expected = e.run(given), interpret(program, wanted)
        agree(expected, results)
        given, wanted = ({"p": from_run[names[0]], "q": from_run[names[1]]} for from_run in (results, expected))


def test_updates_are_the_arguments_themselves_and_bind_nothing_anew() -> None:
    e = executable(feedback("state", "yes"))
    p, q = np.full((2, 3), 0.3), np.ones((2, 3))
    results = e.run({"p": p, "q": q})
    assert results["p2"] is p and results["q2"] is q
    bound = e.bind({"B": 2})
    before = bound._program
    e.run({"p": results["p2"], "q": results["q2"]})
    assert bound._program is before
    trading = executable(program(lambda b, m, x: [b.add(m, x), b.mul(x, x)], {0: "m"}, m=(B,), x=(B,)))
    other = trading.run({"m": np.ones(2), "x": np.ones(2)})["o1"]
    with pytest.raises(PlanError, match="`m` lies in the plan's own memory"):
        trading.run({"m": other, "x": np.ones(2)})


def test_other_resident_arguments_may_lie_anyhow() -> None:
    b = Builder(dtype="float64")
    w = b.param(tensor([B, 3], "float64"), "w")
    b.block.results = [b.neg(w)]
    e = executable(Program(b.block, [Port("w", "parameter")], [Port("y", "output")]))
    w1 = np.arange(6.0).reshape(3, 2).T
    np.testing.assert_array_equal(e.run({"w": w1})["y"], -w1)
    w1 *= 2  # copied at each run, not once
    np.testing.assert_array_equal(e.run({"w": w1})["y"], -w1)
    np.testing.assert_array_equal(e.run({"w": np.ones((2, 3))})["y"], -np.ones((2, 3)))


# -- index checks and random numbers -------------------------------------------------------------------------------------


def lookup(loop: bool) -> Program:
    source = Source("a.spec", "LookupTable(5, 2)")
    b = Builder(dtype="float64")
    table, index = b.param(tensor([5, 2], "float64"), "table"), b.param(tensor([T, B], "int32"), "tokens")

    def rows(i: Builder, table: Value, index: Value) -> Value:
        with i.at(Origin(Span(source, 0, 11))):
            return i.gather(table, i.sub(i.check_index(index, 5), i.full_like(index, 1)))

    if loop:
        ys = b.scan(T, [table], [], [index], lambda i, t, cs, ks, xs: ([], [rows(i, cs[0], xs[0])], []))[1]
        b.block.results = ys
    else:
        b.block.results = [rows(b, table, index)]
    return Program(b.block, [Port("table", "parameter"), Port("tokens", "input")], [Port("y", "output")])


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("bad", [0, 6, -3])
def test_an_index_out_of_range_is_told_before_it_is_used(loop: bool, bad: int) -> None:
    e = executable(lookup(loop))
    tokens = np.ones((3, 2), np.int32)
    tokens[2, 1] = bad
    with pytest.raises(PlanError, match=rf"a\.spec:1:1: index {bad} of `tokens` at position .* is outside 1 \.\. 5") as caught:
        e.run({"table": np.ones((5, 2)), "tokens": tokens})
    error = caught.value
    assert error.kind == "index" and error.origin == "a.spec:1:1"
    assert error.data == {"value": bad, "position": [1] if loop else [2, 1], "low": 1, "high": 5, "argument": "tokens"}
    tokens[2, 1] = 5
    np.testing.assert_array_equal(e.run({"table": np.ones((5, 2)), "tokens": tokens})["y"], np.ones((3, 2, 2)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_uniforms_are_bit_equal_to_the_reference_over_many_chunks(dtype: str) -> None:
    b = Builder(dtype=dtype)
    seed, step = b.param(tensor([], "int64"), "seed"), b.param(tensor([], "int64"), "step")
    count = 4 * 8192 * 2 + 5
    b.block.results = [b.random("uniform", seed, step, [], 12, [count])]
    p = Program(b.block, [Port("seed", "seed"), Port("step", "step")], [Port("u", "output")])
    e = executable(p)
    for seed_value, step_value in ((0, 0), (2**40 + 7, 2**33 + 1), (-1, 5)):
        got = e.run({"seed": seed_value, "step": step_value})["u"]
        words = random_words(count, seed_value, step_value, [], 12)
        np.testing.assert_array_equal(got, ((words >> np.uint64(8)) * 2.0**-24).astype(dtype))
    assert got.min() >= 0 and got.max() < 1 and abs(float(got.mean()) - 0.5) < 0.01


@pytest.mark.parametrize("kind", ["uniform", "normal"])
def test_random_numbers_in_nested_loops_differ_by_index(kind: str) -> None:
    b = Builder(dtype="float32")
    seed, step, anchor = b.param(tensor([], "int64"), "seed"), b.param(tensor([], "int64"), "step"), b.param(tensor([B, T], "float32"), "a")

    def inner(i: Builder, t: Value, cs: list[Value], ks: list[Value], xs: list[Value]) -> tuple[list[Value], list[Value], list[Value]]:
        return [], [i.random(kind, cs[0], cs[1], [cs[2], t], 3, [6])], []

    def outer(i: Builder, t: Value, cs: list[Value], ks: list[Value], xs: list[Value]) -> tuple[list[Value], list[Value], list[Value]]:
        return [], i.scan(T, [*cs, t], [], [], inner, True)[1], []

    b.block.results = [*b.scan(B, [seed, step], [], [], outer)[1], b.neg(anchor)]
    p = Program(b.block, [Port("seed", "seed"), Port("step", "step"), Port("a", "input")], [Port("r", "output"), Port("n", "output")])
    arguments = {"seed": np.array(5), "step": np.array(9), "a": np.zeros((3, 4), np.float32)}
    wanted, got = interpret(p, arguments)["r"], executable(p).call(arguments)["r"]
    np.testing.assert_allclose(got, wanted, rtol=3e-7)
    assert len(np.unique(got)) == got.size


# -- threads -----------------------------------------------------------------------------------------------------------


def test_threads_may_share_an_executable() -> None:
    def build(b: Builder, h0: Value, xs: Value) -> list[Value]:
        return list(recurrence(b, h0, xs, False))

    p = program(build, h0=(B, 8), xs=(T, B, 8))
    e = executable(p, kept=1)
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            rng = np.random.default_rng(seed)
            for k in range(30):
                sizes = {"B": 2 + k % 2, "T": SIZES["T"]}
                arguments = {"h0": rng.normal(size=(sizes["B"], 8)), "xs": rng.normal(size=(sizes["T"], sizes["B"], 8))}
                agree(interpret(p, arguments), e.call(arguments))
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]


# -- expressions -------------------------------------------------------------------------------------------------------


def test_expressions_print_and_evaluate_like_sizes() -> None:
    from graphspec.plan.emit import to_expr

    for n in (Size.const(7), B, B * T * 2 - B * 3 + 1, T * T - 4, Size.const(0)):
        expr = to_expr(n)
        assert show(expr) == str(n) and letters_of(expr) == n.letters
        assert evaluate(expr, {"B": 5, "T": 3}) == n.evaluate({"B": 5, "T": 3})
