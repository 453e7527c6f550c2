"""PyTorch twins of small modules of Element-Research's rnn."""

from __future__ import annotations

from graphspec.prove import Twin

TWINS: dict[str, Twin] = {
    "SAdd": lambda m, x, env: (x + m.args.addend) * (-1 if m.args.negate else 1),
    "ExpandAs": lambda m, x, env: [x[0] * 1, x[1].expand_as(x[0])],
}
