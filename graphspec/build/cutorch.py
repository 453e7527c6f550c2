"""``cutorch``: what old files ask of a GPU's library while they set up.  A spec has no device; its runner chooses one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphspec.build.stdlib import library, nothing
from graphspec.build.torchlib import Torch
from graphspec.build.values import Host, LuaTable, Value

if TYPE_CHECKING:
    from graphspec.build.interpreter import Interpreter


def _properties(lua: Interpreter, args: list[Value]) -> list[Value]:
    table = LuaTable()
    for name, value in (("name", "none"), ("major", 3.0), ("minor", 5.0), ("totalGlobalMem", 0.0)):
        table.set(name, value)
    return [table]


FUNCTIONS: dict[str, Any] = {
    "getDeviceProperties": _properties,
    "getDeviceCount": lambda lua, args: [1.0],
    "getDevice": lambda lua, args: [1.0],
    "getMemoryUsage": lambda lua, args: [0.0, 0.0],
    **dict.fromkeys(("setDevice", "synchronize", "manualSeed", "manualSeedAll", "reserveStreams", "setHeapTracking"), nothing),
}


class Cutorch(Host):
    title = "cutorch"

    def __init__(self, torch: Torch) -> None:
        self.torch = torch
        self.table = library(FUNCTIONS, "cutorch.")

    def index(self, lua: Interpreter, key: Value) -> Value:
        found = self.table.get(key)
        return self.torch.index(lua, key) if found is None else found

    def set_index(self, lua: Interpreter, key: Value, value: Value) -> None:
        self.table.set(key, value)
