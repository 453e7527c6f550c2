"""Inputs that nobody types: the rank is assumed that the modules ask for, and where it does not fit, others are tried."""

from __future__ import annotations

import pytest

from graphspec.errors import SpecError
from graphspec.open import open_spec, pick_module
from graphspec.program import assumptions, infer, leaves

FITS = [
    # the modules between x (and z) and the output, the inputs' shapes
    ("nn.Sum(3)(x)", "[B, n, m]"),
    ("nn.Sum(2, 2)(x)", "[B, n, m]"),
    ("nn.Narrow(3, 1, 2)(x)", "[B, n, m]"),
    ("nn.Linear(4, 2)(nn.Select(3, 1)(x))", "[B, 4, m]"),
    ("nn.View(4):setNumInputDims(1)(x)", "[B, 4]"),
    ("nn.View(4):setNumInputDims(2)(x)", "[B, n, 4]"),
    ("nn.View(-1, 3, 4)(nn.Linear(5, 4)(nn.View(5):setNumInputDims(2)(x)))", "[B, 3, 5]"),
    ("nn.View(3, 4):setNumInputDims(3)(x)", "[B, n, 3, 4]"),
    ("nn.View(-1, 4)(x)", "[B, 4]"),
    ("nn.Tanh()(nn.Sum(3)(nn.Linear(4, 2)(x)))", "[B, n, 4]"),
    ("nn.Mean(3)(nn.Transpose({2, 3})(nn.LookupTable(5, 4)(x)))", "[B, n]"),
    ("nn.MM()({x, nn.Replicate(1, 3)(nn.Linear(4, 4)(z))})", "[B, m, 4] [B, 4]"),
    ("nn.CAddTable()({nn.Sum(2)(x), nn.Linear(3, 2)(z)})", "[B, n, 2] [B, 3]"),
    ("nn.JoinTable(3)({nn.Linear(3, 2)(x), nn.Linear(3, 2)(z)})", "[B, m, 3] [B, m, 3]"),
    ("nn.CAddTable()({nn.SelectTable(1)(x), nn.Linear(3, 2)(nn.SelectTable(3)(x))})", "[B, 2] [B2, n] [B, 3]"),
    ("nn.JoinTable(2)(nn.NarrowTable(2, 2)(x))", "[B, n] [B2, n2] [B2, n3]"),
    ("nn.Tanh()(nn.SelectTable(-2)(x))", "[B, n] [B2, n2]"),
    ("nn.Linear(4, 2)(x)", "[B, 4]"),
    ("nn.Linear(4, 2)(nn.LookupTable(5, 4)(x))", "[B]"),
]


def spec(body: str) -> str:
    two = "z" in body
    return f"local x, z = nn.Identity()(), nn.Identity()()\nreturn nn.gModule({{x{', z' if two else ''}}}, {{{body}}})"


def shapes(body: str) -> str:
    found = infer(pick_module(open_spec(spec(body))))
    assert assumptions(found)[-1].code == "W0306"
    return " ".join("[" + ", ".join(map(str, t.shape)) + "]" for t in leaves(found.inputs))


@pytest.mark.parametrize(("body", "expected"), FITS, ids=[body for body, _ in FITS])
def test_assumed(body: str, expected: str) -> None:
    assert shapes(body) == expected


TOLD = [
    # the modules between x (and z) and the output, what is said to be assumed
    ("nn.Linear(4, 2)(x)", "some inputs have: assumed batch-major [B, 4]"),
    ("nn.CAddTable()({nn.Linear(4, 2)(x), nn.Linear(3, 2)(z)})", "some inputs have: assumed batch-major [B, 4]"),
    ("nn.JoinTable(1)({x, nn.Linear(10, 20)(x)})", "some inputs have: assumed [10]"),
    (
        "nn.JoinTable(1)({nn.Sequential():add(nn.SplitTable(1)):add(nn.ParallelTable()"
        ":add(nn.Linear(10, 20)):add(nn.Linear(10, 30)))(x):split(2)})",
        "some values have: assumed [20] at nn.JoinTable",
    ),
]


@pytest.mark.parametrize(("body", "expected"), TOLD, ids=[body for body, _ in TOLD])
def test_what_is_told_of_it(body: str, expected: str) -> None:
    """A vector is not called batch-major, and what a module inside was assumed to have is not told as an input's."""
    found = assumptions(infer(pick_module(open_spec(spec(body)))))[-1]
    assert found.message == f"nothing says what shape {expected}"


def test_sizes_that_nobody_named_have_the_names_of_their_shape() -> None:
    with pytest.raises(SpecError, match=r"views \[B, n, m\], so -1 would be m\*n / 3"):
        infer(pick_module(open_spec(spec("nn.SpatialConvolution(1, 4, 3, 2)(nn.View(1, -1, 3):setNumInputDims(2)(x))"))))


def test_a_size_that_a_window_needs_can_be_said_by_an_input() -> None:
    body = "nn.TemporalMaxPooling(6)(nn.TemporalConvolution(3, 4, 2)(x))"
    with pytest.raises(SpecError) as caught:
        infer(pick_module(open_spec(spec(body))))
    (problem,) = caught.value.diagnostics
    assert "?" not in problem.message and "?" not in problem.labels[0].text
    assert problem.helps == ("nothing says what size it is: an input can, where it is made, as `nn.Identity{'B', 7}()` does",)
    assert infer(pick_module(open_spec(spec(body).replace("nn.Identity()()", "nn.Identity{'B', 7, 3}()", 1))))


def test_where_nothing_fits_the_usual_rank_is_told() -> None:
    with pytest.raises(SpecError) as caught:
        shapes("nn.CAddTable()({nn.Linear(3, 2)(x), nn.Linear(3, 4)(x)})")
    assert "[B, 2]" in str(caught.value) and "[B, 4]" in str(caught.value)


def test_what_is_typed_is_not_tried() -> None:
    with pytest.raises(SpecError, match="dimension 3 of a tensor with 2 axes"):
        infer(pick_module(open_spec("local x = nn.Identity{'B', 4}()\nreturn nn.gModule({x}, {nn.Sum(3)(x)})")))
