"""``graphspec compile --why``: products that stay in loops, and why."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from compiled import NEEDS_COMPILER
from graphspec.passes import optimise
from graphspec.passes.kept import kept
from test_cli import elsewhere, run  # noqa: F401  (fixtures)
from test_passes import PROGRAMS

ROOT = Path(__file__).parent.parent
LSTM = f"{ROOT}/specs/char_lm.spec rnn_size=4"
BAHDANAU = f"{ROOT}/tests/specs/bahdanau.spec --backward"
GRU = """
local function cell()
  local x, h = nn.Identity{'B', 3}(), nn.Identity()()
  local z = nn.Sigmoid()(nn.CAddTable()({nn.Linear(3, 4)(x), nn.Linear(4, 4)(h)}))
  local r = nn.Sigmoid()(nn.CAddTable()({nn.Linear(3, 4)(x), nn.Linear(4, 4)(h)}))
  local n = nn.Tanh()(nn.CAddTable()({nn.Linear(3, 4)(x), nn.Linear(4, 4)(nn.CMulTable()({r, h}))}))
  local next_h = nn.CAddTable()({n, nn.CMulTable()({z, nn.CSubTable()({h, n})})})
  return nn.gModule({x, h}, {nn.Identity()(next_h), next_h})
end
local xs = nn.Identity{'T', 'B', 3}()
local ys, _ = nn.Scan(cell()){xs = xs}:split(2)
return nn.gModule({xs}, {ys})
"""

SCORES = """
local x, h = nn.Identity{'B', 'S', 2}(), nn.Identity{'B', 'S'}()
local scores = nn.MM(false, true)({x, nn.MulConstant(2)(x)})
local next_h = nn.Tanh()(nn.CAddTable()({h, nn.Max(3)(scores)}))
local cell = nn.gModule({x, h}, {nn.Identity()(next_h), next_h})
local xs, h0 = nn.Identity{'T', 'B', 'S', 2}(), nn.Identity()()
local ys, _ = nn.Scan(cell)({xs, h0}):split(2)
return nn.gModule({xs, h0}, {ys})
"""


@pytest.mark.parametrize(("spec", "wanted"), [
    (LSTM, [("lstm.spec:6", "[B, 4] x [4, 16]", "waits for the step before, through lstm.spec:11, 15"),
            ("lstm.spec:6", "[B, 16] x [16, 4]", "waits for the step before, through lstm.spec:6, 12 (going back)")]),
    ("gru.spec", [("gru.spec:3-4", "[B, 4] x [4, 8]", "waits for the step before, through gru.spec:6"),
                  ("gru.spec:5", "[B, 4] x [4, 4]", "waits for the step before, through gru.spec:6")]),
    ("scores.spec", [("scores.spec:2", "[B, S, 2] x [B, 2, S]", "all steps at once would need memory for [T, B, S, S]")]),
    (BAHDANAU, [("bahdanau.spec:25", "[1, B*S] x [B*S, 4]", "both operands change in every step (going back)")]),
])  # fmt: skip
def test_why_products_stay_in_loops(run: Any, spec: str, wanted: list[tuple[str, str, str]]) -> None:  # noqa: F811
    for name, text in (("gru.spec", GRU), ("scores.spec", SCORES)):
        Path(name).write_text(text.strip("\n") + "\n")
    found = [tuple(one.values()) for one in run(f"compile {spec} --device numpy --why --json").json["loops"]]
    assert set(wanted) <= set(found)
    said = run(f"compile {spec} --device numpy --why").out
    assert f"  {len(found)} product{'s' * (len(found) > 1)} left in loops over time:" in said
    assert all(word in said for one in found for word in one)


PAST = """
local x, s = nn.Identity()(), nn.Identity()()
local h, past = s:split(2)
local weights = nn.SoftMax()(nn.MV()({past, nn.Linear(4, 4)(h)}))
local next_h = nn.Tanh()(nn.CAddTable()({nn.Linear(3, 4)(x), nn.MV(true)({past, weights})}))
local next_past = nn.JoinTable(2)({nn.Narrow(2, 2, 4)(past), nn.Replicate(1, 2)(next_h)})
local cell = nn.gModule({x, s}, {nn.Identity()(next_h), nn.Identity()({next_h, next_past})})
local xs, s0 = nn.Identity{'T', 'B', 3}(), nn.Identity()()
local ys, _ = nn.Scan(cell)({xs, s0}):split(2)
return nn.gModule({xs, s0}, {ys})
"""


@NEEDS_COMPILER
def test_products_that_kernels_do_are_counted_once_each(run: Any) -> None:  # noqa: F811
    """What is left in loops by the count of passes and by the list is the same number, but for those that kernels beside do."""
    Path("past.spec").write_text(PAST.strip("\n") + "\n")
    said = run("compile past.spec --why --backward --device native").out
    form = r"waits for the one before: \d+ became (\d+)\n.* (\d+) products left in loops over time, (\d+) of them in the kernels beside:"
    found = re.search(form, said, re.DOTALL)
    assert found is not None
    left, listed, beside = map(int, found.groups())
    assert listed - beside == left and beside > 0 and said.count("waits for the step before") == listed


def test_of_a_model_without_loops_nothing_is_left(run: Any) -> None:  # noqa: F811
    assert run("compile linear.spec --why").out.endswith("0 products left in loops over time\n")
    assert "left in loops" not in run("compile linear.spec").out


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_what_could_leave_its_loop_has_left_it(name: str) -> None:
    """Each product in a loop is told of once, and looking for the reason changes nothing."""
    program, same = PROGRAMS[name](), PROGRAMS[name]()
    optimise(same)
    left: list[Any] = []
    optimise(program, kernels=True, left=left)
    found = kept(same)
    assert [(one.left, one.right, one.why) for one in found] == [(one.left, one.right, one.why) for one in left]
    assert all(one.through or not one.why.startswith("waits") for one in found)
