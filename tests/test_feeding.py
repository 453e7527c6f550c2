"""Data that do not fit the input that a spec gives them to: told with their name, at the input, and with NumPy's way to make them fit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphspec
from graphspec.training.loop import RunSettings, run

ONES = np.ones
CASES = [
    ("{'B', 2}", ONES((40, 2)), "{'B', 1}", ONES(40), r"E0307.*y comes as float32 \[4\], and this input takes .*`y\[:, None\]`"),
    ("{'B', 2}", ONES((40, 1, 2)), "{'B', 1}", ONES((40, 1)), r"E0307.*x comes as float32 \[4, 1, 2\].*`x\[:, 0\]`"),
    ("{'B', 2}", ONES((40, 3)), "{'B', 1}", ONES((40, 1)), r"E0307.*x comes as float32 \[4, 3\]"),
    ("{'B', 2}", ONES((40, 3, 3)), "{'B', 1}", ONES((40, 1)), r"E0307.*x comes as float32 \[4, 3, 3\]"),
    ("{'B', 3, 8, 6}", ONES((40, 8, 6, 3)), "{'B', 1}", ONES((40, 1)), r"E0307.*`x\.transpose\(0, 3, 1, 2\)`"),
    ("{'B', 3, 8, 6}", ONES((40, 3, 8, 6)), "{'B', 1, dtype = 'int32'}", ONES((40, 1)), r"E0312.*from 1: `y\.astype\('int32'\)`"),
    ("{'B', 2}", ONES((40, 2)), "{'B', dtype = 'int32'}", np.eye(40), r"E0312.*from 1: `\(y\.argmax\(-1\) \+ 1\)\.astype\('int32'\)`"),
    ("{'B', 1, 8, 8}", ONES((40, 8, 8, 1)), "{'B', 1}", ONES((40, 1)), r"E0307.*`x\.transpose\(0, 3, 1, 2\)`"),
    ("{'B', 1, 8, 8}", ONES((40, 8, 8)), "{'B', 1}", ONES((40, 1)), r"E0307.*`x\[:, None\]`"),
]


@pytest.mark.parametrize(("takes_x", "x", "takes_y", "y", "told"), CASES, ids=range(len(CASES)))
def test_data_that_do_not_fit(takes_x: str, x: Any, takes_y: str, y: Any, told: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "points.npz", x=x, y=y)
    (tmp_path / "model.spec").write_text(f"""local points = data.arrays {{ path = 'points.npz', batch = 4 }}
local x, y = nn.Identity{takes_x}(), nn.Identity{takes_y}()
return experiment {{ loss = nn.L1Cost()(nn.Mul()(x)), inputs = {{ [x] = points.x, [y] = points.y }} }}
""")
    with pytest.raises(graphspec.SpecError) as failure:
        graphspec.experiment(tmp_path / "model.spec").train_step()
    assert re.search(told, str(failure.value), re.S)
    assert re.search(r"model\.spec:2:\d+", str(failure.value))


WITH_NAN = np.where(np.arange(40) % 9 == 5, np.nan, 1.0)[:, None] * ONES((40, 2))
CLASSES = "nn.{}({})({{nn.Linear(2, 3)(x), y}})"
UNFIT = [
    (WITH_NAN, np.arange(40) % 3 + 1, CLASSES.format("CrossEntropyCriterion", ""),
     r"E0620.*x of points\.npz holds nan in example 6, and in 3 more.*model\.spec:2:14"),
    (ONES((40, 2)), np.arange(40) % 3, CLASSES.format("CrossEntropyCriterion", ""),
     r"E0310.*y of points\.npz counts classes from 0.*model\.spec:2:37.*save `y \+ 1`"),
    (ONES((40, 2)), np.arange(40) % 3, CLASSES.format("CrossEntropyCriterion", "nil, true, 0"), ""),
]  # fmt: skip


@pytest.mark.parametrize(("x", "y", "loss", "told"), UNFIT, ids=["nan", "classes from 0", "0 for none"])
def test_data_that_nothing_can_be_trained_on_are_told_before_it_is(x: Any, y: Any, loss: str, told: str, tmp_path: Path) -> None:
    """At the input, with the array and the example; an array that no input reads may hold anything."""
    np.savez(tmp_path / "points.npz", x=x, y=y, unread=np.full(40, np.nan))
    (tmp_path / "model.spec").write_text(f"""local points = data.arrays {{ path = 'points.npz', batch = 4 }}
local x, y = nn.Identity{{'B', 2}}(), nn.Identity{{'B', dtype = 'int32'}}()
return experiment {{ loss = {loss}, inputs = {{ [x] = points.x, [y] = points.y }} }}
""")
    if not told:
        graphspec.experiment(tmp_path / "model.spec", device="numpy").train_step()
        return
    with pytest.raises(graphspec.SpecError) as failure:
        graphspec.experiment(tmp_path / "model.spec", device="numpy")
    assert re.search(told, str(failure.value), re.S)


@pytest.mark.parametrize(("fields", "told"), [
    ("inputs = { [x] = points.x }", r"E0408.*the source node 'y' is used, and nothing feeds it.*add `\[y\] = \.\.\.` to inputs"),
    ("inputs = { [x] = points.x, [y] = points.x }, generate = { encode = part, step = part, inputs = {points.x} }",
     r"E0606.*generate encodes sources of pairs, which data\.arrays has none of.*model\.spec:5:8.*leave generate out"),
])  # fmt: skip
def test_what_an_experiment_lacks_is_told_before_it_is_trained(fields: str, told: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "points.npz", x=ONES((40, 2)))
    (tmp_path / "model.spec").write_text(f"""local points = data.arrays {{ path = 'points.npz' }}
local x, y, z = nn.Identity{{'B', 2}}(), nn.Identity{{'B', 2}}(), nn.Identity{{'B', 2}}()
local part = nn.gModule({{z}}, {{nn.Tanh()(z)}})
local loss = nn.MSECriterion()({{nn.Linear(2, 2)(x), y}})
return experiment {{ loss = loss, {fields} }}
""")
    with pytest.raises(graphspec.SpecError) as failure:
        graphspec.experiment(tmp_path / "model.spec", device="numpy")
    assert re.search(told, str(failure.value), re.S)


def test_an_input_that_is_not_finite_is_not_blamed_on_a_step(tmp_path: Path) -> None:
    x = ONES((40, 2))
    x[2, 1] = np.inf
    np.savez(tmp_path / "points.npz", x=x)
    (tmp_path / "model.spec").write_text(ARRAYS.format(size="'B'").replace("batch = 4", "batch = 4, shuffle = false"))
    found = graphspec.experiment(tmp_path / "model.spec", device="numpy")
    found.watch()
    with pytest.raises(graphspec.SpecError) as failure:
        found.train_step()
    assert re.search(r"E0711.*the data hold inf at \[3, 2\].*model\.spec:3:\d+.*read here", str(failure.value), re.S)


@pytest.mark.parametrize(("held", "accumulate", "told"), [
    (np.inf, 1, "data that are not finite: 2 of 8 numbers of x"),
    (np.inf, 2, "data that are not finite: 2 of 16 numbers of x"),
    (1e30, 1, ""),  # whose square is no number of float32: the data are finite
])  # fmt: skip
def test_a_loss_that_is_not_finite_suspects_the_data_where_they_are_so(held: float, accumulate: int, told: str, tmp_path: Path) -> None:
    x = ONES((40, 2))
    x[6] = held
    np.savez(tmp_path / "points.npz", x=x, unread=np.full(40, np.inf))
    text = ARRAYS.format(size="'B'").replace("batch = 4", "batch = 4, shuffle = false")
    (tmp_path / "model.spec").write_text(text.replace("return experiment {", f"return experiment {{ accumulate = {accumulate},"))
    with pytest.raises(graphspec.SpecError) as failure:
        list(run(graphspec.experiment(tmp_path / "model.spec", device="numpy"), RunSettings(5)))
    (problem,) = failure.value.diagnostics
    assert problem.code == "E0710" and f"at step {2 // accumulate}" in problem.message
    assert [told in note for note in problem.notes] == [True] * bool(told)
    assert problem.helps[0].startswith("look at what made the data" if told else "lower the learning rate")


def test_other_data_without_an_array_are_told_at_the_input(tmp_path: Path) -> None:
    """Those of training were looked through when the spec was read."""
    np.savez(tmp_path / "points.npz", x=ONES((40, 2)))
    (tmp_path / "model.spec").write_text(ARRAYS.format(size="'B'"))
    graphspec.experiment(tmp_path / "model.spec", device="numpy").save(tmp_path / "model.safetensors")
    np.savez(tmp_path / "other.npz", X=ONES((40, 2)))
    again = graphspec.Experiment.load(tmp_path / "model.safetensors", device="numpy", **{"data.path": str(tmp_path / "other.npz")})
    with pytest.raises(graphspec.SpecError) as failure:
        again.evaluate()
    assert re.search(r"E0620.*there is no array x, which this input takes.*model\.spec:2:\d+.*did you mean `X`", str(failure.value), re.S)


ARRAYS = """local points = data.arrays {{ path = 'points.npz', batch = 4, valid = 0.5 }}
local x = nn.Identity{{{size}, 2}}()
return experiment {{ loss = nn.MSECriterion()({{nn.Linear(2, 2)(x), x}}), inputs = {{ [x] = points.x }} }}
"""
TEXTS = """local text = data.text {{ path = 'corpus.txt', batch = 2, seq_len = 5, valid = 0.5 }}
local tokens, targets = nn.Identity{{{size}, 'B', dtype = 'int32'}}(), nn.Identity{{{size}, 'B', dtype = 'int32'}}()
local lm = nn.Sequential():add(nn.LookupTable(text.vocab_size, 3)){split}
  :add(nn.Sequencer(nn.GRU(3, text.vocab_size))):add(nn.Sequencer(nn.LogSoftMax()))
local wanted = {wanted}
return experiment {{
  loss = nn.SequencerCriterion(nn.ClassNLLCriterion())({{lm(tokens), wanted}}),
  inputs = {{ [tokens] = text.tokens, [targets] = text.targets }},
}}
"""
COUNTED = {"size": "5", "split": ":add(nn.SplitTable(1))", "wanted": "nn.SplitTable(1)(targets)"}
LETTERS = [
    (ARRAYS, {"size": "4"}, {"size": "'B'"}, r"fewer examples: write the letter 'B'"),
    (TEXTS, COUNTED, {"size": "'T'", "split": "", "wanted": "targets"}, r"write the letter 'T'.*without nn\.SplitTable"),
]


@pytest.mark.parametrize(("text", "counted", "letter", "told"), LETTERS, ids=["arrays", "text"])
def test_a_number_that_not_each_batch_has(text: str, counted: dict[str, str], letter: dict[str, str], told: str, tmp_path: Path) -> None:
    """The error names the letter to write, and with it the pass goes to its end."""
    np.savez(tmp_path / "points.npz", x=ONES((20, 2)))
    (tmp_path / "corpus.txt").write_text("to be or not to be, that is the question\n" * 4)

    def evaluated(sizes: dict[str, str]) -> dict[str, float]:
        (tmp_path / "model.spec").write_text(text.format(**sizes))
        return graphspec.experiment(tmp_path / "model.spec", device="numpy").evaluate()

    with pytest.raises(graphspec.SpecError, match=told):
        evaluated(counted)
    assert np.isfinite(evaluated(letter)["valid_loss"])


def test_a_carried_state_whose_size_nothing_says(tmp_path: Path) -> None:
    """It begins as zeros: how many, some stream or number must say.  Told where the state is made, before anything runs."""
    (tmp_path / "corpus.txt").write_text("to be or not to be, that is the question\n" * 4)
    text = """local text = data.text {{ path = 'corpus.txt', batch = 2, seq_len = 5 }}
local tokens, targets = nn.Identity{{'T', 'B', dtype = 'int32'}}(), nn.Identity{{'T', 'B', dtype = 'int32'}}()
local count = nn.Identity{size}()
local log_p = nn.LogSoftMax()(nn.Linear(3, text.vocab_size)(nn.View(-1, 3)(nn.LookupTable(text.vocab_size, 3)(tokens))))
return experiment {{
  loss = nn.ClassNLLCriterion()({{log_p, nn.View(-1)(targets)}}),
  inputs = {{ [tokens] = text.tokens, [targets] = text.targets }}, carry = {{ [count] = nn.AddConstant(1)(count) }},
}}
"""
    told = {"()": r"(?s)E0313.*float32\[B2?, n\].*model\.spec:3:15.*nn\.Identity\{'B', 8\}", "{'B', 'n'}": r"no stream has n:"}
    for size, words in told.items():
        (tmp_path / "model.spec").write_text(text.format(size=size))
        with pytest.raises(graphspec.SpecError) as failure:
            graphspec.experiment(tmp_path / "model.spec", device="numpy")
        assert re.search(words, str(failure.value)), str(failure.value)
    (tmp_path / "model.spec").write_text(text.format(size="{'B', 8}"))
    assert graphspec.experiment(tmp_path / "model.spec", device="numpy").train_step() > 0
