"""Where the time goes: what devices tell of it, and how ``graphspec profile`` shows it."""

from __future__ import annotations

import time

import numpy as np
import pytest

from graphspec.engine import Engine
from graphspec_runtime import PlanError, open_device
from graphspec_runtime.devices import Device
from graphspec_runtime.devices.base import no_seconds
from test_passes import PROGRAMS, draw


def device_or_skip(name: str) -> Device:
    try:
        return open_device(name)
    except PlanError as failure:
        pytest.skip(failure.message)


@pytest.mark.parametrize("name", ["numpy", "native"])
def test_a_device_tells_what_each_instruction_takes(name: str) -> None:
    device = device_or_skip(name)
    program = PROGRAMS["char_lm-training"]()
    arguments = draw(program)
    plain, timed = (Engine(program, device, timed=timed) for timed in (False, True))
    wanted = {k: plain.to_host(v) for k, v in plain.run({k: np.array(v) for k, v in arguments.items()}).items()}
    given = {k: np.array(v) for k, v in arguments.items()}
    assert timed.executable is not None
    bound = timed.executable.bind_arguments(given)
    began = time.perf_counter()
    got = {k: timed.to_host(v) for k, v in timed.run(given).items()}
    whole = time.perf_counter() - began
    for key, value in wanted.items():
        np.testing.assert_array_equal(got[key], value, err_msg=key)
    serials = {step.serial for step, _ in timed.executable.plan.walk()}
    first = bound.seconds.copy()
    assert first.shape == no_seconds(timed.executable.plan).shape
    assert {i for i, s in enumerate(first) if s > 0} - {0} <= serials
    assert 0 < first.sum() <= whole
    timed.run(given)
    assert (bound.seconds >= first).all() and bound.seconds.sum() > first.sum()
