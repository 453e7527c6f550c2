"""PyTorch's database of modules: every sample of every module that specs can say, forward and backward, within 1e-8 in float64.

``modules.json`` holds, for each module, how many of its samples agree and how many there are; neither may shrink.  Write it anew with
``python tests/judge/test_modules.py``.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: no database to be judged by")
pytest.importorskip("expecttest", reason="torch's database of modules needs expecttest")

from torch.testing._internal.common_modules import module_db  # noqa: E402

from judge import torch_losses, torch_recurrent, torch_spatial  # noqa: E402, F401
from judge.torch_modules import ADAPTERS, LEFT_OUT, PARTLY  # noqa: E402

STORED = Path(__file__).with_name("modules.json")
INFOS = {info.name: info for info in module_db}


def leaves(value: Any) -> list[Any]:
    """The tensors of floats in a result."""
    if isinstance(value, torch.Tensor):
        return [value]
    return [leaf for item in value for leaf in leaves(item)] if isinstance(value, (tuple, list)) else []


def distance(ours: Any, theirs: Any) -> float:
    """Largest difference over the largest value (at least 1)."""
    if theirs is None or ours is None:
        return 0.0 if theirs is ours or not (theirs if ours is None else ours).any() else float("inf")
    if ours.shape != theirs.shape:
        return float("inf")
    if not theirs.numel():
        return 0.0
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1))


def judge(name: str, sample: Any, training: bool) -> str:
    """The empty string, or what is wrong."""
    torch.manual_seed(0)
    info = INFOS[name]
    args, kwargs = sample.constructor_input.args, sample.constructor_input.kwargs
    m = info.module_cls(*args, **kwargs).double().train(training)
    given, named = sample.forward_input.args, sample.forward_input.kwargs
    theirs = leaves(m(*given, **named))
    sources = [t for t in leaves([*given, *named.values()]) if t.requires_grad] + [p for p in m.parameters() if p.requires_grad]
    try:
        ours = leaves(ADAPTERS[name](m, *given, **named))
    except Exception as problem:
        return f"{type(problem).__name__}: {problem}".splitlines()[0]
    if len(ours) != len(theirs):
        return f"{len(ours)} results, not {len(theirs)}"
    worst = max(distance(a, b) for a, b in zip(ours, theirs, strict=True))
    if not worst <= 1e-8:
        return f"values differ by {worst:.1e}"
    cotangents = [torch.randn_like(y) for y in theirs]
    found = [torch.autograd.grad(ys, sources, cotangents, allow_unused=True) for ys in (ours, theirs)] if sources else [[], []]
    worst = max((distance(a, b) for a, b in zip(*found, strict=True)), default=0.0)
    return "" if worst <= 1e-8 else f"gradients differ by {worst:.1e}"


def judged(name: str) -> list[str]:
    """For each sample, in training and in evaluate mode, what is wrong."""
    info, found = INFOS[name], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own, about padding and lazy modules
        for training in (True, False):
            torch.manual_seed(1)
            samples = info.module_inputs_func(info, device="cpu", dtype=torch.float64, requires_grad=True, training=training)
            found += [judge(name, sample, training) for sample in samples]
    return found


def stored() -> dict[str, Any]:
    return json.loads(STORED.read_text()) if STORED.exists() else {}


def test_every_module_is_judged_or_left_out_with_a_reason() -> None:
    assert sorted(INFOS) == sorted([*ADAPTERS, *LEFT_OUT])
    assert sorted(stored()) == sorted(ADAPTERS)


def test_enough_agree() -> None:
    agree, there = (sum(row[key] for row in stored().values()) for key in ("agree", "samples"))
    assert sum(row["agree"] > 0 for row in stored().values()) >= 66
    assert agree >= 0.95 * there


def test_what_does_not_agree_has_a_reason() -> None:
    assert sorted(name for name, row in stored().items() if row["agree"] < row["samples"]) == sorted(PARTLY)


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_module(name: str) -> None:
    found, row = judged(name), stored()[name]
    wrong = [problem for problem in found if problem]
    assert len(found) >= row["samples"]
    assert len(found) - len(wrong) >= row["agree"], wrong


def main() -> None:
    rows = {}
    for name in sys.argv[1:] or sorted(ADAPTERS):
        found = judged(name)
        wrong = sorted({problem for problem in found if problem})
        rows[name] = {"samples": len(found), "agree": sum(not p for p in found), **({"wrong": wrong} if wrong else {})}
        sys.stdout.write(f"{name} {rows[name]}\n")
    if not sys.argv[1:]:
        STORED.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
