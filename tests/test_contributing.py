"""What CONTRIBUTING.md says of a module of one's own, done as it stands there."""
# ruff: noqa: F811  (fixtures are used by their names)

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import graphspec
from graphspec.graph import load_plugin
from graphspec.graph.lookup import GROUP
from test_plugins import clean, said  # noqa: F401

ROOT = Path(__file__).parent.parent
SECTION = (ROOT / "CONTRIBUTING.md").read_text().split("## A module of your own\n")[1].split("\n## ")[0]
BLOCKS = {name or kind: text for kind, name, text in re.findall(r"^```(\w*) ?(\S*)\n(.*?)^```$", SECTION, re.M | re.S)}


def test_a_module_of_ones_own(said: Any, tmp_path: Path) -> None:
    assert set(BLOCKS) == {"highway.spec", "mylayers.py", "", "toml"}
    for name in ("highway.spec", "mylayers.py"):
        assert len(BLOCKS[name].splitlines()) < 15
        (tmp_path / name).write_text(BLOCKS[name])
    lines = BLOCKS[""].splitlines()
    assert len(lines) >= 3
    for line in lines:
        code, out, err = said(line.removeprefix("graphspec "))
        assert code == 0, (line, out, err)


def test_the_entry_point_is_the_one_that_is_looked_for(tmp_path: Path, monkeypatch: Any) -> None:
    (points,) = tomllib.loads(BLOCKS["toml"])["project"]["entry-points"].items()
    assert points == (GROUP, {"mylayers": "mylayers"})
    (tmp_path / "mylayers.py").write_text(BLOCKS["mylayers.py"])
    monkeypatch.syspath_prepend(tmp_path)
    load_plugin("mylayers")
    model = graphspec.compile(BLOCKS["highway.spec"])
    assert model.opened.plugins == ("mylayers",) and any("beta" in name for name in model.parameters)


def test_a_class_composes_modules_as_is_said() -> None:
    assert "torch.class('nn.Highway', 'nn.Module')" in SECTION
    text = """
local Highway = torch.class('nn.Highway', 'nn.Module')
function Highway:__init(n)
  self.net = nn.Sequential():add(nn.Linear(n, n)):add(nn.Tanh())
end
function Highway:updateOutput(x)
  return self.net:forward(x)
end
local x = nn.Identity{'B', 3}()
return nn.gModule({x}, {nn.Highway(3)(x)})
"""
    assert len(graphspec.compile(text).parameters) == 2
