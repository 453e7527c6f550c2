"""REINFORCE: samples, what is paid for them, and that the mean of the gradients is the gradient of the expected reward."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import graphspec
from graphspec.api import Model

MANY = 20000
TARGETS = "nn.Identity{'B', dtype='int32'}()"


def model(text: str, device: str = "numpy", **more: Any) -> Model:
    return graphspec.compile(text, dtype="float64", device=device, **more)


def drawing(make: str, dims: str = "'B', 2") -> Model:
    return model(f"local x = nn.Identity{{{dims}}}()\nlocal draw = {make}\nlocal y = draw(x)\nreturn nn.gModule({{x}}, {{y}})")


# -- samples -----------------------------------------------------------------------------------------------------------


def test_bernoulli_draws_by_its_chances() -> None:
    y = drawing("nn.ReinforceBernoulli()").forward(np.tile([0.2, 0.9], (MANY, 1)))
    assert set(np.unique(y)) == {0.0, 1.0}
    np.testing.assert_allclose(y.mean(0), [0.2, 0.9], atol=4 * 0.4 / MANY**0.5)


@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_a_class_is_drawn_by_its_chance_whatever_they_add_up_to(scale: float) -> None:
    p = np.array([0.1, 0.0, 0.6, 0.3])
    y = drawing("nn.ReinforceCategorical()", "'B', 4").forward(np.tile(scale * p, (MANY, 1)))
    assert (y.sum(1) == 1).all() and set(np.unique(y)) == {0.0, 1.0}
    assert y[:, 1].sum() == 0
    np.testing.assert_allclose(y.mean(0), p, atol=4 * 0.5 / MANY**0.5)


def test_normal_has_its_mean_and_deviation() -> None:
    y = drawing("nn.ReinforceNormal(0.5)").forward(np.tile([1.0, -2.0], (MANY, 1)))
    np.testing.assert_allclose(y.mean(0), [1, -2], atol=4 * 0.5 / MANY**0.5)
    np.testing.assert_allclose(y.std(0), 0.5, rtol=0.03)
    text = "local m, s = nn.Identity{'B', 2}(), nn.Identity{2}()\nreturn nn.gModule({m, s}, {nn.ReinforceNormal()({m, s})})"
    y = model(text).forward((np.zeros((MANY, 2)), np.array([0.5, 3.0])))
    np.testing.assert_allclose(y.std(0), [0.5, 3], rtol=0.03)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_gamma_has_its_moments(scale: float) -> None:
    shapes = np.array([0.3, 1.0, 2.5, 40.0])
    y = drawing(f"nn.ReinforceGamma({scale})", "'B', 4").forward(np.tile(shapes, (MANY, 1)))
    assert (y > 0).all()
    deviation = scale * shapes**0.5
    np.testing.assert_allclose(y.mean(0), scale * shapes, atol=4 * deviation.max() / MANY**0.5)
    np.testing.assert_allclose(y.std(0), deviation, rtol=0.05)
    np.testing.assert_allclose((((y - y.mean(0)) / y.std(0)) ** 3).mean(0), 2 / shapes**0.5, rtol=0.2, atol=0.1)


MEANS = {"ReinforceBernoulli(%s)": 1.0, "ReinforceCategorical(%s)": 1.0, "ReinforceNormal(0.5, %s)": 1.0, "ReinforceGamma(0.5, %s)": 0.5}


@pytest.mark.parametrize(("make", "mean"), MEANS.items())
def test_in_evaluation_the_mean_unless_stochastic(make: str, mean: float) -> None:
    x, dy = np.array([[0.2, 0.8], [0.6, 0.4]]), np.ones((2, 2))
    found = drawing("nn." + make % "false").evaluate()
    assert found.forward(x).tolist() == (mean * x).tolist()
    assert found.backward(x, dy).tolist() == (0 * x).tolist()
    found = drawing("nn." + make % "true").evaluate()
    assert found.forward(x).tolist() != (mean * x).tolist()
    assert found.backward(x, dy).tolist() == (0 * x).tolist()


def test_without_a_reward_nothing_goes_back() -> None:
    found = drawing("nn.ReinforceBernoulli()")
    x = np.array([[0.2, 0.8], [0.6, 0.4]])
    assert found.backward(x, np.ones((2, 2))).tolist() == (0 * x).tolist()


def test_steps_draw_anew_and_a_step_the_same() -> None:
    found, x = drawing("nn.ReinforceNormal(1)"), np.zeros((4, 2))
    first, second = found.forward(x), found.forward(x)
    assert not np.array_equal(first, second)
    found.steps = 1
    assert np.array_equal(found.forward(x), second)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_a_certain_draw_has_a_finite_gradient(p: float) -> None:
    found = rewarded("nn.ReinforceBernoulli()", "'B', 2")
    x = np.full((3, 2), p)
    dx, _, _ = found.backward((x, np.zeros((3, 1)), np.ones(3, int)), 1)
    assert np.isfinite(dx).all()


# -- rewards -----------------------------------------------------------------------------------------------------------


def rewarded(make: str, dims: str, reward: str = "VRClassReward(draw)", device: str = "numpy", predict: str = "y") -> Model:
    text = f"""
local x, baseline, target = nn.Identity{{{dims}}}(), nn.Identity{{'B', 1}}(), {TARGETS}
local draw = {make}
local y = draw(x)
return nn.gModule({{x, baseline, target}}, {{nn.{reward}({{{{{predict}, baseline}}, target}})}})
"""
    return model(text, device)


@pytest.mark.parametrize("device", ["reference", "numpy"])
@pytest.mark.parametrize(("scale", "average"), [(1.0, True), (2.5, True), (0.5, False)])
def test_what_a_class_is_paid(scale: float, average: bool, device: str) -> None:
    """With the formulas of Torch: the reward less the baseline, over the rows; the baseline learns the reward."""
    found = rewarded("nn.ReinforceCategorical()", "'B', 3", f"VRClassReward(draw, {scale}, nil, {str(average).lower()})", device)
    x = np.array([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.4, 0.4, 0.2]])
    y = np.eye(3)[[2, 0, 1, 1]]
    baseline, target = np.array([[0.3], [-0.2], [0.6], [0.1]]), np.array([3, 2, 2, 1])
    found.set_noise("y", y)
    reward = scale * np.array([1.0, 0.0, 1.0, 0.0])
    n = 4 if average else 1
    np.testing.assert_allclose(found.forward((x, baseline, target)), -reward.sum() / n)
    dx, db, dt = found.backward((x, baseline, target), 1)
    np.testing.assert_allclose(dx, -((reward[:, None] - baseline) / n) * y / (x + 1e-8))
    np.testing.assert_allclose(db[:, 0], 2 * (baseline[:, 0] - reward) / 4)
    assert dt is None
    again, db2, _ = found.backward((x, baseline, target), 3)
    np.testing.assert_allclose(again, dx)  # a term counts once
    np.testing.assert_allclose(db2, 3 * db)  # the baseline's gradient is the loss's


FORMULAS: dict[str, Any] = {
    "nn.ReinforceBernoulli()": lambda x, y: (y - x) / (x * (1 - x)),
    "nn.ReinforceNormal(0.5)": lambda x, y: (y - x) / 0.25,
}


@pytest.mark.parametrize("make", FORMULAS)
def test_rewards_of_a_row_go_to_all_its_elements(make: str) -> None:
    found = rewarded(make, "'B', 2, 2", predict="nn.View(-1, 4)(y)")
    rng = np.random.default_rng(1)
    x = rng.uniform(0.1, 0.9, (3, 2, 2))
    y = (rng.random((3, 2, 2)) > 0.5).astype(float) + rng.uniform(0, 0.1, (3, 2, 2)) * ("Normal" in make)
    baseline, target = rng.random((3, 1)), np.array([1, 2, 3])
    found.set_noise("y", y)
    reward = (y.reshape(3, 4).argmax(1) + 1 == target).astype(float)
    dx, _, _ = found.backward((x, baseline, target), 1)
    np.testing.assert_allclose(dx, -((reward - baseline[:, 0]) / 3)[:, None, None] * FORMULAS[make](x, y))


def test_a_network_that_draws_inside() -> None:
    """The module may be a container or a graph; its parameters learn, and stand in the model once."""
    text = f"""
local x, target = nn.Identity{{'B', 3}}(), {TARGETS}
local agent = nn.Sequential():add(nn.Linear(3, 4)):add(nn.SoftMax()):add(nn.ReinforceCategorical())
local act = agent(x)
local baseline = nn.Linear(3, 1)(x)
return nn.gModule({{x, target}}, {{nn.VRClassReward(agent)({{{{nn.Linear(4, 2)(act), baseline}}, target}}), act}})
"""
    found = model(text)
    rng = np.random.default_rng(3)
    x, target = rng.standard_normal((5, 3)), np.array([1, 2, 2, 1, 1])
    loss, y = found.forward((x, target))
    found.backward((x, target), (1, np.zeros((5, 4))))
    weights = {name: np.array(value) for name, value in found.parameters.items()}
    assert [name for name in weights if name.startswith("agent")] == ["agent.Linear.weight", "agent.Linear.bias"] and len(weights) == 6
    logits = x @ weights["agent.Linear.weight"].T + weights["agent.Linear.bias"]
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    rest = [weights[name] for name in weights if not name.startswith("agent")]
    (b,) = (w[0] for w in rest if w.shape == (1, 3))
    (b0,) = (w[0] for w in rest if w.shape == (1,))
    (v,) = (w for w in rest if w.shape == (2, 4))
    (v0,) = (w for w in rest if w.shape == (2,))
    reward = ((y @ v.T + v0).argmax(1) + 1 == target).astype(float)
    assert loss == -reward.mean()
    paid = (reward - (x @ b + b0)) / 5
    chosen = (p * y).sum(1, keepdims=True)
    dlogits = -paid[:, None] * (chosen / (chosen + 1e-8)) * (y - p)
    np.testing.assert_allclose(found.gradients["agent.Linear.weight"], dlogits.T @ x, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("device", ["reference", "numpy"])
@pytest.mark.parametrize("around", ["nn.Sequencer(draw)", "nn.Sequencer(nn.Sequential():add(nn.Identity()):add(draw))"])
def test_draws_of_all_steps_of_a_loop_are_paid(around: str, device: str) -> None:
    text = f"""
local x, baseline, target = nn.Identity{{'T', 'B', 2}}(), nn.Identity{{'B', 1}}(), {TARGETS}
local draw = nn.ReinforceBernoulli()
local y = {around}(x)
return nn.gModule({{x, baseline, target}}, {{nn.VRClassReward(draw)({{{{nn.Select(1, -1)(y), baseline}}, target}}), y}})
"""
    found = model(text, device)
    rng = np.random.default_rng(4)
    x, baseline, target = rng.uniform(0.1, 0.9, (3, 4, 2)), rng.random((4, 1)), np.array([1, 2, 1, 2])
    _, y = found.forward((x, baseline, target))
    dx, _, _ = found.backward((x, baseline, target), (1, 0 * y))
    paid = ((y[-1].argmax(1) + 1 == target) - baseline[:, 0]) / 4
    np.testing.assert_allclose(dx, -paid[None, :, None] * (y - x) / (x * (1 - x)))


SCAN = f"""
local x, h = nn.Identity{{'B', 2}}(), nn.Identity{{'B', 2}}()
local draw = nn.ReinforceNormal(0.5)
local a = draw(nn.CAddTable()({{x, h}}))
local cell = nn.gModule({{x, h}}, {{a, nn.CAddTable()({{x, a}})}})
local xs, s0 = nn.Identity{{'T', 'B', 2}}(), nn.Identity{{'B', 2}}()
local n, baseline, target = nn.Identity{{'B', dtype='int32'}}(), nn.Identity{{'B'}}(), {TARGETS}
local scanned = nn.Scan(cell){{xs = xs, s0 = s0, lengths = n}}
local ys, last = scanned:split(2)
return nn.gModule({{xs, s0, n, baseline, target}}, {{nn.VRClassReward(draw)({{{{last, baseline}}, target}}), ys}})
"""


@pytest.mark.parametrize("device", ["reference", "numpy"])
def test_draws_behind_the_end_of_a_sequence_are_not_paid(device: str) -> None:
    """Samples are injected with a leading axis of steps; they are constants, so a step's mean does not reach the step before."""
    found = model(SCAN, device)
    rng = np.random.default_rng(5)
    xs, s0, n = rng.standard_normal((3, 2, 2)), rng.standard_normal((2, 2)), np.array([3, 2])
    baseline, target, a = np.array([0.25, 0.5]), np.array([1, 2]), rng.standard_normal((3, 2, 2))
    found.set_noise("a", a)
    loss, ys = found.forward((xs, s0, n, baseline, target))
    live = (np.arange(3)[:, None] < n)[..., None]
    np.testing.assert_allclose(ys, a * live)
    states = [s0]
    for t in range(3):
        states.append(np.where(live[t], xs[t] + a[t], states[-1]))
    reward = (states[-1].argmax(1) + 1 == target).astype(float)
    assert loss == -reward.mean()
    paid = (reward - baseline) / 2
    score = np.stack([(a[t] - xs[t] - states[t]) / 0.25 for t in range(3)]) * live
    dxs, ds0, *_ = found.backward((xs, s0, n, baseline, target), (1, 0 * ys))
    wanted = -paid[None, :, None] * score
    through = -paid[None, :, None] * score
    for t in range(1, 3):  # the state is x + a: the means of later steps read the x of this one
        wanted[t - 1] += through[t] * live[t]
    np.testing.assert_allclose(dxs, wanted)
    np.testing.assert_allclose(ds0, -paid[:, None] * score[0])


def test_a_binary_answer() -> None:
    text = """
local x, baseline, target = nn.Identity{'B'}(), nn.Identity{'B'}(), nn.Identity{'B'}()
local draw = nn.ReinforceBernoulli()
local y = draw(x)
return nn.gModule({x, baseline, target}, {nn.BinaryClassReward(draw, 2)({{y, baseline}, target})})
"""
    found = model(text)
    x, baseline, target, y = np.array([0.2, 0.6, 0.9]), np.array([0.5, 0.1, 0.3]), np.array([1.0, 0.0, 1.0]), np.array([1.0, 1.0, 0.0])
    found.set_noise("y", y)
    assert found.forward((x, baseline, target)) == pytest.approx(-2 / 3)
    dx, db, _ = found.backward((x, baseline, target), 1)
    reward = np.array([2.0, 0.0, 0.0])
    np.testing.assert_allclose(dx, -(reward - baseline) / 3 * (y - x) / (x * (1 - x)))
    np.testing.assert_allclose(db, 2 * (baseline - reward) / 3)


def test_in_evaluation_nothing_is_paid_and_the_baseline_still_learns() -> None:
    found = rewarded("nn.ReinforceBernoulli(true)", "'B', 2").evaluate()
    x, baseline, target = np.full((3, 2), 0.5), np.zeros((3, 1)), np.array([1, 2, 1])
    dx, _, _ = found.backward((x, baseline, target), 1)
    assert dx.tolist() == (0 * x).tolist()


def test_a_model_without_a_batch_axis() -> None:
    text = """
local x, baseline, target = nn.Identity{3}(), nn.Identity{1}(), nn.Identity{dtype='int32'}()
local draw = nn.ReinforceBernoulli()
local y = draw(x)
return nn.gModule({x, baseline, target}, {nn.VRClassReward(draw)({{y, baseline}, target})})
"""
    found = model(text.replace("nn.Identity{dtype='int32'}", "nn.Identity{1, dtype='int32'}"))
    x, y = np.array([0.2, 0.6, 0.7]), np.array([0.0, 1.0, 1.0])
    found.set_noise("y", y)
    dx, _, _ = found.backward((x, np.array([0.25]), np.array([2])), 1)
    np.testing.assert_allclose(dx, -0.75 * (y - x) / (x * (1 - x)))


# -- the estimator -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("baseline", [0.0, 0.6])
def test_the_mean_gradient_of_a_bandit_is_that_of_its_expected_reward(baseline: float) -> None:
    """Two arms, of which the first pays with chance q and the second with 1 - q; the logits a are learned:
    d/da1 of p1 q + p2 (1 - q) is p1 p2 (2 q - 1).  Each row is a draw; the tolerance is four standard errors."""
    q, a = 0.8, np.array([0.3, -0.2])
    text = f"""
local x, baseline, target = nn.Identity{{'B', 2}}(), nn.Identity{{'B', 1}}(), {TARGETS}
local arm = nn.ReinforceCategorical()
local chosen = arm(nn.SoftMax()(x))
return nn.gModule({{x, baseline, target}}, {{nn.VRClassReward(arm)({{{{chosen, baseline}}, target}})}})
"""
    pays = np.where(np.random.default_rng(7).random(MANY) < q, 1, 2)
    found = model(text)
    given = (np.tile(a, (MANY, 1)), np.full((MANY, 1), baseline), pays)
    loss = found.forward(given)
    rows = -found.backward(given, 1)[0] * MANY  # ascent, and what each row alone has
    p = np.exp(a) / np.exp(a).sum()
    exact = p[0] * p[1] * (2 * q - 1) * np.array([1, -1])
    error = rows.std(0) / math.sqrt(MANY)
    assert (np.abs(rows.mean(0) - exact) < 4 * error).all()
    assert (error < 0.03 * np.abs(exact)).all()  # a bias of an eighth would be seen
    assert abs(-loss - (p[0] * q + p[1] * (1 - q))) < 4 * 0.5 / math.sqrt(MANY)


def test_a_baseline_makes_the_variance_less() -> None:
    found = rewarded("nn.ReinforceCategorical()", "'B', 2")
    x, target = np.full((MANY, 2), 0.5), np.ones(MANY, int)
    spreads = []
    for baseline in (0.0, 0.5):
        found.steps = 0
        spreads.append((found.backward((x, np.full((MANY, 1), baseline), target), 1)[0] * MANY).std())
    assert spreads[1] < 0.85 * spreads[0]


SLOPES = [("ReinforceBernoulli()", 0.3, 1), ("ReinforceNormal(0.5)", 0.3, 1), ("ReinforceGamma(2)", 3.5, 2), ("ReinforceGamma(2)", 0.6, 2)]


@pytest.mark.parametrize(("make", "x", "slope"), SLOPES)
def test_samples_have_the_distribution_whose_logarithm_is_differentiated(make: str, x: float, slope: float) -> None:
    """The mean of the score is 0, and that of sample times score the derivative of the mean."""
    text = f"""
local x, target = nn.Identity{{'B'}}(), nn.Identity{{'B', dtype='int32'}}()
local draw = nn.{make}
local y = draw(x)
local right = nn.Replicate(2, 2)(nn.MulConstant(0)(y))
return nn.gModule({{x, target}}, {{nn.VRClassReward(draw)({{{{right, nn.MulConstant(0)(y)}}, target}}), y}})
"""
    found = model(text)
    given = (np.full(MANY, x), np.ones(MANY, int))
    _, y = found.forward(given)
    score = -found.backward(given, (1, np.zeros(MANY)))[0] * MANY
    for values, wanted in ((score, 0.0), (y * score, slope)):
        assert abs(values.mean() - wanted) < 4 * values.std() / math.sqrt(MANY)


# -- recurrent visual attention -----------------------------------------------------------------------------------------

ATTENTION = """
local x, target = nn.Identity{'B', 1, 4, 4}(), nn.Identity{'B', dtype='int32'}()
local glimpse = nn.Sequential():add(nn.SpatialGlimpse(2, 1)):add(nn.View(-1, 4)):add(nn.Linear(4, 3))
local place = nn.Sequential():add(nn.SelectTable(2)):add(nn.Linear(2, 3))
local see = nn.Sequential():add(nn.ConcatTable():add(glimpse):add(place)):add(nn.CAddTable()):add(nn.GRU(3, 3))
local look = nn.Sequential():add(nn.Linear(3, 2)):add(nn.Tanh()):add(nn.ReinforceNormal(0.3)):add(nn.HardTanh())
local agent = nn.RecurrentAttention(see, look, 3, {3})
local h = nn.SelectTable(-1)(agent(x))
local baseline = nn.Linear(3, 1)(nn.ZeroGrad()(h))
return nn.gModule({x, target}, {nn.VRClassReward(agent)({{nn.Linear(3, 4)(h), baseline}, target})})
"""


@pytest.mark.parametrize("device", ["numpy", None])
def test_attention_that_learns_where_to_look(device: str | None) -> None:
    """All gradients are those of the objective, samples and rewards held; what places the glimpses has some."""
    from graphspec.check import check, on_device
    from graphspec.engine import device_named
    from graphspec.open import open_spec, pick_module
    from graphspec.program import infer

    typed = infer(pick_module(open_spec(ATTENTION)), "float64")
    report = check(typed, on_device(device_named(device) if device else None), limit=4)
    assert report.ok, report.to_json()
    found = model(ATTENTION)
    assert found.warnings == []
    found.backward((np.random.default_rng(1).random((5, 1, 4, 4)), np.array([1, 2, 3, 4, 1])), 1)
    assert np.abs(found.gradients["look.Linear.weight"]).max() > 0
