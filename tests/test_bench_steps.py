"""The benchmark of a layer alone, a step at a time: that contenders come to the same state, and that ours does all that is counted."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from graphspec.bench import STEP_PEERS, Settings, StepCase, make_steps, measure, peers_named
from graphspec.bench.sampled import SampledStep
from graphspec.errors import SpecError
from graphspec.plan import make_plan, product_flops


def a_step(cell: str = "lstm") -> StepCase:
    (case,) = make_steps(cell, {"H": 8, "B": 2, "L": 2})
    return case


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("word", STEP_PEERS)
def test_peers_come_to_the_state_that_our_loop_comes_to(word: str, cell: str) -> None:
    peers = peers_named([word], STEP_PEERS)
    if any(find_spec(package) is None for peer in peers for package in peer.packages):
        pytest.skip(f"{word} is not installed")
    result = measure(a_step(cell), Settings(repeats=1, peers=peers))
    assert [timing.name for timing in result.timings] == ["graphspec", "graphspec, 256 a call", *(peer.name for peer in peers)]
    for timing in result.timings:
        assert timing.found == pytest.approx(result.ours.found, abs=1e-5)


@pytest.mark.parametrize("cell", ["lstm", "gru", "lnlstm"])
def test_the_loop_does_all_of_a_layer_at_each_step(cell: str) -> None:
    """No product is done on the table of inputs, and steps of one call are those of several."""
    case = a_step(cell)
    step, other = (SampledStep(case.spec, case.options, 2, at_once=n) for n in (20, 7))
    assert [report.told for report in step.engine.notes if report.name == "tables" and any(map(any, report.told.values()))] == []
    assert case.work.flops == product_flops(make_plan(step.engine.program), {"B": 2, "CHUNK": 1})
    for each in (step, other):
        each.steps(20)
    for name, array in step.carries.items():
        np.testing.assert_allclose(other.carries[name], array, atol=1e-6)
    read = step.shared()[1]["inputs"]
    assert read.shape == (16, 2, 8) and len({row.tobytes() for row in read[:, 0]}) > 1  # what it chose, not always the same


def test_the_inputs_product_of_few_symbols_is_done_on_the_table() -> None:
    (case,) = make_steps("lstm", {"H": 8, "V": 8})
    steps = [SampledStep(case.spec, case.options, 1, at_once=20, without=without) for without in ((), ("tables",))]
    done, left = ([report.told for report in step.engine.notes if report.name == "tables"] for step in steps)
    assert any(map(any, done[0].values())) and left == []
    assert steps[0].measured() == pytest.approx(steps[1].measured(), abs=1e-5)
    assert str(case) == "a step of lstm (B1 H8 L1 V8)"


def test_a_layer_alone_has_a_symbol_for_each_unit() -> None:
    for changed, said in ({"V": 100}, "1024 units"), ({"V": 7, "H": 8}, "8 units"):
        with pytest.raises(SpecError, match=f"E0807.*V={changed['V']}.*{said}"):
            make_steps("lstm", changed)


def test_a_package_that_a_peer_needs_besides_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphspec.bench.contest.find_spec", lambda name: None if name == "onnx" else "found")
    result = measure(a_step(), Settings(repeats=1, peers=peers_named(["onnx"], STEP_PEERS)))
    assert [word.split()[0] for word in result.missing] == ["onnx"] and len(result.timings) == 2


def test_the_usual_steps() -> None:
    assert [case.sizes["H"] for case in make_steps("lstm")] == [128, 256, 512, 1024]
    assert str(make_steps("gru", {"L": 3})[0]) == "a step of gru (B1 H128 L3)"
