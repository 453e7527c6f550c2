"""Runs Plans.  Imports nothing of graphspec: a Plan is all it needs to know about a spec::

    executable = Executable(plan, open_device("numpy"))
    results = executable.run(arguments)

The names here are loaded when they are first used: what needs no arrays (the cache, a device's absence) need not load NumPy.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from graphspec_runtime.devices import open_device
    from graphspec_runtime.errors import PlanError
    from graphspec_runtime.executor import Bound, Executable
    from graphspec_runtime.plan import Plan

_HOMES = {
    "open_device": "graphspec_runtime.devices", "PlanError": "graphspec_runtime.errors", "Bound": "graphspec_runtime.executor",
    "Executable": "graphspec_runtime.executor", "Plan": "graphspec_runtime.plan",
}  # fmt: skip

__all__ = ["Bound", "Executable", "Plan", "PlanError", "open_device"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'graphspec_runtime' has no attribute {name!r}")
