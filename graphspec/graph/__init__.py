"""The gModule graph: modules, nodes, parameters, nngraph's construction rules, canonical names."""

from graphspec.graph.lookup import (
    about_missing,
    code_of,
    find_record,
    load_installed,
    load_plugin,
    load_remembered,
    plugin_at_fault,
    plugins_used,
)  # fmt: skip
from graphspec.graph.losses import ill_fed
from graphspec.graph.module import Module, new_module
from graphspec.graph.names import name_parameters
from graphspec.graph.node import GModule, Inputs, Node, connect, gathered, gmodule, leading_to, leaves, split
from graphspec.graph.parameter import FlatParameters, InitStep, Parameter, ParameterView, flattened, initial_value, initial_values, views
from graphspec.graph.record import LEFT_OUT, REGISTRY, Argument, Leaf, Make, ParameterSpec, Record, Sample, Table, Walk, register

__all__ = [
    "LEFT_OUT", "REGISTRY", "Argument", "FlatParameters", "GModule", "InitStep", "Inputs", "Leaf", "Make", "Module", "Node", "Parameter",
    "ParameterSpec", "ParameterView", "Record", "Sample", "Table", "Walk", "about_missing", "code_of", "connect", "find_record",
    "flattened", "gathered", "gmodule", "ill_fed", "initial_value", "initial_values", "leading_to", "leaves", "load_installed",
    "load_plugin", "load_remembered", "name_parameters", "new_module", "plugin_at_fault", "plugins_used", "register", "split", "views",
]
