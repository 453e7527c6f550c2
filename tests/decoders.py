"""Untrained models for tests of decoding, and a beam search in plain Python over ``model(...)``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import graphspec
from graphspec.api import Model
from graphspec.data.vocabulary import START, STOP
from graphspec.training.experiment import Experiment

SPECS = Path(__file__).parent.parent / "specs"
Array = np.ndarray[Any, Any]

TURNED = """
local pairs = data.pairs { batch = 64 }
local V, E, H = pairs.target_vocab_size, 5, 6
local source = nn.Identity{'S', 'B', dtype = 'int32'}()
local words = nn.LookupTable(pairs.source_vocab_size, E)(source)
local h0 = nn.Tanh()(nn.Linear(E, H)(nn.Select(1, 1)(words)))
local encoder = nn.gModule({source}, {nn.Transpose({1, 2})(h0), words})

local word, state = nn.Identity{'B', dtype = 'int32'}(), nn.Identity{H, 'B'}()
local context = nn.Identity{'S', 'B', E}()
local h = nn.Transpose({1, 2})(state)
local sums = { nn.LookupTable(V, H)(word), nn.Linear(H, H)(h), nn.Linear(E, H)(nn.Select(1, 1)(context)) }
local next_h = nn.Tanh()(nn.CAddTable()(sums))
local log_p = nn.LogSoftMax()(nn.Linear(H, V)(next_h))
local step = nn.gModule({word, state, context}, {log_p, nn.Transpose({1, 2})(next_h)})

local read, target_in = nn.Identity{'S', 'B', dtype = 'int32'}(), nn.Identity{'T', 'B', dtype = 'int32'}()
local target_out = nn.Identity{'T', 'B', dtype = 'int32'}()
local s0, c = encoder(read):split(2)
local scores, _ = nn.Scan(step){xs = target_in, s0 = s0, context = c}:split(2)
return experiment {
  loss = nn.ClassNLLCriterion(nil, true, 0)({scores, target_out}),
  inputs = { [read] = pairs.source, [target_in] = pairs.target_in, [target_out] = pairs.target_out },
  generate = { encode = encoder, step = step, inputs = {pairs.source} },
}
"""
"""A state ``[H, B]`` and a context ``[S, B, E]``: no leaf has its batch axis first."""

MODELS: dict[str, tuple[str | Path, dict[str, Any], float]] = {
    "attention": (SPECS / "translate.spec", {"embedding": 5, "hidden": 4, "cell": 8, "align": 6}, 2.0),
    "nested state": (SPECS / "seq2seq.spec", {"embedding": 5, "hidden": 6, "layers": 2}, 1.0),
    "batch axis last": (TURNED, {}, 0.0),
    "rising scores": (TURNED.replace("(next_h))", "(next_h))\nlog_p = nn.AddConstant(6)(log_p)"), {}, 6.0),
}
"""Spec, options, and how much likelier the stop symbol is made, so that some hypotheses end and some do not."""


def table_of_pairs(folder: Path) -> Path:
    """Pairs over three letters."""
    draw = np.random.default_rng(1)
    words = sorted({"".join(draw.choice(list("abc"), draw.integers(1, 6))) for _ in range(400)})
    path = folder / "pairs.tsv"
    path.write_text("".join(f"{word}\t{word[::-1]}\n" for word in words))
    return path


def opened(name: str, table: Path, **settings: Any) -> Experiment:
    spec, options, _ = MODELS[name]
    return graphspec.experiment(spec, threads=1, **settings, **options, **{"data.path": str(table)})


def pairs_model(name: str, table: Path, dtype: str = "float64", device: str = "cpu", seed: int = 3) -> Experiment:
    """An untrained model with large weights, so that its choices are not all alike."""
    experiment = opened(name, table, dtype=dtype, device=device)
    draw = np.random.default_rng(seed)
    for key, array in experiment.parameters.items():
        array[...] = draw.normal(size=array.shape) * (1.5 if array.ndim > 1 else 0.5)
        if key.endswith("bias") and array.shape == (experiment.decoder.model.symbols,):
            array[experiment.decoder.vocabulary.index(STOP) - 1] += MODELS[name][2]
    return experiment


def sources(count: int, seed: int = 5) -> list[str]:
    draw = np.random.default_rng(seed)
    return ["".join(draw.choice(list("abc"), draw.integers(1, 7))) for _ in range(count)]


class Plain:
    """The spec's encoder and step as models that are called, one row at a time."""

    def __init__(self, experiment: Experiment, name: str, table: Path) -> None:
        self.experiment = experiment
        self.encoder, self.step = (self._model(part, name, table) for part in ("encode", "step"))

    def _model(self, part: str, name: str, table: Path) -> Model:
        again = opened(name, table, dtype="float64")  # a Model names parameters anew, without their place in the experiment
        module = getattr(again.spec, part)
        names = [p.name for p in module.all_parameters()]
        model = Model(again.opened, module, dtype="float64").evaluate()
        for key, array in zip(names, model.parameters.values(), strict=True):
            array[...] = self.experiment.parameters[key]
        return model

    def encode(self, source: str) -> tuple[Any, tuple[Any, ...]]:
        """The first state, and the context in a tuple, if there is one."""
        indices = self.experiment.encoded([source])[0]
        arrays = {"source": indices[:, None], "source_length": np.array([len(indices)], np.int32)}
        found = self.encoder(*(arrays[stream.name] for stream in self.experiment.spec.encode_inputs))
        return (found[0], (found[1],)) if self.experiment.decoder.model.has_context else (found, ())

    def __call__(self, symbol: int, state: Any, context: tuple[Any, ...]) -> tuple[Array, Any, Any]:
        """``log_p [V]``, the next state, and what else the step gives (or None)."""
        y, following = self.step(np.array([symbol], np.int32), state, *context)
        return (y[0][0], following, y[1]) if isinstance(y, tuple) else (y[0], following, None)


def plain_beam(plain: Plain, source: str, width: int, length: int, alpha: float) -> list[tuple[tuple[int, ...], float, bool]]:
    """Symbols, score and whether it has ended, best first: as the docstring of ``beam_program`` says it."""
    vocabulary = plain.experiment.decoder.vocabulary
    start, stop = vocabulary.index(START), vocabulary.index(STOP)
    state, context = plain.encode(source)
    live: list[tuple[float, tuple[int, ...], Any]] = [(0.0, (), state)]
    ended: list[tuple[float, tuple[int, ...]]] = []
    for n in range(1, length + 1):
        continued = []
        for k, (total, symbols, state) in enumerate(live):
            log_p, following, _ = plain(symbols[-1] if symbols else start, state, context)
            continued += [(total + float(p), k, symbol, (*symbols, symbol), following) for symbol, p in enumerate(log_p, 1)]
        best = sorted(continued, key=lambda c: (-c[0], c[1], c[2]))[: 2 * width]
        ended += [(total / penalty(n, alpha), symbols[:-1]) for total, _, symbol, symbols, _ in best[:width] if symbol == stop]
        live = [(total, symbols, following) for total, _, symbol, symbols, following in best if symbol != stop][:width]
        ended = sorted(ended, key=lambda e: -e[0])[:width]
        if len(ended) == width and ended[-1][0] >= live[0][0] / penalty(length, alpha):
            break
    found = [(symbols, score, True) for score, symbols in ended]
    return [*found, *((symbols, total / penalty(length, alpha), False) for total, symbols, _ in live)][:width]


def penalty(n: int, alpha: float) -> float:
    return float(((5 + n) / 6) ** alpha)


def forced(model: Experiment, source: str, targets: Sequence[tuple[int, ...]]) -> list[float]:
    """log p of each target after a source, by forcing."""
    batch = model._pairs.padded([model.encoded([source])[0]] * len(targets), [np.asarray(t, np.int32) for t in targets])
    return list(model.decoder.score(batch, batch.arrays["target_in"], batch.arrays["target_out"]))
