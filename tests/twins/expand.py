"""PyTorch twins of repeating."""

from __future__ import annotations

from graphspec.prove import Twin

TWINS: dict[str, Twin] = {
    "ExpandAs": lambda m, x, env: [x[0] * 1, x[1].expand_as(x[0])],
}
