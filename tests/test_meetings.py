"""Threads that meet in every turn of a loop: what they do where others want the processors too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from compiled import NEEDS_COMPILER

pytestmark = NEEDS_COMPILER

CROWDED = """
import ctypes, os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

from test_threads import Executable, chain, device_of, equal, run

plan, arguments = chain("by columns")
wanted = run(Executable(plan, device_of(1)), arguments)
device = device_of(2)
device.library.gs_set_threads(ctypes.c_int64(2))
executable = Executable(plan, device)
columns = lambda: device.library.gs_columns(ctypes.c_int64(1 << 23), ctypes.c_int64(1))
told = [columns()]
for _ in range(40):
    equal(wanted, run(executable, arguments), "two threads on one processor")
    if told[-1] == 1:
        break
    told.append(columns())
print(told[0], told[-1], *(columns() for _ in range(5000)))
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system does not say which processor a process runs on")
def test_threads_on_one_processor_soon_stop_meeting_and_try_again_later() -> None:
    words = [sys.executable, "-W", "ignore", "-c", CROWDED]
    done = subprocess.run(words, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    first, last, *later = map(int, done.stdout.split())
    assert (first, last) == (2, 1)
    assert later == sorted(later) and later[-1] == 2
