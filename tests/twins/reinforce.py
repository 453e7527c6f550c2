"""PyTorch twins of what draws: ``env.outputs[0]`` is the sample; in training minus the logarithm of its probability is the last output."""

from __future__ import annotations

from typing import Any

from graphspec.graph import Module
from twins.common import Env, Twin

try:
    import torch
    from torch.distributions import Bernoulli, Gamma, Normal
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]


def both(m: Module, x: Any, name: str) -> tuple[Any, Any]:
    return tuple(x) if isinstance(x, list) else (x, torch.tensor(getattr(m.args, name), dtype=x.dtype))


def drawn(m: Module, env: Env, mean: Any, log_probability: Any) -> Any:
    """``log_probability(sample)`` of all elements."""
    if env.training:
        return [env.outputs[0], -log_probability(env.outputs[0]).sum()]
    return env.outputs[0] if m.args.stochastic else mean.detach()


def bernoulli(m: Module, x: Any, env: Env) -> Any:
    return drawn(m, env, x, Bernoulli(x).log_prob)


def categorical(m: Module, x: Any, env: Env) -> Any:
    return drawn(m, env, x, lambda y: torch.log(x[y == 1] + 1e-8))


def normal(m: Module, x: Any, env: Env) -> Any:
    mean, stdev = both(m, x, "stdev")
    return drawn(m, env, mean, Normal(mean, stdev.expand_as(mean)).log_prob)


def gamma(m: Module, x: Any, env: Env) -> Any:
    shape, scale = both(m, x, "scale")
    return drawn(m, env, shape * scale, Gamma(shape, 1 / scale.expand_as(shape)).log_prob)


TWINS: dict[str, Twin] = {
    "ReinforceBernoulli": bernoulli,
    "ReinforceCategorical": categorical,
    "ReinforceNormal": normal,
    "ReinforceGamma": gamma,
}
