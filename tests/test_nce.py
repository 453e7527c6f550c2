"""Noise contrastive estimation: which classes are drawn, and that it trains with its criterion."""

from __future__ import annotations

import numpy as np
import pytest

import graphspec

TEXT = """
local x, target = nn.Identity{{'B', 2}}(), nn.Identity{{'B', dtype='int32'}}()
local nce = nn.NCEModule({})
local y = nce({{x, target}})
return nn.gModule({{x, target}}, {{{}}})
"""


@pytest.mark.parametrize("device", ["reference", "numpy"])
@pytest.mark.parametrize("weights", [[1], [3, 1], [0, 2, 0, 5, 1, 0, 0.5], [1 + (i * 7) % 13 for i in range(37)], [0, 0, 1]])
def test_classes_are_drawn_by_how_frequent_they_are(weights: list[float], device: str) -> None:
    table = "{" + ", ".join(map(str, weights)) + "}"
    found = graphspec.compile(TEXT.format(f"2, {len(weights)}, 4000, {table}", "y"), dtype="float64", device=device)
    found.parameters["nce.weight"][...] = 0
    found.parameters["nce.bias"][...] = np.arange(len(weights))
    p, others, q, noise = found((np.zeros((3, 2)), np.array([1, len(weights), 1])))
    wanted = np.array(weights) / sum(weights)
    drawn = np.round(np.log(others[0])).astype(int)  # the bias of each tells which it is
    assert np.array_equal(others[0], others[2])
    np.testing.assert_allclose(noise, np.tile(wanted[drawn], (3, 1)))
    counts = np.bincount(drawn, minlength=len(weights))
    assert (counts[wanted == 0] == 0).all()
    np.testing.assert_allclose(counts / 4000, wanted, atol=4 * 0.5 / 4000**0.5)
    np.testing.assert_allclose(q, wanted[[0, -1, 0]])
    np.testing.assert_allclose(p, np.exp([0, len(weights) - 1, 0]))


def test_each_row_has_its_own_without_batchnoise() -> None:
    found = graphspec.compile(TEXT.format("2, 8, 50, {1, 2, 3, 4, 5, 6, 7, 8}, 1, false", "y"), dtype="float64")
    noise = found((np.zeros((2, 2)), np.array([1, 2])))[3]
    assert not np.array_equal(noise[0], noise[1])


def test_with_its_criterion_the_model_learns_the_classes() -> None:
    found = graphspec.compile(TEXT.format("2, 3, 5, {1, 1, 1}", "nn.NCECriterion()(y)"), dtype="float64", device="numpy")
    x, target = np.array([[1.0, 0.0], [0.0, 1.0]] * 20), np.array([1, 3] * 20)
    losses = []
    for _ in range(200):
        losses.append(float(found((x, target))))
        found.zero_gradients()
        found.backward((x, target), 1)
        found.flat_parameters -= 0.5 * found.flat_gradients
    assert np.mean(losses[-20:]) < 0.85 * losses[0]
    scores = x[:2] @ found.parameters["nce.weight"].T + found.parameters["nce.bias"]
    assert scores.argmax(1).tolist() == [0, 2]


@pytest.mark.parametrize(
    ("args", "code"),
    [
        ("2, 3, 5", "E0420"), ("2, 3, 5, {1, 2}", "E0422"), ("2, 3, 5, {1, -2, 3}", "E0422"), ("2, 3, 5, {0, 0, 0}", "E0422"),
        ("2, 3, 5, {1, 'a', 3}", "E0422"), ("2, 3, 5, {1, 2, 3}, 0", "E0422"), ("2, 3, 0, {1, 2, 3}", "E0422"),
    ],
)  # fmt: skip
def test_arguments_that_are_refused(args: str, code: str) -> None:
    with pytest.raises(graphspec.SpecError) as caught:
        graphspec.compile(TEXT.format(args, "y"))
    assert caught.value.code == code
