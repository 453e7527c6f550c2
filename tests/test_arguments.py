"""What a model is given, by place and by name, and errors that call it what the spec does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphspec
from graphspec import Model, SpecError

CELL = """local x, prev_s = nn.Identity{'B', 3}(), nn.Identity()()
local h, c = prev_s:split(2)
local next_h = nn.Tanh()(nn.CAddTable()({nn.Linear(3, 2)(x), nn.Linear(2, 2)(h)}))
local next_c = nn.CAddTable()({c, next_h})
return nn.gModule({x, prev_s}, {next_h, next_c})"""
WORDS = "local word = nn.Identity{'B', dtype = 'int32'}()\nreturn nn.gModule({word}, {nn.LookupTable(5, 2)(word)})"
LINEAR = "local x = nn.Identity()()\nreturn nn.gModule({x}, {nn.Linear(3, 2)(x)})"
TWINS = "local function input() local x = nn.Identity{'B'}() return x end\nlocal a, b = input(), input()\n"
TWINS += "return nn.gModule({a, b}, {nn.CSubTable()({a, b})})"
X, H, C = np.ones((4, 3)), np.full((4, 2), 2.0), np.full((4, 2), 3.0)


@pytest.fixture(scope="module")
def cell() -> Model:
    return graphspec.compile(CELL, device="numpy")


CALLS: dict[str, Callable[[Model], Any]] = {
    "by place": lambda m: m(X, (H, C)),
    "by name": lambda m: m(prev_s=[H, C], x=X),
    "both": lambda m: m(X, prev_s=(H, C)),
    "a table": lambda m: m([X, [H, C]]),
    "a dict": lambda m: m({"x": X, "prev_s": (H, C)}),
    "forward by place": lambda m: m.forward(X, (H, C)),
    "forward by name": lambda m: m.forward(X, prev_s=(H, C)),
    "a node by name": lambda m: m.node("next_c")(prev_s=(H, C), x=X)[0],
}


@pytest.mark.parametrize("way", CALLS)
def test_inputs_are_given_by_place_and_by_name(cell: Model, way: str) -> None:
    next_h, next_c = CALLS[way](cell)
    w, b, v, c = cell.parameters.values()
    np.testing.assert_allclose(next_h, np.tanh(X @ w.T + b + H @ v.T + c), rtol=1e-5)
    np.testing.assert_allclose(next_c, C + next_h, rtol=1e-5)


def test_gradients_are_of_inputs_by_place_and_by_name(cell: Model) -> None:
    one, other = (cell.backward(given, (H, C)) for given in ([X, (H, C)], {"prev_s": (H, C), "x": X}))
    np.testing.assert_array_equal(one[0], other[0])


def test_inputs_without_a_name_of_their_own_have_a_number() -> None:
    twins = graphspec.compile(TWINS.replace("local x = nn.Identity{'B'}() return x", "return nn.Identity{'B'}()"), device="numpy")
    assert twins(b=np.ones(2), a=np.zeros(2)).tolist() == [-1, -1]
    annotated = graphspec.compile(
        "local x = nn.Identity{'B'}():annotate{name = 'in'}\nreturn nn.gModule({x}, {nn.Tanh()(x)})", device="numpy"
    )
    assert annotated(x=np.zeros(1)).tolist() == [0]
    nameless = graphspec.compile(TWINS, device="numpy")
    assert nameless(**{"input.2": np.ones(2), "input.1": np.zeros(2)}).tolist() == [-1, -1]


TAKES = "the model takes x float32[B, 3], prev_s {float32[B, 2], float32[B, 2]}"
WRONG: dict[str, tuple[str, Callable[[Model], Any], str, str]] = {
    "one is missing": (CELL, lambda m: m(X), "E0312", f"prev_s is not given\n = help: {TAKES}"),
    "one is missing by name": (CELL, lambda m: m(prev_s=(H, C)), "E0312", f"x is not given\n = help: {TAKES}"),
    "all are missing": (CELL, lambda m: m(), "E0312", f"x and prev_s are not given\n = help: {TAKES}"),
    "the only one is missing": (WORDS, lambda m: m(), "E0312", "word is not given\n = help: the model takes word int32[B]"),
    "too many": (CELL, lambda m: m(X, H, C), "E0312", f"3 inputs are given, the model takes 2\n = help: {TAKES}"),
    "too many for one": (WORDS, lambda m: m([1], [2]), "E0312", "2 inputs are given, the model takes 1"),
    "unknown": (CELL, lambda m: m(X, prevs=(H, C)), "E0312", "no input named prevs\n = help: did you mean `prev_s`?\n = help: the model"),
    "twice": (CELL, lambda m: m(X, x=X), "E0312", "x is given twice, by place and by name"),
    "a key that is no name": (CELL, lambda m: m({1: X, 2: H}), "E0312", "no input named 1"),
    "a size": (CELL, lambda m: m(C, (H, C)), "E0307", "x is [4, 2], float32[B, 3] is wanted: axis 2 is 2, and not 3\n --> <text>:1:19"),
    "a size in a table": (CELL, lambda m: m(X, (H, X)), "E0307", "prev_s.2 is [4, 3], float32[B, 2] is wanted: axis 2 is 3, and not 2"),
    "a letter": (CELL, lambda m: m(X, (H, C[1:])), "E0307", "prev_s.2 is [3, 2], float32[B, 2] is wanted: B is 3 here, and 4 in x"),
    "a rank": (CELL, lambda m: m(X[0], (H, C)), "E0307", "x is [3], float32[B, 3] is wanted: it has 1 axis, and not 2"),
    "a rank that is not declared": (CELL, lambda m: m(X, (H[0], C)), "E0301", "x is given as [4, 3]\n  = note: prev_s.1 is given as [2]"),
    "a size of an assumed rank": (LINEAR, lambda m: m(np.ones((2, 2, 4))), "E0307", "x is [2, 2, 4], float32[B, n, 3] is wanted: axis 3"),
    "a table for a tensor": (CELL, lambda m: m([X], (H, C)), "E0312", "x: one array is wanted, got a table of 1\n --> <text>:1:19"),
    "a tensor for a table": (CELL, lambda m: m(X, H), "E0312", "prev_s: a table of 2 is wanted, got one value\n --> <text>:1:42"),
    "a table that is too short": (CELL, lambda m: m([X]), "E0312", "inputs: a table of 2 is wanted, got a table of 1\n = help: they are"),
    "a dict for a tensor": (CELL, lambda m: m(X, ({}, C)), "E0312", "prev_s.1: an array of numbers is wanted, got dict"),
    "complex numbers": (CELL, lambda m: m(X + 0j, (H, C)), "E0312", "x: an array of numbers is wanted, got one of complex128"),
    "fractions for indices": (WORDS, lambda m: m([1.5]), "E0312", "word: whole numbers are wanted, got float64\n --> <text>:1:14"),
    "an index far too large": (WORDS, lambda m: m([2**40]), "E0312", "word: a number does not fit in int32"),
    "a gradient": (CELL, lambda m: m.backward((X, (H, C)), (H, X)), "E0307", "the gradient of next_c is [4, 3], float32[B, 2] is wanted"),
    "a gradient's letter": (WORDS, lambda m: m.backward([1, 2], H), "E0307", "the gradient of output is [4, 2], float32[B, 2] is wanted"),
    "no gradient": (CELL, lambda m: m.backward((X, (H, C)), (H, None)), "E0312", "the gradient of next_c: an array of numbers is wanted"),
    "one gradient of two": (CELL, lambda m: m.backward((X, (H, C)), H), "E0312", "output gradients: a table of 2 is wanted, got one value"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("device", ["numpy", "reference"])
def test_errors_name_what_is_given_as_the_spec_does(case: str, device: str) -> None:
    text, call, code, told = WRONG[case]
    model = graphspec.compile(text, device=device)
    with pytest.raises(SpecError) as caught:
        call(model)
    assert caught.value.code == code
    assert told in str(caught.value)


def test_a_letter_of_two_sizes_shows_both_ends(cell: Model) -> None:
    with pytest.raises(SpecError) as caught:
        cell(X[1:], (H, C))
    places = [(label.text, label.span.line, label.primary) for label in caught.value.diagnostics[0].labels]
    assert places == [("x is [3, 3]", 1, False), ("it takes float32[B, 2]", 1, True)]


def test_a_number_beyond_the_models_own_is_told_and_infinity_is_not() -> None:
    model = graphspec.compile(LINEAR, device="numpy")
    with pytest.raises(SpecError, match=r"E0312.*x: a number does not fit in float32"):
        model(np.array([[1.0, 2.0, 1e300]]))
    assert not np.isfinite(model(np.array([[1.0, np.inf, np.nan]]))).any()
    assert np.isfinite(graphspec.compile(LINEAR, device="numpy", dtype="float64")(np.array([[1.0, 2.0, 1e300]]))).all()
