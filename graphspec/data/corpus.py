"""Texts by path, under the rules for paths, and the text that every Python has."""

from __future__ import annotations

import codecs
import hashlib
import os
from dataclasses import dataclass
from functools import cache
from io import StringIO
from pathlib import Path

from graphspec.build.files import decoded
from graphspec.data.source import DataSource
from graphspec.errors import SpecError
from graphspec.suggest import did_you_mean

MAX_BYTES = 200_000_000
"""A text may not be larger (E0618): all of it is held in memory, about nine bytes a character."""

DEFAULT = "<pydoc_data.topics>"
"""How the default corpus is called where a path would stand."""


@dataclass(frozen=True)
class Corpus:
    """A text, what it is called, and the SHA-256 of its bytes."""

    name: str
    text: str
    sha256: str


@cache
def default_corpus() -> Corpus:
    """The help topics of Python itself, about half a million characters of English and code; they differ between versions of Python."""
    from pydoc_data.topics import topics

    text = "\n".join(topics[name] for name in sorted(topics))
    return Corpus(DEFAULT, text, hashlib.sha256(text.encode()).hexdigest())


def find_file(source: DataSource, field: str, most: int | None = None) -> Path:
    """The file that a field of a source names, of at most so many bytes (by default those that a text may have).

    A path that came from the command line or the API is the user's authority.  One that stands in the spec is looked up under the
    roots and must not leave them, links followed.  Raises E0610 (missing), E0611 (outside the roots), E0618 (too large).
    """
    given = source.fields[field]
    try:
        path = Path(given).expanduser() if field in source.trusted else _under_roots(source, field, given)
        if not path.is_file():
            reason = "is a folder" if path.is_dir() else "is not a file" if path.exists() else "does not exist"
            form = str(Path(given).parent / "{}")
            raise source.wrong("E0610", f"{given} {reason}", field, helps=did_you_mean(path.name, _names(path.parent), form))
        most = MAX_BYTES if most is None else most
        if path.stat().st_size > most:
            raise source.wrong("E0618", f"{given} is larger than {most:,} bytes", field)
    except (OSError, ValueError) as failure:  # ValueError: a NUL in the path
        raise _unreadable(source, field, failure) from None
    return path


def _unreadable(source: DataSource, field: str, failure: Exception) -> SpecError:
    given = source.fields[field]
    return source.wrong("E0610", f"{given} cannot be read: {getattr(failure, 'strerror', None) or failure}", field)


def read_corpus(source: DataSource, field: str) -> Corpus:
    """The text of the file that a field of a source names (see :func:`find_file`).

    A byte order mark is dropped; line ends stay as they are.  Raises E0610 (unreadable), E0612 (not UTF-8), E0613 (empty).
    """
    given = source.fields[field]
    path = find_file(source, field)
    try:
        data = path.read_bytes()
    except OSError as failure:
        raise _unreadable(source, field, failure) from None
    kind, title = ("UTF-16", "UTF-16") if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else ("LATIN1", "Latin-1")
    helps = [f"`iconv -f {kind} -t UTF-8 OLD > NEW` makes one in UTF-8 of a text in {title}"]
    text = decoded(data, lambda told: source.wrong("E0612", f"{given} {told}", field, helps=helps))
    if not text:
        raise source.wrong("E0613", f"{given} is empty", field)
    return Corpus(given, text, hashlib.sha256(data).hexdigest())


def lines_of(text: str) -> list[str]:
    """Lines without their ends, which are LF, CR LF or CR, as Python reads files; what else ``str.splitlines`` takes for one may stand in a
    sentence."""
    return [line.removesuffix("\n") for line in StringIO(text, newline=None)]


def _under_roots(source: DataSource, field: str, given: str) -> Path:
    """The first existing file under a root, else the first place looked at."""
    helps = [f"a path from outside the spec may lead anywhere: `data.{field}=...` on the command line"]
    if not source.roots:
        raise source.wrong("E0611", f"{given}: there is no root to look under", field, helps=helps)
    roots = [os.path.realpath(root) for root in source.roots]
    candidates = [root / given for root in source.roots]
    for candidate in candidates:
        if not any(Path(os.path.realpath(candidate)).is_relative_to(root) for root in roots):
            raise source.wrong("E0611", f"{given} leads outside the roots", field, helps=helps)
    return next((c for c in candidates if c.exists()), candidates[0])


def _names(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir()]
    except OSError:
        return []
