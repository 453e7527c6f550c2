"""Did-you-mean."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MAX_LENGTH = 80
"""Of names that are compared: what is longer was not mistyped."""


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like ``name``, if any is like it (case aside)."""
    if len(name) > MAX_LENGTH:
        return None
    names = [n for n in known if len(n) <= MAX_LENGTH]
    lowered = {n.lower(): n for n in names}
    match = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)
    return lowered[match[0]] if match else None


def one_of(name: str, known: Iterable[str]) -> list[str]:
    """A help line naming the closest known name, or, where none is like it, all of them."""
    names = list(known)
    return did_you_mean(name, names) or ([f"there are {', '.join(names)}"] if names else [])


def did_you_mean(name: str, known: Iterable[str], form: str = "{}") -> list[str]:
    """A help line naming the closest known name, or none."""
    match = closest(name, known)
    return [f"did you mean `{form.format(match)}`?"] if match else []
