"""The reference interpreter: what it does with its arguments, its errors, loops without steps, and counter-based random numbers."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphspec.errors import Origin, Source, Span, SpecError
from graphspec.ir.builder import Builder
from graphspec.ir.core import Guard, Port, Program, Value, tensor
from graphspec.reference import interpret, philox, random_words
from graphspec.sizes import Size

B, T = Size.letter("B"), Size.letter("T")
HERE = Origin(Span(Source("model.spec", "nn.LookupTable(4, 2)(x)"), 0, 22))


def finished(b: Builder, *results: Value, **more: Any) -> Program:
    b.block.results = list(results)
    ports = [Port(v.name, "input") for v in b.block.params]
    return Program(b.block, ports, [Port(f"y{i}", "output") for i in range(len(results))], **more)


def failure(program: Program, code: str, **arguments: Any) -> str:
    """The message of the one error."""
    with pytest.raises(SpecError) as caught:
        interpret(program, arguments)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == code
    return diagnostic.message


# -- arguments and results -----------------------------------------------------------------------------------------------


def test_results_are_copies_and_arguments_stay() -> None:
    b = Builder()
    x = b.param(tensor([B, 2], "float32"), "x")
    program = finished(b, x, b.reshape(x, (B * 2,)), b.broadcast(x, (3, B, 2), (1, 2)))
    given = np.arange(4, dtype=np.float32).reshape(2, 2)
    found = interpret(program, {"x": given})
    for value in found.values():
        assert not np.shares_memory(value, given)
        value[...] = 9  # writable, broadcast or not
    np.testing.assert_array_equal(given, [[0, 1], [2, 3]])


def test_arguments_are_taken_in_the_declared_dtype() -> None:
    b = Builder()
    x, i = b.param(tensor([2], "float32"), "x"), b.param(tensor([2], "int32"), "i")
    found = interpret(finished(b, b.add(x, x), i), {"x": [0.1, 1], "i": np.array([3, 4])})
    assert found["y0"].dtype == np.float32 and found["y1"].dtype == np.int32
    np.testing.assert_array_equal(found["y0"], np.array([0.1, 1], np.float32) * 2)


def test_a_program_of_nothing() -> None:
    assert interpret(finished(Builder()), {}) == {}


def test_sums_stay_in_their_dtype() -> None:
    b = Builder()
    x = b.param(tensor([3], "float32"), "x")
    (total,) = b.scan(3, [], [], [x], lambda i, t, cs, ks, xs: ([], [], xs))[2]
    found = interpret(finished(b, b.reduce_sum(x, [0]), total), {"x": [1e8, 1, -1e8]})
    assert [a.dtype for a in found.values()] == [np.float32, np.float32]
    np.testing.assert_array_equal(found["y1"], np.float32(np.float32(1e8) + np.float32(1)) - np.float32(1e8))


def test_letters_follow_from_shapes() -> None:
    b = Builder(dtype="float64")
    b.param(tensor([2 * B + 1, T], "float64"), "x")
    program = finished(b, b.size_value(B * T), b.iota(T))
    found = interpret(program, {"x": np.zeros((7, 4))})
    assert found["y0"] == 12 and list(found["y1"]) == [0, 1, 2, 3]
    assert "2*B + 1" in failure(program, "E0307", x=np.zeros((6, 4)))
    assert "1 axes" in failure(program, "E0307", x=np.zeros(6))


def test_shapes_that_contradict_each_other() -> None:
    b = Builder()
    b.param(tensor([B], "float32"), "x")
    b.param(tensor([B, 3], "float32"), "y")
    program = finished(b)
    assert failure(program, "E0307", x=np.zeros(2), y=np.zeros((4, 3))) == "y, axis 1: B is 4 here, but 2 in x"
    assert "3 wanted" in failure(program, "E0307", x=np.zeros(2), y=np.zeros((2, 4)))


def test_guards_name_both_sides() -> None:
    b = Builder()
    b.param(tensor([B, T], "float32"), "x")
    program = finished(b, guards=[Guard(2 * B, T + 1, "joined here", HERE), Guard(B, B, "", HERE)])
    assert interpret(program, {"x": np.zeros((2, 3))}) == {}
    assert failure(program, "E0311", x=np.zeros((2, 4))) == "2*B must equal T + 1, but they are 4 and 5"


@pytest.mark.parametrize(("bad", "base", "message"), [
    ([[1, 2], [0, 1]], 1, "index 0 at position 2, 1 is not in 1..4"), ([[1, 5], [9, 1]], 1, "index 5 at position 1, 2 is not in 1..4"),
    ([[0, 3], [4, 1]], 0, "index 4 at position 2, 1 is not in 0..3"), ([[-1, 3], [3, 1]], 0, "index -1 at position 1, 1 is not in 0..3"),
])  # fmt: skip
def test_an_index_out_of_range_is_told_with_its_place(bad: Any, base: int, message: str) -> None:
    b = Builder()
    index = b.param(tensor([2, 2], "int32"), "index")
    with b.at(HERE):
        checked = b.check_index(index, 4, base)
    with pytest.raises(SpecError) as caught:
        interpret(finished(b, checked), {"index": bad})
    assert caught.value.code == "E0310" and caught.value.diagnostics[0].message == message
    assert caught.value.diagnostics[0].span == HERE.span
    assert bool(caught.value.diagnostics[0].helps) == (base == 1 and "index 0" in message)


def test_an_index_out_of_range_in_a_loop() -> None:
    b = Builder()
    index = b.param(tensor([T], "int32"), "index")
    _, (ys,), _ = b.scan(T, [], [], [index], lambda i, t, cs, ks, xs: ([], [i.check_index(xs[0], 3, 1)], []), reverse=True)
    program = finished(b, ys)
    np.testing.assert_array_equal(interpret(program, {"index": [3, 1]})["y0"], [3, 1])
    assert failure(program, "E0310", index=[9, 4, 1]) == "index 4 is not in 1..3"  # the last step goes first


# -- loops ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reverse", [False, True])
def test_the_order_of_steps(reverse: bool) -> None:
    """A carry that writes down the steps, as digits; index and x are those of the same place."""
    b = Builder(dtype="float64")
    x, seen = b.param(tensor([T], "float64"), "x"), b.param(tensor([], "float64"), "seen")

    def body(i: Builder, t: Value, consts: list[Value], carries: list[Value], xs: list[Value]) -> Any:
        digits = i.add(i.scale(carries[0], 10), i.cast(t, "float64"))
        return [digits], [digits, i.sub(xs[0], i.cast(t, "float64")), t], [xs[0]]

    last, ys, sums = b.scan(T, [], [seen], [x], body, reverse)
    found = interpret(finished(b, *last, *ys, *sums), {"x": [5.0, 6, 7], "seen": 4.0})
    assert found["y0"] == (4210 if reverse else 4012)
    assert list(found["y1"]) == ([4210, 421, 42] if reverse else [40, 401, 4012])
    assert list(found["y2"]) == [5, 5, 5]
    assert list(found["y3"]) == [0, 1, 2] and found["y3"].dtype == np.int32
    assert found["y4"] == 18


def test_a_loop_of_no_steps() -> None:
    b = Builder(dtype="float64")
    x, h = b.param(tensor([T, B], "float64"), "x"), b.param(tensor([B], "float64"), "h")
    last, ys, sums = b.scan(T, [], [h], [x], lambda i, t, cs, ks, xs: ([i.add(ks[0], xs[0])], [xs[0]], [xs[0]]))
    found = interpret(finished(b, *last, *ys, *sums), {"x": np.zeros((0, 2)), "h": [1.0, 2]})
    assert [a.tolist() for a in found.values()] == [[1, 2], [], [0, 0]] and found["y1"].shape == (0, 2)


def test_carries_may_trade_places_and_repeat() -> None:
    b = Builder(dtype="float64")
    h, k = b.param(tensor([], "float64"), "h"), b.param(tensor([], "float64"), "k")
    last, _, _ = b.scan(3, [], [h, k, h], [], lambda i, t, cs, ks, xs: ([ks[1], ks[0], ks[1]], [], []))
    assert [float(a) for a in interpret(finished(b, *last), {"h": 1.0, "k": 2.0}).values()] == [2, 1, 2]


def test_shift_is_the_stack_of_states_before() -> None:
    b = Builder(dtype="float64")
    h, x = b.param(tensor([], "float64"), "h"), b.param(tensor([T], "float64"), "x")
    for reverse in (False, True):
        _, (before, after), _ = b.scan(T, [], [h], [x], lambda i, t, cs, ks, xs: ([(n := i.add(ks[0], xs[0]))], [ks[0], n], []), reverse)
        b.block.results += [before, b.shift(h, after, reverse)]
    program = finished(b, *b.block.results)
    for xs in ([], [5.0], [1.0, 2, 3, 4]):
        found = interpret(program, {"h": 0.5, "x": np.array(xs)})
        np.testing.assert_array_equal(found["y0"], found["y1"])
        np.testing.assert_array_equal(found["y2"], found["y3"])


# -- random numbers ------------------------------------------------------------------------------------------------------

KNOWN = [  # the vectors that the authors of Philox publish with their library (Random123, kat_vectors)
    ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    ([0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0], [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]),
]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_philox_gives_the_published_vectors(counter: list[int], key: list[int], words: list[int]) -> None:
    found = philox([np.array([c]) for c in counter], [np.array([k]) for k in key])
    assert [int(w[0]) for w in found] == words


def drawn(kind: str, shape: tuple[int, ...], seed: int = 3, step: int = 0, indices: tuple[int, ...] = (), site: int = 1) -> Any:
    b = Builder(dtype="float64")
    seed_value, step_value = b.param(tensor([], "int64"), "seed"), b.param(tensor([], "int64"), "step")
    at = [b.param(tensor([], "int32"), f"i{n}") for n in range(len(indices))]
    y = b.random(kind, seed_value, step_value, at, site, shape)
    arguments = {"seed": seed, "step": step, **{f"i{n}": i for n, i in enumerate(indices)}}
    return interpret(finished(b, y), arguments)["y0"]


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**40), st.lists(st.integers(0, 2**31 - 1), max_size=3), st.integers(0, 2**20))
def test_words_are_a_function_of_the_counters(seed: int, step: int, indices: list[int], site: int) -> None:
    words = random_words(11, seed, step, indices, site)
    assert words.max() < 2**32
    np.testing.assert_array_equal(random_words(5, seed, step, indices, site), words[:5])


def test_every_counter_counts() -> None:
    base: dict[str, Any] = {"seed": 3, "step": 2, "indices": (1, 4), "site": 6}
    others: list[dict[str, Any]] = [{"seed": 4}, {"seed": 3 + 2**32}, {"step": 3}, {"step": 2 + 2**33}, {"site": 7}]
    others += [{"indices": indices} for indices in ((4, 1), (1,), (1, 5), (2, 4), (1, 4, 1))]
    draws = [drawn("uniform", (8,), **{**base, **other}) for other in ({}, *others)]
    for a, b in itertools.combinations(draws, 2):
        assert not np.any(a == b)
    np.testing.assert_array_equal(draws[0], drawn("uniform", (8,), **base))


def test_elements_are_counted_in_rows() -> None:
    whole = drawn("uniform", (60,))
    np.testing.assert_array_equal(drawn("uniform", (3, 4, 5)).ravel(), whole)
    np.testing.assert_array_equal(drawn("normal", (5, 3)).ravel(), drawn("normal", (15,)))
    assert drawn("uniform", ()).shape == () and drawn("normal", (0, 3)).shape == (0, 3)


def test_uniform_is_uniform() -> None:
    values = np.sort(drawn("uniform", (20000,)))
    assert values[0] >= 0 and values[-1] < 1
    assert np.abs(values - (np.arange(20000) + 0.5) / 20000).max() < 1.95 / np.sqrt(20000)  # Kolmogorov and Smirnov, 0.1 %
    pairs = np.histogram2d(*drawn("uniform", (2, 20000), site=9), bins=8)[0]
    assert ((pairs - 312.5) ** 2 / 312.5).sum() < 103  # chi squared of 63 degrees, 0.1 %


def test_normal_is_normal() -> None:
    values = drawn("normal", (40000,))
    assert np.all(np.isfinite(values))
    assert abs(values.mean()) < 4 / np.sqrt(40000)
    assert abs(values.var() - 1) < 4 * np.sqrt(2 / 40000)
    assert abs((values**3).mean()) < 4 * np.sqrt(15 / 40000)
    assert abs((values**4).mean() - 3) < 4 * np.sqrt(96 / 40000)
    assert abs((values[::2] * values[1::2]).mean()) < 4 / np.sqrt(20000)


def test_float32_is_the_same_draw_rounded() -> None:
    b = Builder()
    seed, step = b.param(tensor([], "int64"), "seed"), b.param(tensor([], "int64"), "step")
    kinds = [(kind, dtype) for kind in ("uniform", "normal") for dtype in ("float32", "float64")]
    program = finished(b, *(b.random(kind, seed, step, [], 1, (100,), dtype) for kind, dtype in kinds))
    u32, u64, n32, n64 = interpret(program, {"seed": 5, "step": 0}).values()
    np.testing.assert_array_equal(u32, u64)  # 24 bits fit
    np.testing.assert_array_equal(n32, n64.astype(np.float32))


# -- numbers at the edge -------------------------------------------------------------------------------------------------


def test_sigmoid_and_friends_at_the_edge() -> None:
    b = Builder(dtype="float64")
    x = b.param(tensor([5], "float64"), "x")
    program = finished(b, b.sigmoid(x), b.tanh(x), b.sign(x), b.abs(x), b.maximum(x, b.full_like(x, 0)))
    found = interpret(program, {"x": [-1e4, -0.0, 1e4, np.inf, np.nan]})
    np.testing.assert_array_equal(found["y0"], [0, 0.5, 1, 1, np.nan])
    np.testing.assert_array_equal(found["y1"], [-1, 0, 1, 1, np.nan])
    np.testing.assert_array_equal(found["y2"], [-1, 0, 1, 1, np.nan])
    np.testing.assert_array_equal(found["y3"], [1e4, 0, 1e4, np.inf, np.nan])
    np.testing.assert_array_equal(found["y4"], [0, 0, 1e4, np.inf, np.nan])


def test_argmax_takes_the_first_of_equals() -> None:
    b = Builder(dtype="float64")
    x = b.param(tensor([3, 3], "float64"), "x")
    assert list(interpret(finished(b, b.argmax(x)), {"x": [[1, 1, 0], [0, 2, 2], [3, 3, 3]]})["y0"]) == [0, 1, 0]


def test_scatter_adds_what_falls_together() -> None:
    b = Builder(dtype="float64")
    i, x = b.param(tensor([4], "int32"), "i"), b.param(tensor([4, 2], "float64"), "x")
    found = interpret(finished(b, b.scatter_add(i, x, 3)), {"i": [2, 0, 2, 2], "x": np.arange(8).reshape(4, 2)})
    np.testing.assert_array_equal(found["y0"], [[2, 3], [0, 0], [10, 13]])
