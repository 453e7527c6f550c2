"""The ``string`` library; patterns are in :mod:`graphspec.build.patterns`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from graphspec.build.patterns import Matcher
from graphspec.build.stdlib import argument, text_of
from graphspec.build.values import LuaTable, NativeFunction, Value, to_text, truth

if TYPE_CHECKING:
    from graphspec.build.interpreter import Interpreter


def _text(lua: Interpreter, args: list[Value], position: int, name: str, default: Any = ...) -> Any:
    return argument(lua, args, position, "string", name, default)


def _whole(lua: Interpreter, args: list[Value], position: int, name: str, default: Any = ...) -> int:
    number = argument(lua, args, position, "number", name, default)
    return int(max(-(2.0**53), min(2.0**53, number))) if number == number else 0


def _range(lua: Interpreter, args: list[Value], name: str, length: int, last: int) -> tuple[int, int]:
    """Python bounds for Lua's (i, j), negative ones from the end."""
    i, j = _whole(lua, args, 2, name, 1.0), _whole(lua, args, 3, name, float(last))
    i = max(length + i + 1, 1) if i < 0 else max(i, 1)
    j = length + j + 1 if j < 0 else min(j, length)
    return i - 1, max(j, i - 1)


def _sub(lua: Interpreter, args: list[Value]) -> list[Value]:
    text = _text(lua, args, 1, "sub")
    start, end = _range(lua, args, "sub", len(text), -1)
    return [text[start:end]]


def _byte(lua: Interpreter, args: list[Value]) -> list[Value]:
    text = _text(lua, args, 1, "byte")
    first = _whole(lua, args, 2, "byte", 1.0)
    start, end = _range(lua, [text, float(first), args[2] if len(args) > 2 else float(first)], "byte", len(text), first)
    return [float(ord(ch)) for ch in text[start:end]]


def _char(lua: Interpreter, args: list[Value]) -> list[Value]:
    codes = [_whole(lua, args, i + 1, "char") for i in range(len(args))]
    if any(not 0 <= code < 0x110000 for code in codes):
        raise lua.error("E0207", "bad argument to 'char' (invalid value)")
    return ["".join(map(chr, codes))]


def _rep(lua: Interpreter, args: list[Value]) -> list[Value]:
    text, n = _text(lua, args, 1, "rep"), max(0, _whole(lua, args, 2, "rep"))
    lua.budget.check_text(len(text) * n, lua.origin())
    return [text * n]


def _find(lua: Interpreter, args: list[Value], name: str = "find") -> list[Value]:
    text, pattern = _text(lua, args, 1, name), _text(lua, args, 2, name)
    start = _whole(lua, args, 3, name, 1.0)
    start = max(len(text) + start, 0) if start < 0 else max(start - 1, 0)
    if start > len(text):
        return [None]
    if name == "find" and (len(args) > 3 and truth(args[3]) or not re.search(r"[\^$*+?.()\[\]%-]", pattern)):
        at = text.find(pattern, start)
        return [float(at + 1), float(at + len(pattern))] if at >= 0 else [None]
    match = Matcher(lua, text, pattern).search(start)
    if match is None:
        return [None]
    captures = match.captures(whole=name == "match")
    return [float(match.start + 1), float(match.end), *captures] if name == "find" else captures


def _gmatch(lua: Interpreter, args: list[Value]) -> list[Value]:
    text, pattern = _text(lua, args, 1, "gmatch"), _text(lua, args, 2, "gmatch")
    position = [0]

    def step(inner: Interpreter, _: list[Value]) -> list[Value]:
        if position[0] > len(text):
            return [None]
        match = Matcher(inner, text, pattern).search(position[0])
        if match is None:
            position[0] = len(text) + 1
            return [None]
        position[0] = match.end if match.end > match.start else match.end + 1
        return match.captures(whole=True)

    return [NativeFunction("gmatch", step)]


def _gsub(lua: Interpreter, args: list[Value]) -> list[Value]:
    text, pattern = _text(lua, args, 1, "gsub"), _text(lua, args, 2, "gsub")
    replacement = args[2] if len(args) > 2 else None
    limit = _whole(lua, args, 4, "gsub", 2.0**53)
    anchored = pattern.startswith("^")
    out, at, count, total = [], 0, 0, 0
    while count < limit:
        match = Matcher(lua, text, pattern).match_at(at)
        if match is not None:
            count += 1
            piece = _replacement(lua, replacement, match)
            out.append(piece)
            total += len(piece)
            lua.budget.check_text(total, lua.origin())
        if match is not None and match.end > at:
            at = match.end
        elif at < len(text):
            out.append(text[at])
            at += 1
        else:
            break
        if anchored:
            break
    out.append(text[at:])
    return ["".join(out), float(count)]


def _replacement(lua: Interpreter, replacement: Value, match: Any) -> str:
    whole = match.text[match.start : match.end]
    captures = match.captures(whole=True)
    if isinstance(replacement, (str, float)):

        def expand(m: re.Match[str]) -> str:
            ch = m.group(1)
            if ch == "0":
                return str(whole)
            if ch.isdigit():
                if int(ch) > len(captures):
                    raise lua.error("E0210", f"invalid capture index %{ch} in replacement")
                return to_text(captures[int(ch) - 1])
            return ch

        return re.sub(r"%(.)", expand, to_text(replacement), flags=re.S)
    if isinstance(replacement, LuaTable):
        value = lua.get_index(replacement, captures[0])
    else:
        value = (lua.call(replacement, captures) or [None])[0]
    if not truth(value):
        return str(whole)
    if not isinstance(value, (str, float)):
        raise lua.error("E0207", "invalid replacement value in 'gsub'")
    return to_text(value)


def _format(lua: Interpreter, args: list[Value]) -> list[Value]:
    form = _text(lua, args, 1, "format")
    position = 1

    def convert(m: re.Match[str]) -> str:
        nonlocal position
        flags, width, precision, kind = m.groups()
        if kind == "%":
            return "%"
        if not kind or kind not in "diouxXcseEfgGq":
            raise lua.error("E0207", f"invalid option '{m.group()}' in 'format'")
        position += 1
        if len(width or "") > 2 or len(precision or "") > 3:
            raise lua.error("E0207", "invalid format (width or precision too long)")
        spec = f"%{flags}{width or ''}{precision or ''}"
        if kind in "sq":
            value = text_of(lua, argument(lua, args, position, "any", "format"))
            return (
                str((spec + "s") % value)
                if kind == "s"
                else '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\\n") + '"'
            )
        number = argument(lua, args, position, "number", "format")
        if kind in "diouxXc":
            if number != number or abs(number) == float("inf"):
                raise lua.error("E0207", f"bad argument #{position} to 'format' (number has no integer representation)")
            return chr(int(number) % 256) if kind == "c" else str((spec + {"i": "d", "u": "d"}.get(kind, kind)) % int(number))
        return str((spec + kind) % number)

    text = re.sub(r"%([-+ #0]*)(\d+)?(\.\d*)?(.|$)", convert, form, flags=re.S)
    lua.budget.check_text(len(text), lua.origin())
    return [text]


STRING: dict[str, Any] = {
    "sub": _sub, "byte": _byte, "char": _char, "rep": _rep, "find": _find, "gmatch": _gmatch, "gsub": _gsub, "format": _format,
    "match": lambda lua, args: _find(lua, args, "match"),
    "len": lambda lua, args: [float(len(_text(lua, args, 1, "len")))],
    "upper": lambda lua, args: [_text(lua, args, 1, "upper").upper()],
    "lower": lambda lua, args: [_text(lua, args, 1, "lower").lower()],
    "reverse": lambda lua, args: [_text(lua, args, 1, "reverse")[::-1]],
}  # fmt: skip

STRING["gfind"] = STRING["gmatch"]
