"""What a plan does and needs, in numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graphspec.errors import fail
from graphspec_runtime import PlanError
from graphspec_runtime.arena import assign
from graphspec_runtime.plan import Instruction, Loop, Plan, evaluate


@dataclass(frozen=True)
class Summary:
    """How many instructions a plan has (those in a loop counted once) and how many loops, and the bytes of its arena."""

    instructions: int
    loops: int
    arena: int


def summarise(plan: Plan, sizes: Mapping[str, int]) -> Summary:
    """What a plan has, and needs for these sizes; E0702 for sizes that no machine has memory for."""
    try:
        arena = assign(plan, sizes)[1]
    except PlanError as failure:
        raise fail("E0702", failure.message) from None
    return Summary(sum(1 for _ in plan.walk()), _count_loops(plan.code), arena)


def product_flops(plan: Plan, sizes: Mapping[str, int]) -> int:
    """The floating-point operations of all matrix products of one run, two a multiply-add."""
    return sum(calls_and_flops(step, around, sizes)[1] for step, around in plan.walk())


def calls_and_flops(step: Instruction, around: Sequence[Loop], sizes: Mapping[str, int]) -> tuple[int, int]:
    """How often one run does an instruction that stands in these loops, and its matrix products' flops all in all."""
    turns = math.prod(evaluate(loop.trip, sizes) for loop in around)
    if step.kernel != "matmul":
        return turns, 0
    inner = evaluate(step.inputs[0].shape[-1], sizes)
    return turns, turns * 2 * inner * math.prod(evaluate(n, sizes) for n in step.outputs[0].shape)


def _count_loops(steps: tuple[Instruction | Loop, ...]) -> int:
    return sum(1 + _count_loops(step.body) for step in steps if isinstance(step, Loop))
