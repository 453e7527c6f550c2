"""C compiled on the machine it runs on.

What is compiled is kept by its text, the compiler and the processor, so that it is compiled once; several processes may do so at the same
time.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from graphspec_runtime.devices.base import Layout, Seconds, no_seconds
from graphspec_runtime.devices.numpy import NumpyDevice
from graphspec_runtime.errors import PlanError
from graphspec_runtime.plan import Instruction, Loop, Plan

SOURCES = Path(__file__).parent.parent / "native"
FLAGS = ("-O3", "-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-fPIC", "-shared", "-std=gnu11")
CBLAS = (("scipy_cblas_{}gemm64_", True), ("cblas_{}gemm64_", True), ("scipy_cblas_{}gemm", False), ("cblas_{}gemm", False))
"""Names of the matrix product in the libraries that NumPy comes with, and whether integers have 64 bits there."""
TIMEOUT = 600
"""Seconds after which a compiler is given up."""


class NativeDevice(NumpyDevice):
    """Host memory, and programs in C on the calling thread and its team."""

    name = "native"
    language = "c"

    def __init__(self, threads: int | None = None) -> None:
        self.compiler = find_compiler()
        self.threads = threads or default_threads()
        self.library = kernels(self.compiler)

    def program(self, layout: Layout) -> Callable[[], None]:
        return self._program(layout, self.language, "gs_plan")

    def timed_program(self, layout: Layout) -> tuple[Callable[[], None], Seconds]:
        seconds = no_seconds(layout.plan)
        array = seconds.ctypes.data_as(ctypes.c_void_p)
        return self._program(layout, f"{self.language}, timed", "gs_plan_timed", array), seconds

    def _program(self, layout: Layout, language: str, name: str, *more: ctypes.c_void_p) -> Callable[[], None]:
        plan = layout.plan
        if language not in plan.sources:
            raise PlanError("plan", f"the plan {plan.name} has no C in it; make it for this device")
        run = ctypes.CDLL(str(built(self.compiler, plan.sources[language])))[name]
        run.restype = ctypes.c_int64
        addresses = [_address(memory, start) for memory, start in zip(layout.memory, layout.starts, strict=True)]
        buffers = (ctypes.c_void_p * len(addresses))(*addresses)
        sizes = (ctypes.c_int64 * max(len(plan.letters), 1))(*(layout.sizes[name] for name in plan.letters))
        fault = (ctypes.c_int64 * 3)()
        checks = _checks(plan.code)
        held = list(layout.memory)  # alive as long as the program is
        set_threads, threads = self.library.gs_set_threads, self.threads

        def program() -> None:
            set_threads(ctypes.c_int64(threads))
            if run(buffers, sizes, fault, *more):
                raise _out_of_range(plan, layout, checks[fault[0]], fault[1], fault[2])
            assert held

        return program


def _address(memory: object, start: int) -> int | None:
    return None if memory is None else int(np.asarray(memory).ctypes.data) + start


def _checks(steps: Sequence[Instruction | Loop]) -> dict[int, Instruction]:
    found: dict[int, Instruction] = {}
    for step in steps:
        if isinstance(step, Loop):
            found.update(_checks(step.body))
        elif step.kernel == "check_index":
            found[step.serial] = step
    return found


def _out_of_range(plan: Plan, layout: Layout, step: Instruction, value: int, position: int) -> PlanError:
    from graphspec_runtime.kernels.index import out_of_range

    (view,) = step.inputs
    shape = [layout.number(n) for n in view.shape]
    place = [int(i) for i in np.unravel_index(position, shape)] if shape else []
    low = int(step.attrs["base"])
    buffer = plan.buffers[view.buffer]
    argument = buffer.name if buffer.kind == "argument" else ""
    return out_of_range(value, place, low, low + layout.number(step.attrs["size"]) - 1, argument, plan.origin(step.origin))


# -- compiling -----------------------------------------------------------------------------------------------------------


def default_threads() -> int:
    """OMP_NUM_THREADS, else the cores that this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def find_compiler() -> tuple[str, ...]:
    """The command of the system's C compiler: $CC, cc, gcc or clang; PlanError (kind ``device``) without one."""
    asked = os.environ.get("CC", "").split()
    for words in ([asked] if asked else [["cc"], ["gcc"], ["clang"]]):
        if shutil.which(words[0]):
            return tuple(words)
    what = f"the C compiler that $CC names, {asked[0]}, is not there" if asked else "there is no C compiler (cc, gcc or clang)"
    raise PlanError("device", what, cause="compiler")


@cache
def machine_flags(compiler: tuple[str, ...]) -> tuple[str, ...]:
    """What tells the compiler to use all that this processor has."""
    wanted = ["-mcpu=native"] if platform.machine() in ("aarch64", "arm64") else ["-march=native", "-mprefer-vector-width=512"]
    for count in range(len(wanted), 0, -1):
        done = subprocess.run([*compiler, *wanted[:count], "-E", "-x", "c", os.devnull], capture_output=True, timeout=TIMEOUT)
        if done.returncode == 0:
            return tuple(wanted[:count])
    return ()


@cache
def identity(compiler: tuple[str, ...]) -> str:
    """What a compiled file depends on besides its text: the compiler's version, its flags, the processor as it sees it, and the header."""
    done = subprocess.run([*compiler, *machine_flags(compiler), "-dM", "-E", "-x", "c", os.devnull], capture_output=True, timeout=TIMEOUT)
    version = subprocess.run([*compiler, "--version"], capture_output=True, timeout=TIMEOUT)
    parts = [done.stdout, version.stdout, repr((compiler, FLAGS, sys.platform)).encode(), (SOURCES / "graphspec.h").read_bytes()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def cache_folder() -> Path:
    """$GRAPHSPEC_CACHE, else graphspec/ where the system keeps caches."""
    if os.environ.get("GRAPHSPEC_CACHE"):
        return Path(os.environ["GRAPHSPEC_CACHE"])
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / (".cache" if sys.platform != "darwin" else "Library/Caches")
    return Path(home) / "graphspec"


def built(compiler: tuple[str, ...], source: str) -> Path:
    """The shared library that a text compiles to, from the cache or made now."""
    key = hashlib.sha256(f"{identity(compiler)}\0{source}".encode()).hexdigest()[:32]
    folder = cache_folder()
    library = folder / f"{key}.so"
    if library.exists():
        return library
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as made:
            text, result = Path(made) / "plan.c", Path(made) / "plan.so"
            text.write_text(source, encoding="utf-8")
            undefined = ["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else []
            command = [*compiler, *FLAGS, *machine_flags(compiler), *undefined, f"-I{SOURCES}", str(text), "-o", str(result), "-lm"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, env={**os.environ, "LC_ALL": "C"})
            if done.returncode:
                raise PlanError("plan", f"{compiler[0]} does not compile what was printed for it:\n{done.stderr.strip()[:2000]}")
            os.replace(result, library)  # whole or not at all, whoever else is at it
    except OSError as failure:
        raise PlanError("device", f"nothing can be compiled in {folder}: {failure.strerror or failure}", cause="cache") from failure
    except subprocess.TimeoutExpired:
        raise PlanError("plan", f"{compiler[0]} took more than {TIMEOUT} seconds") from None
    return library


@cache
def kernels(compiler: tuple[str, ...]) -> ctypes.CDLL:
    """The library of kernels that all plans share, told of NumPy's matrix products."""
    text = "\n".join((SOURCES / name).read_text(encoding="utf-8") for name in ("kernels.c",))
    gemm = (SOURCES / "gemm.h").read_text(encoding="utf-8")
    library = ctypes.CDLL(str(built(compiler, text.replace('#include "gemm.h"', gemm))), mode=ctypes.RTLD_GLOBAL)
    found = _blas()
    if found:
        single, double, wide = found
        library.gs_set_blas(ctypes.cast(single, ctypes.c_void_p), ctypes.cast(double, ctypes.c_void_p), ctypes.c_int(wide))
    return library


def _blas() -> tuple[ctypes._FuncPointer, ctypes._FuncPointer, bool] | None:
    """cblas_sgemm and cblas_dgemm of the library that NumPy has loaded, and whether their integers have 64 bits."""
    from threadpoolctl import threadpool_info

    for info in threadpool_info():
        if info["user_api"] != "blas":
            continue
        library = ctypes.CDLL(info["filepath"])
        for pattern, wide in CBLAS:
            single, double = (getattr(library, pattern.format(kind), None) for kind in "sd")
            if single and double:
                return single, double, wide
    return None
