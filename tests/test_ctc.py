"""nn.CTCCriterion against every alignment counted one by one, and against PyTorch."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import graphspec

try:
    import torch
except ImportError:
    torch = None  # type: ignore[assignment]

TEXT = """
local x, targets = nn.Identity{{'T', 'B', 'n'}}(), nn.Identity{{'B', 'L', dtype = 'int32'}}()
local sizes, lengths = nn.Identity{{'B', dtype = 'int32'}}(), nn.Identity{{'B', dtype = 'int32'}}()
return nn.gModule({{x, targets, sizes, lengths}}, {{nn.CTCCriterion({})({{x, targets, sizes, lengths}})}})
"""


def model(args: str = "", dtype: str = "float64") -> graphspec.Model:
    return graphspec.compile(TEXT.format(args), dtype=dtype)


def ints(values: Any) -> Any:
    return np.array(values, np.int32)


def log_softmax(x: Any) -> Any:
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def counted(log_p: Any, target: list[int], blank: int = 1) -> float:
    """Minus the logarithm of the sum over all paths that become the target when repeats, then blanks, are taken out."""
    steps, n = log_p.shape
    total = 0.0
    for path in itertools.product(range(1, n + 1), repeat=steps):
        short = [c for i, c in enumerate(path) if c != blank and (i == 0 or path[i - 1] != c)]
        if short == target:
            total += np.exp(sum(log_p[t, c - 1] for t, c in enumerate(path)))
    return 0.0 if total == 0 else -float(np.log(total))


@pytest.mark.parametrize("blank", [1, 2, 3])
@pytest.mark.parametrize("target", [[], ["a"], ["a", "b"], ["a", "a"], ["b", "a", "b"], ["b", "b", "b"], ["a", "a", "b", "b"]])
def test_every_alignment_is_counted(blank: int, target: list[str]) -> None:
    """Also where there is none: three equal classes take five frames."""
    others = [c for c in (1, 2, 3) if c != blank]
    classes = [others["ab".index(name)] for name in target]
    found = model(f"false, false, {blank}")
    for steps in (1, 2, 4, 6):
        x = np.random.default_rng(steps).standard_normal((steps, 1, 3)) * 2
        padded = ints([[*classes, 0, 7]])
        y = float(found(x, padded, ints([steps]), ints([len(classes)])))
        assert abs(y - counted(log_softmax(x)[:, 0], classes, blank)) < 1e-8


def test_a_batch_is_the_sum_of_its_sequences() -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((5, 3, 4))
    targets, sizes, lengths = [[2, 3, 3], [4, 0, 0], [2, 4, 0]], [5, 3, 4], [3, 1, 2]
    parts = [counted(log_softmax(x)[:size, i], row[:n]) for i, (row, size, n) in enumerate(zip(targets, sizes, lengths, strict=True))]
    given = ints(targets), ints(sizes), ints(lengths)
    assert abs(float(model()(x, *given)) - sum(parts)) < 1e-8
    assert abs(float(model("false, true")(x, *given)) - sum(parts) / 3) < 1e-8
    rows_first = graphspec.compile(TEXT.format("true").replace("'T', 'B'", "'B', 'T'"), dtype="float64")
    assert abs(float(rows_first(x.transpose(1, 0, 2), *given)) - sum(parts)) < 1e-8
    assert abs(float(model(dtype="float32")(x.astype(np.float32), *given)) - sum(parts)) < 1e-4


@pytest.mark.skipif(torch is None, reason="torch is not installed: no twin to compare with")
@pytest.mark.parametrize("seed", range(8))
def test_gradients_are_pytorch_s(seed: int) -> None:
    """In batches of sequences of several lengths, with repeats, and some that no alignment fits."""
    rng = np.random.default_rng(seed)
    steps, rows, n, longest = (int(k) for k in rng.integers([5, 1, 2, 1], [40, 6, 9, 12]))
    x = rng.standard_normal((steps, rows, n)) * 3
    targets, sizes, lengths = (ints(rng.integers(low, high, shape)) for low, high, shape in (
        (2, n + 1, (rows, longest)), (1, steps + 1, rows), (0, longest + 1, rows)))  # fmt: skip
    ours = model()
    y = float(ours(x, targets, sizes, lengths))
    gradient = ours.backward((x, targets, sizes, lengths), np.ones(()))[0]
    theirs = torch.tensor(x, requires_grad=True)
    loss = torch.nn.functional.ctc_loss(
        theirs.log_softmax(2), torch.tensor(targets).long() - 1, torch.tensor(sizes).long(), torch.tensor(lengths).long(),
        reduction="sum", zero_infinity=True,
    )  # fmt: skip
    loss.backward()
    assert abs(y - float(loss.detach())) < 1e-8 * max(1, abs(y))
    np.testing.assert_allclose(gradient, theirs.grad.numpy(), rtol=0, atol=1e-6)
    assert np.isfinite(gradient).all()
    assert not gradient[:, [i for i in range(rows) if counted_frames(targets[i, : lengths[i]]) > sizes[i]]].any()


def counted_frames(target: Any) -> int:
    """The fewest frames that hold a target: one for each class, and a blank between equals."""
    return len(target) + int((target[1:] == target[:-1]).sum())


def test_far_scores_stay_finite() -> None:
    x = np.zeros((30, 1, 3), np.float32)
    x[:, :, 0] = 1e4  # only the blank is likely: the target has a probability of about exp(-2e4)
    ours = model(dtype="float32")
    given = (x, ints([[2, 3]]), ints([30]), ints([2]))
    assert abs(float(ours(*given)) - 2e4) < 10
    assert np.isfinite(ours.backward(given, np.ones((), np.float32))[0]).all()


@pytest.mark.parametrize(
    ("targets", "sizes", "lengths"), [([[2, 0]], [3], [2]), ([[2, 4]], [3], [2]), ([[2, 2]], [4], [2]), ([[2, 2]], [3], [3])]
)
def test_what_is_out_of_range_is_said(targets: Any, sizes: Any, lengths: Any) -> None:
    with pytest.raises(graphspec.SpecError, match="E0310"):
        model()(np.zeros((3, 1, 3)), ints(targets), ints(sizes), ints(lengths))


def test_a_blank_that_is_no_class_is_refused() -> None:
    text = TEXT.format("false, false, 4").replace("'n'", "3")
    with pytest.raises(graphspec.SpecError, match="blank is class 4 of 3"):
        graphspec.compile(text)
