"""Matrix products."""

from __future__ import annotations

from graphspec_runtime.kernels.site import Array, Kernel, Maker, Site, is_contiguous, staged_output


def _matmul(site: Site) -> Kernel:
    (a, b), (out,) = site.inputs, site.outputs
    if out.ndim > 2 and a.shape[-1] == 1:  # a column times a row: a BLAS call for each pair costs several times as much
        return staged_output(site, site.xp.multiply, True)
    kernel = _product(site)
    if a.dtype.kind != "f" or not (a.size and b.size):
        return staged_output(site, kernel, True)
    # An operand whose rows and columns both have a stride would be multiplied without BLAS, or copied at every call.
    left, right = (None if fits_blas(x) else site.scratch.take(x.shape, x.dtype) for x in (a, b))
    if left is not None or right is not None:
        kernel = _staging(site, kernel, left, right)
    return staged_output(site, kernel, fits_blas(out))


def _product(site: Site) -> Kernel:
    # dot has half of matmul's overhead, but wants two axes and a contiguous output, and copies operands that are parts of wider matrices
    (out,) = site.outputs
    kernel: Kernel = site.xp.matmul
    if out.ndim > 2 or any(not (is_contiguous(x) or is_contiguous(x.T)) for x in site.inputs):
        return kernel
    dot: Kernel = site.xp.dot
    if is_contiguous(out):
        return dot
    if is_contiguous(out.T):
        return lambda a, b, out: dot(b.T, a.T, out.T)
    return kernel


def _staging(site: Site, kernel: Kernel, left: Array | None, right: Array | None) -> Kernel:
    copyto = site.xp.copyto

    def staged(a: Array, b: Array, out: Array) -> None:
        if left is not None:
            copyto(left, a)
            a = left
        if right is not None:
            copyto(right, b)
            b = right
        kernel(a, b, out)

    return staged


def fits_blas(x: Array) -> bool:
    """Whether the last two axes are a matrix with unit stride along rows or columns, without overlap."""
    (rows, columns), (down, across) = x.shape[-2:], (s // x.itemsize for s in x.strides[-2:])
    return bool((across == 1 and down >= columns) or (down == 1 and across >= rows))


PRODUCTS: dict[str, Maker] = {"matmul": _matmul}
