"""Environments: local variables, block by block; and how a block ends."""

from __future__ import annotations

from graphspec.build.values import Value
from graphspec.errors import SpecError


class Env:
    """Local variables of one block, and the block around it; without one, the outermost of a file."""

    __slots__ = ("names", "outer", "varargs")

    def __init__(self, outer: Env | None = None, varargs: list[Value] | None = None) -> None:
        self.names: dict[str, Value] = {}
        self.outer = outer
        self.varargs: list[Value] = varargs if varargs is not None else outer.varargs if outer else []

    def find(self, name: str) -> Env | None:
        env: Env | None = self
        while env is not None:
            if name in env.names:
                return env
            env = env.outer
        return None


class BreakLoop:
    """What a block hands up for ``break``."""


class Thrown(Exception):
    """An error value on its way to a ``pcall``; without one around, ``problem`` is what the user is told."""

    def __init__(self, value: Value, problem: SpecError) -> None:
        super().__init__(value)
        self.value = value
        self.problem = problem


BREAK = BreakLoop()
Flow = list[Value] | BreakLoop | None
"""None goes on; a list is what was returned."""
