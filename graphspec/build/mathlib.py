"""The ``math`` library."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from graphspec.build.operators import power
from graphspec.build.stdlib import argument, library
from graphspec.build.values import Builtin, LuaTable, Value

if TYPE_CHECKING:
    from graphspec.build.interpreter import Interpreter


def _function(name: str, function: Callable[..., float], arity: int = 1) -> Builtin:
    """A function of numbers: infinity or NaN, as in C, where Python raises."""

    def call(lua: Interpreter, args: list[Value]) -> list[Value]:
        numbers = [argument(lua, args, i + 1, "number", name) for i in range(arity)]
        try:
            return [float(function(*numbers))]
        except OverflowError:
            return [math.inf]
        except ValueError:
            return [math.nan]

    return call


def _extreme(name: str, pick: Callable[[Iterable[float]], float]) -> Builtin:
    return lambda lua, args: [pick([argument(lua, args, i + 1, "number", name) for i in range(max(1, len(args)))])]


def _rounded(cut: Callable[[float], int]) -> Callable[[float], float]:
    return lambda x: float(cut(x)) if math.isfinite(x) else x


def _log(x: float) -> float:
    return -math.inf if x == 0 else math.log(x)


def _random(lua: Interpreter, args: list[Value]) -> list[Value]:
    unit = float(lua.generator.random())
    if not args:
        return [unit]
    low, high = [1.0, *(argument(lua, args, i + 1, "number", "random") for i in range(min(len(args), 2)))][-2:]
    if high < low:
        raise lua.error("E0207", "bad argument to 'random' (interval is empty)")
    return [float(math.floor(low + unit * (high - low + 1)))]


def _modf(lua: Interpreter, args: list[Value]) -> list[Value]:
    fraction, whole = math.modf(argument(lua, args, 1, "number", "modf"))
    return [whole, fraction]


def _randomseed(lua: Interpreter, args: list[Value]) -> list[Value]:
    lua.seed(seed_number(argument(lua, args, 1, "number", "randomseed")))
    return []


def seed_number(value: float) -> int:
    """Any number as a seed."""
    return int(abs(value)) & (2**63 - 1) if math.isfinite(value) else 0


PYTHON = (
    math.sqrt, math.exp, math.log10, math.sin, math.cos, math.tan, math.asin, math.acos, math.atan, math.sinh, math.cosh, math.tanh,
)  # fmt: skip
"""What Python has under the same name."""


def math_table() -> LuaTable:
    one: dict[str, Callable[[float], float]] = {
        "floor": _rounded(math.floor), "ceil": _rounded(math.ceil), "abs": abs, "log": _log, "deg": math.degrees, "rad": math.radians,
        **{function.__name__: function for function in PYTHON},
    }  # fmt: skip
    two = {"atan2": math.atan2, "fmod": math.fmod, "pow": power}
    table = library({
        **{name: _function(name, function) for name, function in one.items()},
        **{name: _function(name, function, 2) for name, function in two.items()},
        "max": _extreme("max", max), "min": _extreme("min", min), "modf": _modf, "random": _random, "randomseed": _randomseed,
    }, "math.")  # fmt: skip
    table.set("pi", math.pi)
    table.set("huge", math.inf)
    return table
