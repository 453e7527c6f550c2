"""Finite differences over whole models, as ``graphspec check`` makes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from gradcheck import declared, on_device, source, typed, use
from graphspec.check import Array, check, compare, relative_error
from graphspec.errors import SpecError
from graphspec.reference import interpret


def attention() -> Any:
    """Words, lengths and a query: indices, a mask, and parameters in several places."""
    words, lengths, query = source("B", "S", dtype="int32"), source("B", dtype="int32"), source("B", 3)
    keys = use("LookupTable", (7, 3), words)
    scores = use("Select", (3, 1), use("MM", (False, True), [keys, use("Replicate", (1, 2), query)]))
    alpha = use("MaskedSoftMax", (), [scores, use("LengthMask", ("S",), lengths)])
    read = use("MV", (True,), [keys, alpha])
    return typed([words, lengths, query], use("LogSoftMax", (), use("Linear", (3, 4), read)))


@pytest.mark.parametrize("run", [interpret, on_device("numpy")], ids=["reference", "numpy"])
def test_a_model_with_indices_and_lengths(run: Any) -> None:
    report = check(attention(), run)
    assert report.ok, report.to_json()
    assert [(e.name, e.kind, e.shape) for e in report.entries] == [
        ("input.3", "input", (3, 3)),
        ("LookupTable.weight", "parameter", (7, 3)),
        ("Linear.weight", "parameter", (4, 3)),
        ("Linear.bias", "parameter", (4,)),
    ]
    assert report.max_relative_error < 1e-9


def test_json_form() -> None:
    x = source("B", 2)
    found = json.loads(json.dumps(check(typed([x], use("Tanh", (), x))).to_json()))
    assert set(found) == {"ok", "max_relative_error", "entries"}
    (entry,) = found["entries"]
    assert set(entry) == {"name", "kind", "shape", "relative_error"}
    assert (found["ok"], entry["name"], entry["kind"], entry["shape"]) == (True, "input", "input", [3, 2])


def test_a_sample_of_large_tensors() -> None:
    calls = 0

    def forward(point: Mapping[str, Array]) -> list[Array]:
        nonlocal calls
        calls += 1
        return [np.sin(point["x"])]

    def backward(point: Mapping[str, Array], cotangents: Sequence[Array]) -> dict[str, Array]:
        return {"x": np.cos(point["x"]) * cotangents[0]}

    x = np.linspace(-1, 1, 1000)
    assert compare(forward, backward, {"x": x}, limit=10).ok
    assert calls == 1 + 4 * (10 + 1)


def test_what_a_sample_misses_the_direction_sees() -> None:
    def backward(point: Mapping[str, Array], cotangents: Sequence[Array]) -> dict[str, Array]:
        gradient = np.cos(point["x"]) * cotangents[0]
        gradient[777] += 1e-3
        return {"x": gradient}

    x = np.linspace(-1, 1, 1000)
    assert not compare(lambda p: [np.sin(p["x"])], backward, {"x": x}, limit=2).ok


def test_a_large_model_is_sampled() -> None:
    x = source("B", 300)
    assert check(typed([x], use("Linear", (300, 500), x)), scale=0.1).ok


@pytest.mark.parametrize(("name", "args"), [("Narrow", (2, 13, 4)), ("Narrow", (2, 3, -4)), ("Select", (2, 13)), ("Select", (-1, -20))])
def test_sizes_are_large_enough_for_what_is_taken(name: str, args: tuple[int, ...]) -> None:
    x = source("B", "n")
    assert check(typed([x], use("Tanh", (), use(name, args, x)))).ok


def test_domains_are_found() -> None:
    x = source("B", 2)
    assert check(typed([x], use("Log", (), x))).ok
    x = source("B", 2)
    with pytest.raises(SpecError) as caught:
        check(typed([x], use("Log", (), use("MulConstant", (-1,), use("Square", (), x)))))
    assert caught.value.code == "E0322"


def test_a_kink_nearby_is_no_failure() -> None:
    def backward(point: Mapping[str, Array], cotangents: Sequence[Array]) -> dict[str, Array]:
        return {"x": np.sign(point["x"]) * cotangents[0]}

    assert compare(lambda p: [np.abs(p["x"])], backward, {"x": np.array([5e-4, 0.3])}).ok
    assert not compare(lambda p: [np.abs(p["x"])], lambda p, c: {"x": -backward(p, c)["x"]}, {"x": np.array([5e-4, 0.3])}).ok


def test_kinks_closer_than_any_central_step_are_no_failure() -> None:
    """As in a convolutional network, where of thousands of ReLUs one is always at its bend."""
    point = {"x": np.array([0.5, -0.3])}
    bends = np.array([0.5 + 3e-6, -0.3 - 3e-6])  # one on each side

    def forward(p: Any) -> Any:
        return [np.maximum(p["x"], bends) + 3 * p["x"] ** 2]

    def backward(p: Any, cotangents: Any, wrong: float = 0.0) -> Any:
        return {"x": cotangents[0] * ((p["x"] > bends) + 6 * p["x"] + wrong)}

    assert compare(forward, backward, point).ok
    for wrong in (1e-4, 0.5, 1.0):  # half of a bend is none of its sides
        assert not compare(forward, lambda p, c, wrong=wrong: backward(p, c, wrong), point).ok


def test_small_gradients_beside_large_ones_are_measured_on_their_own_scale() -> None:
    point = {"x": np.array([1.0]), "y": np.array([0.7])}

    def forward(p: Any) -> Any:
        return [1e6 * p["x"], np.sin(200 * p["y"])]  # too steep for the first step

    def backward(p: Any, cotangents: Any) -> Any:
        return {"x": 1e6 * cotangents[0], "y": 200 * np.cos(200 * p["y"]) * cotangents[1]}

    assert compare(forward, backward, point).max_relative_error < 1e-8


def test_what_does_not_change_has_no_gradient_not_even_of_rounding() -> None:
    assert compare(lambda p: [np.full(3, 0.1)], lambda p, c: {"x": np.zeros(2)}, {"x": np.array([0.3, 7.0])}).max_relative_error == 0


def test_a_gradient_that_is_nothing_but_rounding() -> None:
    """The bias before a softmax changes nothing: its gradient is zero, or what rounding leaves of it."""
    x = source("B", 3)
    scores = use("Linear", (3, 1), use("Replicate", (4, 2), x))
    y = use("SoftMax", (), declared(use("Select", (3, 1), scores), ("B", 4)))
    assert check(typed([x], use("CAddTable", (), [y, use("Linear", (3, 4), x)]))).ok


def test_not_a_number_is_an_error() -> None:
    assert relative_error(np.array([np.nan]), np.array([1.0]), 1.0) == np.inf
    assert relative_error(np.zeros(0), np.zeros(0), 1.0) == 0.0
    assert relative_error(np.zeros(2), np.zeros(2), 0.0) == 0.0
