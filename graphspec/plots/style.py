"""How pictures look, and how they become files: one style, whatever the user's own settings of matplotlib are."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from graphspec.errors import fail
from graphspec.extras import need
from graphspec.tensorfile import write_bytes

Figure = Any
Axes = Any

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Colours that the colour-blind tell apart too, without the yellow, which is lost on white (M. Okabe and K. Ito, "Color universal design",
2008)."""

DASHES: tuple[Any, ...] = ("solid", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))
"""Beyond as many lines as there are colours."""

INK, FAINT, GRID = "#24292f", "#57606a", "#e3e6e9"
STYLE: dict[str, Any] = {
    "figure.dpi": 100, "savefig.dpi": 100, "figure.facecolor": "#ffffff", "figure.constrained_layout.use": True,
    "font.family": "sans-serif", "font.size": 10, "axes.titlesize": 11, "axes.titlelocation": "left", "axes.labelsize": 10,
    "xtick.labelsize": 9, "ytick.labelsize": 9, "legend.fontsize": 9, "legend.frameon": False,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": "#8c959f", "xtick.color": "#8c959f", "ytick.color": "#8c959f",
    "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": GRID, "grid.linewidth": 0.8,
    "axes.spines.top": False, "axes.spines.right": False, "lines.linewidth": 1.6, "lines.markersize": 4.5,
    "text.parse_math": False,  # a name or a symbol with dollars in it is itself
    "svg.hashsalt": "graphspec", "svg.fonttype": "none",  # text stays text: it can be searched, and has every letter that its reader has
}  # fmt: skip
FORMATS = {".svg": "svg", ".png": "png", ".pdf": "pdf"}
NOTHING_OF_THE_DAY: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": "graphspec"},
    "png": {"Software": "graphspec"},
    "pdf": {"CreationDate": None, "Creator": "graphspec", "Producer": None},
}
"""Metadata: one picture makes one file, on any day."""


@contextmanager
def styled() -> Iterator[None]:
    """The style, for the figure that is made or written here; matplotlib's settings are then as they were.

    They are the process's own, so pictures are made in one thread at a time.  E0820 without matplotlib.
    """
    style = need("matplotlib", "plots", "pictures need") and need("matplotlib.style", "plots", "pictures need")
    with style.context(STYLE, after_reset=True), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from (current )?font", UserWarning)  # an SVG has it from its reader's fonts
        yield


def figure(width: float, height: float) -> Figure:
    """An empty figure of about this size in inches (100 pixels each in a PNG, 72 points in a PDF)."""
    return need("matplotlib.figure", "plots", "pictures need").Figure(figsize=(width, height))


def format_of(path: str | Path) -> str:
    """By the file's ending; E0837 when it is no picture's."""
    ending = Path(path).suffix.lower()
    if ending not in FORMATS:
        named = f"{ending!r}" if ending else "no ending"
        raise fail("E0837", f"{path}: {named} is no format of pictures", helps=[f"there are {', '.join(FORMATS)}"])
    return FORMATS[ending]


def encoded(figure: Figure, form: str) -> bytes:
    """The figure as a file of this format (``svg``, ``png``, ``pdf``); the same figure makes the same bytes."""
    file = io.BytesIO()
    with styled():
        figure.savefig(file, format=form, metadata=NOTHING_OF_THE_DAY[form], bbox_inches="tight", pad_inches=0.1)  # nothing is cut off
    return file.getvalue()


def save(figure: Figure, path: str | Path) -> None:
    """The figure to a file, whole or not at all; E0837 for an ending that is no picture's, E0805 when it cannot be written."""
    form = format_of(path)
    write_bytes(Path(path), encoded(figure, form))


# -- text ------------------------------------------------------------------------------------------------------------------------

MARKS = {" ": "\u2423", "\n": "\u21b5", "\t": "\u21e5"}
"""What stands for symbols that leave no mark."""
LABEL, LINE = 24, 90
"""Characters at most: of a label, of a title or a name."""


def shown(symbol: str) -> str:
    """A symbol as a label that can be seen: blanks have a mark; the rest as in :func:`printable`."""
    return MARKS.get(symbol) or printable(symbol, LABEL)


def printable(text: str, most: int = LINE) -> str:
    """Text that fits: characters that no picture can hold stand as their codes, and the middle of what is too long is left out."""
    found = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    half = most // 2
    return found if len(found) <= most else f"{found[: most - half - 1]}…{found[-half:]}"


# -- axes ------------------------------------------------------------------------------------------------------------------------


def numbered(axis: Any, text: Callable[[float], str] | None = None) -> None:
    """An axis with its ticks as ``text`` says them; else as plain numbers, on a linear axis all with as many decimals."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    def plain(value: float) -> str:
        ticks = [value] if axis.get_scale() == "log" else axis.get_majorticklocs()
        return number(value, max((len(f"{tick:.6g}".partition(".")[2]) for tick in ticks), default=0))

    axis.set_major_formatter(FuncFormatter(lambda value, _: (text or plain)(value)))
    axis.set_minor_formatter(NullFormatter())


def number(value: float, decimals: int) -> str:
    """As people write it: ``20,000``, ``0.25``, ``1e-07``."""
    return f"{value:.0e}" if value and not 1e-4 <= abs(value) < 1e15 else f"{value:,.{decimals}f}"


def percent(value: float) -> str:
    """A share: ``40 %``."""
    return f"{100 * value:.4g} %"


def duration(seconds: float) -> str:
    """Of an axis: ``0``, ``40 s``, ``5 min``, ``1:30 h``."""
    if seconds == 0:
        return "0"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    return f"{seconds / 60:.3g} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d} h"


def timed(axis: Any, seconds: float) -> None:
    """An axis of time up to ``seconds``, with ticks where clocks have theirs."""
    from matplotlib.ticker import MultipleLocator

    clocks = [0.1, 0.2, 0.5, *(a * b for b in (1, 60, 3600) for a in (1, 2, 5, 10, 20, 30))]
    axis.set_major_locator(MultipleLocator(next((step for step in clocks if seconds <= 8 * step), math.ceil(seconds / 8 / 86400) * 86400)))
    numbered(axis, duration)


def logarithmic_if_wide(axes: Axes, values: Iterable[float]) -> None:
    """A logarithmic y axis where positive values span more than a factor of 50, because no other shows them all."""
    from matplotlib.ticker import LogLocator

    finite = [v for v in values if math.isfinite(v)]
    if finite and min(finite) > 0 and max(finite) / min(finite) > 50:
        axes.set_yscale("log")
        few = max(finite) / min(finite) < 5000
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,)))
