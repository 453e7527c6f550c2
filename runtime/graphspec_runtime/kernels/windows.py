"""Windows of an axis put back in their places."""

from __future__ import annotations

from graphspec_runtime.kernels.site import Array, Kernel, Maker, Site


def _overlap(site: Site) -> Kernel:
    """One addition for each window, or for each place in a window, whichever are fewer."""
    (x,), (out,) = site.inputs, site.outputs
    axis, stride, dilation = site.attrs["axis"], site.attrs["stride"], site.attrs["dilation"]
    length, k = x.shape[axis : axis + 2]
    add, copyto, zero, every = site.xp.add, site.xp.copyto, site.constant(0, out.dtype), (slice(None),)
    by_place = k <= length
    away, step, taken = (dilation, stride, length) if by_place else (stride, dilation, k)
    moves = [
        (every * axis + ((slice(None), i) if by_place else (i,)), (*every * axis, slice(i * away, i * away + (taken - 1) * step + 1, step)))
        for i in range(min(length, k))
    ]

    def kernel(x: Array, out: Array) -> None:
        copyto(out, zero)
        for source, target in moves:
            place = out[target]
            add(place, x[source], place)

    return kernel


WINDOWED: dict[str, Maker] = {"overlap": _overlap}
