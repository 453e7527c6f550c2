"""Formatting whole files: bytes in, bytes out, with line endings and modes kept."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from graphspec.build.files import MAX_BYTES, spec_text
from graphspec.errors import Source, fail
from graphspec.tools.format import format_source


@dataclass(frozen=True)
class Formatted:
    """A file's text before and after, both with ``\\n`` at the ends of lines, and the bytes before and after."""

    path: str
    before: str
    after: str
    old: bytes
    new: bytes

    @property
    def changed(self) -> bool:
        return self.old != self.new


def format_bytes(data: bytes, path: str) -> Formatted:
    """What becomes of a file.

    A byte order mark goes.  Lines end as the first one does, in ``\\r\\n`` or ``\\n``.  E0102 for what is not UTF-8, else as
    :func:`graphspec.tools.format.format_source`.
    """
    before = spec_text(data, path)
    after = format_source(Source(path, before))
    end = b"\r\n" if data.partition(b"\n")[0].endswith(b"\r") else b"\n"
    return Formatted(path, before, after, data, after.encode().replace(b"\n", end))


def format_file(path: str) -> Formatted:
    """What becomes of a file on disk, which stays as it is.  E0801, E0802 and E0507 when it cannot be read."""
    if Path(path).is_dir():
        raise fail("E0802", f"{path} is a folder, not a spec")
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as failure:
        raise fail("E0801", f"{path} cannot be read: {failure.strerror or failure}") from None
    if len(data) > MAX_BYTES:
        raise fail("E0507", f"{path} is larger than {MAX_BYTES:,} bytes")
    return format_bytes(data, path)


def rewrite(formatted: Formatted) -> None:
    """Put the new text in the place of the old one: all of it or nothing, with the same mode; through a link, the file it leads to.

    E0805 when it cannot be written, or is not to be: a file without leave to write, or no file at all, as a pipe.
    """
    from graphspec.tensorfile import write_bytes

    place = Path(formatted.path).resolve()
    if not place.is_file() or not os.access(place, os.W_OK):
        raise fail("E0805", f"{formatted.path} cannot be written: it is read-only")
    mode = place.stat().st_mode
    write_bytes(place, formatted.new, lambda written: written.chmod(mode & 0o7777))
