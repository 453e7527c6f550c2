"""Blocks and small modules of dpnn and rnn: what their samples do not show."""

from __future__ import annotations

import numpy as np
import pytest

import graphspec
from graphspec.check import compare
from graphspec.graph import Make, Sample
from graphspec.nn import registry
from graphspec.samples import Case

X = "local x = nn.Identity{2, 2, 5, 5}()\n"


def shape_of(text: str) -> str:
    return str(graphspec.compile(X + f"return nn.gModule({{x}}, {{{text}(x)}})").outputs)


def test_an_inception_of_given_modules() -> None:
    config = "inputSize=2, outputSize={3, 2}, reduceSize={1, 1, 4}, pool=nn.SpatialAveragePooling(5, 5, 1, 1), transfer=nn.Tanh()"
    assert shape_of(f"nn.Inception{{{config}}}") == "float32[2, 9, 5, 5]"
    with_none = shape_of("nn.Inception{inputSize=2, outputSize={3}, reduceSize={1}, kernelSize={1}, kernelStride={1}}")
    assert with_none == "float32[2, 5, 5, 5]"  # the pooled image itself is the last column


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("nn.Inception{inputSize=2, outputSize={3}, reduceSize={1}}", "E0422"),
        ("nn.Inception{outputSize={3, 2}, reduceSize={1, 1}}", "E0420"),
        ("nn.Inception{inputSize=2, outputSize={3, 2}, reduceSize={1, 'a'}}", "E0422"),
        ("nn.Inception{inputSize=2, outputSizes={3, 2}, reduceSize={1, 1}}", "E0422"),
        ("nn.Inception{inputSize=2, outputSize={3, 2}, reduceSize={1, 1}, pool=3}", "E0422"),
        ("nn.Inception()", "E0420"),
        ("nn.FireModule(2, 1, 1)", "E0420"),
        ("nn.FireModule(2, 1, 1, 1, 'Nothing')", "E0401"),
        ("nn.MuFuRu(5, 5, {'keeps'})", "E0422"),
        ("nn.MuFuRu(5, 5, {})", "E0422"),
        ("nn.MuFuRu(5, 5, {3})", "E0422"),
        ("nn.SAdd()", "E0420"),
        ("nn.ExpandAs(1)", "E0421"),
        ("nn.SimpleColorTransform(2, {1})", "E0422"),
        ("nn.PCAColorTransform(2, {{1, 0}}, {1, 1})", "E0422"),
        ("nn.PCAColorTransform(2, {{1, 0}, {0, 1}}, {1, 1}, -1)", "E0422"),
        ("nn.NormStabilizer('a')", "E0422"),
        ("nn.Serial()", "E0420"),
    ],
)
def test_arguments_that_are_refused(text: str, code: str) -> None:
    with pytest.raises(graphspec.SpecError) as caught:
        shape_of(text)
    assert caught.value.code == code


def test_a_multi_function_unit_goes_on_from_step_to_step() -> None:
    case = Case(registry["Sequencer"], Sample((Make("MuFuRu", (3, 2)),), (3, 2, 3)))
    assert compare(case.probe.forward, case.probe.backward, case.point, case.parameter_names).ok


def test_colours_are_drawn_for_each_plane_of_each_image() -> None:
    text = "local x = nn.Identity{'B', 2, 1, 3}()\nreturn nn.gModule({x}, {nn.%s(x)})"
    y = graphspec.compile(text % "SimpleColorTransform(2, {0.5, 2})")(np.zeros((4000, 2, 1, 3)))
    assert np.array_equal(y[..., 0], y[..., 2])
    assert np.abs(y[:, 0]).max() <= 0.5 and 1.9 < np.abs(y[:, 1]).max() <= 2
    np.testing.assert_allclose(y[..., 0, 0].std(0), np.array([0.5, 2]) / 3**0.5, rtol=0.05)
    y = graphspec.compile(text % "PCAColorTransform(2, {{0.6, -0.8}, {0.8, 0.6}}, {2, 0.5}, 0.1)")(np.zeros((4000, 2, 1, 3)))
    v, sizes = np.array([[0.6, -0.8], [0.8, 0.6]]), np.diag([0.2**2, 0.05**2])
    np.testing.assert_allclose(np.cov(y[:, :, 0, 0].T), v @ sizes @ v.T, atol=0.003)


def test_a_second_tensor_that_nobody_knows_is_a_row() -> None:
    text = "local x, v = nn.Identity{'B', 3}(), nn.Identity()()\nreturn nn.gModule({x, v}, {nn.ExpandAs()({x, v})})"
    _, v = graphspec.compile(text)(np.zeros((2, 3)), np.array([[1.0, 2.0, 3.0]]))
    assert v.tolist() == [[1, 2, 3], [1, 2, 3]]
