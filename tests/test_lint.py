"""Warnings about locals: what is never read, and what hides another."""

from __future__ import annotations

import pytest

from graphspec.errors import Source
from graphspec.lang import parse
from graphspec.lang.lint import lint
from graphspec.open import open_spec

CASES = {
    # never read
    "local a = 1": ["W0219 1:7 a"],
    "local a, b = f()\nreturn b": ["W0219 1:7 a"],
    "local a\na = 3": ["W0219 1:7 a"],
    "local a = {}\na[1] = 3": [],
    "local a = {}\na.b.c = 3": [],
    "local function f() return f() end": [],
    "local function f() end": ["W0219 1:16 f"],
    "local a = 1\nlocal function f() return a end\nreturn f": [],
    "local a = 1\nreturn function() return function() return a end end": [],
    "for i = 1, 2 do end": [],
    "for k, v in pairs(t) do end": [],
    "local function f(x, y) end\nreturn f": [],
    "local _ = f()": [],
    "local _unused = f()": [],
    "local a = 1\nrepeat local b = 2 until a == b": [],
    "do local a = 1 end": ["W0219 1:10 a"],
    "if x then local a = 1 elseif y then local a = 2 else return 3 end": ["W0219 1:17 a", "W0219 1:43 a"],
    # hidden
    "local a = 1\nlocal a = 2\nreturn a": ["W0219 1:7 a", "W0220 2:7 a"],
    "local a = 1\nlocal a = g(a)\nreturn a": [],
    "local a = 1\nif a then local a = 2\nreturn a end": ["W0220 2:17 a"],
    "local i = 1\nfor i = 1, 2 do f(i) end\nreturn i": ["W0220 2:5 i"],
    "local a = 1\nlocal function f(a) return a end\nreturn f(a)": [],
    "local a = 1\nlocal function f() local a = 2 return a end\nreturn f(a)": [],
    "local _, a = f()\nlocal _, b = f()\nreturn a + b": [],
}


@pytest.mark.parametrize("text", CASES)
def test_warnings(text: str) -> None:
    source = Source("test.spec", text)
    found = lint(parse(source).block)
    assert [f"{w.code} {w.span.line}:{w.span.column} {w.span.text}" for w in found if w.span] == CASES[text]
    assert all(w.severity == "warning" for w in found)


def test_a_long_sum_is_no_deep_recursion() -> None:
    assert lint(parse(Source("test.spec", "local a = 1\nreturn a" + " + 1" * 20_000)).block) == []


def test_a_spec_has_them_and_an_old_file_is_spared() -> None:
    text = "local x = nn.Identity()()\nlocal y = 3\nreturn nn.gModule({x}, {nn.Tanh()(x)})"
    assert [w.code for w in open_spec(text).warnings] == ["W0219"]
    assert open_spec(text, lenient=True).warnings == []
