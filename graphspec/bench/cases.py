"""What is timed: the shipped models in several sizes, the work that they must do, and the bound that follows for a machine.

The bound of a training step (forward and backward) is FLOPs over peak plus bytes over bandwidth.  FLOPs are those of matrix products, three
for each of the forward pass (itself, its gradient to the input, its gradient to the weights); what is zero or has few distinct rows is
done once (the product with the state at the first step, an embedding's product where the vocabulary is below half of the rows).  Bytes:
parameters are read twice and their gradients written once; what a cell must keep from forward to backward, and the logits, are written once
and read once.  Pointwise work is left out, so that nothing reaches the bound, and a good program comes near it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graphspec.errors import fail
from graphspec.shipped import SPECS
from graphspec.suggest import did_you_mean

Array = np.ndarray[Any, Any]

CONFIGS: Mapping[str, Mapping[str, int]] = {
    "char": {"B": 50, "T": 50, "H": 128, "V": 65},
    "medium": {"B": 20, "T": 35, "H": 650, "V": 10_000},
    "mid": {"B": 64, "T": 100, "H": 512, "V": 256},
    "large": {"B": 20, "T": 35, "H": 1500, "V": 10_000},
}
"""Sizes of the language models: batch, steps, units (and embedding), symbols.  After char-rnn (Karpathy, 2015), and the medium and large
models of Zaremba, Sutskever and Vinyals (2014); ``mid`` is between."""

LAYERS = 2

DECODER = {"B": 32, "S": 30, "T": 30, "H": 256, "V": 500}
"""The decoder's sizes, of any configuration: batch, symbols read, symbols written, units, symbols of a vocabulary."""

UNITS = (128, 256, 512, 1024)
"""Of the layer whose step is timed, one after the other."""
ROWS = 10_000
"""Of the table that a step's inputs are looked up in, unless told otherwise: so many that no product of the layer can be done on the table
instead."""

GATES = {"lstm": 4, "gru": 3, "lnlstm": 4, "decoder": 4}
KEPT = {"lstm": 7, "gru": 5, "lnlstm": 12, "decoder": 9}
"""Numbers a unit and step that backward needs of forward: gates, memory cell and its tanh, output; for the GRU also the candidate's share
of the state; for layer norm also each normalised sum; for the decoder also context and query."""

CELLS = tuple(GATES)
MOST = 10**6
"""The largest size that can be asked for."""


@dataclass(frozen=True)
class Work:
    """What a training step must do: ``flops`` of matrix products, ``bytes`` to and from memory."""

    flops: float
    bytes: float


@dataclass(frozen=True)
class Case:
    """A shipped model in one size: ``sizes`` are B, T, H, V, and L (layers) or S (symbols read); ``config`` is their name, empty where
    they have none."""

    config: str
    cell: str
    sizes: Mapping[str, int]

    @property
    def spec(self) -> Path:
        return SPECS / "bench" / ("decoder.spec" if self.cell == "decoder" else "lm.spec")

    @property
    def options(self) -> dict[str, Any]:
        """The spec's options."""
        found = {"rnn_size": self.sizes["H"], "vocab": self.sizes["V"]}
        return found if self.cell == "decoder" else {**found, "cell": self.cell, "n_layers": self.sizes["L"]}

    @property
    def stem(self) -> str:
        """What the names of a language model's weights begin with."""
        return "make_step[1]."

    @property
    def symbols(self) -> int:
        """Targets in a step: what tokens a second count."""
        return self.sizes["B"] * self.sizes["T"]

    def streams(self) -> dict[str, Array]:
        """A batch by the names of the spec's streams: uniformly random symbols, from 1, the same at every call."""
        rng = np.random.default_rng(1)
        s = self.sizes
        target = (s["T"], s["B"])
        shapes = (
            {"source": (s["S"], s["B"]), "target_in": target, "target_out": target}
            if self.cell == "decoder" else {"tokens": target, "targets": target}
        )  # fmt: skip
        return {name: rng.integers(1, s["V"] + 1, shape).astype(np.int32) for name, shape in shapes.items()}

    @property
    def work(self) -> Work:
        """Of forward and backward, as the module's text defines it."""
        b, t, h, v = (self.sizes[name] for name in "BTHV")
        rows, later = t * b, t * b - b
        gates, kept = GATES[self.cell], KEPT[self.cell]
        embedded = few_rows(rows, v)
        if self.cell == "decoder":
            read = b * self.sizes["S"]
            recurrent = (gates + 1) * later  # the gates and the query
            square = few_rows(read, v) + recurrent + gates * (rows + embedded)
            multiply_adds = h * h * square + 2 * rows * self.sizes["S"] * h + h * v * rows
            parameters = 3 * v * h + v + h * h * (3 * gates + 2) + h * (gates + 3) + 1
            moved = 4 * 2 * rows * h * kept + 8 * rows * v + 8 * 4 * read * h  # states, keys, and the gradients of both
        else:
            layers = self.sizes["L"]
            multiply_adds = gates * h * h * (layers * later + (layers - 1) * rows + embedded) + h * v * rows
            parameters = 2 * v * h + v + layers * 2 * gates * (h * h + h) + (layers * 5 * h if self.cell == "lnlstm" else 0)
            moved = 4 * 2 * layers * rows * h * kept + 8 * rows * v
        return Work(3 * 2 * multiply_adds, 12 * parameters + moved)

    def __str__(self) -> str:
        return f"{self.cell}{self.config and ' '}{self.config} ({' '.join(f'{name}{n}' for name, n in self.sizes.items())})"


class StepCase(Case):
    """Layers alone, a step at a time: ``sizes`` are B, H, L, and V where it was asked for.  Such a step is bound by nothing but how fast
    weights come from a cache."""

    @property
    def options(self) -> dict[str, Any]:
        vocab = self.sizes.get("V", ROWS)
        return {"rnn_size": self.sizes["H"], "vocab": vocab, "cell": self.cell, "n_layers": self.sizes["L"], "bare": True}

    @property
    def stem(self) -> str:
        return ""  # all are of that step, so it is left out of their names

    @property
    def symbols(self) -> int:
        return self.sizes["B"]

    def streams(self) -> dict[str, Array]:
        """None: a step's input is what the step before chose."""
        return {}

    @property
    def work(self) -> Work:
        """Of the layers: their products, and their parameters, read once."""
        weights = self.sizes["L"] * 2 * GATES[self.cell] * self.sizes["H"] ** 2
        return Work(2 * self.sizes["B"] * weights, 4 * weights)

    def __str__(self) -> str:
        return f"a step of {super().__str__()}"


def few_rows(rows: int, symbols: int) -> int:
    """Distinct rows of an embedding's product, where it pays to do each once."""
    return symbols if symbols < rows // 2 else rows


def make_case(config: str, cell: str, changed: Mapping[str, int] | None = None) -> Case:
    """A case by its names, with ``changed`` sizes; E0807 for names and sizes that do not exist."""
    for what, name, known in (("configuration", config, CONFIGS), ("cell", cell, CELLS)):
        if name not in known:
            helps = did_you_mean(name, known) or [f"there are {', '.join(known)}"]
            raise fail("E0807", f"there is no {what} {name!r}", helps=helps)
    sizes = dict(DECODER) if cell == "decoder" else {**CONFIGS[config], "L": LAYERS}
    for name, n in (changed or {}).items():
        if name not in (*sizes, "L", "S"):
            raise fail("E0807", f"--at {name}={n}: there is no such size", helps=[f"the sizes of {cell} are {', '.join(sizes)}"])
        if not 1 <= n <= MOST:
            raise fail("E0807", f"--at {name}={n}: a size must be from 1 to {MOST:,}")
        if name in sizes:  # L says nothing to the decoder, S nothing to a language model
            sizes[name] = n
    named = cell != "decoder" and sizes == {**CONFIGS[config], "L": LAYERS}
    return Case(config if named else "", cell, sizes)


def make_steps(cell: str, changed: Mapping[str, int] | None = None) -> list[StepCase]:
    """A layer of a cell in its usual sizes, or in those that are ``changed``; E0807 for names and sizes that do not exist."""
    if cell == "decoder":
        raise fail("E0807", "a decoder's step begins with what its encoder read, and is not timed", helps=["`--step --cell lstm`"])
    case, sizes = make_case("char", cell, changed), changed or {}
    for name in sizes:
        if name not in "BHLV":
            raise fail("E0807", f"--at {name}={sizes[name]} says nothing to a step", helps=["its sizes are B, H, L, V"])
    units, symbols = (sizes["H"],) if "H" in sizes else UNITS, {"V": sizes["V"]} if "V" in sizes else {}
    if symbols and sizes["V"] < max(units):
        helps = [f"`--at H={sizes['V']},V={sizes['V']}`"]
        raise fail("E0807", f"--at V={sizes['V']}: each of a layer's {max(units)} units is a symbol", helps=helps)
    return [StepCase("", case.cell, {"B": sizes.get("B", 1), "H": n, "L": sizes.get("L", 1), **symbols}) for n in units]
