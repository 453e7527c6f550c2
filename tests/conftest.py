"""What all tests share."""

from __future__ import annotations

import os

from hypothesis import Phase, settings

# Tests of what devices have in common run on NumPy, which compiles nothing; tests/test_native.py runs programs of every kind in C.
os.environ.setdefault("GRAPHSPEC_CPU", "numpy")

# One thread each: tests run in a process for each core, and those of threads say how many they want.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples on every run and machine: a failure in CI is a failure at home; a slow machine is no failure.
PHASES = (Phase.explicit, Phase.generate, Phase.shrink)
settings.register_profile("graphspec", derandomize=True, deadline=None, database=None, phases=PHASES)
settings.load_profile("graphspec")
