"""The Pygments lexer: every spec in colour, no text lost, names told apart."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from pygments import lex
from pygments.lexers import get_lexer_by_name, get_lexer_for_filename
from pygments.token import Comment, Error, Keyword, Name, Number, String, Text

from graphspec.tools.lexer import SpecLexer
from lua_strategy import Programs

ROOT = Path(__file__).parent.parent
SPECS = sorted([*(ROOT / "specs").glob("*.spec"), *(ROOT / "tests" / "specs").glob("*.spec")])


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_specs_are_read_whole(path: Path) -> None:
    text = path.read_text()
    tokens = list(lex(text, SpecLexer(stripnl=False, ensurenl=False)))
    assert "".join(value for _, value in tokens) == text
    assert not [value for kind, value in tokens if kind in (Error, Text)]


def test_random_programs_are_read_whole() -> None:
    for number in range(100):
        text = Programs(random.Random(number)).text().replace("\r\n", "\n").replace("\r", "\n")  # as Pygments does itself
        tokens = list(lex(text, SpecLexer(stripnl=False, ensurenl=False)))
        assert "".join(value for _, value in tokens) == text
        assert not [value for kind, value in tokens if kind in (Error, Text)]


KINDS = [
    ("nn.Linear(3, 4)", "Linear", Name.Class),
    ("nn.Linear(3, 4)", "nn", Name.Namespace),
    ("h:split(2)", "split", Name.Function),
    ("local x = 1", "local", Keyword.Declaration),
    ("local options_of = 1", "options_of", Name),
    ("options { a = 1 }", "options", Name.Builtin),
    ("function T.f(x) end", "T.f", Name.Function),
    ("return nil", "nil", Keyword.Constant),
    ("x = 'it\\'s'", "'it\\'s'", String.Single),
    ("x = [==[ ]] ]==]", "[==[ ]] ]==]", String.Heredoc),
    ("-- note", "-- note", Comment.Single),
    ("--[[ a\nb ]]", "--[[ a\nb ]]", Comment.Multiline),
    ("x = 0xFF", "0xFF", Number.Hex),
    ("x = 1e-3", "1e-3", Number.Float),
    ("x = 12", "12", Number.Integer),
    ("x = 3..4", "3.", Number.Float),
]


@pytest.mark.parametrize(("text", "part", "kind"), KINDS)
def test_kinds(text: str, part: str, kind: object) -> None:
    assert (kind, part) in list(lex(text, SpecLexer()))


def test_pygments_finds_it_by_name_and_by_file() -> None:
    assert isinstance(get_lexer_by_name("graphspec"), SpecLexer)
    assert isinstance(get_lexer_for_filename("model.spec", "local x = nn.Identity()()"), SpecLexer)
