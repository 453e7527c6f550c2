"""PyTorch twins of rewards: alone they teach the baseline."""

from __future__ import annotations

from typing import Any

from graphspec.graph import Module
from twins.common import Env, Twin

try:
    import torch
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]

CRITERIONS = {"MSECriterion": "mse_loss", "AbsCriterion": "l1_loss"}


def reward(m: Module, baseline: Any, right: Any) -> Any:
    """Minus the rewards, with the gradient of what the baseline learns from."""
    rewards = right.to(baseline.dtype) * m.args.scale
    loss = -(rewards.mean() if m.args.sizeAverage else rewards.sum())
    learned = getattr(torch.nn.functional, CRITERIONS[m.args.criterion.record.name])(baseline.flatten(), rewards)
    return loss + learned - learned.detach()


def class_reward(m: Module, x: Any, env: Env) -> Any:
    (prediction, baseline), target = x
    return reward(m, baseline, prediction.reshape(-1, prediction.shape[-1]).argmax(1) + 1 == target.reshape(-1))


def binary_reward(m: Module, x: Any, env: Env) -> Any:
    (prediction, baseline), target = x
    return reward(m, baseline, (prediction > 0.5) == (target == 1))


TWINS: dict[str, Twin] = {"VRClassReward": class_reward, "BinaryClassReward": binary_reward}
