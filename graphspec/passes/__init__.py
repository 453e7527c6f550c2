"""Passes: IR in, IR out.  Their order stands here, in one tuple; :func:`optimise` runs them.

Each pass is one file with one function ``run(program) -> Told`` that changes the program it is given and tells, in
words a person understands, what it did.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from graphspec.ir.core import Program
from graphspec.ir.verify import verify
from graphspec.passes import dead_code, fuse, layouts, parts, products, residuals, simplify, sink, stages, sums, tables, vectors
from graphspec.passes.kept import Kept, kept
from graphspec.passes.told import PassReport, Told

Pass = Callable[[Program], Told]

PASSES: tuple[tuple[str, Pass], ...] = (
    ("dead-code", dead_code.run),
    ("residuals", residuals.run),
    ("sums", sums.run),
    ("dead-code", dead_code.run),
    ("simplify", simplify.run),
    ("parts", parts.run),
    ("stages", stages.run),
    ("simplify", simplify.run),
    ("products", products.run),
    ("simplify", simplify.run),
    ("tables", tables.run),
    ("simplify", simplify.run),
    ("stages", stages.run),
    ("simplify", simplify.run),
    ("dead-code", dead_code.run),
)

KERNELS: tuple[tuple[str, Pass], ...] = (
    ("sink", sink.run),
    ("vectors", vectors.run),
    ("simplify", simplify.run),
    ("dead-code", dead_code.run),
    ("fuse", fuse.run),
)
"""What comes after them for devices that compile kernels."""

ARRAYS: tuple[tuple[str, Pass], ...] = (("layouts", layouts.run), ("dead-code", dead_code.run))
"""What comes after them for devices that call one kernel for each op."""


def optimise(
    program: Program, check: bool = False, kernels: bool = False, without: frozenset[str] = frozenset(), left: list[Kept] | None = None
) -> list[PassReport]:
    """Run every pass on ``program``, in place; returns what each did.  ``check`` runs the verifier after each run; ``kernels`` adds those
    for devices that compile kernels, instead of those for devices that call one for each op; passes named in ``without`` are left out;
    ``left`` gets the products that stay in loops, as they are before what depends on the device."""
    reports: dict[str, PassReport] = {}
    for passes in (PASSES, KERNELS if kernels else ARRAYS):
        for name, run in passes:
            if name in without:
                continue
            began = time.perf_counter()
            told = run(program)
            reports.setdefault(name, PassReport(name)).add(told, time.perf_counter() - began)
            if check:
                verify(program)
        if passes is PASSES and left is not None:
            left += kept(program)
    return list(reports.values())
