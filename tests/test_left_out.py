"""Modules of Torch that there are none of here: an error gives the reason."""

from __future__ import annotations

import re

import pytest

import graphspec
from graphspec.cli.main import COMMANDS
from graphspec.graph import LEFT_OUT, REGISTRY


@pytest.fixture(autouse=True)
def gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LEFT_OUT, "Gone", "it does what no spec can mean; write nn.Identity instead")


@pytest.mark.parametrize(
    "text",
    [
        "local x = nn.Identity{2}()\nreturn nn.gModule({x}, {nn.Gone()(x)})",
        "local Mine = torch.class('nn.Mine', 'nn.Gone')\nreturn nn.Mine()",
        "return nn.Sequential():add(nn.Gone(3))",
    ],
)
def test_the_reason_is_told(text: str) -> None:
    with pytest.raises(graphspec.SpecError) as failure:
        graphspec.compile(text)
    (problem,) = failure.value.diagnostics
    assert problem.code == "E0401" and "Gone" in problem.message
    assert list(problem.notes)[:1] == ["it does what no spec can mean; write nn.Identity instead"]
    assert problem.helps == ()


def test_what_is_left_out_is_not_there_and_each_reason_is_a_sentence() -> None:
    assert sorted(set(LEFT_OUT) & set(REGISTRY)) == []
    assert [name for name, reason in LEFT_OUT.items() if len(reason.split()) < 4] == []


def test_what_to_write_instead_is_there() -> None:
    for name, reason in LEFT_OUT.items():
        if name != "Gone":
            modules = set(re.findall(r"nn\.([A-Z]\w*)", reason)) - {name}
            assert modules <= set(REGISTRY), (name, modules - set(REGISTRY))
            assert set(re.findall(r"`graphspec ([\w-]+)", reason)) <= set(COMMANDS), (name, reason)
