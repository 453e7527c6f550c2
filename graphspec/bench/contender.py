"""A contender of a benchmark, seen from outside: a process that does steps when it is told to."""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import graphspec
import graphspec_runtime
from graphspec.bench.peers import TUNED
from graphspec.errors import SpecError, fail
from graphspec_runtime.threads import cores

OURS = "graphspec"
UNSET = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""Settings of some machines that make NumPy's products slower than it is by itself."""

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
PATIENCE = 3.0
"""Seconds that a process has to end once nobody asks it anything more."""

CACHES = {"GRAPHSPEC_CACHE": "graphspec", "XDG_CACHE_HOME": "", "TORCHINDUCTOR_CACHE_DIR": "inductor"}
"""Where compilers keep what they made, as folders under the benchmark's own: what was compiled before is no part of it."""


def environment(name: str, threads: int | None, caches: Path) -> dict[str, str]:
    """A contender's environment: this process's, with its threads, and caches of the benchmark's own."""
    found = {key: value for key, value in os.environ.items() if key not in UNSET}
    found |= {key: str(caches / folder) for key, folder in CACHES.items()}
    places = [str(Path(package.__path__[0]).parent) for package in (graphspec, graphspec_runtime)]
    found["PYTHONPATH"] = os.pathsep.join([*places, *filter(None, [os.environ.get("PYTHONPATH")])])
    if threads is not None:
        found |= dict.fromkeys(THREADS, str(threads))
    flags = [os.environ.get("XLA_FLAGS", "")]
    if name.endswith("tuned"):
        found |= TUNED
        flags.append(TUNED["XLA_FLAGS"])
    if name.startswith("jax"):
        found["JAX_PLATFORMS"] = "cpu"
        if threads == 1:
            flags.append(ONE_THREAD)
        found["XLA_FLAGS"] = " ".join(filter(None, flags))
    return found


class Contender:
    """A process of :mod:`graphspec.bench.worker`; leaving the ``with`` block ends it."""

    def __init__(self, name: str, threads: int | None, caches: Path) -> None:
        self.name = name
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the process)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "graphspec.bench.worker", name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said,
            env=environment(name, threads, caches),
        )  # fmt: skip
        if name.startswith("jax") and threads is not None and threads < cores() and hasattr(os, "sched_setaffinity"):
            # XLA makes as many threads as it may use cores, whatever it is told
            os.sched_setaffinity(self._process.pid, sorted(os.sched_getaffinity(0))[-threads:])

    def ask(self, do: str, **more: Any) -> Mapping[str, Any]:
        """What it answers; SpecError where it fails (E0841 where it is another framework's failure, or its process ended)."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            pickle.dump({"do": do, **more}, self._process.stdin)
            self._process.stdin.flush()
            answer = pickle.load(self._process.stdout)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            code = self._process.wait()
            self._said.seek(0)
            last = self._said.read().decode(errors="replace").strip().splitlines()[-1:]
            raise fail("E0841", f"the process of {self.name} ended with exit code {code}", notes=last) from None
        if "errors" in answer:
            raise SpecError(*answer["errors"])
        found: Mapping[str, Any] = answer
        return found

    def __enter__(self) -> Contender:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        try:
            self._process.wait(PATIENCE)  # a process that ends by itself takes its own children along
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()
