"""Every ``nn`` module, one record each, one file for each family.  Importing this package fills the registry."""

from graphspec.graph.record import REGISTRY
from graphspec.nn import attention, container, criterion, linear, lookup, reduce, regularise, scan, shape, table, transfer

registry = REGISTRY

__all__ = [
    "attention", "container", "criterion", "linear", "lookup", "reduce", "registry", "regularise", "scan", "shape", "table", "transfer",
]
