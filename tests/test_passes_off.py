"""Every pass on and off: the pipeline without one, with nothing but one, and with none gives what the reference gives, in NumPy and in C.

Variants that leave a program as another one did are run once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pytest

from compiled import NEEDS_COMPILER, WARNINGS, flags
from graphspec.ir.core import Program
from graphspec.ir.rewrite import copy_program
from graphspec.ir.text import print_program
from graphspec.ir.verify import verify
from graphspec.passes import ARRAYS, KERNELS, PASSES, optimise
from graphspec.plan import make_plan
from graphspec.reference import interpret
from graphspec_runtime import Executable, open_device
from merged import Arrays, named, together
from random_models import Models, step_of
from random_programs import Generator, draw_arguments
from test_passes import PROGRAMS, backward_of, draw

DEVICES = ["numpy", pytest.param("native", marks=NEEDS_COMPILER)]
SEEDS = (0, 1, 2, 515)
"""The last one: a copy onto itself, of a row that is seen with another stride."""
BINDINGS = [{"B": 2, "T": 3}, {"B": 3, "T": 0}, {"B": 1, "T": 1}]


@pytest.fixture(scope="module", autouse=True)
def strict() -> Iterator[None]:
    """Warnings are errors here; what a compiler warns of as it optimises, is for tests/test_native.py."""
    with flags(*WARNINGS, level="-O0"):
        yield


def left_out(kernels: bool) -> list[frozenset[str]]:
    """The sets of passes that are left out: none, each, all but each, all."""
    names = frozenset(name for name, _ in (*PASSES, *(KERNELS if kernels else ARRAYS)))
    single = [frozenset({name}) for name in sorted(names)]
    return [frozenset(), *single, *(names - one for one in single), names]


def variants(program: Program, kernels: bool, among: Iterable[frozenset[str]] | None = None) -> list[tuple[str, Program]]:
    """What the pipeline makes of a program with passes left out, and which those are."""
    found: dict[str, tuple[str, Program]] = {}
    for without in left_out(kernels) if among is None else among:
        variant = copy_program(program)
        optimise(variant, check=True, kernels=kernels, without=without)
        found.setdefault(print_program(variant), (", ".join(sorted(without)) or "nothing", variant))
    return list(found.values())


def agree(wanted: Arrays, got: Arrays, told: str) -> None:
    """To 1e-10 of the largest number of each result."""
    assert wanted.keys() == got.keys(), told
    for name, value in wanted.items():
        assert got[name].shape == value.shape and got[name].dtype == value.dtype, (told, name)
        scale = float(np.abs(value, where=np.isfinite(value), out=np.zeros(value.shape)).max(initial=0))
        np.testing.assert_allclose(got[name], value, rtol=0, atol=1e-10 * max(1.0, scale), err_msg=f"{name}, without {told}")


def compare(
    programs: Sequence[Program], rounds: Sequence[Sequence[Arrays]], device: str, among: Sequence[frozenset[str]] | None = None
) -> int:
    """All variants of all programs, compiled as one, with arguments for each program in each round; returns how many variants there are."""
    opened = open_device(device)
    made = [(i, *each) for i, program in enumerate(programs) for each in variants(program, bool(opened.language), among)]
    whole = together([variant for _, _, variant in made])
    verify(whole)
    executable = Executable(make_plan(whole, opened.language), opened)
    for arguments in rounds:
        with np.errstate(all="ignore"):
            wanted = [interpret(program, each) for program, each in zip(programs, arguments, strict=True)]
            got = executable.call({k: np.array(v, order="C") for k, v in named([arguments[i] for i, _, _ in made]).items()})
        for number, (i, told, _) in enumerate(made):
            agree(wanted[i], {name.partition(":")[2]: v for name, v in got.items() if name.startswith(f"{number}:")}, told)
    return len(made)


def compare_random(seeds: Sequence[int], device: str) -> int:
    """Random graphs and their gradients."""
    forward = [Generator(seed).program() for seed in seeds]
    backward = [backward_of(program) for program in forward]
    rounds = []
    for sizes in BINDINGS:
        plain = [draw_arguments(program, sizes, seed) for program, seed in zip(forward, seeds, strict=True)]
        both = [*plain, *({**draw(p, sizes, seed), **a} for p, a, seed in zip(backward, plain, seeds, strict=True))]
        rounds.append(both)
    return compare([*forward, *backward], rounds, device)


def compare_models(seeds: Sequence[int], device: str, among: Sequence[frozenset[str]] | None = None) -> int:
    """Random models, their gradients and training steps."""
    forward = [Models(seed).program() for seed in seeds]
    programs = [*forward, *map(backward_of, forward), *map(step_of, forward)]
    rounds = []
    for sizes in BINDINGS:
        plain = [draw_arguments(program, sizes, seed) for program, seed in zip(forward, seeds, strict=True)]
        rounds.append([{**draw(p, sizes, i), **plain[i % len(seeds)]} for i, p in enumerate(programs)])
    return compare(programs, rounds, device, among)


def test_every_pass_can_be_left_out() -> None:
    """Each set is another pipeline, and what is left out does not run."""
    for kernels in (False, True):
        names = list(dict.fromkeys(name for name, _ in (*PASSES, *(KERNELS if kernels else ARRAYS))))
        assert len(set(left_out(kernels))) == 2 * len(names) + 2
        program = backward_of(Generator(3).program())
        for without in left_out(kernels):
            ran = [report.name for report in optimise(copy_program(program), kernels=kernels, without=without)]
            assert ran == [name for name in names if name not in without]


@pytest.mark.parametrize("device", DEVICES)
def test_random_graphs(device: str) -> None:
    assert compare_random(SEEDS, device) > 16


@pytest.mark.parametrize("device", DEVICES)
def test_random_models(device: str) -> None:
    """One model and few variants: most of the time goes into compiling them."""
    assert compare_models((3,), device, [frozenset(), frozenset({"simplify"}), frozenset(name for name, _ in PASSES)]) > 4


@pytest.mark.parametrize("device", DEVICES)
def test_a_spec(device: str) -> None:
    program = PROGRAMS["lstm-0-backward_program"]()
    assert compare([program], [[draw(program)]], device) > 4


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("start", range(100, 1100, 10))
def test_many_random_graphs(start: int, device: str) -> None:
    compare_random(range(start, start + 10), device)


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("start", range(100, 300, 2))
def test_many_random_models(start: int, device: str) -> None:
    compare_models(range(start, start + 2), device)


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", sorted(set(PROGRAMS) - {"lstm-0-backward_program"}))
def test_every_spec(name: str, device: str) -> None:
    program = PROGRAMS[name]()
    compare([program], [[draw(program)]], device)
