"""C compiled on the machine: what is kept, for how long, and what a machine may lack."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import re
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from graphspec.cli.main import main
from graphspec.errors import Source, SpecError
from graphspec.lang.parser import grammar, parse
from graphspec_runtime import PlanError, cache, compiler, open_device

try:
    compiler.find_compiler()
except PlanError:
    pytest.skip("there is no C compiler", allow_module_level=True)

SOURCE = "int number(void); int number(void) { return %d; }\n"


def forget() -> None:
    for function in (compiler.find_compiler, compiler.about, compiler.identity):
        function.cache_clear()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, in a process that asked no compiler anything yet."""
    forget()
    monkeypatch.setenv("GRAPHSPEC_CACHE", str(tmp_path / "kept"))
    monkeypatch.delenv("GRAPHSPEC_CACHE_SIZE", raising=False)
    yield tmp_path / "kept"
    forget()


def built(number: int) -> Path:
    return compiler.built(compiler.find_compiler(), SOURCE % number)


def program(path: Path, text: str) -> Path:
    """A file that can be run, or is to be tried."""
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def suffixes(folder: Path) -> list[str]:
    return sorted(path.suffix for path in folder.iterdir())


# -- what is kept ----------------------------------------------------------------------------------------------------------------


def test_what_is_compiled_is_kept(folder: Path) -> None:
    library = built(1)
    made = library.stat().st_mtime_ns
    assert built(1) == library and library.stat().st_mtime_ns == made
    assert built(2) != library
    assert suffixes(folder) == [".json", ".so", ".so"]
    assert ctypes.CDLL(str(library)).number() == 1


def test_other_flags_are_another_library(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = built(1)
    monkeypatch.setattr(compiler, "FLAGS", (*compiler.FLAGS, "-DOTHER"))
    compiler.identity.cache_clear()
    assert built(1) != library


def test_where_nothing_can_be_kept_each_process_compiles_anew(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GRAPHSPEC_CACHE", str(tmp_path / "file" / "below"))
    library = built(3)
    assert ctypes.CDLL(str(library)).number() == 3 and built(3) == library
    (line,) = [record.message for record in caplog.records if "cannot be kept in" in record.message]
    assert str(tmp_path / "file" / "below") in line
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    compiler._folder_of_the_process.cache_clear()
    with pytest.raises(PlanError, match="nothing can be compiled in") as caught:
        built(4)
    assert caught.value.kind == "device"


def test_a_full_folder_is_as_one_that_cannot_be_written(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A linker on a full disk fails as any compiler does."""
    text = f'#!/bin/sh\ncase "$*" in *{folder}*) exit 1;; esac\nexec {compiler.find_compiler()[0]} "$@"\n'
    words = (str(program(tmp_path / "cc", text)),)
    with pytest.raises(PlanError, match="it says nothing but exit status 1"):
        compiler.built(words, SOURCE % 3)
    monkeypatch.setattr(compiler, "ROOM", 10**18)
    assert ctypes.CDLL(str(compiler.built(words, SOURCE % 3))).number() == 3


def test_what_does_not_compile(folder: Path) -> None:
    with pytest.raises(PlanError, match=r"does not compile what was printed for it:\n.*error"):
        compiler.built(compiler.find_compiler(), "int gs_plan(")
    assert suffixes(folder) == [".json"]


def test_processes_that_compile_at_once(folder: Path) -> None:
    script = "import sys; from graphspec_runtime import compiler; print(compiler.built(compiler.find_compiler(), sys.argv[1]))"
    running = [subprocess.Popen([sys.executable, "-c", script, SOURCE % 4], stdout=subprocess.PIPE) for _ in range(4)]
    answers = {process.communicate(timeout=120)[0] for process in running}
    assert len(answers) == 1 and all(process.returncode == 0 for process in running)
    assert suffixes(folder) == [".json", ".so"]


@pytest.mark.parametrize("damage", ["empty", "text", "cut off", "cut off early", "a page of zeros", "longer", "another's"])
def test_a_damaged_library_is_made_again(folder: Path, damage: str) -> None:
    """In a process of its own: one that loads half a library is killed by the system."""
    library = built(5)
    whole = library.read_bytes()
    damaged = {
        "empty": b"", "text": b"no library", "cut off": whole[: len(whole) // 2], "cut off early": whole[:1000],
        "a page of zeros": whole[:4096] + bytes(4096) + whole[8192:], "longer": whole + b"x",
        "another's": built(6).read_bytes()[:-1] + b"x",
    }  # fmt: skip
    library.write_bytes(damaged[damage])
    script = "import sys; from graphspec_runtime import compiler as c; sys.exit(c.loaded(c.find_compiler(), sys.argv[1]).number())"
    done = subprocess.run([sys.executable, "-c", script, SOURCE % 5], capture_output=True, text=True, timeout=120)
    assert done.returncode == 5, done.stderr
    assert library.read_bytes()[-32:] == hashlib.sha256(library.read_bytes()[:-32]).digest()


# -- compilers that are none -------------------------------------------------------------------------------------------------------


BAD: dict[str, tuple[str, str]] = {
    "hangs": ("#!/bin/sh\nexec sleep 60\n", "took more than 1 second"),
    "says nothing and makes nothing": ("#!/bin/sh\nexit 0\n", "made nothing, and said nothing"),
    "says nothing": ("#!/bin/sh\nexit 3\n", "does not compile what was printed for it; it says nothing but exit status 3"),
    "makes garbage": ('#!/bin/sh\nfor word; do last=$file; file=$next; next=$word; done\necho garbage > "$file"\n', "cannot be loaded"),
    "prints garbage": (
        "#!/bin/sh\nprintf 'a\\377\\376\\0\\200\\033[2Jb' >&2\nprintf '\\377\\0#define'\nexit 1\n",
        r"printed for it:\na\?\[2Jb$",
    ),
    "says too much": ("#!/bin/sh\nyes | head -c 90000 >&2\nexit 1\n", r"(y\n){20}\.\.\.$"),
    "is killed": ("#!/bin/sh\nkill -9 $$\n", "it says nothing but signal 9"),
    "is no program": ("\0\0\0 neither this nor that", "cannot be run"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_compiler_that_is_none(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    text, told = BAD[what]
    monkeypatch.chdir(tmp_path)  # garbage is left where it runs
    monkeypatch.setenv("CC", str(program(tmp_path / "bad cc", text)))  # a path may have spaces in it
    monkeypatch.setattr(compiler, "TIMEOUT", 1)
    with pytest.raises(PlanError, match=told) as caught:
        compiler.loaded(compiler.find_compiler(), SOURCE % 7)
    assert caught.value.kind == "device" and caught.value.data["cause"] == "compiler"
    with pytest.raises(PlanError, match=told):
        compiler.prove(compiler.find_compiler())
    monkeypatch.delenv("GRAPHSPEC_CPU", raising=False)
    assert open_device("cpu").name == "numpy"
    assert main(["doctor"]) == 0
    assert re.search(r"none that works: \S+.*; cpu is numpy here", capsys.readouterr().out)
    (tmp_path / "linear.spec").write_text("return nn.Sequential():add(nn.Linear(2, 2))")
    assert main(["compile", "linear.spec", "--device", "native"]) == 4
    assert "help: the device numpy needs no C compiler" in capsys.readouterr().err
    assert not list(folder.glob("*.so")) and not list(folder.glob(f"{cache.MAKING}*"))


# -- what the compiler was asked --------------------------------------------------------------------------------------------------


def counting(folder: Path) -> tuple[Path, Path]:
    """A compiler that writes a line down whenever it runs, and where."""
    runs = folder.parent / "runs"
    script = program(folder.parent / "counting-cc", f'#!/bin/sh\necho "$@" >> {runs}\nexec {compiler.find_compiler()[0]} "$@"\n')
    forget()
    return script, runs


def test_a_compiler_is_asked_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script, runs = counting(folder)
    monkeypatch.setenv("CC", str(script))
    first = built(1)
    asked = len(runs.read_text().splitlines())
    assert asked >= 3  # its macros, its version, the library
    forget()
    assert built(1) == first and len(runs.read_text().splitlines()) == asked
    os.utime(script, (1, 1))  # another version, as far as can be seen
    forget()
    assert built(1) == first and len(runs.read_text().splitlines()) > asked


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"version": "1"}', '{"version": 1, "flags": 2, "macros": 3, "vectors": 4}'])
def test_damaged_answers_are_asked_for_again(folder: Path, damage: str) -> None:
    before = compiler.about(compiler.find_compiler())
    (place,) = folder.glob("*.json")
    place.write_text(damage)
    forget()
    assert compiler.about(compiler.find_compiler()) == before
    assert json.loads(place.read_text())["version"] == before.version


def test_what_it_says_of_itself(folder: Path) -> None:
    found = compiler.about(compiler.find_compiler())
    assert found.version and found.vectors in (64, 128, 256, 512)
    forget()
    assert compiler.about(compiler.find_compiler()) == found


def test_no_compiler(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(PlanError, match=r"the C compiler that \$CC names, no-such-compiler, is not there"):
        open_device("native")


# -- how much is kept --------------------------------------------------------------------------------------------------------------


def stored(folder: Path, *ages: int) -> list[Path]:
    """Files of 1000 bytes, used so many seconds after each other's time."""
    folder.mkdir(exist_ok=True)
    paths = []
    for i, age in enumerate(ages):
        path = folder / f"{i:032x}.so"
        path.write_bytes(b"x" * 1000)
        os.utime(path, (1e9 + age, 1e9))
        paths.append(path)
    return paths


def test_what_was_not_used_for_longest_goes_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    oldest, newest, middle = stored(folder, 1, 3, 2)
    other = folder / "notes.so"
    other.write_bytes(b"x" * 5000)
    cache.trim()
    assert len(cache.kept()) == 3
    monkeypatch.setenv("GRAPHSPEC_CACHE_SIZE", "2k")
    cache.trim()
    assert not oldest.exists() and newest.exists() and middle.exists() and other.exists()
    cache.used(middle)
    monkeypatch.setenv("GRAPHSPEC_CACHE_SIZE", "1")
    cache.trim()
    assert [one.path for one in cache.kept()] == [middle]


def test_a_cache_that_is_full_keeps_what_was_just_made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHSPEC_CACHE_SIZE", "1")
    first = compiler.loaded(compiler.find_compiler(), SOURCE % 1)
    second = compiler.loaded(compiler.find_compiler(), SOURCE % 2)
    assert len(list(folder.glob("*.so"))) == 1
    assert first.number() == 1 and second.number() == 2  # what is loaded stays


def test_what_killed_processes_left_is_swept(folder: Path) -> None:
    folder.mkdir()
    left, making = folder / f"{cache.MAKING}left", folder / f"{cache.MAKING}now"
    for path in (left, making):
        path.mkdir()
        (path / "plan.c").write_text("")
    os.utime(left, (1e9, 1e9))
    cache.trim()
    assert not left.exists() and making.exists()


@pytest.mark.parametrize(("text", "bytes"), [("500M", 500 * 10**6), ("2gb", 2 * 10**9), ("1.5 K", 1500), ("12", 12), ("", 10**9), ("0", 0)])
def test_sizes(monkeypatch: pytest.MonkeyPatch, text: str, bytes: int) -> None:
    monkeypatch.setenv("GRAPHSPEC_CACHE_SIZE", text)
    assert cache.largest() == bytes


@pytest.mark.parametrize("text", ["much", "-1", "1P", "G"])
def test_sizes_that_are_none(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str) -> None:
    monkeypatch.setenv("GRAPHSPEC_CACHE_SIZE", text)
    with pytest.raises(PlanError, match="a size is wanted, such as 500M or 2G"):
        cache.largest()
    assert main(["cache"]) == 4
    assert "E0701" in capsys.readouterr().err


# -- graphspec cache, graphspec doctor ----------------------------------------------------------------------------------------------


def test_the_cache_is_told_and_cleared(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache"]) == 0
    assert "nothing is kept" in capsys.readouterr().out
    stored(folder, 1, 2)
    assert main(["cache", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"folder": str(folder), "files": 2, "bytes": 2000, "largest": 10**9, "cleared": False}
    assert main(["cache", "--clear"]) == 0
    assert "2 files, 2.0 kB, deleted" in capsys.readouterr().out
    assert not cache.kept()


def test_the_doctor_tells_of_the_compiler(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    built(1)
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["native"]
    about = compiler.about(compiler.find_compiler())
    assert found["version"] == about.version and found["vectors"] == about.vectors and found["cache"]["folder"] == str(folder)
    assert found["cache"]["files"] == 2
    assert main(["doctor"]) == 0
    assert f"vectors of {about.vectors} bits" in capsys.readouterr().out
    forget()
    monkeypatch.setenv("CC", "no-such-compiler")
    assert main(["doctor", "--json"]) == 0
    assert "no-such-compiler, is not there" in json.loads(capsys.readouterr().out)["native"]["missing"]


# -- the tables of the grammar ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [None, b"", b"no tables", b"\x80\x04"])
def test_the_grammar_is_kept(folder: Path, damage: bytes | None) -> None:
    source = Source("x.spec", "local a = {1, 2}\nreturn a[1]\n")
    grammar.cache_clear()
    wanted = repr(parse(source))
    (place,) = folder.glob("grammar-*")
    if damage is not None:
        place.write_bytes(damage)
    grammar.cache_clear()
    assert repr(parse(source)) == wanted
    with pytest.raises(SpecError) as caught:
        parse(Source("x.spec", "local a = {1, 2\nreturn a\n"))
    assert caught.value.code.startswith("E01")
    assert place.stat().st_size > 1000 and place in {one.path for one in cache.kept()}
    grammar.cache_clear()


def test_without_a_folder_the_grammar_is_built_each_time(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GRAPHSPEC_CACHE", str(tmp_path / "file" / "below"))
    grammar.cache_clear()
    assert parse(Source("x.spec", "return 1")).block.body
    grammar.cache_clear()


def test_a_compiler_without_headers_is_no_compiler(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = program(folder.parent / "bare-cc", f'#!/bin/sh\nexec {compiler.find_compiler()[0]} -nostdinc "$@"\n')
    forget()
    monkeypatch.setenv("CC", str(script))
    with pytest.raises(PlanError, match=r"pthread\.h") as caught:
        open_device("native")
    assert caught.value.kind == "device"
    monkeypatch.delenv("GRAPHSPEC_CPU", raising=False)
    assert open_device("cpu").name == "numpy"
