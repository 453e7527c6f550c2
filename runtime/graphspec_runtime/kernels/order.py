"""Along the last axis, in order: the largest elements, running sums."""

from __future__ import annotations

import numpy as np

from graphspec_runtime.errors import PlanError
from graphspec_runtime.kernels.site import Array, Kernel, Maker, Site, is_contiguous, staged_output

SORT_ALL = 2
"""Where more than one in so many is wanted, sorting everything is faster than looking for what to sort."""


def check_top_k(site: Site) -> None:
    """PlanError where more are wanted than there are."""
    n, k = site.inputs[0].shape[-1], site.outputs[0].shape[-1]
    if k > n:
        raise PlanError("shape", f"the {k} largest of {n} are wanted", site.origin)


def _top_k(site: Site) -> Kernel:
    """A partition finds the k-th largest; what is not less is sorted, many times less than everything."""
    check_top_k(site)
    (x,), (values, _) = site.inputs, site.outputs
    n, k = x.shape[-1], values.shape[-1]
    if not values.size:
        return lambda x, values, positions: None
    rows, shape = values.size // k, values.shape
    negated = site.scratch.take(x.shape, x.dtype)
    table, flat = negated.reshape(rows, n), negated.reshape(-1)
    starts = site.keep(np.arange(rows).reshape(rows, 1) * n)

    def sort_all() -> Array:
        return table.argsort(axis=-1, kind="stable")[:, :k] + starts

    lines, ranks = site.keep(np.arange(rows).reshape(rows, 1)), site.keep(np.arange(k))

    def sort_some() -> Array:
        bound = np.partition(table, k - 1, axis=-1)[:, k - 1 : k]
        hits = np.flatnonzero(~(table > bound))  # NaN, the least, among them
        line = hits // n
        hits = hits[np.lexsort((flat[hits], line))]
        return hits[np.searchsorted(line, lines) + ranks]

    find, negative, copyto = sort_all if k * SORT_ALL > n else sort_some, site.xp.negative, site.xp.copyto

    def kernel(x: Array, values: Array, positions: Array) -> None:
        negative(x, negated)
        found = find()
        copyto(values, -flat[found].reshape(shape))
        copyto(positions, (found - starts).reshape(shape), casting="unsafe")

    return kernel


def _cumsum(site: Site) -> Kernel:
    (x,), (out,) = site.inputs, site.outputs
    axis, dtype, cumsum, copyto = x.ndim - 1, out.dtype, site.xp.cumsum, site.xp.copyto
    if not site.attrs["reverse"]:
        return staged_output(site, lambda x, out: cumsum(x, axis, dtype, out), is_contiguous(out))
    mirrored = site.scratch.take(x.shape, dtype)

    def from_the_end(x: Array, out: Array) -> None:
        copyto(mirrored, x[..., ::-1])
        cumsum(mirrored, axis, dtype, mirrored)
        copyto(out, mirrored[..., ::-1])

    return from_the_end


ORDERED: dict[str, Maker] = {"top_k": _top_k, "cumsum": _cumsum}
