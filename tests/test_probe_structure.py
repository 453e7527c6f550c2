"""What the probe finds in the graph of a step: gates by what they do, weights that lead back, bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

import graphspec
from graphspec.probe import measure
from probed import COLUMNS, DEVICE, KEEP_BIAS, LSTM, MEMORY, cell, probed, subject

OVER = "local xs = nn.Identity{{'T', 'B', 3}}()\nreturn nn.gModule({{xs}}, {{{}(xs)}})"

GATES: Mapping[str, tuple[str, list[str]]] = {
    "lstm": (LSTM, ["keep"]),
    "one less a gate": (
        cell("""local z = nn.Sigmoid()(sum(4, x, h))
        local rest = nn.AddConstant(1)(nn.MulConstant(-1)(z))
        local next_h = nn.CAddTable()({nn.CMulTable()({rest, h}), nn.CMulTable()({z, nn.Tanh()(nn.Linear(3, 4)(x))})})"""),
        ["rest"],
    ),
    "a piece of a wide sum": (
        cell("""local all = nn.Sigmoid()(sum(8, x, nn.JoinTable(2)({h, nn.MulConstant(0)(h)})))
        local remember = nn.Narrow(2, 5, 4)(all)
        local next_h = nn.CAddTable()({nn.CMulTable()({h, remember}), nn.CMulTable()({nn.Narrow(2, 1, 4)(all), nn.Linear(3, 4)(x)})})"""),
        ["remember"],
    ),
    "split": (
        cell("""local cut = nn.SplitTable(2)(nn.Reshape(2, 4)(nn.Linear(3, 8)(x)))
        local a, b = cut:split(2)
        local p, q = nn.SplitTable(2)(nn.Sigmoid()(nn.Reshape(2, 4)(nn.JoinTable(2)({a, b})))):split(2)
        local next_h = nn.CAddTable()({nn.CMulTable()({q, h}), p})"""),
        ["q"],
    ),
    "a reset gate is none": (
        cell("""local reset = nn.Sigmoid()(sum(4, x, h))
        local next_h = nn.Tanh()(sum(4, x, nn.CMulTable()({reset, h})))"""),
        [],
    ),
    "a gate of another tensor is none": (
        cell("""local gate = nn.Sigmoid()(sum(4, x, h))
        local next_c, next_h = nn.Identity()(h), nn.CMulTable()({gate, c})""", **MEMORY),
        [],
    ),
    "of rnn's modules": (OVER.format("nn.Sequencer(nn.LSTM(3, 4))"), ["LSTM.forgetGate"]),
    "by their locals": ("local cell = nn.FastLSTM(3, 4)\n" + OVER.format("nn.Sequencer(cell)"), ["cell.f"]),
    "in a container": (OVER.format("nn.Sequencer(nn.Sequential():add(nn.GRU(3, 4)):add(nn.Tanh()))"), ["GRU.z"]),
    "without a name": (cell("local next_h = nn.CAddTable()({nn.CMulTable()({nn.Sigmoid()(nn.Linear(3, 4)(x)), h}), nn.Linear(3, 4)(x)})"),
                       ["nn.Sigmoid, line 4"]),
}  # fmt: skip


@pytest.mark.parametrize("case", GATES)
def test_forget_gates_are_found_by_what_they_do(case: str) -> None:
    spec, wanted = GATES[case]
    assert [gate.node for gate in probed(spec, steps=3).gates] == wanted


def test_statistics_are_those_of_the_values_over_time() -> None:
    found = subject(LSTM, steps=30)
    parameters = {**found.parameters, KEEP_BIAS: np.array([-4.0, 0.0, 3.0, 5.0])}
    (one,) = measure(replace(found, parameters=parameters), 5, DEVICE)
    model = graphspec.compile(LSTM, dtype="float64", threads=1)
    for name, array in model.parameters.items():
        array[...] = parameters[name]
    state, kept = [np.zeros((2, 4))] * 2, []
    for x in found.inputs["input"]:
        (_, state), gate = model.node("keep")(x, list(state))
        kept.append(gate)
    (gate,), (saturation, *_) = one.gates, one.saturation
    assert gate.mean == pytest.approx(np.mean(kept), abs=1e-12)
    assert gate.quantiles == pytest.approx(np.quantile(kept, [0.05, 0.5, 0.95]), abs=1e-12)
    assert gate.memory == pytest.approx(1 / (1 - np.mean(kept)))
    assert (saturation.node, saturation.kind) == ("keep", "Sigmoid")
    assert 0 < saturation.low == pytest.approx(np.mean(np.array(kept) < 0.05)) and 0 < saturation.high == pytest.approx(
        np.mean(np.array(kept) > 0.95)
    )
    assert len(one.saturation) == 5


RECURRENT = {
    "stacked": (f"{COLUMNS}", "stack(rnn, 3, 4, 2)", ["LinearNoBias", "LinearNoBias"], True),
    "gated": (f"{COLUMNS}", "gru(3, 4)", ["LinearNoBias"] * 3, False),
    "leaky": (
        cell("""local new = nn.Tanh()(sum(4, x, h))
        local next_h = nn.CAddTable()({nn.MulConstant(0.9)(h), nn.MulConstant(0.1)(new)})"""), None, ["Linear"], True,
    ),
    "a circle of two": (
        cell("local next_h, next_c = nn.Linear(4, 4)(c), nn.Tanh()(sum(4, x, h))", **MEMORY), None, ["Linear", "Linear"], True,
    ),
    "one way only": (
        cell("local next_c, next_h = nn.Linear(4, 4)(h), nn.Tanh()(sum(4, x, h))", state=MEMORY["state"].replace(", c", ", _"),
             following=MEMORY["following"]), None, ["Linear"], True,
    ),
    "by its elements": (cell("local next_h = nn.Tanh()(nn.CAddTable()({nn.Linear(3, 4)(x), nn.CMul(4)(h)}))"), None, [], True),
}  # fmt: skip


@pytest.mark.parametrize("case", RECURRENT)
def test_recurrent_weights_lead_back_to_where_they_come_from(case: str) -> None:
    spec, entry, wanted, bounded = RECURRENT[case]
    one = probed(spec, entry, steps=12)
    assert [weight.name.split(".")[-2].split("[")[0] for weight in one.weights] == wanted
    assert (one.bound is not None) == bounded
    if one.bound:
        assert np.all(np.array(one.largest) <= np.array(one.bound) + 1e-9)
    assert np.all(np.array(one.largest) <= np.array(one.separate) + 1e-9)
