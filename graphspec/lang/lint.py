"""Warnings about names: locals that are never read, and locals that hide others of the same function.

Both are how a typing mistake shows: a layer that was built and forgotten, a state that was meant to be another one.  ``_`` and names
that begin with it may stay unread; parameters and loop variables too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

from graphspec.errors import Diagnostic, Span, error
from graphspec.lang import ast


@dataclass
class Variable:
    name: str
    span: Span
    may_stay_unread: bool = False
    read: bool = False


@dataclass
class Scope:
    """Locals of one block; ``function`` says that it is the outermost one of a function."""

    outer: Scope | None
    function: bool = False
    names: dict[str, Variable] = field(default_factory=dict)


def lint(block: ast.Block) -> list[Diagnostic]:
    """W0219 and W0220 of a file, in order."""
    found = Linter()
    found.block(block, Scope(None, function=True))
    return sorted(found.warnings, key=lambda w: w.span.start if w.span else 0)


class Linter:
    def __init__(self) -> None:
        self.warnings: list[Diagnostic] = []

    def block(self, block: ast.Block, scope: Scope, until: ast.Expr | None = None) -> None:
        """The statements in a scope that ends with them (and with ``until``, which still sees it)."""
        for stat in block.body:
            self.statement(stat, scope)
        if until is not None:
            self.expression(until, scope)
        self.close(scope)

    def close(self, scope: Scope) -> None:
        for variable in scope.names.values():
            self.ended(variable)

    def ended(self, variable: Variable) -> None:
        if not (variable.read or variable.may_stay_unread or variable.name.startswith("_")):
            text = f"the local '{variable.name}' is never read"
            helps = ["name it `_` if that is meant"]
            self.warnings.append(error("W0219", text, variable.span, severity="warning", helps=helps))

    def declare(self, scope: Scope, name: str, span: Span, may_stay_unread: bool = False, hides_on_purpose: bool = False) -> None:
        hidden = self.visible(scope, name)
        if hidden is not None and name != "_" and not hides_on_purpose:
            text = f"the local '{name}' hides another one"
            self.warnings.append(error("W0220", text, span, severity="warning", others=[(hidden.span, "this one")]))
        if name in scope.names:
            self.ended(scope.names[name])
        scope.names[name] = Variable(name, span, may_stay_unread)

    @staticmethod
    def visible(scope: Scope, name: str) -> Variable | None:
        """A local of the same function."""
        place: Scope | None = scope
        while place is not None:
            if name in place.names:
                return place.names[name]
            place = None if place.function else place.outer
        return None

    def statement(self, stat: ast.Stat, scope: Scope) -> None:
        if isinstance(stat, ast.Local):
            read = {name for value in stat.values for name in self.expression(value, scope)}
            for name in stat.names:
                self.declare(scope, name, word(stat.span, name), hides_on_purpose=name in read)
        elif isinstance(stat, ast.LocalFunction):
            self.declare(scope, stat.name, word(stat.span, stat.name))
            self.function(stat.function, scope)
        elif isinstance(stat, ast.For):
            for value in (stat.start, stat.stop, stat.step):
                if value is not None:
                    self.expression(value, scope)
            self.loop(stat.body, scope, (stat.name,), stat.span)
        elif isinstance(stat, ast.ForIn):
            for value in stat.values:
                self.expression(value, scope)
            self.loop(stat.body, scope, stat.names, stat.span)
        elif isinstance(stat, ast.Repeat):
            self.block(stat.body, Scope(scope), until=stat.condition)
        elif isinstance(stat, ast.Assign):
            for target in stat.targets:
                if isinstance(target, ast.Index):
                    self.expression(target, scope)
            for value in stat.values:
                self.expression(value, scope)
        else:
            for part in parts(stat):
                if isinstance(part, ast.Block):
                    self.block(part, Scope(scope))
                else:
                    self.expression(part, scope)

    def loop(self, body: ast.Block, scope: Scope, names: tuple[str, ...], span: Span) -> None:
        inner = Scope(scope)
        for name in names:
            self.declare(inner, name, word(span, name), may_stay_unread=True)
        self.block(body, inner)

    def function(self, function: ast.Function, scope: Scope) -> None:
        inner = Scope(scope, function=True)
        for name in function.params:
            inner.names[name] = Variable(name, function.span, may_stay_unread=True)
        self.block(function.body, inner)

    def expression(self, expr: Any, scope: Scope) -> list[str]:
        """Mark what it reads; the names of it."""
        read = []
        stack = [expr]
        while stack:  # not recursive: a sum of ten thousand terms is as deep
            item = stack.pop()
            if isinstance(item, ast.Name):
                read.append(item.name)
                place: Scope | None = scope
                while place is not None:
                    if item.name in place.names:
                        place.names[item.name].read = True
                        break
                    place = place.outer
            elif isinstance(item, ast.Function):
                self.function(item, scope)
            else:
                stack.extend(parts(item))
        return read


def word(span: Span, name: str) -> Span:
    """Where the name stands first in a statement."""
    text, at = span.text, span.text.find(name)
    while at >= 0:
        around = text[max(at - 1, 0) : at] + text[at + len(name) : at + len(name) + 1]
        if not any(ch.isalnum() or ch == "_" for ch in around):
            return Span(span.source, span.start + at, span.start + at + len(name))
        at = text.find(name, at + 1)
    return span


def parts(item: Any) -> Iterator[Any]:
    """The syntax directly inside, through tuples."""
    for part in fields(item):
        pending = [getattr(item, part.name)]
        while pending:
            value = pending.pop()
            if isinstance(value, ast.Syntax):
                yield value
            elif isinstance(value, tuple):
                pending.extend(value)
