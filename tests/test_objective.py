"""What is minimised beside the outputs (``Lowering.also_minimise``): where it counts, how it leaves loops, and how it is proved."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import graphspec
from gradcheck import source, typed, use
from graphspec.api import Model
from graphspec.check import Probe, check, compare
from graphspec.graph import REGISTRY, Make, Sample
from graphspec.graph.record import register
from graphspec.lower import Lowering
from graphspec.nn import registry
from graphspec.nn.common import Pointwise
from graphspec.prove import prove
from graphspec.samples import Case

X = np.array([[0.5, -2.0, 0.25], [1.0, 3.0, -0.5]])
DY = np.array([[3.0, 1.0, -1.0], [0.5, 2.0, 4.0]])


def model(text: str, **more: Any) -> Model:
    return graphspec.compile(text, dtype="float64", device="numpy", **more)


def penalised(make: str, body: str = "nn.gModule({x}, {layer(x)})", dims: str = "'B', 3") -> Model:
    return model(f"local x = nn.Identity{{{dims}}}()\nlocal layer = {make}\nreturn {body}")


def test_a_term_counts_once_whatever_the_gradient_given() -> None:
    found = penalised("nn.L1Penalty(0.5)")
    assert np.array_equal(found.forward(X), X)
    np.testing.assert_allclose(found.backward(X, DY), DY + 0.5 * np.sign(X))
    np.testing.assert_allclose(found.backward(X, 0 * DY), 0.5 * np.sign(X))
    np.testing.assert_allclose(penalised("nn.L1Penalty(3, true)").backward(X, DY), DY + 0.5 * np.sign(X))
    np.testing.assert_allclose(penalised("nn.L1Penalty(0.5, false, false)").backward(X, DY), 0.5 * np.sign(X))


def test_at_zero_there_is_no_penalty() -> None:
    assert penalised("nn.L1Penalty(0.5)").backward(np.zeros((1, 3)), np.zeros((1, 3))).tolist() == [[0.0, 0.0, 0.0]]


def test_in_evaluation_nothing_is_added() -> None:
    np.testing.assert_allclose(penalised("nn.L1Penalty(0.5)").evaluate().backward(X, DY), DY)
    np.testing.assert_allclose(penalised("nn.L1Penalty(0.5):evaluate()").backward(X, DY), DY)


def test_a_module_that_is_used_twice_counts_twice() -> None:
    found = penalised("nn.L1Penalty(0.5)", "nn.gModule({x}, {layer(layer(x))})")
    np.testing.assert_allclose(found.backward(X, DY), DY + np.sign(X))


def test_parameters_get_it_and_gradients_accumulate() -> None:
    found = penalised("nn.Sequential():add(nn.Linear(3, 2)):add(nn.L1Penalty(0.5))")
    dy = np.zeros((2, 2))
    found.backward(X, dy)
    once = {name: g.copy() for name, g in found.gradients.items()}
    signs = 0.5 * np.sign(found.forward(X))
    np.testing.assert_allclose(once["layer.Linear.weight"], signs.T @ X)
    np.testing.assert_allclose(once["layer.Linear.bias"], signs.sum(0))
    found.backward(X, dy)
    np.testing.assert_allclose(found.gradients["layer.Linear.bias"], 2 * once["layer.Linear.bias"])


T = np.arange(1.0, 19.0).reshape(3, 2, 3) * np.where(np.arange(18).reshape(3, 2, 3) % 2, -1, 1)


@pytest.mark.parametrize("device", ["reference", "numpy"])
@pytest.mark.parametrize(
    "make",
    [
        "nn.Sequencer(nn.L1Penalty(0.5))",
        "nn.Sequencer(nn.Sequencer(nn.L1Penalty(0.5)))",
        "nn.Sequencer(nn.Sequential():add(nn.L1Penalty(0.25)):add(nn.L1Penalty(0.25)))",
        "nn.BiSequencer(nn.L1Penalty(0.25), nn.L1Penalty(0.25), nn.SelectTable(1))",
    ],
)
def test_terms_leave_loops_as_sums(make: str, device: str) -> None:
    text = f"local x = nn.Identity{{'T', 'B', 3}}()\nreturn nn.gModule({{x}}, {{{make}(x)}})"
    found = graphspec.compile(text, dtype="float64", device=device)
    np.testing.assert_allclose(found.backward(T, 0 * T), 0.5 * np.sign(T))


def test_a_loop_on_one_input_counts_each_time() -> None:
    found = penalised("nn.Repeater(nn.L1Penalty(0.5), 3)")
    np.testing.assert_allclose(found.backward(X, (0 * DY,) * 3), 1.5 * np.sign(X))


SCAN = """
local x, h = nn.Identity{'B', 3}(), nn.Identity{'B', 3}()
local sum = nn.CAddTable()({x, nn.L1Penalty(0.5)(h)})
local cell = nn.gModule({x, h}, {sum, sum})
local xs, s0, n = nn.Identity{'T', 'B', 3}(), nn.Identity{'B', 3}(), nn.Identity{'B', dtype='int32'}()
return nn.gModule({xs, s0, n}, {nn.SelectTable(1)(nn.Scan(cell, {reverse = %s}){xs = xs, s0 = s0, lengths = n})})
"""


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("device", ["reference", "numpy"])
def test_terms_of_a_carried_state_and_of_rows_that_have_ended(device: str, reverse: bool) -> None:
    """Each step's term goes back through the steps before it; a row counts as long as its sequence is."""
    found = graphspec.compile(SCAN % str(reverse).lower(), dtype="float64", device=device)
    lengths, s0 = np.array([3, 1]), np.array([[0.5, -0.25, 0.125], [0.5, -0.25, 0.125]])
    dxs, ds0, _ = found.backward((T, s0, lengths), 0 * T)
    wanted, dh = np.zeros_like(T), np.zeros_like(s0)
    for row, length in enumerate(lengths):
        steps = list(range(length))[::-1] if reverse else list(range(length))
        states = [s0[row]]
        for t in steps:
            states.append(states[-1] + T[t, row])
        after = np.zeros(3)
        for t, before in reversed(list(zip(steps, states[:-1], strict=True))):
            wanted[t, row] = after
            after = after + 0.5 * np.sign(before)
        dh[row] = after
    np.testing.assert_allclose(dxs, wanted)
    np.testing.assert_allclose(ds0, dh)




def test_a_training_step_minimises_it_and_does_not_report_it() -> None:
    from graphspec.engine import Engine
    from graphspec.open import open_spec
    from graphspec.training.step import gradient_program, set_up

    rng = np.random.default_rng(2)
    x, flat = rng.standard_normal((4, 3)), rng.standard_normal(8)
    found = []
    for layer in ("nn.Identity()", "nn.L1Penalty(0.5)"):
        text = f"""
local x = nn.Identity{{4, 3}}()
local y = nn.Sequential():add(nn.Linear(3, 2)):add({layer})(x)
return experiment{{carry = {{[x] = nn.Identity()(x)}}, loss = nn.MSECriterion(false)({{y, nn.MulConstant(0)(y)}})}}
"""
        setup = set_up(open_spec(text).result, "float64")
        program = gradient_program(setup)
        given = {port.name: np.zeros([n.value or 4 for n in v.shape], v.dtype) for port, v in
                 zip(program.inputs, program.block.params, strict=True)}  # fmt: skip
        found.append(Engine(program, None).run({**given, "parameters": flat, program.inputs[0].name: x}))
    plain, more = found
    assert plain["loss"] == more["loss"]
    signs = 0.5 * np.sign(x @ flat[:6].reshape(2, 3).T + flat[6:])
    np.testing.assert_allclose(more["gradients"] - plain["gradients"], np.concatenate([(signs.T @ x).ravel(), signs.sum(0)]))


@pytest.mark.parametrize(
    ("x", "scale", "least", "average", "counts"),
    [([[0.5, 0.5]], 1.0, None, True, True), ([[0.9, 0.1], [0.7, 0.3]], 2.0, 0.6, False, True), ([[0.5, 0.5]], 1.0, 0.6, True, False)],
)
def test_the_entropy_of_a_batch(x: Any, scale: float, least: float | None, average: bool, counts: bool) -> None:
    """The derivative that Torch has: of p log(p + 1e-6), its sum over the batch divided by a number without gradient."""
    found = penalised(f"nn.CategoricalEntropy({scale}, {least or 'nil'}, {str(average).lower()})", dims="'B', 2")
    x = np.array(x)
    p = x.sum(0) / x.sum()
    slope = (np.log(p + 1e-6) + p / (p + 1e-6)) * scale / x.sum() / (len(x) if average else 1)
    entropy = -(p * np.log(p + 1e-6)).sum()
    assert counts == (least is None or entropy < least) or len(x) == 1
    wanted = np.tile(slope, (len(x), 1)) if least is None or entropy < least else 0 * x
    np.testing.assert_allclose(found.backward(x, 0 * x), wanted)


def test_gradients_that_are_cut_off() -> None:
    assert penalised("nn.ZeroGrad()").backward(X, DY).tolist() == (0 * X).tolist()
    assert penalised("nn.CopyGrad()").backward(X, DY).tolist() == DY.tolist()


# -- proofs ------------------------------------------------------------------------------------------------------------


def test_a_gradient_without_the_term_is_seen() -> None:
    case = Case(registry["L1Penalty"], registry["L1Penalty"].samples[0])

    def without(point: Any, cotangents: Any) -> Any:
        return case.probe.backward(point, [*cotangents[:-1], 0 * cotangents[-1]])

    assert case.probe.outputs == ["output", "terms"]
    assert compare(case.probe.forward, case.probe.backward, case.point).ok
    assert compare(case.probe.forward, without, case.point).max_relative_error > 0.1


def test_a_constant_of_the_definition_stays_as_it_was_at_the_point() -> None:
    case = Case(registry["ReinforceNormal"], registry["ReinforceNormal"].samples[0])
    y, terms = case.probe.forward(case.point)
    moved = {name: x + 0.125 for name, x in case.point.items()}
    again, other = case.probe.forward(moved)
    assert np.array_equal(y, again) and terms != other
    assert not np.array_equal(case.probe.results(moved)["output"], y)  # as a program it is a function of x as any other
    case.probe.point({})
    assert np.array_equal(case.probe.forward(moved)[0], y)


@pytest.fixture
def wrong() -> Iterator[None]:
    """Records with a constant that is none by definition: in the output, in the term."""

    @register
    class WrongOutput(Pointwise):
        name = "WrongOutput"
        samples = (Sample((), (2, 3)),)

        def apply(self, b: Lowering, m: Any, x: Any) -> Any:
            b.also_minimise(x)
            return b.mul(x, b.stop_gradient(x))

    @register
    class WrongTerm(Pointwise):
        name = "WrongTerm"
        samples = (Sample((), (2, 3)),)

        def apply(self, b: Lowering, m: Any, x: Any) -> Any:
            b.also_minimise(b.mul(x, b.stop_gradient(x)))
            return b.hold(x)

    yield
    del REGISTRY["WrongOutput"], REGISTRY["WrongTerm"]


@pytest.mark.usefixtures("wrong")
@pytest.mark.parametrize("name", ["WrongOutput", "WrongTerm"])
def test_a_wrong_rule_is_seen_beside_terms_and_constants(name: str) -> None:
    (differences,) = [p for p in prove(registry[name]) if p.check == "finite differences"]
    assert not differences.ok and (differences.error or 0) > 0.1
    x = source(2, 3)
    report = check(typed([x], use("L1Penalty", (0.5,), use("ZeroGrad", (), x)), use(name, (), x)))
    assert report.max_relative_error > 0.1


@pytest.mark.parametrize("device", ["numpy", None])
def test_a_whole_model_is_checked(device: str | None) -> None:
    from graphspec.check import on_device
    from graphspec.engine import device_named

    x = source("B", 3)
    h = use("L1Penalty", (0.5,), use("Linear", (3, 2), x))
    drawn = use("ReinforceNormal", (0.3,), h)
    report = check(typed([x], use("GradientReversal", (0.7,), h), drawn), on_device(device_named(device) if device else None))
    assert report.ok and [e.name for e in report.entries] == ["input", "Linear.weight", "Linear.bias"]


def test_a_twin_that_has_another_term_is_seen() -> None:
    pytest.importorskip("torch")
    record = registry["L1Penalty"]
    found = list(prove(record, (), lambda m, x, env: [x * 1, 2 * m.args.l1weight * x.abs().sum()] if env.training else x * 1))
    assert {p.check for p in found if not p.ok} == {"twin"}


def test_terms_are_no_output_of_the_model() -> None:
    found = penalised("nn.L1Penalty(0.5)")
    assert [port.name for port in found.program("forward").outputs] == ["output"]
    assert "gradient:terms" not in [port.name for port in found.program("backward").inputs]


def test_a_probe_of_plain_modules_is_as_it_was() -> None:
    case = Case(registry["Sequential"], Sample((), (2, 3), children=(Make("Linear", (3, 2)), Make("Tanh"))))
    assert isinstance(case.probe, Probe) and not case.probe.holds and not case.probe.terms


REFUSED = ["nn.L1Penalty()", "nn.L1Penalty(0/0)", "nn.L1Penalty(1, 2)", "nn.CategoricalEntropy(1/0)", "nn.ZeroGrad(1)"]


@pytest.mark.parametrize("text", REFUSED)
def test_arguments_that_are_refused(text: str) -> None:
    with pytest.raises(graphspec.SpecError) as caught:
        penalised(text)
    assert caught.value.code in ("E0420", "E0421", "E0422")


# -- norms that stay the same from step to step -------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["reference", "numpy"])
def test_norms_are_kept_the_same_from_step_to_step(device: str) -> None:
    text = "local x = nn.Identity{'T', 'B', 3}()\nreturn nn.gModule({x}, {nn.Sequencer(nn.NormStabilizer(0.5))(x)})"
    found = graphspec.compile(text, dtype="float64", device=device)
    norms = np.linalg.norm(T, axis=2, keepdims=True)
    slope = np.zeros_like(norms)
    slope[1:] += norms[1:] - norms[:-1]
    slope[:-1] -= norms[1:] - norms[:-1]
    np.testing.assert_allclose(found.backward(T, 0 * T), 2 * 0.5 / 2 * slope * T / norms)
    zero = 0 * T
    assert np.isfinite(found.backward(zero, zero)).all()


# -- clustering ---------------------------------------------------------------------------------------------------------


def test_centres_move_to_the_mean_of_what_is_near_them() -> None:
    found = penalised("nn.Kmeans(2, 3)")
    centres = found.parameters["layer.weight"]
    centres[...] = [[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]]
    x = np.array([[2.0, 1.0, 3.0], [-2.0, 0.0, -3.0], [4.0, 1.0, 1.0]])
    assert found.forward(x).tolist() == [1, 2, 1]
    assert found.backward(x, np.zeros(3)).tolist() == (0 * x).tolist()
    found.flat_parameters -= found.flat_gradients
    np.testing.assert_allclose(centres, [[3, 1, 2], [-2, 0, -3]], atol=1e-6)
