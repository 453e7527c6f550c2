"""The ``math`` library."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from graphspec.build.stdlib import argument
from graphspec.build.values import LuaTable, NativeFunction, Value

if TYPE_CHECKING:
    from graphspec.build.interpreter import Interpreter


def _unary(name: str, function: Callable[[float], float]) -> NativeFunction:
    def call(lua: Interpreter, args: list[Value]) -> list[Value]:
        try:
            return [float(function(argument(lua, args, 1, "number", name)))]
        except OverflowError:
            return [math.inf]
        except ValueError:
            return [math.nan]

    return NativeFunction(f"math.{name}", call)


def _floor(x: float) -> float:
    return x if math.isinf(x) or x != x else float(math.floor(x))


def _ceil(x: float) -> float:
    return x if math.isinf(x) or x != x else float(math.ceil(x))


def _log(x: float) -> float:
    return -math.inf if x == 0 else math.log(x)


def _random(lua: Interpreter, args: list[Value]) -> list[Value]:
    unit = float(lua.generator.random())
    if not args:
        return [unit]
    low, high = (
        (1.0, argument(lua, args, 1, "number", "random"))
        if len(args) == 1
        else (argument(lua, args, 1, "number", "random"), argument(lua, args, 2, "number", "random"))
    )
    if high < low:
        raise lua.error("E0207", "bad argument to 'random' (interval is empty)")
    return [float(math.floor(low + unit * (high - low + 1)))]


def _extreme(name: str, pick: Callable[..., float]) -> NativeFunction:
    return NativeFunction(
        f"math.{name}", lambda lua, args: [pick(argument(lua, args, i + 1, "number", name) for i in range(max(1, len(args))))]
    )


def math_table() -> LuaTable:
    table = LuaTable()
    functions: dict[str, Callable[[float], float]] = {
        "floor": _floor,
        "ceil": _ceil,
        "sqrt": math.sqrt,
        "abs": abs,
        "exp": math.exp,
        "log": _log,
        "log10": math.log10,
        "sin": math.sin,
        "cos": math.cos,
        "tan": math.tan,
        "asin": math.asin,
        "acos": math.acos,
        "atan": math.atan,
        "sinh": math.sinh,
        "cosh": math.cosh,
        "tanh": math.tanh,
        "deg": math.degrees,
        "rad": math.radians,
    }
    for name, function in functions.items():
        table.set(name, _unary(name, function))
    for name, pick in (("max", max), ("min", min)):
        table.set(name, _extreme(name, pick))
    two: dict[str, Callable[[float, float], float]] = {"atan2": math.atan2, "fmod": math.fmod, "pow": lambda a, b: a**b}
    for name, function2 in two.items():
        table.set(name, NativeFunction(f"math.{name}", functools.partial(_binary_math, name, function2)))
    table.set(
        "modf",
        NativeFunction("math.modf", lambda lua, args: [float(x) for x in reversed(math.modf(argument(lua, args, 1, "number", "modf")))]),
    )
    table.set("random", NativeFunction("math.random", _random))
    table.set("randomseed", NativeFunction("math.randomseed", _randomseed))
    table.set("pi", math.pi)
    table.set("huge", math.inf)
    return table


def _randomseed(lua: Interpreter, args: list[Value]) -> list[Value]:
    lua.seed(seed_number(argument(lua, args, 1, "number", "randomseed")))
    return []


def seed_number(value: float) -> int:
    """Any number as a seed."""
    return int(abs(value)) & (2**63 - 1) if math.isfinite(value) else 0


def _binary_math(name: str, function: Callable[[float, float], float], lua: Interpreter, args: list[Value]) -> list[Value]:
    try:
        return [float(function(argument(lua, args, 1, "number", name), argument(lua, args, 2, "number", name)))]
    except (ValueError, OverflowError, ZeroDivisionError, TypeError):
        return [math.nan]
