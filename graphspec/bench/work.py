"""The matrix products of a program, counted."""

from __future__ import annotations

import math
from collections.abc import Mapping

from graphspec.ir.core import Block, Program


def product_flops(program: Program, sizes: Mapping[str, int]) -> int:
    """Two for each multiply-add of the program's matrix products; those in a scan once for each of its steps.  Counted as the program
    stands: an optimised one may do fewer."""

    def count(block: Block, turns: int) -> int:
        total = 0
        for op in block.ops:
            if op.name == "matmul":
                inner = op.inputs[0].shape[-1].evaluate(sizes)
                total += turns * 2 * inner * math.prod(n.evaluate(sizes) for n in op.output.shape)
            for body in op.blocks:
                total += count(body, turns * (op.attrs["trip"].evaluate(sizes) if op.name == "scan" else 1))
        return total

    return count(program.block, 1)
