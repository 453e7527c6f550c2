"""PyTorch twins of criterions made of criterions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphspec.graph import Module
from twins.common import Env, twin_of


def multi(m: Module, x: Any, env: Env) -> Any:
    weights = m.args.weights or [1] * len(m.children)
    return sum(w * twin_of(child, x, env) for child, w in zip(m.children, weights, strict=True))


def parallel(m: Module, x: Any, env: Env) -> Any:
    weights = m.args.weights or [1] * len(m.children)
    targets = [x[1]] * len(m.children) if m.args.repeatTarget else x[1]
    return sum(w * twin_of(child, [a, t], env) for child, w, a, t in zip(m.children, weights, x[0], targets, strict=True))


def behind(m: Module, x: Any, env: Env) -> Any:
    modules = m.args.inputModule, m.args.targetModule
    return twin_of(m.args.criterion, [v if f is None else twin_of(f, v, env) for f, v in zip(modules, x, strict=True)], env)


def sequence(m: Module, x: Any, env: Env) -> Any:
    losses = [twin_of(m.args.criterion, [a, t], env) for a, t in zip(*x, strict=True)]
    return sum(losses) / (len(losses) if m.args.sizeAverage else 1)


def repeated(m: Module, x: Any, env: Env) -> Any:
    return sum(twin_of(m.args.criterion, [a, x[1]], env) for a in x[0])


def masked(m: Module, x: Any, env: Env) -> Any:
    first = x[0]
    while isinstance(first, list):
        first = first[0]
    kept = first.flatten(1).norm(dim=1).nonzero()[:, 0]

    def some(value: Any) -> Any:
        return [some(item) for item in value] if isinstance(value, list) else value[kept]

    return twin_of(m.args.criterion, some(x), env)


TWINS: dict[str, Callable[[Module, Any, Env], Any]] = {
    "MultiCriterion": multi,
    "ParallelCriterion": parallel,
    "CriterionTable": lambda m, x, env: twin_of(m.args.criterion, x, env),
    "ModuleCriterion": behind,
    "SequencerCriterion": sequence,
    "RepeaterCriterion": repeated,
    "MaskZeroCriterion": masked,
}
