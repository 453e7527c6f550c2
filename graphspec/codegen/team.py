"""How a team does a loop: each thread some rows of everything, or some columns of products by packed matrices and some rows of the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphspec_runtime.plan import Instruction


@dataclass(frozen=True)
class Packed:
    """A matrix that is packed before a loop: its name there, the type of what is packed, and how many bytes it takes."""

    name: str
    type: str
    bytes: str


def meetings(steps: Sequence[tuple[Instruction, bool]]) -> set[int]:
    """Before which instructions of a turn threads meet, or at its end: each does columns of what is marked, and rows of the rest."""
    found: set[int] = set()
    apart: list[Instruction] = []  # done by columns since they met
    for i, (step, by_columns) in enumerate(steps):
        if by_columns != bool(apart) or any(_touch(step, other) for other in apart):
            found.add(i)
            apart = []
        apart += [step] * by_columns
    if apart and 0 not in found:
        found.add(len(steps))
    return found


def _touch(step: Instruction, other: Instruction) -> bool:
    """Whether one writes to a buffer that the other has to do with."""
    writes, others = ({v.buffer for v in each.outputs} for each in (step, other))
    return bool(writes & {v.buffer for v in (*other.inputs, *other.outputs)} or others & {v.buffer for v in step.inputs})


def row_by_row(step: Instruction) -> bool:
    """Whether an instruction is the product of two matrices, and the rows of the left one and of the result are without gaps, as products
    with a packed matrix take them."""
    matrices = step.kernel == "matmul" and len(step.outputs[0].shape) == 2
    return matrices and step.inputs[0].strides[1] == 1 and step.outputs[0].strides[1] == 1
