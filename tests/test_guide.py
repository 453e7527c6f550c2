"""docs/guide.md, command by command, on data of a user's own; with fewer steps and smaller models than it says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import graphspec
from graphspec.cli.main import main

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "docs" / "guide.md").read_text()
ARRAYS = re.findall(r"```lua\n(.*?)```", GUIDE, re.S)
SMALLER = {
    "char_lm": "data.batch=4 data.seq_len=12 rnn_size=12 n_layers=1", "word_lm": "data.batch=4 data.seq_len=8 rnn_size=12 n_layers=1",
    "translate": "embedding=8 hidden=8 cell=16 align=8 data.batch=8", "digits": "",
    "signs": "",
}  # fmt: skip


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data of a user, in a folder that is not ours."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "specs").symlink_to(ROOT / "specs")
    (tmp_path / "book.txt").write_text("The quick brown fox jumps over the lazy dog, and Zoë sleeps.\n" * 60, encoding="utf-8")
    (tmp_path / "other.txt").write_text("The lazy fox sleeps.\n" * 30)
    numbers = [("one", "eine"), ("two", "zwei"), ("three", "drei"), ("four", "vier")]
    things = [("cat", "Katze"), ("cats", "Katzen"), ("houses", "Häuser"), ("trees", "Bäume"), ("dogs", "Hunde")]
    pairs = [f"{n} {thing}\t{m} {ding}\tnoted" for n, m in numbers for thing, ding in things]
    (tmp_path / "pairs.tsv").write_text("\n".join(pairs) + "\n", encoding="utf-8")
    draw = np.random.default_rng(1)
    np.savez(tmp_path / "digits.npz", pixels=draw.random((90, 8)), label=draw.integers(1, 11, 90))
    np.savez(tmp_path / "photos.npz", image=draw.random((90, 3, 16, 16)), label=draw.integers(1, 5, 90))
    np.savez(tmp_path / "signs.npz", pixels=draw.random((90, 8)), label=draw.integers(1, 4, 90))
    (tmp_path / "digits.spec").write_text(ARRAYS[0])
    (tmp_path / "signs.spec").write_text(ARRAYS[2])
    return tmp_path


def commands() -> list[str]:
    """What stands in blocks, in order, then what stands in the text."""
    found = [line for kind, body in re.findall(r"^```(.*)\n((?:(?!```).*\n)*)```$", GUIDE, re.M) if not kind for line in body.splitlines()]
    return [*found, *re.findall(r"`(graphspec eval [^`]*)`", GUIDE)]


def test_every_command_of_the_guide_works(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = commands()
    assert len(lines) > 14
    folders: set[str] = set()
    for line in lines:
        words = shlex.split(line)[1:]
        if words[0] == "run":
            name = Path(words[1]).stem
            given = {word.split("=")[0] for word in words if "=" in word}
            words += [option for option in SMALLER[name].split() if option.split("=")[0] not in given]
            at = words.index("--steps")
            out = words[words.index("--out") + 1]
            words[at + 1] = "8" if out in folders else "6"
            folders.add(out)
        assert main(words) == 0, (line, capsys.readouterr().err)
    said = capsys.readouterr()
    assert "runs/book" in said.out and "runs/small" in said.out
    given, held = (graphspec.weights.read(run) for run in ("runs/digits", "runs/signs"))
    assert all((given[f"Linear.{part}"] == held[f"body.{part}"]).all() for part in ("weight", "bias"))
    assert (mine / "alignment.svg").stat().st_size > 1000 and (mine / "both.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("block", ARRAYS, ids=["digits", "photos", "signs"])
def test_arrays_of_the_guide(mine: Path, block: str) -> None:
    (mine / "model.spec").write_text(block)
    assert main(["run", "model.spec", "--steps", "5", "--out", "runs/model"]) == 0
    assert main(["eval", "runs/model", "--whole"]) == 0


def test_a_table_becomes_arrays(mine: Path) -> None:
    rows = np.arange(90 * 8).reshape(90, 8).astype(str)
    Path("digits.csv").write_text("a,b,c,d,e,f,g,h,class\n" + "".join(f"{','.join(row)},{i // 9 + 1}\n" for i, row in enumerate(rows)))
    (text,) = re.findall(r"```python\n(.*?)```", GUIDE, re.S)
    exec(text, {"np": np})
    assert main(["run", "digits.spec", "--steps", "2", "--out", "runs/table"]) == 0
    assert len(set(np.load("digits.npz")["label"][-9:])) > 1


def test_what_the_readme_says_of_a_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Whichever 4 becomes a 5, the error is the one that the README names."""
    monkeypatch.chdir(tmp_path)
    readme = (ROOT / "README.md").read_text()
    (spec,) = re.findall(r"```lua\n(.*?)```", readme, re.S)
    (code,) = re.findall(r"graphspec explain (E\d+)", readme)
    places = [match.start() for match in re.finditer(r"\b4\b", spec)]
    assert len(places) > 1
    for place in places:
        Path("gru.spec").write_text(spec[:place] + "5" + spec[place + 1 :])
        assert main(["compile", "gru.spec"]) == 1
        assert capsys.readouterr().err.startswith(f"error[{code}]")
