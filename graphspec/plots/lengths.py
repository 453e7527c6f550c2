"""How well a model does on inputs of each length."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from graphspec.errors import fail
from graphspec.plots.style import COLOURS, Figure, figure, numbered, percent, printable, styled

SURE = 1.96
"""Standard deviations of a normal distribution that hold 95 % of it."""


def accuracy_by_length(
    results: Mapping[str, Mapping[int, tuple[int, int]]], title: str = "", length: str = "length of the source, symbols"
) -> Figure:
    """A line for each model: the share of its outputs that are exactly right, by length; ``results[name][length]`` is (right, total).

    The bars are 95 % intervals, because rare lengths say little.  E0836 when there is nothing in it.
    """
    lines = {name: {n: counts for n, counts in sorted(by.items()) if counts[1] > 0} for name, by in results.items()}
    if not any(lines.values()):
        raise fail("E0836", "there are no results to draw by length")
    with styled():
        picture = figure(7.2, 4.0)
        axes = picture.add_subplot()
        for position, (name, by) in enumerate(lines.items()):
            share = [right / total for right, total in by.values()]
            bounds = np.array([wilson(right, total) for right, total in by.values()]).reshape(-1, 2).T
            spread = np.abs(bounds - share)
            colour = COLOURS[position % len(COLOURS)]
            axes.errorbar(list(by), share, yerr=spread, color=colour, marker="o", elinewidth=1, capsize=2, label=printable(name))
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel(length)
        axes.set_ylabel("exactly right")
        axes.xaxis.get_major_locator().set_params(integer=True)
        numbered(axes.xaxis)
        numbered(axes.yaxis, percent)
        axes.set_title(printable(title))
        picture.legend(loc="outside lower left", ncols=1 if max(map(len, lines)) > 30 else 3)
    return picture


def wilson(right: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share (E. B. Wilson, "Probable inference", 1927), which is right near 0 and 1 too.

    >>> [round(bound, 3) for bound in wilson(10, 10)]
    [0.722, 1.0]
    """
    share, z = right / total, SURE * SURE / total
    middle, half = share + z / 2, SURE * math.sqrt((share * (1 - share) + z / 4) / total)
    return (middle - half) / (1 + z), (middle + half) / (1 + z)
