"""What machine this is, as far as it decides what a run computes and how fast."""

from __future__ import annotations

import platform
from typing import Any

from graphspec import __version__


def environment() -> dict[str, Any]:
    """What the last bits of a result may depend on: versions, processor, the library of matrix products and its threads."""
    import numpy as np

    return {
        "graphspec": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": f"{platform.system()} {platform.machine()}, {processor()}",
        **blas_in_use(),
    }


def blas_in_use() -> dict[str, Any]:
    """``blas`` (name, version and kernel of the library loaded) and ``threads`` (what it uses)."""
    from threadpoolctl import threadpool_info

    found = [info for info in threadpool_info() if info["user_api"] == "blas"]
    if not found:
        return {"blas": built_with(), "threads": None}
    words = (found[0].get(key) for key in ("internal_api", "version", "architecture"))
    return {"blas": " ".join(str(word) for word in words if word), "threads": found[0]["num_threads"]}


def built_with() -> str:
    """The library of matrix products that NumPy was built with."""
    import numpy as np

    try:
        config: Any = np.show_config(mode="dicts")
        found = config["Build Dependencies"]["blas"]
    except (KeyError, TypeError):
        return "unknown"
    return f"{found.get('name', 'unknown')} {found.get('version', '')}".strip()


def processor() -> str:
    """The processor's name, where the system tells."""
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown processor"
