"""Reading spec files: ``require`` under the roots, without cycles, never outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from graphspec.errors import NOWHERE, Origin, Source, SpecError, error, fail

MAX_BYTES = 4_000_000
"""A spec file may not be larger (E0507)."""


class Files:
    """Finds required files.  ``texts`` goes before what is on disk: by display path (a fix being tried), or by the path from a root (a
    checkpoint's own copy)."""

    def __init__(self, roots: Sequence[Path], texts: Mapping[str, str] | None = None) -> None:
        self.roots = [root.resolve() for root in roots]
        self.given = list(roots)
        self.texts = dict(texts or {})
        self.sources: dict[str, Source] = {}

    def find(self, name: str, origin: Origin, word: str = "require") -> Source:
        """``a.b`` as a/b.spec, else a/b.lua, under the roots in order; E0803 when there is none, E0804 outside the roots.  ``word``: what
        the spec asks for it with."""
        parts = name.removeprefix("./").replace("/", ".").split(".")
        if not all(part and part != ".." for part in parts) or "\\" in name or "\0" in name:
            raise fail("E0804", f"{word} '{name}': a name is words with dots between, under the roots", origin)
        tried = []
        for suffix in (".spec", ".lua"):
            copy = "/".join(parts) + suffix
            if copy in self.texts:
                return self._source(copy, self.texts[copy])
        for shown, root in zip(self.given, self.roots, strict=True):
            for suffix in (".spec", ".lua"):
                path = root.joinpath(*parts).with_name(parts[-1] + suffix)
                display = str(shown.joinpath(*parts[:-1], parts[-1] + suffix))
                if display in self.texts:
                    return self._source(display, self.texts[display])
                tried.append(display)
                if path.is_file():
                    if not any(path.resolve().is_relative_to(r) for r in self.roots):
                        raise fail("E0804", f"{word} '{name}' leads outside the roots", origin, notes=[f"{display} is a link"])
                    if path.stat().st_nlink > 1 and not path.is_symlink():
                        raise fail("E0804", f"{word} '{name}': {display} is a hard link, which may lead outside the roots", origin)
                    return self._source(display, read_text(path, display, origin))
        raise SpecError(
            error(
                "E0803",
                f"{word} '{name}': no such file",
                origin,
                notes=[f"tried {', '.join(tried)}"] if tried else ["there is no root to search"],
            )
        )

    def exists(self, name: str) -> bool:
        """Whether there is a file to require by that name."""
        try:
            self.find(name, NOWHERE)
        except SpecError:
            return False
        return True

    def _source(self, display: str, text: str) -> Source:
        if display not in self.sources:
            self.sources[display] = Source(display, text)
        return self.sources[display]


def read_text(path: Path, display: str, origin: Origin | None = None) -> str:
    """A file's text; E0801 when it cannot be read, E0102 when it is not UTF-8, E0507 when it is too large."""
    try:
        with open(path, "rb") as file:  # a device may have no end
            data = file.read(MAX_BYTES + 1)
    except OSError as failure:
        raise fail("E0801", f"{display} cannot be read: {failure.strerror or failure}", origin) from None
    if len(data) > MAX_BYTES:
        raise fail("E0507", f"{display} is larger than {MAX_BYTES:,} bytes", origin)
    return spec_text(data, display, origin)


def spec_text(data: bytes, display: str, origin: Origin | None = None) -> str:
    """The text of a spec file's bytes, with ``\\n`` at the ends of lines; E0102 when it is not UTF-8."""
    return decoded(data, lambda told: fail("E0102", f"{display} {told}", origin)).replace("\r\n", "\n")


def decoded(data: bytes, wrong: Callable[[str], SpecError]) -> str:
    """The text of bytes in UTF-8, without a byte order mark; for other bytes it raises ``wrong(reason)``."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        line = data[: failure.start].count(b"\n") + 1
        raise wrong(f"is not UTF-8 text: byte {data[failure.start]:#04x} in line {line}") from None
