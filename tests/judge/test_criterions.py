"""PyTorch's list of tests of criterions, each without a batch axis: forward and backward within 1e-10 in float64.

``criterions.json`` holds the tests that agree, which may not shrink, and for each that is not judged the reason.  Write the first anew with
``python -m judge.test_criterions`` in the folder of the tests.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: no list to be judged by")
pytest.importorskip("expecttest", reason="torch's list of tests needs expecttest")

from torch.testing._internal.common_nn import criterion_tests  # noqa: E402

from judge import torch_modules  # noqa: E402
from judge.test_modules import distance, leaves  # noqa: E402
from judge.torch_losses import criterion  # noqa: E402
from judge.torch_modules import call, spec  # noqa: E402

STORED = Path(__file__).with_name("criterions.json")
TESTS = {test["fullname"]: test for test in criterion_tests}
TOLERANCE = 1e-10


def kl_divergence(m: Any, x: Any, target: Any) -> Any:
    return criterion(m, "nn.DistKLDivCriterion()", x, target)


def class_nll(m: Any, x: Any, target: Any) -> Any:
    """One row alone, whose target is a tensor of one element."""
    return spec(f"{call('ClassNLLCriterion', m.weight, m.reduction == 'mean')}({{x1, x2}})", x, target.reshape(1) + 1)


def triplet(m: Any, anchor: Any, positive: Any, negative: Any) -> Any:
    """No criterion of Torch's: the distances, of which one is to be the larger by a margin, are written of modules."""
    far, near = (f"nn.Sqrt()(nn.Sum(1)(nn.Square()(nn.AddConstant({m.eps})(nn.CSubTable()({{x1, x{i}}})))))" for i in (3, 2))
    assert m.p == 2 and not m.swap
    return spec(f"nn.ReLU()(nn.AddConstant({m.margin})(nn.CSubTable()({{{near}, {far}}})))", anchor, positive, negative).reshape(())


ADAPTERS = {**torch_modules.ADAPTERS, "nn.KLDivLoss": kl_divergence, "nn.NLLLoss": class_nll, "nn.TripletMarginLoss": triplet}


def made(test: dict[str, Any]) -> tuple[Any, list[Any], Any]:
    """The criterion, its inputs and its target.

    The reduction is what the test's name says: the list makes its criterions with the last one of a loop that has ended.
    """
    torch.manual_seed(0)
    m = test["constructor"]()
    m.reduction = test["fullname"].rsplit("_", 1)[1]
    given = test["input_fn"]() if "input_fn" in test else torch.randn(test["input_size"])
    target = test["target_fn"]() if "target_fn" in test else torch.randn(test["target_size"])
    inputs = [x.double().requires_grad_() for x in (given if isinstance(given, tuple) else (given,))]
    return m, inputs, target.double() if target.is_floating_point() else target


def apart(ours: Any, theirs: Any) -> float:
    return float(distance(ours.detach(), theirs.detach()))


def judge(name: str) -> str:
    """The empty string, or what is wrong."""
    m, inputs, target = made(TESTS[name])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own, about the mean of a divergence
        (theirs,) = leaves(m(*inputs, target))
    try:
        (ours,) = leaves(ADAPTERS[f"nn.{type(m).__name__}"](m, *inputs, target))
    except Exception as problem:
        return f"{type(problem).__name__}: {problem}".splitlines()[0]
    if not apart(ours, theirs) <= TOLERANCE:
        return f"values differ by {apart(ours, theirs):.1e}"
    cotangent = torch.randn_like(theirs)
    found = [torch.autograd.grad(y, inputs, cotangent) for y in (ours, theirs)]
    worst = max(apart(a, b) for a, b in zip(*found, strict=True))
    return "" if worst <= TOLERANCE else f"gradients differ by {worst:.1e}"


def stored() -> dict[str, Any]:
    return json.loads(STORED.read_text())  # type: ignore[no-any-return]


def test_every_criterion_is_judged_or_left_out_with_a_reason() -> None:
    found = stored()
    assert sorted(TESTS) == sorted([*found["agree"], *found["not judged"]])
    assert len(found["agree"]) >= 45
    assert all(len(reason.split()) > 3 for reason in found["not judged"].values())


@pytest.mark.parametrize("name", stored()["agree"] if STORED.exists() else [])
def test_criterion(name: str) -> None:
    assert judge(name) == ""


def test_another_criterion_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ADAPTERS, "nn.MSELoss", ADAPTERS["nn.L1Loss"])
    assert judge("MSELoss_no_batch_dim_mean").startswith("values differ")
    monkeypatch.setitem(ADAPTERS, "nn.MSELoss", lambda m, x, target: ADAPTERS["nn.L1Loss"](m, x, target) * 0 + m(x, target).detach())
    assert judge("MSELoss_no_batch_dim_mean").startswith("gradients differ")


def main() -> None:
    found = {name: judge(name) for name in TESTS}
    reasons = stored()["not judged"] if STORED.exists() else {}
    agree = [name for name, wrong in found.items() if not wrong]
    left = {name: reasons.get(name, wrong) for name, wrong in found.items() if wrong}
    STORED.write_text(json.dumps({"agree": agree, "not judged": left}, indent=1) + "\n")


if __name__ == "__main__":
    main()
