"""Native programs under the sanitizers of the compiler: a process of its own, which tests/test_sanitizers.py starts.

What is compiled here is instrumented, NumPy is not.  Every buffer of a plan lies in a place of its own between stretches that must not be
touched, and is full of NaN before each run, so that a kernel that leaves its buffer by one element, or reads what nobody wrote, is found.

    LD_PRELOAD=libasan.so python tests/sanitized.py WHAT [START STOP]
    LD_PRELOAD=libtsan.so python tests/sanitized.py races | unmet
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compiled import CROWDS
from graphspec.codegen import c
from graphspec.ir.core import Program
from graphspec.ir.rewrite import copy_program
from graphspec.passes import optimise
from graphspec.plan import make_plan
from graphspec.reference import interpret
from graphspec_runtime import Executable, compiler, executor, open_device
from graphspec_runtime.arena import staged
from graphspec_runtime.devices import native
from graphspec_runtime.devices.native import NativeDevice
from graphspec_runtime.plan import Instruction, Plan, evaluate
from merged import Arrays, named, together
from random_programs import Generator, draw_arguments

GAP = 512
"""Bytes between buffers."""
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
RACES = ("-fsanitize=thread", *CROWDS)

Case = tuple[Program, Arrays]


def instrument(sanitizers: Sequence[str], level: str = "-O1") -> None:
    """All that is compiled from now on is instrumented."""
    compiler.FLAGS = (*(flag for flag in compiler.FLAGS if flag != compiler.LEVEL), level, *sanitizers, "-fno-omit-frame-pointer", "-g1")
    native.KERNEL_FLAGS = ()
    compiler.identity.cache_clear()


def apart(plan: Plan, sizes: Mapping[str, int]) -> tuple[dict[int, int], int]:
    """Instead of :func:`graphspec_runtime.arena.assign`: no buffer shares its place with another."""
    offsets, total = {}, GAP
    for index, buffer in enumerate(plan.buffers):
        if buffer.kind == "arena" or index in staged(plan):
            offsets[index] = total
            total += -(-evaluate(buffer.size, sizes) * np.dtype(buffer.dtype).itemsize // 64) * 64 + GAP
    return offsets, total


class Fenced(executor.Bound):
    """A binding with its fence."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        fence(self)


def forbid(start: int, count: int) -> None:
    """Bytes that nobody may touch from now on."""
    ctypes.CDLL(None).__asan_poison_memory_region(ctypes.c_void_p(start), ctypes.c_size_t(count))


def fence(bound: executor.Bound) -> None:
    """Forbid what lies between the buffers of a binding."""
    offsets, total = apart(bound.plan, bound.sizes)
    at, start = 0, bound.arena.memory.ctypes.data
    allow = ctypes.CDLL(None).__asan_unpoison_memory_region  # the arena may have been another binding's
    allow(ctypes.c_void_p(start), ctypes.c_size_t(bound.arena.memory.nbytes))
    for index, place in offsets.items():
        forbid(start + at, place - at)
        buffer = bound.plan.buffers[index]
        at = place + evaluate(buffer.size, bound.sizes) * np.dtype(buffer.dtype).itemsize
    forbid(start + at, total - at)


def soil(bound: executor.Bound) -> None:
    """NaN, or -1, in every element of a binding's buffers."""
    offsets, _ = apart(bound.plan, bound.sizes)
    for index, place in offsets.items():
        buffer = bound.plan.buffers[index]
        bound.arena.memory[place : place + evaluate(buffer.size, bound.sizes) * np.dtype(buffer.dtype).itemsize] = 0xFF


def check(program: Program, device: NativeDevice, rounds: Sequence[tuple[Arrays, Arrays]], tolerance: float) -> None:
    """The program on the device, from arguments to wanted results, two times each."""
    executable = Executable(make_plan(program, device.language), device)
    for arguments, wanted in rounds:
        bound = executable.bind_arguments(arguments)
        for _ in range(2):
            soil(bound)
            got = bound.call({name: np.array(value, order="C") for name, value in arguments.items()})
            for name, value in wanted.items():
                scale = max(1.0, float(np.abs(value, where=np.isfinite(value), out=np.zeros(value.shape)).max(initial=0)))
                np.testing.assert_allclose(got[name], value, rtol=0, atol=tolerance * scale, err_msg=name)


def run_kernels(device: NativeDevice) -> None:
    from test_runtime_kernels import MODES, kernel_cases, kernel_program

    for dtype, tolerance in (("float64", 1e-11), ("float32", 4e-6)):
        for mode in MODES:
            built = [kernel_program(case) for case in kernel_cases() if case.mode == mode and case.dtype == dtype]
            with np.errstate(all="ignore"):
                wanted = named([interpret(program, arguments) for program, arguments in built])
            whole = together([program for program, _ in built])
            check(whole, device, [(named([arguments for _, arguments in built]), wanted)], tolerance)


def run_random(device: NativeDevice, seeds: Sequence[int]) -> None:
    """Random programs and their gradients, with the passes and without."""
    from test_native import BINDINGS
    from test_passes import backward_of, draw

    forward = [Generator(seed).program() for seed in seeds]
    programs = [*forward, *map(backward_of, forward)]
    rounds = []
    for sizes in BINDINGS:
        plain = [draw_arguments(program, sizes, seed) for program, seed in zip(forward, seeds, strict=True)]
        both = [*plain, *({**draw(p, sizes, seed), **a} for p, a, seed in zip(programs[len(forward) :], plain, seeds, strict=True))]
        with np.errstate(all="ignore"):
            wanted = named([interpret(program, arguments) for program, arguments in zip(programs, both, strict=True)])
        rounds.append((named(both), wanted))
    whole = together(programs)
    optimised = copy_program(whole)
    optimise(optimised, kernels=True)
    check(optimised, device, rounds, 1e-9)


def run_specs(device: NativeDevice, chosen: Callable[[int], bool]) -> None:
    from test_passes import PROGRAMS, draw

    for i, name in enumerate(sorted(PROGRAMS)):
        if chosen(i):
            program = PROGRAMS[name]()
            arguments = draw(program)
            wanted = interpret(program, arguments)
            optimise(program, kernels=True)
            check(program, device, [(arguments, wanted)], 1e-9)


def run_beyond(device: NativeDevice) -> None:
    """A program that writes where it must not: the first element of a buffer is made part of the fence."""
    program = Generator(0).program()
    executable = Executable(make_plan(program, device.language), device)
    arguments = draw_arguments(program, {"B": 2, "T": 3}, 0)
    bound = executable.bind_arguments(arguments)
    written = next(v.buffer for step in bound.plan.code if isinstance(step, Instruction) for v in step.outputs)
    forbid(bound.arena.memory.ctypes.data + apart(bound.plan, bound.sizes)[0][written], 8)
    bound.call(arguments)


def run_races(meet: bool) -> None:
    """Loops that several threads do by rows and by columns; where they do not meet, one reads what another is about to write."""
    from test_threads import CHAINS, chain, device_of, run, training

    if not meet:
        c.meetings = lambda steps: set()  # type: ignore[attr-defined]
    instrument(RACES)
    for plan, arguments in [*map(chain, CHAINS), *([training("adding")] if meet else [])]:
        for threads in (2, 3):
            executable = Executable(plan, device_of(threads))
            for _ in range(3):
                run(executable, arguments)


def main(what: str, *numbers: str) -> None:
    if what in ("races", "unmet"):
        run_races(what == "races")
        sys.stdout.write("clean\n")
        return
    executor.assign = apart
    executor.Bound = Fenced  # type: ignore[misc]
    instrument(SANITIZERS)
    device = open_device("native")
    assert isinstance(device, NativeDevice)
    start, stop = map(int, numbers or ("0", "1000"))
    match what:
        case "kernels":
            run_kernels(device)
        case "random":
            run_random(device, range(start, stop))
        case "specs":
            run_specs(device, lambda i: start <= i < stop)
        case "hostile":
            if pytest.main(["-q", "-p", "no:cacheprovider", str(Path(__file__).parent / "test_native_hostile.py")]):
                sys.exit(1)
        case "beyond":
            run_beyond(device)
    sys.stdout.write("clean\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
