"""``torch`` in a spec: tensors at build time, what they initialise, and classes that compose modules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphspec
from graphspec import SpecError
from graphspec.build import Limits
from test_lua import run, value

VALUES = {
    # making
    "torch.zeros(2, 3):sum()": "0",
    "torch.ones(2, 3):sum()": "6",
    "torch.Tensor{1, 2, 3}[2]": "2",
    "torch.Tensor{{1, 2}, {3, 4}}[2][1]": "3",
    "torch.Tensor{{1, 2}, {3, 4}}[{2, 1}]": "3",
    "torch.Tensor(2, 3):fill(7):sum()": "42",
    "#torch.range(1, 5)": "5",
    "torch.range(1, 2, 0.25)[4]": "1.75",
    "torch.range(5, 1, -2):sum()": "9",
    "torch.eye(3):sum()": "3",
    "torch.eye(2, 4):size(2)": "4",
    "torch.linspace(0, 1, 3)[2]": "0.5",
    "torch.cat(torch.ones(2), torch.zeros(3)):size(1)": "5",
    "torch.cat({torch.ones(2, 1), torch.zeros(2, 3)}, 2):size(2)": "4",
    "torch.randperm(5):sum()": "15",
    "torch.LongStorage{8, 2}[1]": "8",
    # asking
    "torch.ones(2, 3):dim()": "2",
    "torch.ones(2, 3):nElement()": "6",
    "table.concat(torch.ones(2, 3):size(), 'x')": "2x3",
    "torch.Tensor{3, 4}:norm()": "5",
    "torch.Tensor{3, 1, 4}:max()": "4",
    "torch.mean(torch.Tensor{3, 1, 5})": "3",
    "torch.sum(torch.ones(2, 3), 1)[1][2]": "2",
    "torch.type(torch.ones(1))": "torch.DoubleTensor",
    "torch.type(nn.Tanh())": "nn.Tanh",
    "torch.type('a')": "string",
    "torch.isTensor(torch.ones(1))": "true",
    "torch.isTensor({})": "false",
    # computing: in place, and of copies
    "torch.ones(2):mul(3):add(1)[2]": "4",
    "torch.ones(2):add(2, torch.ones(2))[1]": "3",
    "torch.Tensor{2, 3}:cmul(torch.Tensor{4, 5})[2]": "15",
    "torch.Tensor{2, 3}:pow(2)[2]": "9",
    "torch.exp(torch.zeros(2))[1]": "1",
    "(torch.ones(2) * 3 - 1)[1]": "2",
    "(2 * torch.ones(2))[1]": "2",
    "(-torch.ones(2))[1]": "-1",
    "(torch.ones(2, 3) * torch.ones(3, 4)):size(2)": "4",
    "torch.Tensor{1, 2} * torch.Tensor{3, 4}": "11",
    # parts share memory
    "(function() local t = torch.zeros(2, 3); t[2]:fill(1); return t:sum() end)()": "3",
    "(function() local t = torch.zeros(2, 3); t:narrow(2, 2, 2):fill(1); return t:sum() end)()": "4",
    "(function() local t = torch.zeros(2, 3); t:select(2, 1):fill(1); return t:sum() end)()": "2",
    "(function() local t = torch.zeros(2, 3); t:t()[3]:fill(1); return t:sum() end)()": "2",
    "(function() local t = torch.zeros(2, 3); t:view(-1):fill(1); return t:sum() end)()": "6",
    "(function() local t = torch.zeros(4); t[{{2, 3}}] = 5; t[-1] = 1; return t:sum() end)()": "11",
    "(function() local t = torch.zeros(2); local u = t:clone(); u:fill(1); return t:sum() end)()": "0",
    # random ones: the run's seed, or one's own
    "(torch.manualSeed(3) or torch.rand(3):sum()) == (torch.manualSeed(3) or torch.rand(3):sum())": "true",
    "torch.rand(100):min() >= 0 and torch.rand(100):max() < 1": "true",
}


@pytest.mark.parametrize("expression", VALUES)
def test_value(expression: str) -> None:
    assert value(expression) == VALUES[expression]


def test_the_seed_of_the_run_is_that_of_its_tensors() -> None:
    drawn = [run("print(torch.randn(3):sum())", seed=seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    text = "local x, l = nn.Identity{1}(), nn.Linear(1, 1)\nl.weight:copy(torch.randn(1))\nreturn nn.gModule({x}, {l(x)})"
    weights = [graphspec.compile(text, seed=seed).parameters["l.weight"][0, 0] for seed in (1, 1, 2)]
    assert weights[0] == weights[1] != weights[2]


@pytest.mark.parametrize(
    ("module", "given"),
    [("View({})", "16"), ("Reshape({})", "16"), ("Reshape({}, false)", "16"), ("CMul({})", "8, 2"), ("CAdd({})", "8, 2"),
     ("Recurrent({}, nn.Identity(), nn.Identity())", "8, 2")],
)  # fmt: skip
def test_sizes_are_given_as_torch_gives_them(module: str, given: str) -> None:
    made = module.format("torch.LongStorage{8, 2}")
    model = graphspec.compile(f"local x = nn.Identity{{{given}}}()\nreturn nn.gModule({{x}}, {{nn.{made}(x)}})")
    assert [n.value for n in model.outputs.shape] == [8, 2]


FIELDS = [
    ("Power(2)", "pow", "3", "Power(3)"),
    ("PairwiseDistance()", "norm", "1", "PairwiseDistance(1)"),
    ("HardTanh()", "max_val", "0.5", "HardTanh(-1, 0.5)"),
    ("Clamp(-1, 1)", "min_val", "0", "Clamp(0, 1)"),
    ("Threshold(0)", "threshold", "0.5", "Threshold(0.5)"),
    ("Threshold(0)", "val", "-1", "Threshold(0, -1)"),
    ("Replicate(2)", "nfeatures", "3", "Replicate(3)"),
    ("Narrow(1, 1)", "index", "2", "Narrow(1, 2)"),
    ("MulConstant(2)", "constant_scalar", "3", "MulConstant(3)"),
    ("SpatialUpSamplingNearest(2)", "scale_factor", "3", "SpatialUpSamplingNearest(3)"),
    ("Linear(3, 2)", "bias", "nil", "Linear(3, 2):noBias()"),
]
READ = {"PairwiseDistance()": "{x, nn.Square()(x)}", "SpatialUpSamplingNearest(2)": "nn.View(1, 2, 3)(x)"}


@pytest.mark.parametrize(("made", "field", "given", "same"), FIELDS, ids=[f"{made}.{field}" for made, field, _, _ in FIELDS])
def test_a_field_has_the_name_that_torch_gives_it(made: str, field: str, given: str, same: str) -> None:
    x, outs = np.linspace(-1, 1, 6).reshape(2, 3), []
    for text in (f"local m = nn.{made}\nm.{field} = {given}", f"local m = nn.{same}"):
        spec = f"local x = nn.Identity{{2, 3}}()\n{text}\nreturn nn.gModule({{x}}, {{m({READ.get(made, 'x')})}})"
        outs.append(graphspec.compile(spec)(x))
    np.testing.assert_array_equal(*outs)
    assert given == "nil" or run(f"local m = nn.{made}\nm.{field} = {given}\nprint(m.{field})") == [given]


ERRORS = {
    "torch.load('x')": "E0215",
    "torch.onse(3)": "E0215",
    "torch.ones(-1)": "E0207",
    "torch.ones(1.5)": "E0207",
    "torch.ones(2, 3) + torch.ones(3, 2)": "E0211",
    "torch.ones(2, 3) * torch.ones(2, 3)": "E0211",
    "torch.ones(2) / torch.ones(2)": "E0211",
    "torch.ones(2)[3]": "E0211",
    "torch.ones(2)[0]": "E0211",
    "torch.ones(2)[{1, 1}]": "E0211",
    "torch.ones(2):narrow(1, 2, 2)": "E0211",
    "torch.ones(2):select(2, 1)": "E0211",
    "torch.ones(2):view(3)": "E0211",
    "torch.ones(2):frobnicate()": "E0203",
    "torch.ones(2):mul()": "E0207",
    "torch.ones(2):copy()": "E0207",
    "torch.ones(2):uniform('a')": "E0207",
    "torch.ones(2):sum(3)": "E0211",
    "torch.ones(2):narrow()": "E0211",
    "torch.ones(2):view()": "E0211",
    "torch.ones(2):transpose()": "E0211",
    "torch.ones(2):expand(3)": "E0211",
    "torch.ones(2):resize('a')": "E0207",
    "torch.cat()": "E0211",
    "torch.eye()": "E0207",
    "torch.randperm()": "E0207",
    "torch.exp()": "E0207",
    "torch.class()": "E0207",
    "torch.Tensor{{1, 2}, {3}}": "E0211",
    "torch.Tensor{1, 'a'}": "E0211",
    "torch.range(1, 0)": "E0211",
    "torch.cat(torch.ones(2, 2), torch.ones(3), 1)": "E0211",
    "torch.zeros(0):max()": "E0211",
    "nn.Linear(2, 2).weight:copy(torch.ones(3))": "E0211",
    "torch.ones(2):copy(nn.Linear(2, 1).weight)": "E0213",
    "torch.class('nn.A', 'nn.Nowhere')": "E0401",
}


@pytest.mark.parametrize("expression", ERRORS)
def test_error(expression: str) -> None:
    with pytest.raises(SpecError) as caught:
        value(expression)
    assert caught.value.code == ERRORS[expression]
    assert caught.value.diagnostics[0].span is not None


@pytest.mark.parametrize("expression", ["torch.ones(2^20, 2^20)", "torch.rand(2^63)", "torch.Tensor(9, 9, 9, 9, 9, 9, 9, 9, 9, 9)"])
def test_a_huge_tensor_is_an_error_and_no_memory(expression: str) -> None:
    with pytest.raises(SpecError) as caught:
        value(expression)
    assert caught.value.code == "E0508"


def test_many_tensors_are_a_huge_one() -> None:
    with pytest.raises(SpecError) as caught:
        run("local t = torch.ones(1000) for i = 1, 1e6 do t = t + 1 end", limits=Limits(elements=10**6))
    assert caught.value.code == "E0508"


# -- parameters ------------------------------------------------------------------------------------------------------------

START = "local x = nn.Identity{'B', 3}()\nlocal l = nn.Linear(3, 2)\n"
END = "\nreturn nn.gModule({x}, {l(x)})"


@pytest.mark.parametrize(
    ("text", "weight"),
    [
        ("l.weight:copy(torch.range(1, 6):view(2, 3))", [[1, 2, 3], [4, 5, 6]]),
        ("l.weight = torch.eye(2, 3)", [[1, 0, 0], [0, 1, 0]]),
        ("l.weight:fill(2):mul(3):add(1)", [[7, 7, 7], [7, 7, 7]]),
        ("l.weight:zero():narrow(1, 2, 1):fill(4)", [[0, 0, 0], [4, 4, 4]]),
        ("l.weight:zero()[{{}, 2}] = 5", [[0, 5, 0], [0, 5, 0]]),
        ("l.weight:zero(); l.weight:select(1, 1):copy(torch.Tensor{1, 2, 3})", [[1, 2, 3], [0, 0, 0]]),
        ("local o = nn.Linear(3, 2); o.weight:fill(3); l.weight:copy(o.weight); o.weight:fill(4)", [[3, 3, 3], [3, 3, 3]]),
        ("local o = nn.Linear(3, 3); l.weight[1]:copy(o.weight:narrow(1, 1, 2))", None),
    ],
)  # fmt: skip
def test_initial_values(text: str, weight: Any) -> None:
    if weight is None:
        with pytest.raises(SpecError):
            graphspec.compile(START + text + END)
    else:
        np.testing.assert_array_equal(graphspec.compile(START + text + END).parameters["l.weight"], weight)


def test_a_parameter_set_to_another_one_is_tied() -> None:
    text = """
    local x = nn.Identity{'B', 3}()
    local one, two = nn.Linear(3, 3), nn.Linear(3, 3)
    two.weight, two.gradWeight = one.weight, one.gradWeight
    local out = nn.Tanh()(two(one(x)))
    return nn.gModule({x}, {out})"""
    model = graphspec.compile(text)
    assert [name for name in model.parameters if name.endswith("weight")] == ["one.weight"]


# -- classes ---------------------------------------------------------------------------------------------------------------

CLASSES = {
    "a class that composes in updateOutput": """
        local Tower, parent = torch.class('nn.Tower', 'nn.Module')
        function Tower:__init(n)
          parent.__init(self)
          self.inner, self.outer = nn.Linear(3, n), nn.Linear(n, 2)
        end
        function Tower:updateOutput(input)
          self.output = self.outer:forward(nn.Tanh()(self.inner:forward(input)))
          return self.output
        end
        return nn.gModule({x}, {nn.Tower(4)(x)})""",
    "a class that is a container": """
        local Tower, parent = torch.class('nn.Tower', 'nn.Sequential')
        function Tower:__init(n)
          parent.__init(self)
          self:add(nn.Linear(3, n)):add(nn.Tanh())
          parent.add(self, nn.Linear(n, 2))
        end
        return nn.gModule({x}, {nn.Tower(4)(x)})""",
    "a class of a class, added to a container": """
        local Base, parent = torch.class('Base', 'nn.Module')
        function Base:__init(n) parent.__init(self) self.n = n self:build() end
        function Base:updateOutput(input) return self.net:updateOutput(input) end
        local Tower = torch.class('Tower', 'Base')
        function Tower:build()
          self.net = nn.Sequential():add(nn.Linear(3, self.n)):add(nn.Tanh()):add(nn.Linear(self.n, 2))
        end
        return nn.gModule({x}, {nn.Sequential():add(Tower(4))(x)})""",
    "a table in and out": """
        local Pair = torch.class('nn.Pair', 'nn.Module')
        function Pair:__init() self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2) end
        function Pair:updateOutput(input) return {self.a(input[1]), input[2]} end
        local h, y = nn.Pair()({x, x - nn.Identity()}):split(2)
        local pair = nn.gModule({x}, {nn.Linear(4, 2)(nn.Tanh()(h)), nn.Identity()(y)})
        local out, _ = pair(z):split(2)
        return nn.gModule({z}, {out})""",
}


@pytest.mark.parametrize("name", CLASSES)
def test_class(name: str) -> None:
    text = "local x, z = nn.Identity{'B', 3}(), nn.Identity{'B', 3}()\n" + CLASSES[name]
    model = graphspec.compile(text, dtype="float64")
    assert sorted(a.shape for a in model.parameters.values())[:4] == [(2,), (2, 4), (4,), (4, 3)]
    assert model(np.ones((5, 3))).shape == (5, 2)


def test_a_class_that_computes_with_values_is_told_what_to_do() -> None:
    text = """
    local Half = torch.class('nn.Half', 'nn.Module')
    function Half:updateOutput(input) return input:size(1) / 2 end
    local x = nn.Identity()()
    return nn.gModule({x}, {nn.Half()(x)})"""
    with pytest.raises(SpecError, match="a node has no field 'size'") as caught:
        graphspec.compile(text)
    assert caught.value.diagnostics[0].helps


OF = {
    "nn.Linear(2, 2), 'nn.Linear'": "true",
    "nn.Linear(2, 2), 'nn.Module'": "true",
    "nn.Linear(2, 2), nn.Module": "true",
    "nn.Linear(2, 2), 'nn.Tanh'": "false",
    "nn.Sequential():add(nn.Tanh()), 'nn.Container'": "true",
    "nn.MSECriterion(), 'nn.Criterion'": "true",
    "nn.Tower(), 'nn.Tower'": "true",
    "nn.Tower(), nn.Tower": "true",
    "nn.Tower(), 'nn.Base'": "true",
    "nn.Tower(), 'nn.Module'": "true",
    "nn.Tower(), 'nn.Linear'": "false",
    "torch.ones(2), 'torch.DoubleTensor'": "true",
    "{}, 'nn.Module'": "false",
    "nil, 'nn.Module'": "false",
}


@pytest.mark.parametrize("pair", OF)
def test_is_type_of(pair: str) -> None:
    classes = "torch.class('nn.Base', 'nn.Module')\ntorch.class('nn.Tower', 'nn.Base')\n"
    assert run(f"{classes}print(torch.isTypeOf({pair}))") == [OF[pair]]


def test_an_object_that_is_no_module() -> None:
    with pytest.raises(SpecError) as caught:
        run("local Plain = torch.class('Plain')\nfunction Plain:__init(n) self.n = n end\nprint(Plain(3).n)\nnn.Sequential():add(Plain(1))")
    assert caught.value.code == "E0216"
