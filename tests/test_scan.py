"""nn.Scan: the six probes (gradients, devices) and what each of its words means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphspec
from graphspec.check import check, on_device
from graphspec.errors import SpecError
from graphspec.ir.text import parse_program, print_program, same_program
from graphspec.ir.verify import verify
from graphspec.open import open_spec, pick_module
from graphspec.program import Typed, backward_program, forward_program, infer, named_parameters
from graphspec_runtime import open_device

SPECS = Path(__file__).parent / "specs"
PROBES = {
    "Bahdanau, context and lengths": ("bahdanau", None),
    "scan in scan": ("scan_in_scan", None),
    "tied embedding": ("tied_embedding", None),
    "dropout in scan": ("dropout_in_scan", None),
    "batch norm in scan": ("batch_norm_in_scan", None),
    "values fed back": ("feedback", "iterate()"),
    "the likeliest fed back": ("feedback", "say('greedy')"),
    "a sample fed back": ("feedback", "say('sample')"),
}


@pytest.fixture(params=list(PROBES))
def probe(request: pytest.FixtureRequest) -> Typed:
    name, entry = PROBES[request.param]
    module = pick_module(open_spec(SPECS / f"{name}.spec", entry))
    named_parameters(module)
    return infer(module, "float64")


def test_gradients_are_those_of_finite_differences(probe: Typed) -> None:
    report = check(probe, training=True)
    assert report.ok, report.to_json()
    assert any(e.kind == "parameter" for e in report.entries)


def test_devices_agree_with_the_reference(probe: Typed) -> None:
    assert check(probe, run=on_device(open_device("numpy")), training=True).ok


def test_ir_verifies_and_reads_back(probe: Typed) -> None:
    for program in (forward_program(probe, True), backward_program(probe, True)):
        verify(program)
        again = parse_program(print_program(program))
        verify(again)
        assert same_program(program, again)


# -- what the words mean: a loop written out by hand gives the same numbers ---------------------------------------------

CELL = """
local function cell()
  local x, prev_h, context = nn.Identity{'B', 2}(), nn.Identity{'B', 3}(), nn.Identity{'B', 3}()
  local sum = nn.CAddTable()({nn.Linear(2, 3)(x), nn.Linear(3, 3)(prev_h), context})
  local h = nn.Tanh()(sum)
  return nn.gModule({x, prev_h, context}, {nn.MulConstant(2)(h), h})
end
local xs, context, lengths = nn.Identity{'T', 'B', 2}(), nn.Identity{'B', 3}(), nn.Identity{'B', dtype = 'int32'}()
"""


def compiled(use: str, inputs: str, **settings: Any) -> graphspec.Model:
    text = f"{CELL}local ys, last = nn.Scan({use}:split(2)\nreturn nn.gModule({{{inputs}}}, {{ys, last}})"
    return graphspec.compile(text, dtype="float64", **settings)


def by_hand(model: graphspec.Model, xs: Any, context: Any, s0: Any, lengths: Any, reverse: bool) -> tuple[Any, Any]:
    w = {name.split(".")[-2] + "." + name.split(".")[-1]: a for name, a in model.parameters.items()}
    (wx, bx), (wh, bh) = ((w[f"Linear[{k}].weight"], w[f"Linear[{k}].bias"]) for k in (1, 2))
    T, B = xs.shape[:2]
    ys, h = np.zeros((T, B, 3)), s0.copy()
    for t in reversed(range(T)) if reverse else range(T):
        for b in range(B):
            if t < lengths[b]:
                h[b] = np.tanh(wx @ xs[t, b] + bx + wh @ h[b] + bh + context[b])
                ys[t, b] = 2 * h[b]
    return ys, h


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("trip", [0, 1, 5])
def test_context_lengths_and_direction(trip: int, reverse: bool) -> None:
    option = ", {reverse = true}" if reverse else ""
    model = compiled(f"cell(){option}){{xs = xs, context = context, lengths = lengths}}", "xs, context, lengths")
    draw = np.random.default_rng(trip)
    xs, context, lengths = draw.standard_normal((trip, 4, 2)), draw.standard_normal((4, 3)), np.array([0, trip, min(2, trip), trip + 3])
    ys, last = model(xs, context, lengths)
    hand_ys, hand_last = by_hand(model, xs, context, np.zeros((4, 3)), lengths, reverse)
    np.testing.assert_allclose(ys, hand_ys, rtol=0, atol=1e-14)
    np.testing.assert_allclose(last, hand_last, rtol=0, atol=1e-14)


def test_a_scan_is_the_lua_loop() -> None:
    """The same cell unrolled by a Lua for, tied over time: outputs and gradients agree."""
    loop = """
    local step, h, ys = cell(), nn.Identity{'B', 3}(), {}
    local first = h
    local pieces = {xs:split(4)}
    for t = 1, 4 do
      local y, next_h = step({pieces[t], h, context}):split(2)
      ys[t], h = y, next_h
    end
    return nn.gModule({xs, first, context}, {nn.Identity()(ys), h})"""
    text = CELL.replace("nn.Identity{'T', 'B', 2}()", "nn.Identity()()", 1)
    unrolled = graphspec.compile(text.replace(", lengths = ", ", _ = ") + loop, dtype="float64")
    scan = graphspec.compile(
        CELL + "local s0 = nn.Identity{'B', 3}()\nlocal ys, last = nn.Scan(cell()){xs = xs, s0 = s0, context = context}:split(2)\n"
        "return nn.gModule({xs, s0, context}, {ys, last})", dtype="float64",
    )  # fmt: skip
    assert list(scan.parameters) == list(unrolled.parameters)
    for name, array in scan.parameters.items():
        array[...] = unrolled.parameters[name]
    draw = np.random.default_rng(0)
    xs, s0, context = draw.standard_normal((4, 2, 2)), draw.standard_normal((2, 3)), draw.standard_normal((2, 3))
    dy, dlast = draw.standard_normal((4, 2, 3)), draw.standard_normal((2, 3))
    ys, last = scan(xs, s0, context)
    flat_ys, flat_last = unrolled(list(xs), s0, context)
    np.testing.assert_allclose(ys, np.stack(flat_ys), atol=1e-14)
    np.testing.assert_allclose(last, flat_last, atol=1e-14)
    mine = scan.backward([xs, s0, context], [dy, dlast])
    theirs = unrolled.backward([list(xs), s0, context], [list(dy), dlast])
    np.testing.assert_allclose(mine[0], np.stack(theirs[0]), atol=1e-13)
    np.testing.assert_allclose(mine[1], theirs[1], atol=1e-13)
    np.testing.assert_allclose(mine[2], theirs[2], atol=1e-13)
    np.testing.assert_allclose(scan.flat_gradients, unrolled.flat_gradients, atol=1e-13)


def test_feedback_reads_what_the_step_before_said() -> None:
    model = graphspec.compile(SPECS / "feedback.spec", "say('greedy')", dtype="float64")
    log_p, _, said = model(np.array([1, 4]), np.zeros((2, 4)))
    np.testing.assert_array_equal(said, log_p.argmax(-1) + 1)
    sampled = graphspec.compile(SPECS / "feedback.spec", "say('sample')", dtype="float64")
    draws = np.stack([sampled(np.ones(200, int), np.zeros((200, 4)))[2][0] for _ in range(10)]).ravel()
    p = np.exp(sampled(np.ones(1, int), np.zeros((1, 4)))[0][0, 0])
    found = np.bincount(draws, minlength=7)[1:] / len(draws)
    assert np.abs(found - p).max() < 5 * np.sqrt(0.25 / len(draws))


def test_dropout_draws_anew_at_every_step_and_call() -> None:
    model = graphspec.compile(SPECS / "dropout_in_scan.spec", dtype="float64")
    ones = np.ones((3, 50, 3))
    (_, first), _ = model(ones)
    (_, second), _ = model(ones)
    kept = first != 0
    assert set(np.unique(first)) == {0.0, 1 / 0.6}
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first, second)
    assert abs(kept.mean() - 0.6) < 0.1
    (_, plain), _ = model.evaluate()(ones)
    np.testing.assert_array_equal(plain, ones)


def test_batch_norm_carries_its_statistics_from_step_to_step() -> None:
    model = graphspec.compile(SPECS / "batch_norm_in_scan.spec", dtype="float64")
    before = {name: a.copy() for name, a in model.buffers.items()}
    xs = np.random.default_rng(0).standard_normal((2, 8, 3))
    model(xs)
    linear_w, linear_b = model.parameters["Linear[1].weight"], model.parameters["Linear[1].bias"]
    mean = before["norm.running_mean"]
    for x in xs:
        mean = 0.9 * mean + 0.1 * (x @ linear_w.T + linear_b).mean(0)
    np.testing.assert_allclose(model.buffers["norm.running_mean"], mean, atol=1e-14)
    kept = model.buffers["norm.running_mean"].copy()
    model.evaluate()(xs)
    np.testing.assert_array_equal(model.buffers["norm.running_mean"], kept)


WRONG = {
    "a cell that is no gModule": ("nn.Linear(2, 3)){xs = xs}", "xs", "E0413"),
    "no context for a cell that reads one": ("cell()){xs = xs}", "xs", "E0414"),
    "an option that does not exist": ("cell(), {revers = true}){xs = xs, context = context}", "xs, context", "E0412"),
    "an input that does not exist": ("cell()){xs = xs, contxt = context}", "xs, context", "E0411"),
    "feedback without steps": ("cell(), {feedback = 'greedy'}){first = xs, context = context}", "xs, context", "E0412"),
    "no xs": ("cell()){context = context}", "context", "E0414"),
}


@pytest.mark.parametrize("case", WRONG)
def test_errors(case: str) -> None:
    use, inputs, code = WRONG[case]
    with pytest.raises(SpecError) as caught:
        compiled(use, inputs)
    assert caught.value.code == code
    assert caught.value.diagnostics[0].span is not None
