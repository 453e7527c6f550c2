"""Colours and type of pictures.  Plain properties, no CSS variables: programs that are no browsers read the file too, in light."""

from __future__ import annotations

FONT = '"Helvetica Neue",Helvetica,Arial,"Liberation Sans",sans-serif'

COLOURS: tuple[tuple[str, str, str, str], ...] = (
    # selector, property, light, dark
    (".gs .bg", "fill", "#fbfbfa", "#16191d"),
    (".gs text", "fill", "#24292f", "#dfe3e8"),
    (".gs .k,.gs .s,.gs .n,.gs .b .t", "fill", "#66707a", "#98a1ac"),
    (".gs .p", "fill", "#3a66a8", "#8fb4ec"),
    (".gs .b>rect", "fill", "#f2f4f3", "#1d2126"),
    (".gs .b>rect", "stroke", "#d5dad8", "#353c44"),
    (".gs .b.d>rect", "fill", "#fbfbfa", "#16191d"),
    (".gs .b.scan>rect", "fill", "#f6f2fb", "#231f2d"),
    (".gs .b.scan>rect", "stroke", "#c9b8e0", "#57487a"),
    (".gs .i>rect", "fill", "#ffffff", "#262b31"),
    (".gs .i>rect", "stroke", "#c3cad1", "#4a525c"),
    (".gs .i.learn>rect", "fill", "#e7effb", "#1f2d42"),
    (".gs .i.learn>rect", "stroke", "#9db9e2", "#42618f"),
    (".gs .i.act>rect", "fill", "#e8f4ec", "#1e3227"),
    (".gs .i.act>rect", "stroke", "#a4cdb2", "#41684f"),
    (".gs .i.io>rect", "fill", "#fff7e6", "#332e1f"),
    (".gs .i.io>rect", "stroke", "#e0c48a", "#75643a"),
    (".gs .i.wrong>rect", "fill", "#fdecea", "#3f2022"),
    (".gs .i.wrong>rect", "stroke", "#d1242f", "#f0686f"),
    (".gs .e path", "stroke", "#7d8894", "#77828e"),
    (".gs .e polygon", "fill", "#7d8894", "#77828e"),
    (".gs .l path", "stroke", "#8a63c2", "#b595e6"),
    (".gs .l polygon,.gs .loop", "fill", "#8a63c2", "#b595e6"),
    (".gs .tie rect", "fill", "#b4552d", "#e0875e"),
    (".gs .tie text", "fill", "#ffffff", "#16191d"),
)

SHAPES = f"""
.gs{{font-family:{FONT}}}
.gs text{{font-size:12px}}
.gs .t{{font-weight:600}}
.gs .h{{font-size:15px;font-weight:600}}
.gs .k,.gs .s,.gs .n,.gs .p,.gs .loop{{font-size:10.5px}}
.gs .b .t{{font-size:11px}}
.gs .b.scan>rect{{stroke-width:1.5}}
.gs .i.folded>rect{{stroke-dasharray:4 3}}
.gs .i.wrong>rect{{stroke-width:2}}
.gs .e path{{fill:none;stroke-width:1.2}}
.gs .l path{{fill:none;stroke-width:1.6;stroke-dasharray:6 3}}
.gs .tie text{{font-size:9.5px;font-weight:600}}
"""


def style() -> str:
    """The style sheet of a picture: light, and dark where the reader's system is."""
    light = "\n".join(f"{selector}{{{name}:{colour}}}" for selector, name, colour, _ in COLOURS)
    dark = "\n".join(f"{selector}{{{name}:{colour}}}" for selector, name, _, colour in COLOURS)
    return f"{SHAPES}{light}\n@media (prefers-color-scheme:dark){{\n{dark}\n}}\n"
