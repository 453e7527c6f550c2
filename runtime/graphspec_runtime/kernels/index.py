"""Kernels that read or write by position or index, and the check that makes them safe.

Indices count from 0 here and have been checked; ``mode="clip"`` costs less than NumPy's own check and cannot leave the array.
"""

from __future__ import annotations

import math

import numpy as np

from graphspec_runtime.errors import PlanError
from graphspec_runtime.kernels.site import Array, Kernel, Maker, Site, is_contiguous, staged_input, staged_output
from graphspec_runtime.plan import evaluate


def _iota(site: Site) -> Kernel:
    (out,) = site.outputs
    values, copyto = site.keep(np.arange(out.shape[0], dtype=out.dtype)), site.xp.copyto
    return lambda out: copyto(out, values)


def _shift(site: Site) -> Kernel:
    copyto = site.xp.copyto
    if not len(site.inputs[1]):
        return lambda init, stack, out: None
    if site.attrs["reverse"]:

        def from_the_end(init: Array, stack: Array, out: Array) -> None:
            copyto(out[:-1], stack[1:])
            copyto(out[-1:], init)

        return from_the_end

    def from_the_start(init: Array, stack: Array, out: Array) -> None:
        copyto(out[1:], stack[:-1])
        copyto(out[:1], init)

    return from_the_start


def _gather(site: Site) -> Kernel:
    (out,) = site.outputs
    table_of, _ = staged_input(site, 0)
    index_of, _ = staged_input(site, 1, "int64")
    take = site.xp.take

    def kernel(table: Array, index: Array, out: Array) -> None:
        take(table_of(table), index_of(index), 0, out, "clip")

    return staged_output(site, kernel, is_contiguous(out))


def _scatter_add(site: Site) -> Kernel:
    """Rows sorted by index, then each run of equal indices summed by BLAS: many times faster than adding row by row, in a fixed order."""
    xp, (index, _), (out,) = site.xp, site.inputs, site.outputs
    count, height, width = index.size, out.shape[0], math.prod(out.shape[1:])
    zero, copyto, take, dot, add = site.constant(0, out.dtype), xp.copyto, xp.take, xp.dot, xp.add
    accumulate = site.accumulate
    index_of, _ = staged_input(site, 0, "int64")
    rows_of, _ = staged_input(site, 1)
    sorted_rows, one_sum = site.scratch.take((count, width), out.dtype), site.scratch.take((width,), out.dtype)
    ones = site.keep(np.ones(count, out.dtype))

    def kernel(index: Array, rows: Array, out: Array) -> None:
        if not accumulate:
            copyto(out, zero)
        flat = index_of(index).reshape(count)
        order = flat.argsort(kind="stable")
        flat = flat[order]
        take(rows_of(rows).reshape(count, width), order, 0, sorted_rows, "clip")
        ends = (np.flatnonzero(flat[1:] != flat[:-1]) + 1).tolist()
        starts = [0, *ends]
        table = out.reshape(height, width)
        for row, start, end in zip(flat[starts].tolist(), starts, [*ends, count], strict=True):
            if accumulate:
                dot(ones[start:end], sorted_rows[start:end], one_sum)
                add(table[row], one_sum, table[row])
            else:
                dot(ones[start:end], sorted_rows[start:end], table[row])

    if not (count and width and height):
        return (lambda index, rows, out: None) if accumulate else (lambda index, rows, out: copyto(out, zero))
    if is_contiguous(out):
        return kernel
    workspace = site.scratch.take(out.shape, out.dtype)

    def through_workspace(index: Array, rows: Array, out: Array) -> None:
        if accumulate:
            copyto(workspace, out)
        kernel(index, rows, workspace)
        copyto(out, workspace)

    return through_workspace


def _pick(site: Site) -> Kernel:
    (x, index), (out,) = site.inputs, site.outputs
    x_of, _ = staged_input(site, 0)
    places_of = _flat_places(site, index, x.shape[-1])
    take = site.xp.take

    def kernel(x: Array, index: Array, out: Array) -> None:
        take(x_of(x).reshape(-1), places_of(index), 0, out, "clip")

    return staged_output(site, kernel, is_contiguous(out))


def _place(site: Site) -> Kernel:
    (index, _), (out,) = site.inputs, site.outputs
    x_of, _ = staged_input(site, 1)
    places_of = _flat_places(site, index, out.shape[-1])
    zero, copyto = site.constant(0, out.dtype), site.xp.copyto

    def kernel(index: Array, x: Array, out: Array) -> None:
        copyto(out, zero)
        out.reshape(-1)[places_of(index).reshape(-1)] = x_of(x).reshape(-1)

    return staged_output(site, kernel, is_contiguous(out))


def _flat_places(site: Site, index: Array, width: int) -> Kernel:
    """``places_of(index)``: positions in the flattened ``[*lead, width]`` array, through workspace."""
    starts = site.keep(np.arange(index.size, dtype="int64").reshape(index.shape) * width)
    places = site.scratch.take(index.shape, "int64")
    add = site.xp.add

    def places_of(index: Array) -> Array:
        add(starts, index, places)
        return places

    return places_of


def _check_index(site: Site) -> Kernel:
    (index,) = site.inputs
    low = int(site.attrs["base"])
    high = low + evaluate(site.attrs["size"], site.sizes) - 1
    if not index.size:
        return lambda index: None

    def kernel(index: Array) -> None:
        if int(index.min()) < low or int(index.max()) > high:
            host = site.device.to_host(index)
            position = [int(n) for n in np.argwhere((host < low) | (host > high))[0]]
            raise out_of_range(int(host[tuple(position)]), position, low, high, site.argument, site.origin)

    return kernel


def out_of_range(value: int, position: list[int], low: int, high: int, argument: str, origin: str) -> PlanError:
    """The error for an index that is not in ``low .. high``."""
    where = f" of `{argument}`" if argument else ""
    place = f" at position {position} (from 0)" if position else ""
    return PlanError(
        "index", f"index {value}{where}{place} is outside {low} .. {high}",
        origin, value=value, position=position, low=low, high=high, argument=argument,
    )  # fmt: skip


INDEXING: dict[str, Maker] = {
    "iota": _iota,
    "shift": _shift,
    "gather": _gather,
    "scatter_add": _scatter_add,
    "pick": _pick,
    "place": _place,
    "check_index": _check_index,
}
