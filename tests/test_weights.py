"""Weights from elsewhere in models of ours: the same numbers come out as where they were trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphspec
from graphspec.cli.main import main
from graphspec.errors import SpecError
from graphspec.training.loop import RunSettings, run
from graphspec.weights.mapping import mapped
from t7files import Thing, t7

Array = np.ndarray[Any, Any]
SPECS = Path(__file__).parent.parent / "specs"
SYMBOLS, SIZE, LAYERS = 11, 6, 2

LANGUAGE_MODEL = f"""
local columns = require 'columns'
local make_cell = ...
local token, prev_s = nn.Identity{{'B', dtype = 'int32'}}(), nn.Identity()()
local embedded = nn.LookupTable({SYMBOLS}, {SIZE})(token)
local hidden, next_s = columns.stack(make_cell, {SIZE}, {SIZE}, {LAYERS})({{embedded, prev_s}}):split(2)
local step = nn.gModule({{token, prev_s}}, {{nn.Linear({SIZE}, {SYMBOLS})(hidden), next_s}})
local tokens, state = nn.Identity{{'T', 'B', dtype = 'int32'}}(), nn.Identity()()
local scores = nn.SelectTable(1)(nn.Scan(step)({{tokens, state}}))
return nn.gModule({{tokens, state}}, {{scores}})
"""

LSTM = LANGUAGE_MODEL.replace("make_cell = ...", "make_cell = columns.lstm")
GRU = LANGUAGE_MODEL.replace(
    "local make_cell = ...",
    """
local function gate(in_size, size, x, h)
  return nn.Sigmoid()(nn.CAddTable()({nn.Linear(in_size, size)(x), nn.Linear(size, size)(h)}))
end
local function make_cell(in_size, size)  -- PyTorch's: the reset gate after the product
  local x, h = nn.Identity{'B', in_size}(), nn.Identity{'B', size}()
  local reset, update = gate(in_size, size, x, h), gate(in_size, size, x, h)
  local past = nn.CMulTable()({reset, nn.Linear(size, size)(h)})
  local new = nn.Tanh()(nn.CAddTable()({nn.Linear(in_size, size)(x), past}))
  local fresh = nn.CMulTable()({nn.AddConstant(1)(nn.MulConstant(-1)(update)), new})
  local next_h = nn.CAddTable()({fresh, nn.CMulTable()({update, h})})
  return nn.gModule({x, h}, {next_h, nn.Identity()(next_h)})
end""",
)

ENDS = "LookupTable.weight = embedding.weight\nLinear.* = linear.*\n"
LSTM_MAP = f"""# the cell's gates in PyTorch's order
{ENDS}
*lstm[{{l}}].*weighted_sum[{{g}}].Linear.weight = rnn.weight_ih_l{{l-1}} [{{g}} of 4]
*lstm[{{l}}].*weighted_sum[{{g}}].Linear.bias = rnn.bias_ih_l{{l-1}} [{{g}} of 4] + rnn.bias_hh_l{{l-1}} [{{g}} of 4]
*lstm[{{l}}].*weighted_sum[{{g}}].LinearNoBias.weight = rnn.weight_hh_l{{l-1}} [{{g}} of 4]
"""


def gru_map(names: list[str]) -> dict[str, str]:
    """The names of a GRU's parts, of which some are told apart by their order alone."""
    found = {"LookupTable.weight": "embedding.weight", "Linear.*": "linear.*"}
    cells = [name for name in names if "make_cell" in name]
    kinds = [f"{kind}_{side}" for gate in "rzn" for side in (("ih", "hh") if gate != "n" else ("hh", "ih")) for kind in ("weight", "bias")]
    gates = [gate for gate in "rzn" for _ in range(4)]
    assert len(cells) == LAYERS * len(kinds)
    for i, name in enumerate(cells):
        layer, part = divmod(i, len(kinds))
        found[name] = f"rnn.{kinds[part]}_l{layer} [{gates[part]} of rzn]"
    return found


def trained(torch: Any, kind: str) -> Any:
    """A language model of PyTorch's after a few steps."""
    torch.manual_seed(5)

    class LanguageModel(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(SYMBOLS, SIZE)
            self.rnn = getattr(torch.nn, kind)(SIZE, SIZE, LAYERS)
            self.linear = torch.nn.Linear(SIZE, SYMBOLS)

        def forward(self, tokens: Any) -> Any:
            return self.linear(self.rnn(self.embedding(tokens))[0])

    model = LanguageModel()
    optimizer = torch.optim.Adam(model.parameters(), 0.05)
    for _ in range(5):
        tokens = torch.randint(SYMBOLS, (8, 3))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(tokens[:-1]).flatten(0, 1), tokens[1:].flatten()).backward()
        optimizer.step()
    return model


@pytest.mark.parametrize("ending", ["pt", "safetensors"])
@pytest.mark.parametrize(("kind", "spec"), [("LSTM", LSTM), ("GRU", GRU)])
def test_a_language_model_of_pytorch_says_the_same_here(kind: str, spec: str, ending: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="the weights of this test are PyTorch's")
    theirs = trained(torch, kind)
    path = tmp_path / f"model.{ending}"
    if ending == "pt":
        torch.save(theirs.state_dict(), path)
    else:
        from safetensors.torch import save_file

        save_file(theirs.state_dict(), path)
    tokens = np.random.default_rng(3).integers(SYMBOLS, size=(7, 4))
    wanted = theirs.double()(torch.tensor(tokens)).detach().numpy()
    for dtype, tolerance in (("float64", 1e-12), ("float32", 2e-6)):
        ours = graphspec.compile(spec, roots=[SPECS], dtype=dtype, index_base=0).evaluate()
        ours.load_weights(path, LSTM_MAP if kind == "LSTM" else gru_map(list(ours.parameters)))
        zeros = np.zeros((4, SIZE))
        states = tuple((zeros, zeros) for _ in range(LAYERS)) if kind == "LSTM" else (zeros,) * LAYERS
        np.testing.assert_allclose(ours(tokens, states), wanted, atol=tolerance, rtol=tolerance)


def test_packed_gates_are_put_in_another_order(tmp_path: Path) -> None:
    """nn.SeqLSTM has one matrix for x and h, transposed, with its gates as i, f, o, g."""
    torch = pytest.importorskip("torch", reason="the weights of this test are PyTorch's")
    theirs = torch.nn.LSTM(3, 4).double()
    torch.save(theirs.state_dict(), tmp_path / "w.pt")
    ours = graphspec.compile("local x = nn.Identity{'T', 'B', 3}()\nreturn nn.gModule({x}, {nn.SeqLSTM(3, 4)(x)})", dtype="float64")
    order = "[ifog of ifgo]"
    ours.load_weights(tmp_path / "w.pt", {
        "SeqLSTM.weight": f"weight_ih_l0 {order} transposed / weight_hh_l0 {order} transposed",
        "SeqLSTM.bias": f"bias_ih_l0 {order} + bias_hh_l0 {order}",
    })  # fmt: skip
    x = np.random.default_rng(1).normal(size=(5, 2, 3))
    np.testing.assert_allclose(ours(x), theirs(torch.tensor(x))[0].detach().numpy(), atol=1e-12)


TWO = "local x = nn.Identity{'B', 3}()\nreturn nn.gModule({x}, {nn.Linear(4, 2)(nn.Tanh()(nn.Linear(3, 4)(x)))})"


def test_a_model_of_torch_says_the_same_here(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    a, b, c, d = (rng.normal(size=shape) for shape in ((4, 3), (4,), (2, 4), (2,)))
    layers = {1: Thing("nn.Linear", {"weight": a, "bias": b}), 2: Thing("nn.Tanh", {}), 3: Thing("nn.Linear", {"weight": c, "bias": d})}
    (tmp_path / "m.t7").write_bytes(t7({"model": Thing("nn.Sequential", {"modules": layers}), "epoch": 3}))
    model = graphspec.compile(TWO, dtype="float64")
    first, second = (
        name.removesuffix(".weight") for name, array in sorted(model.parameters.items(), key=lambda e: -e[1].size) if array.ndim == 2
    )
    model.load_weights(tmp_path / "m.t7", {f"{first}.*": "model.modules.1.*", f"{second}.*": "model.modules.3.*"})
    x = rng.normal(size=(5, 3))
    np.testing.assert_allclose(model(x), np.tanh(x @ a.T + b) @ c.T + d, atol=1e-12)


# -- mappings --------------------------------------------------------------------------------------------------------------------

OURS = {"a.weight": (2, 3), "a.bias": (2,), "b.weight": (2, 3)}
THEIRS = {"x.weight": np.arange(6.0).reshape(2, 3), "x.bias": np.arange(2.0), "y.weight": np.arange(12.0).reshape(4, 3)}


def test_what_a_mapping_can_say() -> None:
    found = mapped(OURS, THEIRS, "a.* = x.*\n# a comment\nb.weight = y.weight [2 of 2] + x.weight  # and another")
    np.testing.assert_array_equal(found["a.bias"].value, THEIRS["x.bias"])
    np.testing.assert_array_equal(found["b.weight"].value, THEIRS["y.weight"][2:] + THEIRS["x.weight"])
    assert found["b.weight"].source == "y.weight [2 of 2] + x.weight"
    found = mapped(
        OURS, THEIRS, "b.weight = nothing; *.bias = x.bias; a.weight = y.weight [d of abcd] / y.weight [a of abcd]; nothing = x.w*"
    )
    assert found["b.weight"].value is None
    np.testing.assert_array_equal(found["a.weight"].value, THEIRS["y.weight"][[3, 0]])
    same = {name: np.zeros(shape) for name, shape in OURS.items()}
    assert [one.source for one in mapped(OURS, same).values()] == list(OURS)


@pytest.mark.parametrize(("text", "code"), [
    ("a.weight\nb = x", "E0722"), ("a.weight", "E0801"), ("= x", "E0722"), ("a b = x", "E0722"), ("a.weight =", "E0722"),
    ("a.weight = x.*", "E0722"), ("a.weight = x{k}", "E0722"), ("*a*b*c*d* = nothing", "E0722"), ("nothing = *****", "E0722"),
    ("a.weight = x.weight [2 to 4]", "E0722"), ("a.weight = x.weight [3 of 2]", "E0722"), ("a.weight = x.weight [0 of 2]", "E0722"),
    ("a.weight = x.weight [1 of 0]", "E0722"), ("a.weight = x.weight [i of ii]", "E0722"), ("a.weight = x.weight [q of ifgo]", "E0722"),
    ("a.weight = x.weight [1 of 99999999999999999999]", "E0722"), ("a.weight =  + x.bias", "E0722"),
    ("a.weight = z.weight", "E0723"), ("c.weight = x.weight", "E0723"), ("a.* = x.*", "E0723"), ("* = nothing", "E0723"),
    ("* = nothing; a.bias = x.bias", "E0723"), ("a.weight = x.bias", "E0724"), ("a.weight = x.weight [1 of 3]", "E0724"),
    ("a.weight = x.bias transposed", "E0724"), ("a.weight = x.weight + x.bias", "E0724"), ("a.weight = x.weight / x.bias", "E0724"),
])  # fmt: skip
def test_mappings_that_make_no_sense(text: str, code: str) -> None:
    with pytest.raises(SpecError) as caught:
        mapped(OURS, THEIRS, text)
    assert caught.value.code == code
    assert str(caught.value)


LEFT: dict[str, tuple[dict[str, tuple[int, ...]], str | None, str]] = {
    "modules that are alike": ({"x.weight": (2, 3), "x.bias": (2,), "y.weight": (4, 3)}, None, "a.* = x.*; b.* = y.*"),
    "one of them, by a mapping": ({"x.weight": (2, 3), "x.bias": (2,), "y.weight": (4, 3)}, "a.* = x.*", "b.* = y.*"),
    "one of them, by its name": ({"a.weight": (2, 3), "a.bias": (2,), "y.weight": (4, 3)}, None, "b.* = y.*; * = *"),
    "two that could be it": ({"a.weight": (2, 3), "a.bias": (2,), "y.weight": (4, 3), "z.weight": (4, 3)}, None, "b.weight = NAME"),
}


@pytest.mark.parametrize("case", LEFT)
def test_names_that_are_left_say_how_to_map_them(case: str) -> None:
    shapes, mapping, line = LEFT[case]
    ours = {"a.weight": (2, 3), "a.bias": (2,), "b.weight": (4, 3)}
    theirs = {name: np.zeros(shape) for name, shape in shapes.items()}
    with pytest.raises(SpecError) as caught:
        mapped(ours, theirs, mapping)
    assert caught.value.code == "E0723"
    told = f"{'one more line' if mapping else 'a mapping (`--map`)'} says which is which: `{line}`"
    assert told in caught.value.diagnostics[0].helps
    if "NAME" not in line:
        assert list(mapped(ours, theirs, f"{mapping or ''}; {line}")) == list(ours)


@pytest.mark.parametrize(("mapping", "wanted"), [
    (None, "a = a transposed; * = *"), ("a = a; b = b", "a = a transposed"), ("* = *", "a = a transposed; * = *"),
    ("a = b transposed; b = nothing; nothing = a", "a = b"), ("a = c [2 of 2]; b = b; nothing = a", "a = c transposed [2 of 2]"),
    ("a = c [1 of 2] / c [2 of 2]; b = b; nothing = a", None),
])  # fmt: skip
def test_a_shape_that_is_turned_has_the_line_that_turns_it(mapping: str | None, wanted: str | None) -> None:
    ours, theirs = {"a": (2, 3), "b": (2, 3)}, {"a": np.zeros((3, 2)), "b": np.zeros((2, 3)), "c": np.zeros((3, 4))}
    if mapping is None or "c" not in mapping:
        del theirs["c"]
    with pytest.raises(SpecError) as caught:
        mapped(ours, theirs, mapping)
    assert caught.value.code == "E0724"
    assert list(caught.value.diagnostics[0].helps) == ([f"this has its shape: `{wanted}`"] if wanted else [])
    if wanted:
        rest = "" if "*" in wanted else "; b = nothing"
        assert mapped(ours, theirs, f"{wanted}{rest}; nothing = *")["a"].value is not None


def test_an_error_changes_nothing(tmp_path: Path) -> None:
    model = graphspec.compile(TWO)
    before = model.flat_parameters.copy()
    (tmp_path / "m.t7").write_bytes(t7({"w": np.ones((4, 3))}))
    for mapping in ("*.weight = w; *.bias = nothing", {"nonsense": "w"}, tmp_path / "missing.map", tmp_path / "m.t7"):
        with pytest.raises(SpecError):
            model.load_weights(tmp_path / "m.t7", mapping)
    np.testing.assert_array_equal(model.flat_parameters, before)


# -- the command -----------------------------------------------------------------------------------------------------------------


def test_the_command_lists_and_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.spec").write_text("local x = nn.Identity{'B', 3}()\nreturn nn.gModule({x}, {nn.Linear(3, 2)(x)})")
    Path("m.t7").write_bytes(t7({"w": np.ones((2, 3)), "bad\x1bname": np.full(2, 7.0)}))
    assert main(["weights", "m.t7", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0] == {"name": "w", "shape": [2, 3], "dtype": "float64"}
    assert main(["weights", "m.t7"]) == 0
    assert "\x1b" not in capsys.readouterr().out
    assert (
        main(
            ["weights", "m.t7", "--into", "m.spec", "--map", "*.weight = w; *.bias = bad*".replace("bad*", "bad\x1bname"), "-o", "m.model"]
        )
        == 0
    )
    assert "Linear.weight  =  w" in capsys.readouterr().out
    np.testing.assert_array_equal(graphspec.load("m.model")(np.ones((1, 3))), [[10, 10]])
    assert main(["weights", "m.t7", "--map", "a = b"]) == 1
    assert "E0807" in capsys.readouterr().err


def test_a_run_begins_with_weights_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("to be or not to be, that is the question\n" * 20)
    given = [str(SPECS / "char_lm.spec"), "data.path=text.txt", "data.batch=2", "data.seq_len=5", "rnn_size=4"]
    assert main(["run", *given, "--steps", "2", "--out", "first"]) == 0
    taken = ["weights", "first/checkpoints/best.safetensors", "--into", *given, "--map", "nothing = *:*; * = *", "-o", "second"]
    assert main(taken) == 0
    begun = graphspec.Experiment.load("second")
    np.testing.assert_array_equal(begun.flat_parameters, graphspec.Experiment.load("first").flat_parameters)
    assert begun.steps == 0 and not any(state.any() for state in begun.optimizer_state.values())
    assert main(["run", *given, "--steps", "1", "--out", "second", "--resume"]) == 0
    assert graphspec.Experiment.load("second", last=True).steps == 1
    assert main(taken) == 1  # the folder holds a run already


def test_an_experiment_goes_on_with_weights_from_elsewhere(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("to be or not to be, that is the question\n" * 20)
    options = {"data.path": str(text), "data.batch": 2, "data.seq_len": 5, "rnn_size": 4}
    first = graphspec.experiment(SPECS / "char_lm.spec", device="numpy", **options)
    first.train_step()
    first.save(tmp_path / "first.safetensors")
    list(run(first, RunSettings(2, tmp_path / "run")))
    again = graphspec.experiment(SPECS / "char_lm.spec", device="numpy", **options)
    for path, mapping in (("first.safetensors", None), ("first.safetensors", "nothing = *:*; * = *"), ("run", None)):
        again.flat_parameters[:] = 0
        again.load_weights(tmp_path / path, mapping)
        saved = graphspec.Experiment.load(tmp_path / path)
        np.testing.assert_array_equal(again.flat_parameters, saved.flat_parameters)
    assert list(graphspec.weights.read(tmp_path / "run")) == list(graphspec.weights.read(tmp_path / "first.safetensors"))
    with pytest.raises(SpecError) as caught:
        again.load_weights(tmp_path)
    assert caught.value.code == "E0802" and "checkpoints/" in caught.value.diagnostics[0].helps[0]
    damaged = bytearray((tmp_path / "first.safetensors").read_bytes())
    damaged[-1] ^= 1
    (tmp_path / "damaged").write_bytes(damaged)
    with pytest.raises(SpecError) as caught:
        again.load_weights(tmp_path / "damaged")
    assert caught.value.code == "E0705"
    first.close()
