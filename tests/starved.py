"""Native programs whose memory runs out: a process of its own, which tests/test_native_memory.py starts.

    python tests/starved.py WHAT THREADS
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphspec.ir.builder import Builder
from graphspec.ir.core import Port, Program, Value, tensor
from graphspec.passes import optimise
from graphspec.plan import make_plan
from graphspec.reference import interpret
from graphspec.sizes import Size
from graphspec_runtime import Executable, PlanError, open_device

LEFT = 16 << 20
"""Bytes that the process may still take."""
B, T, K = Size.letter("B"), Size.letter("T"), Size.letter("K")


@contextmanager
def starved() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + LEFT, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def executable(program: Program, threads: int) -> Executable:
    device = open_device("native", threads)
    optimise(program, kernels=True)
    return Executable(make_plan(program, device.language), device)


def rows(threads: int) -> None:
    """A kernel that keeps a long row: an error, after which nothing has changed, and the same call succeeds when there is memory."""
    b = Builder(dtype="float32")
    x, total = b.param(tensor([B, K], "float32"), "x"), b.param(tensor([B], "float32"), "total")
    y = b.exp(x)
    share = b.div(y, b.broadcast(b.reduce_sum(y, [1]), x.shape, [0]))
    b.block.results = [b.add(total, b.one("reduce_max", share, axes=(1,)))]
    program = Program(b.block, [Port("x", "input"), Port("total", "state")], [Port("new", "state", "total")])
    run = executable(program, threads)
    given = {"x": np.zeros((2, 1 << 24), "float32"), "total": np.ones(2, "float32")}
    run.run({"x": np.zeros((2, 3), "float32"), "total": np.zeros(2, "float32")})  # all is compiled and loaded
    run.bind_arguments(given)
    with starved():
        for _ in range(3):
            with pytest.raises(PlanError, match="this machine has no 64 MiB for a thread of this plan to work in") as caught:
                run.run(given)
            assert caught.value.kind == "memory"
            assert (given["total"] == 1).all()
    run.run(given)
    np.testing.assert_allclose(given["total"], 1 + 2.0**-24, rtol=1e-6)


def packed(threads: int) -> None:
    """A loop whose matrix cannot be packed does without."""
    n = 2048
    b = Builder(dtype="float64")
    w, xs = b.param(tensor([n, n], "float64"), "w"), b.param(tensor([T, B, n], "float64"), "xs")

    def body(i: Builder, t: Value, consts: list[Value], carries: list[Value], xs: list[Value]) -> Any:
        return [i.add(i.matmul(carries[0], consts[0]), xs[0])], [], []

    last, _, _ = b.scan(T, [w], [b.full(0.0, [B, n])], [xs], body)
    b.block.results = list(last)
    program = Program(b.block, [Port("w", "parameter"), Port("xs", "input")], [Port("last", "output")])
    rng = np.random.default_rng(0)
    given = {"w": rng.standard_normal((n, n)) / 50, "xs": rng.standard_normal((4, 8, n))}
    wanted = interpret(program, given)["last"]
    run = executable(program, threads)
    assert "gs_reserve(" in next(iter(run.plan.sources.values()))
    run.run({**given, "xs": given["xs"][:1]})  # all is compiled and loaded, and nothing packed
    run.bind_arguments(given)
    with starved():
        np.testing.assert_allclose(run.run(given)["last"], wanted, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(run.run(given)["last"], wanted, rtol=1e-9, atol=1e-9)


if __name__ == "__main__":
    {"rows": rows, "packed": packed}[sys.argv[1]](int(sys.argv[2]))
