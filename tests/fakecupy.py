"""A double of the CuPy names that devices/cupy.py uses, over NumPy memory.

It is stricter than a GPU where that finds mistakes: work outside a non-default stream, host arrays or bare Python numbers among device
operands, and names or arguments CuPy does not have are errors; new memory is filled with NaN patterns.
"""

from __future__ import annotations

import sys
import types
from typing import Any

import numpy as np

__version__ = "0-double"
STREAMS: list[Stream] = []
DEVICES = 1


class Stream:
    def __init__(self, null: bool = False, non_blocking: bool = False) -> None:
        assert non_blocking, "work belongs on a non-blocking stream"

    def __enter__(self) -> Stream:
        STREAMS.append(self)
        return self

    def __exit__(self, *error: object) -> None:
        STREAMS.pop()

    def synchronize(self) -> None:
        pass


class Device:
    def __init__(self, id: int = 0) -> None:
        self.id = id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and other.id == self.id

    def __hash__(self) -> int:
        return self.id

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *error: object) -> None:
        pass


class Pointer:
    """cupy.cuda.MemoryPointer: an address to which bytes can be added."""

    def __init__(self, memory: np.ndarray[Any, Any], start: int = 0) -> None:
        self.memory, self.start = memory, start

    @property
    def ptr(self) -> int:
        return int(self.memory.ctypes.data) + self.start

    def __add__(self, n: int) -> Pointer:
        return Pointer(self.memory, self.start + n)


def _queued() -> None:
    assert STREAMS, "device work outside a stream"


class ndarray:
    def __init__(self, shape: Any, dtype: Any = float, memptr: Pointer | None = None, strides: Any = None, order: str = "C") -> None:
        if memptr is None:
            memptr = Pointer(np.full(max(1, int(np.prod(shape)) * np.dtype(dtype).itemsize), 0xFF, np.uint8))
        self.data, self.device = memptr, Device()
        if 0 in shape:
            self.a: np.ndarray[Any, Any] = np.empty(shape, dtype)
        else:
            self.a = np.ndarray(shape, dtype, memptr.memory, memptr.start, strides)

    def _like(self, a: np.ndarray[Any, Any]) -> ndarray:
        new = object.__new__(ndarray)
        new.a, new.device = a, self.device
        base = self.data.memory
        new.data = Pointer(base, a.__array_interface__["data"][0] - base.__array_interface__["data"][0])
        return new

    shape = property(lambda self: self.a.shape)
    strides = property(lambda self: self.a.strides)
    ndim = property(lambda self: self.a.ndim)
    size = property(lambda self: self.a.size)
    nbytes = property(lambda self: self.a.nbytes)
    itemsize = property(lambda self: self.a.itemsize)
    dtype = property(lambda self: self.a.dtype)
    T = property(lambda self: self._like(self.a.T))

    @property
    def flags(self) -> Any:
        return types.SimpleNamespace(c_contiguous=self.a.flags.c_contiguous, f_contiguous=self.a.flags.f_contiguous)

    def __len__(self) -> int:
        return len(self.a)

    def __int__(self) -> int:
        return int(self.get())

    def __array__(self, *args: Any, **more: Any) -> Any:
        raise TypeError("implicit conversion to a NumPy array is not allowed; use .get()")

    def __getitem__(self, key: Any) -> ndarray:
        return self._like(self.a[key])

    def __setitem__(self, key: Any, value: Any) -> None:
        _queued()
        self.a[_host(key)] = _host(value)

    def reshape(self, *shape: Any) -> ndarray:
        return self._like(self.a.reshape(*shape))

    def transpose(self, axes: Any) -> ndarray:
        return self._like(self.a.transpose(axes))

    def get(self, stream: Stream | None = None) -> np.ndarray[Any, Any]:
        _queued()
        return self.a.copy()

    def set(self, host: np.ndarray[Any, Any], stream: Stream | None = None) -> None:
        _queued()
        assert isinstance(host, np.ndarray) and host.dtype == self.dtype and host.shape == self.shape
        self.a[...] = host

    def fill(self, value: np.generic) -> None:
        _queued()
        assert isinstance(value, np.generic), "typed scalars only"
        self.a.fill(value)

    def min(self, axis: Any = None, out: ndarray | None = None) -> Any:
        return _reduced(self, self.a.min(axis), out)

    def max(self, axis: Any = None, out: ndarray | None = None) -> Any:
        return _reduced(self, self.a.max(axis), out)


def _reduced(x: ndarray, value: Any, out: ndarray | None) -> ndarray:
    _queued()
    if out is None:
        return x._like(np.asarray(value))
    out.a[...] = value
    return out


def _host(x: Any) -> Any:
    """A device array's memory; what CuPy would refuse among operands is refused."""
    if isinstance(x, tuple):
        return tuple(map(_host, x))
    if isinstance(x, ndarray):
        return x.a
    assert isinstance(x, (np.generic, slice, type(Ellipsis))), f"{type(x).__name__} among device operands"
    return x


class ufunc:
    def __init__(self, name: str) -> None:
        self.function = getattr(np, name)

    def __call__(self, *args: Any, out: ndarray | None = None) -> ndarray:
        _queued()
        function = self.function
        inputs = args[: function.nin]
        target = out if out is not None else args[function.nin]
        assert isinstance(target, ndarray) and any(isinstance(x, ndarray) for x in inputs)
        with np.errstate(all="ignore"):
            function(*map(_host, inputs), out=target.a)
        return target

    def reduce(self, array: ndarray, axis: Any = 0, dtype: Any = None, out: ndarray | None = None) -> ndarray:
        assert self.function is np.add, "CuPy reduces by add and multiply only"
        return _reduced(array, self.function.reduce(array.a, axis, dtype), out)


NAMES = (
    "add subtract multiply divide maximum minimum negative exp log log1p sqrt absolute sign tanh cos less less_equal greater greater_equal"
    " equal not_equal logical_and logical_or logical_not bitwise_and bitwise_xor right_shift"
).split()
for _name in NAMES:
    globals()[_name] = ufunc(_name)


def empty(shape: Any, dtype: Any = float) -> ndarray:
    _queued()
    return ndarray(shape if isinstance(shape, tuple) else (shape,), dtype)


def zeros(shape: Any, dtype: Any = float) -> ndarray:
    result = empty(shape, dtype)
    result.a[...] = 0
    return result


def copyto(dst: ndarray, src: Any, casting: str = "same_kind", where: ndarray | None = None) -> None:
    _queued()
    with np.errstate(all="ignore"):
        np.copyto(dst.a, _host(src), casting=casting, where=True if where is None else where.a)  # type: ignore[arg-type]


def dot(a: ndarray, b: ndarray, out: ndarray) -> ndarray:
    _queued()
    assert out.a.flags.c_contiguous, "cupy.dot wants a C-contiguous output"
    np.dot(a.a, b.a, out.a)
    return out


def matmul(a: ndarray, b: ndarray, *, out: ndarray) -> ndarray:
    _queued()
    np.matmul(a.a, b.a, out.a)
    return out


def take(a: ndarray, indices: ndarray, axis: int | None = None, out: ndarray | None = None) -> ndarray:
    _queued()
    assert out is not None and out.a.flags.c_contiguous
    np.take(a.a, indices.a, axis, out.a, "wrap")
    return out


def argmax(a: ndarray, axis: int | None = None, dtype: Any = None, out: ndarray | None = None) -> ndarray:
    return _reduced(a, np.argmax(a.a, axis), out)


def cumsum(a: ndarray, axis: int | None = None, dtype: Any = None, out: ndarray | None = None) -> ndarray:
    _queued()
    assert out is not None and out.a.flags.c_contiguous
    np.cumsum(a.a, axis, dtype, out.a)
    return out


def _new(a: np.ndarray[Any, Any]) -> ndarray:
    result = empty(a.shape, a.dtype)
    result.a[...] = a
    return result


def argsort(a: ndarray, axis: int = -1) -> ndarray:
    return _new(np.argsort(a.a, axis, "stable"))


def take_along_axis(a: ndarray, indices: ndarray, axis: int) -> ndarray:
    return _new(np.take_along_axis(a.a, indices.a, axis))


class OutOfMemoryError(MemoryError):
    pass


runtime = types.SimpleNamespace(driverGetVersion=lambda: 13000, getDeviceCount=lambda: DEVICES)
cuda = types.SimpleNamespace(Stream=Stream, Device=Device, runtime=runtime, memory=types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError))


def scatter_add(a: ndarray, slices: ndarray, value: ndarray) -> None:
    """cupyx.scatter_add."""
    _queued()
    np.add.at(a.a, slices.a, value.a)


def install(monkeypatch: Any) -> None:
    """Put the double where ``import cupy`` and ``import cupyx`` look."""
    here = sys.modules[__name__]
    monkeypatch.setitem(sys.modules, "cupy", here)
    monkeypatch.setitem(sys.modules, "cupyx", types.SimpleNamespace(scatter_add=scatter_add))
