"""Arithmetic, comparison and concatenation, with metatables."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from graphspec.build.values import Host, LuaTable, Value, number_text, to_number, truth, type_name
from graphspec.lang import ast

if TYPE_CHECKING:
    from graphspec.build.env import Env
    from graphspec.build.interpreter import Interpreter

EVENTS = {"+": "__add", "-": "__sub", "*": "__mul", "/": "__div", "%": "__mod", "^": "__pow", "..": "__concat"}


def _divide(a: float, b: float) -> float:
    if b == 0:
        return math.nan if a == 0 or a != a else math.copysign(math.inf, a) * math.copysign(1, b)
    return a / b


def _modulo(a: float, b: float) -> float:
    if b == 0 or math.isinf(a) or a != a or b != b:
        return math.nan
    if math.isinf(b):
        return a if (a >= 0) == (b > 0) or a == 0 else b
    return a % b


def power(a: float, b: float) -> float:
    try:
        result = a**b
    except (OverflowError, ZeroDivisionError):
        return math.inf
    return result if isinstance(result, float) else math.nan


ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b, "/": _divide, "%": _modulo, "^": power,
}  # fmt: skip


def binary(lua: Interpreter, expr: ast.Binary, left: Value, right: Value, env: Env) -> Value:
    """Any binary operator but ``and`` and ``or``."""
    op = expr.op
    if op == "==":
        return equal(lua, left, right)
    if op == "~=":
        return not equal(lua, left, right)
    if op in ("<", "<=", ">", ">="):
        return compare(lua, op, left, right, expr, env)
    if op == "..":
        return concat(lua, expr, left, right, env)
    if isinstance(left, float) and isinstance(right, float):
        return ARITHMETIC[op](left, right)
    return arithmetic(lua, op, left, right, expr, env)


def arithmetic(lua: Interpreter, op: str, left: Value, right: Value, expr: ast.Binary, env: Env) -> Value:
    a, b = to_number(left), to_number(right)
    if a is not None and b is not None:
        return ARITHMETIC[op](a, b)
    for side in (left, right):
        if isinstance(side, LuaTable) and side.meta(EVENTS[op]) is not None:
            return _first(lua.call(side.meta(EVENTS[op]), [left, right]))
    for side in (right, left):
        if isinstance(side, Host):
            result = side.arithmetic(lua, op, left, right)
            if result is not NotImplemented:
                return result
    bad, where = (right, expr.right) if a is not None else (left, expr.left)
    joined = ["texts are joined by `..`"] if op == "+" and isinstance(bad, str) else []
    raise lua.error(
        "E0201",
        f"attempt to perform arithmetic on {lua.describe(where, bad)}",
        where.span,
        helps=lua.similar(where, env) if bad is None else joined,
    )


def concat(lua: Interpreter, expr: ast.Binary, left: Value, right: Value, env: Env) -> Value:
    if isinstance(left, (str, float)) and isinstance(right, (str, float)):
        a = left if isinstance(left, str) else number_text(left)
        b = right if isinstance(right, str) else number_text(right)
        lua.budget.check_text(len(a) + len(b), lua.origin())
        return a + b
    for side in (left, right):
        if isinstance(side, LuaTable) and side.meta("__concat") is not None:
            return _first(lua.call(side.meta("__concat"), [left, right]))
    bad, where = (right, expr.right) if isinstance(left, (str, float)) else (left, expr.left)
    raise lua.error(
        "E0201", f"attempt to concatenate {lua.describe(where, bad)}", where.span, helps=lua.similar(where, env) if bad is None else []
    )


def equal(lua: Interpreter, left: Value, right: Value) -> bool:
    if type_name(left) != type_name(right):
        return False
    if isinstance(left, LuaTable) and left is not right:
        handler = left.meta("__eq")
        if handler is not None and isinstance(right, LuaTable) and right.meta("__eq") is handler:
            return truth(_first(lua.call(handler, [left, right])))
        return False
    if isinstance(left, (float, str, bool)) or left is None:
        return bool(left == right)
    return left.same(right) if isinstance(left, Host) else left is right


def compare(lua: Interpreter, op: str, left: Value, right: Value, expr: ast.Binary | None = None, env: Env | None = None) -> bool:
    """``<`` and its kin; E0206 for values that have no order, which it calls as the ``expr`` does."""
    a, b = (right, left) if op in (">", ">=") else (left, right)
    strict = op in ("<", ">")
    if isinstance(a, float) and isinstance(b, float):
        return a < b if strict else a <= b
    if isinstance(a, str) and isinstance(b, str):
        return a < b if strict else a <= b
    if isinstance(a, LuaTable) and isinstance(b, LuaTable):
        handler = a.meta("__lt" if strict else "__le")
        if handler is not None:
            return truth(_first(lua.call(handler, [a, b])))
        handler = a.meta("__lt")
        if not strict and handler is not None:
            return not truth(_first(lua.call(handler, [b, a])))
    kinds = [type_name(left), type_name(right)]
    sides = ((expr.left, left), (expr.right, right)) if expr is not None else ()
    told = [lua.describe(where, value).removeprefix("a ").removesuffix(" value") for where, value in sides] or kinds
    text = f"two {kinds[0]} values" if told == kinds and kinds[0] == kinds[1] else " with ".join(told)
    helps = [help for where, value in sides if value is None for help in lua.similar(where, env)]
    raise lua.error("E0206", f"attempt to compare {text}", helps=helps)


def unary(lua: Interpreter, expr: ast.Unary, operand: Value, env: Env) -> Value:
    if expr.op == "not":
        return not truth(operand)
    if expr.op == "#":
        if isinstance(operand, str):
            return float(len(operand))
        if isinstance(operand, LuaTable):
            return float(operand.length())
        if isinstance(operand, Host):
            return operand.length(lua)
        raise lua.error(
            "E0201",
            f"attempt to get the length of {lua.describe(expr.operand, operand)}",
            expr.operand.span,
            helps=lua.similar(expr.operand, env) if operand is None else [],
        )
    number = to_number(operand)
    if number is not None:
        return -number
    if isinstance(operand, LuaTable) and operand.meta("__unm") is not None:
        return _first(lua.call(operand.meta("__unm"), [operand]))
    if isinstance(operand, Host):
        result = operand.arithmetic(lua, "-", None, operand)
        if result is not NotImplemented:
            return result
    raise lua.error(
        "E0201",
        f"attempt to perform arithmetic on {lua.describe(expr.operand, operand)}",
        expr.operand.span,
        helps=lua.similar(expr.operand, env) if operand is None else [],
    )


def _first(results: list[Value]) -> Value:
    return results[0] if results else None
