"""Learning curves: how training and validation went, of several runs on one page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphspec.errors import fail
from graphspec.plots.style import (
    COLOURS,
    DASHES,
    FAINT,
    Axes,
    Figure,
    figure,
    logarithmic_if_wide,
    numbered,
    percent,
    printable,
    styled,
    timed,
)
from graphspec.training.history import History, Series
from graphspec.training.measures import LOSS, is_share

POINTS = 2000
"""Of a line, at most: no page shows more."""
MARKERS = 30
"""On a line, at most."""
LABELS = {"bits_per_char": "bits per character", "perplexity": "perplexity per symbol", "exact": "exactly right"}
WIDE_NAME = 28
HELD_OUT: dict[str, Any] = {"marker": "o", "markerfacecolor": "white", "linewidth": 0.9}


def learning_curves(runs: Sequence[History], title: str = "", against_time: bool = False) -> Figure:
    """Training loss (smoothed as it was recorded) and held-out loss over steps, or over the hours of training; below it each other measure
    of the validations, what part is right first, with what it was in training where that is known.

    Losses that span more than a factor of 50 have a logarithmic axis.  E0836 when no run has got to a first step.
    """
    if not any(run.steps or run.valid for run in runs):
        raise fail("E0836", f"there is nothing to draw yet in {', '.join(str(run.path) for run in runs) or 'no run'}")
    measures = sorted({name for run in runs for name in run.measures() if name != LOSS}, key=lambda name: (not is_share(name), name))
    names = labels(runs)
    with styled():
        columns = 1 if max(map(len, names)) > WIDE_NAME else 3
        legend = 0.25 * math.ceil(len(runs) / columns) + 0.1 if len(runs) > 1 else 0.0
        picture = figure(7.6, 3.7 + 2.1 * len(measures) + legend)
        ratios = [3.2, *[2.1] * len(measures)]
        panels = list(picture.subplots(1 + len(measures), 1, sharex=True, squeeze=False, height_ratios=ratios)[:, 0])
        _losses(panels[0], runs, against_time)
        for name, axes in zip(measures, panels[1:], strict=True):
            for position, run in enumerate(runs):
                trained = run.training(name)
                if trained:
                    _line(axes, run, trained, against_time, position)
                _line(axes, run, run.measures().get(name, []), against_time, position, **(HELD_OUT if trained else {"marker": "o"}))
            _upright(axes, LABELS.get(name, name.replace("_", " ")), share=is_share(name))
        picture.align_ylabels(panels)
        panels[-1].set_xlim(left=0)
        panels[-1].set_xlabel("time of training" if against_time else "training step")
        if against_time:
            timed(panels[-1].xaxis, max(run.seconds() for run in runs))
        else:
            panels[-1].xaxis.get_major_locator().set_params(integer=True)
            numbered(panels[-1].xaxis)
        panels[0].set_title(printable(title) or (names[0] if len(runs) == 1 else ""))
        if len(runs) > 1:
            handles = [_key(position, name) for position, name in enumerate(names)]
            picture.legend(handles=handles, loc="outside upper left", ncols=columns)
    return picture


def labels(runs: Sequence[History]) -> list[str]:
    """A name for each run: its folder's, or the path where two folders are called the same."""
    names = [run.name for run in runs]
    return [printable(run.name if names.count(run.name) == 1 else str(run.path)) for run in runs]


def _losses(axes: Axes, runs: Sequence[History], against_time: bool) -> None:
    values: list[float] = []
    held_out = False
    for position, run in enumerate(runs):
        training, valid = run.training(), run.measures().get(LOSS, [])
        _line(axes, run, training, against_time, position)
        _line(axes, run, valid, against_time, position, **HELD_OUT)
        values += [value for _, value in (*training, *valid)]
        held_out = held_out or bool(valid)
    in_nats = any({"bits_per_char", "perplexity"} & run.measures().keys() for run in runs)
    logarithmic_if_wide(axes, values)
    _upright(axes, "loss, nats per symbol" if in_nats else "loss")
    kinds = [_plain("training, running mean"), _plain("held out", **HELD_OUT)]
    axes.legend(handles=kinds[: 1 + held_out], loc="upper right", frameon=True, edgecolor="none")


def _line(axes: Axes, run: History, series: Series, against_time: bool, position: int, **look: Any) -> None:
    """A line of one run; of points too close to be told apart only some."""
    if len(series) > POINTS:
        kept = np.unique(np.linspace(0, len(series) - 1, POINTS).round().astype(int))
        series = [series[i] for i in kept]
    across: Sequence[float] = [step for step, _ in series]
    if against_time and series:
        clock = run.clock() or [(0, 0.0)]
        series = [(step, value) for step, value in series if step <= clock[-1][0]]  # when later ones were is not known yet
        across = np.interp([step for step, _ in series], [step for step, _ in clock], [seconds for _, seconds in clock]).tolist()
    axes.plot(across, [value for _, value in series], markevery=math.ceil(len(series) / MARKERS) or 1, **_look(position), **look)


def _look(position: int) -> dict[str, Any]:
    return {"color": COLOURS[position % len(COLOURS)], "linestyle": DASHES[position // len(COLOURS) % len(DASHES)]}


def _key(position: int, name: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], label=name, linewidth=2.4, **_look(position))


def _plain(name: str, **look: Any) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], label=name, color=FAINT, **look)


def _upright(axes: Axes, label: str, share: bool = False) -> None:
    axes.set_ylabel(label)
    numbered(axes.yaxis, percent if share else None)
    if share:
        axes.set_ylim(-0.03, 1.03)
