"""What to suggest when two shapes differ."""

from __future__ import annotations

from collections.abc import Sequence

from graphspec.shapes.cells import UNKNOWN, show
from graphspec.sizes import Size


def repeat_hint(a: Sequence[Size], b: Sequence[Size]) -> list[str]:
    """How repeating one tensor would give two shapes the same sizes, where it would."""
    small, big = sorted((tuple(a), tuple(b)), key=len)
    how = ""
    if len(big) == len(small) + 1:
        axes = [*range(1, len(big)), 0]
        fits = [i for i in axes if big[:i] + big[i + 1 :] == small] or [i for i in axes if _may_equal(big[:i] + big[i + 1 :], small)]
        if fits:
            how = f"nn.Replicate({_argument(big[fits[0]])}, {fits[0] + 1})"
    elif len(big) == len(small):
        differing = [i for i, (m, n) in enumerate(zip(small, big, strict=True)) if m != n]
        if len(differing) == 1:
            i = differing[0]
            larger = big[i] if small[i] == 1 else small[i] if big[i] == 1 else None
            if larger is not None:
                how = f"nn.Replicate({_argument(larger)}, {i + 1})(nn.Select({i + 1}, 1)(...))"
    return [f"nothing is broadcast here: repeat the smaller one with `{how}` (no copy is made)"] if how else []


def _may_equal(a: Sequence[Size], b: Sequence[Size]) -> bool:
    """Whether two shapes are equal but for sizes that are not known yet."""
    return all(m == n or (m.lone or "").startswith(UNKNOWN) or (n.lone or "").startswith(UNKNOWN) for m, n in zip(a, b, strict=True))


def _argument(n: Size) -> str:
    """A size as a spec writes it: a number, or a letter in quotes."""
    return str(n) if n.value is not None else f"'{show(n)}'"
