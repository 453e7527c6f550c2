"""The shipped specs: their form, their gradients, that they learn, and that they are what their papers say."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphspec
from graphspec.cli.main import main
from graphspec.data.pairs import PairSource
from graphspec.errors import Source
from graphspec.tools.format import format_source
from graphspec.training.experiment import Experiment

ROOT = Path(__file__).parent.parent
SPECS = {path.stem: path for path in sorted((ROOT / "specs").glob("*.spec"))}
LUAC = next((found for name in ("luac5.1", "luac") if (found := shutil.which(name))), None)
ENTRIES = {"lstm": "network({rnn_size = 5, n_layers = 2})", "columns": "stack(peephole, 3, 4, 2, 0.3)"}

Options = Mapping[str, Any]
COPY = {"data.path": "pairs.tsv", "data.valid": 0.2, "data.batch": 16, "experiment.valid_every": 10_000}
TEXT = {"data.path": "text.txt", "data.batch": 4, "rnn_size": 24}
SHRUNK: dict[str, tuple[Options, int, float]] = {
    "char_lm": ({**TEXT, "n_layers": 1, "data.seq_len": 16, "optim.learningRate": 1e-2}, 150, 0.4),
    "char_lm one-hot": ({**TEXT, "one_hot": True, "data.seq_len": 16, "optim.learningRate": 1e-2}, 250, 0.4),
    "word_lm": ({**TEXT, "n_layers": 1, "dropout": 0, "data.seq_len": 9, "optim.learningRate": 4}, 300, 0.4),
    "seq2seq": ({**COPY, "hidden": 48, "embedding": 12, "optim.learningRate": 1e-2}, 250, 0.7),
    "translate": ({**COPY, "hidden": 12, "cell": 24, "embedding": 12, "align": 12, "optim.learningRate": 1e-2}, 200, 0.35),
    "translate dot": ({**COPY, "hidden": 12, "cell": 24, "embedding": 12, "attention": "dot", "optim.learningRate": 1e-2}, 200, 0.35),
    "translate general": (
        {**COPY, "hidden": 12, "cell": 16, "embedding": 12, "attention": "general", "optim.learningRate": 1e-2}, 200, 0.35
    ),
    "adding": ({"data.length": 8, "size": 16, "optim.learningRate": 1e-2}, 300, 0.05),
}  # fmt: skip
"""Options, steps, and a loss that is out of reach of a model that does not use its inputs over time."""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a text, and a table of words and the same words spelt backwards."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog and runs away.\n" * 60)
    draw = np.random.default_rng(1)
    words = {"".join(draw.choice(list("abcd"), draw.integers(1, 6))) for _ in range(500)}
    (tmp_path / "pairs.tsv").write_text("".join(f"{word}\t{word[::-1]}\n" for word in sorted(words)))
    return tmp_path


def shrunk(name: str, **more: Any) -> Experiment:
    options, _, _ = SHRUNK[name]
    return graphspec.experiment(SPECS[name.split()[0]], threads=1, **{**options, **more})


# -- form ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SPECS)
def test_a_spec_opens_with_its_name_and_is_short(name: str) -> None:
    text = SPECS[name].read_text()
    assert text.startswith(f"-- specs/{name}.spec: ")
    assert len(text.splitlines()) < 120
    if "return experiment" in text:
        assert f"--   graphspec run specs/{name}.spec" in text


@pytest.mark.parametrize("name", sorted(SPECS.keys() - {"lstm"}))  # that one is the lecture's, word for word
def test_a_spec_has_the_standard_layout(name: str) -> None:
    text = SPECS[name].read_text()
    assert format_source(Source(name, text)) == text


@pytest.mark.skipif(LUAC is None, reason="there is no Lua compiler on this machine")
@pytest.mark.parametrize("name", SPECS)
def test_a_spec_is_lua(name: str) -> None:
    assert LUAC is not None
    subprocess.run([LUAC, "-p", str(SPECS[name])], check=True)


PAIRS = "data.path=pairs.tsv embedding=2 hidden=2"
SMALL = [
    f"lstm --entry '{ENTRIES['lstm']}'", f"columns --entry '{ENTRIES['columns']}'", "columns --entry 'stack(gru, 2, 3, 1)'",
    "char_lm data.path=text.txt rnn_size=3", "char_lm data.path=text.txt rnn_size=3 one_hot=true",
    "word_lm data.path=text.txt rnn_size=3 data.vocab=9", f"seq2seq {PAIRS}", f"seq2seq {PAIRS} layers=2 dropout=0.2",
    *(f"translate {PAIRS} cell=4 align=3 attention={kind}" for kind in ("additive", "dot", "general")),
    *(f"adding size=3 cell={kind}" for kind in ("lstm", "rnn", "gru", "peephole")),
]  # fmt: skip


@pytest.mark.parametrize("line", SMALL)
def test_gradients_are_those_of_finite_differences(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    name, *words = shlex.split(line)
    assert main(["check", str(SPECS[name]), *words]) == 0
    assert "warning" not in capsys.readouterr().err


def test_every_spec_is_checked_and_every_experiment_learns() -> None:
    assert {line.split()[0] for line in SMALL} == SPECS.keys()
    assert {name.split()[0] for name in SHRUNK} == {name for name, path in SPECS.items() if "return experiment" in path.read_text()}


# -- learning --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHRUNK)
def test_a_shrunken_one_learns(name: str) -> None:
    _, steps, bound = SHRUNK[name]
    experiment = shrunk(name)
    losses = [experiment.train_step() for _ in range(steps)]
    assert np.mean(losses[-10:]) < bound < np.mean(losses[:5])
    assert experiment.evaluate()["valid_loss"] < 2 * bound


# -- what they compute -----------------------------------------------------------------------------------------------------------


def pair_loss(experiment: Experiment, sources: list[str], targets: list[str]) -> float:
    """The summed loss of some pairs in one batch."""
    source = experiment.source
    assert isinstance(source, PairSource)
    left, right = source.vocabularies
    batch = source.padded([left.encode(s) for s in sources], [right.encode(t) for t in targets])
    results = experiment._evaluate.run(experiment._arguments(batch, {}, 0))
    return float(results["loss"]) * batch.symbols


@pytest.mark.parametrize("name", ["seq2seq", "translate", "translate dot", "translate general"])
def test_padding_changes_nothing(name: str) -> None:
    """Pairs of different lengths in one batch cost what they cost alone."""
    options, _, _ = SHRUNK[name]
    experiment = graphspec.experiment(SPECS[name.split()[0]], dtype="float64", threads=1, **options)
    sources, targets = ["abcda", "b", "dc", "abcd"], ["d", "abc", "ba", "aaaaa"]
    alone = [pair_loss(experiment, [s], [t]) for s, t in zip(sources, targets, strict=True)]
    assert pair_loss(experiment, sources, targets) == pytest.approx(sum(alone), rel=1e-12)


def cell(entry: str) -> graphspec.Model:
    return graphspec.compile(SPECS["columns"], entry, dtype="float64").evaluate()


def sums(model: graphspec.Model, h: Any = None) -> dict[str, Any]:
    """W x + b + U h of each weighted sum, by what makes it."""
    named = model.parameters
    stems = [name.removesuffix("Linear.weight") for name in named if name.endswith(".Linear.weight")]
    return {
        stem.split(".weighted_sum")[0].split(".")[-1] if "gate" in stem else stem:
        X @ named[f"{stem}Linear.weight"].T + named[f"{stem}Linear.bias"] + (H if h is None else h) @ named[f"{stem}LinearNoBias.weight"].T
        for stem in stems
    }  # fmt: skip


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


RNG = np.random.default_rng(2)
X, H, C = RNG.normal(size=(5, 3)), RNG.normal(size=(5, 4)), RNG.normal(size=(5, 4))


def test_rnn_is_elmans() -> None:
    model = cell("rnn(3, 4)")
    y, h = model(X, H)
    (total,) = sums(model).values()
    np.testing.assert_allclose(y, np.tanh(total))
    np.testing.assert_array_equal(y, h)


def test_gru_is_chos() -> None:
    model = cell("gru(3, 4)")
    r, z, _ = map(sigmoid, sums(model).values())
    _, _, candidate = sums(model, r * H).values()
    np.testing.assert_allclose(model(X, H)[0], z * H + (1 - z) * np.tanh(candidate))


def test_lstm_is_the_listings() -> None:
    model = cell("lstm(3, 4)")
    i, f, g, o = sums(model).values()
    y, (h, c) = model(X, (H, C))
    np.testing.assert_allclose(c, sigmoid(f) * C + sigmoid(i) * np.tanh(g))
    np.testing.assert_allclose(y, sigmoid(o) * np.tanh(c))
    np.testing.assert_array_equal(y, h)


def test_peephole_is_graves() -> None:
    model = cell("peephole(3, 4)")
    total = sums(model)
    i, f, o = (total[f"gate[{n}]"] for n in (1, 2, 3))
    (g,) = (value for name, value in total.items() if "gate" not in name)
    peep = [value for name, value in model.parameters.items() if name.endswith("CMul.weight")]
    y, (_, c) = model(X, (H, C))
    np.testing.assert_allclose(c, sigmoid(f + peep[1] * C) * C + sigmoid(i + peep[0] * C) * np.tanh(g))
    np.testing.assert_allclose(y, sigmoid(o + peep[2] * c) * np.tanh(c))


def test_dropout_of_a_column_is_never_recurrent() -> None:
    """With the noise of both layers and of the input set to 0, states go on as if x were 0."""
    model = graphspec.compile(SPECS["columns"], "stack(lstm, 3, 4, 2, 0.5)", dtype="float64")
    state = tuple((H + i, C - i) for i in range(2))
    _, dropped = model(X * 0, state)
    plain = cell("stack(lstm, 3, 4, 2, 0.5)")
    for name, value in model.parameters.items():
        plain.parameters[name][...] = value
    _, kept = plain(X * 0, state)
    np.testing.assert_allclose(dropped[0][0], kept[0][0])
    np.testing.assert_allclose(dropped[0][1], kept[0][1])
    assert not np.allclose(dropped[1][0], kept[1][0]), "the second layer reads the first one through dropout"
