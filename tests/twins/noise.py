"""PyTorch twins of noise; what a record makes of ones tells the noise that it drew."""

from __future__ import annotations

import math
from typing import Any

from graphspec.graph import Module
from twins.common import Env, Twin


def plane_dropout(m: Module, x: Any, env: Env) -> Any:
    return x * env.noise if env.training or m.args.stochasticInference else x * (1 - m.args.p)


def sampler(m: Module, x: Any, env: Env) -> Any:
    mean, variance = x
    if not env.training:
        return mean
    drawn = (env.noise - 1) / math.exp(0.5)  # the noise is what it made of a mean and a logarithm of 1
    return mean + variance.exp().sqrt() * drawn


TWINS: dict[str, Twin] = {
    "SpatialDropout": plane_dropout,
    "VolumetricDropout": plane_dropout,
    "TotalDropout": lambda m, x, env: x * env.noise if env.training else x,
    "SpatialRegionDropout": lambda m, x, env: x * env.noise if env.training else x,
    "GradientReversal": lambda m, x, env: x.detach() - vars(m.args)["lambda"] * (x - x.detach()),
    "WhiteNoise": lambda m, x, env: x + (env.noise - 1 if env.training else m.args.mean),
    "Sampler": sampler,
}
