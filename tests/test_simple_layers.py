"""The layers of Torch's page "simple layers": how they begin, what a spec may call on them, what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphspec
from gradcheck import source
from graphspec.check import Probe
from graphspec.errors import NOWHERE, SpecError
from graphspec.graph import Table, connect, gmodule, initial_value, new_module
from graphspec.program import infer, named_parameters


def begun(name: str, *args: Any, reset: float | None = None, clones: int = 0) -> dict[str, np.ndarray]:
    """The initial values of a module's parameters."""
    module = new_module(name, args, NOWHERE)
    if reset is not None:
        module.reset(reset)
    for _ in range(clones):
        module = module.clone([], NOWHERE)
    x = source("B", 3)
    found = infer(gmodule([x], [connect(module, x, NOWHERE)], NOWHERE))
    return {p.name.rpartition(".")[2]: initial_value(p, 1, "float64") for p in named_parameters(found.module)}


@pytest.mark.parametrize("clones", [0, 1])
@pytest.mark.parametrize("reset", [None, 0.01])
def test_lengths_begin_as_those_of_the_directions(reset: float | None, clones: int) -> None:
    values = begun("LinearWeightNorm", 3, 5, reset=reset, clones=clones)
    np.testing.assert_allclose(values["g"], np.linalg.norm(values["v"], axis=1, keepdims=True))
    assert np.abs(values["v"]).max() <= (0.01 if reset else 1) * 3 ** (0.5 if reset else -0.5)
    values = begun("WeightNorm", new_module("Linear", [3, 2000], NOWHERE), clones=clones)
    np.testing.assert_allclose(values["g"], np.linalg.norm(values["v"], axis=1))
    assert abs(values["v"].std() - (2 / 3) ** 0.5) < 0.02
    assert not values["bias"].any()


def test_weight_norm_leaves_the_given_module_whole() -> None:
    given = new_module("Linear", [3, 2], NOWHERE)
    normed = new_module("WeightNorm", [given], NOWHERE)
    assert set(given.parameters) == {"weight", "bias"}
    assert normed.children[0].parameters == {"bias": given.parameters["bias"]}


REFUSED = [
    ("CMul", (), "E0420"),
    ("CAdd", (0,), "E0422"),
    ("Add", (), "E0422"),
    ("PartialLinear", (3,), "E0420"),
    ("LinearWeightNorm", (3, 2, True, -1), "E0422"),
    ("LookupTable", (3, 2, 0, 0), "E0422"),
    ("LookupTable", (3, 2, 0, 1, -2), "E0422"),
    ("LookupTable", (3, 2, 0, 1, float("inf")), "E0422"),
    ("Narrow", (1, 0, 1), "E0422"),
    ("Convert", (None, "bf"), "E0422"),
    ("Convert", ("bt", "bf"), "E0422"),
    ("Convert", ("bcc", "bf"), "E0422"),
    ("Convert", ("b*", "bf"), "E0422"),
    ("Copy", ("float",), "E0422"),
    ("Constant", (), "E0420"),
    ("Constant", ("a",), "E0422"),
    ("Constant", (Table(),), "E0422"),
    ("Constant", (Table((1, Table((2, 3)))),), "E0422"),
    ("Constant", (1, -1), "E0422"),
    ("Index", (0,), "E0422"),
    ("Padding", (1, 2, 0), "E0422"),
    ("WeightNorm", (3,), "E0422"),
    ("WeightNorm", (new_module("Tanh", [], NOWHERE),), "E0422"),
    ("WeightNorm", (new_module("Linear", [3, 2], NOWHERE), 3), "E0422"),
]


@pytest.mark.parametrize(("name", "args", "code"), REFUSED, ids=[f"{c[0]}-{i}" for i, c in enumerate(REFUSED)])
def test_arguments_refused(name: str, args: Any, code: str) -> None:
    with pytest.raises(SpecError) as caught:
        new_module(name, args, NOWHERE)
    assert caught.value.code == code


CALLS = [
    ("PartialLinear", (3, 2), "setPartition", ()),
    ("PartialLinear", (3, 2), "setPartition", (Table((3,)),)),
    ("PartialLinear", (3, 2), "setPartition", (Table((1.5,)),)),
    ("PartialLinear", (3, 2), "setPartition", (Table(("a",)),)),
    ("PartialLinear", (3, 2), "setPartition", (Table((float("inf"),)),)),
    ("LookupTable", (3, 2), "setMaxNorm", (-1,)),
    ("LookupTable", (3, 2), "setPadding", ("a",)),
    ("Squeeze", (), "setNumInputDims", (float("nan"),)),
    ("Unsqueeze", (1,), "setNumInputDims", (True,)),
    ("View", (-1,), "resetSize", (-1, -1)),
]


@pytest.mark.parametrize(("name", "args", "method", "given"), CALLS, ids=[f"{c[0]}-{c[2]}-{i}" for i, c in enumerate(CALLS)])
def test_methods_refuse(name: str, args: Any, method: str, given: Any) -> None:
    module = new_module(name, args, NOWHERE)
    assert method in module.record.methods
    with pytest.raises(SpecError) as caught:
        module.record.call(module, method, given, NOWHERE)
    assert caught.value.code == "E0422"


def stepped(module: Any, given: Any, cotangent: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A LookupTable's weight, what it reads, and what comes back to the weight."""
    x = source(*np.shape(given), dtype="int32")
    found = infer(gmodule([x], [connect(module, x, NOWHERE)], NOWHERE), "float64")
    probe = Probe(found, [np.array(given, np.int32)])
    weight = np.random.default_rng(3).standard_normal(module.parameters["weight"].shape)
    point = probe.point({probe.parameters[0].name: weight})
    (y,) = probe.forward(point)
    return weight, y, probe.backward(point, [np.broadcast_to(cotangent, y.shape)])[probe.parameters[0].name]


def test_padding_is_not_trained() -> None:
    weight, y, gradient = stepped(new_module("LookupTable", [3, 2, 2], NOWHERE), [[1, 2], [2, 1]], 1.0)
    np.testing.assert_array_equal(y[0, 1], weight[1])
    np.testing.assert_array_equal(gradient, [[2, 2], [0, 0], [0, 0]])


def test_gradients_of_rows_are_shared_by_how_often_they_are_read() -> None:
    module = new_module("LookupTable", [3, 2], NOWHERE)
    module.record.call(module, "scaleGradByFreq", [], NOWHERE)
    weight, y, gradient = stepped(module, [2, 2, 1, 2], np.array([[1.0], [2], [5], [6]]))
    np.testing.assert_allclose(y[3], weight[1])
    np.testing.assert_allclose(gradient, [[5, 5], [3, 3], [0, 0]])


@pytest.mark.parametrize("p", [1, 2, 3.5])
def test_long_rows_are_read_cut(p: float) -> None:
    weight, y, gradient = stepped(new_module("LookupTable", [3, 4, 0, 1.5, p], NOWHERE), [1, 2, 3], 1.0)
    norms = (np.abs(weight) ** p).sum(axis=1) ** (1 / p)
    assert norms.max() > 1.5
    np.testing.assert_allclose(y, weight * np.minimum(1, 1.5 / norms)[:, None], rtol=1e-6)
    np.testing.assert_array_equal(gradient, np.ones((3, 4)))


def test_a_tensor_of_two_axes_is_an_argument() -> None:
    model = graphspec.compile("""
        local x = nn.Identity{'B', 4}()
        local y = nn.Constant(torch.Tensor{{1, 2, 3}, {4, 5, 6}}, 1)(x)
        return nn.gModule({x}, {y})
    """)
    np.testing.assert_array_equal(model(np.zeros((2, 4))), [[[1, 2, 3], [4, 5, 6]]] * 2)


def test_padding_of_indices_wants_whole_numbers() -> None:
    x = source("B", 3, dtype="int32")
    with pytest.raises(SpecError) as caught:
        infer(gmodule([x], [connect(new_module("Padding", [2, 1, None, 0.5], NOWHERE), x, NOWHERE)], NOWHERE))
    assert caught.value.code == "E0302"
