"""Each page of docs/errors is a test: its files, under their names, and the exact text that its commands print.

``GRAPHSPEC_UPDATE_PAGES=1`` writes what is printed into the pages, instead of comparing: look at the difference before you commit it.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import graphspec
from graphspec.cli.main import main
from graphspec.codes import CODES
from graphspec.nn import registry

PAGES = Path(__file__).parent.parent / "docs" / "errors"
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.M | re.S)
UPDATE = os.environ.get("GRAPHSPEC_UPDATE_PAGES") == "1"
ELSEWHERE = {
    "E0618": "tests/test_data_text.py",
    "E0703": "tests/test_api.py",
    "E0808": "tests/test_cli.py",
    "E0809": "tests/test_lock.py",
    "E0820": "tests/test_cli.py",
    "E0840": "tests/test_bench.py",
    "E0841": "tests/test_bench.py",
    "E0901": "tests/test_cli_ends.py",
    "W0622": "tests/test_stepwise.py",
    "W0705": "tests/test_checkpoint.py",
    "W0711": "tests/test_run.py",
    "W0809": "tests/test_lock.py",
}
"""Codes that no short example shows, because they need a broken file, machine or program; and the test that does."""


def test_every_code_has_its_page_and_every_page_its_code() -> None:
    assert {page.stem for page in PAGES.glob("*.md")} == set(CODES)


@pytest.mark.parametrize("code", ELSEWHERE)
def test_what_no_page_shows_is_tested_elsewhere(code: str) -> None:
    assert code in (PAGES.parent.parent / ELSEWHERE[code]).read_text()


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Plugins of a page are forgotten after it."""
    before = set(registry)
    yield
    for name in set(registry) - before:
        sys.modules.pop(type(registry.pop(name)).__module__, None)


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[[str], str]:
    """What a command line prints; ``> /dev/null`` is for those that only prepare."""

    def run(line: str) -> str:
        capsys.readouterr()
        main(shlex.split(line.removeprefix("$ graphspec ").removesuffix(" > /dev/null")))
        said = capsys.readouterr()
        return "" if line.endswith("/dev/null") else said.out + said.err

    return run


def raised(code: str) -> str:
    """The error that a piece of Python ends with, as a notebook shows it."""
    try:
        exec(code, {})
    except graphspec.SpecError as failure:
        return f"{failure}\n"
    return ""


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda page: page.stem)
def test_a_page_shows_what_is_printed(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: Callable[[str], str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRAPHSPEC_CPU", "numpy")  # how many instructions there are depends on the device
    text = page.read_text()
    assert text.startswith(f"# {page.stem}: {CODES[page.stem]}\n")
    shown, waiting = "", ""

    def block(match: re.Match[str]) -> str:
        nonlocal shown, waiting
        kind, name, body = match.groups()
        found = body
        if kind == "console":
            command, _, _ = body.partition("\n")
            found = f"{command}\n{printed(command)}"
        elif kind == "python":
            waiting = raised(body)
        elif kind == "text" and name is None:
            found = waiting
        elif kind == "bytes":
            (tmp_path / name).write_bytes(bytes.fromhex(body))
        elif name == "instead.spec":
            graphspec.compile(body)
        else:
            path = tmp_path / (name or "model.spec")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(body)
        shown += found if kind in ("console", "text") else ""
        whole, start = match.group(), match.start(3) - match.start()
        return whole[:start] + found + whole[start + len(body) :]

    updated = BLOCK.sub(block, text)
    if UPDATE:
        page.write_text(updated)
    assert updated == text
    assert f"[{page.stem}]" in shown or page.stem in ELSEWHERE, "no example shows this code"
