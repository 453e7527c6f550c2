"""The folder where compiled code is kept, and what else takes long to make: no larger than it may be, what was not used for longest goes
first.

Several processes may use it at once.  Files come into it whole (by a rename), and one that is deleted while another process has it loaded
stays with that process.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from graphspec_runtime.errors import PlanError

DEFAULT_SIZE = "1G"
OURS = re.compile(r"[0-9a-f]{32}\.(so|json)|grammar-[0-9.-]+")
"""Names of what is kept; anything else in the folder is left alone."""
MAKING = "making-"
"""Begins the names of folders in which something is being compiled."""
ABANDONED = 3600.0
"""Seconds after which such a folder is one that a process left behind when it was killed."""
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@dataclass(frozen=True)
class Kept:
    """A file of the cache: ``size`` in bytes, ``used`` last, in seconds of the system's clock."""

    path: Path
    size: int
    used: float


def folder() -> Path:
    """$GRAPHSPEC_CACHE, else graphspec/ where the system keeps caches."""
    if os.environ.get("GRAPHSPEC_CACHE"):
        return Path(os.environ["GRAPHSPEC_CACHE"])
    home = os.environ.get("XDG_CACHE_HOME") or Path(os.path.expanduser("~")) / (".cache" if sys.platform != "darwin" else "Library/Caches")
    return Path(home) / "graphspec"


def largest() -> int:
    """Bytes that may be kept: $GRAPHSPEC_CACHE_SIZE, such as 500M or 2G, else 1 GB; PlanError (kind ``device``) for another text."""
    text = os.environ.get("GRAPHSPEC_CACHE_SIZE", "").strip() or DEFAULT_SIZE
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", text, re.IGNORECASE)
    if found is None:
        raise PlanError("device", f"GRAPHSPEC_CACHE_SIZE is {text!r}; a size is wanted, such as 500M or 2G", cause="setting")
    return int(float(found[1]) * UNITS[found[2].upper()])


def kept() -> list[Kept]:
    """All that is kept, what was used last first; nothing where there is no folder."""
    found = []
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder()):
            with contextlib.suppress(OSError):  # gone meanwhile
                if OURS.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                    about = entry.stat()
                    found.append(Kept(Path(entry.path), about.st_size, max(about.st_atime, about.st_mtime)))
    return sorted(found, key=lambda one: -one.used)


def used(path: Path) -> None:
    """Remember that a file was used now."""
    with contextlib.suppress(OSError):
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))


def trim() -> None:
    """Delete what was not used for longest until the rest is as small as it may be (the file used last stays), and what processes that were
    killed left behind."""
    total, most = 0, largest()
    for i, one in enumerate(kept()):
        total += one.size
        if total > most and i:
            one.path.unlink(missing_ok=True)
    _sweep(ABANDONED)


def clear() -> tuple[int, int]:
    """Delete all that is kept; how many files that were, and how many bytes."""
    found = kept()
    for one in found:
        one.path.unlink(missing_ok=True)
    _sweep(ABANDONED)
    return len(found), sum(one.size for one in found)


def _sweep(age: float) -> None:
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder()):
            with contextlib.suppress(OSError):
                if entry.name.startswith(MAKING) and time.time() - entry.stat().st_mtime > age:
                    shutil.rmtree(entry.path, ignore_errors=True)
