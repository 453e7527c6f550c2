"""``remember``: what a module's loop leaves after a batch is what it begins the next one with, in training, in evaluation, or in both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphspec
from graphspec.cli.main import main
from graphspec.errors import SpecError
from graphspec.training.experiment import Experiment

SPEC = """
local text = data.text {{ batch = 3, seq_len = 5, path = 'corpus.txt', valid = 0.3 }}
local V = text.vocab_size
local tokens, targets = nn.Identity{{'T', 'B', dtype = 'int32'}}(), nn.Identity{{'T', 'B', dtype = 'int32'}}()
local ends = nn.Sequencer(nn.Sequential():add(nn.Linear(6, V)):add(nn.LogSoftMax()))
{model}
return experiment {{
  loss = nn.SequencerCriterion(nn.ClassNLLCriterion())({{log_p, targets}}),
  inputs = {{ [tokens] = text.tokens, [targets] = text.targets }},
  {carry}
}}
"""
LAYERS = {
    "SeqGRU": "nn.SeqGRU(4, 6)",
    "SeqLSTM": "nn.SeqLSTM(4, 6)",
    "Sequencer": "nn.Sequencer(nn.Sequential():add(nn.FastLSTM(4, 5)):add(nn.GRU(5, 6)))",
    "Recurrent": "nn.Sequencer(nn.Recurrent(6, nn.Linear(4, 6), nn.Linear(6, 6)))",
}
BY_HAND = """
local h0 = nn.Identity{'B', 6}()
local hs = nn.SeqGRU(4, 6)({h0, nn.LookupTable(V, 4)(tokens)})
local log_p = ends(hs)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "corpus.txt").write_text("to be or not to be, that is the question\n" * 4)
    monkeypatch.chdir(tmp_path)


def experiment_of(model: str, carry: str = "", **settings: Any) -> Experiment:
    text = SPEC.format(model=model, carry=carry)
    return graphspec.experiment(text, threads=1, roots=(".",), **{"dtype": "float64", "device": "numpy", **settings})


def remembering(layer: str, call: str, **settings: Any) -> Experiment:
    model = f"local lm = nn.Sequential():add(nn.LookupTable(V, 4)):add({LAYERS[layer]}):add(ends)\n{call}\nlocal log_p = lm(tokens)"
    return experiment_of(model, **settings)


@pytest.mark.parametrize("device", ["reference", "numpy", "native"])
def test_it_is_what_a_carried_state_is(device: str) -> None:
    by_hand = experiment_of(BY_HAND, "carry = { [h0] = nn.Select(1, -1)(hs) },", device=device)
    told = remembering("SeqGRU", "lm:remember('both')", device=device)
    shapes = [sorted(array.shape for array in e.parameters.values()) for e in (by_hand, told)]
    assert shapes[0] == shapes[1]
    for array in told.parameters.values():
        array[...] = next(other for other in by_hand.parameters.values() if other.shape == array.shape)
    for _ in range(6):
        assert told.train_step() == pytest.approx(by_hand.train_step(), abs=1e-12)
    assert told.evaluate() == pytest.approx(by_hand.evaluate(), abs=1e-12)


@pytest.mark.parametrize("layer", LAYERS)
def test_in_evaluation_batches_are_one_sequence(layer: str) -> None:
    """Longer batches of the same text give the same loss, if nothing is forgotten between them."""
    losses = {}
    for mode in ("both", "eval", "train", "neither"):
        found = [remembering(layer, f"lm:remember('{mode}')", **{"data.seq_len": n}) for n in (2, 4)]
        for experiment in found:
            draw = np.random.default_rng(1)
            for array in experiment.parameters.values():
                array[...] = draw.normal(size=array.shape)
        losses[mode] = [experiment.evaluate()["valid_loss"] / n for experiment, n in zip(found, (2, 4), strict=True)]
    for mode in ("both", "eval"):
        assert losses[mode] == pytest.approx([losses["both"][0]] * 2, abs=1e-12)
    assert losses["train"] == losses["neither"]
    assert len({round(loss, 6) for loss in (*losses["both"], *losses["neither"])}) == 3


@pytest.mark.parametrize("layer", ["SeqLSTM", "Recurrent"])
def test_what_is_remembered_in_training(layer: str) -> None:
    losses = {}
    for call in ("lm:remember()", "lm:remember('train')", "lm:remember('eval')", ""):
        experiment = remembering(layer, call)
        losses[call] = [experiment.train_step() for _ in range(8)]
    both, train, evaluation, none = losses.values()
    assert both == train != evaluation == none
    assert both[0] == none[0]


def test_a_checkpoint_has_what_is_remembered(tmp_path: Path) -> None:
    experiment = remembering("Sequencer", "lm:remember('both')")
    for _ in range(3):
        experiment.train_step()
    experiment.save(tmp_path / "model.safetensors")
    again = Experiment.load(tmp_path / "model.safetensors", device="numpy", roots=(tmp_path,))
    assert again.train_step() == experiment.train_step()


SAID = [
    ("lm:get(1):remember('both')", "nn.LookupTable: there is nothing in it that remembers"),
    ("lm:remember('oth')", "did you mean `both`"),
    ("ends:remember('both', 1)", "got 'both', 1"),
]


@pytest.mark.parametrize(("call", "words"), SAID)
def test_what_cannot_be_told(call: str, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        remembering("SeqGRU", call)
    assert (caught.value.code, words in str(caught.value)) == ("E0422", True), str(caught.value)


@pytest.mark.parametrize(("call", "told"), [("seq:remember('both')", 1), ("seq:remember('neither')", 0), ("seq:forget()", 0)])
def test_a_model_that_is_called_remembers_nothing(call: str, told: int) -> None:
    text = "local x = nn.Identity{'T', 'B', 3}()\nlocal seq = nn.SeqLSTM(3, 2)\n" + call + "\nreturn nn.gModule({x}, {seq(x)})"
    assert [w.message for w in graphspec.compile(text).warnings if w.code == "W0309"] == [
        "nn.SeqLSTM remembers nothing here: each call of a model begins with zeros"
    ] * told


INSIDE = """
local x, prev = nn.Identity{'B', 4}(), nn.Identity{'B', 6}()
local inner = nn.SeqGRU(4, 6):remember(%s)
local h = nn.Tanh()(nn.CAddTable()({nn.Select(1, 1)(inner(nn.Unsqueeze(1)(x))), prev}))
local cell = nn.gModule({x, prev}, {nn.Identity()(h), h})
local hs, _ = nn.Scan(cell){xs = nn.LookupTable(V, 4)(tokens)}:split(2)
local log_p = ends(hs)
"""


@pytest.mark.parametrize(("mode", "told"), [("'both'", 1), ("'train'", 1), ("'neither'", 0)])
def test_in_the_cell_of_a_loop_it_is_told_in_vain(mode: str, told: int, capsys: pytest.CaptureFixture[str]) -> None:
    """By every command that trains or compiles it; what stands outside of loops is kept, and not told of."""
    outside = "local seq = nn.SeqGRU(4, 6):remember('both')\nlocal log_p = ends(seq(nn.LookupTable(V, 4)(tokens)))"
    for model, count in ((INSIDE % mode, told), (outside, 0)):
        Path("model.spec").write_text(SPEC.format(model=model, carry=""))
        assert [w.code for w in graphspec.experiment("model.spec", device="numpy").warnings] == ["W0309"] * count
        for command in (["compile", "model.spec"], ["run", "model.spec", "--steps", "1", "--device", "numpy"]):
            assert main(command) == 0
            said = capsys.readouterr().err
            assert said.count("warning[W0309]: nn.SeqGRU remembers nothing here: it is inside a loop") == count, said
            assert "model.spec:9:" in said or not count
