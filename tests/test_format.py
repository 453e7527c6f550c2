"""The formatter: one layout for every spec, no word and no comment changed, and a second run changes nothing."""

from __future__ import annotations

import os
import random
import stat
from pathlib import Path

import pytest

from graphspec.cli.main import main
from graphspec.errors import Source, SpecError
from graphspec.lang import parse
from graphspec.tools.format import WIDTH, check, format_source
from lua_strategy import Programs

ROOT = Path(__file__).parent.parent
SPECS = sorted([*(ROOT / "specs").glob("*.spec"), *(ROOT / "tests" / "specs").glob("*.spec")])


def laid_out(text: str, width: int = WIDTH) -> str:
    return format_source(Source("test.spec", text), width)


CASES = {
    "blanks": ("local  x=nn.Linear( 3,4 )( y )", "local x = nn.Linear(3, 4)(y)\n"),
    "indentation": ("if x then\ny=1\nelse\n      y=2 end", "if x then\n  y = 1\nelse\n  y = 2\nend\n"),
    "semicolons": ("local a = 1; local b = 2;", "local a = 1\nlocal b = 2\n"),
    "table separators": ("t = {1; 2, 3;}", "t = {1, 2, 3}\n"),
    "blank lines": ("local a = 1\n\n\n\nlocal b = 2", "local a = 1\n\nlocal b = 2\n"),
    "strings as they are": ("x = 'a' .. \"b\" .. [[c]]", "x = 'a' .. \"b\" .. [[c]]\n"),
    "numbers as they are": ("x = {0xFF, 1e3, .5}", "x = {0xFF, 1e3, .5}\n"),
    "call sugar": ("x = f{a=1} .. f'y'", "x = f{a = 1} .. f'y'\n"),
    "a comment behind": ("local x = 1     -- one", "local x = 1  -- one\n"),
    "a comment above": ("-- one\nlocal x = 1", "-- one\nlocal x = 1\n"),
    "nothing": ("", ""),
}


@pytest.mark.parametrize("name", CASES)
def test_layout(name: str) -> None:
    text, wanted = CASES[name]
    assert laid_out(text) == wanted


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_specs_keep_their_program_and_their_comments(path: Path) -> None:
    source = Source(str(path), path.read_text())
    once = format_source(source)
    check(source, parse(source), once)
    assert laid_out(once) == once
    assert path.stem == "lstm" or once == source.text, "run `graphspec fmt` over it"


@pytest.mark.parametrize("first", range(0, 300, 50))
def test_random_programs_are_laid_out_once_and_for_all(first: int) -> None:
    for number in range(first, first + 50):
        source = Source("test.spec", Programs(random.Random(number)).text())
        once = format_source(source)
        check(source, parse(source), once)
        assert laid_out(once) == once, number


def test_long_lines_are_broken_where_they_can_be() -> None:
    text = "local result = make(" + ", ".join(f"argument_{i}" for i in range(30)) + ")"
    lines = laid_out(text).splitlines()
    assert len(lines) > 3
    assert max(map(len, lines)) <= WIDTH


def test_a_syntax_error_is_the_parsers_own() -> None:
    with pytest.raises(SpecError) as caught:
        laid_out("local = 3")
    assert caught.value.code == "E0107"


# -- files -----------------------------------------------------------------------------------------------------------------

UGLY, PRETTY = "local  x=1", "local x = 1\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ugly.spec").write_text(UGLY)
    (tmp_path / "pretty.spec").write_text(PRETTY)
    return tmp_path


def test_files_are_rewritten_and_keep_their_mode(here: Path) -> None:
    (here / "ugly.spec").chmod(0o640)
    assert main(["fmt", "ugly.spec", "pretty.spec"]) == 0
    assert (here / "ugly.spec").read_text() == PRETTY
    assert stat.S_IMODE(os.stat(here / "ugly.spec").st_mode) == 0o640
    assert sorted(p.name for p in here.iterdir()) == ["pretty.spec", "ugly.spec"]


@pytest.mark.parametrize("flag", ["--check", "--diff"])
def test_what_only_looks_changes_nothing(here: Path, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fmt", flag, "ugly.spec", "pretty.spec"]) == (1 if flag == "--check" else 0) or flag == "--diff"
    assert (here / "ugly.spec").read_text() == UGLY
    said = capsys.readouterr().out
    assert "ugly.spec" in said and "pretty.spec" not in said
    assert main(["fmt", "--check", "pretty.spec"]) == 0


def test_one_bad_file_does_not_stop_the_others(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "bad.spec").write_text("local = 3")
    assert main(["fmt", "bad.spec", "ugly.spec", "missing.spec"]) == 1
    assert (here / "ugly.spec").read_text() == PRETTY
    assert (here / "bad.spec").read_text() == "local = 3"
    said = capsys.readouterr().err
    assert "E0107" in said and "E0801" in said
