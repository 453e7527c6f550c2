"""Names of PyTorch and Keras: an error says what each is here, in words that compile."""

from __future__ import annotations

import re

import pytest

import graphspec
from graphspec.graph import LEFT_OUT, REGISTRY
from graphspec.graph.elsewhere import ELSEWHERE
from graphspec.library import StandardLibrary

CODE = {(name, code) for name, said in ELSEWHERE.items() for code in re.findall(r"`(.*?)`", said)}
HEAD = """
local x, near, far, mod = nn.Identity{'B', 4}(), nn.Identity{'B'}(), nn.Identity{'B'}(), nn.Linear(4, 4)
local y = nn.Tanh()(x)
"""


def test_a_name_from_elsewhere_leads_to_torchs() -> None:
    with pytest.raises(graphspec.SpecError) as failure:
        graphspec.compile("local x = nn.Identity{'B', 3, 8, 8}()\nreturn nn.gModule({x}, {nn.Conv2d(3, 6, 5)(x)})")
    (problem,) = failure.value.diagnostics
    assert problem.code == "E0401" and problem.message == "there is no module nn.Conv2d"
    (said,) = problem.helps
    assert said.startswith("what Conv2d is in PyTorch or Keras is here `nn.SpatialConvolution(nInputPlane, nOutputPlane, kW, kH, ")


def test_no_name_is_one_of_ours() -> None:
    assert sorted(set(ELSEWHERE) & ({*REGISTRY, *LEFT_OUT})) == []


@pytest.mark.parametrize("name", sorted(ELSEWHERE))
def test_what_is_named_is_there(name: str) -> None:
    said = ELSEWHERE[name]
    first = re.split(r"\W", said)[0]
    assert first in REGISTRY or first.islower() or first == "a"
    assert set(re.findall(r"nn\.(\w+)", said)) - set(REGISTRY) <= {"gModule"}


@pytest.mark.parametrize(("name", "code"), sorted(CODE))
def test_what_is_to_be_written_compiles(name: str, code: str) -> None:
    if name == "utils":
        assert code.partition(" ")[0] in StandardLibrary().experiment_fields
    else:
        graphspec.compile(f"{HEAD}local made = {code}\nreturn nn.gModule({{x}}, {{nn.Tanh()(x)}})", lenient=True)


HABITS = {
    # nodes taken for tensors
    "x + x2": ("E0201", "nn.CAddTable()({a, b})"),
    "x - x2": ("E0201", "nn.CSubTable()({a, b})"),
    "x * 2": ("E0201", "nn.MulConstant(2)(a)"),
    "2 * x": ("E0201", "nn.MulConstant(2)(a)"),
    "1 - x": ("E0201", "nn.AddConstant(1)(nn.MulConstant(-1)(a))"),
    "1 / x": ("E0201", "nn.MulConstant(1)(nn.Power(-1)(a))"),
    "x / 2": ("E0201", "nn.MulConstant(1 / 2)(a)"),
    "x ^ 2": ("E0201", "nn.Power(2)(a)"),
    "-x": ("E0201", "nn.MulConstant(-1)(a)"),
    "x:view(-1)": ("E0203", "nn.View(sizes...)"),
    "x.shape": ("E0203", "nn.Identity{'B', 4}()"),
    "x:no_such_thing()": ("E0203", "nn.Tanh()"),
    "torch.relu(x)": ("E0215", "nn.ReLU([inplace=false])"),
    "torch.log_softmax(x)": ("E0215", "nn.LogSoftMax()"),
    "torch.tanh(x)": ("E0207", "nn.Tanh()"),
    "torch.cat({x, x2}, 2)": ("E0207", "nn.JoinTable(dimension"),
    "torch.nn.Linear(4, 3)(x)": ("E0215", "nn.Linear(4, 3)"),
    "F.log_softmax(x)": ("E0203", "nn.LogSoftMax()"),
    "nn.functional.relu(x)": ("E0401", "nn.ReLU()(x)"),
    "nn.Sequencer(nn.LSTM(4, 3))(nn.SplitTable(1)(x))": ("E0313", "hand it to them as it is"),
    "nn.JoinTable(1)(nn.SplitTable(1)(x))": ("E0313", "hand it to them as it is"),
    # modules made in another way
    "nn.ReLU(x)": ("E0422", "nn.ReLU(...)(node)"),
    "nn.ReLU{inplace = true}(x)": ("E0422", "by place"),
    "nn.ReLU(inplace=true)(x)": ("E0106", "by place"),
    "nn.SpatialConvolution(3, 6, {5, 5})(x)": ("E0422", "by place"),
    "nn.SpatialConvolution(4, 6, 3, 3, 1, 1, 'same')(image)": ("E0422", "a border of (k - 1) / 2"),
    "nn.Sequential(nn.Linear(4, 3), nn.ReLU())(x)": ("E0421", ":add(...)"),
    "nn.Sequential():add(nn.ReLU)(x)": ("E0207", "nn.ReLU()"),
    "nn.Sequential():append(nn.ReLU())(x)": ("E0202", "`add`"),
    "nn.Linear(4, 3):to('cuda')(x)": ("E0202", "--device"),
    "nn.Linear(4, 3):train()(x)": ("E0202", "training()"),
    "data.DataLoader{}": ("E0604", "data.text"),
    "optim.adam{lr = 0.1}": ("E0605", "did you mean `learningRate`?"),
    # counted from 0
    "nn.Mean(0)(x)": ("E0302", "dimension 0 of a tensor with 2 axes, which count from 1"),
    "nn.SelectTable(0)({x, x2})": ("E0302", "element 0 of a table of 2, which counts from 1"),
    "nn.Select(2, 0)(x)": ("E0302", "index 0 of an axis of 4, which counts from 1"),
    # tensors of other shapes added, which Torch does where they have as many elements
    "nn.CAddTable()({x, nn.Replicate(1, 2)(x2)})": ("E0301", "`nn.Select(2, 1)` after the larger one"),
    "nn.CAddTable()({x, nn.Replicate(3, 2)(x2)})": ("E0301", "repeat the smaller one with `nn.Replicate(3, 2)`"),
    # another module of that name
    "nn.Add()({x, x2})": ("E0422", "nn.CAddTable()({a, b})"),
    "nn.Concat(2)({x, x2})": ("E0302", "nn.JoinTable"),
    "nn.View(-1, 7)(image)": ("E0313", "so -1 would be 24*B / 7"),
    # axes in another order
    "nn.Linear(4 * 2 * 3, 1)(image)": ("E0302", "nn.Sequential():add(nn.View(24)):add(nn.Linear(4 * 2 * 3, 1))"),
    "nn.Sequential():add(nn.ReLU()):add(nn.Linear(24, 1))(image)": ("E0302", "nn.Sequential():add(nn.View(24)):add(nn.Linear(24, 1))"),
    "nn.SpatialConvolution(3, 6, 1, 1)(image)": ("E0302", "nn.Sequential():add(nn.Transpose({3, 4}, {2, 3})):add("),
    "nn.BatchNormalization(4)(image)": ("E0302", "nn.SpatialBatchNormalization(4)"),
    "nn.TemporalConvolution(5, 6, 2)(channels)": ("E0302", "nn.Sequential():add(nn.Transpose({2, 3})):add("),
}
INPUTS = """
local x, x2, image, channels = nn.Identity{'B', 4}(), nn.Identity{'B', 4}(), nn.Identity{'B', 4, 2, 3}(), nn.Identity{'B', 5, 7}()
"""


@pytest.mark.parametrize("code", HABITS)
def test_habits_of_elsewhere_are_told_what_is_done_here(code: str) -> None:
    text = f"{INPUTS}return nn.gModule({{x, x2, image, channels}}, {{{code}}})"
    with pytest.raises(graphspec.SpecError) as failure:
        graphspec.compile(text, lenient=True)
    number, words = HABITS[code]
    (problem,) = [d for d in failure.value.diagnostics if d.severity == "error"]
    assert problem.code == number and problem.to_json()["line"] == 3
    assert words in "\n".join([*problem.helps, *(part.text for part in (*problem.fixes, *problem.labels))]), failure.value
    for fix in problem.fixes:
        graphspec.compile(text[: fix.span.start] + fix.text + text[fix.span.end :], lenient=True)


def test_one_argument_is_not_several() -> None:
    with pytest.raises(graphspec.SpecError, match=r"nn\.HardShrink takes at most 1 argument, got 2"):
        graphspec.compile(f"{INPUTS}return nn.gModule({{x}}, {{nn.HardShrink(1, 2)(x)}})", lenient=True)
