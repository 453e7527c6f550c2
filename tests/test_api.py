"""The Python API, as a user meets it."""

from __future__ import annotations

import copy
import pickle
import re
import threading
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphspec
from graphspec import SpecError
from graphspec.suggest import ATTRIBUTES
from graphspec.training.loop import RunSettings, run
from graphspec_runtime import PlanError

SPECS = Path(__file__).parent.parent / "specs"
LINEAR = "local x = nn.Identity{'B', 3}()\nlocal hidden = nn.Linear(3, 2)(x)\nreturn nn.gModule({x}, {nn.Tanh()(hidden)})"
LOOKUP = "local x = nn.Identity{'B', dtype = 'int32'}()\nreturn nn.gModule({x}, {nn.LookupTable(5, 2)(x)})"
DROPOUT = "local x = nn.Identity{'B', 3}()\nlocal dropped = nn.Dropout(0.5)(x)\nreturn nn.gModule({x}, {nn.MulConstant(2)(dropped)})"
OPTIONS = "local opt = options { size = 2 }  -- columns\nlocal x = nn.Identity{'B', opt.size}()\nreturn nn.gModule({x}, {nn.Tanh()(x)})"


def test_a_path_a_text_and_an_entry(tmp_path: Path) -> None:
    path = tmp_path / "linear.spec"
    path.write_text(LINEAR)
    for given in (path, str(path), LINEAR, LINEAR.replace("\n", " ")):
        assert graphspec.compile(given)(np.ones((4, 3))).shape == (4, 2)
    library = "return { make = function(n) local x = nn.Identity{'B', n}() return nn.gModule({x}, {nn.Tanh()(x)}) end }"
    assert (
        graphspec.compile(library, "make(7)").inputs.shape == ("B", 7)
        or str(graphspec.compile(library, "make(7)").inputs) == "float32[B, 7]"
    )


def test_several_inputs_are_a_table_and_results_are_nested_as_in_the_spec() -> None:
    model = graphspec.compile(SPECS / "lstm.spec", "network({rnn_size=5, n_layers=2})")
    x, state = np.ones((3, 5)), [np.zeros((3, 5))] * 4
    output, next_state = model(x, state)
    assert output.shape == (3, 5)
    assert isinstance(next_state, tuple)
    assert [s.shape for s in next_state] == [(3, 5)] * 4
    again, _ = model.forward([x, state])
    np.testing.assert_array_equal(output, again)
    assert output.dtype == np.float32


def test_results_are_copies() -> None:
    model = graphspec.compile(LINEAR)
    first = model(np.ones((4, 3)))
    kept = first.copy()
    model(np.zeros((4, 3)))
    np.testing.assert_array_equal(first, kept)


def test_backward_accumulates_until_gradients_are_zeroed() -> None:
    model = graphspec.compile(LINEAR, dtype="float64")
    x, dy = np.ones((4, 3)), np.ones((4, 2))
    model(x)
    dx = model.backward(x, dy)
    once = model.flat_gradients.copy()
    model.backward(x, dy)
    np.testing.assert_allclose(model.flat_gradients, 2 * once)
    assert dx.shape == x.shape
    model.zero_gradients()
    assert not model.flat_gradients.any()


def test_parameters_and_gradients_are_views_in_canonical_order() -> None:
    model = graphspec.compile(LINEAR, dtype="float64")
    assert {name: a.shape for name, a in model.parameters.items()} == {"Linear.weight": (2, 3), "Linear.bias": (2,)}
    model.flat_parameters[:] = np.arange(8)
    np.testing.assert_array_equal(model.parameters["Linear.weight"], [[0, 1, 2], [3, 4, 5]])
    model.parameters["Linear.bias"][...] = [0, 0]
    model.parameters["Linear.weight"][...] = 1
    np.testing.assert_allclose(model(np.ones((1, 3))), np.tanh([[3, 3]]))
    assert model.gradients["Linear.bias"].base is not None


def test_initial_values_depend_on_seed_and_name_alone() -> None:
    weights = [graphspec.compile(LINEAR, seed=seed).parameters["Linear.weight"] for seed in (1, 1, 2)]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])
    more = LINEAR.replace(
        "return nn.gModule({x}, {nn.Tanh()(hidden)})", "local other = nn.LinearNoBias(3, 9)\nreturn nn.gModule({x}, {hidden, other(x)})"
    )
    np.testing.assert_array_equal(graphspec.compile(more).parameters["Linear.weight"], weights[0])


def test_float64_and_float32_models_start_alike() -> None:
    single, double = (graphspec.compile(LINEAR, dtype=d).flat_parameters for d in ("float32", "float64"))
    np.testing.assert_array_equal(single, double.astype(np.float32))


def test_other_ranks_are_compiled_anew() -> None:
    model = graphspec.compile("local x = nn.Identity()()\nreturn nn.gModule({x}, {nn.Linear(3, 2)(x)})", dtype="float64")
    assert [w.code for w in model.warnings] == ["W0306"]
    for shape in ((4, 3), (3,), (5, 4, 3), (2, 5, 4, 3)):
        x = np.random.default_rng(0).standard_normal(shape)
        np.testing.assert_allclose(model(x), x @ model.parameters["Linear.weight"].T + model.parameters["Linear.bias"])


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (1000, 3)])
def test_any_batch_size(shape: tuple[int, ...]) -> None:
    assert graphspec.compile(LINEAR)(np.ones(shape)).shape == (shape[0], 2)


def test_inputs_of_other_types_are_converted() -> None:
    model = graphspec.compile(LINEAR)
    expected = model(np.ones((1, 3)))
    for given in (np.ones((1, 3), np.float32), np.ones((1, 3), int), [[1, 1, 1]], np.ones((3, 1)).T, np.ones((2, 6))[:1, ::2]):
        np.testing.assert_array_equal(model(given), expected)
    lookup = graphspec.compile(LOOKUP)
    np.testing.assert_array_equal(lookup([1, 2]), lookup(np.array([1.0, 2.0])))


WRONG_INPUTS: dict[str, tuple[str, Any, str]] = {
    "a size that does not fit": (LINEAR, np.ones((4, 5)), "E0307"),
    "a rank that does not fit": (LINEAR, np.ones(3), "E0307"),
    "a table for a tensor": (LINEAR, [np.ones((4, 3)), np.ones((4, 3))], "E0312"),
    "text": (LINEAR, "abc", "E0312"),
    "nothing": (LINEAR, None, "E0312"),
    "complex numbers": (LINEAR, np.ones((4, 3), complex), "E0312"),
    "a ragged list": (LINEAR, [[1, 2], [3]], "E0312"),
    "fractions for indices": (LOOKUP, np.array([1.5]), "E0312"),
    "an index too large": (LOOKUP, np.array([6]), "E0310"),
    "index 0": (LOOKUP, np.array([0]), "E0310"),
    "a negative index": (LOOKUP, np.array([2, -1]), "E0310"),
}


@pytest.mark.parametrize("case", WRONG_INPUTS)
@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_inputs_that_do_not_fit_are_plain_errors(case: str, device: str) -> None:
    text, given, code = WRONG_INPUTS[case]
    with pytest.raises(SpecError) as caught:
        graphspec.compile(text, device=device)(given)
    assert caught.value.code == code


def test_a_list_of_rows_of_other_lengths_is_told_so() -> None:
    with pytest.raises(SpecError, match="the rows of this list are not all of one length"):
        graphspec.compile(LINEAR)([[1, 2, 3], [4, 5]])


def test_index_0_has_its_own_hint_and_index_base_shifts() -> None:
    with pytest.raises(SpecError, match="index_base=0") as caught:
        graphspec.compile(LOOKUP)(np.array([3, 0]))
    assert caught.value.diagnostics[0].span is not None
    one, zero = graphspec.compile(LOOKUP), graphspec.compile(LOOKUP, index_base=0)
    np.testing.assert_array_equal(one(np.array([1, 5])), zero(np.array([0, 4])))
    with pytest.raises(SpecError, match=r"0\.\.4"):
        zero(np.array([5]))


def test_dropout_modes_and_injected_noise() -> None:
    model = graphspec.compile(DROPOUT, dtype="float64")
    x = np.ones((50, 3))
    trained = model(x)
    assert set(np.unique(trained)) == {0.0, 4.0}
    np.testing.assert_array_equal(model.backward(x, np.ones_like(x)), trained)  # the masks of the last forward
    assert not np.array_equal(model(x), trained)
    np.testing.assert_array_equal(model.evaluate()(x), 2 * x)
    mask = np.arange(150.0).reshape(50, 3)
    model.training().set_noise("dropped", mask)
    np.testing.assert_array_equal(model(x), 2 * mask)
    model.set_noise("dropped", None)
    assert set(np.unique(model(x))) == {0.0, 4.0}
    with pytest.raises(SpecError, match="did you mean `dropped`"):
        model.set_noise("droped", mask)


def test_a_node_by_name() -> None:
    model = graphspec.compile(LINEAR, dtype="float64")
    y, hidden = model.node("hidden")(np.ones((1, 3)))
    np.testing.assert_allclose(y, np.tanh(hidden))


def test_options_and_what_is_wrong_with_them() -> None:
    for five in (5, np.int64(5), np.float32(5), "5"):
        assert str(graphspec.compile(OPTIONS, size=five).inputs) == "float32[B, 5]"
    for given, code, text in (
        ({"sise": 5}, "E0602", "did you mean `size`"),
        ({"size": "big"}, "E0601", "size is a number"),
        ({"size": 2.5}, "E0427", "made of sizes"),
    ):
        with pytest.raises(SpecError, match=text) as caught:
            graphspec.compile(OPTIONS, **given)
        assert caught.value.code == code
    with pytest.raises(SpecError, match=r"made of sizes and size letters, got \{2, true, n = 'a'\}"):
        graphspec.compile("return nn.gModule({nn.Identity{'B', {2, true, n = 'a'}}()}, {nn.Identity()()})")


WRONG_SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "dtype": ({"dtype": "float16"}, "E0704"),
    "precision": ({"precision": "fp7"}, "E0704"),
    "precision of another device": ({"device": "numpy", "precision": "bf16"}, "E0707"),
    "index base": ({"index_base": 2}, "E0704"),
    "device": ({"device": "gpu"}, "E0701"),
    "device that is no name": ({"device": None}, "E0701"),
    "no thread": ({"threads": 0}, "E0807"),
    "more threads than a number has room for": ({"threads": 2**64 + 1}, "E0807"),
    "half a thread": ({"threads": 1.5}, "E0807"),
    "threads as a text": ({"threads": "2"}, "E0807"),
    "no seed": ({"seed": None}, "E0807"),
    "a seed below 0": ({"seed": -1}, "E0807"),
    "half a seed": ({"seed": 1.5}, "E0807"),
    "a seed of 64 bits": ({"seed": 2**63}, "E0807"),
    "root": ({"roots": ["no/such/folder"]}, "E0802"),
    "entry without a library": ({"entry": "network()"}, "E0431"),
}


@pytest.mark.parametrize("case", WRONG_SETTINGS)
def test_settings_that_do_not_exist(case: str) -> None:
    settings, code = WRONG_SETTINGS[case]
    with pytest.raises(SpecError) as caught:
        graphspec.compile(LINEAR, **settings)
    assert caught.value.code == code


def test_a_type_of_numpy_is_named() -> None:
    with pytest.raises(SpecError, match="did you mean `float64`"):
        graphspec.compile(LINEAR, dtype=np.float64)  # type: ignore[arg-type]


def test_a_device_by_another_name_is_suggested() -> None:
    with pytest.raises(SpecError, match="did you mean `cuda`"):
        graphspec.compile(LINEAR, device="gpu")


def test_what_a_model_says_of_itself() -> None:
    assert repr(graphspec.compile(LINEAR)) == "<Model of <text>: float32[B, 3] -> float32[B, 2], 8 parameters, cpu>"


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in ATTRIBUTES.items() for name in names])
def test_names_of_other_frameworks_lead_to_ours(kind: str, name: str) -> None:
    made, here = graphspec.compile(LINEAR) if kind == "Model" else graphspec.experiment(SPECS / "adding.spec"), ATTRIBUTES[kind][name]
    with pytest.raises(AttributeError, match=f"an? {kind} has no attribute '{name}'; here it is `{re.escape(here)}`"):
        getattr(made, name)
    for ours in re.findall(r"[a-z_]+", re.sub(r"\(.*|^graphspec\.", "", here)):
        assert hasattr(made, ours) or ours in ("items", "update", "compile")


def test_a_name_that_nobody_knows_is_a_plain_error() -> None:
    with pytest.raises(AttributeError, match="a Model has no attribute 'evalute'") as caught:
        graphspec.compile(LINEAR).evalute  # noqa: B018
    assert caught.value.name == "evalute" and not hasattr(graphspec.compile(LINEAR), "_repr_png_")


@pytest.mark.parametrize("copied", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_model_is_saved_and_not_copied(copied: Callable[[object], object]) -> None:
    with pytest.raises(TypeError, match=r"save\(path\) keeps it"):
        copied(graphspec.compile(LINEAR))


@pytest.mark.parametrize(
    ("given", "code"),
    [("missing.spec", "E0801"), (".", "E0802"), ("specs/lstm.spec", "E0430"), ("specs/char_lm.spec", "E0430"), ("return 5", "E0431")],
)
def test_what_cannot_be_compiled(given: str, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SPECS.parent)
    with pytest.raises(SpecError) as caught:
        graphspec.compile(given)
    assert caught.value.code == code


def test_save_and_load(tmp_path: Path) -> None:
    model = graphspec.compile(SPECS / "lstm.spec", "network({rnn_size=5})", dtype="float64")
    model.flat_parameters[:] = np.random.default_rng(0).standard_normal(model.flat_parameters.size)
    x = (np.ones((2, 5)), [np.ones((2, 5))] * 2)
    model.save(tmp_path / "model.safetensors")
    again = graphspec.load(tmp_path / "model.safetensors")
    assert list(again.parameters) == list(model.parameters)
    np.testing.assert_array_equal(again.flat_parameters, model.flat_parameters)
    np.testing.assert_array_equal(again(*x)[0], model(*x)[0])
    with pytest.raises(SpecError) as caught:
        graphspec.load(tmp_path / "nothing")
    assert caught.value.code == "E0801"
    (tmp_path / "damaged").write_bytes((tmp_path / "model.safetensors").read_bytes()[:-3])
    with pytest.raises(SpecError) as caught:
        graphspec.load(tmp_path / "damaged")
    assert caught.value.code == "E0705"


def test_running_statistics_are_kept_and_saved(tmp_path: Path) -> None:
    text = "local x = nn.Identity{'B', 3}()\nlocal norm = nn.BatchNormalization(3)\nreturn nn.gModule({x}, {norm(x)})"
    model = graphspec.compile(text, dtype="float64")
    model(np.random.default_rng(0).standard_normal((8, 3)))
    assert model.buffers["norm.running_mean"].any()
    model.save(tmp_path / "m")
    np.testing.assert_array_equal(graphspec.load(tmp_path / "m").buffers["norm.running_mean"], model.buffers["norm.running_mean"])


def test_a_model_in_evaluate_mode_serves_several_threads() -> None:
    model = graphspec.compile(LINEAR, dtype="float64").evaluate()
    inputs = [np.full((size, 3), float(size)) for size in range(1, 17)]
    expected = [model(x) for x in inputs]
    wrong: list[int] = []

    def work(k: int) -> None:
        for _ in range(50):
            if not np.array_equal(model(inputs[k]), expected[k]):
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_errors_read_well_and_are_data() -> None:
    with pytest.raises(SpecError) as caught:
        graphspec.compile("local x = nn.Identity{'B', 3}()\nreturn nn.gModule({x}, {nn.Linear(4, 2)(x)})")
    text, problem = str(caught.value), caught.value.diagnostics[0]
    assert "--> <text>:2:" in text
    assert "^" in text
    assert problem.to_json()["labels"][-1]["line"] == 2


def test_a_model_without_parameters() -> None:
    model = graphspec.compile("local x = nn.Identity{'B'}()\nreturn nn.gModule({x}, {nn.Square()(x)})", dtype="float64")
    np.testing.assert_array_equal(model(np.array([2.0, 3.0])), [4, 9])
    np.testing.assert_array_equal(model.backward(np.array([2.0, 3.0]), np.ones(2)), [4, 6])
    assert model.parameters == {}


def test_a_plan_that_cannot_be_run_is_told_as_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any, arguments: Any) -> Any:
        raise PlanError("plan", "no kernel frobnicate")

    monkeypatch.setattr("graphspec.engine.Executable.run", broken)
    with pytest.raises(SpecError, match="no kernel frobnicate") as caught:
        graphspec.compile(LINEAR)(np.ones((4, 3)))
    assert caught.value.code == "E0703"


# -- what was saved, and what opens it -------------------------------------------------------------------------------------------

OPENS: dict[str, tuple[str, str, str, str]] = {
    "a checkpoint as a spec": ("experiment", "first/checkpoints/best.safetensors", "E0102", "graphspec.Experiment.load"),
    "a checkpoint to compile": ("compile", "first/checkpoints/best.safetensors", "E0102", "graphspec.Experiment.load"),
    "a model as a spec": ("compile", "model.safetensors", "E0102", "graphspec.load"),
    "a run as a spec": ("experiment", "first", "E0802", "graphspec.Experiment.load"),
    "a checkpoint as a model": ("load", "first/checkpoints/best.safetensors", "E0705", "graphspec.Experiment.load"),
    "a run as a model": ("load", "first", "E0801", "graphspec.Experiment.load"),
    "a model as an experiment": ("Experiment.load", "model.safetensors", "E0705", "graphspec.load"),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a saved model and a run."""
    folder = tmp_path_factory.mktemp("saved")
    graphspec.compile("local x = nn.Identity{'B', 3}()\nreturn nn.gModule({x}, {nn.Linear(3, 2)(x)})").save(folder / "model.safetensors")
    (folder / "corpus.txt").write_text("to be or not to be, that is the question. " * 20)
    fields = {"data.path": str(folder / "corpus.txt"), "data.batch": 2, "data.seq_len": 5}
    small = graphspec.experiment(SPECS / "char_lm.spec", threads=1, rnn_size=4, **fields)
    list(run(small, RunSettings(1, folder / "first")))
    return folder


@pytest.mark.parametrize("name", OPENS)
def test_what_was_saved_says_what_opens_it(saved: Path, name: str) -> None:
    call, path, code, words = OPENS[name]
    with pytest.raises(SpecError) as caught:
        attrgetter(call)(graphspec)(saved / path)
    assert caught.value.code == code
    assert any(f"`{words}" in text for text in caught.value.diagnostics[0].helps)


def test_loading_is_of_the_class(saved: Path) -> None:
    experiment = graphspec.Experiment.load(saved / "first", threads=1)
    with pytest.raises(SpecError, match="makes a new object and changes none") as caught:
        experiment.load(saved / "first")
    assert caught.value.code == "E0807" and caught.value.diagnostics[0].helps == ("`new = graphspec.Experiment.load(path)`",)
    assert graphspec.Experiment.load.__doc__


def test_the_names_of_graphspec_are_listed() -> None:
    assert dir(graphspec) == sorted(graphspec.__all__)
    assert all(getattr(graphspec, name) is not None for name in dir(graphspec))
