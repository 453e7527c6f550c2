"""Devices by name."""

from __future__ import annotations

from graphspec_runtime.devices.base import Device, Layout
from graphspec_runtime.devices.numpy import NumpyDevice
from graphspec_runtime.errors import PlanError

__all__ = ["Device", "Layout", "open_device"]


def open_device(name: str = "cpu") -> Device:
    """``cpu``, ``numpy``, ``native`` or ``cuda[:n]``; PlanError (kind ``device``) says what is missing where it cannot be had."""
    family, _, ordinal = name.partition(":")
    if family in ("cpu", "numpy") and not ordinal:
        return NumpyDevice()
    if name == "native":
        from graphspec_runtime.devices.native import NativeDevice  # compiles its kernels when it is opened first

        return NativeDevice()
    if family == "cuda" and (not ordinal or ordinal.isdigit()):
        from graphspec_runtime.devices.cupy import CupyDevice  # CuPy takes a second to import, and may not be there

        return CupyDevice(int(ordinal or 0))
    raise PlanError("device", f"no device is called `{name}`; there are cpu, numpy, native, cuda and cuda:<number>", cause="unknown")
