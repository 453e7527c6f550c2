"""Sums, largest elements and their positions."""

from __future__ import annotations

import math

import numpy as np

from graphspec_runtime.kernels.site import Array, Kernel, Maker, Site, is_contiguous, staged_output


def _reduce_sum(site: Site) -> Kernel:
    (x,), (out,) = site.inputs, site.outputs
    axes = tuple(site.attrs["axes"])
    leading, trailing = (axes == tuple(range(start, start + len(axes))) for start in (0, x.ndim - len(axes)))
    if (leading or trailing) and out.ndim and x.dtype.kind == "f" and is_contiguous(x) and is_contiguous(out):
        # a product with ones: BLAS is three to six times as fast as add.reduce
        split = len(axes) if leading else out.ndim
        rows, columns = math.prod(x.shape[:split]), math.prod(x.shape[split:])
        ones, dot = site.keep(np.ones(rows if leading else columns, x.dtype)), site.xp.dot
        if leading and x.ndim == 2:
            return staged_output(site, lambda x, out: dot(ones, x, out), True)
        if leading:
            return staged_output(site, lambda x, out: dot(ones, x.reshape(rows, columns), out.reshape(columns)), True)
        if x.ndim == 2:
            return staged_output(site, lambda x, out: dot(x, ones, out), True)
        return staged_output(site, lambda x, out: dot(x.reshape(rows, columns), ones, out.reshape(rows)), True)
    reduce, dtype = site.xp.add.reduce, out.dtype
    return staged_output(site, lambda x, out: reduce(x, axes, dtype, out), True)


def _reduce_max(site: Site) -> Kernel:
    (x,), (out,) = site.inputs, site.outputs
    axes = tuple(site.attrs["axes"])
    if not math.prod(x.shape[axis] for axis in axes):  # the largest of nothing is the least value there is
        least = site.constant(_least(out.dtype), out.dtype)
        copyto = site.xp.copyto
        return lambda x, out: copyto(out, least)
    return lambda x, out: x.max(axes, out)


def _least(dtype: np.dtype) -> float:
    if dtype.kind == "f":
        return -math.inf
    return False if dtype.kind == "b" else int(np.iinfo(dtype).min)


def _argmax(site: Site) -> Kernel:
    (out,) = site.outputs
    workspace = site.scratch.take(out.shape, "int64")
    argmax, copyto = site.xp.argmax, site.xp.copyto

    def kernel(x: Array, out: Array) -> None:
        argmax(x, axis=-1, out=workspace)
        copyto(out, workspace, casting="unsafe")

    return kernel


REDUCTIONS: dict[str, Maker] = {"reduce_sum": _reduce_sum, "reduce_max": _reduce_max, "argmax": _argmax}
