"""Several programs as one, so that a compiler is called once for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphspec.ir.core import Block, Port, Program
from graphspec.ir.rewrite import copy_block

Arrays = Mapping[str, np.ndarray[Any, Any]]


def together(programs: Sequence[Program]) -> Program:
    """One program that does what all do.  Ports of the i-th are called ``i:name``; their size letters are shared."""
    whole = Program(Block(), [], [], [], "together")
    for i, program in enumerate(programs):
        block = copy_block(program.block)
        whole.block.params += block.params
        whole.block.ops += block.ops
        whole.block.results += block.results
        whole.inputs += [Port(f"{i}:{p.name}", p.role) for p in program.inputs]
        whole.outputs += [Port(f"{i}:{p.name}", p.role, p.updates and f"{i}:{p.updates}") for p in program.outputs]
        whole.guards += program.guards
    return whole


def named(parts: Sequence[Arrays]) -> dict[str, np.ndarray[Any, Any]]:
    """Arguments or results of each, by the names in the whole."""
    return {f"{i}:{name}": value for i, part in enumerate(parts) for name, value in part.items()}
