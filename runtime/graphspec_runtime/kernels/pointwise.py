"""Element by element.  Inputs broadcast; the output may be exactly one of the inputs."""

from __future__ import annotations

from functools import partial

from graphspec_runtime.kernels.site import Array, Kernel, Maker, Site

UFUNCS = {
    "add": "add", "sub": "subtract", "mul": "multiply", "div": "divide",
    "exp": "exp", "log": "log", "log1p": "log1p", "sqrt": "sqrt", "abs": "absolute", "sign": "sign", "tanh": "tanh",
}  # fmt: skip
"""Primitives that are one call of the array module."""

EXTREMES = ("maximum", "minimum")
COMPARISONS = {"lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal", "ne": "not_equal"}
LOGICAL = {"and": "logical_and", "or": "logical_or"}


def _ufunc(name: str, site: Site) -> Kernel:
    kernel: Kernel = getattr(site.xp, name)
    return kernel


def _extreme(name: str, site: Site) -> Kernel:
    ufunc = _ufunc(name, site)
    return lambda a, b, out: ufunc(a, b, out=out)  # NumPy deprecates the output as a third argument of these two


def _negate(site: Site) -> Kernel:
    """Times -1: NumPy 2.4's ``negative`` reads other elements where they lie 4 or 8 apart and the output has gaps."""
    multiply, minus = site.xp.multiply, site.constant(-1, site.outputs[0].dtype)
    return lambda x, out: multiply(x, minus, out)


def _compare(site: Site) -> Kernel:
    return _ufunc(COMPARISONS[site.attrs["how"]], site)


def _logical(site: Site) -> Kernel:
    return _ufunc(LOGICAL[site.attrs["how"]], site)


def _sigmoid(site: Site) -> Kernel:
    """1 / (1 + exp(-x)): half a tanh, and a half, would be 0 below -17 in float32, and its logarithm far off long before that."""
    dtype = site.outputs[0].dtype
    minus, one = site.constant(-1, dtype), site.constant(1, dtype)
    multiply, exp, add, divide = site.xp.multiply, site.xp.exp, site.xp.add, site.xp.divide

    def kernel(x: Array, out: Array) -> None:
        multiply(x, minus, out)
        exp(out, out)
        add(out, one, out)
        divide(one, out, out)

    return kernel


def _where(site: Site) -> Kernel:
    copyto = site.xp.copyto
    if not site.aliases(1):

        def kernel(condition: Array, a: Array, b: Array, out: Array) -> None:
            copyto(out, b)
            copyto(out, a, where=condition)

        return kernel
    opposite, logical_not = site.scratch.take(site.inputs[0].shape, "bool"), site.xp.logical_not

    def in_place(condition: Array, a: Array, b: Array, out: Array) -> None:
        logical_not(condition, opposite)
        copyto(out, b, where=opposite)

    return in_place


def _cast(site: Site) -> Kernel:
    copyto = site.xp.copyto
    return lambda x, out: copyto(out, x, casting="unsafe")


def _copy(site: Site) -> Kernel:
    copyto = site.xp.copyto
    return lambda x, out: copyto(out, x)


POINTWISE: dict[str, Maker] = {
    **{name: partial(_ufunc, ufunc) for name, ufunc in UFUNCS.items()},
    **{name: partial(_extreme, name) for name in EXTREMES},
    "neg": _negate,
    "compare": _compare,
    "logical": _logical,
    "sigmoid": _sigmoid,
    "where": _where,
    "cast": _cast,
    "copy": _copy,
}
