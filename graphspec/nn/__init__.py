"""Every ``nn`` module, one record each, one file for each family.  Importing this package fills the registry."""

from graphspec.graph.record import REGISTRY
from graphspec.nn import linear, scan

registry = REGISTRY

__all__ = ["linear", "registry", "scan"]
