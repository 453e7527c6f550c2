"""Which rank an untyped input has.

Inference assumes the usual one, and is deterministic but for that.  Where nothing fits, the other ranks are tried, those that change
fewest assumptions first: public nngraph code says nowhere that its context is ``[B, S, n]``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from typing import Generic, TypeVar

from graphspec.errors import SpecError

T = TypeVar("T")

MAX_TRIES = 40
"""Attempts for one model."""

MAX_DOUBT = 12
"""Attempts to find a better one than one that leaves doubts."""

MAX_WORK = 20_000
"""Uses of modules that are typed in all attempts after the first together."""


CHOICES = 3
"""Ranks to try for one assumption."""


def rank_of(usual: int, choice: int) -> int:
    """The rank that a choice from 0 stands for, where ``usual`` would be assumed: itself, one more, then one less (of 1: two more)."""
    return (usual, usual + 1, usual - 1 if usual > 1 else usual + 2)[choice]


@dataclass
class Attempt(Generic[T]):
    """What one attempt came to: a result, or the error; how many ranks it had to assume, and how many uses it typed.

    ``doubtful``: it left equations of sizes for the run to decide, or an assumed batch would have a fixed size.
    """

    outcome: T | SpecError
    assumed: int
    uses: int
    doubtful: bool = False


def search(attempt: Callable[[tuple[int, ...]], Attempt[T]], most: int = MAX_TRIES) -> T:
    """The first attempt that fits; a doubtful one only if no other does.  Raises the error of the usual ranks if none fits.

    Its argument says which choice of :func:`rank_of` each assumption takes, in their order.
    """
    waiting: list[tuple[int, int, tuple[int, ...]]] = [(0, 0, ())]
    serial = count()
    failure: SpecError | None = None
    doubtful: list[T] = []
    work = 0
    for tries in range(most):
        if not waiting or work > MAX_WORK or (doubtful and tries > MAX_DOUBT):
            break
        cost, _, choices = heappop(waiting)
        found = attempt(choices)
        if isinstance(found.outcome, SpecError):
            failure = failure or found.outcome
        elif found.doubtful and found.assumed:
            doubtful.append(found.outcome)
        else:
            return found.outcome
        work += found.uses if tries else 0
        for place in range(max(len(choices) - 1, 0), found.assumed):
            choice = choices[place] + 1 if place < len(choices) else 1
            if choice < CHOICES:
                heappush(waiting, (cost + 1, next(serial), (*choices[:place], *(0,) * (place - len(choices)), choice)))
    if doubtful:
        return doubtful[0]
    assert failure is not None
    raise failure
