"""Passes: IR in, IR out.  Their order stands here, in one tuple; :func:`optimise` runs them.

Each pass is one file with one function ``run(program) -> str | None`` that changes the program it is given and says, in
words a person understands, what it did.
"""

from __future__ import annotations

from collections.abc import Callable

from graphspec.ir.core import Program
from graphspec.ir.verify import verify
from graphspec.passes import dead_code, fuse, products, residuals, simplify, stages, sums, tables

Pass = Callable[[Program], "str | None"]

PASSES: tuple[tuple[str, Pass], ...] = (
    ("dead-code", dead_code.run),
    ("residuals", residuals.run),
    ("sums", sums.run),
    ("dead-code", dead_code.run),
    ("simplify", simplify.run),
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

KERNELS: tuple[tuple[str, Pass], ...] = (("fuse", fuse.run),)
"""What comes after them for devices that compile kernels."""


def optimise(program: Program, check: bool = False, kernels: bool = False) -> list[str]:
    """Run every pass on ``program``, in place; returns what they did.  ``check`` runs the verifier after each; ``kernels`` adds those for
    devices that compile kernels."""
    told = []
    for name, run in (*PASSES, *(KERNELS if kernels else ())):
        said = run(program)
        if check:
            verify(program)
        if said:
            told.append(f"{name}: {said}")
    return told
