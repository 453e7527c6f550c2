"""A program made runnable: optimised, planned and bound to a device, or interpreted as the reference."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from graphspec.binding import index_error
from graphspec.errors import NOWHERE, Origin, SpecError, fail
from graphspec.ir.core import Program
from graphspec.ir.rewrite import copy_program
from graphspec.passes import optimise
from graphspec.passes.told import Count, PassReport
from graphspec.plan import make_plan
from graphspec.reference import interpret
from graphspec.settings import check_device
from graphspec_runtime import Executable, PlanError, open_device
from graphspec_runtime.devices.base import Device
from graphspec_runtime.log import log_once
from graphspec_runtime.threads import cores

CODES = {
    "shape": "E0307", "argument": "E0312", "guard": "E0311", "memory": "E0702", "device": "E0701", "plan": "E0703",
    "precision": "E0707",
}  # fmt: skip
"""What a runtime failure is called in the user's world (an index out of range is E0310)."""

HELPS = {
    "precision": "the device native has it where the processor can; `graphspec doctor` says whether this one does",
    "compiler": "the device numpy needs no C compiler; $CC may name another one",
    "cache": "GRAPHSPEC_CACHE may name another folder",
}
"""What helps against it, by its kind or by the cause of a device that cannot be had."""

MOST_THREADS = 1024
"""More than that is a mistake in typing."""


class Engine:
    """Runs one program on one device.

    ``device`` is an open device, or None for the reference interpreter of unoptimised IR.  ``program`` stays as it is, to be
    interpreted in the user's own terms; ``notes`` says what the passes did to a copy of it.  ``timed``: runs tell how long each instruction
    takes.  ``without``: passes that are left out.
    """

    def __init__(
        self, program: Program, device: Device | None, check: bool = False, timed: bool = False, without: frozenset[str] = frozenset()
    ) -> None:
        self.program = program
        self.planning = 0.0
        """Seconds that making and printing the plan took."""
        self.notes: list[PassReport] = []
        self.origins: dict[str, Origin] = {}
        self.executable: Executable | None = None
        if device is not None:
            optimised = copy_program(program)
            self.notes = optimise(optimised, check, kernels=bool(device.language), without=without)
            for op in optimised.block.walk():
                for origin in op.origin.flat():
                    self.origins.setdefault(str(origin), origin)
            began = time.perf_counter()
            plan = make_plan(optimised, device.timed_language if timed else device.language)
            self.planning = time.perf_counter() - began
            self.executable = Executable(plan, device, timed=timed)

    def run(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Results by name, in arrays of the device that the next run overwrites.  Arguments that results update (parameters,
        states, running statistics) are changed in place; SpecError for shapes, sizes and indices that do not fit."""
        if self.executable is None:
            results: dict[str, Any] = dict(interpret(self.program, arguments))
            for port in self.program.outputs:
                if port.updates is not None:
                    arguments[port.updates][...] = results[port.name]
            return results
        try:
            return dict(self.executable.run(arguments))
        except PlanError as failure:
            raise self._told(failure) from None

    def to_host(self, array: Any) -> np.ndarray[Any, Any]:
        """A copy as a NumPy array."""
        return np.array(array if self.executable is None else self.executable.device.to_host(array))

    def _told(self, failure: PlanError) -> SpecError:
        origin = self.origins.get(failure.origin, NOWHERE)
        if failure.kind == "index":
            low, high = failure.data["low"], failure.data["high"]
            return index_error(failure.data["value"], failure.data["position"], low, high - low + 1, origin)
        ports = zip(self.program.inputs, self.program.block.params, strict=True)
        taken = ", ".join(f"{port.name} {value.type}" for port, value in ports if port.role == "input")
        return _failed(failure, origin, f"it takes {taken}" if failure.kind == "shape" and taken else "")


def _failed(failure: PlanError, origin: Origin = NOWHERE, help: str = "") -> SpecError:
    found = help or HELPS.get(failure.kind) or HELPS.get(failure.data.get("cause", ""))
    return fail(CODES[failure.kind], failure.message, origin, helps=[found] if found else [])


def device_named(name: str, threads: int | None = None, precision: str = "float32") -> Device | None:
    """``cpu``, ``numpy``, ``cuda``, ``cuda:1``; None for ``reference``; E0701 with the one cause when it cannot be had, E0707 where its
    products have no such ``precision``.

    ``threads`` is how many a native device uses, and limits those of NumPy's matrix products, which are the process's own (E0807 for none,
    or for thousands).  More of them than cores, and a device that stands in for another, are told once, in the log.
    """
    check_device(name)
    if threads is not None:
        if not isinstance(threads, (int, np.integer)) or not 1 <= threads <= MOST_THREADS:
            raise fail("E0807", f"threads must be from 1 to {MOST_THREADS:,}, got {threads!r}")
        from threadpoolctl import threadpool_limits

        if threads > cores():
            log_once(f"{threads} threads are asked for, and there are {Count(cores()):core}: some will wait for others")
        threads = int(threads)  # of NumPy's integers threadpoolctl wants none
        threadpool_limits(threads, user_api="blas")
    if name == "reference" and precision == "float32":
        return None
    try:
        if name == "reference":
            raise PlanError("precision", f"precision {precision} is not to be had on the device reference")
        device = open_device(name, threads, precision)
    except PlanError as failure:
        raise _failed(failure) from None
    if device.note:
        log_once(device.note)
    return device
