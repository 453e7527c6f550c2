"""How tests compile: with other flags than a user's, in one place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from graphspec_runtime import PlanError, compiler

WARNINGS = ("-Wall", "-Wextra", "-Werror")

CROWDS = ("-DGRAIN=1", "-DOWN_CACHE=4", "-DLONGEST=0")
"""Of kernels: nothing is too small for a team, some products are split by columns, and threads meet however long they wait."""


def missing() -> bool:
    """Whether there is no C compiler."""
    try:
        compiler.find_compiler()
    except PlanError:
        return True
    return False


NEEDS_COMPILER = pytest.mark.skipif(missing(), reason="there is no C compiler")


@contextmanager
def flags(*more: str, level: str = compiler.LEVEL) -> Iterator[None]:
    """What is compiled meanwhile is compiled with ``more`` flags, and optimised less with another ``level``."""
    before = compiler.FLAGS
    compiler.FLAGS = (*(level if flag == compiler.LEVEL else flag for flag in before), *more)
    compiler.identity.cache_clear()
    try:
        yield
    finally:
        compiler.FLAGS = before
        compiler.identity.cache_clear()
