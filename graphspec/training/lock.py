"""The lock of a run folder: one run at a time, and nothing in the way of the next when one is killed."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from pathlib import Path
from typing import Any

from graphspec.errors import Diagnostic, error, fail
from graphspec.tensorfile import make_folder

NAME = ".lock"
"""The file in a run's folder that is locked while the run goes on; it holds who has it."""

TRIES, PAUSE = 6, 0.05
"""Attempts to lock a folder, and the seconds between them: :func:`holder`, which tests a lock, has it for a moment itself."""


class Lock:
    """An advisory lock (``flock``), which the system lets go with the process: after a ``kill -9`` the file is still there, and free."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._file: Any = None

    def take(self) -> list[Diagnostic]:
        """Lock the folder, which is made where there is none; E0809 when another run has it, E0805 when its file cannot be written.

        W0809, and no lock, on a system without such locks.  A folder that may only be read is not locked: no run writes there.
        """
        for _ in range(TRIES):
            try:
                make_folder(self.path.parent)
                self._file = open(self.path, "a+", encoding="utf-8")  # noqa: SIM115  (closed in release)
            except OSError as failure:
                if os.path.isdir(self.path.parent) and not os.access(self.path.parent, os.W_OK):
                    return []
                raise fail("E0805", f"{self.path} cannot be written: {failure.strerror or failure}") from None
            try:
                _flock(self._file, exclusive=True)
            except BlockingIOError:
                self._file.close()
                self._file = None
                time.sleep(PAUSE)
                continue
            except (OSError, ImportError) as failure:
                return [_without(self.path.parent, failure)]
            if self._is_in_place():
                self._sign()
                return []
            self.release()  # the run that had it removed it meanwhile
        raise fail(
            "E0809", f"{self.path.parent} is in use by another run{_said(holder(self.path.parent))}",
            helps=["wait until it has ended, or choose another folder with `--out`"],
        )  # fmt: skip

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), os.stat(self.path))
        except OSError:
            return False

    def _sign(self) -> None:
        with contextlib.suppress(OSError):  # it is locked without a name too
            self._file.truncate(0)
            self._file.write(f"process {os.getpid()} on {platform.node()}\n")
            self._file.flush()

    def release(self) -> None:
        """Let go, and leave no file; nothing when it is not held."""
        if self._file is None:
            return
        if self._is_in_place():
            with contextlib.suppress(OSError):
                self.path.unlink()
        with contextlib.suppress(OSError):
            self._file.close()
        self._file = None


def holder(folder: Path) -> str | None:
    """Who has the lock of a run's folder: ``process 123 on name``, an empty text where that is not known; None for nobody."""
    path = folder / NAME
    try:
        if not path.is_file():
            return None
        with open(path, encoding="utf-8", errors="replace") as file:
            try:
                _flock(file, exclusive=False)
            except BlockingIOError:
                return file.read(200).strip()
    except (OSError, ImportError):
        return None
    return None


def _flock(file: Any, exclusive: bool) -> None:
    import fcntl  # not on every system

    fcntl.flock(file.fileno(), (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)


def _said(who: str | None) -> str:
    return f" ({who})" if who else ""


def _without(folder: Path, failure: Exception) -> Diagnostic:
    reason = getattr(failure, "strerror", None) or "this system has no flock"
    return error("W0809", f"{folder} cannot be locked ({reason}): see to it that no other run uses it", severity="warning")
