"""How many threads a device uses unless told."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
"""Where Linux says how much of its cores a container may use."""


def cores() -> int:
    """Cores that this process may use: a container's share of them, rounded down, may be fewer than it sees."""
    seen = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(int(min(seen, share(GROUPS))), 1)


def share(groups: Path) -> float:
    """Of a group of processes, in cores; infinite where nothing limits it."""
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = (groups / "cpu.max").read_text().split()
        return int(quota) / int(period)  # "max" is no number: no limit
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = ((groups / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return int(quota) / int(period) if int(quota) > 0 else math.inf
    return math.inf


def default_threads() -> int:
    """OMP_NUM_THREADS, else one for each core."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return int(asked) if asked.isdigit() and int(asked) > 0 else cores()
