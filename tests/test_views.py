"""Arrays of a model by name: what is assigned to them is copied into the arrays that programs work in."""

from __future__ import annotations

import copy
import operator
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fakecupy
import graphspec
from graphspec import SpecError

SPECS = Path(__file__).parent.parent / "specs"
LINEAR = "local x = nn.Identity{'B', 3}()\nreturn nn.gModule({x}, {nn.Tanh()(nn.Linear(3, 2)(x))})"
NORMED = "local x = nn.Identity{'B', 3}()\nreturn nn.gModule({x}, {nn.BatchNormalization(2)(nn.Linear(3, 2)(x))})"
KEPT = ("parameters", "gradients", "buffers")


@pytest.mark.parametrize("attribute", KEPT)
def test_what_is_assigned_is_what_is_computed_with_and_saved(attribute: str, tmp_path: Path) -> None:
    model = graphspec.compile(NORMED, dtype="float64").evaluate()
    held = getattr(model, attribute)
    arrays = dict(held)
    new = {name: np.random.default_rng(i).uniform(1, 2, array.shape) for i, (name, array) in enumerate(held.items())}
    first, *others = new
    held[first] = new[first].tolist()
    held.update({name: new[name] for name in others})
    held[first] *= 2
    setattr(model, attribute, {**held, first: new[first]})
    assert getattr(model, attribute) is held
    assert all(held[name] is arrays[name] for name in arrays)
    for name, value in new.items():
        np.testing.assert_array_equal(held[name], value)
    x = np.ones((2, 3))
    model.save(tmp_path / "m")
    np.testing.assert_array_equal(graphspec.load(tmp_path / "m")(x), model(x))
    if attribute == "parameters":
        h = x @ new["Linear.weight"].T + new["Linear.bias"]
        wanted = h / np.sqrt(1 + 1e-5) * new["BatchNormalization.weight"] + new["BatchNormalization.bias"]
        np.testing.assert_allclose(model(x), wanted)


@pytest.mark.parametrize("attribute", ["flat_parameters", "flat_gradients"])
def test_flat_arrays_are_assigned_by_copying(attribute: str) -> None:
    model = graphspec.compile(LINEAR, dtype="float64")
    flat = getattr(model, attribute)
    setattr(model, attribute, np.arange(8))
    model.flat_parameters *= 2
    model.flat_gradients *= 2
    assert getattr(model, attribute) is flat
    named = getattr(model, attribute.removeprefix("flat_"))
    np.testing.assert_array_equal(named["Linear.bias"], [12, 14])


WRONG_ARRAYS: dict[str, tuple[Callable[[Any], None], str]] = {
    "a name": (lambda m: m.parameters.update({"Linear.bias": np.ones(2), "Linear.wieght": 1}), "did you mean `Linear.weight`"),
    "a name by default": (lambda m: m.parameters.setdefault("bias", np.ones(2)), "there is no parameter named bias"),
    "a gradient's name": (lambda m: operator.setitem(m.gradients, "bias", np.ones(2)), "there is no gradient named bias"),
    "a shape": (lambda m: operator.setitem(m.parameters, "Linear.weight", np.ones((2, 2))), r"is \[2, 3\] in the model"),
    "the other way round": (lambda m: operator.setitem(m.parameters, "Linear.weight", np.ones((3, 2))), r"`\.T` exchanges"),
    "a number": (lambda m: operator.setitem(m.parameters, "Linear.bias", 0), r"`\[\.\.\.\] = 0` sets every number"),
    "a text": (lambda m: operator.setitem(m.parameters, "Linear.bias", "zero"), "numbers are wanted"),
    "a ragged list": (lambda m: operator.setitem(m.parameters, "Linear.weight", [[1, 2], [3]]), "numbers are wanted"),
    "complex numbers": (lambda m: operator.setitem(m.parameters, "Linear.bias", np.ones(2, complex)), "numbers are wanted"),
    "one of two": (lambda m: setattr(m, "parameters", {"Linear.bias": np.ones(2)}), "`update\\(...\\)` sets some"),
    "no dict": (lambda m: setattr(m, "parameters", np.ones(8)), "arrays by their names"),
    "a flat shape": (lambda m: setattr(m, "flat_parameters", np.ones(9)), r"is \[8\] in the model"),
}


@pytest.mark.parametrize("case", WRONG_ARRAYS)
def test_arrays_that_do_not_fit_change_nothing(case: str) -> None:
    change, text = WRONG_ARRAYS[case]
    model = graphspec.compile(LINEAR)
    before = model.flat_parameters.copy()
    with pytest.raises(SpecError, match=text) as caught:
        change(model)
    assert caught.value.code == "E0706"
    np.testing.assert_array_equal(model.flat_parameters, before)


def test_named_arrays_are_a_dict_otherwise() -> None:
    held = graphspec.compile(LINEAR).parameters
    for change in (lambda: held.pop("Linear.bias"), held.popitem, held.clear, lambda: held.__delitem__("Linear.bias")):
        with pytest.raises(TypeError, match="stays in its model"):
            change()
    with pytest.raises(KeyError):
        held["Linear.wieght"]
    kept = copy.deepcopy(held)
    assert type(kept) is dict and list(kept) == list(held) == list({**held}) and "Linear.bias" in repr(held)
    assert held.setdefault("Linear.bias", 5) is held["Linear.bias"] and type(held.copy()) is type(held | {}) is dict
    held |= {"Linear.bias": kept["Linear.bias"] + 1}
    assert not np.array_equal(held["Linear.bias"], kept["Linear.bias"])


def test_arrays_of_a_gpu_are_assigned_through_it(monkeypatch: pytest.MonkeyPatch) -> None:
    fakecupy.install(monkeypatch)
    model = graphspec.compile(LINEAR, device="cuda")
    model.parameters["Linear.weight"] = np.arange(6.0).reshape(2, 3)
    model.parameters["Linear.bias"] = model.parameters["Linear.weight"][0, :2]
    model.flat_gradients = model.flat_parameters
    assert isinstance(model.parameters["Linear.bias"], fakecupy.ndarray)
    np.testing.assert_allclose(model(np.ones((1, 3))), np.tanh([[3, 13]]), rtol=1e-6)
    np.testing.assert_array_equal(model.flat_gradients.a, [0, 1, 2, 3, 4, 5, 0, 1])


def test_arrays_of_an_experiment_are_assigned_by_copying(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("to be or not to be, that is the question\n" * 20)
    fields = {"data.path": str(text), "data.batch": 2, "data.seq_len": 5}
    experiment = graphspec.experiment(SPECS / "char_lm.spec", rnn_size=4, **fields)
    flat, held = experiment.flat_parameters, experiment.parameters
    name = next(iter(held))
    held[name] = np.full(held[name].shape, 7)
    assert (flat[: held[name].size] == 7).all()
    experiment.parameters = {name: np.zeros(array.shape) for name, array in held.items()}
    assert not flat.any()
    experiment.flat_parameters = np.arange(flat.size)
    assert experiment.flat_parameters is flat and experiment.named()[name].ravel()[-1] == held[name].size - 1
    with pytest.raises(SpecError, match=f"did you mean `{re.escape(name)}`"):
        held[name + "s"] = 0
