"""PyTorch twins of criterions of distributions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphspec.graph import Module
from twins.common import Env

try:
    import torch
    from torch import distributions as D
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]


def rows(x: Any, average: bool) -> Any:
    """All added up, over the number of rows if that is wanted."""
    return x.sum() / (x[..., 0].numel() if average else 1)


def divergence(m: Module, x: Any, env: Env) -> Any:
    mean, v = x
    there = D.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    return rows(D.kl_divergence(D.Normal(mean, (v / 2).exp()), there), m.args.sizeAverage)


def gaussian(m: Module, x: Any, env: Env) -> Any:
    (mean, v), target = x
    return rows(-D.Normal(mean, (v / 2).exp()).log_prob(target), m.args.sizeAverage)


def contrast(m: Module, x: Any, env: Env) -> Any:
    """The binary cross entropy of "it is a target", for targets and for samples."""
    right, model, noise, others = x
    k = model.shape[1]
    p, q = right / (right + k * noise + 1e-7), k * others / (model + k * others + 1e-7)
    losses = [-D.Bernoulli(p).log_prob(torch.ones_like(p)), -D.Bernoulli(q).log_prob(torch.ones_like(q))]
    return sum(t.sum() for t in losses) / (len(p) if m.args.sizeAverage else 1)


def mixture(m: Module, x: Any, env: Env) -> Any:
    y, target = x
    e, *parts = y.split([1] + [m.args.nComponents] * 6, -1)
    w, mu1, mu2, s1, s2, r = parts
    covariance = torch.stack([(2 * s1).exp(), r.tanh() * (s1 + s2).exp(), r.tanh() * (s1 + s2).exp(), (2 * s2).exp()], -1)
    planes = D.MultivariateNormal(torch.stack([mu1, mu2], -1), covariance.unflatten(-1, (2, 2)))
    at = D.MixtureSameFamily(D.Categorical(logits=w), planes).log_prob(target[..., :2])
    lifted = D.Bernoulli(logits=-e[..., 0]).log_prob(target[..., 2])
    losses = -(at + lifted)
    return losses.mean() if m.args.sizeAverage else losses.sum()


TWINS: dict[str, Callable[[Module, Any, Env], Any]] = {
    "KLDCriterion": divergence,
    "GaussianCriterion": gaussian,
    "MixtureCriterion": mixture,
    "NCECriterion": contrast,
}
