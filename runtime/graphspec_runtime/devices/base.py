"""What a device is.  Host code holds devices by this contract alone and never asks which one it has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphspec_runtime.errors import PlanError
from graphspec_runtime.plan import Plan, View, evaluate

Array = Any
"""An array of the device."""

Seconds = np.ndarray[tuple[int], np.dtype[np.float64]]

Window = tuple[int, np.dtype[Any], tuple[int, ...], tuple[int, ...]]
"""First byte, dtype, shape and byte strides."""


def no_seconds(plan: Plan) -> Seconds:
    """An element for each instruction's serial number, and one before them."""
    return np.zeros(1 + max((step.serial for step, _ in plan.walk()), default=0))


@dataclass(frozen=True)
class Layout:
    """A plan whose letters are bound and whose buffers have memory.

    ``memory[i]`` is a one-dimensional array in which buffer i begins at byte ``starts[i]``.
    """

    plan: Plan
    sizes: Mapping[str, int]
    memory: Sequence[Array]
    starts: Sequence[int]

    def number(self, expr: Any) -> int:
        return evaluate(expr, self.sizes)

    def window(self, view: View, turns: Mapping[int, int] | None = None) -> Window:
        """Where a view lies, in the given turns of the loops (0 where not given)."""
        dtype = np.dtype(self.plan.buffers[view.buffer].dtype)
        offset = self.number(view.offset) + sum(turns[loop] * self.number(step) for loop, step in view.steps if turns and loop in turns)
        shape = tuple(self.number(n) for n in view.shape)
        if any(n < 0 for n in shape):
            name = self.plan.buffers[view.buffer].name
            raise PlanError("shape", f"a part of `{name}` would have shape {list(shape)} with {dict(self.sizes)}", shape=list(shape))
        strides = tuple(self.number(n) * dtype.itemsize for n in view.strides)
        return self.starts[view.buffer] + offset * dtype.itemsize, dtype, shape, strides


class Device(ABC):
    """Memory, copies, and a way to run a plan."""

    name: str
    language: str = ""
    """The language that plans must come printed in, with kernels fused; none where the device has a kernel for every instruction."""
    note: str = ""
    """Why it is not the device that was asked for first, where it stands in for one."""

    @property
    def timed_language(self) -> str:
        """The language of plans for :meth:`timed_program`."""
        return f"{self.language}, timed" if self.language else ""

    def use(self, precision: str) -> None:
        """From now on products of float32 matrices are done in ``float32`` or ``bf16`` (operands rounded to bf16, sums in float32);
        PlanError (kind ``precision``) where the device cannot."""
        if precision != "float32":
            raise PlanError("precision", f"precision {precision} is not to be had on the device {self.name}")

    @abstractmethod
    def memory(self, size: int) -> Array:
        """``size`` bytes, aligned to 64; PlanError when there are not so many."""

    @abstractmethod
    def view(self, memory: Array, start: int, dtype: np.dtype[Any], shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
        """A window that begins at byte ``start``; strides in bytes."""

    @abstractmethod
    def zeros(self, shape: Sequence[int], dtype: Any) -> Array: ...

    @abstractmethod
    def from_host(self, array: Any) -> Array:
        """A copy on the device."""

    @abstractmethod
    def to_host(self, array: Array) -> np.ndarray[Any, Any]:
        """A copy on the host, when everything queued before is done."""

    @abstractmethod
    def copy(self, destination: Array, source: Any) -> None:
        """Into device memory, from the device or the host; TypeError where the dtype would change in kind."""

    @abstractmethod
    def holds(self, array: Any, write: bool) -> bool:
        """Whether ``array`` is C-contiguous memory of this device (and may be written), so that plans can work on it in place."""

    @abstractmethod
    def overlaps(self, a: Array, b: Array) -> bool:
        """Whether two arrays of the device may share memory."""

    @abstractmethod
    def synchronize(self) -> None: ...

    @abstractmethod
    def program(self, layout: Layout) -> Callable[[], None]:
        """The plan, ready to run over the layout's memory any number of times."""

    @abstractmethod
    def timed_program(self, layout: Layout) -> tuple[Callable[[], None], Seconds]:
        """The same, slower, and an array: each run adds to its element i the seconds of the instruction whose ``serial`` is i, all its
        turns together, and to element 0 those of work that belongs to no instruction."""
