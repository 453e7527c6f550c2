"""What inference tells of types that fit and are not meant: declared letters that became one, criterions that are given something else."""

from __future__ import annotations

import pytest

from graphspec.program import assumptions
from test_inference import typed

# -- letters that are one ---------------------------------------------------------------------------------------------------

MERGED = {
    "batch and time": ("""
local x, y = nn.Identity{'B', 'T', 3}(), nn.Identity{'B', dtype = 'int32'}()
local last = nn.Select(1, -1)(nn.Sequencer(nn.LSTM(3, 8))(x))
return nn.gModule({x, y}, {nn.CrossEntropyCriterion()({nn.Linear(8, 2)(last), y})})""",
                       "B and T can only be one size here", 4, [2], "nn.Transpose({1, 2})"),
    "letters of two inputs": ("""
local a = nn.Identity{'B', 3}()
local b = nn.Identity{'N', 3}()
return nn.gModule({a, b}, {nn.CAddTable()({a, b})})""", "B and N can only be one size here", 4, [2, 3], "by one letter"),
    "a batch that is a plane": ("""
local x = nn.Identity{'B', 28, 28}()
return nn.gModule({x}, {nn.SpatialConvolution(1, 3, 5, 5)(x)})""", "B can only be 1 here", 3, [2], "[B, 1, 28, 28]"),
    "a batch of nothing": ("""
local x, y = nn.Identity{'N', 3}(), nn.Identity{5, 3}()
return nn.gModule({x, y}, {nn.CAddTable()({nn.JoinTable(1)({x, y}), y})})""", "N can only be 0 here", 3, [2], "holds nothing"),
    "features that are none": ("""
local x, y = nn.Identity{'B', 'n'}(), nn.Identity{'B', 5}()
return nn.gModule({x, y}, {nn.Linear(5, 2)(nn.JoinTable(2)({x, y}))})""", "n can only be 0 here", 3, [2], "holds nothing"),
}  # fmt: skip


@pytest.mark.parametrize("case", MERGED)
def test_declared_letters_that_are_one_are_told_with_both_ends(case: str) -> None:
    text, message, line, declared, hint = MERGED[case]
    (told,) = assumptions(typed(text))
    assert (told.code, told.message, told.severity) == ("W0311", message, "warning")
    assert [(label.span.line, label.primary) for label in told.labels] == [*((n, False) for n in declared), (line, True)]
    assert hint in " ".join(told.helps)


@pytest.mark.parametrize("text", [
    "local x = nn.Identity{'B', 'n'}()\nreturn nn.gModule({x}, {nn.Linear(4, 2)(x)})",  # a last axis counts features
    "local x = nn.Identity{'B', 3}()\nlocal t = nn.gModule({x}, {x})\nlocal y = nn.Identity{5, 3}()\nreturn nn.gModule({y}, {t(y)})",
    "local a, b = nn.Identity{'T', 'B', 3}(), nn.Identity{'U', 'B', 3}()\n"  # what follows from another letter
    "return nn.gModule({a, b}, {nn.CAddTable()({nn.JoinTable(1)({a, nn.Tanh()(a)}), b})})",
])  # fmt: skip
def test_letters_of_cells_and_features_are_not_told(text: str) -> None:
    assert not assumptions(typed(text))


# -- criterions that are given something else ----------------------------------------------------------------------------

HEAD = """local x, y, z = nn.Identity{'B', 4}(), nn.Identity{'B', dtype = 'int32'}(), nn.Identity{'B', 4}()
local m = nn.Linear(4, 4)
return nn.gModule({x, y, z}, {%s, nn.Tanh()(x), nn.Tanh()(y), nn.Tanh()(z)})"""
INSIDE = "nn.Sequential():add(nn.LogSoftMax()):add(nn.View(-1, 4))(m(x))"
ILL_FED = {
    "nn.ClassNLLCriterion()({m(x), y})": ("takes log-probabilities, and gets the output of nn.Linear", "nn.LogSoftMax()"),
    "nn.ClassNLLCriterion()({nn.View(-1, 4)(m(x)), y})": ("and gets the output of nn.Linear", "nn.CrossEntropyCriterion()"),
    "nn.ClassNLLCriterion()({nn.SoftMax()(m(x)), y})": ("and gets the output of nn.SoftMax", "nn.LogSoftMax()"),
    "nn.CrossEntropyCriterion()({nn.SoftMax()(m(x)), y})": ("takes scores, as it does LogSoftMax itself, and gets", "goes into that"),
    f"nn.CrossEntropyCriterion()({{{INSIDE}, y}})": ("and gets the output of nn.LogSoftMax", "nn.ClassNLLCriterion()"),
    "nn.BCECriterion()({m(x), z})": ("nn.BCECriterion takes probabilities, and gets the output of nn.Linear", "nn.Sigmoid()"),
}
WELL_FED = [
    "nn.ClassNLLCriterion()({nn.LogSoftMax()(m(x)), y})", "nn.CrossEntropyCriterion()({m(x), y})",
    "nn.BCECriterion()({nn.Sigmoid()(m(x)), z})", "nn.ClassNLLCriterion()({x, y})",
    f"nn.ClassNLLCriterion()({{{INSIDE}, y}})", "nn.MSECriterion()({m(x), z})",
]  # fmt: skip


@pytest.mark.parametrize("loss", [*ILL_FED, *WELL_FED])
def test_a_criterion_that_is_given_what_it_does_not_take(loss: str) -> None:
    found = [w for w in assumptions(typed((HEAD % loss).replace(", nn.Tanh()(y)", ""))) if w.code == "W0321"]
    if loss in WELL_FED:
        assert not found
        return
    (told,) = found
    message, hint = ILL_FED[loss]
    assert message in told.message and hint in told.helps[0]
    assert [(label.span.line, label.primary) for label in told.labels][-1] == (3, True) and len(told.labels) == 2
