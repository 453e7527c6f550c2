"""C compiled on the machine it runs on.

What is compiled is kept by its text, the compiler and the processor, so that it is compiled once; several processes may do so at the same
time.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np

from graphspec_runtime.compiler import SOURCES, about, find_compiler, loaded, place, prove
from graphspec_runtime.devices.array import no_memory
from graphspec_runtime.devices.base import Layout, Seconds, no_seconds
from graphspec_runtime.devices.numpy import NumpyDevice
from graphspec_runtime.errors import PlanError
from graphspec_runtime.kernels.index import out_of_range
from graphspec_runtime.plan import Instruction, Plan
from graphspec_runtime.threads import default_threads

CBLAS = (("scipy_cblas_{}gemm64_", True), ("cblas_{}gemm64_", True), ("scipy_cblas_{}gemm", False), ("cblas_{}gemm", False))
"""Names of the matrix product in the libraries that NumPy comes with, and whether integers have 64 bits there."""

KERNEL_FLAGS = ("-ffp-contract=fast",)
"""Matrix products multiply and add in one instruction; none is done again."""

NO_MEMORY = -1
"""GS_NO_MEMORY of graphspec.h."""

KERNELS = ("", "_f32", "_f64", "_bf16")
"""Parts of kernels.c, a library each: what all plans need, and products by what the names of their functions end in."""

CALLED = ((), (0,), (0,), (0, 1))
"""The parts that each part calls."""


class NativeDevice(NumpyDevice):
    """Host memory, and programs in C on the calling thread and its team."""

    name = "native"
    language = "c"

    def __init__(self, threads: int | None = None) -> None:
        self.compiler = find_compiler()
        self.threads = threads or default_threads()
        self._shared = kernels(self.compiler, 0)
        kernels(self.compiler, KERNELS.index("_f32"))  # most plans need them: they are compiled while the plan is made

    def use(self, precision: str) -> None:
        if precision == "bf16" and not about(self.compiler).bf16:
            what = f"{self.compiler[0]} makes no code for it on this machine"
            raise PlanError("precision", f"precision bf16 needs a processor with AVX-512 BF16, and {what}")
        self.language = "c, bf16" if precision == "bf16" else "c"

    @property
    def library(self) -> ctypes.CDLL:
        """The kernels that all plans need; waits until they are compiled."""
        return self._shared()

    def program(self, layout: Layout) -> Callable[[], None]:
        return self._program(layout, self.language, "gs_plan")

    def timed_program(self, layout: Layout) -> tuple[Callable[[], None], Seconds]:
        seconds = no_seconds(layout.plan)
        array = seconds.ctypes.data_as(ctypes.c_void_p)
        return self._program(layout, self.timed_language, "gs_plan_timed", array), seconds

    def _program(self, layout: Layout, language: str, name: str, *more: ctypes.c_void_p) -> Callable[[], None]:
        plan = layout.plan
        if language not in plan.sources:
            raise PlanError("plan", f"the plan {plan.name} has no C in it; make it for this device")
        text = plan.sources[language]
        needed = [kernels(self.compiler, part) for part, ending in enumerate(KERNELS) if part == 0 or f"gs_gemm{ending}(" in text]
        run = loaded(self.compiler, text, before=lambda: [load() for load in needed])[name]  # kernels may be compiled meanwhile
        run.restype = ctypes.c_int64
        addresses = [_address(memory, start) for memory, start in zip(layout.memory, layout.starts, strict=True)]
        buffers = (ctypes.c_void_p * len(addresses))(*addresses)
        sizes = (ctypes.c_int64 * max(len(plan.letters), 1))(*(layout.sizes[name] for name in plan.letters))
        fault = (ctypes.c_int64 * 3)()
        checks = {step.serial: step for step, _ in plan.walk() if step.kernel == "check_index"}
        set_threads, threads = self.library.gs_set_threads, self.threads

        def program() -> None:  # holds the layout, and with it the memory whose addresses it uses
            set_threads(ctypes.c_int64(threads))
            failed = run(buffers, sizes, fault, *more)
            if failed == NO_MEMORY:
                raise no_memory(fault[1], "this machine", "a thread of this plan to work in")
            if failed:
                raise _out_of_range(plan, layout, checks[fault[0]], fault[1], fault[2])

        return program


def _address(memory: object, start: int) -> int | None:
    return None if memory is None else int(np.asarray(memory).ctypes.data) + start


def _out_of_range(plan: Plan, layout: Layout, step: Instruction, value: int, position: int) -> PlanError:
    (view,) = step.inputs
    shape = [layout.number(n) for n in view.shape]
    place = [int(i) for i in np.unravel_index(position, shape)] if shape else []
    low = int(step.attrs["base"])
    buffer = plan.buffers[view.buffer]
    argument = buffer.name if buffer.kind == "argument" else ""
    return out_of_range(value, place, low, low + layout.number(step.attrs["size"]) - 1, argument, plan.origin(step.origin))


# -- kernels -------------------------------------------------------------------------------------------------------------


@cache
def kernels(compiler: tuple[str, ...], part: int) -> Callable[[], ctypes.CDLL]:
    """A library of kernels, when it is there: where it is not kept yet, it is compiled by the side.  PlanError (kind ``device``) where
    nothing can be compiled."""
    text = (SOURCES / "kernels.c").read_text(encoding="utf-8")
    flags = (*KERNEL_FLAGS, f"-DGS_PART={part}")
    if place(compiler, text, flags).exists():
        library = _load(compiler, text, flags, part)
        return lambda: library
    prove(compiler)
    return ThreadPoolExecutor(1).submit(_load, compiler, text, flags, part).result


def _load(compiler: tuple[str, ...], text: str, flags: tuple[str, ...], part: int) -> ctypes.CDLL:
    """A part of the kernels, after those that it calls; the first is told of NumPy's matrix products."""
    library = loaded(compiler, text, flags, ctypes.RTLD_GLOBAL, lambda: [kernels(compiler, called)() for called in CALLED[part]])
    if part == 0 and (found := _blas()):
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
