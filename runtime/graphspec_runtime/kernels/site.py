"""What a kernel is told about the place it is made for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from graphspec_runtime.plan import Instruction

if TYPE_CHECKING:
    from graphspec_runtime.devices.base import Device

Array = Any
"""An array of the device's module: numpy.ndarray or cupy.ndarray."""

Kernel = Callable[..., Any]
"""Called once per execution as ``kernel(*inputs, *outputs)``; writes the outputs, returns nothing of use."""


class Scratch:
    """Workspace that all kernels of one binding share: they run one after another, so each may use it whole."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._memory: Array = None
        self._size = 0
        self._used = 0

    def clear(self) -> None:
        """The next kernel starts from the beginning."""
        self._used = 0

    def take(self, shape: Sequence[int], dtype: Any) -> Array:
        start, count = self._used, math.prod(shape) * np.dtype(dtype).itemsize
        self._used = start + -(-count // 64) * 64
        if self._memory is None or self._used > self._size:  # kernels made earlier keep the smaller memory they were given
            self._size = self._used + self._used // 4
            self._memory = self._device.memory(self._size)
        return self._device.view(self._memory, start, np.dtype(dtype), tuple(shape), row_major(shape, np.dtype(dtype).itemsize))

    @property
    def size(self) -> int:
        return self._size


def row_major(shape: Sequence[int], itemsize: int) -> tuple[int, ...]:
    """Byte strides of a contiguous array."""
    strides, step = [], itemsize
    for n in reversed(shape):
        strides.append(step)
        step *= n
    return tuple(reversed(strides))


@dataclass(frozen=True)
class Site:
    """One instruction in one binding.  ``inputs`` and ``outputs`` are arrays of the first turn: shapes, dtypes and strides hold
    for every turn, addresses do not."""

    device: Device
    xp: Any
    instruction: Instruction
    inputs: Sequence[Array]
    outputs: Sequence[Array]
    sizes: Mapping[str, int]
    origin: str
    argument: str
    scratch: Scratch

    @property
    def attrs(self) -> Mapping[str, Any]:
        return self.instruction.attrs

    @property
    def accumulate(self) -> bool:
        return bool(self.instruction.attrs.get("accumulate"))

    def aliases(self, index: int) -> bool:
        """Whether the output lies exactly on input ``index``."""
        return self.instruction.inputs[index] == self.instruction.outputs[0]

    def keep(self, array: Any) -> Array:
        """A host array that the kernel reads at every call, on the device."""
        return self.device.from_host(np.asarray(array))

    def constant(self, value: float, dtype: Any) -> Array:
        return self.keep(np.full((), value, dtype))


Maker = Callable[[Site], Kernel]


def is_contiguous(array: Array) -> bool:
    return bool(array.flags.c_contiguous)


def staged_input(site: Site, index: int, dtype: Any = None) -> tuple[Callable[[Array], Array], Array]:
    """``(get, example)``: ``get(x)`` is input ``index`` as a C-contiguous array of ``dtype``, through workspace if it must."""
    example = site.inputs[index]
    wanted = np.dtype(dtype or example.dtype)
    if is_contiguous(example) and example.dtype == wanted:
        return (lambda x: x), example
    workspace, copyto = site.scratch.take(example.shape, wanted), site.xp.copyto

    def get(x: Array) -> Array:
        copyto(workspace, x)
        return workspace

    return get, workspace


def workspace_like(site: Site, x: Array) -> Array:
    """Contiguous workspace of x's shape, its axes in the order in which they lie in x's memory."""
    order = sorted(range(x.ndim), key=lambda axis: -x.strides[axis])
    return site.scratch.take([x.shape[axis] for axis in order], x.dtype).transpose([order.index(i) for i in range(x.ndim)])


def staged_output(site: Site, kernel: Kernel, usable: bool) -> Kernel:
    """``kernel`` made to write a workspace that is then copied, or added, to the output, where it cannot write the output itself."""
    if usable and not site.accumulate:
        return kernel
    workspace = workspace_like(site, site.outputs[0])
    if site.accumulate:
        add = site.xp.add

        def accumulating(*arrays: Array) -> None:
            kernel(*arrays[:-1], workspace)
            add(arrays[-1], workspace, arrays[-1])

        return accumulating
    copyto = site.xp.copyto

    def copying(*arrays: Array) -> None:
        kernel(*arrays[:-1], workspace)
        copyto(arrays[-1], workspace)

    return copying
