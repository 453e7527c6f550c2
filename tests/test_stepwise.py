"""Models of whole sequences, generated with step by step: the same numbers as at once; what cannot be run so is refused where it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphspec
from graphspec.cli.main import main
from graphspec.errors import SpecError
from graphspec.graph import new_module
from graphspec.program import forward_program, infer
from graphspec.reference import interpret
from graphspec.training.decoding.programs import draw_program
from graphspec.training.experiment import Experiment
from graphspec_runtime import PlanError
from graphspec_runtime.compiler import find_compiler

LANGUAGE = Path(__file__).parent.parent / "docs" / "language.md"

ENDS = ":add(nn.Sequencer(nn.Sequential():add(nn.Linear(6, V)):add(nn.LogSoftMax())))"
SWAPPED = ":add(nn.SeqGRU(5, 6, true)):add(nn.View(-1, 6)):add(nn.Linear(6, V)):add(nn.LogSoftMax())"
SUM = "nn.Sequential():add(nn.ParallelTable():add(nn.Linear(5, 6)):add(nn.Linear(6, 6))):add(nn.CAddTable()):add(nn.Tanh())"

MODELS = {
    "SeqLSTM": f"nn.Sequential():add(nn.LookupTable(V, 5)):add(nn.SeqLSTM(5, 6)){ENDS}",
    "two layers": f"nn.Sequential():add(nn.LookupTable(V, 5)):add(nn.SeqGRU(5, 4)):add(nn.Sequencer(nn.LSTM(4, 6))){ENDS}",
    "projected, masked": f"nn.Sequential():add(nn.LookupTableMaskZero(V, 5)):add(nn.SeqLSTMP(5, 7, 6, false, true)){ENDS}",
    "batch first": f"nn.Sequential():add(nn.LookupTable(V, 5)){SWAPPED}",
    "Sequencer alone": f"nn.Sequential():add(nn.LookupTable(V, 5)):add(nn.Sequencer(nn.FastLSTM(5, 6))){ENDS}",
    "Recurrent": f"nn.Sequential():add(nn.LookupTable(V, 5)):add(nn.Sequencer(nn.Recurrent(6, nn.Linear(5, 6), nn.Linear(6, 6)))){ENDS}",
    "Recurrence": f"nn.Sequential():add(nn.LookupTable(V, 5)):add(nn.Sequencer(nn.Recurrence({SUM}, 6, 1))){ENDS}",
    "Scan": f"nn.Sequential():add(nn.LookupTable(V, 5)):add(scan()){ENDS}",
    "one step": "nn.Sequential():add(nn.LookupTable(V, 5)):add(nn.GRU(5, 6)):add(nn.Linear(6, V)):add(nn.LogSoftMax())",
    "a graph": "graph()",
    "no memory": f"nn.Sequential():add(nn.LookupTable(V, 6)){ENDS}",
}

SPEC = """
local text = data.text {{ batch = 2, seq_len = 5, path = 'corpus.txt' }}
local V = text.vocab_size
local function scan()
  local x, s = nn.Identity{{'B', 5}}(), nn.Identity{{'B', 6}}()
  local h = nn.Tanh()(nn.CAddTable()({{nn.Linear(5, 6)(x), nn.Linear(6, 6)(s)}}))
  local xs = nn.Identity{{'T', 'B', 5}}()
  local ys, _ = nn.Scan(nn.gModule({{x, s}}, {{nn.Identity()(h), h}}))({{xs}}):split(2)
  return nn.gModule({{xs}}, {{ys}})
end
local function graph()
  local tokens = nn.Identity{{'T', 'B', dtype = 'int32'}}()
  local x = nn.LookupTable(V, 6)(tokens)
  local h = nn.CAddTable()({{x, nn.SeqLSTM(6, 6)(x), nn.Sequencer(nn.GRU(6, 6))(x)}})
  return nn.gModule({{tokens}}, {{nn.LogSoftMax()(nn.Linear(6, V)(nn.View(-1, 6)(h)))}})
end
local function with_state()
  local tokens = nn.Identity{{'T', 'B', dtype = 'int32'}}()
  local x = nn.LookupTable(V, 6)(tokens)
  local h = nn.SeqLSTM(6, 6)({{nn.Select(1, 1)(x), x}})
  return nn.gModule({{tokens}}, {{nn.LogSoftMax()(nn.Linear(6, V)(nn.View(-1, 6)(h)))}})
end
local function counted()
  local tokens = nn.Identity{{5, 2, dtype = 'int32'}}()
  return nn.gModule({{tokens}}, {{nn.Linear(6, V)(nn.SeqLSTM(6, 6)(nn.LookupTable(V, 6)(tokens)))}})
end
local model = {model}
local tokens, targets = nn.Identity{{'T', 'B', dtype = 'int32'}}(), nn.Identity{{'T', 'B', dtype = 'int32'}}()
local log_p = {called}
return experiment {{
  step = model,
  loss = nn.ClassNLLCriterion()({{nn.View(-1, V)(log_p), nn.View(-1)(targets)}}),
  inputs = {{ [tokens] = text.tokens, [targets] = text.targets }},
}}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "corpus.txt").write_text("to be or not to be, that is the question\n" * 3)
    monkeypatch.chdir(tmp_path)


def experiment_of(model: str, called: str = "model(tokens)", **settings: Any) -> Experiment:
    return graphspec.experiment(SPEC.format(model=model, called=called), threads=1, roots=(".",), **settings)


def named(name: str, **settings: Any) -> Experiment:
    called = {"one step": "nn.Sequencer(model)(tokens)", "batch first": "model(nn.Transpose({1, 2})(tokens))"}
    experiment = experiment_of(MODELS[name], called.get(name, "model(tokens)"), **settings)
    draw = np.random.default_rng(3)
    for array in experiment.parameters.values():
        array[...] = draw.normal(size=array.shape)
    return experiment


def at_once(experiment: Experiment, name: str, tokens: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """``[T, B, symbols]``, of the model itself in the reference interpreter."""
    module = experiment.spec.step
    assert module is not None
    if name == "one step":
        module = new_module("Sequencer", [module], module.origin)
    typed = infer(module, "float64", 2)
    flat = np.concatenate([experiment.parameters[p.name].ravel() for p in typed.module.all_parameters()])
    given = {"input": tokens.T if name == "batch first" else tokens, "parameters": flat, "seed": np.asarray(1), "step": np.asarray(1)}
    found = interpret(forward_program(typed, training=False), given)["output"]
    shape = (*given["input"].shape, found.shape[-1])
    return found.reshape(shape).swapaxes(0, 1) if name == "batch first" else found.reshape(shape)


@pytest.mark.parametrize("device", ["reference", "numpy", "native"])
@pytest.mark.parametrize("name", MODELS)
def test_step_by_step_it_is_what_it_is_at_once(name: str, device: str) -> None:
    """On a machine without a C compiler native is left out."""
    if device == "native":
        try:
            find_compiler()
        except PlanError:
            pytest.skip("there is no C compiler")
    experiment = named(name, dtype="float64", device=device)
    decoder = experiment.decoder
    given = np.random.default_rng(1).integers(1, decoder.model.symbols + 1, (38, 3)).astype(np.int32)
    tokens, targets = given[:-1], given[1:]
    wanted = np.take_along_axis(at_once(experiment, name, tokens), targets[..., None] - 1, 2)[..., 0]
    found = np.concatenate(list(decoder._forced(*decoder._begin(None, 3), tokens, targets)))  # in chunks of 16 steps
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["two layers", "Recurrent", "batch first", "no memory"])
def test_a_beam_keeps_the_states_of_what_it_keeps(name: str) -> None:
    experiment = named(name, dtype="float64", device="numpy")
    (found,) = experiment.generate(length=6, beam=3, n_best=3)
    assert len({h.text for h in found}) == 3
    np.testing.assert_allclose([h.log_p for h in found], experiment.score([h.text for h in found]), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["SeqLSTM", "one step"])
def test_the_likeliest_symbols_after_a_prime(name: str) -> None:
    experiment = named(name, dtype="float64", device="numpy")
    text = "to be" + experiment.sample(30, temperature=0, prime="to be")
    symbols = experiment.decoder.vocabulary.encode(text)
    likeliest = 1 + at_once(experiment, name, symbols[:, None]).argmax(-1)[:, 0]
    assert likeliest[4:-1].tolist() == symbols[5:].tolist()


@pytest.mark.parametrize("name", ["two layers", "one step", "Scan"])
def test_the_loops_of_a_model_are_none_in_a_step(name: str) -> None:
    """Only that over the symbols is left."""
    program = draw_program(named(name).decoder.model, None, True, False)
    assert [op.name for op in program.block.walk()].count("scan") == 1


def test_the_model_of_the_language_page() -> None:
    blocks = re.findall(r"```lua\n(.*?)```", LANGUAGE.read_text(), re.S)
    (text,) = (block for block in blocks if "step = lm" in block)
    experiment = graphspec.experiment(text, roots=(".",), **{"data.path": "corpus.txt", "data.batch": 2, "data.seq_len": 5})
    losses = [experiment.train_step() for _ in range(3)]
    assert losses[-1] < losses[0]
    assert len(experiment.sample(7)) == 7
    assert len(experiment.setup.carried) == 3


HEAD = "nn.Sequential():add(nn.LookupTable(V, 6))"
REFUSED = {
    "BiSequencer": (f"{HEAD}:add(nn.BiSequencer(nn.GRU(6, 3)))\n{ENDS}", "E0622", "nn.BiSequencer gives for a sequence something else"),
    "SeqBRNN": (f"{HEAD}:add(nn.SeqBRNN(6, 6))\n{ENDS}", "E0622", "nn.SeqReverseSequence gives for a sequence something else"),
    "mean over time": (
        f"nn.Sequential():add(nn.LookupTable(V, 6)):add(\nnn.ConcatTable():add(nn.Identity())\n:add(nn.Sequential():add(nn.Mean(1))"
        f":add(nn.Replicate('T', 1)))):add(nn.CAddTable()){ENDS}", "E0622", "nn.Replicate gives for a sequence something else",
    ),
    "convolution": (
        f"{HEAD}:add(nn.Transpose({{1, 2}})):add(nn.Padding(1, -1, 2))\n:add(nn.TemporalConvolution(6, 6, 2)):add(nn.Transpose({{1, 2}}))"
        + ENDS,
        "E0622", "nn.TemporalConvolution gives for a sequence something else",
    ),
    "too short": (f"{HEAD}:add(\nnn.Narrow(1, 2, -1)):add(nn.Padding(1, 1, 3)){ENDS}", "E0622", "a sequence of one step is too short here"),
    "given a state": ("with_state()", "E0622", "nn.SeqLSTM gives for a sequence something else"),
    "as many steps": ("counted()", "E0622", "must take sequences of any length"),
    "last step": (f"{HEAD}:add(nn.SeqLSTM(6, 6)):add(nn.Select(1, -1)):add(nn.Linear(6, V))", "E0607", "nor a model of sequences"),
}
CALLED = {"last step": "nn.Replicate(5, 1)(model(tokens))"}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_run_step_by_step_is_refused_where_it_stands(name: str) -> None:
    model, code, words = REFUSED[name]
    with pytest.raises(SpecError) as caught:
        experiment_of(model, CALLED.get(name, "model(tokens)")).decoder  # noqa: B018
    assert (caught.value.code, words in str(caught.value)) == (code, True), str(caught.value)


@pytest.mark.parametrize(("name", "told"), [("BiSequencer", True), ("SeqLSTM", False), ("given a state", True)])
def test_a_run_tells_before_it_trains_what_it_cannot_generate_with(
    name: str, told: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = REFUSED[name][0] if name in REFUSED else MODELS[name]
    Path("model.spec").write_text(SPEC.format(model=model, called=CALLED.get(name, "model(tokens)")))
    assert main(["run", "model.spec", "--steps", "1", "--out", "run"]) == 0
    said = capsys.readouterr()
    assert ("W0622" in {w.code for w in graphspec.experiment("model.spec", device="numpy").warnings}) is told
    assert ("warning[W0622]: this can be trained, and not be generated with: " in said.err) is told
    assert ("graphspec sample run" not in said.out) is told
