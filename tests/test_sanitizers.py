"""Native code touches only its own memory, does nothing undefined and its threads do not race: programs under AddressSanitizer, UBSan and
ThreadSanitizer, in processes of their own (:mod:`sanitized`)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from graphspec_runtime import PlanError, compiler

HERE = Path(__file__).parent


def library(name: str) -> str | None:
    """The path of one of the compiler's libraries, where it has it."""
    try:
        words = compiler.find_compiler()
    except PlanError:
        return None
    said = subprocess.run([*words, f"-print-file-name={name}"], capture_output=True, text=True, timeout=60).stdout.strip()
    return said if os.path.isabs(said) and os.path.exists(said) else None


ASAN, TSAN = (library(name) if sys.platform == "linux" else None for name in ("libasan.so", "libtsan.so"))
pytestmark = pytest.mark.skipif(ASAN is None, reason="the C compiler has no AddressSanitizer that can be loaded before Python")


def sanitized(*words: str, by: str | None = ASAN) -> subprocess.CompletedProcess[str]:
    """tests/sanitized.py with these words."""
    environment = {
        **os.environ,
        "LD_PRELOAD": str(by),
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",  # leaks: Python's own are many
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "TSAN_OPTIONS": "halt_on_error=1",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(HERE / "sanitized.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=1800)


def expect_clean(*words: str, by: str | None = ASAN) -> None:
    done = sanitized(*words, by=by)
    assert done.returncode == 0 and done.stdout.endswith("clean\n"), (done.stdout + done.stderr)[:6000]


def test_what_is_forbidden_is_seen() -> None:
    done = sanitized("beyond")
    assert done.returncode != 0 and "use-after-poison" in done.stderr and "plan.c" in done.stderr


def test_random_programs() -> None:
    expect_clean("random", "0", "12")


@pytest.mark.slow
def test_hostile_arguments() -> None:
    expect_clean("hostile")


@pytest.mark.slow
def test_every_kernel() -> None:
    expect_clean("kernels")


@pytest.mark.slow
@pytest.mark.parametrize("start", range(100, 1100, 100))
def test_many_random_programs(start: int) -> None:
    expect_clean("random", str(start), str(start + 100))


@pytest.mark.slow
def test_every_spec() -> None:
    expect_clean("specs")


@pytest.mark.slow
@pytest.mark.skipif(TSAN is None, reason="the C compiler has no ThreadSanitizer that can be loaded before Python")
def test_threads_do_not_race() -> None:
    expect_clean("races", by=TSAN)


@pytest.mark.slow
@pytest.mark.skipif(TSAN is None, reason="the C compiler has no ThreadSanitizer that can be loaded before Python")
def test_a_race_is_seen() -> None:
    done = sanitized("unmet", by=TSAN)
    assert done.returncode != 0 and "data race" in done.stderr and "plan.c" in done.stderr
