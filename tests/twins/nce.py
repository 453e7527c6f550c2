"""The PyTorch twin of noise contrastive estimation; which classes were drawn is told by how frequent they are."""

from __future__ import annotations

from typing import Any

from graphspec.graph import Module
from graphspec.prove import Env, Twin


def nce(m: Module, x: Any, env: Env) -> Any:
    given, target = x
    weight, bias, unigrams = env.parameter(m, "weight"), env.parameter(m, "bias"), env.buffer(m, "unigrams")
    frequencies = env.outputs[3]
    drawn = (frequencies[..., None] == unigrams).int().argmax(-1)
    every = (given @ weight.T + bias).exp() / m.args.Z
    rows = target.long()[:, None] - 1
    return [every.gather(1, rows)[:, 0], every.gather(1, drawn), unigrams[rows[:, 0]], unigrams[drawn]]


TWINS: dict[str, Twin] = {"NCEModule": nce}
