"""``torch.CmdLine``: in a spec, the options it declares are the spec's options.

``cmd:option('-rnn_size', 128, 'units')`` is ``options { rnn_size = 128 }``; ``cmd:parse(arg)`` gives the table, with what the command
line or Python set.  https://github.com/torch/torch7/blob/master/doc/cmdline.md
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from graphspec.build.bindings import Method, bound
from graphspec.build.stdlib import argument
from graphspec.build.values import Host, LuaTable, Value, show_key
from graphspec.suggest import did_you_mean

if TYPE_CHECKING:
    from graphspec.build.interpreter import Interpreter
    from graphspec.build.options import Options


class CmdLine(Host):
    title = "a torch.CmdLine"
    methods: ClassVar[dict[Value, Method]] = {}

    def __init__(self, options: Options) -> None:
        self.options = options
        self.values = LuaTable()

    def index(self, lua: Interpreter, key: Value) -> Value:
        method = self.methods.get(key)
        if method is None:
            raise lua.error("E0203", f"a torch.CmdLine has no method {show_key(key)}", helps=did_you_mean(str(key), self.methods))
        return bound(self, str(key), method)


def _option(lua: Interpreter, owner: CmdLine, args: list[Value]) -> Value:
    name = argument(lua, args, 1, "string", "option").lstrip("-")
    default = args[1] if len(args) > 1 else None
    help_text = argument(lua, args, 3, "string", "option", "")
    owner.values.set(name, owner.options.declare(lua, name, default, help_text))
    return []


def _parse(lua: Interpreter, owner: CmdLine, args: list[Value]) -> Value:
    return owner.values


def _nothing(lua: Interpreter, owner: CmdLine, args: list[Value]) -> Value:
    return []


CmdLine.methods = {
    "option": _option,
    "argument": _option,
    "parse": _parse,
    "string": lambda lua, owner, args: "",
    **dict.fromkeys(("text", "log", "addTime", "silent", "help"), _nothing),
}
