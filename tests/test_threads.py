"""Native programs on several threads: the same bits with any number of them, several programs at once, and after a fork."""

from __future__ import annotations

import ctypes
import math
import multiprocessing
import os
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compiled import NEEDS_COMPILER
from graphspec import engine
from graphspec.codegen.team import meetings
from graphspec.ir.builder import Builder
from graphspec.ir.core import Program, Value
from graphspec.open import open_spec
from graphspec.passes import optimise
from graphspec.plan import make_plan
from graphspec.training.step import set_up, training_program
from graphspec_runtime import Executable, open_device
from graphspec_runtime import threads as counts
from graphspec_runtime.devices.native import NativeDevice
from graphspec_runtime.log import log_once
from graphspec_runtime.plan import Instruction, Plan, View
from merged import Arrays
from test_passes import SPECS, draw
from test_plan import B, program

pytestmark = NEEDS_COMPILER

LARGE: dict[str, dict[str, object]] = {
    "char_lm": {"rnn_size": 96, "data.batch": 13, "data.seq_len": 24},
    "char_lm, long and narrow": {"rnn_size": 20, "data.batch": 7, "data.seq_len": 300},
    "word_lm": {"rnn_size": 64, "data.batch": 7, "data.seq_len": 20, "data.vocab": 700},
    "translate": {"embedding": 40, "hidden": 48, "cell": 56, "align": 32, "data.batch": 13, "data.size": 40},
    "adding": {"size": 40, "data.batch": 13, "data.length": 90},
}
"""Training steps that are large enough to be worth several threads, at odd batch sizes."""


def training(name: str, dtype: str = "float32") -> tuple[Plan, Arrays]:
    """A training step's plan, and arguments such as a step has."""
    step: Program = training_program(set_up(open_spec(SPECS[name.partition(",")[0]], options=LARGE[name]).result, dtype))
    letters = {letter: {"B": 13, "T": 40}.get(letter, 17 + i) for i, letter in enumerate(step.letters)}
    arguments = draw(step, letters)
    rng = np.random.default_rng(1)
    for port, v in zip(step.inputs, step.block.params, strict=True):
        if v.type.is_float and v.type.rank:
            values = rng.normal(0, 0.2, arguments[port.name].shape)
            arguments[port.name] = (np.abs(values) if port.name.startswith("optimizer") else values).astype(v.dtype)
    optimise(step, kernels=True)
    return make_plan(step, "c"), arguments


QUOTAS: dict[str, tuple[dict[str, str], float]] = {
    "none": ({}, math.inf),
    "no limit": ({"cpu.max": "max 100000\n"}, math.inf),
    "two cores and a half": ({"cpu.max": "250000 100000\n"}, 2.5),
    "as older systems say it": ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
    "no limit, older": ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, math.inf),
    "damaged": ({"cpu.max": "", "cpu/cpu.cfs_quota_us": "5", "cpu/cpu.cfs_period_us": "0"}, math.inf),
}


@pytest.mark.parametrize("what", QUOTAS)
def test_a_container_uses_no_more_cores_than_its_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    files, wanted = QUOTAS[what]
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert counts.share(tmp_path) == wanted
    monkeypatch.setattr(counts, "GROUPS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert counts.default_threads() == (64 if wanted == math.inf else max(int(wanted), 1))


def test_more_threads_than_cores_are_told_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(engine, "cores", lambda: 3)
    log_once.cache_clear()
    try:
        for threads in (1, 3, 5, 5):
            engine.device_named("native", threads)
    finally:
        engine.device_named("native", 1)  # the process's own matrix products are limited too
        log_once.cache_clear()
    assert [each.getMessage() for each in caplog.records] == ["5 threads are asked for, and there are 3 cores: some will wait for others"]


def device_of(threads: int) -> NativeDevice:
    found = open_device("native", threads)
    assert isinstance(found, NativeDevice)
    return found


def run(executable: Executable, arguments: Arrays) -> Arrays:
    return executable.call({name: np.array(value) for name, value in arguments.items()})


def equal(wanted: Arrays, got: Arrays, what: Any) -> None:
    for name, value in wanted.items():
        assert np.array_equal(got[name], value, equal_nan=True), f"{what}: {name} differs by {np.abs(got[name] - value).max()}"


FEW = ("char_lm, long and narrow", "adding")


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in FEW else [pytest.mark.slow]) for name in LARGE])
def test_the_same_bits_with_any_number_of_threads(name: str) -> None:
    plan, arguments = training(name)
    wanted = run(Executable(plan, device_of(1)), arguments)
    assert all(np.isfinite(value).all() for value in wanted.values())
    for threads in (2, 3, 5, 2):
        executable = Executable(plan, device_of(threads))
        for _ in range(3):
            equal(wanted, run(executable, arguments), f"{threads} threads")
    if os.path.isdir("/proc/self/task"):
        assert len(os.listdir("/proc/self/task")) >= 5  # a team was there


def test_a_sum_over_everything_is_done_by_one_thread() -> None:
    """A kernel that is one row is not split: all threads would do all of it, and write to the same places."""

    def build(b: Builder, x: Value) -> list[Value]:
        return [b.div(x, b.broadcast(b.sqrt(b.reduce_sum(b.mul(x, x), [0])), x.shape, []))]

    p = program(build, {0: "x"}, x=(200_003,))
    optimise(p, kernels=True)
    plan = make_plan(p, "c")
    assert 0 in [step.attrs.get("rows") for step in plan.code if isinstance(step, Instruction)]
    assert "fused_part" not in plan.sources["c"]
    x = np.random.default_rng(0).standard_normal(200_003)
    wanted = run(Executable(plan, device_of(1)), {"x": x})
    np.testing.assert_allclose(wanted["o0"], x / np.sqrt((x * x).sum()), rtol=1e-12)
    executable = Executable(plan, device_of(5))
    for _ in range(20):
        equal(wanted, run(executable, {"x": x}), "5 threads")


def test_a_sum_along_the_batch_is_not_split() -> None:
    def build(b: Builder, xs: Value, h: Value) -> list[Value]:
        def body(i: Builder, t: Value, cs: list[Value], ks: list[Value], xs: list[Value]) -> Any:
            new = i.tanh(i.add(i.cumsum(ks[0]), xs[0]))
            return [new], [new], []

        last, ys, _ = b.scan(50, [], [h], [xs], body)
        return [*last, *ys]

    p = program(build, xs=(50, B), h=(B,))
    optimise(p, kernels=True)
    plan = make_plan(p, "c")
    assert "gs_parallel(loop" not in plan.sources["c"]
    arguments = {"xs": np.random.default_rng(3).normal(size=(50, 3000)), "h": np.zeros(3000)}
    wanted = run(Executable(plan, device_of(1)), arguments)
    equal(wanted, run(Executable(plan, device_of(4)), arguments), "4 threads")


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_short_loops_with_narrow_products(turns: int) -> None:
    """A product of few rows is computed as one of many rows is, also where a loop is too short for its matrix to be packed."""

    def build(b: Builder, xs: Value, h: Value, w: Value, v: Value, u: Value) -> list[Value]:
        def body(i: Builder, t: Value, cs: list[Value], ks: list[Value], xs: list[Value]) -> Any:
            wide, narrow = (i.matmul(ks[0], i.transpose(c, [1, 0])) for c in cs[:2])
            small = i.matmul(i.slice(ks[0], 1, 0, 20), cs[2])  # of a few rows not worth packing, of all of them so
            return [i.tanh(i.add(ks[0], xs[0]))], [wide, narrow, small], []

        last, ys, _ = b.scan(turns, [w, v, u], [h], [xs], body)
        return [*last, *ys]

    p = program(build, xs=(turns, B, 512), h=(B, 512), w=(4096, 512), v=(1, 512), u=(20, 16))
    plan = make_plan(p, "c")
    assert "gs_parallel(loop" in plan.sources["c"], "rows are shared among the team"
    rng = np.random.default_rng(2)
    arguments = {a.name: rng.uniform(-1, 1, [n if isinstance(n, int) else 37 for n in a.shape]) / 20 for a in plan.arguments}
    wanted = run(Executable(plan, device_of(1)), arguments)
    for threads in (2, 5, 9):
        equal(wanted, run(Executable(plan, device_of(threads)), arguments), f"{threads} threads")


CHAINS: dict[str, tuple[int, list[int]]] = {
    "by rows": (37, [96, 512, 40, 640, 200, 96]),
    "by columns": (5, [96, 4096, 40, 640, 200, 96]),
    "by columns, one row": (1, [130, 2100, 70, 130]),
}
"""Rows, and the widths of what a turn makes of them one after the other: each is read once, so that one thread has them share memory."""


def chain(name: str) -> tuple[Plan, Arrays]:
    rows, widths = CHAINS[name]
    weights = {f"w{i}": shape for i, shape in enumerate(pairwise(widths))}

    def build(b: Builder, xs: Value, h: Value, *ws: Value) -> list[Value]:
        def body(i: Builder, t: Value, cs: list[Value], ks: list[Value], xs: list[Value]) -> Any:
            new = i.add(ks[0], xs[0])
            for w in cs:
                new = i.tanh(i.matmul(new, w))
            return [new], [new], []

        last, ys, _ = b.scan(9, ws, [h], [xs], body)
        return [*last, *ys]

    p = program(build, xs=(9, B, widths[0]), h=(B, widths[0]), **weights)
    optimise(p, kernels=True)
    plan = make_plan(p, "c")
    rng = np.random.default_rng(2)
    return plan, {a.name: rng.uniform(-1, 1, [n if isinstance(n, int) else rows for n in a.shape]) / 5 for a in plan.arguments}


@pytest.mark.parametrize("name", CHAINS)
def test_threads_at_different_turns_do_not_share_memory(name: str) -> None:
    plan, arguments = chain(name)
    wanted = run(Executable(plan, device_of(1)), arguments)
    for threads in (2, 3, 9):
        executable = Executable(plan, device_of(threads))
        for _ in range(20):
            equal(wanted, run(executable, arguments), f"{threads} threads")


WHICH = [  # threads, bytes of matrices, rows, parts of the columns
    (1, 1 << 30, 1, 1), (2, 1 << 20, 1, 1), (2, 1 << 21, 1, 2), (2, 1 << 21, 32, 2), (2, 1 << 21, 33, 1), (64, 1 << 21, 20, 4),
    (64, 1 << 21, 100, 1),
]  # fmt: skip


@pytest.mark.parametrize(("threads", "bytes", "rows", "parts"), WHICH)
def test_columns_are_split_where_matrices_are_large_and_rows_are_few(threads: int, bytes: int, rows: int, parts: int) -> None:
    library = device_of(threads).library
    library.gs_set_threads(ctypes.c_int64(threads))
    for _ in range(4096):  # threads that waited long in a test before meet again
        library.gs_columns(ctypes.c_int64(1 << 30), ctypes.c_int64(1))
    assert library.gs_columns(ctypes.c_int64(bytes), ctypes.c_int64(rows)) == parts


BODIES = {  # products by columns are `left * right > result`, others `read, read > written`; | where threads meet
    "a cell": "| h*w>p | p,c>c p,c>h",
    "two products of one state": "| h*w>p h*v>q | p,q>h",
    "one product after the other": "| h*w>p | p*v>q | q>h",
    "what another has read": "| h*w>p | p*v>h | h>y",
    "a product last": "x,h>g | g*w>h |",
    "no product": "h,x>h h>y",
    "a product alone": "| h*w>p | p*v>h",
}


@pytest.mark.parametrize("name", BODIES)
def test_where_threads_meet(name: str) -> None:
    words = BODIES[name].split()
    buffers = sorted({letter for word in words for letter in word if letter.isalpha()})

    def views(letters: str) -> tuple[View, ...]:
        return tuple(View(buffers.index(letter), 0, (4, 4), (4, 1)) for letter in letters if letter.isalpha())

    steps = [word.partition(">") for word in words if word != "|"]
    found = meetings([(Instruction("", views(read), views(written), {}, -1, 0), "*" in read) for read, _, written in steps])
    said = [word for i, step in enumerate(steps) for word in [*["|"] * (i in found), "".join(step)]]
    assert [*said, *["|"] * (len(steps) in found)] == words


def test_several_programs_at_once() -> None:
    """Python threads with programs of their own, and with one they share; who finds the team busy works alone."""
    plans = [training(name) for name in ("char_lm", "adding")]
    shared = [Executable(plan, device_of(2)) for plan, _ in plans]
    wanted = [run(executable, arguments) for executable, (_, arguments) in zip(shared, plans, strict=True)]
    failures: list[str] = []

    def work(k: int) -> None:
        plan, arguments = plans[k % 2]
        executable = shared[k % 2] if k < 4 else Executable(plan, device_of(1 + k % 3))
        try:
            for _ in range(6):
                equal(wanted[k % 2], run(executable, arguments), f"thread {k}")
        except Exception as failure:
            failures.append(str(failure))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


FORKED = """
import multiprocessing, sys, warnings
import numpy as np
from test_threads import Executable, device_of, equal, run, training

warnings.simplefilter("ignore")  # that a process with threads is forked is what this is about
plan, arguments = training("char_lm")
executable = Executable(plan, device_of(3))
wanted = run(executable, arguments)

def child():
    for _ in range(3):
        equal(wanted, run(executable, arguments), "after a fork")
    equal(wanted, run(Executable(plan, device_of(2)), arguments), "bound after a fork")

context = multiprocessing.get_context("fork")
children = [context.Process(target=child) for _ in range(3)]
for each in children:
    each.start()
for _ in range(3):
    equal(wanted, run(executable, arguments), "the parent")
for each in children:
    each.join(60)
sys.exit(any(each.exitcode != 0 for each in children))
"""


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="the system has no fork")
def test_a_fork_after_use() -> None:
    done = subprocess.run([sys.executable, "-c", FORKED], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


SPLIT = """
import sys
import numpy as np
from compiled import CROWDS
from graphspec_runtime.devices import native

native.KERNEL_FLAGS += CROWDS

from merged import named, together
from random_models import Models, step_of
from random_programs import draw_arguments
from test_passes import backward_of, draw
from test_threads import Executable, device_of, equal, make_plan, optimise, run

seeds = range(int(sys.argv[1]), int(sys.argv[1]) + 4)
models = [Models(seed).program() for seed in seeds]
programs = [*models, *map(backward_of, models), *map(step_of, models)]
for number, sizes in enumerate(({"B": 13, "T": 5}, {"B": 2, "T": 3}, {"B": 13, "T": 2})):
    arguments = [{**draw(p, sizes, i), **draw_arguments(models[i % 4], sizes, seeds[i % 4])} for i, p in enumerate(programs)]
    if not number:
        whole = together(programs)
        optimise(whole, kernels=True)
        plan = make_plan(whole, "c")
        print(plan.sources["c"].count("gs_together("))
    wanted = run(Executable(plan, device_of(1)), named(arguments))
    for threads in (2, 5):
        executable = Executable(plan, device_of(threads))
        for _ in range(4):
            equal(wanted, run(executable, named(arguments)), f"{threads} threads, {sizes}")
"""


@pytest.mark.parametrize("seed", [108, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(200, 320, 4))])
def test_random_models_by_rows_and_by_columns(seed: int) -> None:
    words = [sys.executable, "-W", "ignore", "-c", SPLIT, str(seed)]
    done = subprocess.run(words, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert seed != 108 or int(done.stdout) > 4
