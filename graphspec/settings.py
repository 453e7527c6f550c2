"""Settings of a model that the spec does not have: its numbers, their precision, where indices begin, the device that it runs on."""

from __future__ import annotations

import re
from numbers import Integral

from graphspec.errors import fail
from graphspec.suggest import did_you_mean

DTYPES = ("float32", "float64")
PRECISIONS = ("float32", "bf16")
"""Of matrix products of float32."""
DEVICES = ("cpu", "native", "numpy", "cuda", "reference")
"""The names of devices; ``cuda`` may be followed by which one, as in ``cuda:1``."""

LARGEST_SEED = 2**63 - 1
"""Programs take it in 64 bits."""


def check_settings(dtype: str, precision: str, index_base: int) -> None:
    """E0704 for settings that do not exist."""
    for what, given, known in (("dtype", dtype, DTYPES), ("precision", precision, PRECISIONS)):
        if given not in known:
            named = getattr(given, "__name__", str(given))  # np.float64 has a name
            raise fail("E0704", f"{what} must be one of {', '.join(known)}, got {given!r}", helps=did_you_mean(named, known))
    if precision != "float32" and dtype != "float32":
        raise fail("E0704", f"precision {precision} is of products of float32, not of {dtype}; leave out one of the two")
    if index_base not in (0, 1):
        raise fail("E0704", f"index_base must be 0 or 1, got {index_base!r}")


def check_seed(seed: object, what: str = "seed") -> None:
    """E0807 for what no random numbers are drawn from."""
    if not isinstance(seed, Integral) or not 0 <= int(seed) <= LARGEST_SEED:
        raise fail("E0807", f"{what} must be a whole number from 0 to {LARGEST_SEED}, got {seed!r}")


def check_device(name: object) -> None:
    """E0701 for what names no device; whether a device that there is can be had here is not looked at."""
    if not isinstance(name, str):
        raise fail("E0701", f"a device is known by its name, such as 'cpu'; got {name!r}")
    if name not in DEVICES and not re.fullmatch(r"cuda:\d+", name):
        helps = [*did_you_mean(name, DEVICES), f"there are {', '.join(DEVICES)}; cuda:1 is the second GPU"]
        raise fail("E0701", f"no device is called `{name}`", helps=helps)
