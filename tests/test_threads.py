"""Native programs on several threads: the same bits with any number of them, several programs at once, and after a fork."""

from __future__ import annotations

import math
import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compiled import NEEDS_COMPILER
from graphspec.ir.builder import Builder
from graphspec.ir.core import Program, Value
from graphspec.open import open_spec
from graphspec.passes import optimise
from graphspec.plan import make_plan
from graphspec.training.step import set_up, training_program
from graphspec_runtime import Executable, open_device
from graphspec_runtime import threads as counts
from graphspec_runtime.devices.native import NativeDevice
from graphspec_runtime.plan import Instruction, Plan
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


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_short_loops_with_narrow_products(turns: int) -> None:
    """A product of few rows is computed as one of many rows is, also where a loop is too short for its matrix to be packed."""

    def build(b: Builder, xs: Value, h: Value, w: Value, v: Value) -> list[Value]:
        def body(i: Builder, t: Value, cs: list[Value], ks: list[Value], xs: list[Value]) -> Any:
            wide, narrow = (i.matmul(ks[0], i.transpose(c, [1, 0])) for c in cs)
            return [i.tanh(i.add(ks[0], xs[0]))], [wide, narrow], []

        last, ys, _ = b.scan(turns, [w, v], [h], [xs], body)
        return [*last, *ys]

    p = program(build, xs=(turns, B, 512), h=(B, 512), w=(4096, 512), v=(1, 512))
    plan = make_plan(p, "c")
    assert "gs_parallel(loop" in plan.sources["c"], "rows are shared among the team"
    rng = np.random.default_rng(2)
    arguments = {a.name: rng.uniform(-1, 1, [n if isinstance(n, int) else 37 for n in a.shape]) / 20 for a in plan.arguments}
    wanted = run(Executable(plan, device_of(1)), arguments)
    for threads in (2, 5, 9):
        equal(wanted, run(Executable(plan, device_of(threads)), arguments), f"{threads} threads")


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
