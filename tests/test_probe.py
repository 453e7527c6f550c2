"""The probe: Jacobians over time against finite differences and matrix powers, bounds that hold."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import graphspec
from graphspec import SpecError
from graphspec.cli.probe import power
from graphspec.probe import Rescaling, Subject, measure
from graphspec.probe.jacobian import StepJacobian, products
from graphspec.probe.loops import trace
from probed import COLUMNS, DEVICE, KEEP_BIAS, LSTM, RNN, Array, cell, probed, subject

# -- norms -----------------------------------------------------------------------------------------------------------------------


def finite_differences(spec: str, found: Subject, sequence: int, steps: int) -> list[float]:
    """log10 |ds_T/ds_k| for k = T-1, T-2, ...: the compiled cell run from states that are a little off."""
    model = graphspec.compile(spec, dtype="float64", threads=1)
    for name, array in model.parameters.items():
        array[...] = found.parameters[name]
    xs = found.inputs["input"][:, sequence : sequence + 1]
    nested = isinstance(model.inputs[1], tuple)

    def step(x: Array, s: Array) -> Array:
        following = model(x, list(np.split(s, 2, -1)) if nested else s)[1]
        return np.concatenate(following, -1) if nested else following

    states = [np.zeros((1, 8 if nested else 4))]
    for x in xs:
        states.append(step(x, states[-1]))
    norms = []
    for k in range(len(xs) - 1, len(xs) - 1 - steps, -1):

        def last(s: Array, k: int = k) -> Array:
            for x in xs[k:]:
                s = step(x, s)
            return s[0]

        ways = 1e-5 * np.eye(states[0].shape[1])
        jacobian = np.array([(last(states[k] + way) - last(states[k] - way)) / 2e-5 for way in ways]).T
        norms.append(math.log10(np.linalg.norm(jacobian, 2)))
    return norms


@pytest.mark.parametrize("spec", [RNN, LSTM], ids=["rnn", "lstm"])
def test_norms_are_those_of_finite_differences(spec: str) -> None:
    found = subject(spec, steps=8)
    (one,) = measure(found, 5, DEVICE)
    wanted = np.array([finite_differences(spec, found, sequence, 5) for sequence in range(2)])
    for ours, theirs in ((one.least, wanted.min(0)), (one.median, np.median(wanted, 0)), (one.largest, wanted.max(0))):
        np.testing.assert_allclose(ours, theirs, atol=1e-7)


def test_the_reference_and_a_device_agree() -> None:
    found = subject(LSTM, steps=6)
    one, other = (measure(found, 6, device)[0] for device in (None, DEVICE))
    np.testing.assert_allclose(one.median, other.median, atol=1e-12)
    assert one.gates[0].mean == pytest.approx(other.gates[0].mean, abs=1e-14)


@pytest.mark.parametrize("sigma", [0.5, 0.95, 1.0, 1.5])
def test_the_bound_holds_at_every_step(sigma: float) -> None:
    one = probed(COLUMNS, "rnn(8, 24)", 100, 4, Rescaling("sigma_max", sigma))
    assert one.steps == 100 and one.bound is not None
    np.testing.assert_allclose(one.bound, np.arange(1, 101) * math.log10(sigma), atol=1e-9)
    assert np.all(np.array(one.largest) <= np.array(one.bound) + 1e-9)
    assert [w.sigma_max for w in one.weights] == pytest.approx([sigma])


@pytest.mark.parametrize(("kind", "gamma"), [("Tanh", 1.0), ("Sigmoid", 0.25), ("ReLU", 1.0), ("SoftPlus", 1.0), ("Identity", 1.0)])
def test_the_largest_slope_is_part_of_the_bound(kind: str, gamma: float) -> None:
    one = probed(cell(f"local next_h = nn.{kind}()(sum(4, x, h))"), how=Rescaling("sigma_max", 0.8))
    assert one.gain == pytest.approx(0.8 * gamma)
    assert np.all(np.array(one.largest) <= np.array(one.bound) + 1e-9)


LINEAR = cell("local next_h = nn.Identity()(sum(4, x, h))")


@pytest.mark.parametrize(("radius", "low", "high"), [(0.9, -8.0, -3.0), (1.2, 6.0, 11.0)])
def test_a_linear_network_goes_as_its_spectral_radius(radius: float, low: float, high: float) -> None:
    found = subject(LINEAR, steps=100).rescaled(Rescaling("radius", radius))
    (one,) = measure(found, 100, DEVICE)
    weight = found.parameters[one.weights[0].name]
    assert one.weights[0].radius == pytest.approx(radius)
    wanted = [math.log10(np.linalg.norm(np.linalg.matrix_power(weight, n), 2)) for n in range(1, 101)]
    np.testing.assert_allclose(one.median, wanted, atol=1e-9)
    assert low < one.median[-1] < high
    assert one.bound is not None and one.bound[-1] >= one.median[-1]


def test_a_sigma_above_one_need_not_explode() -> None:
    one = probed(COLUMNS, "rnn(8, 24)", 60, 2, Rescaling("sigma_max", 1.2))
    assert one.bound is not None and one.bound[-1] > 4 and one.largest[-1] < 0


def test_forget_gates_near_one_keep_the_norm() -> None:
    found = subject(LSTM, steps=100)
    rest = {name: array * 0.3 for name, array in found.parameters.items()}
    forgetting, keeping = (measure(replace(found, parameters={**rest, KEEP_BIAS: np.full(4, bias)}), 100, DEVICE)[0] for bias in (0.0, 6.0))
    assert abs(keeping.median[-1]) < 0.3 and keeping.gates[0].memory > 200
    assert forgetting.median[-1] < -15


def test_norms_neither_overflow_nor_underflow() -> None:
    for radius in (1e-20, 1e20):
        weight = radius * np.eye(4)
        assert [norm for norm, _ in products([weight] * 50)][-1] == pytest.approx(50 * math.log10(radius))
    assert [norm for norm, _ in products([np.zeros((4, 4)), np.eye(4)])] == [-math.inf, -math.inf]
    assert [power(x) for x in (-math.inf, -1000.3, 0, 3.2, 999.99999)] == ["0", "5.0e-1001", "1", "1.58e+03", "1.0e+1000"]


# -- what the scan is given ------------------------------------------------------------------------------------------------------

OVER = """local function make_cell(n)
  local x, h = nn.Identity{'B', n}(), nn.Identity{'B', 4}()
  local next_h = nn.Tanh()(nn.CAddTable()({nn.Linear(n, 4)(x), nn.Linear(4, 4)(h)}))
  return nn.gModule({x, h}, {next_h, nn.Identity()(next_h)})
end
local xs, lengths = nn.Identity{'T', 'B', 3}(), nn.Identity{'B', dtype='int32'}()
"""


@pytest.mark.parametrize("options", ["", ", {reverse = true}"])
def test_a_sequence_ends_at_its_length(options: str) -> None:
    padded = OVER + f"return nn.gModule({{xs, lengths}}, {{nn.Scan(make_cell(3){options}){{xs = xs, lengths = lengths}}}})"
    found = subject(padded, steps=9)
    assert found.inputs["input.2"].tolist() == [9, 9], "made-up sequences are whole"
    xs = found.inputs["input.1"]
    (one,) = measure(replace(found, inputs={"input.1": xs, "input.2": np.array([9, 5], np.int32)}), 9, DEVICE)
    whole = subject(f"{OVER}return nn.gModule({{xs}}, {{nn.Scan(make_cell(3){options})(xs)}})", steps=9)
    long, short = (measure(replace(whole, inputs={"input": xs[:n, i : i + 1]}), 9, DEVICE)[0].median for n, i in ((9, 0), (5, 1)))
    both = np.array([long[:5], short])
    np.testing.assert_allclose(one.largest[:5], both.max(0), atol=1e-12)
    np.testing.assert_allclose(one.least[:5], both.min(0), atol=1e-12)
    np.testing.assert_allclose(one.median[5:], long[5:], atol=1e-12)


def test_a_cell_of_vectors_has_the_norms_of_a_batch_of_one() -> None:
    batched = subject(RNN, steps=10, sequences=1)
    alone = subject(RNN.replace("'B', ", ""), steps=10, sequences=1)
    assert alone.loops[0].batch is None
    (wanted,) = measure(batched, 10, DEVICE)
    (found,) = measure(replace(alone, inputs={"input": batched.inputs["input"][:, 0]}), 10, DEVICE)
    np.testing.assert_allclose(found.median, wanted.median, atol=1e-12)
    assert (found.state, wanted.state) == (("[4]",), ("[B, 4]",))


def test_context_and_integers_in_the_state_are_handed_on() -> None:
    spec = """local x, s, context = nn.Identity{'B', 3}(), nn.Identity()(), nn.Identity{'B', 4}()
    local h, last = s:split(2)
    last = nn.Identity{'B', dtype='int32'}(last)
    local seen = nn.CMulTable()({nn.LookupTable(5, 4)(last), context})
    local next_h = nn.Tanh()(nn.CAddTable()({nn.Linear(3, 4)(x), nn.Linear(4, 4)(h), seen}))
    local cell = nn.gModule({x, s, context}, {next_h, nn.Identity()({next_h, last})})
    local xs, h0, token, c = nn.Identity{'T', 'B', 3}(), nn.Identity{'B', 4}(), nn.Identity{'B', dtype='int32'}(), nn.Identity{'B', 4}()
    return nn.gModule({xs, h0, token, c}, {nn.Scan(cell){xs = xs, s0 = nn.Identity()({h0, token}), context = c}})
    """
    found = subject(spec, steps=6)
    jacobian = StepJacobian(found.loops[0], [np.zeros((2, 4)), np.ones(2)], found.parameters, DEVICE)
    assert jacobian.n == 4
    (one,) = measure(found, 6, DEVICE)
    assert one.bound is not None and one.gain == pytest.approx(one.weights[0].sigma_max)
    assert np.all(np.array(one.largest) <= np.array(one.bound) + 1e-9)


def test_every_scan_of_a_model_is_probed_where_it_stands() -> None:
    spec = """local hidden, last = nn.Scan(make_cell(3))(xs):split(2)
    local inner_x, inner_s = nn.Identity{'T', 'B', 4}(), nn.Identity()()
    local inner = nn.gModule({inner_x, inner_s}, {nn.Scan(make_cell(4))({inner_x, inner_s})})
    return nn.gModule({xs}, {nn.SelectTable(1)(inner({hidden, last}))})"""
    found = subject(OVER + spec, steps=7)
    outer, inner = measure(found, 7, DEVICE)
    assert (outer.label, inner.label) == ("it: hidden", "it: nn.Scan")
    assert outer.weights[0].name != inner.weights[0].name
    values = trace(found.typed, [], found.inputs, found.parameters, DEVICE)
    states = [values.states(loop)[0] for loop in found.loops]
    np.testing.assert_allclose(states[0][0], 0)
    np.testing.assert_allclose(values.values["loop 1 x 0"][:-1], states[0][1:], err_msg="the inner scan reads the outer one's states")


# -- errors that no page shows ---------------------------------------------------------------------------------------------------


WIDE = cell("local next_h = nn.Select(2, 1)(nn.Reshape(2, 4)(nn.CAddTable()({nn.Linear(3, 8)(x), nn.Linear(4, 8)(h)})))")
ZERO = cell("local from_h = nn.Linear(4, 4)\nfrom_h.weight:zero()\nlocal next_h = nn.CAddTable()({from_h(h), nn.Linear(3, 4)(x)})")


@pytest.mark.parametrize(("spec", "measure", "text"), [(WIDE, "radius", "it is not square"), (ZERO, "sigma_max", "it is zero")])
def test_weights_that_cannot_be_rescaled(spec: str, measure: Any, text: str) -> None:
    with pytest.raises(SpecError, match=text) as caught:
        subject(spec).rescaled(Rescaling(measure, 1.0))
    assert caught.value.code == "E0832"


COUNTER = "local x, s = nn.Identity{'B', 3}(), nn.Identity{'B', dtype='int32'}()\nreturn nn.gModule({x, s}, {x, nn.Identity()(s)})"


def test_a_scan_whose_state_holds_no_numbers_with_a_fraction() -> None:
    with pytest.raises(SpecError, match="no numbers with a fraction") as caught:
        subject(COUNTER)
    assert caught.value.code == "E0831"


def test_an_input_of_a_cell_may_compute_something() -> None:
    spec = """local x, h = nn.Identity{'B', 3}(), nn.Linear(3, 3)()
    local y = nn.CAddTable()({x, h})
    return nn.gModule({x, h}, {y, nn.Identity()(y)})"""
    one = probed(spec, steps=4)
    assert one.bound is not None and one.gain == pytest.approx(one.weights[0].sigma_max)


# -- other loops -----------------------------------------------------------------------------------------------------------------

SUMMED = "nn.Sequential():add(nn.ParallelTable():add(nn.Linear(3, 4)):add(nn.Linear(4, 4))):add(nn.CAddTable()):add(nn.Tanh())"


def over(module: str) -> str:
    return f"local xs = nn.Identity{{'T', 'B', 3}}()\nreturn nn.gModule({{xs}}, {{{module}(xs)}})"


def like(spec: str, found: Subject, order: list[str]) -> Subject:
    """The model of a spec with the parameters and inputs of another, by the order in which they are named."""
    other = subject(spec, steps=9)
    values = [found.parameters[name] for name in order]
    return replace(other, parameters=dict(zip(other.parameters, values, strict=True)), inputs=found.inputs)


def test_a_loop_of_any_kind_is_the_scan_that_it_is() -> None:
    """The same network written as a scan, and with modules of rnn, forwards and from the last step back."""
    scan = subject(RNN, steps=9)
    (wanted,) = measure(scan, 8, DEVICE)
    names = list(scan.parameters)
    (found,) = measure(like(over(f"nn.Sequencer(nn.Recurrence({SUMMED}, 4, 1))"), scan, names), 8, DEVICE)
    np.testing.assert_allclose(found.median, wanted.median, atol=1e-12)
    np.testing.assert_allclose(found.bound or (), wanted.bound or (1,), atol=1e-12)
    start = names[-1]
    simple = like(over("nn.Sequencer(nn.Recurrent(4, nn.Linear(3, 4), nn.Linear(4, 4), nn.Tanh()))"), scan, [*names, start])
    (found,) = measure(simple, 8, DEVICE)
    np.testing.assert_allclose(found.median, wanted.median, atol=1e-12)
    assert found.gain == pytest.approx(wanted.gain) and found.state == wanted.state
    turned = replace(scan, inputs={"input": scan.inputs["input"][::-1]})
    (back,) = measure(turned, 8, DEVICE)
    both = like(over(f"nn.BiSequencer(nn.Recurrence({SUMMED}, 4, 1))"), scan, [*names, *names])
    ahead, behind = measure(both, 8, DEVICE)
    np.testing.assert_allclose((ahead.median, behind.median), (wanted.median, back.median), atol=1e-12)
    assert (ahead.label, behind.label) == ("it: nn.BiSequencer, forward", "it: nn.BiSequencer, backward")


def test_a_layer_over_whole_sequences_is_probed() -> None:
    """SeqLSTM and FastLSTM are one function: i f o g of weights are i g f o there, and x and h have a matrix each."""
    layer = subject(over("nn.SeqLSTM(3, 4)"), steps=9)
    weight, bias = layer.parameters.values()
    order = np.concatenate([np.arange(4) + 4 * gate for gate in (0, 3, 1, 2)])
    step = subject(over("nn.Sequencer(nn.FastLSTM(3, 4))"), steps=9)
    split = [weight[:3, order].T, bias[order], weight[3:, order].T]
    values = dict(zip(step.parameters, split, strict=True))
    ((one,), (other,)) = (measure(s, 8, DEVICE) for s in (layer, replace(step, parameters=values, inputs=layer.inputs)))
    np.testing.assert_allclose(one.median, other.median, atol=1e-12)
    assert one.bound is None and one.state == other.state == ("[B, 4]", "[B, 4]")


def test_recurrent_modules_in_one_loop_are_one_state() -> None:
    spec = over("nn.Sequencer(nn.Sequential():add(nn.Bottle(nn.Linear(3, 2))):add(nn.GRU(2, 3)):add(nn.LSTM(3, 2)))")
    one = probed(spec, steps=6)
    assert one.state == ("[B, 3]", "[B, 2]", "[B, 2]")
    assert np.all(np.array(one.largest) <= np.array(one.separate) + 1e-9)
