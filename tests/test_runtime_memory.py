"""The memory of a run: buffers that never overlap, nothing allocated anew, memory that cannot be had."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import numpy as np
import pytest

from graphspec.autodiff import gradients
from graphspec.ir.builder import Builder
from graphspec.ir.core import Port, Program, Value, tensor
from graphspec.plan import make_plan
from graphspec.reference import interpret
from graphspec_runtime import PlanError
from graphspec_runtime.arena import ALIGNMENT, assign
from graphspec_runtime.plan import evaluate
from random_programs import Generator, draw_arguments
from test_plan import B, T, program
from test_plan_random import agree
from test_runtime import cpu, executable  # noqa: F401  (the fixture: both devices of the processor)


@pytest.mark.parametrize("seed", range(30))
def test_buffers_alive_together_never_overlap(seed: int) -> None:
    plan = make_plan(Generator(seed).program(30))
    sizes = {"B": 2, "T": 3}
    offsets, total = assign(plan, sizes)
    spans = []
    for i, start in offsets.items():
        buffer = plan.buffers[i]
        assert start % ALIGNMENT == 0
        spans.append((start, start + evaluate(buffer.size, sizes) * np.dtype(buffer.dtype).itemsize, buffer.first, buffer.last))
        assert spans[-1][1] <= total
    for k, (start, end, first, last) in enumerate(spans):
        for start2, end2, first2, last2 in spans[:k]:
            assert end <= start2 or end2 <= start or last < first2 or last2 < first


def training_step() -> tuple[Program, dict[str, Any]]:
    """A recurrent step with gradients, a gather, a mask, sums and a donated update."""
    n, h = 40, 128
    b = Builder(dtype="float32")
    tokens, flat = b.param(tensor([T, B], "int32"), "tokens"), b.param(tensor([n * h + h * h], "float32"), "flat")
    seed, step, h0 = b.param(tensor([], "int64"), "seed"), b.param(tensor([], "int64"), "step"), b.param(tensor([B, h], "float32"), "h0")
    table, w = b.reshape(b.slice(flat, 0, 0, n * h), (n, h)), b.reshape(b.slice(flat, 0, n * h, h * h), (h, h))
    xs = b.gather(table, b.check_index(tokens, n, 0))
    mask = b.compare(b.random("uniform", seed, step, [], 1, xs.shape), b.full(0.5, xs.shape), "lt")
    xs = b.where(mask, xs, b.full_like(xs, 0))

    def body(i: Builder, t: Value, cs: list[Value], ks: list[Value], xs: list[Value]) -> tuple[list[Value], list[Value], list[Value]]:
        y = i.sigmoid(i.add(i.matmul(ks[0], cs[0]), xs[0]))
        return [y], [y], []

    last, ys, _ = b.scan(T, [w], [h0], [xs], body)
    scores = b.reshape(ys[0], (T * B, h))
    loss = b.reduce_sum(b.pick(scores, b.reshape(tokens, (T * B,))), [0])
    parts = gradients(b, {loss: b.full(1.0)}, [table, w])
    gradient = b.concat([b.reshape(g, (n * h if i == 0 else h * h,)) for i, g in enumerate(parts) if g is not None], 0)
    b.block.results = [loss, b.sub(flat, b.scale(gradient, 1e-3)), last[0]]
    ports = [Port("tokens", "input"), Port("flat", "parameter"), Port("seed", "seed"), Port("step", "step"), Port("h0", "state")]
    p = Program(b.block, ports, [Port("loss", "loss"), Port("new", "parameter", updates="flat"), Port("h", "state", updates="h0")])
    rng = np.random.default_rng(0)
    arguments = {
        "tokens": rng.integers(0, n, (20, 32)).astype(np.int32), "flat": rng.normal(size=n * h + h * h).astype(np.float32) * 0.1,
        "seed": np.array(3), "step": np.array(0), "h0": np.zeros((32, h), np.float32),
    }  # fmt: skip
    return p, arguments


def test_a_step_agrees_with_the_reference_and_then_allocates_nothing_large() -> None:
    p, arguments = training_step()
    e = executable(p)
    for _ in range(2):
        wanted = interpret(p, arguments)
        got = e.call(arguments)
        agree(wanted, got, 1e-5)
        arguments["step"] = arguments["step"] + 1
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(20):  # NumPy and Python keep some small blocks for later
            e.run(arguments)
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(50):
            e.run(arguments)
        gc.collect()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    one_stack = 20 * 32 * 128 * 4
    assert peak - before < one_stack / 4, "a run allocated"
    assert after - before < 2_000, "memory grew"


def test_memory_that_cannot_be_had_is_an_error() -> None:
    e = executable(program(lambda b, x: [b.exp(b.broadcast(x, (B, 10**15), (0,)))], x=(B,)))
    with pytest.raises(PlanError, match="MiB for this plan") as caught:
        e.run({"x": np.zeros(10)})
    assert caught.value.kind == "memory"


def test_long_loops_make_their_views_as_they_go(monkeypatch: pytest.MonkeyPatch) -> None:
    import graphspec_runtime.devices.array as array_device

    monkeypatch.setattr(array_device, "VIEW_LIMIT", 10)
    programs = [Generator(seed).program() for seed in range(40)]
    for seed, p in enumerate(programs):
        arguments = draw_arguments(p, {"B": 2, "T": 5}, seed)
        with np.errstate(all="ignore"):
            agree(interpret(p, arguments), executable(p).call(arguments))


def test_ever_new_sizes_do_not_take_ever_new_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    p = program(lambda b, x: [b.exp(b.tanh(x))], x=(B, 1000))
    e, made = executable(p), []
    allocate = e.device.memory
    monkeypatch.setattr(e.device, "memory", lambda size: made.append(size) or allocate(size))
    rows = [int(n) for n in np.random.default_rng(1).integers(1, 40, 200)]
    for n in rows:
        x = np.random.default_rng(n).normal(size=(n, 1000))
        (y,) = e.call({"x": x}).values()
        np.testing.assert_allclose(y, np.exp(np.tanh(x)))
    assert len(made) < 20
