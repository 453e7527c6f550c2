"""Each page of docs/errors is a test: its specs, under their names, and the exact text that its commands print."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from graphspec.cli.main import main
from graphspec.codes import CODES

PAGES = Path(__file__).parent.parent / "docs" / "errors"
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.M | re.S)


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda page: page.stem)
def test_a_page_shows_what_is_printed(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = page.read_text()
    assert text.startswith(f"# {page.stem}: {CODES[page.stem]}\n")
    shown = 0
    for kind, name, body in BLOCK.findall(text):
        if kind != "console":
            path = tmp_path / (name or "model.spec")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(body)
            continue
        command, _, wanted = body.partition("\n")
        capsys.readouterr()
        main(shlex.split(command.removeprefix("$ graphspec ")))
        said = capsys.readouterr()
        assert said.out + said.err == wanted
        shown += f"[{page.stem}]" in wanted
    assert shown, "no example shows this code"
