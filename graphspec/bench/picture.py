"""A profile as a picture: a bar for each line of the spec, made up of the kinds of work done for it."""

from __future__ import annotations

from graphspec.bench.profile import Profile, share, source_text
from graphspec.plots.style import COLOURS, FAINT, Figure, figure, printable, styled
from graphspec.render import line_numbers

MOST, LEAST, REST = 24, 0.002, "all other lines"
"""Lines that are shown, those that take longest, and the least share of a step; the rest are one bar."""
TEXT = 44
"""Characters of a line's text."""
OTHER = "other"


def time_by_line(profile: Profile, title: str = "") -> Figure:
    """Milliseconds of a step by line, what takes longest on top."""
    kinds = [kind for kind, _, _ in profile.by_kind()][: len(COLOURS) - 1]
    rows: list[tuple[str, dict[str, float]]] = []
    for i, (lines, ones, cost) in enumerate(profile.by_line()):
        text = source_text(ones[0].places[0]) if ones[0].places else ""
        name = f"{line_numbers(lines) or 'no line of the spec'}  {printable(text, TEXT)}".strip()
        if i < MOST and share(cost.seconds, profile.seconds) >= LEAST:
            rows.append((name, {}))
        elif not rows or rows[-1][0] != REST:
            rows.append((REST, {}))
        for one in ones:
            kind = one.kind if one.kind in kinds else OTHER
            rows[-1][1][kind] = rows[-1][1].get(kind, 0.0) + one.cost.seconds
    rows += [(what, {OTHER: seconds}) for what, seconds in profile.others.items()]
    with styled():
        picture = figure(9.0, 1.2 + 0.26 * len(rows))
        axes = picture.subplots()
        starts = [0.0] * len(rows)
        for colour, kind in zip((*COLOURS[: len(kinds)], FAINT), (*kinds, OTHER), strict=True):
            lengths = [1e3 * parts.get(kind, 0.0) for _, parts in rows]
            if any(lengths):
                axes.barh(range(len(rows)), lengths, left=starts, color=colour, height=0.7, label=kind)
            starts = [a + b for a, b in zip(starts, lengths, strict=True)]
        for i, end in enumerate(starts):
            axes.annotate(f"{share(end / 1e3, profile.seconds):.1%}", (end, i), (4, 0), textcoords="offset points", va="center", fontsize=8)
        axes.set_yticks(range(len(rows)), [name for name, _ in rows])
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(f"ms of a {profile.what}, {profile.device}")
        axes.set_title(printable(title))
        axes.legend(loc="lower right")
    return picture
