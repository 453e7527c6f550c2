"""What a plan does and needs, in numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from graphspec.errors import fail
from graphspec_runtime import PlanError
from graphspec_runtime.arena import assign
from graphspec_runtime.plan import Instruction, Loop, Plan, evaluate


@dataclass(frozen=True)
class Summary:
    """``kernels`` counts the instructions of the plan by kernel (those in a loop once).  With sizes: ``calls`` made by one run, turns
    of loops counted, ``arena`` in bytes, and ``flops`` of the matrix products (two a multiply-add)."""

    kernels: Mapping[str, int]
    loops: int
    calls: int | None = None
    arena: int | None = None
    flops: int | None = None
    instructions: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "instructions", sum(self.kernels.values()))


def summarise(plan: Plan, sizes: Mapping[str, int] | None = None) -> Summary:
    """Count what a plan does; E0702 for sizes that no machine has memory for."""
    kernels = Counter(step.kernel for step, _ in plan.walk())
    loops = _count_loops(plan.code)
    if sizes is None:
        return Summary(kernels, loops)
    calls = sum(calls_and_flops(step, around, sizes)[0] for step, around in plan.walk())
    try:
        return Summary(kernels, loops, calls, assign(plan, sizes)[1], product_flops(plan, sizes))
    except PlanError as failure:
        raise fail("E0702", failure.message) from None


def product_flops(plan: Plan, sizes: Mapping[str, int]) -> int:
    """Of all matrix products of one run, two a multiply-add."""
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
