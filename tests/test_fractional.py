"""Fractional max poolings: when windows are drawn, and windows that a caller hands in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphspec
from graphspec import SpecError

Array = np.ndarray[Any, Any]


def model(sizes: str, more: str = "", dtype: Any = "float64") -> graphspec.Model:
    pooled = f"nn.SpatialFractionalMaxPooling(2, 2, 5, 4){more}(x)"
    return graphspec.compile(f"local x = nn.Identity{{{sizes}}}()\nlocal y = {pooled}\nreturn nn.gModule({{x}}, {{y}})", dtype=dtype)


def image(*shape: int) -> Array:
    return np.arange(np.prod(shape), dtype=np.float64).reshape(shape)


def starts(y: Array, wide: int) -> tuple[list[int], list[int]]:
    """Where the windows of a plane begin, by the largest of rising numbers."""
    return [int(v) // wide - 1 for v in y[:, 0]], [int(v) % wide - 1 for v in y[0]]


def test_other_windows_each_step_of_training_and_in_each_plane() -> None:
    m = model("2, 3, 9, 11").training()
    x = np.tile(image(9, 11), (2, 3, 1, 1))
    first, second = m(x), m(x)
    assert not np.array_equal(first, second)
    assert len({y.tobytes() for y in first.reshape(6, -1)}) > 1
    for y in (*first.reshape(6, 4, 5), *second.reshape(6, 4, 5)):
        rows, columns = starts(y, 11)
        assert rows[0] == columns[0] == 0 and rows[-1] == 7 and columns[-1] == 9
        assert set(np.diff(rows)) <= {2, 3} and set(np.diff(columns)) <= {2, 3}


def test_windows_in_evaluation_too_and_fixed_ones() -> None:
    x = np.tile(image(9, 11), (2, 3, 1, 1))
    m = model("2, 3, 9, 11")
    assert len({y.tobytes() for y in m.evaluate()(x).reshape(6, -1)}) > 1
    fixed = model("2, 3, 9, 11", ":fixPoolingRegions()").training()
    assert np.array_equal(fixed(x), fixed(x)) and np.array_equal(fixed(x), fixed.evaluate()(x))
    free = model("2, 3, 9, 11", ":fixPoolingRegions():fixPoolingRegions(false)").training()
    assert not np.array_equal(free(x), free(x))


def test_the_same_windows_in_float32() -> None:
    x = np.tile(image(9, 11), (2, 3, 1, 1))
    assert np.array_equal(model("2, 3, 9, 11")(x), model("2, 3, 9, 11", dtype="float32")(x.astype(np.float32)))


@pytest.mark.parametrize(("lead", "sizes"), [((2, 3), "'B', 3, 'h', 'w'"), ((3,), "3, 'h', 'w'")])
def test_injected_samples(lead: tuple[int, ...], sizes: str) -> None:
    """Of width and height, in this order."""
    m = model(sizes)
    samples = np.random.default_rng(0).random((*lead, 2))
    m.set_noise("y", samples)
    x = np.tile(image(9, 11), (*lead, 1, 1))
    for y, (of_width, of_height) in zip(m(x).reshape(-1, 4, 5), samples.reshape(-1, 2), strict=True):
        rows, columns = starts(y, 11)
        assert rows == [*(int((i + of_height) * 7 / 3) - int(of_height * 7 / 3) for i in range(3)), 7]
        assert columns == [*(int((i + of_width) * 9 / 4) - int(of_width * 9 / 4) for i in range(4)), 9]
    m.set_noise("y", np.zeros((*lead, 3)))
    with pytest.raises(SpecError):
        m(x)


def test_an_image_too_small() -> None:
    with pytest.raises(SpecError, match="an axis of 5 is too small for 4 windows of 2, which needs 6 elements"):
        model("2, 3, 5, 11")
    with pytest.raises(SpecError):
        model("2, 3, 'h', 'w'")(image(2, 3, 5, 11))
