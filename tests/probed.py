"""What tests of the probe share: cells as specs, and what is measured of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from graphspec.engine import device_named
from graphspec.open import open_spec
from graphspec.probe import Measured, Rescaling, Subject, measure, of_model

Array = np.ndarray[Any, Any]

COLUMNS = str(Path(__file__).parent.parent / "specs" / "columns.spec")
SUM = "local function sum(n, x, h) return nn.CAddTable()({nn.Linear(3, n)(x), nn.Linear(n, n)(h)}) end\n"
DEVICE = device_named("numpy", 1)


def cell(body: str, state: str = "local h = nn.Identity{'B', 4}()", following: str = "nn.Identity()(next_h)") -> str:
    """The spec of a cell {x, h} -> {next_h, next state}."""
    return f"{SUM}local x = nn.Identity{{'B', 3}}()\n{state}\n{body}\nreturn nn.gModule({{x, s or h}}, {{next_h, {following}}})\n"


MEMORY = {
    "state": "local s = nn.Identity()()\nlocal h, c = s:split(2)",
    "following": "nn.Identity()({next_h, next_c})",
}
LSTM = cell(
    """local keep = nn.Sigmoid()(sum(4, x, h))
local next_c = nn.CAddTable()({nn.CMulTable()({keep, c}), nn.CMulTable()({nn.Sigmoid()(sum(4, x, h)), nn.Tanh()(sum(4, x, h))})})
local next_h = nn.CMulTable()({nn.Sigmoid()(sum(4, x, h)), nn.Tanh()(next_c)})""",
    **MEMORY,
)
RNN = cell("local next_h = nn.Tanh()(sum(4, x, h))")


def subject(spec: str, entry: str | None = None, steps: int = 20, sequences: int = 2, **options: Any) -> Subject:
    return of_model(open_spec(spec, entry, options=options), "it", steps, sequences, 1)


def probed(spec: str, entry: str | None = None, steps: int = 20, sequences: int = 2, how: Rescaling | None = None) -> Measured:
    found = subject(spec, entry, steps, sequences)
    (one,) = measure(found.rescaled(how) if how else found, steps, DEVICE)
    return one

KEEP_BIAS = "sum[1].Linear[2].bias"
"""Of the LSTM's forget gate."""
