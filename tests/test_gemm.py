"""Products of matrices in C, of all forms: of few rows, few columns, short and long sums, however operands lie."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from compiled import NEEDS_COMPILER
from graphspec_runtime import open_device
from graphspec_runtime.devices import native

pytestmark = NEEDS_COMPILER

Array = np.ndarray[Any, Any]

SIDES = (1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 65)
DEPTHS = (1, 3, 4, 5, 16, 70, 513, 1030)
LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "rows in order": np.ascontiguousarray,
    "columns in order": np.asfortranarray,
    "neither": lambda x: np.repeat(np.repeat(x, 2, 0), 3, 1)[::2, ::3],
}


def integers(*values: int) -> list[ctypes.c_int64]:
    return [ctypes.c_int64(value) for value in values]


def strides(x: Array) -> list[int]:
    """In elements."""
    return [s // x.itemsize for s in x.strides]


class Kernels:
    def __init__(self, dtype: str) -> None:
        device = open_device("native", 1)
        assert isinstance(device, native.NativeDevice)
        self.mark = {"float32": "f32", "float64": "f64"}[dtype]
        self.team, self.library = device.library, native.kernels(device.compiler, native.KERNELS.index(f"_{self.mark}"))()

    def multiply(self, a: Array, b: Array, c: Array, add: int, rows: Sequence[slice]) -> None:
        """c = a b, or c + a b, some rows after the other."""
        (m, k), n = a.shape, b.shape[1]
        scratch = getattr(self.library, f"gs_scratch_{self.mark}")
        scratch.restype = ctypes.c_int64
        self.team.gs_prepare(ctypes.c_int64(max(scratch(*integers(m, n, k, *strides(a), *strides(b), *strides(c))), 1)))
        for some in rows:
            left, to = a[some], c[some]
            places = [(ctypes.c_void_p(x.ctypes.data), *integers(*strides(whole))) for x, whole in ((left, a), (b, b), (to, c))]
            flat = itertools.chain.from_iterable(places)
            getattr(self.library, f"gs_gemm_{self.mark}")(*integers(len(left), n, k), *flat, ctypes.c_int(add), ctypes.c_int64(m))


@pytest.fixture(scope="module", params=["float32", "float64"])
def kernels(request: pytest.FixtureRequest) -> tuple[str, Kernels]:
    return request.param, Kernels(request.param)


@pytest.mark.parametrize("right", LAYOUTS)
@pytest.mark.parametrize("left", LAYOUTS)
def test_products_of_all_forms(kernels: tuple[str, Kernels], left: str, right: str) -> None:
    """As NumPy computes them in float64, at once and in two parts of the rows."""
    dtype, found = kernels
    rng = np.random.default_rng(0)
    for m, n, k in itertools.product(SIDES, SIDES, DEPTHS):
        a, b = (LAYOUTS[how](rng.normal(size=shape).astype(dtype)) for how, shape in ((left, (m, k)), (right, (k, n))))
        start = rng.normal(size=(m, n)).astype(dtype)
        add, half = (m + n + k) % 2, (m + 1) // 2
        wanted = a.astype("float64") @ b.astype("float64") + add * start
        for parts in ([slice(None)], [slice(0, half), slice(half, m)]):
            got = start.copy()
            found.multiply(a, b, got, add, parts)
            close = 4 * float(np.finfo(dtype).eps) * (k + 16)
            np.testing.assert_allclose(got, wanted, rtol=0, atol=close, err_msg=f"{m, n, k, add}, {parts}")
