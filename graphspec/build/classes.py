"""``torch.class``: classes written in Lua that compose modules.

An object of such a class is a module when it inherits one (``torch.class('nn.Tower', 'nn.Sequential')``), or when its ``updateOutput``
computes its result by calling other modules (``return self.net:forward(input)``): that function is then run once, on nodes.  A class
that computes with values, and is called as a module of ours, stands for that module.
https://github.com/torch/torch7/blob/master/doc/utility.md#torch.class
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphspec.build.bindings import GraphHost, ModuleHost, NodeHost, located, nodes_of, unwrap
from graphspec.build.env import Thrown
from graphspec.build.limits import LimitError
from graphspec.build.stdlib import argument
from graphspec.build.values import Builtin, Host, LuaFunction, LuaTable, NativeFunction, Value, show_key, type_name
from graphspec.errors import SpecError, error
from graphspec.graph import LEFT_OUT, REGISTRY, Node, about_missing, connect, find_record, gmodule, new_module
from graphspec.suggest import did_you_mean

if TYPE_CHECKING:
    from graphspec.build.interpreter import Interpreter

ABSTRACT = ("nn.Module", "nn.Container", "nn.Criterion", "nn.Decorator")
"""Classes of Torch that compute nothing themselves."""

STANDS_IN = {"Embedding": "LookupTable", "LookupTableGPU": "LookupTable", "LinearNB": "LinearNoBias"}
"""Names that repositories give to a layer that has another name here."""


class ObjectHost(GraphHost):
    """An object of a class written in Lua."""

    def __init__(self, name: str, methods: LuaTable, given: list[Value]) -> None:
        self.title = self.name = name
        self.last_name = name.rpartition(".")[2]
        self.given = given
        self.replaced = False
        self.methods = methods
        self.fields = LuaTable()
        self.native: ModuleHost | None = None
        """What ``parent.__init(self, ...)`` made, where the class inherits a module."""

    def named(self, name: str) -> None:
        if self.native is not None:
            self.native.named(name)

    def index(self, lua: Interpreter, key: Value) -> Value:
        found = self.fields.get(key)
        if found is None:
            found = lua.get_index(self.methods, key)
        return self.native.index(lua, key) if found is None and self.native is not None else found

    def set_index(self, lua: Interpreter, key: Value, value: Value) -> None:
        self.fields.set(key, value)

    def call(self, lua: Interpreter, args: list[Value]) -> list[Value]:
        """``object(node)``: the node of its result."""
        stand_in = self._stand_in(lua)
        if stand_in is not None:
            return stand_in.call(lua, args)
        if not self.has_output(lua):
            return self.module_host(lua).call(lua, args)
        self.one_input(lua, args)
        return [self.output(lua, args[0] if args else NodeHost(_source(lua)))]

    def has_output(self, lua: Interpreter) -> bool:
        """Whether it has an ``updateOutput`` that is written in Lua."""
        return isinstance(lua.get_index(self.methods, "updateOutput"), LuaFunction)

    def output(self, lua: Interpreter, given: Value) -> Value:
        """What ``updateOutput`` makes of nodes: a node; a table of nodes becomes one."""
        results = lua.call(lua.get_index(self.methods, "updateOutput"), [self, given])
        result = results[0] if results else None
        if isinstance(result, NodeHost):
            return result
        if not isinstance(result, LuaTable):
            raise lua.error(
                "E0216", f"{self.name}:updateOutput gives {type_name(result)}, not a node",
                helps=["in a spec it composes modules: `return self.net:forward(input)`"],
            )  # fmt: skip
        origin = located(lua)
        return NodeHost(connect(new_module("Identity", [], origin), nodes_of(lua, result, self.name), origin))

    def _stand_in(self, lua: Interpreter) -> ModuleHost | None:
        """A module of ours to use instead: one of the same name, where ``updateOutput`` computes with values."""
        record = STANDS_IN.get(self.last_name, self.last_name)
        known = find_record(record) if self.native is None else None
        if known is not None and self._computes(lua):
            given = self.given[: len(known.arguments)]
            self.native = ModuleHost(new_module(record, [unwrap(lua, a) for a in given], located(lua)))
            self.replaced = True
            text = f"nn.{record} is used for {self.name}, whose updateOutput computes with values"
            lua.warnings.append(error("W0218", text, lua.origin(), severity="warning"))
        return self.native if self.replaced else None

    def _computes(self, lua: Interpreter) -> bool:
        """Whether ``updateOutput`` does more than compose modules, found by trying it on a node that leads nowhere."""
        if not self.has_output(lua):
            return False
        frames, span = len(lua.frames), lua.span
        try:
            self.output(lua, NodeHost(_source(lua)))
        except LimitError:
            raise
        except (SpecError, Thrown):
            del lua.frames[frames:]
            lua.span = span
            return True
        return False

    def module_host(self, lua: Interpreter) -> ModuleHost:
        """The module it is; E0216 where it is none."""
        stand_in = self._stand_in(lua)
        if stand_in is not None:
            return stand_in
        if self.has_output(lua):
            source = _source(lua)
            result = self.output(lua, NodeHost(source))
            return ModuleHost(gmodule([source], [result.node], lua.origin()))
        if self.native is None:
            raise lua.error(
                "E0216", f"{self.name} is no module",
                helps=["its __init calls `parent.__init(self)` of a module, or it has an updateOutput that composes modules"],
            )  # fmt: skip
        return self.native

    def arithmetic(self, lua: Interpreter, op: str, left: Value, right: Value) -> Value:
        if op == "-" and right is self:
            return self.call(lua, [] if left is None else [left])[0]
        return NotImplemented


def _source(lua: Interpreter) -> Node:
    """What an ``updateOutput`` is run on."""
    return connect(new_module("Identity", [], lua.origin()), None, located(lua))


class NativeClass(Host):
    """A class of ours: called, it constructs (``nn.Linear(3, 4)``); as the parent of one written in Lua it has ``parent.__init(self, ...)``
    and its methods; methods added to it (``function nn.Module:tag() ... end``) are seen by every module of that class."""

    lua_type = "table"

    def __init__(self, name: str, construct: Builtin | None = None) -> None:
        self.title = self.name = name
        self.construct = construct

    def call(self, lua: Interpreter, args: list[Value]) -> list[Value]:
        if self.construct is None:
            raise lua.error("E0202", f"{self.name} is an abstract class: it cannot be called")
        return self.construct(lua, args)

    def set_index(self, lua: Interpreter, key: Value, value: Value) -> None:
        lua.added_methods.setdefault(self.name, {})[key] = value

    def index(self, lua: Interpreter, key: Value) -> Value:
        added = lua.added_methods.get(self.name, {}).get(key)
        if added is not None:
            return added
        if key == "__init":
            return NativeFunction(f"{self.name}.__init", self._init)
        if key == "__typename":
            return self.name
        if key == "add" and self.name in ABSTRACT:
            return NativeFunction("add", self._add)
        if key not in ModuleHost.methods and not (self._record and key in self._record.methods):
            return None

        def call(inner: Interpreter, args: list[Value]) -> list[Value]:
            if args and isinstance(args[0], ModuleHost):
                return inner.call(args[0].index(inner, key), args)
            owner = self._owner(inner, args, str(key))
            if key in ("forward", "updateOutput"):
                if key == "forward" and owner.has_output(inner):
                    return owner.call(inner, args[1:])
                if owner.native is None:
                    raise inner.error("E0216", f"{owner.name} has no updateOutput")
                return owner.native.call(inner, args[1:])
            module = owner.module_host(inner)
            results = inner.call(module.index(inner, key), [module, *args[1:]])
            return [owner if isinstance(r, ModuleHost) and r.same(module) else r for r in results]

        return NativeFunction(str(key), call)

    @property
    def _record(self) -> Any:
        return find_record(self.name.removeprefix("nn."))

    def _owner(self, lua: Interpreter, args: list[Value], name: str) -> ObjectHost:
        if not args or not isinstance(args[0], ObjectHost):
            raise lua.error("E0212", f"{name} is a method: call it as `parent.{name}(self, ...)`")
        return args[0]

    def _init(self, lua: Interpreter, args: list[Value]) -> list[Value]:
        owner = self._owner(lua, args, "__init")
        if self.name in ABSTRACT:
            owner.fields.set("modules", LuaTable())
        else:
            lua.budget.node(lua.origin())
            owner.native = ModuleHost(new_module(self.name.removeprefix("nn."), [unwrap(lua, a) for a in args[1:]], located(lua)))
        return []

    def _add(self, lua: Interpreter, args: list[Value]) -> list[Value]:
        owner = self._owner(lua, args, "add")
        modules = owner.fields.get("modules")
        if isinstance(modules, LuaTable) and len(args) > 1:
            modules.set(float(modules.length() + 1), args[1])
        return [owner]


def class_of(value: Value) -> str | None:
    """The class's name of an object."""
    return value.name if isinstance(value, ObjectHost) else None


def is_of(lua: Interpreter, value: Value, name: str) -> bool:
    """``torch.isTypeOf``: whether a module or an object is of that class, or of one that inherits it."""
    if isinstance(value, ModuleHost):
        record = value.module.record
        names = [f"nn.{record.name}", "nn.Module", *(["nn.Container"] if value.module.children else [])]
        return name in names or (name == "nn.Criterion" and record.kind == "criterion")
    place: Value = value.methods if isinstance(value, ObjectHost) else None
    for _ in range(len(lua.classes) + 1):
        if isinstance(place, NativeClass):
            return name == place.name or name == "nn.Module"
        if not isinstance(place, LuaTable):
            return False
        if place.data.get("__typename") == name:
            return True
        place = place.meta("__index")
    return False


def torch_class(lua: Interpreter, args: list[Value]) -> list[Value]:
    """``local Tower, parent = torch.class('nn.Tower', 'nn.Sequential')``: the table of methods, which constructs when
    it is called, and the parent's."""
    name = argument(lua, args, 1, "string", "torch.class")
    parent_name = args[1] if len(args) > 1 and isinstance(args[1], str) else None
    parent = _parent(lua, parent_name) if parent_name is not None else None
    methods = LuaTable()
    methods.set("__typename", name)
    lua.classes[name] = methods

    def construct(inner: Interpreter, given: list[Value]) -> list[Value]:
        made = ObjectHost(name, methods, given[1:])
        init = inner.get_index(methods, "__init")
        if init is not None:
            inner.call(init, [made, *given[1:]])
        return [made]

    methods.metatable = LuaTable()
    methods.metatable.set("__call", NativeFunction(name, construct))
    methods.metatable.set("__index", parent)
    _register(lua, name, methods)
    return [methods, parent]


def _parent(lua: Interpreter, name: str) -> Value:
    if name in lua.classes:
        return lua.classes[name]
    bare = name.removeprefix("nn.")
    if name in ABSTRACT or find_record(bare) is not None:
        return NativeClass(name)
    known = [*lua.classes, *ABSTRACT, *(f"nn.{n}" for n in REGISTRY)]
    about = about_missing(bare) if bare in LEFT_OUT else {"helps": did_you_mean(name, known)}
    raise lua.error("E0401", f"there is no class {name}", **about)


def _register(lua: Interpreter, name: str, methods: LuaTable) -> None:
    """Put it where its dotted name says; tables on the way are made."""
    *path, last = name.split(".")
    place: Value = lua.globals
    for step in path:
        inner = lua.get_index(place, step)
        if inner is None:
            inner = LuaTable()
            lua.set_index(place, step, inner)
        if not isinstance(inner, (LuaTable, Host)):
            raise lua.error("E0203", f"torch.class: {show_key(step)} is a {type_name(inner)}, which holds no classes")
        place = inner
    lua.set_index(place, last, methods)

