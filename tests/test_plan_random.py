"""Random programs: the plan on numpy against the reference, at several bindings, run after run."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphspec.ir.verify import verify
from graphspec.plan import make_plan
from graphspec.reference import interpret
from graphspec_runtime import Executable, Plan, open_device
from random_programs import Generator, draw_arguments

SIZES = [{"B": 2, "T": 3}, {"B": 1, "T": 1}, {"B": 3, "T": 0}, {"B": 2, "T": 5}]


def agree(wanted: dict[str, np.ndarray], got: dict[str, np.ndarray], tolerance: float = 1e-10) -> None:
    assert wanted.keys() == got.keys()
    for name, value in wanted.items():
        assert got[name].shape == value.shape and got[name].dtype == value.dtype, name
        scale = max(1.0, float(np.abs(value).max())) if value.size else 1.0
        np.testing.assert_allclose(got[name], value, rtol=0, atol=tolerance * scale, err_msg=name)


def run_everywhere(seed: int, sizes: list[dict[str, int]]) -> None:
    program = Generator(seed).program()
    verify(program)
    plan = make_plan(program)
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    executable = Executable(plan, open_device("numpy"))
    for binding in sizes:
        for run in range(2):  # the second run finds the memory as the first one left it
            arguments = draw_arguments(program, binding, seed + run)
            with np.errstate(all="ignore"):
                wanted = interpret(program, arguments)
            kept = {port.name: arguments[port.name].copy() for port in program.inputs}
            got = executable.call(arguments)
            agree(wanted, got)
            donated = {port.updates: port.name for port in program.outputs if port.updates}
            for name, value in arguments.items():
                np.testing.assert_array_equal(value, got[donated[name]] if name in donated else kept[name])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_random_programs_agree_with_the_reference(seed: int) -> None:
    run_everywhere(seed, SIZES[:3])


@pytest.mark.parametrize("seed", range(12))
def test_fixed_programs_agree_at_every_binding(seed: int) -> None:
    run_everywhere(seed, SIZES)
