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
