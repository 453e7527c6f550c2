"""How the command line ends when it cannot say anything, is interrupted, may not enter a folder, or is mistaken: quietly, in a line, with
its code."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphspec.cli.main import COMMANDS, main
from test_cli import CHAR_LM, LINEAR, SMALL

LINES = {
    "compile": "linear.spec", "run": f"{CHAR_LM} {SMALL} --steps 2 --out second", "eval": "first", "sample": "first --length 5",
    "probe": "first --steps 3", "plot": "first", "runs": ".", "draw": "linear.spec", "check": "linear.spec", "fmt": "--diff ugly.spec",
    "doctor": "", "explain": "E0301", "profile": f"{CHAR_LM} {SMALL} --steps 1", "cache": "", "modules": "Linear", "check-module": "Linear",
    "weights": "first/checkpoints/best.safetensors", "predict": "first new.npz --node tokens",
}  # fmt: skip
"""A command line that prints something, for each command."""


@pytest.fixture
def elsewhere(tmp_path: Path, run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small spec, a corpus and a run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "linear.spec").write_text(LINEAR)
    (tmp_path / "ugly.spec").write_text(LINEAR.replace(" = ", "="))
    (tmp_path / "corpus.txt").write_text("the quick brown fox jumps over the lazy dog. " * 40)
    (tmp_path / "first").symlink_to(run_folder)
    np.savez(tmp_path / "new.npz", tokens=np.ones((5, 2), np.int32))
    return tmp_path


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    (folder / "corpus.txt").write_text("the quick brown fox jumps over the lazy dog. " * 40)
    small = SMALL.replace("corpus.txt", str(folder / "corpus.txt"))
    assert main(shlex.split(f"run {CHAR_LM} {small} --steps 2 --out {folder / 'first'}")) == 0
    return folder / "first"


def line(name: str) -> list[str]:
    if name in ("draw", "plot"):
        pytest.importorskip({"draw": "igraph", "plot": "matplotlib"}[name], reason="pictures need a package")
    return [name, *shlex.split(LINES[name])]


def test_every_command_that_prints_has_a_line_here() -> None:
    assert set(LINES) >= set(COMMANDS) - {"bench"}


# -- standard output -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [[], ["--json"]], ids=["text", "json"])
@pytest.mark.parametrize("name", LINES)
def test_a_full_disk_behind_standard_output(
    elsewhere: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str, more: list[str]
) -> None:
    with open("/dev/full", "w") as full, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", full)
        assert main([*line(name), *more]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "error[E0805]: standard output cannot be written: No space left on device"


@pytest.mark.parametrize("words", [[name] for name in LINES] + [["compile", "nowhere", "--json"], ["--version"]], ids=" ".join)
def test_standard_output_that_is_closed(
    elsewhere: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert main(line(words[0]) if words[0] in LINES and len(words) == 1 else words) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "error[E0805]: standard output cannot be written: it is closed"


@pytest.mark.parametrize("words", ["compile linear.spec", "compile nowhere --json", "--help", "--version"])
@pytest.mark.parametrize("where", ["> /dev/full", ">&-"])
def test_nothing_is_said_at_exit_besides(elsewhere: Path, words: str, where: str) -> None:
    """The interpreter flushes standard output once more when it ends."""
    done = subprocess.run(["sh", "-c", f"{shlex.quote(sys.executable)} -m graphspec {words} {where}"], capture_output=True, text=True)
    said = [text for text in done.stderr.splitlines() if text.startswith("error[E0805]: standard output cannot be written")]
    assert done.returncode == 1 and len(said) == 1 and "Traceback" not in done.stderr and "Exception" not in done.stderr


def test_without_standard_error_a_command_works_all_the_same(
    elsewhere: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["compile", "nowhere.spec"]) == 1
    assert main(["compile", "linear.spec"]) == 0
    assert "8 parameters" in capsys.readouterr().out


# -- Ctrl-C ----------------------------------------------------------------------------------------------------------------------


def test_a_reader_that_leaves_early_is_no_error() -> None:
    line = f"{shlex.quote(sys.executable)} -m graphspec compile {shlex.quote(CHAR_LM)} --emit ir | head -1"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("program") and done.stderr == ""


@pytest.mark.parametrize(
    ("words", "file"),
    [
        ("probe first --steps 3 -o new.svg", "new.svg"),
        ("bench --at B=2,T=3,H=4,V=5 --repeats 1 --out new.json", "new.json"),
        (f"profile {CHAR_LM} {SMALL} --steps 1 -o new.svg", "new.svg"),
        ("plot first -o new.svg", "new.svg"),
        ("draw linear.spec -o new.svg", "new.svg"),
        (f"weights first/checkpoints/best.safetensors --into {CHAR_LM} {SMALL} --map 'nothing = *:*; * = *' -o new.safetensors",
         "new.safetensors"),
    ],
)  # fmt: skip
def test_what_is_to_be_saved_is_saved_though_the_reader_leaves_early(
    elsewhere: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: str, file: str
) -> None:
    if file.endswith(".svg"):
        pytest.importorskip("igraph" if words.startswith("draw") else "matplotlib", reason="pictures need a package")
    assert unread(words, monkeypatch) == 0
    assert (elsewhere / file).stat().st_size > 100 and "error" not in capsys.readouterr().err


def unread(words: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of a command whose standard output nobody reads."""
    end, start = os.pipe()
    os.close(end)
    with monkeypatch.context() as patch, open(start, "w") as stdout:
        patch.setattr(sys, "stdout", stdout)
        return main(shlex.split(words))


def test_all_files_are_laid_out_though_the_reader_leaves_early(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere / "second.spec").write_text((elsewhere / "ugly.spec").read_text())
    assert unread("fmt ugly.spec second.spec", monkeypatch) == 0
    assert {(elsewhere / name).read_text() for name in ("ugly.spec", "second.spec")} == {LINEAR}


@pytest.mark.usefixtures("elsewhere")
def test_a_mistake_of_our_own_is_no_traceback(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise KeyError("matmul")

    monkeypatch.setattr("graphspec.cli.compile.make_plan", broken)
    code = main(["compile", "linear.spec"])
    assert (code, capsys.readouterr().err.splitlines()[0]) == (1, "error[E0901]: a mistake in graphspec itself: KeyError: 'matmul'")
    monkeypatch.setenv("GRAPHSPEC_TRACEBACK", "1")
    with pytest.raises(KeyError):
        main(["compile", "linear.spec"])


@pytest.mark.parametrize("module", ["graphspec.cli.main", "graphspec.cli.compile", "numpy", "graphspec.engine"])
def test_ctrl_c_while_modules_are_loaded(elsewhere: Path, module: str) -> None:
    """It comes when a module is asked for: before the program has its arguments, and after."""
    code = f"""
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {int(signal.SIGINT)})
sys.meta_path.insert(0, Finder())
sys.argv = ["graphspec", "compile", "linear.spec"]
from graphspec.__main__ import main
sys.exit(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr in ("", "interrupted\n")


# -- folders that may not be entered ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["eval locked", "sample locked", "probe locked", "compile locked/a.spec", "fmt locked/a.spec"])
def test_a_folder_that_may_not_be_entered(
    elsewhere: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    """As the system says it to all but root, who may enter every folder."""
    (elsewhere / "locked").mkdir()
    stat = os.stat

    def denied(path: Any, *more: Any, **named: Any) -> Any:
        if isinstance(path, (str, Path)) and "locked" in Path(path).parts[:-1]:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
        return stat(path, *more, **named)

    monkeypatch.setattr(os, "stat", denied)
    assert main(words.split()) == 1
    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith("error[E0801]: locked") and first.endswith("cannot be read: Permission denied")


# -- what is no file -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("compile zero", "error[E0507]: zero is larger than 4,000,000 bytes"),
        ("eval zero", "error[E0801]: zero cannot be read: it is not a file"),
        ("sample pipe", "error[E0801]: pipe cannot be read: it is not a file"),
    ],
)
def test_what_has_no_end_is_not_read_to_it(
    elsewhere: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: str, told: str
) -> None:
    """Nor is waited for whoever may write into a pipe."""
    Path("zero").symlink_to("/dev/zero")
    os.mkfifo("pipe")
    monkeypatch.setattr(Path, "read_bytes", None)  # all of it, at once
    assert main(words.split()) == 1
    assert capsys.readouterr().err.splitlines()[0] == told
