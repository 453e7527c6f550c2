"""``nn``: every record by name, and whatever a file adds to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from graphspec.build.bindings import ModuleHost, counted_from_zero, located, nodes_of, unwrap
from graphspec.build.classes import ABSTRACT, STANDS_IN, NativeClass
from graphspec.build.values import Host, LuaTable, NativeFunction, Value
from graphspec.errors import Diagnostic, SpecError
from graphspec.graph import about_missing, find_record, gmodule, new_module
from graphspec.graph.elsewhere import ELSEWHERE

if TYPE_CHECKING:
    from graphspec.build.interpreter import Interpreter


class Namespace(Host):
    """``nn``: every record by name, ``gModule``; fields of one's own (``nn.MyLayer``) may be added."""

    def __init__(self, name: str, lenient: bool, warn: Callable[[Diagnostic], None]) -> None:
        self.title = name
        self.own = LuaTable()
        self.lenient = lenient
        self.warn = warn

    def index(self, lua: Interpreter, key: Value) -> Value:
        found = self.own.get(key)
        if found is not None or not isinstance(key, str):
            return found
        if key == "gModule":
            return NativeFunction("nn.gModule", self._gmodule)
        record = STANDS_IN.get(key, key)
        if find_record(record) is not None:
            return NativeClass(f"nn.{record}", lambda inner, args: self._construct(inner, record, args))
        if f"nn.{key}" in ABSTRACT:
            return NativeClass(f"nn.{key}")
        if key in ELSEWHERE and key.islower():  # a library of PyTorch's, of which a field would be asked for next
            raise self.missing(lua, key)
        return None

    def missing(self, lua: Interpreter, key: str) -> SpecError:
        return lua.error("E0401", f"there is no module nn.{key}", **about_missing(key))

    def set_index(self, lua: Interpreter, key: Value, value: Value) -> None:
        self.own.set(key, value)

    def _construct(self, lua: Interpreter, name: str, args: list[Value]) -> list[Value]:
        lua.budget.node(lua.origin())
        try:
            return [ModuleHost(new_module(name, [unwrap(lua, a) for a in args], located(lua)))]
        except SpecError as failure:
            if failure.code != "E0420":
                raise
            raise SpecError(failure.diagnostics[0].with_help(*counted_from_zero(lua))) from None

    def _gmodule(self, lua: Interpreter, args: list[Value]) -> list[Value]:
        lists = []
        for value in args:
            if not isinstance(value, LuaTable):
                break
            found = nodes_of(lua, value, "nn.gModule")
            lists.append(found if isinstance(found, list) else list(found.values()) if isinstance(found, dict) else [found])
        if len(args) != 2 or len(lists) != 2:
            raise lua.error("E0406", "nn.gModule takes two tables: `nn.gModule({inputs}, {outputs})`")
        return [ModuleHost(gmodule(lists[0], lists[1], lua.origin(), lenient=self.lenient, warn=self.warn))]
