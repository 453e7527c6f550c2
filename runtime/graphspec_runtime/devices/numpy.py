"""The device that is always there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphspec_runtime.arena import ALIGNMENT
from graphspec_runtime.devices.array import ArrayDevice, check_memory
from graphspec_runtime.devices.base import Array, Layout, Seconds


class NumpyDevice(ArrayDevice):
    """Host memory and NumPy's ufuncs and BLAS, on the calling thread."""

    name = "numpy"
    xp = np

    def memory(self, size: int) -> Array:
        raw = check_memory(size, "this machine", lambda: np.empty(size + ALIGNMENT, np.uint8), (MemoryError, ValueError))
        start = -raw.ctypes.data % ALIGNMENT
        return raw[start : start + size]

    def view(self, memory: Array, start: int, dtype: np.dtype[Any], shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
        if 0 in shape:
            return np.empty(shape, dtype)
        return np.ndarray(shape, dtype, memory, start, strides)

    def zeros(self, shape: Sequence[int], dtype: Any) -> Array:
        return np.zeros(shape, dtype)

    def from_host(self, array: Any) -> Array:
        return np.array(array)

    def to_host(self, array: Array) -> np.ndarray[Any, Any]:
        return np.array(array)

    def copy(self, destination: Array, source: Any) -> None:
        np.copyto(destination, source, casting="same_kind")

    def holds(self, array: Any, write: bool) -> bool:
        return isinstance(array, np.ndarray) and array.flags.c_contiguous and (array.flags.writeable or not write)

    def overlaps(self, a: Array, b: Array) -> bool:
        return bool(np.may_share_memory(a, b))

    def synchronize(self) -> None:
        pass

    def program(self, layout: Layout) -> Callable[[], None]:
        return _quiet(super().program(layout))

    def timed_program(self, layout: Layout) -> tuple[Callable[[], None], Seconds]:
        run, seconds = super().timed_program(layout)
        return _quiet(run), seconds


def _quiet(run: Callable[[], None]) -> Callable[[], None]:
    """Infinities and NaNs are values here, as on every other device."""

    def quiet() -> None:
        with np.errstate(all="ignore"):
            run()

    return quiet
