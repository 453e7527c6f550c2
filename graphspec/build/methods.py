"""Methods of modules, nodes and parameters; importing this gives the hosts their tables."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from graphspec.build.bindings import FlatHost, GraphHost, Method, ModuleHost, NodeHost, ParameterHost, narrow, unwrap
from graphspec.build.stdlib import argument
from graphspec.build.tensors import TensorHost, operand
from graphspec.build.values import Host, LuaTable, Value, to_text, type_name
from graphspec.graph import GModule, Module, split

if TYPE_CHECKING:
    from graphspec.build.interpreter import Interpreter


def _names(lua: Interpreter, args: list[Value], name: str) -> list[str]:
    return [argument(lua, args, i + 1, "string", name) for i in range(len(args))]


def _other(lua: Interpreter, args: list[Value], name: str) -> Module:
    if not args or not isinstance(args[0], GraphHost):
        title = getattr(args[0], "title", "") if args else ""
        raise lua.error("E0207", f"bad argument #1 to '{name}' (module expected, got {type_name(args[0] if args else None)})",
                        helps=[f"`{title}()` makes a module"] if title.startswith("nn.") else [])  # fmt: skip
    return args[0].module_host(lua).module


def _self(lua: Interpreter, owner: Any, args: list[Value]) -> Value:
    return owner


def _training(training: bool) -> Method:
    def method(lua: Interpreter, owner: ModuleHost, args: list[Value]) -> Value:
        for module in owner.module.walk():
            module.training = training
        return owner

    return method


def _reset(lua: Interpreter, owner: ModuleHost, args: list[Value]) -> Value:
    owner.module.reset(args[0] if args and isinstance(args[0], float) else None)
    return owner


def _share(lua: Interpreter, owner: ModuleHost, args: list[Value]) -> Value:
    owner.module.share(_other(lua, args, "share"), _names(lua, args[1:], "share"), lua.origin())
    return owner


def _clone(lua: Interpreter, owner: ModuleHost, args: list[Value]) -> Value:
    for module in owner.module.walk():
        lua.budget.node(lua.origin())
        for _ in module.nodes if isinstance(module, GModule) else ():
            lua.budget.node(lua.origin())
    return ModuleHost(owner.module.clone(_names(lua, args, "clone"), lua.origin()))


def _apply(lua: Interpreter, owner: ModuleHost, args: list[Value]) -> Value:
    for module in owner.module.walk():
        lua.call(args[0] if args else None, [ModuleHost(module)])
    return owner


def _replace(lua: Interpreter, owner: ModuleHost, args: list[Value]) -> Value:
    """``module:replace(f)``: every module inside becomes what ``f`` gives for it."""

    def change(module: Module) -> Module:
        results = lua.call(args[0] if args else None, [ModuleHost(module)])
        if not results or not isinstance(results[0], GraphHost):
            raise lua.error("E0207", f"replace: the function gives {type_name(results[0] if results else None)}, not a module")
        return results[0].module_host(lua).module

    return ModuleHost(owner.module.replace(change))


def _remove(lua: Interpreter, owner: ModuleHost, args: list[Value]) -> Value:
    """``container:remove([position])``: the last one, if none is given."""
    _only_adds(lua, owner, "remove")
    children = owner.module.children
    position = argument(lua, args, 1, "whole", "remove", float(len(children)))
    if not owner.module.record.children or not 1 <= position <= len(children):
        raise lua.error("E0207", f"remove: there is no module {position} of {len(children)}")
    return ModuleHost(children.pop(position - 1))


def _only_adds(lua: Interpreter, owner: ModuleHost, method: str) -> None:
    """E0207 for a module that keeps something of its own for each one that is added, in their order."""
    if "add" in owner.module.record.methods:
        raise lua.error("E0207", f"{method}: nn.{owner.module.record.name} has no such method, only add")


def _insert(lua: Interpreter, owner: ModuleHost, args: list[Value]) -> Value:
    _only_adds(lua, owner, "insert")
    child = _other(lua, args, "insert")
    owner.module.add(child, lua.origin())
    position = argument(lua, args, 2, "whole", "insert", float(len(owner.module.children)))
    if not 1 <= position <= len(owner.module.children):
        raise lua.error("E0207", f"insert: position {position} of {len(owner.module.children)}")
    owner.module.children.insert(position - 1, owner.module.children.pop())
    return owner


def _find_modules(lua: Interpreter, owner: ModuleHost, args: list[Value]) -> Value:
    name = argument(lua, args, 1, "string", "findModules").removeprefix("nn.")
    found = [m for m in owner.module.walk() if m.record.name == name]
    holders = [next((h for h in owner.module.walk() if m in h.children), m) for m in found]
    return [LuaTable([ModuleHost(m) for m in group]) for group in (found, holders)]


def _add(lua: Interpreter, owner: ModuleHost, args: list[Value]) -> Value:
    record = owner.module.record
    if "add" in record.methods:  # it takes more than a module
        record.call(owner.module, "add", [_other(lua, args, "add"), *(unwrap(lua, a) for a in args[1:])], lua.origin())
    else:
        owner.module.add(_other(lua, args, "add"), lua.origin())
    return owner


def _get(lua: Interpreter, owner: ModuleHost, args: list[Value]) -> Value:
    position = argument(lua, args, 1, "whole", "get")
    children = owner.module.children
    return ModuleHost(children[position - 1]) if 1 <= position <= len(children) else None


def _parameters(lua: Interpreter, owner: ModuleHost, args: list[Value]) -> Value:
    return [LuaTable([ParameterHost(p.view) for p in owner.module.all_parameters()]), LuaTable()]


def _get_parameters(lua: Interpreter, owner: ModuleHost, args: list[Value]) -> Value:
    flat = owner.module.flat_parameters()
    return [FlatHost(flat), FlatHost(flat, gradient=True)]


def _forward(lua: Interpreter, owner: ModuleHost, args: list[Value]) -> Value:
    """On nodes, as in a class's ``updateOutput``, it connects; there are no values to run on.  A criterion's input and target are two."""
    given = args[0] if args else None
    if owner.module.record.kind == "criterion" and len(args) == 2:
        given = LuaTable(args)
    if isinstance(given, NodeHost) or (isinstance(given, LuaTable) and any(isinstance(v, (NodeHost, LuaTable)) for _, v in given.pairs())):
        return owner.call(lua, [given])
    return _running("forward")(lua, owner, args)


def _memory(name: str) -> Method:
    """``remember`` and ``forget`` of a module, or of those inside one that has none itself, as Torch's containers hand them on."""

    def method(lua: Interpreter, owner: ModuleHost, args: list[Value]) -> Value:
        module, given = owner.module, [unwrap(lua, arg) for arg in args]
        found = [module] if name in module.record.methods else [m for m in module.walk() if m.record.remembers]
        if not found and name == "remember" and given != ["neither"]:
            raise lua.error("E0422", f"nn.{module.record.name}: there is nothing in it that remembers",
                            helps=["what runs over time and forwards does: nn.Sequencer, nn.SeqLSTM, nn.SeqGRU"])  # fmt: skip
        for each in found:
            each.record.call(each, name, given, lua.origin())
        return owner

    return method


def _running(what: str) -> Method:
    def method(lua: Interpreter, owner: Host, args: list[Value]) -> Value:
        raise lua.error(
            "E0213", f"{what} runs a model, and a spec only describes one", helps=["call it from Python, or with `graphspec run`"]
        )

    return method


ModuleHost.methods = {
    "getParameters": _get_parameters,
    "parameters": _parameters,
    "share": _share,
    "clone": _clone,
    "reset": _reset,
    "apply": _apply,
    "add": _add,
    "insert": _insert,
    "remove": _remove,
    "replace": _replace,
    "get": _get,
    "findModules": _find_modules,
    "training": _training(True),
    "evaluate": _training(False),
    "remember": _memory("remember"),
    "forget": _memory("forget"),
    "size": lambda lua, owner, args: float(len(owner.module.children)),
    "listModules": lambda lua, owner, args: LuaTable([ModuleHost(m) for m in owner.module.walk()]),
    "type": lambda lua, owner, args: owner if args else "torch.FloatTensor",
    "float": _self,
    "double": _self,
    "cuda": _self,
    "clearState": _self,
    "usePrealloc": _self,
    "zeroGradParameters": _self,
    "forward": _forward,
    "updateOutput": _forward,
    "backward": _running("backward"),
    "updateGradInput": _running("updateGradInput"),
    "accGradParameters": _running("accGradParameters"),
    "updateParameters": _running("updateParameters"),
}


def _split(lua: Interpreter, owner: NodeHost, args: list[Value]) -> Value:
    wanted = argument(lua, args, 1, "number", "split")
    if not math.isfinite(wanted) or wanted != int(wanted):
        raise lua.error("E0405", f"split({to_text(wanted)}): a whole number of pieces is wanted")
    n = int(wanted)
    if n > lua.budget.limits.nodes:
        lua.budget.nodes = lua.budget.limits.nodes
    for _ in range(min(n, lua.budget.limits.nodes)):
        lua.budget.node(lua.origin())
    return [NodeHost(piece) for piece in split(owner.node, n, lua.origin())]


def _annotate(lua: Interpreter, owner: NodeHost, args: list[Value]) -> Value:
    table = argument(lua, args, 1, "table", "annotate")
    for key, value in table.fields().items():
        owner.node.annotations[key] = dict(value.fields()) if isinstance(value, LuaTable) else value
    return owner


NodeHost.methods = {"split": _split, "annotate": _annotate}


def _draw(kind: str, defaults: tuple[float | None, ...]) -> Method:
    def method(lua: Interpreter, owner: Any, args: list[Value]) -> Value:
        numbers = [argument(lua, args, i + 1, "number", kind, ... if d is None else d) for i, d in enumerate(defaults)]
        if isinstance(owner, FlatHost):
            if not owner.gradient:
                owner.flat.apply(kind, *numbers)
        else:
            owner.view.apply(kind, *numbers)
        return owner

    return method


def _zero(lua: Interpreter, owner: Any, args: list[Value]) -> Value:
    return _draw("fill", (0.0,))(lua, owner, [])


COMMON_METHODS: dict[Any, Method] = {
    "uniform": _draw("uniform", (0.0, 1.0)),
    "normal": _draw("normal", (0.0, 1.0)),
    "fill": _draw("fill", (None,)),
    "zero": _zero,
    "mul": _draw("mul", (None,)),
    "add": _draw("add", (None,)),
}


def _narrow(lua: Interpreter, owner: ParameterHost, args: list[Value]) -> Value:
    axis, start, length = (argument(lua, args, i, "whole", "narrow") for i in (1, 2, 3))
    return ParameterHost(narrow(lua, owner.view, axis, start, length))


def _select(lua: Interpreter, owner: ParameterHost, args: list[Value]) -> Value:
    axis, at = (argument(lua, args, i, "whole", "select") for i in (1, 2))
    return ParameterHost(narrow(lua, owner.view, axis, at, 1))


def _size(lua: Interpreter, owner: ParameterHost, args: list[Value]) -> Value:
    shape = owner.view.shape
    if not args:
        return LuaTable([float(n) for n in shape])
    axis = argument(lua, args, 1, "whole", "size")
    if not 1 <= axis <= len(shape):
        raise lua.error("E0211", f"axis {axis} of a tensor with {len(shape)} axes")
    return float(shape[axis - 1])


def _copy(lua: Interpreter, owner: ParameterHost, args: list[Value]) -> Value:
    """``weight:copy(tensor)`` or ``weight:copy(other.weight)``: the values it starts with."""
    given = args[0] if args else None
    if isinstance(given, TensorHost):
        owner.view.apply("copy", operand(lua, given, owner.view.shape, "copy").copy())
    elif isinstance(given, ParameterHost):
        if math.prod(given.view.shape) != math.prod(owner.view.shape):
            raise lua.error("E0211", f"copy: {list(given.view.shape)} does not fit {list(owner.view.shape)}")
        source = given.view.parameter
        owner.view.apply("like", source, len(source.log), given.view.region)
    else:
        raise lua.error("E0207", f"bad argument #1 to 'copy' (tensor expected, got {type_name(given)})")
    return owner


ParameterHost.methods = {
    "copy": _copy,
    "clone": _self,
    **COMMON_METHODS,
    "narrow": _narrow,
    "select": _select,
    "sub": _narrow,
    "size": _size,
    "nElement": lambda lua, owner, args: float(math.prod(owner.view.shape)),
    "dim": lambda lua, owner, args: float(len(owner.view.shape)),
}

FlatHost.methods = {
    **COMMON_METHODS,
    "nElement": lambda lua, owner, args: float(owner.flat.size),
    "size": lambda lua, owner, args: float(owner.flat.size),
    "numel": lambda lua, owner, args: float(owner.flat.size),
}
