"""Every record in C: forward and backward, outputs, gradients and running statistics as the reference has them.

Many records are compiled together (:mod:`merged`); each has its own sizes, as numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from compiled import NEEDS_COMPILER, WARNINGS, flags
from graphspec.graph import Record, Sample
from graphspec.ir.core import Program
from graphspec.ir.rewrite import copy_program
from graphspec.passes import optimise
from graphspec.plan import make_plan
from graphspec.reference import interpret
from graphspec.samples import Case
from graphspec_runtime import Executable, open_device
from merged import Arrays, named, together
from test_records import SAMPLES

pytestmark = NEEDS_COMPILER

CHUNK = 40
"""Samples in one file of C."""
CHUNKS = [SAMPLES[i::-(-len(SAMPLES) // CHUNK)] for i in range(-(-len(SAMPLES) // CHUNK))]


@pytest.fixture(scope="module", autouse=True)
def strict() -> Iterator[None]:
    """Warnings are errors here."""
    with flags(*WARNINGS, level="-O1"):
        yield


def programs(record: Record, sample: Sample) -> list[tuple[Program, Arrays]]:
    """A sample's forward and backward program, and arguments for each."""
    case = Case(record, sample)
    given = case.probe.arguments(case.point)
    cotangents = [np.asarray(case.rng.standard_normal(y.shape)) for y in case.probe.forward(case.point)]
    back = {f"gradient:{name}": c for name, c in zip(case.probe.outputs, cotangents, strict=True)}
    return [
        (case.probe.forward_program, given),
        (case.probe.backward_program, {**given, **back, "gradients": np.zeros_like(given["parameters"])}),
    ]


def compare(samples: Sequence[tuple[Record, Sample, int]]) -> None:
    ways = ("forward", "backward")
    made = [(f"{r.name}-{i} {way}", *each) for r, s, i in samples for way, each in zip(ways, programs(r, s), strict=True)]
    optimised = [copy_program(program) for _, program, _ in made]
    for program in optimised:
        optimise(program, check=True, kernels=True)
    device = open_device("native")
    executable = Executable(make_plan(together(optimised), "c"), device)
    arguments = named([each for _, _, each in made])
    names = {port.name for port in together(optimised).inputs}
    got = executable.call({name: np.array(value, order="C") for name, value in arguments.items() if name in names})
    for number, (what, program, given) in enumerate(made):
        for name, value in interpret(program, given).items():
            found = got[f"{number}:{name}"]
            assert found.shape == value.shape and found.dtype == value.dtype, (what, name)
            scale = max(1.0, float(np.abs(value).max(initial=0)))
            np.testing.assert_allclose(found, value, rtol=0, atol=1e-10 * scale, err_msg=f"{what}: {name}")


def test_every_sample_is_in_a_chunk() -> None:
    assert sorted(f"{r.name}-{i}" for chunk in CHUNKS for r, _, i in chunk) == sorted(f"{r.name}-{i}" for r, _, i in SAMPLES)


def test_a_spread_of_records() -> None:
    compare(CHUNKS[0])


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(1, len(CHUNKS)))
def test_all_records(chunk: int) -> None:
    compare(CHUNKS[chunk])
