"""Devices to run programs on, and graphs by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphspec.check import Run
from graphspec.errors import NOWHERE
from graphspec.graph import Node, Table, connect, gmodule, new_module
from graphspec.ir.core import Program
from graphspec.ir.rewrite import copy_program
from graphspec.nn import registry
from graphspec.passes import optimise
from graphspec.plan import make_plan
from graphspec.program import Typed, infer, leaves
from graphspec_runtime import Executable, open_device


def on_device(name: str) -> Run:
    """A runner that optimises, plans and runs programs on a device; each program is planned once."""
    device = open_device(name)
    planned: dict[int, tuple[Program, Executable]] = {}

    def run(program: Program, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        if id(program) not in planned:
            optimised = copy_program(program)
            optimise(optimised, check=True)
            planned[id(program)] = (program, Executable(make_plan(optimised), device))
        types = {port.name: v.dtype for port, v in zip(program.inputs, program.block.params, strict=True)}
        given = {name: np.array(arguments[name], dtype, copy=None) for name, dtype in types.items()}
        for port in program.outputs:
            if port.updates is not None:  # written over by its new value
                given[port.updates] = given[port.updates].copy()
        return planned[id(program)][1].call(given)

    return run


# -- graphs by hand ----------------------------------------------------------------------------------------------------


def source(*dims: Any, dtype: str | None = None) -> Node:
    """A source, of a declared type if one is given."""
    args = [Table(dims, {"dtype": dtype} if dtype else {})] if dims or dtype else []
    return connect(new_module("Identity", args, NOWHERE), None, NOWHERE)


def use(name: str, args: Any, inputs: Any) -> Node:
    """``nn.name(args...)(inputs)``."""
    assert name in registry
    return connect(new_module(name, list(args), NOWHERE), inputs, NOWHERE)


def declared(node: Node, dims: Any) -> Node:
    """The node with its type declared."""
    return use("Identity", [Table(tuple(dims))], node)


def typed(sources: list[Node], *outputs: Node) -> Typed:
    """The gModule of these, typed."""
    return infer(gmodule(sources, list(outputs), NOWHERE), "float64")


def show(types: Any) -> str:
    """Shapes as text, the leaves of a table one after another."""
    return ", ".join(f"[{', '.join(map(str, t.shape))}]" for t in leaves(types))
