"""The norms over t - k of several loops on one page, each with what bounds it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphspec.plots.style import COLOURS, FAINT, Axes, Figure, figure, numbered, printable, styled
from graphspec.probe.measure import Measured

Array = np.ndarray[Any, Any]

REACH = 300.0
"""Powers of ten that a picture shows at most: floating-point numbers end soon after."""
MARKERS = ("", "o", "s", "^", "D")
"""Of the first lines, as many as there are colours, of the next ones ..."""
TICKS, DECADES = 9, (1, 2, 5, 10, 20, 50, 100)
"""Marks on the axis of norms, at most, and how many powers of ten they may be apart."""
FEW = 3
"""Powers of ten that leave room for marks between."""
LEAST = -0.35
"""The logarithm down to which a picture goes: below a half, so that there are two marks, it and 1."""
BOUND: dict[str, Any] = {"linestyle": (0, (5, 2)), "linewidth": 1.2}
ABOVE = 0.6
"""How far above the norms the picture goes, as a part of their range: loose bounds leave it."""


def norms_over_time(measured: Sequence[Measured], title: str = "") -> Figure:
    """A line for each scan: the median over its sequences, from the least to the largest shaded; dashed the bound by its weights, if
    there is one."""
    with styled():
        columns = 1 if max(len(one.label) for one in measured) > 40 else 2
        picture = figure(7.6, 4.6 + 0.25 * math.ceil(len(measured) / columns))
        axes = picture.subplots()
        for position, one in enumerate(measured):
            _lines(axes, one, position)
        axes.axhline(1.0, color=FAINT, linewidth=0.8, zorder=0.9)
        _scales(axes, measured)
        axes.set_title(printable(title))
        handles = [_key(**_look(i), label=printable(one.label)) for i, one in enumerate(measured)]
        picture.legend(handles=handles, loc="outside upper left", ncols=columns)
        kinds = [_key(color=FAINT, label="median over sequences, shaded from least to largest")]
        if any(one.bound for one in measured):
            kinds.append(_key(color=FAINT, label="bound by the weights", **BOUND))
        picture.legend(handles=kinds, loc="outside lower left", ncols=3)
    return picture


def _lines(axes: Axes, one: Measured, position: int) -> None:
    look = _look(position)
    lags = np.arange(1, one.steps + 1)
    every = math.ceil(one.steps / 12)
    axes.fill_between(lags, _norms(one.least), _norms(one.largest), alpha=0.2, linewidth=0, color=look["color"])
    axes.plot(lags, _norms(one.median), markevery=every, **look)
    if one.bound:
        axes.plot(lags, _norms(one.bound), color=look["color"], **BOUND)


def _look(position: int) -> dict[str, Any]:
    """The colour and the marker of a line."""
    return {"color": COLOURS[position % len(COLOURS)], "marker": MARKERS[position // len(COLOURS) % len(MARKERS)]}


def _norms(logarithms: Sequence[float]) -> Array:
    """Norms as they can be drawn: 0 has no place on a logarithmic axis."""
    found = np.asarray(logarithms)
    return np.where(np.isneginf(found), np.nan, 10.0 ** np.clip(found, -REACH, REACH))


def _scales(axes: Axes, measured: Sequence[Measured]) -> None:
    axes.set_yscale("log")
    seen = [norm for one in measured for norm in (*one.least, *one.largest) if abs(norm) < REACH]
    low, high = min([0.0, *seen]), max([0.0, *seen])
    bounds = max([high, *(one.bound[-1] for one in measured if one.bound)])
    margin = max(high - low, 1.0)
    low, high = max(min(low - 0.05 * margin, LEAST), -REACH), min(high + ABOVE * margin, bounds + 0.05 * margin, REACH)
    axes.set_ylim(10.0**low, 10.0**high)
    apart = next(step for step in DECADES if high - low <= TICKS * step)
    within = (1, 2, 5) if apart == 1 and high - low < FEW else (1,)  # few powers of ten lie in little room: numbers between say more
    powers = range(math.floor(low / apart) * apart, math.floor(high) + 1, apart)
    axes.set_yticks([tick for power in powers for a in within if 10.0**low <= (tick := a * 10.0**power) <= 10.0**high])
    numbered(axes.yaxis, lambda value: f"{value:g}" if value == 1 or len(within) > 1 else f"1e{round(math.log10(value))}")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlim(0, max(one.steps for one in measured))
    axes.set_xlabel("t \u2212 k, steps back from the last")
    axes.set_ylabel("spectral norm of \u2202s(t)/\u2202s(k)")


def _key(**look: Any) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], **{"linewidth": 2.0, **look})
