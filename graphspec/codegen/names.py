"""What makes printed C readable: names of buffers and operands, places of the spec, lines that are not too long."""

from __future__ import annotations

import re
from collections.abc import Sequence

from graphspec_runtime.plan import Plan

WIDTH = 120
"""Characters of a line, where it can be broken."""
LONGEST = 32
"""Characters of a spec's name that are kept."""


def stem(name: str) -> str:
    """A name of the spec as part of a C name, in small letters."""
    return re.sub(r"\W+", "_", name.rpartition("].")[2], flags=re.ASCII).strip("_").lower()[:LONGEST].strip("_")


def buffer_name(plan: Plan, index: int) -> str:
    """``B29_next_h``: with a capital, which no operand's name has."""
    return f"B{index}_{stem(plan.buffers[index].name)}".rstrip("_")


def operand_name(name: str, index: int) -> str:
    """``next_h_2``, or ``p2`` for a buffer without a name: no word of C ends like that."""
    found = stem(name)
    return f"{found}_{index}" if found and not found[0].isdigit() else f"p{index}"


def places(origins: Sequence[str]) -> str:
    """``specs/lstm.spec:6:12, 8:19``: each file once, as it may stand in a comment (bytes of its name that are no UTF-8 as ``?``)."""
    by_file: dict[str, list[str]] = {}
    for origin in origins:
        text = origin.encode(errors="replace").decode()
        path, _, place = re.sub(r"\s", " ", text).replace("*/", "* /").partition(":")
        by_file.setdefault(path, []).append(place)
    return "; ".join(f"{path}:{', '.join(found)}" for path, found in by_file.items())


def wrapped(line: str) -> list[str]:
    """A line of C, broken after commas where it is too long; comments and directives stay as they are."""
    bare = line.lstrip()
    if len(line) <= WIDTH or bare.startswith(("/*", "#")):
        return [line]
    indent = " " * (len(line) - len(bare) + 4)
    lines = [line[: len(line) - len(bare)]]
    for i, piece in enumerate(bare.split(", ")):
        text = piece if i == 0 else f", {piece}"
        if i and len(lines[-1]) + len(text) > WIDTH:
            lines[-1] += ","
            lines.append(indent + piece)
        else:
            lines[-1] += text
    return lines
