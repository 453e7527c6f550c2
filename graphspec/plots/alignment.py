"""An alignment as a heat map: which symbols of the source each symbol of the target attends to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphspec.errors import fail
from graphspec.plots.style import FAINT, Figure, figure, numbered, printable, shown, styled

CELL, SIDE, LARGEST = 0.19, 1.8, 0.5
"""Inches: a cell at least, so that no label runs into the next; the longer side of the map at least; a cell at most."""
BAR, GAP, LENGTH = 0.15, 0.3, 2.2
"""Inches: the colour bar's width, its distance from the map, and its length at most."""
TOO_MANY = 1000


def alignment(alpha: Any, source: Sequence[str], target: Sequence[str], title: str = "") -> Figure:
    """The weights ``alpha`` [T, S], from 0 to 1, a row for each symbol of ``target``, downwards, a column for each of ``source``.

    As in figure 3 of Bahdanau, Cho and Bengio, 2015 (arXiv:1409.0473), but dark where they are white: darker is more.  E0836 when the
    weights are not of that shape, when there are none, or more than 1,000 rows or columns.
    """
    weights = np.asarray(alpha, dtype=np.float64)
    if weights.shape != (len(target), len(source)) or not weights.size:
        raise fail("E0836", f"no alignment of {len(source)} source and {len(target)} target symbols: the weights are {list(weights.shape)}")
    if max(weights.shape) > TOO_MANY:
        raise fail("E0836", f"an alignment of {max(weights.shape):,} symbols is too large to draw: {TOO_MANY:,} at most")
    cell = min(max(CELL, SIDE / max(weights.shape)), LARGEST)
    height, width = (cell * n for n in weights.shape)
    length = max(min(height, LENGTH), 1.0)
    page = width + GAP + BAR, max(height, length)
    with styled():
        picture = figure(*page)
        picture.set_layout_engine("none")  # cells have a size; what stands around them is added when it is written
        axes = picture.add_axes((0, 1 - height / page[1], width / page[0], height / page[1]))
        top = min(1.0, max(0.1, math.ceil(10 * float(weights.max(initial=0.0, where=np.isfinite(weights)))) / 10))
        image = axes.imshow(weights, cmap="Blues", vmin=0.0, vmax=top, interpolation="none", aspect="auto")
        axes.set_xticks(range(len(source)), [shown(symbol) for symbol in source])
        axes.set_yticks(range(len(target)), [shown(symbol) for symbol in target])
        axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
        for label in axes.get_xticklabels():
            label.set_rotation(90 if len(label.get_text()) > 1 else 0)
        axes.set_xlabel("source", color=FAINT)
        axes.xaxis.set_label_position("top")
        axes.set_ylabel("target", color=FAINT)
        axes.grid(visible=False)
        axes.spines[["top", "right"]].set_visible(True)
        axes.set_title(printable(title))
        bar = picture.colorbar(image, cax=picture.add_axes((1 - BAR / page[0], 1 - length / page[1], BAR / page[0], length / page[1])))
        bar.set_label("weight")
        bar.outline.set_visible(False)
        numbered(bar.ax.yaxis)
    return picture
