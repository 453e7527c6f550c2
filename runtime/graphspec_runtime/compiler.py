"""C compiled on the machine it runs on.

What is compiled is kept by its text, the compiler and the processor, so that it is compiled once; several processes may do so at the same
time.  What a compiler says of itself and of the processor is kept too, by its file and the processor's name: asking takes longer than
loading what it made.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import errno
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from graphspec_runtime import cache as kept
from graphspec_runtime.errors import PlanError
from graphspec_runtime.log import log_once

SOURCES = Path(__file__).parent / "native"
LEVEL = "-O2"
"""With -O3 a step is no faster, and plans take up to half as long again to compile."""
FLAGS = (LEVEL, "-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off", "-fPIC", "-shared", "-std=gnu11")
"""Products and sums are rounded one by one: what is computed a second time, in another kernel or a later stage of one, is the same number
then.  The gradient of a maximum looks for it among such numbers."""

TIMEOUT = 600
"""Seconds after which a compiler is given up."""
ASKING = 60
"""Seconds after which a compiler is given up that was only asked what it is."""
LINES, LINE = 20, 300
"""How much is told of what a compiler said."""
ROOM = 1_000_000
"""Bytes without which a folder counts as full, where a compiler fails in it."""

PROOF = '#include <pthread.h>\n#include <stdlib.h>\n#include "graphspec.h"\nint gs_proof(void);\nint gs_proof(void) { return 1; }\n'
"""What needs all that compiled code needs of a machine, and takes no time."""

VECTORS = (("__AVX512F__", 512), ("__AVX__", 256), ("__SSE2__", 128), ("__ARM_NEON", 128))
"""Macros that say how many bits a vector has, the widest first."""


@dataclass(frozen=True)
class Compiler:
    """``words`` run it.  ``version``: the first line it says of itself; ``flags`` tell it to use all that this processor has; ``macros``: a
    hash of what is defined with them; ``vectors``: bits of the widest vectors; ``bf16``: whether there are products of bf16 numbers,
    ``amx``: in tiles too."""

    words: tuple[str, ...]
    version: str
    flags: tuple[str, ...]
    macros: str
    vectors: int
    bf16: bool
    amx: bool

    @property
    def name(self) -> str:
        return self.words[0]


@cache
def find_compiler() -> tuple[str, ...]:
    """The command of the system's C compiler: $CC, cc, gcc or clang; PlanError (kind ``device``) without one."""
    asked = os.environ.get("CC", "").strip()
    if asked and shutil.which(asked):  # a path may have spaces in it
        return (asked,)
    for words in [asked.split()] if asked else [["cc"], ["gcc"], ["clang"]]:
        if shutil.which(words[0]):
            return tuple(words)
    what = f"the C compiler that $CC names, {asked}, is not there" if asked else "there is no C compiler (cc, gcc or clang)"
    raise PlanError("device", what, cause="compiler")


@cache
def about(words: tuple[str, ...]) -> Compiler:
    """A compiler's answers: kept from before where its file and the processor are the same."""
    place = kept.folder() / f"{_seen_from_outside(words)}.json"
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
        compiler = Compiler(words, found["version"], tuple(found["flags"]), found["macros"], found["vectors"], found["bf16"], found["amx"])
        kept.used(place)
        return compiler
    except (OSError, ValueError, KeyError, TypeError):  # never asked, or what is there is damaged
        compiler = _ask(words)
    try:
        kept.folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.folder(), prefix=kept.MAKING) as made:
            text = Path(made) / "about.json"
            text.write_text(json.dumps(asdict(compiler)), encoding="utf-8")
            os.replace(text, place)
    except OSError:  # it is asked again next time
        pass
    return compiler


def _seen_from_outside(words: tuple[str, ...]) -> str:
    """A hash of all that a compiler's answers depend on."""
    path = Path(shutil.which(words[0]) or words[0]).resolve()
    with_file: list[object] = [str(path)]
    try:
        stat = path.stat()
        with_file += [stat.st_mtime_ns, stat.st_size]
    except OSError:
        pass
    return hashlib.sha256(repr((words, with_file, sys.platform, platform.machine(), _processor())).encode()).hexdigest()[:32]


def _processor() -> str:
    """What the system says of the first processor's model and abilities."""
    try:
        with open("/proc/cpuinfo") as file:
            first = file.read().split("\n\n", 1)[0].splitlines()
    except OSError:
        return platform.processor()
    wanted = ("model name", "cpu family", "model", "stepping", "flags", "Features", "CPU part")
    return "\n".join(line for line in first if line.split("\t", 1)[0].rstrip(" :") in wanted)


def _ask(words: tuple[str, ...]) -> Compiler:
    wanted = ["-mcpu=native"] if platform.machine() in ("aarch64", "arm64") else ["-march=native", "-mprefer-vector-width=512"]
    defined = b""
    for count in range(len(wanted), -1, -1):  # not every compiler knows them all
        flags = tuple(wanted[:count])
        done = _run([*words, *flags, "-dM", "-E", "-x", "c", os.devnull], ASKING)
        if done.returncode == 0:
            defined = done.stdout
            break
    said = _run([*words, "--version"], ASKING).stdout
    names = {name for line in defined.decode(errors="replace").splitlines() for name in line.split()[1:2]}
    vectors = next((bits for macro, bits in VECTORS if macro in names), 64)
    version = _readable(said).partition("\n")[0]
    able = ("__AVX512BF16__" in names, "__AMX_BF16__" in names)
    return Compiler(words, version, flags, hashlib.sha256(defined + said).hexdigest(), vectors, *able)


@cache
def identity(words: tuple[str, ...]) -> str:
    """What a compiled file depends on besides its text: the compiler, its flags, the processor as it sees it, and the headers."""
    parts = [repr((about(words), FLAGS, sys.platform)).encode(), *(path.read_bytes() for path in sorted(SOURCES.glob("*.h")))]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def place(words: tuple[str, ...], source: str, more: tuple[str, ...] = ()) -> Path:
    """Where the library of a text is kept, if it is."""
    key = hashlib.sha256(f"{identity(words)}{more}\0{source}".encode()).hexdigest()[:32]
    return kept.folder() / f"{key}.so"


def prove(words: tuple[str, ...]) -> None:
    """PlanError (kind ``device``) where C cannot be compiled and loaded: no headers, no linker, no place to write."""
    try:
        loaded(words, PROOF, ("-O0",))
    except PlanError as failure:
        raise PlanError("device", failure.message, cause=failure.data.get("cause", "compiler")) from failure


def built(words: tuple[str, ...], source: str, more: tuple[str, ...] = ()) -> Path:
    """The shared library that a text compiles to, with ``more`` flags, from the cache or made now; where nothing can be kept it lies in a
    folder that goes with the process, which a line in the log tells."""
    library = place(words, source, more)
    if _whole(library):
        kept.used(library)
        return library
    try:
        _make(words, source, more, library)
    except OSError as failure:
        try:
            aside = _folder_of_the_process() / library.name
            if not _whole(aside):
                _make(words, source, more, aside)
        except OSError:
            what = f"nothing can be compiled in {library.parent}: {failure.strerror or failure}"
            raise PlanError("device", what, cause="cache") from failure
        log_once(f"what is compiled cannot be kept in {library.parent}: {failure.strerror or failure}; it is compiled in each process anew")
        return aside
    kept.trim()
    return library


@cache
def _folder_of_the_process() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="graphspec-", ignore_cleanup_errors=True)
    atexit.register(folder.cleanup)
    return Path(folder.name)


def _seal(content: bytes) -> bytes:
    """What the end of a kept library says of all before it.  Loaders look at what the headers name, and not so far."""
    return hashlib.sha256(content).digest()


def _whole(library: Path) -> bool:
    """Whether a library is there as it was made: loading one that was cut off can kill the process."""
    try:
        content = library.read_bytes()
    except OSError:
        return False
    size = len(_seal(b""))
    return content[-size:] == _seal(content[:-size])


def _make(words: tuple[str, ...], source: str, more: tuple[str, ...], library: Path) -> None:
    """OSError where the library's folder takes nothing, PlanError where the compiler fails."""
    folder = library.parent
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=kept.MAKING, ignore_cleanup_errors=True) as made:
        text, result = Path(made) / "plan.c", Path(made) / "plan.so"
        text.write_text(source, encoding="utf-8")
        flags = [*FLAGS, *more, *about(words).flags]
        undefined = ["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else []
        done = _run([*words, *flags, *undefined, f"-I{SOURCES}", str(text), "-o", str(result), "-lm"], TIMEOUT)
        if done.returncode and shutil.disk_usage(folder).free < ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        said = _readable(done.stderr or done.stdout)
        if done.returncode:
            ended = f"exit status {done.returncode}" if done.returncode > 0 else f"signal {-done.returncode}"
            told = f":\n{said}" if said else f"; it says nothing but {ended}"
            raise PlanError("device", f"{words[0]} does not compile what was printed for it{told}", cause="compiler")
        if not result.exists():
            raise PlanError("device", f"{words[0]} made nothing, and said {said or 'nothing'}", cause="compiler")
        with result.open("ab") as file:
            file.write(_seal(result.read_bytes()))
        os.replace(result, library)  # whole or not at all, whoever else is at it


def _readable(said: bytes) -> str:
    """What a program said, no longer than is read, without what no terminal should be sent."""
    text = "".join(c if c == "\n" or c.isprintable() and c != "\ufffd" else "?" for c in said.decode(errors="replace").strip())
    lines = [line[:LINE] for line in re.sub(r"\?{2,}", "?", text).splitlines()]
    return "\n".join(lines[:LINES]) + ("\n..." if len(lines) > LINES else "")


def _run(command: list[str], seconds: float) -> subprocess.CompletedProcess[bytes]:
    """A compiler's run; PlanError where it takes longer than so many seconds, or is no program."""
    seconds = min(seconds, TIMEOUT)
    try:
        return subprocess.run(command, capture_output=True, timeout=seconds, env={**os.environ, "LC_ALL": "C"})
    except subprocess.TimeoutExpired:
        raise PlanError("device", f"{command[0]} took more than {seconds} seconds", cause="compiler") from None
    except OSError as failure:
        raise PlanError("device", f"{command[0]} cannot be run: {failure.strerror or failure}", cause="compiler") from failure


def loaded(
    words: tuple[str, ...], source: str, more: tuple[str, ...] = (), mode: int = ctypes.DEFAULT_MODE,
    before: Callable[[], object] | None = None,
) -> ctypes.CDLL:  # fmt: skip
    """The library of a text, loaded when ``before`` is done, which has the time until it is built.  One that another process deletes just
    before, or that is damaged, is made again."""
    library = built(words, source, more)
    if before is not None:
        before()
    try:
        return ctypes.CDLL(str(library), mode=mode)
    except OSError:
        _drop(library)
    library = built(words, source, more)
    try:
        return ctypes.CDLL(str(library), mode=mode)
    except OSError as failure:
        _drop(library)
        raise PlanError("device", f"what {words[0]} makes cannot be loaded: {failure}", cause="compiler") from failure


def _drop(library: Path) -> None:
    with contextlib.suppress(OSError):  # gone, or in a folder where nothing can be deleted
        library.unlink()
