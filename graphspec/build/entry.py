"""What an entry can be: the models and functions that a file has, for those who name none, or one that gives nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from graphspec.build.bindings import ModuleHost
from graphspec.build.env import Env
from graphspec.build.limits import LimitError
from graphspec.build.values import LuaFunction, LuaTable, Value
from graphspec.errors import SpecError

LEAVES_OUT = "as an old script: `--lenient --entry {}` leaves out statements that cannot run, and compiles what the entry gives"


def entry_for(values: Mapping[str, Value]) -> str | None:
    """The last module by its name, else the last function as a call with the names of its parameters; None where there is neither."""
    if modules := [name for name, value in values.items() if isinstance(value, ModuleHost)]:
        return modules[-1]
    calls = [call_of(name, value) for name, value in values.items() if isinstance(value, LuaFunction)]
    return calls[-1] if calls else None


def call_of(name: str, function: LuaFunction) -> str:
    """``network(opt)``: a call with the names of the function's own parameters."""
    return f"{name}({', '.join(function.syntax.params)})"


def models_of(env: Env, table: LuaTable, given: Collection[str]) -> dict[str, Value]:
    """Locals and globals of a file, without the globals that are ``given``, and without functions that close no graph."""
    own = {**{name: value for name, value in table.fields().items() if name not in given}, **env.names}
    return {name: value for name, value in own.items() if not isinstance(value, LuaFunction) or "gModule" in value.syntax.span.text}


def of_a_script(failure: SpecError, path: str, lenient: bool, models: Mapping[str, Value]) -> SpecError:
    """The failure of a whole file, told what an entry does for it, where training code stands beside the model: it runs a model, it is a
    file of Torch's that cannot run here, or ``lenient`` was given for it."""
    first, *rest = failure.diagnostics
    of_nodes = first.code == "E0201" and first.helps  # arithmetic on nodes is a mistake of the model, and told of its module
    runs = first.code == "E0213" or path.endswith(".lua") and (first.code.startswith("E02") or first.code == "E0803")
    if isinstance(failure, LimitError) or first.code.startswith("E01") or of_nodes or not (runs or lenient):
        return failure
    said = first.span.text.partition(":")[0] if first.span is not None else ""  # what `net:forward(x)` runs is the model
    entry = said if isinstance(models.get(said), ModuleHost) else entry_for(models)
    told = LEAVES_OUT.format(f"'{entry}'" if entry else "LUA")
    failure.diagnostics = (replace(first, helps=(*first.helps, told)), *rest)
    return failure
