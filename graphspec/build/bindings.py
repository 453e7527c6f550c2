"""Modules, nodes and parameters as Lua sees them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from graphspec.build.values import Host, LuaFunction, LuaTable, NativeFunction, Value, show, show_key, type_name
from graphspec.errors import Origin
from graphspec.graph import (
    FlatParameters,
    GModule,
    Module,
    Node,
    ParameterView,
    Table,
    connect,
    new_module,
)  # fmt: skip
from graphspec.graph.elsewhere import module_for
from graphspec.lang import FROM_ONE, ast
from graphspec.suggest import did_you_mean

if TYPE_CHECKING:
    from graphspec.build.interpreter import Interpreter

Method = Callable[["Interpreter", Any, list[Value]], Value]


def unwrap(lua: Interpreter, value: Value) -> Any:
    """A Lua value as the graph takes it: hosts give what they hold, tables become :class:`Table`."""
    if isinstance(value, GraphHost) and not isinstance(value, NodeHost):
        return value.module_host(lua).module
    if isinstance(value, NodeHost):
        return value.node
    if isinstance(value, LuaTable):
        items = []
        for i, item in enumerate(value.items(), 1):
            if item is None:
                raise lua.error("E0402", f"element {i} of this table is nil")
            items.append(unwrap(lua, item))
        return Table(tuple(items), {k: unwrap(lua, v) for k, v in value.fields().items()})
    if isinstance(value, Numbers):
        return value.table(lua)
    if isinstance(value, (LuaFunction, NativeFunction)):
        raise lua.error("E0207", "a function is not a constructor argument")
    return value


MAX_NESTING = 100
"""Of the table on an edge."""


def nodes_of(lua: Interpreter, value: Value, what: str, depth: int = 0) -> Any:
    """An argument of a connection: a node, or nested lists (or, by name, a dict) of nodes; E0402 for holes and nil."""
    if isinstance(value, NodeHost):
        return value.node
    if isinstance(value, GraphHost):
        return value.module_host(lua).module
    if isinstance(value, LuaTable):
        if depth > MAX_NESTING:
            raise lua.error("E0502", f"{what}: its input is a table nested more than {MAX_NESTING} deep")
        numbered = [int(k) for k, _ in value.pairs() if isinstance(k, float) and k >= 1]
        fields = value.fields()
        if fields and not numbered:
            return {k: nodes_of(lua, v, what, depth + 1) for k, v in fields.items()}
        last = max((*numbered, *value.strangers), default=0)
        if hole := next((i for i in range(1, last + 1) if value.get(float(i)) is None), 0):
            raise lua.error("E0402", f"{what}: input {hole} is nil", helps=counted_from_zero(lua) or value.strangers.get(hole, []))
        return [nodes_of(lua, value.get(float(i)), what, depth + 1) for i in range(1, len(numbered) + 1)]
    helps = []
    if value is None:
        helps = counted_from_zero(lua) or ["is the name spelled as where it was made?"]
    raise lua.error("E0402", f"{what}: input is {type_name(value)}, not a node", helps=helps)


def counted_from_zero(lua: Interpreter) -> list[str]:
    """A hint where an argument of the call being made is ``t[0]``."""
    return [FROM_ONE] if lua.calling is not None and any(ast.counts_from_zero(arg) for arg in lua.calling[0].args) else []


class Numbers(Host):
    """A host that is a list of numbers, or of lists of them, where a constructor takes a table."""

    def table(self, lua: Interpreter) -> Table:
        raise NotImplementedError


class GraphHost(Host):
    """What modules and nodes share: they can be chained with ``-``."""

    def arithmetic(self, lua: Interpreter, op: str, left: Value, right: Value) -> Value:
        """``-mod`` is ``mod()``; ``prev - mod`` is ``mod(prev)``, for a node or a table of nodes (N5)."""
        if op != "-" or not isinstance(right, ModuleHost):
            return NotImplemented
        if left is None:
            return right.call(lua, [])[0]
        if isinstance(left, (NodeHost, LuaTable)):
            return right.call(lua, [left])[0]
        return NotImplemented

    def one_input(self, lua: Interpreter, args: list[Value]) -> None:
        if len(args) > 1:
            raise lua.error(
                "E0415",
                f"{self.title}: a module is called with one input, got {len(args)}",
                helps=["several inputs go into one table: `module({a, b})`"],
            )

    def module_host(self, lua: Interpreter) -> ModuleHost:
        """The module that it is."""
        raise lua.error("E0207", f"{self.title} is no module")


class ModuleHost(GraphHost):
    methods: ClassVar[dict[Any, Method]] = {}

    def __init__(self, module: Module) -> None:
        self.module = module
        self.title = f"nn.{module.record.name}"

    def same(self, other: Value) -> bool:
        return isinstance(other, ModuleHost) and other.module is self.module

    def module_host(self, lua: Interpreter) -> ModuleHost:
        return self

    def named(self, name: str) -> None:
        if self.module.name is None:
            self.module.name = name

    def call(self, lua: Interpreter, args: list[Value]) -> list[Value]:
        lua.budget.node(lua.origin())
        self.one_input(lua, args)
        given = nodes_of(lua, args[0], f"nn.{self.module.record.name}") if args else None
        return [NodeHost(connect(self.module, given, located(lua)))]

    def index(self, lua: Interpreter, key: Value) -> Value:
        added = lua.added_methods and lua.added_method(self.module.record, key)
        if added:
            return added
        method = self.methods.get(key)
        if method is not None:
            return bound(self, str(key), method)
        if key in self.module.record.methods:
            return bound(self, str(key), _record_method(str(key)))
        for table in (self.module.parameters, self.module.buffers):
            if key in table:
                return ParameterHost(table[key].view)
        owner = gradient_of(key)
        if owner in self.module.parameters:
            return FlatHost(FlatParameters((self.module.parameters[owner],)), gradient=True)
        if key in ("modules", "children"):
            return LuaTable([ModuleHost(child) for child in self.module.children])
        if isinstance(self.module, GModule) and key == "forwardnodes":
            return LuaTable([NodeHost(node) for node in self.module.nodes])
        if key in ("fg", "bg") or key in self.module.record.parts:
            return self
        if key == "train":
            return self.module.training
        extra = self.module.extras.get(key)
        if extra is not None or not isinstance(key, str):
            lua.made_up.asked.add(key)
            return extra
        return self.module.record.get(self.module, key)

    def set_index(self, lua: Interpreter, key: Value, value: Value) -> None:
        """A constructor argument (``criterion.sizeAverage = false``), a parameter, or a field of one's own.

        A parameter set to another module's is tied to it; set to a tensor, it starts with its values.
        """
        if key == "bias" and value is None and "noBias" in self.module.record.methods:
            self.module.record.call(self.module, "noBias", [], lua.origin())
        elif key in self.module.parameters:
            self._set_parameter(lua, str(key), value)
        elif gradient_of(key) in self.module.parameters:
            pass  # gradients follow their parameters: what is tied has one
        elif any(key in (argument.name, argument.field) for argument in self.module.record.arguments):
            self.module.record.set(self.module, str(key), unwrap(lua, value), lua.origin())
        elif key == "train" and isinstance(value, bool):
            self.module.training = value
        else:
            self.module.extras[key] = value
            if value is not None:
                lua.made_up.put(self.module, key, lua.origin())

    def _set_parameter(self, lua: Interpreter, name: str, value: Value) -> None:
        own = self.module.parameters[name]
        if isinstance(value, ParameterHost) and value.view == value.view.parameter.view:
            if value.view.shape != own.shape:
                raise lua.error("E0425", f"cannot share {name}: shape {list(own.shape)} here, {list(value.view.shape)} there")
            self.module.parameters[name] = value.view.parameter
        else:
            copy = ParameterHost(own.view).index(lua, "copy")
            lua.call(copy, [ParameterHost(own.view), value])


def by_module(signature: str | None) -> str:
    """What to tell who treats a node as a tensor."""
    return f"a node's value is known when the model runs: what is done with it is a module, `{signature or 'nn.Tanh()'}`"


def gradient_of(key: Value) -> str | None:
    """``weight`` of ``gradWeight``."""
    return key[4].lower() + key[5:] if isinstance(key, str) and len(key) > 4 and key.startswith("grad") else None


class NodeHost(GraphHost):
    methods: ClassVar[dict[Any, Method]] = {}
    title = "a node"

    def __init__(self, node: Node) -> None:
        self.node = node

    def same(self, other: Value) -> bool:
        return isinstance(other, NodeHost) and other.node is self.node

    def named(self, name: str) -> None:
        if name == "_":
            self.node.discarded = True
        elif self.node.name is None:
            self.node.name = name

    def index(self, lua: Interpreter, key: Value) -> Value:
        method = self.methods.get(key)
        if method is not None:
            return bound(self, str(key), method)
        if key == "data":
            return NodeData(self.node)
        if isinstance(key, float):
            return ModuleHost(new_module("SelectTable", [key], located(lua))).call(lua, [self])[0]
        does = module_for(str(key))
        helps = [] if does else did_you_mean(str(key), [*self.methods, "data"])
        if str(key) in ("size", "shape", "dim", "nElement", "numel"):
            helps = ["inputs declare sizes, as numbers or letters, and modules take them: `nn.Identity{'B', 4}()`, `nn.View('B', -1)`"]
        raise lua.error("E0203", f"a node has no field {show_key(key)}", helps=helps or [by_module(does)])

    def arithmetic(self, lua: Interpreter, op: str, left: Value, right: Value) -> Value:
        """Only what modules have; a node with a node or a number is E0201, which names the module to write instead."""
        result = super().arithmetic(lua, op, left, right)
        other = left if right is self else right
        if result is not NotImplemented or not (other is None or isinstance(other, (float, NodeHost))):
            return result
        if left is None:
            how = "nn.MulConstant(-1)(a)"
        elif isinstance(other, NodeHost):
            tables = {"+": "CAddTable", "-": "CSubTable", "*": "CMulTable", "/": "CDivTable"}
            how = f"nn.{tables[op]}()({{a, b}})" if op in tables else ""
        elif right is self and op in "-/":
            how = f"nn.AddConstant({show(left)})(nn.MulConstant(-1)(a))" if op == "-" else f"nn.MulConstant({show(left)})(nn.Power(-1)(a))"
        else:
            modules = {"+": "AddConstant({})", "-": "AddConstant(-{})", "*": "MulConstant({})", "/": "MulConstant(1 / {})"}
            found = "Power({})" if op == "^" and left is self else modules.get(op)
            how = f"nn.{found.format(show(other))}(a)" if found else ""
        helps = [f"what is done with nodes is a module: `{how}`"] if how else []
        raise lua.error("E0201", f"attempt to perform arithmetic (`{op}`) on a node", helps=helps)

    def call(self, lua: Interpreter, args: list[Value]) -> list[Value]:
        raise lua.error(
            "E0416",
            f"{self.node.title} is a node already: it cannot be called",
            helps=["a module is called once: `nn.Module(args)(input)`"],
        )


class NodeData(Host):
    """``node.data``: the module and the annotations."""

    title = "node.data"

    def __init__(self, node: Node) -> None:
        self.node = node

    def index(self, lua: Interpreter, key: Value) -> Value:
        if key == "module":
            return ModuleHost(self.node.module) if self.node.module is not None else None
        if key == "annotations":
            table = LuaTable()
            for name, value in self.node.annotations.items():
                table.set(name, value)
            return table
        return self.node.annotations.get(key)

    def set_index(self, lua: Interpreter, key: Value, value: Value) -> None:
        self.node.annotations[key] = value


class MethodHost(Host):
    """What has methods, and no fields."""

    methods: ClassVar[dict[Any, Method]] = {}

    def index(self, lua: Interpreter, key: Value) -> Value:
        method = self.methods.get(key)
        if method is None:
            raise lua.error("E0203", f"{self.title} has no method {show_key(key)}", helps=did_you_mean(str(key), self.methods))
        return bound(self, str(key), method)


class ParameterHost(MethodHost):
    """``module.weight`` or a part of it."""

    title = "a parameter"

    def __init__(self, view: ParameterView) -> None:
        self.view = view

    def same(self, other: Value) -> bool:
        return isinstance(other, ParameterHost) and other.view == self.view

    def length(self, lua: Interpreter) -> float:
        return float(self.view.shape[0])

    def index(self, lua: Interpreter, key: Value) -> Value:
        if isinstance(key, float):
            return ParameterHost(narrow(lua, self.view, 1, position(lua, key), 1))
        if isinstance(key, LuaTable):
            return ParameterHost(self._window(lua, key))
        return super().index(lua, key)

    def set_index(self, lua: Interpreter, key: Value, value: Value) -> None:
        part = self.index(lua, key)
        if not isinstance(part, ParameterHost) or not isinstance(value, float):
            raise lua.error("E0203", "part of a parameter is set to a number, as in `bias[{{1, n}}] = 1`")
        part.view.apply("fill", value)

    def _window(self, lua: Interpreter, key: LuaTable) -> ParameterView:
        """``[{{a, b}, {c, d}}]``, axis by axis; ``{}`` is all of an axis."""
        view = self.view
        for axis, part in enumerate(key.items(), 1):
            bounds = part.items() if isinstance(part, LuaTable) else [part, part]
            if bounds:
                first, last = position(lua, bounds[0]), position(lua, bounds[-1])
                size = view.shape[axis - 1] if axis <= len(view.shape) else 0
                first, last = (n + size + 1 if n < 0 else n for n in (first, last))
                view = narrow(lua, view, axis, first, last - first + 1)
        return view


class FlatHost(MethodHost):
    """What ``getParameters()`` gives."""

    title = "a flat parameter tensor"

    def __init__(self, flat: FlatParameters, gradient: bool = False) -> None:
        self.flat = flat
        self.gradient = gradient

    def length(self, lua: Interpreter) -> float:
        return float(self.flat.size)


def position(lua: Interpreter, value: Value) -> int:
    """An index; E0211 for what is none."""
    if not isinstance(value, float) or not value.is_integer():
        raise lua.error("E0211", f"an index is a whole number, got {show(value)}")
    return int(value)


def narrow(lua: Interpreter, view: ParameterView, axis: int, start: int, length: int) -> ParameterView:
    try:
        return view.narrow(axis, start, length)
    except ValueError as failure:
        raise lua.error("E0211", f"there is no such part: {failure}") from None


def bound(owner: Host, name: str, method: Method) -> NativeFunction:
    """A method; called with ``:`` its first argument is the owner."""

    def call(lua: Interpreter, args: list[Value]) -> list[Value]:
        if not args or not owner.same(args[0]):
            raise lua.error("E0212", f"{name} is a method: call it with a colon, `object:{name}(...)`")
        result = method(lua, owner, args[1:])
        return result if isinstance(result, list) else [result]

    return NativeFunction(name, call)


def located(lua: Interpreter) -> Origin:
    """The present place with the values of the plain numbers that the expression reads, for error notes."""
    return lua.origin(values=lua.numbers_read())


def wrap(value: Any) -> Value:
    """A graph object as Lua sees it."""
    if isinstance(value, Module):
        return ModuleHost(value)
    return NodeHost(value) if isinstance(value, Node) else value


def _record_method(name: str) -> Method:
    """A method that only some records have, such as ``view:setNumInputDims(n)``."""

    def method(lua: Interpreter, owner: ModuleHost, args: list[Value]) -> Value:
        return ModuleHost(owner.module.record.call(owner.module, name, [unwrap(lua, a) for a in args], lua.origin()))

    return method
