"""``torch.CmdLine``: in a spec, the options it declares are the spec's options.

``cmd:option('-rnn_size', 128, 'units')`` is ``options { rnn_size = 128 }``; ``cmd:parse(arg)`` gives the table, with what the command
line or Python set.  https://github.com/torch/torch7/blob/master/doc/cmdline.md
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphspec.build.bindings import MethodHost
from graphspec.build.stdlib import argument
from graphspec.build.values import LuaTable, Value

if TYPE_CHECKING:
    from graphspec.build.interpreter import Interpreter
    from graphspec.build.options import Options


class CmdLine(MethodHost):
    title = "a torch.CmdLine"

    def __init__(self, options: Options) -> None:
        self.options = options
        self.values = LuaTable()


def _option(lua: Interpreter, owner: CmdLine, args: list[Value]) -> Value:
    name = argument(lua, args, 1, "string", "option").lstrip("-")
    default = args[1] if len(args) > 1 else None
    help_text = argument(lua, args, 3, "string", "option", "")
    owner.values.set(name, owner.options.declare(lua, name, default, help_text))
    return []


CmdLine.methods = {
    "option": _option,
    "argument": _option,
    "parse": lambda lua, owner, args: owner.values,
    "string": lambda lua, owner, args: "",
    **dict.fromkeys(("text", "log", "addTime", "silent", "help"), lambda lua, owner, args: []),
}
