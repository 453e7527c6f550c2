"""Runs Plans.  Imports nothing of graphspec: a Plan is all it needs to know about a spec::

    executable = Executable(plan, open_device("numpy"))
    results = executable.run(arguments)
"""

from graphspec_runtime.devices import open_device
from graphspec_runtime.errors import PlanError
from graphspec_runtime.executor import Bound, Executable
from graphspec_runtime.plan import Plan

__all__ = ["Bound", "Executable", "Plan", "PlanError", "open_device"]
