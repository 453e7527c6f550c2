"""Lua patterns (Lua 5.1 manual, 5.4.1), matched by backtracking under the evaluation's budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graphspec.build.limits import MATCH
from graphspec.errors import SpecError

if TYPE_CHECKING:
    from graphspec.build.interpreter import Interpreter

MAX_CAPTURES = 32
MAX_DEPTH = 200
POSITION = -2
"""Length of a ``()`` capture, which gives its position."""

CLASSES: dict[str, Callable[[str], bool]] = {
    "a": str.isalpha, "d": str.isdigit, "l": str.islower, "u": str.isupper, "s": str.isspace, "w": str.isalnum,
    "p": lambda ch: 32 < ord(ch) < 127 and not ch.isalnum(), "c": lambda ch: ord(ch) < 32 or ord(ch) == 127,
    "x": lambda ch: ch in "0123456789abcdefABCDEF", "z": lambda ch: ch == "\0",
}  # fmt: skip


@dataclass
class Match:
    text: str
    start: int
    end: int
    spans: list[tuple[int, int]]

    def captures(self, whole: bool) -> list[Any]:
        """Captured values; the whole match when there are none and ``whole``."""
        if not self.spans and whole:
            return [self.text[self.start : self.end]]
        return [float(s + 1) if n == POSITION else self.text[s : s + n] for s, n in self.spans]


class Matcher:
    """One pattern on one text."""

    def __init__(self, lua: Interpreter, text: str, pattern: str) -> None:
        self.lua = lua
        self.text = text
        self.anchored = pattern.startswith("^")
        self.pattern = pattern[1:] if self.anchored else pattern
        self.spans: list[tuple[int, int]] = []
        self.depth = 0

    def search(self, start: int) -> Match | None:
        """The first match at or after ``start``."""
        for at in range(start, start + 1 if self.anchored else len(self.text) + 1):
            found = self.match_at(at)
            if found is not None:
                return found
        return None

    def match_at(self, at: int) -> Match | None:
        self.spans = []
        end = self._match(at, 0)
        return Match(self.text, at, end, list(self.spans)) if end is not None else None

    def _bad(self, message: str) -> SpecError:
        return self.lua.error("E0210", f"malformed pattern ({message})")

    def _match(self, s: int, p: int) -> int | None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self._bad("too complex")
        try:
            return self._steps(s, p)
        finally:
            self.depth -= 1

    def _steps(self, s: int, p: int) -> int | None:
        pattern, text = self.pattern, self.text
        while p < len(pattern):
            self.lua.spend(MATCH)
            ch = pattern[p]
            if ch == "(":
                return self._open(s, p + 2, POSITION) if pattern[p + 1 : p + 2] == ")" else self._open(s, p + 1, -1)
            if ch == ")":
                return self._close(s, p + 1)
            if ch == "$" and p + 1 == len(pattern):
                return s if s == len(text) else None
            if ch == "%" and pattern[p + 1 : p + 2] == "b":
                after = self._balance(s, p + 2)
                if after is None:
                    return None
                s, p = after, p + 4
                continue
            if ch == "%" and pattern[p + 1 : p + 2] == "f":
                p += 2
                if pattern[p : p + 1] != "[":
                    raise self._bad("missing '[' after '%f'")
                end = self._class_end(p)
                before = text[s - 1] if s > 0 else "\0"
                now = text[s] if s < len(text) else "\0"
                if self._in_set(before, p, end - 1) or not self._in_set(now, p, end - 1):
                    return None
                p = end
                continue
            if ch == "%" and pattern[p + 1 : p + 2].isdigit():
                start, length = self._back_reference(int(pattern[p + 1]))
                piece = text[start : start + length]
                if not text.startswith(piece, s):
                    return None
                s, p = s + len(piece), p + 2
                continue
            end = self._class_end(p)
            suffix = pattern[end : end + 1]
            if suffix == "?":
                if s < len(text) and self._single(s, p, end):
                    found = self._match(s + 1, end + 1)
                    if found is not None:
                        return found
                p = end + 1
                continue
            if suffix in ("*", "+"):
                return self._most(s + (suffix == "+"), p, end) if suffix == "*" or (s < len(text) and self._single(s, p, end)) else None
            if suffix == "-":
                return self._least(s, p, end)
            if s >= len(text) or not self._single(s, p, end):
                return None
            s, p = s + 1, end
        if any(length == -1 for _, length in self.spans):
            raise self._bad("unfinished capture")
        return s

    def _most(self, s: int, p: int, end: int) -> int | None:
        i = s
        while i < len(self.text) and self._single(i, p, end):
            self.lua.spend(MATCH)
            i += 1
        while i >= s:
            found = self._match(i, end + 1)
            if found is not None:
                return found
            i -= 1
        return None

    def _least(self, s: int, p: int, end: int) -> int | None:
        while True:
            found = self._match(s, end + 1)
            if found is not None:
                return found
            self.lua.spend(MATCH)
            if s < len(self.text) and self._single(s, p, end):
                s += 1
            else:
                return None

    def _open(self, s: int, p: int, length: int) -> int | None:
        if len(self.spans) >= MAX_CAPTURES:
            raise self._bad("too many captures")
        kept = list(self.spans)
        self.spans.append((s, length))
        found = self._match(s, p)
        if found is None:
            self.spans = kept
        return found

    def _close(self, s: int, p: int) -> int | None:
        for i in range(len(self.spans) - 1, -1, -1):
            start, length = self.spans[i]
            if length == -1:
                self.spans[i] = (start, s - start)
                found = self._match(s, p)
                if found is None:
                    self.spans[i] = (start, -1)
                return found
        raise self._bad("invalid pattern capture")

    def _balance(self, s: int, p: int) -> int | None:
        pair = self.pattern[p : p + 2]
        if len(pair) < 2:
            raise self._bad("missing arguments to '%b'")
        if s >= len(self.text) or self.text[s] != pair[0]:
            return None
        depth = 1
        for i in range(s + 1, len(self.text)):
            self.lua.spend(MATCH)
            if self.text[i] == pair[1]:
                depth -= 1
                if depth == 0:
                    return i + 1
            elif self.text[i] == pair[0]:
                depth += 1
        return None

    def _back_reference(self, n: int) -> tuple[int, int]:
        if not 1 <= n <= len(self.spans) or self.spans[n - 1][1] < 0:
            raise self._bad(f"invalid capture index %{n}")
        return self.spans[n - 1]

    def _class_end(self, p: int) -> int:
        pattern = self.pattern
        ch = pattern[p]
        p += 1
        if ch == "%":
            if p >= len(pattern):
                raise self._bad("ends with '%'")
            return p + 1
        if ch == "[":
            if pattern[p : p + 1] == "^":
                p += 1
            first = True
            while first or pattern[p : p + 1] != "]":
                first = False
                if p >= len(pattern):
                    raise self._bad("missing ']'")
                p += 2 if pattern[p] == "%" else 1
            return p + 1
        return p

    def _single(self, s: int, p: int, end: int) -> bool:
        ch, kind = self.text[s], self.pattern[p]
        if kind == ".":
            return True
        if kind == "%":
            return _in_class(ch, self.pattern[p + 1])
        if kind == "[":
            return self._in_set(ch, p, end - 1)
        return ch == kind

    def _in_set(self, ch: str, p: int, last: int) -> bool:
        """Whether ``ch`` is in the set ``[...]`` from ``p`` to ``last`` (the bracket)."""
        pattern = self.pattern
        p += 1
        wanted = True
        if pattern[p] == "^":
            wanted, p = False, p + 1
        while p < last:
            if pattern[p] == "%":
                if _in_class(ch, pattern[p + 1]):
                    return wanted
                p += 2
            elif pattern[p + 1] == "-" and p + 2 < last:
                if pattern[p] <= ch <= pattern[p + 2]:
                    return wanted
                p += 3
            else:
                if pattern[p] == ch:
                    return wanted
                p += 1
        return not wanted


def _in_class(ch: str, letter: str) -> bool:
    test = CLASSES.get(letter.lower())
    if test is None:
        return ch == letter
    return bool(test(ch)) == letter.islower()
