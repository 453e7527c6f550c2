"""What is known of a tensor inside a cell, seen from the cell's previous state, and how each kind of module changes it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from graphspec.graph import Module

Array = np.ndarray[Any, Any]


class Place(NamedTuple):
    """One tensor of a use's output: the number of the use in the model, that of the tensor in the output, and what to call it."""

    use: int
    tensor: int
    title: str

    @property
    def name(self) -> str:
        """What the use's values are captured as."""
        return f"use {self.use}"

    @property
    def key(self) -> str:
        """This tensor among them."""
        return f"{self.name}[{self.tensor + 1}]"


SOMEWHERE = Place(-1, 0, "")


@dataclass(frozen=True)
class Flow:
    """What is known of one tensor; ``parts`` are the floating-point tensors of the previous state, by number.

    ``gains`` has for each part a Lipschitz constant of this tensor in it: 0 where it does not depend on it, infinite where the graph alone
    gives none.
    """

    gains: tuple[float, ...]
    parts: frozenset[int] = frozenset()
    """Those that it depends on."""
    weights: frozenset[str] = frozenset()
    """Of the Linears through which it does."""
    part: int | None = None
    """The one that it is."""
    kind: str = ""
    """The nonlinearity whose output it is."""
    gate: Place | None = None
    """Where it stands, if it is a gate: what a Sigmoid gives, a piece of that, or 1 less that."""
    kept: frozenset[tuple[int, Place]] = frozenset()
    """(part, gate) for each part of the state that is added up in it times a gate, as an LSTM does with its memory cell."""

    def after(self, gain: float, **more: Any) -> Flow:
        """The flow behind a module that makes differences at most ``gain`` times as large; nothing else is known of it but ``more``."""
        return Flow(tuple(gain * g if g else 0.0 for g in self.gains), self.parts, self.weights, **more)


def together(flows: Sequence[Flow], parts: int, power: float = 1.0) -> Flow:
    """What depends on all of them: their sum, or (power 2) one after another, whose length is the root of the sum of squares."""
    gains = tuple(sum(f.gains[i] ** power for f in flows) ** (1 / power) for i in range(parts))
    return Flow(gains, frozenset[int]().union(*(f.parts for f in flows)), frozenset[str]().union(*(f.weights for f in flows)))


# -- kinds of modules ------------------------------------------------------------------------------------------------------------

Rule = Callable[[Module, Flow], Flow]


def _slope(gain: float, **more: Any) -> Rule:
    """What works on each element alone, with slopes of at most ``gain``."""
    return lambda module, x: x.after(gain, **more)


def _same_gate(gain: Callable[[Any], float]) -> Rule:
    return lambda module, x: x.after(gain(module.args), gate=x.gate)


_move = _same_gate(lambda args: 1.0)

ONE_INPUT: dict[str, Rule] = {
    "Tanh": _slope(1.0, kind="Tanh"),
    "Sigmoid": _slope(0.25, kind="Sigmoid", gate=SOMEWHERE),
    "ReLU": _slope(1.0),
    "SoftPlus": _slope(1.0),
    "AddConstant": _move,
    "MulConstant": _same_gate(lambda args: abs(float(args.constant_scalar))),
    "View": _move, "Reshape": _move, "Transpose": _move, "Select": _move, "Narrow": _move, "SplitTable": _move,
}  # fmt: skip
"""Modules of one tensor without weights whose Lipschitz constant is known."""

LIMITS = {"Sigmoid": (0.0, 1.0), "Tanh": (-1.0, 1.0)}
"""What outputs come near to where they are saturated."""


def product(flows: Sequence[Flow], parts: int) -> Flow:
    """Element by element: no constant holds, since each factor may be any number.  A part times a gate is kept."""
    kept = frozenset((a.part, b.gate) for a, b in (flows, flows[::-1]) if a.part is not None and b.gate) if len(flows) == 2 else frozenset()
    return together(flows, parts).after(math.inf, kept=kept)


def total(flows: Sequence[Flow], parts: int) -> Flow:
    """Their sum."""
    found = together(flows, parts)
    return found.after(1.0, kept=frozenset[tuple[int, Place]]().union(*(f.kept for f in flows)))


TABLES: dict[str, Callable[[Sequence[Flow], int], Flow]] = {
    "CAddTable": total,
    "CSubTable": together,
    "CMulTable": product,
    "JoinTable": lambda flows, parts: together(flows, parts, power=2),
}
"""Modules of several tensors that give one."""


def spectral_norm(matrix: Array) -> float:
    """The largest singular value: the root of the largest eigenvalue of ``A' A``, which takes half the time of all singular values."""
    return math.sqrt(max(float(np.linalg.eigvalsh(matrix.T @ matrix)[-1]), 0.0))
