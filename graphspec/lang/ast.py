"""The syntax tree of Lua 5.1: frozen dataclasses, each with the span of its text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Union

from graphspec.errors import Span


@dataclass(frozen=True, eq=False)
class Syntax:
    span: Span


# -- expressions ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Constant(Syntax):
    """nil, true, false, a number or a string."""

    value: bool | float | str | None


@dataclass(frozen=True, eq=False)
class Varargs(Syntax):
    pass


@dataclass(frozen=True, eq=False)
class Name(Syntax):
    name: str


@dataclass(frozen=True, eq=False)
class Index(Syntax):
    """``object[key]`` and ``object.key``."""

    object: Expr
    key: Expr


@dataclass(frozen=True, eq=False)
class Call(Syntax):
    """``function(args)``, or with ``method`` ``function:method(args)``."""

    function: Expr
    method: str | None
    args: tuple[Expr, ...]


@dataclass(frozen=True, eq=False)
class Function(Syntax):
    params: tuple[str, ...]
    varargs: bool
    body: Block
    name: str = ""


@dataclass(frozen=True, eq=False)
class Binary(Syntax):
    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True, eq=False)
class Unary(Syntax):
    op: str
    operand: Expr


@dataclass(frozen=True, eq=False)
class Paren(Syntax):
    """``(e)``: one value of e."""

    inner: Expr


@dataclass(frozen=True, eq=False)
class Item(Syntax):
    """One entry of a table constructor; without a key it is positional."""

    key: Expr | None
    value: Expr


@dataclass(frozen=True, eq=False)
class TableExpr(Syntax):
    items: tuple[Item, ...]


Expr = Union[Constant, Varargs, Name, Index, Call, Function, Binary, Unary, Paren, TableExpr]

# -- statements ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Block(Syntax):
    body: tuple[Stat, ...]


@dataclass(frozen=True, eq=False)
class Assign(Syntax):
    targets: tuple[Expr, ...]
    values: tuple[Expr, ...]


@dataclass(frozen=True, eq=False)
class CallStat(Syntax):
    call: Expr


@dataclass(frozen=True, eq=False)
class Do(Syntax):
    body: Block


@dataclass(frozen=True, eq=False)
class While(Syntax):
    condition: Expr
    body: Block


@dataclass(frozen=True, eq=False)
class Repeat(Syntax):
    body: Block
    condition: Expr


@dataclass(frozen=True, eq=False)
class If(Syntax):
    branches: tuple[tuple[Expr, Block], ...]
    otherwise: Block | None


@dataclass(frozen=True, eq=False)
class For(Syntax):
    """``for name = start, stop[, step]``; ``head`` is that text."""

    name: str
    start: Expr
    stop: Expr
    step: Expr | None
    body: Block
    head: str


@dataclass(frozen=True, eq=False)
class ForIn(Syntax):
    names: tuple[str, ...]
    values: tuple[Expr, ...]
    body: Block
    head: str


@dataclass(frozen=True, eq=False)
class FunctionStat(Syntax):
    """``function a.b.c(...)``; the target is assigned."""

    target: Expr
    function: Function


@dataclass(frozen=True, eq=False)
class LocalFunction(Syntax):
    name: str
    function: Function


@dataclass(frozen=True, eq=False)
class Local(Syntax):
    names: tuple[str, ...]
    values: tuple[Expr, ...]


@dataclass(frozen=True, eq=False)
class Return(Syntax):
    values: tuple[Expr, ...]


@dataclass(frozen=True, eq=False)
class Break(Syntax):
    pass


Stat = Union[Assign, CallStat, Do, While, Repeat, If, For, ForIn, FunctionStat, LocalFunction, Local, Return, Break]


def counts_from_zero(expr: Expr) -> bool:
    """Whether it reads element 0 of a table, or is a list in which something does."""
    if isinstance(expr, TableExpr):
        return any(counts_from_zero(item.value) for item in expr.items)
    return isinstance(expr, Index) and isinstance(expr.key, Constant) and expr.key.value == 0 and not isinstance(expr.key.value, bool)


def names_in(expr: Expr) -> Iterator[str]:
    """Variables in a call's own arguments and in what is called, not in functions defined there."""
    if isinstance(expr, Name):
        yield expr.name
    elif isinstance(expr, Call):
        for part in (expr.function, *expr.args):
            yield from names_in(part)
    elif isinstance(expr, Binary):
        yield from names_in(expr.left)
        yield from names_in(expr.right)
    elif isinstance(expr, (Unary, Paren)):
        yield from names_in(expr.operand if isinstance(expr, Unary) else expr.inner)
