"""Criterions beside what samples prove: rows that are left out, criterions added in a spec, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphspec
from graphspec.graph import REGISTRY, Leaf, Make, Sample, Table
from graphspec.nn.classification import corners
from graphspec.prove import twin_errors
from graphspec.samples import Case
from twins import TWINS

try:
    import torch
except ImportError:
    torch = None  # type: ignore[assignment]

ROWS = Leaf((3, 2), values=(0.3, -0.5, 0, 0, 0.9, 0.2))
CLASSES = Leaf((3,), index=True, values=(2, 0, 1))
MASKED = [
    Sample((Make("ClassNLLCriterion"), 1), (ROWS, CLASSES)),
    Sample((Make("ClassNLLCriterion", (Table((1, 3)),)), 1), (ROWS, CLASSES)),
    Sample((Make("CrossEntropyCriterion", (None, False)), 1), (ROWS, CLASSES)),
    Sample((Make("MultiMarginCriterion"), 1), (ROWS, CLASSES)),
    Sample((Make("MSECriterion"), 2), (Leaf((2, 1, 2), values=(0, 0, 0.4, 0)), (2, 1, 2))),
    Sample((Make("BCECriterion", (Table((1, 2)),)), 1), (Leaf((2, 2), values=(0, 0, 0.4, 0.9)), Leaf((2, 2), 0.1, 0.9))),
    Sample((Make("CosineEmbeddingCriterion"), 1), ((ROWS, Leaf((3, 2), 0.2, 0.9)), Leaf((3,), values=(1.0, 1.0, -1.0)))),
]


@pytest.mark.skipif(torch is None, reason="torch is not installed: no twins to compare with")
@pytest.mark.parametrize("number", range(len(MASKED)))
def test_rows_of_zeros_are_left_out(number: int) -> None:
    """Against the criterion on the other rows alone; no difference quotient can tell, since a row is out only where it is exactly 0."""
    errors = twin_errors(Case(REGISTRY["MaskZeroCriterion"], MASKED[number]), TWINS["MaskZeroCriterion"])
    assert len(errors) > 1 and max(errors.values()) < 1e-10, errors


def test_no_row_left_is_no_loss() -> None:
    case = Case(REGISTRY["MaskZeroCriterion"], Sample((Make("MSECriterion"), 1), (Leaf((2, 2), values=(0, 0, 0, 0)), (2, 2))))
    assert float(case.probe.forward(case.point)[0]) == 0
    assert not any(g.any() for g in case.probe.backward(case.point, [np.ones(())]).values())


def loss(criterion: str, *arrays: Any, inputs: str = "{x1, x2}", **more: Any) -> float:
    dtypes = ["" if a.dtype.kind == "f" else ", dtype = 'int32'" for a in arrays]
    shapes = [", ".join(map(str, a.shape)) + dtype for a, dtype in zip(arrays, dtypes, strict=True)]
    declared = [f"local x{i} = nn.Identity{{{shape}}}()" for i, shape in enumerate(shapes, 1)]
    names = ", ".join(f"x{i}" for i in range(1, len(arrays) + 1))
    text = "\n".join([*declared, f"local criterion = {criterion}", f"return nn.gModule({{{names}}}, {{criterion({inputs})}})"])
    return float(graphspec.compile(text, dtype="float64", **more)(*arrays))


X, T = np.random.default_rng(0).uniform(0.1, 0.9, (2, 2, 3))


def test_criterions_added_with_weights() -> None:
    one, other = np.abs(X - T).mean(), ((X - T) ** 2).mean()
    text = "nn.MultiCriterion():add(nn.AbsCriterion(), 0.5):add(nn.MSECriterion()):add(nn.MSECriterion(), -3)"
    assert loss(text, X, T) == pytest.approx(one / 2 - 2 * other)
    text = "nn.ParallelCriterion():add(nn.AbsCriterion()):add(nn.MSECriterion(), 2)"
    assert loss(text, X, X, T, T, inputs="{{x1, x2}, {x3, x4}}") == pytest.approx(one + 2 * other)
    text = "nn.ParallelCriterion(true):add(nn.AbsCriterion()):add(nn.MSECriterion(), 2)"
    assert loss(text, X, X, T, inputs="{{x1, x2}, x3}") == pytest.approx(one + 2 * other)
    cloned = "nn.MultiCriterion():add(nn.AbsCriterion(), 0.5)\nlocal twin = criterion:clone()\ntwin:add(nn.MSECriterion())"
    assert loss(cloned, X, T) == pytest.approx(one / 2)


def test_fields_that_torch_sets_after_construction() -> None:
    total = np.abs(X - T).sum()
    assert loss("nn.AbsCriterion()\ncriterion.sizeAverage = false", X, T) == pytest.approx(total)
    signs = np.array([[1, -1, 1], [-1, -1, 1]], np.int32)
    wanted = np.maximum(0, 0.2 - signs * X).sum()
    assert loss("nn.MarginCriterion()\ncriterion.sizeAverage = false\ncriterion.margin = 0.2", X, signs) == pytest.approx(wanted)


def test_as_torch_s_pages_write_it() -> None:
    classes = np.array([3, 1], np.int32)
    log_p = X - np.log(np.exp(X).sum(1, keepdims=True))
    wanted = -log_p[[0, 1], classes - 1].sum()
    assert loss("nn.CrossEntropyCriterion()\ncriterion.nll.sizeAverage = false", X, classes) == pytest.approx(wanted)
    text = """
    local x, target = nn.Identity{2, 3}(), nn.Identity{2, 3}()
    return nn.gModule({x, target}, {nn.AbsCriterion():forward(x, target)})
    """
    assert float(graphspec.compile(text, dtype="float64")(X, T)) == pytest.approx(np.abs(X - T).mean())


def test_classes_from_zero() -> None:
    """``index_base=0`` counts classes from 0, and fills up with -1."""
    for name in ("MultiMarginCriterion", "CrossEntropyCriterion", "ClassSimplexCriterion"):
        made = f"nn.{name}({3 if name == 'ClassSimplexCriterion' else ''})"
        classes = np.array([3, 1], np.int32)
        assert loss(made, X, classes - 1, index_base=0) == loss(made, X, classes)
    for ignored, targets in ((0, [3, 0]), (2, [3, 2]), (-100, [3, -100])):
        given = np.array(targets, np.int32)
        made = f"nn.ClassNLLCriterion(nil, true, {ignored})"
        assert loss(made, X, given - 1, index_base=0) == loss(made, X, given) == pytest.approx(-X[0, 2])
    several = np.array([[1, 3, 0], [2, 0, 0]], np.int32)
    assert loss("nn.MultiLabelMarginCriterion()", X, several - 1, index_base=0) == loss("nn.MultiLabelMarginCriterion()", X, several)
    x, lengths = np.random.default_rng(1).standard_normal((4, 2, 3)), np.array([2, 1], np.int32)
    given = (np.array([[2, 3], [3, 0]], np.int32), np.array([4, 3], np.int32), lengths)
    names = "{x1, x2, x3, x4}"
    found = loss("nn.CTCCriterion()", x, given[0] - 1, *given[1:], inputs=names, index_base=0)
    assert found == loss("nn.CTCCriterion()", x, *given, inputs=names)


def test_corners_are_a_regular_simplex() -> None:
    for n in (2, 3, 7, 40):
        products = corners(n) @ corners(n).T
        np.testing.assert_allclose(products, (np.eye(n) * n - 1) / (n - 1), atol=1e-12)
        np.testing.assert_allclose(corners(n).sum(0), 0, atol=1e-12)


REFUSED = [
    ("nn.MultiCriterion():add(nn.AbsCriterion(), 'a')", "a weight is a finite number"),
    ("nn.MultiCriterion():add(3)", "module expected"),
    ("nn.MultiCriterion():insert(nn.AbsCriterion(), 1)", "has no such method"),
    ("nn.ParallelCriterion():add(nn.AbsCriterion()):remove()", "has no such method"),
    ("nn.MaskZeroCriterion(nn.MultiCriterion(), 1)", "not a criterion with a loss for each row"),
    ("nn.MaskZeroCriterion(nn.CTCCriterion(), 1)", "not a criterion with a loss for each row"),
    ("nn.MaskZeroCriterion(nn.Linear(2, 3), 1)", "not a criterion with a loss for each row"),
    ("nn.MultiMarginCriterion(3)", "p must be 1 or 2"),
    ("nn.MarginCriterion(0/0)", "margin must be a finite number"),
    ("nn.BCECriterion({{1, 2}, {3, 4}})", "a table of numbers, one for each class"),
    ("nn.WeightedMSECriterion({{1, 2}, {3}})", "such tables of one length"),
    ("nn.ClassNLLCriterion({1, {2}})", "a table of numbers, one for each class"),
    ("nn.ClassSimplexCriterion(1)", "nClasses must be from 2"),
    ("nn.MultiCriterion()", "no criterion has been added"),
    ("nn.MultiCriterion():add(nn.Tanh())", "does not fit"),
    ("nn.SequencerCriterion(nn.Linear(3, 3))", "a tensor is wanted here"),
    ("nn.BinaryClassReward()", "needs module"),
]


@pytest.mark.parametrize(("text", "words"), REFUSED, ids=range(len(REFUSED)))
def test_refused_in_plain_words(text: str, words: str) -> None:
    with pytest.raises(graphspec.SpecError, match=words):
        loss(text, X, T)


SIZES = [
    ("nn.SpatialAutoCropMSECriterion()", (2, 3, 3), (2, 3, 2), "smaller than 3"),
    ("nn.SpatialAutoCropMSECriterion()", (2, 3), (2, 3), "3 or 4 axes are wanted here"),
    ("nn.SpatialAutoCropMSECriterion()", (2, 3, 3), (1, 2, 3, 3), "x has 3 axes, target 4"),
    ("nn.WeightedMSECriterion({1, 2})", (2, 2, 2), (2, 2, 2), "a weight of 1 axes on a tensor of 3"),
    ("nn.WeightedMSECriterion({1, 2})", (2, 3), (2, 3), "3 vs 2"),
    ("nn.BCECriterion({1, 2})", (2, 3), (2, 3), "3 vs 2"),
    ("nn.HingeEmbeddingCriterion()", (2, 3), (2, 2), "3 vs 2|2 vs 3"),
    ("nn.AbsCriterion()", (2, 3), (3, 2), "must have equal shapes"),
    ("nn.MixtureCriterion(2)", (4, 12), (4, 3), "12 vs 13"),
    ("nn.MaskZeroCriterion(nn.MSECriterion(), 2)", (2, 3), (2, 3), "a batch axis and 2 more are wanted here"),
    ("nn.SequencerCriterion(nn.MSECriterion())", (2, 3), (3, 3), "2 vs 3|3 vs 2"),
]


@pytest.mark.parametrize(("text", "x", "target", "words"), SIZES, ids=range(len(SIZES)))
def test_sizes_refused(text: str, x: Any, target: Any, words: str) -> None:
    with pytest.raises(graphspec.SpecError, match=words):
        loss(text, np.ones(x), np.ones(target))
