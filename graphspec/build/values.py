"""Lua values.

nil, booleans, numbers (always floats: Lua's are doubles) and strings are Python's None, bool, float and str.  Tables and functions
are the classes here; everything else a spec can hold is a :class:`Host` object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from graphspec.errors import SpecError
from graphspec.lang import ast

if TYPE_CHECKING:
    from graphspec.build.env import Env
    from graphspec.build.interpreter import Interpreter

Value = Any
Builtin = Callable[["Interpreter", list[Value]], "list[Value]"]


class LuaTable:
    """A table.  ``length`` is a border, as ``#`` gives.  ``strangers``: positions at which a name was written that stands for nothing,
    with what helps."""

    __slots__ = ("data", "border", "metatable", "strangers")

    def __init__(self, items: Sequence[Value] = ()) -> None:
        self.data: dict[Any, Value] = {float(i): v for i, v in enumerate(items, 1) if v is not None}
        self.border = 0
        self.metatable: LuaTable | None = None
        self.strangers: dict[int, list[str]] = {}

    def get(self, key: Value) -> Value:
        return self.data.get(_key(key))

    def set(self, key: Value, value: Value) -> None:
        key = _key(key)
        if value is None:
            self.data.pop(key, None)
        else:
            self.data[key] = value

    def length(self) -> int:
        n = self.border
        while float(n + 1) in self.data:
            n += 1
        while n > 0 and float(n) not in self.data:
            n -= 1
        self.border = n
        return n

    def items(self) -> list[Value]:
        """The elements 1 .. length."""
        return [self.data.get(float(i)) for i in range(1, self.length() + 1)]

    def pairs(self) -> Iterator[tuple[Value, Value]]:
        for key, value in self.data.items():
            yield _unkey(key), value

    def fields(self) -> dict[str, Value]:
        """The entries with string keys."""
        return {k: v for k, v in self.data.items() if isinstance(k, str)}

    def meta(self, event: str) -> Value:
        return self.metatable.data.get(event) if self.metatable is not None else None


def _key(key: Value) -> Any:
    return ("boolean", key) if isinstance(key, bool) else key


def _unkey(key: Any) -> Value:
    return key[1] if isinstance(key, tuple) else key


class LuaFunction:
    """A closure."""

    __slots__ = ("syntax", "env")

    def __init__(self, syntax: ast.Function, env: Env) -> None:
        self.syntax = syntax
        self.env = env


class NativeFunction:
    """A function of ours: ``call(interpreter, args) -> results``."""

    __slots__ = ("name", "call")

    def __init__(self, name: str, call: Builtin) -> None:
        self.name = name
        self.call = call


class Host:
    """An object of ours in a spec: a module, a node, a tensor, a description ...

    The defaults say that it can do nothing; ``lua_type`` is what ``type()`` gives.
    """

    lua_type = "userdata"
    title = "an object"

    def same(self, other: Value) -> bool:
        """Whether ``==`` holds: other objects of ours may stand for the same module or node."""
        return other is self

    def named(self, name: str) -> None:
        """It was assigned to a variable of this name."""

    def index(self, lua: Interpreter, key: Value) -> Value:
        raise lua.error("E0203", f"{self.title} has no field {show_key(key)}")

    def set_index(self, lua: Interpreter, key: Value, value: Value) -> None:
        raise lua.error("E0203", f"{self.title}: {show_key(key)} cannot be set")

    def call(self, lua: Interpreter, args: list[Value]) -> list[Value]:
        raise lua.error("E0202", f"{self.title} cannot be called")

    def missing(self, lua: Interpreter, key: str) -> SpecError | None:
        """The error of calling a field that it does not have, where there is more to say than that it is nil."""
        return None

    def arithmetic(self, lua: Interpreter, op: str, left: Value, right: Value) -> Value:
        """``-self``, ``other - self`` ...: NotImplemented where it means nothing."""
        return NotImplemented

    def length(self, lua: Interpreter) -> float:
        raise lua.error("E0202", f"{self.title} has no length")


def show_key(key: Value) -> str:
    return f"'{key}'" if isinstance(key, str) else f"[{to_text(key)}]"


def type_name(value: Value) -> str:
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, float):
        return "number"
    if isinstance(value, str):
        return "string"
    if isinstance(value, LuaTable):
        return "table"
    if isinstance(value, (LuaFunction, NativeFunction)):
        return "function"
    return str(value.lua_type)


def number_text(n: float) -> str:
    """A number as Lua prints it, by ``%.14g``."""
    if n != n:
        return "nan" if str(n)[0] != "-" else "-nan"
    if n in (float("inf"), float("-inf")):
        return "inf" if n > 0 else "-inf"
    return f"{n:.14g}"


def to_text(value: Value) -> str:
    """``tostring`` without metatables."""
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return number_text(value)
    if isinstance(value, str):
        return value
    if isinstance(value, NativeFunction):
        return f"function: builtin: {value.name}"
    if isinstance(value, Host):
        return value.title
    return f"{type_name(value)}: 0x{id(value) & 0xFFFFFFFF:08x}"


def to_number(value: Value) -> float | None:
    """A number, or a string that is one; else None."""
    if isinstance(value, float):
        return value
    if isinstance(value, str):
        text = value.strip()
        try:
            if text.lower().startswith(("0x", "-0x")):
                return float(int(text, 16))
            if text.lower().strip("+-") in ("nan", "inf", "infinity") or "_" in text:
                return None
            return float(text)
        except (ValueError, OverflowError):
            return None
    return None


def truth(value: Value) -> bool:
    return value is not None and value is not False


def show(value: Value) -> str:
    """A value in an error: strings in quotes."""
    return f"'{value}'" if isinstance(value, str) else to_text(value)
