"""A field of a module that nobody knows, and nothing reads, is told (W0221); what a spec uses, and what is on its own objects, is not."""

from __future__ import annotations

import pytest

import graphspec

TEXT = """
local x = nn.Identity{{'B', 3}}()
local layer, drop = nn.Linear(3, 2), nn.Dropout(0.5)
{}
return nn.gModule({{x}}, {{drop(layer(x))}})
"""
UNUSED = "nn.Linear has no field 'tag', and nothing reads it"


@pytest.mark.parametrize(
    ("text", "told", "hint"),
    [
        ("layer.weigth = 3", ["nn.Linear has no field 'weigth', and nothing reads it"], "did you mean `weight`?"),
        ("drop.probability = 0.1", ["nn.Dropout has no field 'probability', and nothing reads it"], None),
        ("for i = 1, 3 do layer.tag = i end", [UNUSED], None),
        ("layer.tag = 'first'\nlocal _ = layer.tag", [], None),
        ("layer.tag = 1\nlayer:apply(function(m) m.tag = (m.tag or 0) + 1 end)", [], None),
        ("layer.accGradParameters = function() end", ["nn.Linear has no field 'accGradParameters', and nothing reads it"],
         "what is not to be trained stands before an `nn.ZeroGrad()`, which lets no gradient through"),
        ("layer.tag = nil", [], None),
        ("drop.p = 0.1", [], None),
        ("layer.gradWeight = nil", [], None),
        ("local Mine = torch.class('nn.Mine', 'nn.Sequential')\nlocal mine = nn.Mine()\nmine.tag = 3\nmine:add(layer)", [], None),
        ("local box = {}\nbox.tag = layer", [], None),
    ],
)  # fmt: skip
def test_what_is_told(text: str, told: list[str], hint: str | None) -> None:
    warnings = [w for w in graphspec.compile(TEXT.format(text)).warnings if w.code == "W0221"]
    assert [w.message for w in warnings] == told
    assert [help for w in warnings for help in w.helps] == ([hint] if hint else [])


def test_an_old_file_keeps_what_it_likes() -> None:
    model = graphspec.compile(TEXT.format("layer.tag = 3"), lenient=True)
    assert not [w for w in model.warnings if w.code == "W0221"]


def test_train_is_a_field_that_modules_have() -> None:
    graph = graphspec.compile(TEXT.format("drop.train = false\nassert(drop.train == false and layer.train)"))
    assert not graph.warnings
    x = [[1.0, 2.0, 3.0]] * 50
    assert len({tuple(row) for row in graph(x).tolist()}) == 1
