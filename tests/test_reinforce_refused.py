"""REINFORCE where it is refused: rewards that fit nothing, and arguments."""

from __future__ import annotations

from typing import Any

import pytest

import graphspec
from graphspec.api import Model


def model(text: str) -> Model:
    return graphspec.compile(text, dtype="float64", device="numpy")


def refused(text: str) -> Any:
    with pytest.raises(graphspec.SpecError) as caught:
        model(text).program("forward")
    return caught.value.diagnostics[0]


def test_a_reward_in_a_loop() -> None:
    problem = refused("""
local x, b, t = nn.Identity{'B', 2}(), nn.Identity{'B'}(), nn.Identity{'B', dtype='int32'}()
local draw = nn.ReinforceBernoulli()
local reward = nn.VRClassReward(draw)
local y = draw(x)
local function step() return {nn.Identity()(y), nn.Identity()(b)} end
return nn.gModule({x, b, t}, {nn.SequencerCriterion(reward)({{step(), step()}, {nn.Identity()(t), nn.Identity()(t)}})})
""")
    assert problem.code == "E0320" and "stands in a loop" in problem.message and problem.span.line == 4


def test_rewards_for_other_rows() -> None:
    problem = refused("""
local x, p, b, t = nn.Identity{7, 2}(), nn.Identity{5, 2}(), nn.Identity{5}(), nn.Identity{5, dtype='int32'}()
local draw = nn.ReinforceBernoulli()
local y = draw(x)
return nn.gModule({x, p, b, t}, {nn.VRClassReward(draw)({{p, b}, t}), y})
""")
    assert problem.code == "E0320" and "5 rows" in problem.message and "7" in problem.message and problem.span.line == 4


def test_a_module_that_draws_nothing() -> None:
    problem = refused("""
local p, b, t = nn.Identity{'B', 2}(), nn.Identity{'B'}(), nn.Identity{'B', dtype='int32'}()
return nn.gModule({p, b, t}, {nn.VRClassReward(nn.Linear(2, 2))({{p, b}, t})})
""")
    assert problem.code == "E0320" and "nothing in its module draws" in problem.message


def test_a_module_that_is_not_in_the_graph_is_warned_about() -> None:
    text = """
local p, b, t = nn.Identity{'B', 2}(), nn.Identity{'B'}(), nn.Identity{'B', dtype='int32'}()
local draw = nn.ReinforceBernoulli()
local y = %s(p)
return nn.gModule({p, b, t}, {nn.VRClassReward(draw)({{y, b}, t})})
"""
    assert [w.code for w in model(text % "draw:clone()").warnings] == ["W0320"]
    assert model(text % "draw").warnings == []


@pytest.mark.parametrize(
    "make",
    [
        "nn.VRClassReward()", "nn.VRClassReward(1)", "nn.VRClassReward(nn.ReinforceBernoulli(), 1/0)",
        "nn.VRClassReward(nn.ReinforceBernoulli(), 1, nn.Tanh())", "nn.BinaryClassReward('x')", "nn.ReinforceNormal(0)",
        "nn.ReinforceNormal(-1)", "nn.ReinforceNormal(1/0)", "nn.ReinforceGamma(0)", "nn.ReinforceGamma('a')", "nn.ReinforceBernoulli(1)",
        "nn.ReinforceCategorical(true, 2)", "nn.MaskZeroCriterion(nn.VRClassReward(nn.ReinforceBernoulli()), 1)",
    ],
)  # fmt: skip
def test_arguments_that_are_refused(make: str) -> None:
    problem = refused(f"local made = {make}\nlocal x = nn.Identity{{2}}()\nreturn nn.gModule({{x}}, {{made(x)}})")
    assert problem.code in ("E0420", "E0421", "E0422")
