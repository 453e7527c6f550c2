"""What the machine can do at most, measured."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graphspec.bench.cases import Work
from graphspec.machine import processor
from graphspec_runtime import PlanError
from graphspec_runtime.compiler import about, find_compiler
from graphspec_runtime.threads import cores

SOURCE = Path(__file__).with_name("roofline.c")
FLAGS = ("-O3", "-ffp-contract=fast", "-pthread")
DEFAULT_CACHE = 32 << 20
"""Bytes of the last cache, where the system does not tell."""

SIDE = 2048
"""Rows and columns of the product that stands for the peak where there is no compiler."""


@dataclass(frozen=True)
class Machine:
    """``peak`` in FLOP/s of float32, ``dram`` and ``cache`` in bytes/s, each of ``threads`` threads together; ``cache_bytes`` of the last
    level; ``measured`` says by what."""

    processor: str
    cores: int
    threads: int
    peak: float
    dram: float
    cache: float
    cache_bytes: int
    measured: str

    def bound(self, work: Work) -> float:
        """Seconds that a step takes at least.  The cache's bandwidth counts where what a step moves, each byte once written and once read,
        fits it."""
        bandwidth = self.cache if work.bytes <= 2 * self.cache_bytes else self.dram
        return work.flops / self.peak + work.bytes / bandwidth

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def measure_machine(threads: int) -> Machine:
    """What the machine can do, measured by a small C program that is compiled here; without a C compiler, by NumPy's products and sums."""
    size = cache_bytes()
    found, measured = compiled(threads, size), "a C program"
    if found is None:
        found, measured = by_numpy(threads, size), "NumPy: there is no C compiler that works, so this is an estimate"
    peak, dram, cache = found
    return Machine(processor(), cores(), threads, peak, dram, cache, size, measured)


def cache_bytes() -> int:
    """The size of the last level of cache."""
    try:
        found = max(os.sysconf(f"SC_LEVEL{level}_CACHE_SIZE") for level in (2, 3))
    except (ValueError, OSError, AttributeError):
        found = 0
    return found if found > 0 else DEFAULT_CACHE


def compiled(threads: int, cache: int) -> tuple[float, float, float] | None:
    """Peak, memory's and cache's bandwidth; None when it cannot be compiled or run."""
    try:
        compiler = about(find_compiler())
    except PlanError:
        return None
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "roofline")
        try:
            subprocess.run([*compiler.words, *FLAGS, *compiler.flags, "-o", str(program), str(SOURCE)], check=True, capture_output=True)
            said = subprocess.run([str(program), str(threads), str(cache)], check=True, capture_output=True, text=True).stdout
        except (OSError, subprocess.CalledProcessError):
            return None
    peak, dram, near = map(float, said.split())
    return peak, dram, near


def by_numpy(threads: int, cache: int) -> tuple[float, float, float]:
    """What :func:`compiled` measures, by what NumPy does best: a large product, and sums of two arrays in place."""
    from threadpoolctl import threadpool_limits

    def rate(amount: float, turns: int, work: Any) -> float:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            for _ in range(turns):
                work()
            times.append(time.perf_counter() - start)
        return amount * turns / min(times)

    with threadpool_limits(threads, user_api="blas"):
        a, b = np.ones((SIDE, SIDE), np.float32), np.ones((SIDE, SIDE), np.float32)
        product = np.empty_like(a)
        peak = rate(2.0 * SIDE**3, 1, lambda: np.matmul(a, b, out=product))
    found = []
    for floats in (1 << 25, cache // 32):
        x, y = np.ones(floats, np.float32), np.ones(floats, np.float32)
        found.append(rate(12.0 * floats, 1 + (1 << 24) // floats, lambda x=x, y=y: np.add(x, y, out=x)))
    return peak, found[0] * threads, found[1] * threads
