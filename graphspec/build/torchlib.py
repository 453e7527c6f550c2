"""The ``torch`` of a spec: tensors to initialise parameters with, and classes.  https://github.com/torch/torch7/tree/master/doc"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from graphspec.build.bindings import ModuleHost, NodeHost, ParameterHost, by_module
from graphspec.build.classes import NativeClass, class_of, is_of, torch_class
from graphspec.build.cmdline import CmdLine
from graphspec.build.mathlib import math_table, seed_number
from graphspec.build.stdlib import argument, library, nothing
from graphspec.build.tensors import TensorHost, allocate, charge, shape_text, sizes, whole, wrap
from graphspec.build.values import Host, LuaTable, Value, show_key, type_name
from graphspec.graph.elsewhere import module_for
from graphspec.suggest import did_you_mean

if TYPE_CHECKING:
    from graphspec.build.interpreter import Interpreter
    from graphspec.build.options import Options

TENSORS = ("Tensor", "FloatTensor", "DoubleTensor", "LongTensor", "IntTensor", "ByteTensor", "CudaTensor", "LongStorage")


def _tensor(lua: Interpreter, args: list[Value]) -> list[Value]:
    """``torch.Tensor(2, 3)`` (zeros here, undefined in Torch), ``torch.Tensor{1, 2}``, ``torch.Tensor(other)``."""
    first = args[0] if args else None
    if isinstance(first, LuaTable):
        array = _numbers(lua, first, 0)
    elif isinstance(first, TensorHost):
        array = first.array
    else:
        shape = sizes(lua, args, "Tensor")
        allocate(lua, shape)
        array = np.zeros(shape if args else (0,))
    return [TensorHost(array)]


def _numbers(lua: Interpreter, table: LuaTable, depth: int) -> Any:
    """Nested tables of numbers as an array; E0211 for ragged ones."""
    rows = table.items()
    charge(lua, len(rows) * 64)
    if depth > 10:
        raise lua.error("E0211", "a tensor from tables nested more than 10 deep")
    found = [_numbers(lua, row, depth + 1) if isinstance(row, LuaTable) else row for row in rows]
    if not all(isinstance(x, (float, np.ndarray)) for x in found) or len({getattr(x, "shape", ()) for x in found}) > 1:
        raise lua.error("E0211", "a tensor is made from numbers, or from tables of numbers that are equally long")
    return np.array(found, np.float64)


def _made(name: str, make: Callable[[Interpreter, tuple[int, ...]], Any]) -> Any:
    def call(lua: Interpreter, args: list[Value]) -> list[Value]:
        shape = sizes(lua, args, name)
        allocate(lua, shape)
        return [wrap(make(lua, shape))] if shape else [TensorHost(np.zeros(0))]

    return call


def _range(lua: Interpreter, args: list[Value]) -> list[Value]:
    first, last = argument(lua, args, 1, "number", "range"), argument(lua, args, 2, "number", "range")
    step = argument(lua, args, 3, "number", "range", 1.0)
    steps = (last - first) / step if step else -1.0
    if not 0 <= steps < float("inf"):
        raise lua.error("E0211", "range: the end cannot be reached from the start")
    count = int(steps + 1e-9) + 1
    allocate(lua, (count,))
    return [TensorHost(first + step * np.arange(count, dtype=np.float64))]


def _linspace(lua: Interpreter, args: list[Value]) -> list[Value]:
    first, last = argument(lua, args, 1, "number", "linspace"), argument(lua, args, 2, "number", "linspace")
    count = whole(lua, argument(lua, args, 3, "number", "linspace", 100.0), "linspace", 1)
    allocate(lua, (count,))
    return [TensorHost(np.linspace(first, last, count))]


def _randperm(lua: Interpreter, args: list[Value]) -> list[Value]:
    count = whole(lua, argument(lua, args, 1, "number", "randperm"), "randperm")
    allocate(lua, (count,))
    return [TensorHost(lua.generator.permutation(count) + 1.0)]


def _eye(lua: Interpreter, args: list[Value]) -> list[Value]:
    n, m = (whole(lua, argument(lua, args, i, "number", "eye", args[0] if args else None), "eye") for i in (1, 2))
    allocate(lua, (n, m))
    return [TensorHost(np.eye(n, m))]


def _cat(lua: Interpreter, args: list[Value]) -> list[Value]:
    """``torch.cat(a, b, axis)`` or ``torch.cat({a, b, c}, axis)``."""
    if args and isinstance(args[0], LuaTable):
        parts, rest = args[0].items(), args[1:]
    else:
        parts, rest = [a for a in args if isinstance(a, TensorHost)], [a for a in args if not isinstance(a, TensorHost)]
    if any(isinstance(part, NodeHost) for part in [*parts, *rest]):
        raise lua.error("E0207", "bad argument #1 to 'torch.cat' (tensor expected, got a node)", helps=[by_module(module_for("cat"))])
    arrays = [p.array for p in parts if isinstance(p, TensorHost)]
    along = whole(lua, rest[0], "cat", 1) - 1 if rest else (arrays[0].ndim - 1 if arrays else 0)
    try:
        allocate(lua, (sum(a.size for a in arrays),))
        return [TensorHost(np.concatenate(arrays, along))]
    except ValueError:
        shapes = ", ".join(map(shape_text, arrays))
        raise lua.error("E0211", f"cat along axis {along + 1}: {shapes or 'no tensors'} do not fit") from None


def _method(name: str) -> Any:
    """``torch.exp(t)``: the method of a copy; ``torch.sum(t)`` needs none."""

    def call(lua: Interpreter, args: list[Value]) -> list[Value]:
        if not args or not isinstance(args[0], TensorHost):
            helps = [by_module(module_for(name))] if args and isinstance(args[0], NodeHost) else []
            got = type_name(args[0] if args else None)
            raise lua.error("E0207", f"bad argument #1 to 'torch.{name}' (tensor expected, got {'a node' if helps else got})", helps=helps)
        allocate(lua, args[0].array.shape)
        return [TensorHost.methods[name](lua, TensorHost(args[0].array.copy()), args[1:])]

    return call


def _manual_seed(lua: Interpreter, args: list[Value]) -> list[Value]:
    """The seed of the tensors that follow; parameters take the run's own seed."""
    seed = argument(lua, args, 1, "number", "manualSeed")
    lua.seed(seed_number(seed))
    return []


def _typename(lua: Interpreter, args: list[Value]) -> list[Value]:
    """``torch.type``: the class's name, else Lua's type."""
    value = args[0] if args else None
    if isinstance(value, ModuleHost):
        return [f"nn.{value.module.record.name}"]
    if isinstance(value, NodeHost):
        return ["nngraph.Node"]
    if isinstance(value, (TensorHost, ParameterHost)):
        return ["torch.DoubleTensor"]
    return [class_of(value) or type_name(value)]


def _is_type_of(lua: Interpreter, args: list[Value]) -> list[Value]:
    """The class by name, or by its table."""
    value, wanted = (*args, None, None)[:2]
    name = wanted.name if isinstance(wanted, NativeClass) else wanted.get("__typename") if isinstance(wanted, LuaTable) else wanted
    return [isinstance(name, str) and (is_of(lua, value, name) or _typename(lua, [value]) == [name])]


def _is_tensor(lua: Interpreter, args: list[Value]) -> list[Value]:
    return [bool(args) and isinstance(args[0], (TensorHost, ParameterHost))]


class Torch(Host):
    """``torch``: a library whose unknown names are told with the nearest known one."""

    title = "torch"

    def __init__(self, options: Options) -> None:
        self.table = library({**FUNCTIONS, "CmdLine": lambda lua, args: [CmdLine(options)]}, "torch.")

    def index(self, lua: Interpreter, key: Value) -> Value:
        found = self.table.get(key)
        if found is None:
            does = module_for(str(key))
            helps = [by_module(does)] if does else did_you_mean(str(key), FUNCTIONS, "torch.{}")
            if key == "nn":
                helps = ["nn stands alone: `nn.Linear(4, 3)`"]
            helps = helps or ["a spec describes a model; what loads or trains it is elsewhere"]
            raise lua.error("E0215", f"torch has no {show_key(key)} in a spec", helps=helps)
        return found

    def set_index(self, lua: Interpreter, key: Value, value: Value) -> None:
        self.table.set(key, value)


MATH = math_table().fields()

FUNCTIONS: dict[str, Any] = {
    **dict.fromkeys(TENSORS, _tensor),
    "zeros": _made("zeros", lambda lua, shape: np.zeros(shape)),
    "ones": _made("ones", lambda lua, shape: np.ones(shape)),
    "rand": _made("rand", lambda lua, shape: lua.generator.random(shape)),
    "randn": _made("randn", lambda lua, shape: lua.generator.standard_normal(shape)),
    "randperm": _randperm,
    "range": _range,
    "linspace": _linspace,
    "eye": _eye,
    "cat": _cat,
    **{name: _method(name) for name in TensorHost.methods if name not in ("type", "copy", "size", "float", "double", "cuda", "resize")},
    "manualSeed": _manual_seed,
    "type": _typename,
    "typename": _typename,
    "isTensor": _is_tensor,
    "isTypeOf": _is_type_of,
    "class": torch_class,
    **dict.fromkeys(("setdefaulttensortype", "setnumthreads", "setheaptracking"), nothing),
    "getnumthreads": lambda lua, args: [1.0],
    "initialSeed": lambda lua, args: [1.0],
    "seed": lambda lua, args: [1.0],
    "random": lambda lua, args: MATH["random"].call(lua, args),
    "tic": lambda lua, args: [0.0],
    "toc": lambda lua, args: [0.0],
    "round": lambda lua, args: [float(round(argument(lua, args, 1, "number", "round")))],
    "getdefaulttensortype": lambda lua, args: ["torch.DoubleTensor"],
}
