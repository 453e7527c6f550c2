"""Syntax errors: every independent one, at its place, in the words of somebody who knows what was meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphspec.errors import Diagnostic, Source, SpecError
from graphspec.lang import parse


def problems(text: str) -> list[Diagnostic]:
    with pytest.raises(SpecError) as caught:
        parse(Source("test.spec", text))
    return list(caught.value.diagnostics)


def places(text: str) -> list[str]:
    return [f"{d.code} {d.span.line}:{d.span.column}" for d in problems(text) if d.span]


CASES = {
    # what is missing, found by trying; where its partner was opened
    "local x = nn.Linear(3, 4\nlocal y = 5": ("E0107 2:1", "`)` is missing before `local`"),
    "local x = {1, 2\nlocal y = 5": ("E0107 2:1", "`}` is missing before `local`"),
    "local x = t[3\nlocal y = 5": ("E0107 2:1", "`]` is missing before `local`"),
    "local t = {1, 2, {3}\nreturn t": ("E0107 2:1", "`}` is missing before `return`"),
    "if x then\n  y = 1\n": ("E0107 2:8", "`end` is missing before the end of the file"),
    "while true x = 1 end": ("E0107 1:12", "`do` is missing before `x`"),
    "if x y = 1 end": ("E0107 1:6", "`then` is missing before `y`"),
    "for i = 1 10 do end": ("E0107 1:11", "`,` is missing before `10`"),
    "f({1 2})": ("E0107 1:6", "`,` is missing before `2`"),
    "local = 3": ("E0107 1:7", "a name is missing before `=`"),
    # what has no meaning
    "local 3 = x": ("E0101 1:7", "unexpected `3`"),
    "local x = ": ("E0107 1:10", "an expression is missing before the end of the file"),
    "local x = 3 $ 4": ("E0109 1:13", "the character '$' has no meaning in Lua"),
    "local é = 3": ("E0109 1:7", "the character 'é' has no meaning in Lua"),
    # strings and comments without an end
    "local s = 'abc\nreturn s": ("E0108 1:11", "this string is not closed on its line"),
    "local s = [[abc\nreturn s": ("E0108 1:11", "this long string is never closed"),
    "local s = 1 --[[ abc\nreturn s": ("E0108 1:13", "this long comment is never closed"),
    # other languages
    "if x = 3 then end": ("E0106 1:6", "`=` inside an expression"),
    "f(name=3)": ("E0106 1:7", "`=` inside an expression"),
    "def f(x):\n  return x": ("E0105 1:1", "`def` is Python, not Lua"),
    "if x then y = 1\nelif y then end": ("E0105 2:1", "`elif` is Python, not Lua"),
    "if x == 3:\n  y = 1\nend": ("E0105 1:10", "`:` is Python, not Lua"),
    "for i in x:\n  y = 1": ("E0105 1:11", "`:` is Python, not Lua"),
    "local x = 3\nif true:\n  y = 1\nend": ("E0105 2:8", "`:` is Python, not Lua"),
    "local x = 3\nfor i in range(3):\n  local y = i\n": ("E0105 2:18", "`:` is Python, not Lua"),
    "local x = 3\nfor i = 1, 3:\n  local y = i\n": ("E0105 2:13", "`:` is Python, not Lua"),
    "local f = lambda x: 3": ("E0105 1:11", "`lambda` is Python, not Lua"),
    "import torch": ("E0105 1:1", "`import` is Python, not Lua"),
    "if x != 3 then end": ("E0105 1:6", "`!=` is not Lua"),
    "if !x then end": ("E0105 1:4", "`!` is not Lua"),
    "x += 1": ("E0105 1:3", "`+=` is not Lua"),
    "local x = [1, 2]": ("E0105 1:11", "`[` does not start a list"),
    "# a comment\nlocal x = 3": None,  # the first line may be for a shell
    "local x = 3\n# a comment": ("E0105 2:1", "`#` does not start a comment"),
    "local x = 3 // a comment": ("E0105 1:14", "`//` does not start a comment"),
}


@pytest.mark.parametrize("text", CASES)
def test_place_and_words(text: str) -> None:
    wanted = CASES[text]
    if wanted is None:
        parse(Source("test.spec", text))
        return
    assert places(text) == [wanted[0]]
    (problem,) = problems(text)
    assert problem.message == wanted[1]
    if problem.code == "E0105":
        assert problem.helps


@pytest.mark.parametrize(("text", "told"), [
    ("local m = nn.Linear(in_features=4, 3)", "take arguments by place: `nn.Linear(4, 3)`"),
    ("local m = nn.Identity(dtype='int32')", "names go into a table"),
    ("local m = f(a=3)", "to compare, write `==`"),
])  # fmt: skip
def test_a_named_argument_is_told_how_it_is_given(text: str, told: str) -> None:
    (problem,) = problems(text)
    assert problem.code == "E0106" and told in " ".join(problem.helps)


def test_the_opener_is_shown() -> None:
    (problem,) = problems("local x = f(g(1, 2)\nlocal y = 3")
    assert [(b.text, b.span.text, b.span.column) for b in problem.labels if not b.primary] == [("opened here", "(", 12)]


def test_of_blocks_the_one_whose_end_is_not_indented_as_it_is() -> None:
    text = "local function f(x)\n  if x then\n    return 1\nend\n\nlocal function g()\n  return 2\nend\nreturn f"
    (problem,) = problems(text)
    assert problem.message == "`end` is missing before the end of the file"
    assert [b.span.line for b in problem.labels if not b.primary] == [2]


def test_independent_errors_are_told_together() -> None:
    text = """
local a = nn.Linear(3, 4
local b = f(name=3)
local function g(x)
  if x != 3 then
    y += 1
  end
end
local c = {1, 2
local d = 'abc
return 3 $
"""
    assert places(text) == ["E0107 3:1", "E0105 5:8", "E0105 6:7", "E0107 10:1", "E0108 10:11", "E0109 11:10"]


def test_one_error_does_not_cause_others() -> None:
    text = "local function f(x y)\n  if x then return 1 end\n  for i = 1, 2 do print(i) end\n  return 2\nend\nreturn f"
    assert len(places(text)) == 1


def test_at_most_twenty() -> None:
    assert len(places("local = 3\n" * 100)) == 20


SOURCE = """
local function cell(x, s)
  local i2h, h2h = nn.Linear(4, 8)(x), nn.Linear(8, 8)(s)
  if x then return nn.Tanh()(nn.CAddTable()({i2h, h2h})) else return {a = 1, [2] = 'x', "y"; 3} end
end
for i = 1, 3 do local t = {[0] = -x^2 .. 'a' , f{1}, f'x', t.y:z(1), not #t == 3 and 4 or ...} end
while a < b do repeat x.y = function(...) return ... end until x ~= y break end
return cell
"""


@given(st.data())
def test_any_damage_is_told_with_code_and_place(data: st.DataObject) -> None:
    """Cut, doubled or swapped tokens: a parse, or errors with code and place; never anything else."""
    text = SOURCE
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        length = data.draw(st.integers(0, 6))
        text = text[:at] + data.draw(st.sampled_from(["", "end", "}", ")", " = ", "'", "[[", "!", "local ", ","])) + text[at + length :]
    try:
        parse(Source("test.spec", text))
    except SpecError as failure:
        told = failure.diagnostics
    else:
        told = ()
    spans = [d.span for d in told if d.span is not None]
    assert len(spans) == len(told)
    assert all(d.code.startswith("E0") for d in told)
    assert all(0 <= span.start <= span.end <= len(text) + 1 for span in spans)
