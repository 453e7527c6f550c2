"""The probe: Jacobians over time against finite differences and matrix powers, bounds that hold, what the graph says of a cell."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphspec
from graphspec import SpecError
from graphspec.cli.main import main
from graphspec.cli.probe import power
from graphspec.engine import device_named
from graphspec.open import open_spec
from graphspec.probe import Measured, Rescaling, Subject, measure, of_experiment, of_model
from graphspec.probe.jacobian import StepJacobian, products
from graphspec.probe.picture import norms_over_time
from graphspec.probe.scans import trace

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


KEEP_BIAS = "sum[1].Linear[2].bias"
"""Of the LSTM's forget gate."""


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
    assert alone.scans[0].batch is None
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
    jacobian = StepJacobian(found.scans[0], [np.zeros((2, 4)), np.ones(2)], found.parameters, DEVICE)
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
    values = trace(found.typed, found.scans, [], found.inputs, found.parameters, DEVICE)
    states = [values.inputs(scan)[1] for scan in found.scans]
    np.testing.assert_allclose(states[0][0], 0)
    np.testing.assert_allclose(values.inputs(found.scans[1])[0][:-1], states[0][1:], err_msg="the inner scan reads the outer one's states")


# -- what the graph says of a cell -----------------------------------------------------------------------------------------------

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


# -- errors that no page shows ---------------------------------------------------------------------------------------------------


WIDE = cell("local next_h = nn.Select(2, 1)(nn.Reshape(2, 4)(nn.CAddTable()({nn.Linear(3, 8)(x), nn.Linear(4, 8)(h)})))")
ZERO = cell("local from_h = nn.Linear(4, 4)\nfrom_h.weight:zero()\nlocal next_h = nn.CAddTable()({from_h(h), nn.Linear(3, 4)(x)})")


@pytest.mark.parametrize(("spec", "measure", "text"), [(WIDE, "radius", "it is not square"), (ZERO, "sigma_max", "it is zero")])
def test_weights_that_cannot_be_rescaled(spec: str, measure: Any, text: str) -> None:
    with pytest.raises(SpecError, match=text) as caught:
        subject(spec).rescaled(Rescaling(measure, 1.0))
    assert caught.value.code == "E0832"


COUNTER = "local x, s = nn.Identity{'B', 3}(), nn.Identity{'B', dtype='int32'}()\nreturn nn.gModule({x, s}, {x, nn.Identity()(s)})"
SOURCE = """local x, h = nn.Identity{'B', 3}(), nn.Linear(3, 3)()
local y = nn.CAddTable()({x, h})
return nn.gModule({x, h}, {y, nn.Identity()(y)})"""


@pytest.mark.parametrize(("spec", "text"), [(COUNTER, "no numbers with a fraction"), (SOURCE, "an input of its cell is no nn.Identity")])
def test_scans_that_cannot_be_probed(spec: str, text: str) -> None:
    with pytest.raises(SpecError, match=text) as caught:
        subject(spec)
    assert caught.value.code == "E0831"


# -- the command -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rnn.spec").write_text(RNN)

    def command(line: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["probe", *shlex.split(line)])
        return code, *capsys.readouterr()

    return command


def test_what_is_said(run: Any) -> None:
    code, said, _ = run(f"{COLUMNS} --entry 'rnn(3, 6)' --entry 'lstm(3, 6)' --steps 30 --sequences 3")
    assert code == 0
    rnn, lstm = said.split("\n\n" + COLUMNS)
    assert rnn.startswith(f"{COLUMNS} rnn(3, 6)\nstate [B, 6]; 3 sequences, 30 steps back from the last\n")
    assert [line.split()[0] for line in rnn.splitlines()[4:11]] == ["1", "2", "5", "10", "20", "30", "bound:"]
    assert "^(t-k), from sigma_max of the weights" in rnn and "no bound follows from the weights alone" in lstm
    assert "forget_gate  0." in lstm and "forget gate" not in rnn


def test_options_stand_behind_their_spec(run: Any) -> None:
    adding = str(Path(COLUMNS).with_name("adding.spec"))
    more = "data.length=12 data.size=20 size=5"
    code, said, _ = run(f"{adding} cell=rnn {more} rnn.spec {adding} --json --steps 100 cell=gru {more}")
    assert code == 0
    rnn, plain, gru = json.loads(said)["scans"]
    assert (rnn["steps"], plain["steps"], gru["steps"]) == (12, 100, 12)
    assert (len(rnn["weights"]), len(gru["weights"])) == (1, 3)
    assert rnn["sequences"] == 1, "one sequence in twenty is held out"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("rnn.spec --sigma .5,x", "a number above 0 is wanted, got 'x'"),
        ("rnn.spec --radius 0", "a number above 0 is wanted, got '0'"),
        ("rnn.spec --steps 0", "--steps must be from 1 to 100,000, got 0"),
        ("size=3 rnn.spec", "size=3 stands before any spec"),
        ("rnn.spec rnn.spec rnn.spec --entry a --entry b", "3 specs and 2 entries"),
        ("rnn.spec --out norms.gif", "'.gif' is no format of pictures"),
    ],
)
def test_a_command_line_that_makes_no_sense(run: Any, line: str, text: str) -> None:
    code, said, told = run(line)
    assert (code, said) == (1, "") and text in told


def test_a_run_is_probed_with_what_it_has_learned(run: Any, tmp_path: Path) -> None:
    adding = str(Path(COLUMNS).with_name("adding.spec"))
    options = "cell=rnn size=5 data.length=12 data.size=100 data.batch=7"
    main(shlex.split(f"run {adding} {options} optim.learningRate=0.05 --steps 3 --out trained --json"))
    experiment = graphspec.Experiment.load("trained")
    weight = next(array for name, array in experiment.parameters.items() if array.shape == (5, 5))
    fresh, trained = json.loads(run(f"{adding} {options} trained --json")[1])["scans"]
    assert trained["weights"][0]["sigma_max"] == pytest.approx(np.linalg.norm(weight.astype(float), 2))
    assert fresh["weights"][0]["sigma_max"] != trained["weights"][0]["sigma_max"]
    assert trained["sequences"] == 4 and trained["log10"]["median"] != fresh["log10"]["median"]
    found = of_experiment(experiment, "it", 2)
    np.testing.assert_allclose(found.inputs["input.1"], next(experiment.source.valid()).arrays["inputs"][:, :2])


# -- the picture -----------------------------------------------------------------------------------------------------------------


def test_a_picture_has_a_line_for_each_and_dashed_bounds(run: Any, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    found = [probed(RNN), probed(LSTM), replace(probed(RNN), median=(-math.inf,) * 20, least=(-math.inf,) * 20)]
    (axes,) = norms_over_time(found, "norms").axes
    lines = [line for line in axes.get_lines() if len(line.get_xdata()) == 20]
    assert [line.get_linestyle() for line in lines] == ["-", "--", "-", "-", "--"]
    np.testing.assert_allclose(lines[0].get_ydata(), 10.0 ** np.array(found[0].median))
    np.testing.assert_allclose(lines[1].get_ydata(), 10.0 ** np.array(found[0].bound))
    assert np.isnan(lines[3].get_ydata()).all(), "a norm of 0 has no place on a logarithmic axis"
    assert (axes.get_yscale(), axes.get_title(loc="left")) == ("log", "norms")
    assert axes.get_xlabel() and axes.get_ylabel() and axes.get_ylim()[0] < 10 ** found[0].least[-1]
    code, _, _ = run("rnn.spec --steps 10 --sigma .5,2 --out norms.svg")
    text = (tmp_path / "norms.svg").read_text()
    assert code == 0 and "rnn.spec, sigma_max 0.5" in text and "bound by the weights" in text
