"""Devices by name."""

from __future__ import annotations

import os

from graphspec_runtime.devices.base import Device, Layout
from graphspec_runtime.devices.numpy import NumpyDevice
from graphspec_runtime.errors import PlanError

__all__ = ["Device", "Layout", "open_device"]


def open_device(name: str = "cpu", threads: int | None = None, precision: str = "float32") -> Device:
    """``cpu``, ``numpy``, ``native`` or ``cuda[:n]``; PlanError (kind ``device``) says what is missing where it cannot be had.

    ``cpu`` is native, or numpy where nothing can be compiled: its ``note`` says why.  $GRAPHSPEC_CPU, ``native`` or ``numpy``, says which
    it is to be.  ``threads`` (native): of its team.  ``precision``: of matrix products, see :meth:`Device.use`.
    """
    device = _opened(name, threads)
    try:
        device.use(precision)
    except PlanError as failure:
        why = f" ({device.note})" if device.note else ""
        raise PlanError(failure.kind, f"{failure.message}{why}") from None
    return device


def _opened(name: str, threads: int | None) -> Device:
    family, _, ordinal = name.partition(":")
    if name == "cpu":
        name = os.environ.get("GRAPHSPEC_CPU") or name
        if name not in ("cpu", "native", "numpy"):
            raise PlanError("device", f"GRAPHSPEC_CPU is `{name}`; it may be native or numpy", cause="unknown")
    if name == "numpy":
        return NumpyDevice()
    if name in ("cpu", "native"):
        from graphspec_runtime.devices.native import NativeDevice  # compiles its kernels when it is opened first

        try:
            return NativeDevice(threads)
        except PlanError as failure:
            if name == "native" or failure.kind != "device":
                raise
            found = NumpyDevice()
            found.note = f"numpy instead of compiled C: {failure.message}"
            return found
    if family == "cuda" and (not ordinal or ordinal.isdigit()):
        from graphspec_runtime.devices.cupy import CupyDevice  # CuPy takes a second to import, and may not be there

        return CupyDevice(int(ordinal or 0))
    raise PlanError("device", f"no device is called `{name}`; there are cpu, numpy, native, cuda and cuda:<number>", cause="unknown")
