"""Limits, so that nothing anyone writes can hang the compiler or eat the machine.

Each is an error with its place that says how to raise it; ``pcall`` does not catch it.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphspec.errors import Origin, SpecError, error


class LimitError(SpecError):
    """A limit was passed; never caught by ``pcall``."""


TURN, CALL, TABLE, COMPARE, MATCH = 4, 8, 5, 6, 2
"""Steps of a loop's turn, a call, a new table, a comparison while sorting, and a step of pattern matching, by the time they take."""


@dataclass(frozen=True)
class Limits:
    """What one evaluation may use.  ``steps``: about a microsecond each; ``depth``: nested Lua calls; ``text``: characters of one string;
    ``elements``: of all its tensors; ``nesting``: of brackets and blocks; ``tokens``: of one file."""

    steps: int = 1_000_000
    depth: int = 190
    text: int = 10_000_000
    nodes: int = 20_000
    elements: int = 30_000_000
    nesting: int = 200
    tokens: int = 50_000


class Budget:
    """Counts steps against the limits."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.left = limits.steps
        self.nodes = 0
        self.elements = 0

    def spend(self, steps: int, origin: Origin) -> None:
        """Use up steps; E0501 when there are none left."""
        self.left -= steps
        if self.left < 0:
            raise over("E0501", f"the spec runs for more than {self.limits.steps:,} steps", origin, "steps", self.limits.steps)

    def check_text(self, length: float, origin: Origin) -> None:
        if length > self.limits.text:
            raise over("E0503", f"a string of more than {self.limits.text:,} characters", origin, "text", self.limits.text)
        self.spend(int(length) // 16, origin)

    def node(self, origin: Origin) -> None:
        self.nodes += 1
        if self.nodes > self.limits.nodes:
            raise over("E0506", f"the spec makes more than {self.limits.nodes:,} nodes and modules", origin, "nodes", self.limits.nodes)


def over(code: str, message: str, origin: Origin, name: str, limit: int) -> LimitError:
    return LimitError(error(code, message, origin, helps=[f"raise it with `--limit {name}={limit * 10}`"]))
