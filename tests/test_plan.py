"""The planner's rules, one test each: that the rule fires (copies and memory counted), and that results stay equal."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest

from graphspec.errors import NOWHERE, Origin, Source, Span
from graphspec.ir.builder import Builder
from graphspec.ir.core import Guard, Port, Program, Value, tensor
from graphspec.plan import make_plan, print_plan, product_flops, summarise
from graphspec.plan.summary import calls_and_flops
from graphspec.reference import interpret
from graphspec.sizes import Size
from graphspec_runtime import Executable, Plan, PlanError, open_device
from test_plan_random import agree

B, T = Size.letter("B"), Size.letter("T")
SIZES = {"B": 2, "T": 3}
Build = Callable[..., Sequence[Value]]


def program(build: Build, updates: dict[int, str] | None = None, **inputs: tuple[object, ...]) -> Program:
    """``build(b, *params) -> results``; inputs are float64 of the given shapes, resident states where a result updates them."""
    b = Builder(dtype="float64")
    params = [b.param(tensor(shape, "float64"), name) for name, shape in inputs.items()]  # type: ignore[arg-type]
    b.block.results = list(build(b, *params))
    updates = updates or {}
    ports = [Port(name, "state" if name in updates.values() else "input") for name in inputs]
    outputs = [Port(f"o{i}", "output", updates.get(i)) for i in range(len(b.block.results))]
    return Program(b.block, ports, outputs)


def check(p: Program, sizes: dict[str, int] = SIZES) -> tuple[Plan, dict[str, int]]:
    """The plan and its instruction counts, after comparing two runs with the reference."""
    plan = make_plan(p)
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    executable = Executable(plan, open_device("numpy"))
    for seed in range(2):
        rng = np.random.default_rng(seed)
        arguments = {
            port.name: rng.normal(size=[n.evaluate(sizes) for n in v.shape]) for port, v in zip(p.inputs, p.block.params, strict=True)
        }
        agree(interpret(p, arguments), executable.call(arguments))
    return plan, dict(Counter(step.kernel for step, _ in plan.walk()))


def arena(plan: Plan, sizes: dict[str, int] = SIZES) -> int:
    return summarise(plan, sizes).arena


# -- views -------------------------------------------------------------------------------------------------------------


def test_views_cost_nothing() -> None:
    def build(b: Builder, x: Value) -> Sequence[Value]:
        y = b.reshape(b.transpose(b.slice(x, 1, 1, 2), (1, 0)), (2, 1, B))
        return [y, b.broadcast(y, (2, 5, 1, B), (0, 2, 3)), b.full(2.5, (B, 3)), b.select(x, 0, 1), b.size_value(B * 3)]

    _, kernels = check(program(build, x=(B, 4)))
    assert kernels == {}


def test_reshape_merges_and_splits_letters() -> None:
    def build(b: Builder, x: Value) -> Sequence[Value]:
        part = b.slice(x, 2, 2, 4)  # rows are not contiguous any more, but T and B still follow on each other
        return [b.reshape(part, (T * B, 2, 2)), b.reshape(b.slice(x, 0, 1, 1), (B, 2, 5))]

    _, kernels = check(program(build, x=(T, B, 10)))
    assert kernels == {}


def test_reshape_that_strides_cannot_say_is_one_copy() -> None:
    _, kernels = check(program(lambda b, x: [b.reshape(b.transpose(x, (1, 0)), (3 * B,))], x=(B, 3)))
    assert kernels == {"copy": 1}


# -- parts -------------------------------------------------------------------------------------------------------------


def test_concat_parts_are_computed_in_place_through_reshapes_and_transposes() -> None:
    def build(b: Builder, x: Value, y: Value) -> Sequence[Value]:
        parts = [b.reshape(b.tanh(x), (B * 3,)), b.reshape(b.transpose(b.matmul(y, x), (1, 0)), (12,)), b.reduce_sum(x, [0])]
        return [b.concat(parts, 0)]

    plan, kernels = check(program(build, x=(B, 3), y=(4, B)))
    assert kernels == {"tanh": 1, "matmul": 1, "reduce_sum": 1}
    assert [b.kind for b in plan.buffers].count("arena") == 1


def test_concat_within_concat_and_a_part_used_twice() -> None:
    def build(b: Builder, x: Value) -> Sequence[Value]:
        y, z = b.tanh(x), b.neg(x)
        return [b.concat([b.concat([y, z], 1), z], 1), b.add(y, z)]

    _, kernels = check(program(build, x=(B, 3)))
    assert kernels == {"tanh": 1, "neg": 1, "copy": 1, "add": 1}


def test_slices_of_what_is_computed_are_copied_at_once_and_free_its_memory() -> None:
    """Rows of one product that lie apart in the whole: the next product is computed where it lay."""

    def build(b: Builder, x: Value, y: Value, z: Value) -> Sequence[Value]:
        first, rows = b.tanh(x), []
        for v in (x, y, z):
            product = b.matmul(x, v)
            rows.append([b.reshape(b.slice(product, 0, at, 2), (8,)) for at in (0, 2)])
        return [b.concat([b.reshape(first, (16,)), *(row[k] for k in (0, 1) for row in rows)], 0)]

    plan, _ = check(program(build, x=(4, 4), y=(4, 4), z=(4, 4)))
    assert [step.kernel for step, _ in plan.walk()] == ["tanh", *["matmul", "copy", "copy"] * 3]
    _, *products = [buffer for buffer in plan.buffers if buffer.kind == "arena"]
    assert len(products) == 3 and all(a.last < b.first for a, b in pairwise(products))


def test_concat_of_arguments_copies() -> None:
    _, kernels = check(program(lambda b, x, y: [b.concat([x, y], 0)], x=(B, 3), y=(2, 3)))
    assert kernels == {"copy": 2}


def test_pad_zeroes_the_border_around_what_is_computed_there() -> None:
    _, kernels = check(program(lambda b, x: [b.pad(b.exp(x), 1, 1, 2)], x=(B, 3)))
    assert kernels == {"exp": 1, "copy": 2}


# -- in place ----------------------------------------------------------------------------------------------------------


def test_pointwise_chains_use_one_buffer() -> None:
    plan, _ = check(program(lambda b, x: [b.neg(b.tanh(b.exp(x)))], x=(B, 8)))
    assert [b.kind for b in plan.buffers].count("arena") == 1


def test_an_input_that_is_read_again_is_not_overwritten() -> None:
    def build(b: Builder, x: Value) -> Sequence[Value]:
        y = b.exp(x)
        flipped = b.transpose(y, (1, 0))
        return [b.matmul(b.add(y, flipped), y)]

    plan, _ = check(program(build, x=(3, 3)))
    assert [b.kind for b in plan.buffers].count("arena") == 3


def test_an_input_read_in_two_ways_is_not_overwritten() -> None:
    plan, _ = check(program(lambda b, x: [b.add(y := b.exp(x), b.transpose(y, (1, 0)))], x=(3, 3)))
    assert [b.kind for b in plan.buffers].count("arena") == 2


def test_memory_is_used_again_after_its_last_reader() -> None:
    def build(b: Builder, x: Value) -> Sequence[Value]:
        for _ in range(6):
            x = b.tanh(b.matmul(b.matmul(x, x), x))
        return [x]

    plan, _ = check(program(build, x=(16, 16)))
    assert arena(plan) == 4 * 16 * 16 * 8  # the argument, then two factors and a product at a time
    assert len(plan.buffers) == 13


# -- scans -------------------------------------------------------------------------------------------------------------


def recurrence(b: Builder, h0: Value, xs: Value, reverse: bool) -> tuple[Value, Value]:
    def body(i: Builder, t: Value, cs: list[Value], ks: list[Value], xs: list[Value]) -> tuple[list[Value], list[Value], list[Value]]:
        h = i.tanh(i.add(ks[0], xs[0]))
        return [h], [h], []

    last, ys, _ = b.scan(T, [], [h0], [xs], body, reverse)
    return last[0], ys[0]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("trip", [0, 1, 4])
def test_a_carry_that_is_a_y_lives_in_the_stack(reverse: bool, trip: int) -> None:
    def build(b: Builder, h0: Value, xs: Value) -> Sequence[Value]:
        last, ys = recurrence(b, b.exp(h0), xs, reverse)
        return [last, ys]

    _, kernels = check(program(build, h0=(B, 4), xs=(T, B, 4)), {"B": 2, "T": trip})
    assert kernels == {"exp": 1, "add": 1, "tanh": 1}  # the first state is computed in its slot


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("trip", [0, 1, 4])
def test_shift_is_a_view_of_the_stack(reverse: bool, trip: int) -> None:
    def build(b: Builder, h0: Value, xs: Value) -> Sequence[Value]:
        _, ys = recurrence(b, h0, xs, reverse)
        return [b.shift(h0, ys, reverse), b.mul(b.shift(h0, ys, reverse), xs)]

    _, kernels = check(program(build, h0=(B, 4), xs=(T, B, 4)), {"B": 2, "T": trip})
    assert kernels == {"copy": 1, "add": 1, "tanh": 1, "mul": 1}  # the copy puts h0 in its slot


def test_shift_the_other_way_or_from_another_start_is_computed() -> None:
    def build(b: Builder, h0: Value, xs: Value) -> Sequence[Value]:
        _, ys = recurrence(b, h0, xs, False)
        return [b.shift(h0, ys, True), b.shift(b.neg(h0), ys, False)]

    _, kernels = check(program(build, h0=(B, 4), xs=(T, B, 4)))
    assert kernels["shift"] == 2


def test_a_carry_alone_is_updated_in_its_buffer() -> None:
    def build(b: Builder, c: Value, xs: Value) -> Sequence[Value]:
        return b.scan(T, [], [c], [xs], lambda i, t, cs, ks, xs: ([i.mul(ks[0], xs[0])], [], []))[0]

    _, kernels = check(program(build, c=(B, 4), xs=(T, B, 4)))
    assert kernels == {"copy": 1, "mul": 1}


def test_a_carry_that_is_read_after_its_next_value_is_moved_at_the_end() -> None:
    def build(b: Builder, c: Value, xs: Value) -> Sequence[Value]:
        def body(i: Builder, t: Value, cs: list[Value], ks: list[Value], xs: list[Value]) -> tuple[list[Value], list[Value], list[Value]]:
            following = i.tanh(i.add(ks[0], xs[0]))
            return [following], [i.sub(following, ks[0])], []

        last, ys, _ = b.scan(T, [], [c], [xs], body)
        return [*last, *ys]

    _, kernels = check(program(build, c=(B, 4), xs=(T, B, 4)))
    assert kernels["copy"] == 2


@pytest.mark.parametrize("trip", [0, 1, 3])
def test_carries_that_trade_places(trip: int) -> None:
    def build(b: Builder, p: Value, q: Value, r: Value) -> Sequence[Value]:
        last, ys, sums = b.scan(T, [], [p, q, r], [], lambda i, t, cs, ks, xs: ([ks[1], ks[2], ks[0]], [i.neg(ks[0])], [ks[2]]))
        return [*last, *ys, *sums]

    _, kernels = check(_with_anchor(build), {"B": 2, "T": trip})
    assert kernels["copy"] == 3 + 1 + 4  # three starts, a zero, and three moves through one saved value


def _with_anchor(build: Build) -> Program:
    return program(lambda b, p, q, r, anchor: [*build(b, p, q, r), b.neg(anchor)], p=(B,), q=(B,), r=(B,), anchor=(T,))


def test_ys_are_written_in_their_slots_and_the_stack_inside_a_concat() -> None:
    def build(b: Builder, xs: Value) -> Sequence[Value]:
        _, ys, _ = b.scan(T, [], [], [xs], lambda i, t, cs, ks, xs: ([], [i.exp(xs[0])], []))
        return [b.concat([ys[0], b.neg(xs)], 2)]

    plan, kernels = check(program(build, xs=(T, B, 4)))
    assert kernels == {"exp": 1, "neg": 1}
    assert [b.kind for b in plan.buffers].count("arena") == 1


def test_sums_of_products_are_added_in_place_through_transposes_and_loops() -> None:
    def build(b: Builder, xs: Value) -> Sequence[Value]:
        def inner(i: Builder, t: Value, cs: list[Value], ks: list[Value], xs: list[Value]) -> tuple[list[Value], list[Value], list[Value]]:
            row = i.reshape(xs[0], (1, 4))
            return [], [], [i.transpose(i.matmul(i.transpose(cs[0], (1, 0)), row), (1, 0))]

        def outer(i: Builder, t: Value, cs: list[Value], ks: list[Value], xs: list[Value]) -> tuple[list[Value], list[Value], list[Value]]:
            return [], [], i.scan(B, [i.reshape(i.reduce_sum(xs[0], [1]), (1, B))], [], [xs[0]], inner)[2]

        return [b.concat([b.reshape(b.scan(T, [], [], [xs], outer)[2][0], (4 * B,)), b.full(1.0, (2,))], 0)]

    plan, kernels = check(program(build, xs=(T, B, 4)))
    assert kernels == {"copy": 2, "reduce_sum": 1, "matmul": 1}  # zero once, and the ones behind it
    assert sum(bool(step.attrs.get("accumulate")) for step, _ in plan.walk()) == 1


def test_no_copies_in_an_lstm_and_its_flat_gradient() -> None:
    """Nothing here looks for an LSTM: the general rules leave starts, zeros, and not one copy in a loop."""
    from graphspec.autodiff import gradients

    b = Builder(dtype="float64")
    xs, c0, h0 = (b.param(tensor(s, "float64"), n) for n, s in (("xs", (T, B, 4)), ("c0", (B, 4)), ("h0", (B, 4))))
    flat = b.param(tensor([8 * 16], "float64"), "flat")
    weights = [b.reshape(b.slice(flat, 0, 16 * i, 16), (4, 4)) for i in range(8)]

    def body(i: Builder, t: Value, w: list[Value], ks: list[Value], xs: list[Value]) -> tuple[list[Value], list[Value], list[Value]]:
        gates = [i.add(i.matmul(xs[0], i.transpose(w[g], (1, 0))), i.matmul(ks[1], i.transpose(w[4 + g], (1, 0)))) for g in range(4)]
        c = i.add(i.mul(i.sigmoid(gates[0]), ks[0]), i.mul(i.sigmoid(gates[1]), i.tanh(gates[2])))
        h = i.mul(i.sigmoid(gates[3]), i.tanh(c))
        return [c, h], [h], []

    _, ys, _ = b.scan(T, weights, [c0, h0], [xs], body)
    loss = b.reduce_sum(ys[0], [0, 1, 2])
    parts = gradients(b, {loss: b.full(1.0)}, weights)
    gradient = b.concat([b.reshape(g, (16,)) for g in parts if g is not None], 0)
    b.block.results = [loss, b.sub(flat, b.scale(gradient, 0.1))]
    p = Program(
        b.block,
        [Port("xs", "input"), Port("c0", "input"), Port("h0", "input"), Port("flat", "parameter")],
        [Port("loss", "loss"), Port("new", "parameter", updates="flat")],
    )
    plan, _ = check(p)
    assert [step for step, loops in plan.walk() if loops and step.kernel == "copy"] == []
    assert plan.outputs[1].view.buffer == 3


# -- results -----------------------------------------------------------------------------------------------------------


def test_a_pointwise_update_is_written_over_its_argument() -> None:
    def build(b: Builder, m: Value, g: Value) -> Sequence[Value]:
        return [b.add(b.scale(m, 0.9), g)]

    plan, kernels = check(program(build, {0: "m"}, m=(B, 4), g=(B, 4)))
    assert kernels == {"mul": 1, "add": 1}
    assert plan.outputs[0].view.buffer == 0 and plan.arguments[0].donated


def test_an_update_waits_for_later_readers_of_the_old_value() -> None:
    def build(b: Builder, m: Value, g: Value) -> Sequence[Value]:
        new = b.add(m, g)
        return [new, b.mul(m, new)]

    _, kernels = check(program(build, {0: "m"}, m=(B, 4), g=(B, 4)))
    assert kernels == {"add": 1, "mul": 1, "copy": 1}


def test_updates_that_trade_places_and_an_old_value_handed_out() -> None:
    _, kernels = check(program(lambda b, p, q: [q, p, p, b.reshape(q, (2, B))], {0: "p", 1: "q"}, p=(B, 2), q=(B, 2)))
    assert kernels == {"copy": 5}


def test_an_argument_that_stays_costs_nothing() -> None:
    _, kernels = check(program(lambda b, p: [p], {0: "p"}, p=(B, 2)))
    assert kernels == {}


def test_two_updates_of_one_argument_are_refused() -> None:
    with pytest.raises(ValueError, match="two results update one argument: p, p"):
        make_plan(program(lambda b, p: [p, b.neg(p)], {0: "p", 1: "p"}, p=(B, 2)))


# -- text, summary, guards ---------------------------------------------------------------------------------------------


def test_printed_plan_and_summary() -> None:
    source = Source("a.spec", "h = tanh(x)\n")
    b = Builder(dtype="float64")
    h0, xs = b.param(tensor((B, 4), "float64"), "h0"), b.param(tensor((T, B, 4), "float64"), "xs")
    with b.at(Origin(Span(source, 4, 11))):
        _, ys = recurrence(b, h0, xs, True)
    b.block.results = [b.matmul(ys, b.transpose(ys, (0, 2, 1)))]
    p = Program(b.block, [Port("h0", "input"), Port("xs", "input")], [Port("y", "output")], name="small")
    plan = make_plan(p)
    text = print_plan(plan)
    assert text.startswith("plan small(B, T)\n")
    assert "loop t0 < T reverse rows B  ; a.spec:1:5" in text
    assert "b2.h0[B, 4]+4*B*t0 = tanh" in text and "b2.h0[T, 4, B]/(4*B, 1, 4)" in text
    summary = summarise(plan, {"B": 2, "T": 5})
    assert (summary.instructions, summary.loops) == (4, 1)
    assert sum(calls_and_flops(step, around, {"B": 2, "T": 5})[0] for step, around in plan.walk()) == 2 + 2 * 5
    assert product_flops(plan, {"B": 2, "T": 5}) == 5 * 2 * 2 * 4 * 2
    assert arena(plan, {"B": 2, "T": 50}) > arena(plan, {"B": 2, "T": 5})


def test_broken_guard_names_both_sides() -> None:
    p = program(lambda b, x: [b.neg(x)], x=(B, T))
    p.guards.append(Guard(B * 2, T, "B doubled must be T", NOWHERE))
    executable = Executable(make_plan(p), open_device("numpy"))
    executable.run({"x": np.zeros((2, 4))})
    with pytest.raises(PlanError, match=r"B doubled must be T \(2\*B = 4, T = 5\)"):
        executable.run({"x": np.zeros((2, 5))})


def test_plans_of_another_format_are_refused() -> None:
    with pytest.raises(PlanError, match="compile the spec again"):
        Plan.from_json({"format": 0})


def test_constants_survive_json() -> None:
    def build(b: Builder, x: Value) -> Sequence[Value]:
        return [b.where(b.compare(x, b.full_like(x, 0), "gt"), b.full_like(x, float("-inf")), b.full_like(x, float("inf")))]

    p = program(build, x=(B,))
    plan = make_plan(p)
    text = json.dumps(plan.to_json(), allow_nan=False)
    got = Executable(Plan.from_json(json.loads(text)), open_device("numpy")).call({"x": np.array([1.0, -1.0])})
    np.testing.assert_array_equal(got["o0"], [-np.inf, np.inf])
