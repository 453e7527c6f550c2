"""The basic functions and ``table``.  io, os, load and debug do not exist."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

from graphspec.build.env import Thrown
from graphspec.build.limits import COMPARE
from graphspec.build.operators import compare
from graphspec.build.values import Host, LuaTable, NativeFunction, Value, to_number, to_text, truth, type_name
from graphspec.errors import SpecError

if TYPE_CHECKING:
    from graphspec.build.interpreter import Interpreter

ABSENT = (
    "io",
    "os",
    "load",
    "loadstring",
    "loadfile",
    "setfenv",
    "getfenv",
    "debug",
    "coroutine",
    "package",
    "module",
)


def argument(lua: Interpreter, args: list[Value], position: int, kind: str, name: str, default: Any = ...) -> Any:
    """Argument ``position`` (from 1) of a function, of this type ("whole": a number, cut to an integer); E0207 otherwise."""
    value = args[position - 1] if position <= len(args) else None
    if value is None and default is not ...:
        return int(default) if kind == "whole" else default
    if kind == "any":
        return value
    if kind in ("number", "whole"):
        number = to_number(value)
        if number is not None and kind == "number":
            return number
        if number is not None and math.isfinite(number):
            return int(number)
        kind = "number" if number is None else "finite number"
    elif kind == "string" and isinstance(value, (str, float)) and not isinstance(value, bool):
        return to_text(value)
    elif type_name(value) == kind:
        return value
    got = "no value" if position > len(args) else type_name(value)
    raise lua.error("E0207", f"bad argument #{position} to '{name}' ({kind} expected, got {got})")


def text_of(lua: Interpreter, value: Value) -> str:
    """``tostring``, with ``__tostring``."""
    if isinstance(value, LuaTable) and value.meta("__tostring") is not None:
        results = lua.call(value.meta("__tostring"), [value])
        return to_text(results[0] if results else None)
    return to_text(value)


def _print(lua: Interpreter, args: list[Value]) -> list[Value]:
    line = "\t".join(text_of(lua, v) for v in args)
    lua.budget.check_text(len(line), lua.origin())
    lua.log.append(line)
    return []


def _error(lua: Interpreter, args: list[Value]) -> list[Value]:
    value = args[0] if args else None
    level = argument(lua, args, 2, "number", "error", 1.0)
    problem = lua.error("E0208", f"error: {text_of(lua, value)}")
    place = f"{lua.span}: " if isinstance(value, str) and level > 0 and lua.span else ""
    raise Thrown(place + value if isinstance(value, str) else value, problem)


def _assert(lua: Interpreter, args: list[Value]) -> list[Value]:
    if args and truth(args[0]):
        return args
    message = args[1] if len(args) > 1 else "assertion failed!"
    raise Thrown(message, lua.error("E0208", f"assertion failed: {text_of(lua, message)}" if len(args) > 1 else "assertion failed"))


def _pcall(lua: Interpreter, args: list[Value]) -> list[Value]:
    return lua.protected(args[0] if args else None, args[1:])


def _xpcall(lua: Interpreter, args: list[Value]) -> list[Value]:
    results = lua.protected(args[0] if args else None, [])
    return results if results[0] else [False, *lua.call(args[1], results[1:])]


def _next(lua: Interpreter, args: list[Value]) -> list[Value]:
    table = argument(lua, args, 1, "table", "next")
    key = args[1] if len(args) > 1 else None
    pairs = iter(list(table.pairs()))
    if key is not None:
        for k, _ in pairs:
            lua.spend(1)
            if k == key and type_name(k) == type_name(key):
                break
    for k, v in pairs:
        return [k, v]
    return [None]


def _pairs(lua: Interpreter, args: list[Value]) -> list[Value]:
    table = argument(lua, args, 1, "table", "pairs")
    keys = [k for k, _ in table.pairs()]
    supply = iter(keys)

    def step(inner: Interpreter, _: list[Value]) -> list[Value]:
        for key in supply:
            value = table.get(key)
            if value is not None:
                return [key, value]
        return [None]

    lua.spend(len(keys))
    return [NativeFunction("next", step), table, None]


def _ipairs(lua: Interpreter, args: list[Value]) -> list[Value]:
    table = argument(lua, args, 1, "table", "ipairs")

    def step(inner: Interpreter, state: list[Value]) -> list[Value]:
        i = float(state[1]) + 1
        value = inner.get_index(table, i)
        return [i, value] if value is not None else [None]

    return [NativeFunction("ipairs", step), table, 0.0]


def _select(lua: Interpreter, args: list[Value]) -> list[Value]:
    if args and args[0] == "#":
        return [float(len(args) - 1)]
    n = argument(lua, args, 1, "whole", "select")
    if n == 0 or n < -(len(args) - 1):
        raise lua.error("E0207", "bad argument #1 to 'select' (index out of range)")
    return args[n:]


def _unpack(lua: Interpreter, args: list[Value]) -> list[Value]:
    table = argument(lua, args, 1, "table", "unpack")
    first = argument(lua, args, 2, "whole", "unpack", 1.0)
    last = argument(lua, args, 3, "whole", "unpack", float(table.length()))
    if last - first > 1_000_000:
        raise lua.error("E0207", "unpack of more than a million values")
    lua.spend(max(0, last - first))
    return [table.get(float(i)) for i in range(first, last + 1)]


def _tonumber(lua: Interpreter, args: list[Value]) -> list[Value]:
    base = argument(lua, args, 2, "whole", "tonumber", 10.0)
    value = args[0] if args else None
    if base == 10:
        return [to_number(value)]
    try:
        return [float(int(to_text(value).strip(), base))]
    except ValueError:
        return [None]


def _setmetatable(lua: Interpreter, args: list[Value]) -> list[Value]:
    table = argument(lua, args, 1, "table", "setmetatable")
    table.metatable = argument(lua, args, 2, "table", "setmetatable", None)
    return [table]


def _getmetatable(lua: Interpreter, args: list[Value]) -> list[Value]:
    value = args[0] if args else None
    return [value.metatable if isinstance(value, LuaTable) else None]


def _rawget(lua: Interpreter, args: list[Value]) -> list[Value]:
    return [argument(lua, args, 1, "table", "rawget").get(args[1] if len(args) > 1 else None)]


def _rawset(lua: Interpreter, args: list[Value]) -> list[Value]:
    table = argument(lua, args, 1, "table", "rawset")
    table.set(args[1], args[2] if len(args) > 2 else None)
    return [table]


def _type(lua: Interpreter, args: list[Value]) -> list[Value]:
    if not args:
        raise lua.error("E0207", "bad argument #1 to 'type' (value expected)")
    return [type_name(args[0])]


BASIC: dict[str, Any] = {
    "print": _print,
    "error": _error,
    "assert": _assert,
    "pcall": _pcall,
    "xpcall": _xpcall,
    "next": _next,
    "pairs": _pairs,
    "ipairs": _ipairs,
    "select": _select,
    "unpack": _unpack,
    "tonumber": _tonumber,
    "tostring": lambda lua, args: [text_of(lua, args[0] if args else None)],
    "setmetatable": _setmetatable,
    "getmetatable": _getmetatable,
    "rawget": _rawget,
    "rawset": _rawset,
    "type": _type,
    "collectgarbage": lambda lua, args: [0.0],
    "rawequal": lambda lua, args: [args[0] is args[1] or (not isinstance(args[0], (LuaTable, Host)) and args[0] == args[1])],
}

# -- table ----------------------------------------------------------------------------------------------------------


def _insert(lua: Interpreter, args: list[Value]) -> list[Value]:
    table = argument(lua, args, 1, "table", "insert")
    if len(args) < 2:
        raise lua.error("E0207", "wrong number of arguments to 'insert'")
    n = table.length()
    if len(args) == 2:
        table.set(float(n + 1), args[1])
        return []
    position = argument(lua, args, 2, "whole", "insert")
    lua.spend(max(0, n - position))
    for i in range(n, position - 1, -1):
        table.set(float(i + 1), table.get(float(i)))
    table.set(float(position), args[2])
    return []


def _remove(lua: Interpreter, args: list[Value]) -> list[Value]:
    table = argument(lua, args, 1, "table", "remove")
    n = table.length()
    position = argument(lua, args, 2, "whole", "remove", float(n))
    if n == 0:
        return [None]
    value = table.get(float(position))
    lua.spend(max(0, n - position))
    for i in range(position, n):
        table.set(float(i), table.get(float(i + 1)))
    table.set(float(n), None)
    return [value]


def _concat(lua: Interpreter, args: list[Value]) -> list[Value]:
    table = argument(lua, args, 1, "table", "concat")
    separator = argument(lua, args, 2, "string", "concat", "")
    first, last = (argument(lua, args, i, "whole", "concat", float(d)) for i, d in ((3, 1), (4, table.length())))
    parts = []
    for i in range(first, last + 1):
        value = table.get(float(i))
        if not isinstance(value, (str, float)):
            raise lua.error("E0207", f"invalid value ({type_name(value)}) at index {i} in table for 'concat'")
        parts.append(to_text(value))
        lua.budget.check_text(len(parts[-1]) + len(separator) + 16, lua.origin())
    text = separator.join(parts)
    lua.budget.check_text(len(text), lua.origin())
    return [text]


def _sort(lua: Interpreter, args: list[Value]) -> list[Value]:
    table = argument(lua, args, 1, "table", "sort")
    order = args[1] if len(args) > 1 else None

    def before(a: Value, b: Value) -> int:
        lua.spend(COMPARE)
        return -1 if less(a, b) else 1 if less(b, a) else 0

    def less(a: Value, b: Value) -> bool:
        return compare(lua, "<", a, b) if order is None else truth((lua.call(order, [a, b]) or [None])[0])

    for i, value in enumerate(sorted(table.items(), key=functools.cmp_to_key(before)), 1):
        table.set(float(i), value)
    return []


TABLE: dict[str, Any] = {
    "insert": _insert,
    "remove": _remove,
    "concat": _concat,
    "sort": _sort,
    "unpack": _unpack,
    "getn": lambda lua, args: [float(argument(lua, args, 1, "table", "getn").length())],
    "maxn": lambda lua, args: [max([0.0, *(k for k, _ in argument(lua, args, 1, "table", "maxn").pairs() if isinstance(k, float))])],
}


def library(functions: dict[str, Any], prefix: str = "") -> LuaTable:
    """A table of native functions."""
    table = LuaTable()
    for name, call in functions.items():
        table.set(name, NativeFunction(prefix + name, call))
    return table


def nothing(lua: Interpreter, args: list[Value]) -> list[Value]:
    """For functions whose work is done elsewhere."""
    return []


class Absent(Host):
    """A Lua library that specs do not have: mentioning it is fine, using it is E0209."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.title = f"'{name}'"

    def _refuse(self, lua: Interpreter) -> SpecError:
        return lua.error(
            "E0209",
            f"{self.name} does not exist in a spec",
            helps=["a spec cannot reach files, the system or the network; give it options and data sources"],
        )

    def index(self, lua: Interpreter, key: Value) -> Value:
        raise self._refuse(lua)

    def call(self, lua: Interpreter, args: list[Value]) -> list[Value]:
        raise self._refuse(lua)
