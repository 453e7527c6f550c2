"""The layers of Torch's page "simple layers": how they begin, what a spec may call on them, what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradcheck import source
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
]


@pytest.mark.parametrize(("name", "args", "method", "given"), CALLS, ids=[f"{c[0]}-{c[2]}-{i}" for i, c in enumerate(CALLS)])
def test_methods_refuse(name: str, args: Any, method: str, given: Any) -> None:
    module = new_module(name, args, NOWHERE)
    assert method in module.record.methods
    with pytest.raises(SpecError) as caught:
        module.record.call(module, method, given, NOWHERE)
    assert caught.value.code == "E0422"
