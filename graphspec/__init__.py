"""graphspec: Torch nngraph code as specs, compiled with its gradients into Plans.

The names here are loaded when they are first used, so that ``import graphspec`` stays cheap.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # type checkers know the name; typing itself would make the first import twice as long
if TYPE_CHECKING:
    from typing import Any

    from graphspec import weights
    from graphspec.api import Model, compile, load
    from graphspec.errors import Diagnostic, SpecError
    from graphspec.training.experiment import Experiment, experiment

__version__ = "0.1.0"

_HOMES = {
    "Model": "graphspec.api", "compile": "graphspec.api", "load": "graphspec.api",
    "Experiment": "graphspec.training.experiment", "experiment": "graphspec.training.experiment",
    "SpecError": "graphspec.errors", "Diagnostic": "graphspec.errors",
}  # fmt: skip

__all__ = ["Diagnostic", "Experiment", "Model", "SpecError", "__version__", "compile", "experiment", "load", "weights"]


def __getattr__(name: str) -> Any:
    if name == "weights":
        return import_module("graphspec.weights")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'graphspec' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
