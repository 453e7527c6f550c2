"""scan as a primitive: a Python loop gives the same, finite differences its gradient, and its text reads back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from graphspec.autodiff import gradients
from graphspec.check import compare
from graphspec.ir.builder import Builder
from graphspec.ir.core import Port, Program, Value, tensor
from graphspec.ir.text import parse_program, print_program, same_program
from graphspec.ir.verify import verify
from graphspec.reference import interpret
from graphspec.sizes import Size
from op_samples import Array, F

Body = Callable[[Builder, Value, list[Value], list[Value], list[Value]], tuple[Sequence[Value], Sequence[Value], Sequence[Value]]]
T, B = Size.letter("T"), Size.letter("B")


def weighted(i: Builder, t: Value, consts: list[Value], carries: list[Value], xs: list[Value]) -> Any:
    """A recurrence with a weight, two carries of which one is constant, the index, an output and a sum of each kind."""
    w, bias = consts
    h, k = carries
    step = i.broadcast(i.cast(t, F), h.shape, ())
    new = i.tanh(i.add(i.add(i.matmul(h, w), xs[0]), i.broadcast_last(bias, h)))
    return [new, i.mul(k, i.shift_by(h, 1))], [i.mul(new, step), xs[0], k], [i.mul(new, xs[0]), i.mul(w, w)]


def within(i: Builder, t: Value, consts: list[Value], carries: list[Value], xs: list[Value]) -> Any:
    """The same in a loop of its own at every step, the other way round, over a stack made of this step's x."""
    stack = i.broadcast(xs[0], (3, *xs[0].shape), range(1, 1 + xs[0].type.rank))
    last, ys, sums = i.scan(3, consts, carries, [stack], weighted, reverse=True)
    return last, [i.reduce_sum(ys[0], [0]), ys[2]], sums


def scan_program(body: Body, reverse: bool, backward: bool) -> Program:
    b = Builder(dtype=F)
    w, bias = b.param(tensor([2, 2], F), "w"), b.param(tensor([2], F), "bias")
    h, k, x = (b.param(tensor(shape, F), name) for shape, name in (([B, 2], "h"), ([B, 2], "k"), ([T, B, 2], "x")))
    wrt = list(b.block.params)
    last, ys, sums = b.scan(T, [w, bias], [h, k], [x], body, reverse)
    results = {f"y{i}": v for i, v in enumerate((*last, *ys, *sums))}
    if backward:
        found = gradients(b, {y: b.param(y.type, f"d{name}") for name, y in results.items()}, wrt)
        assert all(g is not None for g in found)
        results = {v.name: g for v, g in zip(wrt, found, strict=True) if g is not None}
    b.block.results = list(results.values())
    return Program(b.block, [Port(v.name, "input") for v in b.block.params], [Port(name, "output") for name in results])


SCANS = [pytest.param(body, reverse, id=f"{body.__name__}-{reverse}") for body in (weighted, within) for reverse in (False, True)]


def scan_point(trip: int) -> dict[str, Array]:
    rng = np.random.default_rng(trip)
    return {name: rng.uniform(-1, 1, shape) for name, shape in
            {"w": (2, 2), "bias": (2,), "h": (3, 2), "k": (3, 2), "x": (trip, 3, 2)}.items()}  # fmt: skip


def loop(at: Mapping[str, Array], h: Array, k: Array, xs: Array, reverse: bool) -> tuple[Array, Array, list[Array], list[Array]]:
    """``weighted`` as a Python loop."""
    trip = len(xs)
    ys = [np.zeros_like(xs), np.array(xs), np.zeros_like(xs)]
    sums = [np.zeros_like(h), trip * at["w"] ** 2]
    for t in reversed(range(trip)) if reverse else range(trip):
        new = np.tanh(h @ at["w"] + xs[t] + at["bias"])
        ys[0][t], ys[2][t] = new * t, k
        sums[0] = sums[0] + new * xs[t]
        h, k = new, k * (h + 1)
    return h, k, ys, sums


@pytest.mark.parametrize("trip", [0, 1, 4])
@pytest.mark.parametrize("reverse", [False, True])
def test_scan_is_a_loop(reverse: bool, trip: int) -> None:
    at = scan_point(trip)
    found = interpret(scan_program(weighted, reverse, False), at)
    h, k, ys, sums = loop(at, at["h"], at["k"], at["x"], reverse)
    for value, wanted in zip(found.values(), [h, k, *ys, *sums], strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("trip", [0, 1, 3])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_within_a_scan_is_a_loop_within_a_loop(reverse: bool, trip: int) -> None:
    at = scan_point(trip)
    found = interpret(scan_program(within, reverse, False), at)
    h, k, x = at["h"], at["k"], at["x"]
    first, second = np.zeros_like(x), np.zeros((trip, 3, 3, 2))
    totals = [np.zeros_like(h), np.zeros((2, 2))]
    for t in reversed(range(trip)) if reverse else range(trip):
        h, k, ys, sums = loop(at, h, k, np.stack([x[t]] * 3), True)
        first[t], second[t] = ys[0].sum(0), ys[2]
        totals = [a + b for a, b in zip(totals, sums, strict=True)]
    for value, wanted in zip(found.values(), [h, k, first, second, *totals], strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("trip", [0, 1, 3])
@pytest.mark.parametrize(("body", "reverse"), SCANS)
def test_gradient_of_a_scan(body: Body, reverse: bool, trip: int) -> None:
    forward, backward = scan_program(body, reverse, False), scan_program(body, reverse, True)
    verify(backward)

    def gradient(at: Mapping[str, Array], cotangents: Sequence[Array]) -> dict[str, Array]:
        return interpret(backward, {**at, **{f"dy{i}": c for i, c in enumerate(cotangents)}})

    report = compare(lambda at: list(interpret(forward, at).values()), gradient, scan_point(trip), tolerance=1e-7)
    assert report.ok, report.to_json()




@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize(("body", "reverse"), SCANS)
def test_printed_ir_reads_back(body: Body, reverse: bool, backward: bool) -> None:
    program = scan_program(body, reverse, backward)
    text = print_program(program)
    again = parse_program(text)
    assert print_program(again) == text
    assert same_program(again, program)
