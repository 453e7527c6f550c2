"""CUDA through CuPy: the same Plan, op by op, through the same kernels, on a stream of its own.

The only file that names CuPy.  Its double for machines without a GPU is tests/fakecupy.py; a contract test holds every name used
here against the real package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphspec_runtime.arena import ALIGNMENT
from graphspec_runtime.devices.array import ArrayDevice, check_memory
from graphspec_runtime.devices.base import Array, Layout, Seconds
from graphspec_runtime.errors import PlanError
from graphspec_runtime.kernels import KERNELS, Kernel, Maker, Site
from graphspec_runtime.kernels.order import check_top_k
from graphspec_runtime.kernels.pointwise import COMPARISONS, EXTREMES, LOGICAL, UFUNCS

INSTALL = 'pip install "graphspec[gpu-cuda12]" (or gpu-cuda13, to match the driver)'

HERE = "add bitwise_and bitwise_xor copyto cos cumsum dot log logical_not multiply negative right_shift sqrt".split()
"""What the kernels call under NumPy's name and with NumPy's arguments, besides the pointwise tables."""


def probe(ordinal: int = 0) -> Any:
    """The cupy module, once a device has worked; PlanError with data ``cause`` says what is missing and what to do.

    Causes: ``not-installed``, ``no-driver``, ``no-device``, ``no-libraries``.
    """
    try:
        import cupy
    except ImportError as e:
        raise _unavailable("not-installed", f"CuPy is not installed ({e}); {INSTALL}") from e
    try:
        driver = cupy.cuda.runtime.driverGetVersion()
    except Exception as e:
        raise _unavailable("no-driver", f"there is no NVIDIA driver ({e}); install one from nvidia.com/drivers") from e
    if not driver:
        raise _unavailable("no-driver", "there is no NVIDIA driver; install one from nvidia.com/drivers")
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as e:
        raise _unavailable("no-device", f"the driver (CUDA {_version(driver)}) gives no device to CuPy {cupy.__version__}: {e}") from e
    if ordinal >= count:
        raise _unavailable("no-device", f"there is no CUDA device {ordinal}: the driver sees {count}")
    try:  # a kernel compiled by NVRTC and a product by cuBLAS: the two libraries that wheels may lack
        with cupy.cuda.Device(ordinal), cupy.cuda.Stream(non_blocking=True):
            square, result = cupy.zeros((2, 2), np.float32), cupy.zeros((2, 2), np.float32)
            cupy.tanh(square, square)
            cupy.dot(square, square, result)
            result.get()
    except Exception as e:
        raise _unavailable("no-libraries", f"CuPy finds device {ordinal} but cannot compute on it ({e}); {INSTALL}") from e
    return cupy


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _unavailable(cause: str, message: str) -> PlanError:
    return PlanError("device", message, cause=cause)


class ArrayModule:
    """CuPy under the names and argument orders by which the kernels call NumPy."""

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy
        for name in {*HERE, *EXTREMES, *UFUNCS.values(), *COMPARISONS.values(), *LOGICAL.values()}:
            setattr(self, name, getattr(cupy, name))

    def matmul(self, a: Array, b: Array, out: Array) -> None:
        self._cupy.matmul(a, b, out=out)

    def take(self, table: Array, index: Array, axis: int, out: Array, mode: str) -> None:
        self._cupy.take(table, index, axis, out)  # without NumPy's modes: CuPy wraps, so it stays inside too

    def argmax(self, x: Array, axis: int, out: Array) -> None:
        self._cupy.argmax(x, axis, out=out)


def _scatter_add(site: Site) -> Kernel:
    """By atomic additions; the order, and so the last bits, may differ between runs."""
    import cupyx

    zero, copyto, add_at = site.constant(0, site.outputs[0].dtype), site.xp.copyto, cupyx.scatter_add
    accumulate = site.accumulate

    def kernel(index: Array, rows: Array, out: Array) -> None:
        if not accumulate:
            copyto(out, zero)
        if rows.size:
            add_at(out, index, rows)

    return kernel


def _top_k(site: Site) -> Kernel:
    """By a sort of everything: CuPy's keeps the order of equals, and its partition is a sort too."""
    import cupy

    check_top_k(site)
    k, negated = site.outputs[0].shape[-1], site.scratch.take(site.inputs[0].shape, site.inputs[0].dtype)
    negative, copyto = site.xp.negative, site.xp.copyto

    def kernel(x: Array, values: Array, positions: Array) -> None:
        negative(x, negated)
        order = cupy.argsort(negated, axis=-1)[..., :k]
        copyto(values, cupy.take_along_axis(x, order, -1))
        copyto(positions, order, casting="unsafe")

    return kernel if site.outputs[0].size else lambda x, values, positions: None


class CupyDevice(ArrayDevice):
    """One CUDA device.  Work is queued on a non-blocking stream, ``stream``; only copies to the host wait for it."""

    kernels: Mapping[str, Maker] = {**KERNELS, "scatter_add": _scatter_add, "top_k": _top_k}

    def __init__(self, ordinal: int = 0) -> None:
        self._cupy = probe(ordinal)
        self.name = f"cuda:{ordinal}"
        self.xp = ArrayModule(self._cupy)
        self._device = self._cupy.cuda.Device(ordinal)
        with self._device:
            self.stream = self._cupy.cuda.Stream(non_blocking=True)

    def memory(self, size: int) -> Array:
        def make() -> Array:
            with self._device, self.stream:
                return self._cupy.empty(max(size, ALIGNMENT), np.uint8)

        return check_memory(size, self.name, make, (self._cupy.cuda.memory.OutOfMemoryError,))

    def view(self, memory: Array, start: int, dtype: np.dtype[Any], shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
        # unlike NumPy's, CuPy's constructor trusts its arguments
        end = start + dtype.itemsize + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
        if 0 not in shape and not 0 <= start < end <= memory.nbytes:
            raise PlanError("plan", f"a view of {list(shape)} reaches byte {end} of {memory.nbytes}")
        return self._cupy.ndarray(shape, dtype, memory.data + start, strides)

    def zeros(self, shape: Sequence[int], dtype: Any) -> Array:
        with self._device, self.stream:
            return self._cupy.zeros(tuple(shape), dtype)

    def from_host(self, array: Any) -> Array:
        host = np.ascontiguousarray(array).reshape(np.shape(array))
        with self._device, self.stream:
            result = self._cupy.empty(host.shape, host.dtype)
            result.set(host, stream=self.stream)
            self.stream.synchronize()  # the host array may be gone before the copy is
        return result

    def to_host(self, array: Array) -> np.ndarray[Any, Any]:
        with self._device, self.stream:
            return np.asarray(array.get(stream=self.stream))

    def copy(self, destination: Array, source: Any) -> None:
        with self._device, self.stream:
            if np.isscalar(source):
                destination.fill(destination.dtype.type(source))
                return
            if not isinstance(source, self._cupy.ndarray):
                host = np.empty(destination.shape, destination.dtype)
                np.copyto(host, source, casting="same_kind")
                source = self.from_host(host)
            self._cupy.copyto(destination, source)

    def holds(self, array: Any, write: bool) -> bool:
        return isinstance(array, self._cupy.ndarray) and array.flags.c_contiguous and array.device == self._device

    def overlaps(self, a: Array, b: Array) -> bool:
        return bool(a.data.ptr < b.data.ptr + b.nbytes and b.data.ptr < a.data.ptr + a.nbytes)

    def synchronize(self) -> None:
        self.stream.synchronize()

    def program(self, layout: Layout) -> Callable[[], None]:
        with self._device, self.stream:
            return self._on_stream(super().program(layout))

    def timed_program(self, layout: Layout) -> tuple[Callable[[], None], Seconds]:
        with self._device, self.stream:
            run, seconds = super().timed_program(layout)
        return self._on_stream(run), seconds

    def _on_stream(self, run: Callable[[], None]) -> Callable[[], None]:
        def on_stream() -> None:
            with self._device, self.stream:
                run()

        return on_stream
