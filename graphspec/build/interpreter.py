"""The Lua interpreter: walks the AST under a budget, and knows at every moment where it is."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeGuard

import numpy as np

from graphspec.build.bindings import by_module
from graphspec.build.env import Env, Flow, Thrown
from graphspec.build.fields import MadeUpFields
from graphspec.build.limits import CALL, TABLE, Budget, LimitError, Limits, over
from graphspec.build.operators import binary, unary
from graphspec.build.statements import STATEMENTS
from graphspec.build.values import Host, LuaFunction, LuaTable, NativeFunction, Value, show_key, to_text, truth, type_name
from graphspec.errors import Diagnostic, Frame, Origin, Span, SpecError, error, one_line
from graphspec.graph import Record
from graphspec.graph.elsewhere import METHODS, module_for
from graphspec.lang import FROM_ONE, PYTHON, PYTHON_FUNCTIONS, ast
from graphspec.suggest import did_you_mean

_serial = itertools.count()


class Interpreter:
    """One evaluation: globals, budget, log, and the stack of frames."""

    def __init__(self, limits: Limits, globals: LuaTable, seed: int = 1) -> None:
        self.budget = Budget(limits)
        self.globals = globals
        self.frames: list[Frame] = []
        self.depth = 0
        self.span: Span | None = None
        self.log, self.warnings = list[str](), list[Diagnostic]()
        self.made_up = MadeUpFields()
        self.seed(seed)
        self.calling: tuple[ast.Call, Env] | None = None
        """The call expression being carried out."""
        self.debug = False
        """nngraph.setDebug: an error in a graph's shapes comes with a picture of it."""
        self.added_methods: dict[str, dict[Value, Value]] = {}
        """By class of ours: what a file added to it (``function nn.Module:tag() ... end``)."""
        self.classes: dict[str, LuaTable] = {}
        """Methods of the classes that ``torch.class`` made."""
        self.strings: LuaTable = LuaTable()
        """The methods of strings (``("x"):rep(3)``)."""

    def seed(self, seed: int) -> None:
        """Start the stream of ``math.random`` and of random tensors anew."""
        self.generator = np.random.Generator(np.random.Philox(key=seed))

    # -- where we are ------------------------------------------------------------------------------------------------

    def origin(self, span: Span | None = None, values: Sequence[tuple[str, str]] = ()) -> Origin:
        return Origin(span or self.span, tuple(reversed(self.frames)), tuple(values))

    def error(self, code: str, message: str, span: Span | None = None, **more: Any) -> SpecError:
        """An error at the present place; ``raise`` it."""
        return SpecError(error(code, message, self.origin(span), **more))

    def spend(self, steps: int) -> None:
        """Use up steps of the budget; the place is worked out only when there are none left."""
        self.budget.left -= steps
        if self.budget.left < 0:
            self.budget.spend(0, self.origin())

    def numbers_read(self) -> list[tuple[str, str]]:
        """Plain number variables that the call being made reads: ``rnn = 200``."""
        if self.calling is None:
            return []
        expr, env = self.calling
        found: dict[str, str] = {}
        for name in ast.names_in(expr):
            owner = env.find(name)
            value = owner.names[name] if owner is not None else None
            if isinstance(value, float):
                found[name] = to_text(value)
        return list(found.items())

    def added_method(self, record: Record, key: Value) -> Value:
        """What a file added to a module's class, or to those above it."""
        above = ["nn.Container", "nn.Module"] if record.children else ["nn.Module"]
        return next((m[key] for name in (f"nn.{record.name}", *above) if key in (m := self.added_methods.get(name, {}))), None)

    @contextmanager
    def frame(self, frame: Frame) -> Iterator[None]:
        self.frames.append(frame)
        try:
            yield
        finally:
            self.frames.pop()

    # -- running -----------------------------------------------------------------------------------------------------

    def run(self, block: ast.Block, env: Env) -> list[Value]:
        """A whole chunk; returns what it returns."""
        before = sys.getrecursionlimit()
        sys.setrecursionlimit(max(before, 15_000))
        try:
            flow = self.block(block, env)
        except Thrown as thrown:
            raise thrown.problem from None
        except RecursionError:
            raise over("E0502", "calls or expressions nest too deeply", self.origin(), "depth", self.budget.limits.depth) from None
        finally:
            sys.setrecursionlimit(before)
        return flow if isinstance(flow, list) else []

    def block(self, block: ast.Block, env: Env) -> Flow:
        for stat in block.body:
            self.budget.left -= 1
            if self.budget.left < 0:
                self.span = stat.span
                self.spend(0)
            flow: Flow = STATEMENTS[type(stat)](self, stat, env)
            if flow is not None:
                return flow
        return None

    # -- expressions -------------------------------------------------------------------------------------------------

    def value(self, expr: ast.Expr, env: Env) -> Value:
        """The (first) value of an expression."""
        return EXPRESSIONS[type(expr)](self, expr, env)

    def values(self, exprs: Sequence[ast.Expr], env: Env) -> list[Value]:
        """Values of a list; the last one may give several."""
        if not exprs:
            return []
        found = [self.value(e, env) for e in exprs[:-1]]
        last = exprs[-1]
        if isinstance(last, ast.Call):
            found += self.calls(last, env)
        elif isinstance(last, ast.Varargs):
            found += env.varargs
        else:
            found.append(self.value(last, env))
        return found

    def _constant(self, expr: ast.Constant, env: Env) -> Value:
        return expr.value

    def _name_value(self, expr: ast.Name, env: Env) -> Value:
        owner = env.find(expr.name)
        value = owner.names[expr.name] if owner is not None else self.globals.get(expr.name)
        if value is None and expr.name in ("None", "True", "False") and owner is None:
            raise self.error("E0105", f"`{expr.name}` is Python, not Lua", expr.span, helps=[PYTHON[expr.name]])
        return value

    def _varargs(self, expr: ast.Varargs, env: Env) -> Value:
        return env.varargs[0] if env.varargs else None

    def _index(self, expr: ast.Index, env: Env) -> Value:
        owner = self.value(expr.object, env)
        key = self.value(expr.key, env)
        self.span = expr.span
        if isinstance(owner, LuaTable) and owner.metatable is None:
            return owner.get(key)
        return self.get_index(owner, key, expr.object, env)

    def _call_value(self, expr: ast.Call, env: Env) -> Value:
        results = self.calls(expr, env)
        return results[0] if results else None

    def _function_value(self, expr: ast.Function, env: Env) -> Value:
        return LuaFunction(expr, env)

    def _binary(self, expr: ast.Binary, env: Env) -> Value:
        left = self.value(expr.left, env)
        if expr.op == "and":
            return self.value(expr.right, env) if truth(left) else left
        if expr.op == "or":
            return left if truth(left) else self.value(expr.right, env)
        right = self.value(expr.right, env)
        self.span = expr.span
        return binary(self, expr, left, right, env)

    def _unary(self, expr: ast.Unary, env: Env) -> Value:
        operand = self.value(expr.operand, env)
        self.span = expr.span
        return unary(self, expr, operand, env)

    def _paren(self, expr: ast.Paren, env: Env) -> Value:
        return self.value(expr.inner, env)

    def _table(self, expr: ast.TableExpr, env: Env) -> Value:
        table = LuaTable()
        position = 1
        for i, item in enumerate(expr.items):
            if item.key is not None:
                key = self.value(item.key, env)
                if key is None or key != key:
                    raise self.error("E0205", "a table's key is nil" if key is None else "a table's key is NaN", item.span)
                table.set(key, self.value(item.value, env))
            elif i == len(expr.items) - 1:
                for value in self.values([item.value], env):
                    table.set(float(position), value)
                    position += 1
            else:
                table.set(float(position), self.value(item.value, env))
                position += 1
            if item.key is None and self._stranger(item.value, env):
                table.strangers[position - 1] = self.similar(item.value, env) or [f"nothing is called {item.value.name} here"]
        self.spend(TABLE + len(expr.items))
        return table

    def _stranger(self, expr: ast.Expr, env: Env) -> TypeGuard[ast.Name]:
        """Whether it is a name that no variable has and that its file assigns nothing to; a flag that is not always set is none."""
        if not isinstance(expr, ast.Name) or env.find(expr.name) is not None or expr.name in self.globals.data:
            return False
        return not re.search(rf"\b{expr.name}\s*(,[\w\s,]*)?=[^=]", expr.span.source.text)

    # -- calls -------------------------------------------------------------------------------------------------------

    def calls(self, expr: ast.Call, env: Env) -> list[Value]:
        """All results of a call expression."""
        target = self.value(expr.function, env)
        if expr.method is not None:
            owner = target
            self.span = expr.span
            target = self.get_index(owner, expr.method, expr.function, env)
            args = [owner, *self.values(expr.args, env)]
            if target is None or isinstance(target, (bool, float, str)):
                raise self._no_method(expr, owner, target)
        else:
            args = self.values(expr.args, env)
        self.span = expr.span
        if isinstance(target, (LuaFunction, NativeFunction, Host)) or (isinstance(target, LuaTable) and target.meta("__call") is not None):
            self.calling = (expr, env)
            return self.call(target, args, expr.span)
        raise self._not_callable(expr, target, env)

    def call(self, target: Value, args: list[Value], span: Span | None = None) -> list[Value]:
        """Call a value; E0202 when it is no function."""
        span = span or self.span
        if isinstance(target, LuaFunction):
            return self._enter(target, args, span)
        if isinstance(target, NativeFunction):
            self.spend(1)
            results = target.call(self, args)
            self.span = span
            return results
        if isinstance(target, Host):
            return target.call(self, args)
        if isinstance(target, LuaTable) and target.meta("__call") is not None:
            return self.call(target.meta("__call"), [target, *args], span)
        raise self.error("E0202", f"attempt to call a {type_name(target)} value", span)

    def _enter(self, function: LuaFunction, args: list[Value], span: Span | None) -> list[Value]:
        syntax = function.syntax
        self.spend(CALL)
        if self.depth >= self.budget.limits.depth:
            raise over("E0502", f"calls nest deeper than {self.budget.limits.depth}", self.origin(span), "depth", self.budget.limits.depth)
        env = Env(function.env, args[len(syntax.params) :] if syntax.varargs else [])
        for position, name in enumerate(syntax.params):
            env.names[name] = args[position] if position < len(args) else None
        where = span or syntax.span
        text = where.text if where is not None else syntax.name
        frame = Frame("call", one_line(text, 60), where, name=syntax.name or "function", serial=next(_serial))
        self.depth += 1
        try:
            with self.frame(frame):
                flow = self.block(syntax.body, env)
        finally:
            self.depth -= 1
        self.span = span
        return flow if isinstance(flow, list) else []

    def _no_method(self, expr: ast.Call, owner: Value, found: Value) -> SpecError:
        known = [k for k in owner.data if isinstance(k, str)] if isinstance(owner, LuaTable) else getattr(owner, "methods", ())
        helps = [METHODS[str(expr.method)]] if isinstance(owner, Host) and expr.method in METHODS else did_you_mean(str(expr.method), known)
        return self.error("E0202", f"attempt to call method '{expr.method}' (a {type_name(found)} value)", expr.span, helps=helps)

    def _not_callable(self, expr: ast.Call, target: Value, env: Env) -> SpecError:
        where = expr.function
        if target is None and isinstance(where, ast.Index) and isinstance(where.key, ast.Constant) and isinstance(where.object, ast.Name):
            owner = self._name_value(where.object, env)
            told = owner.missing(self, str(where.key.value)) if isinstance(owner, Host) else None
            if told is not None:
                return told
        return self.error(
            "E0202", f"attempt to call {self.describe(expr.function, target)}", expr.function.span, helps=self.similar(expr.function, env)
        )

    def describe(self, expr: ast.Expr, value: Value) -> str:
        """``local 'x' (a nil value)``, as Lua says it."""
        kind = type_name(value)
        if isinstance(expr, ast.Name):
            return f"'{expr.name}' (a {kind} value)"
        if isinstance(expr, ast.Index) and isinstance(expr.key, ast.Constant) and isinstance(expr.key.value, str):
            return f"field '{expr.key.value}' (a {kind} value)"
        return f"a {kind} value"

    def similar(self, expr: ast.Expr, env: Env | None) -> list[str]:
        """Did-you-mean for a name, or for a field of a table."""
        if isinstance(expr, ast.Name):
            known: list[str] = [k for k in self.globals.data if isinstance(k, str)]
            while env is not None:
                known += env.names
                env = env.outer
            return PYTHON_FUNCTIONS.get(expr.name) or ([] if expr.name in known else did_you_mean(expr.name, known))
        if isinstance(expr, ast.Index) and ast.counts_from_zero(expr):
            return [FROM_ONE]
        if (
            isinstance(expr, ast.Index)
            and isinstance(expr.key, ast.Constant)
            and env is not None
            and isinstance(expr.object, (ast.Name, ast.Index))
        ):
            owner = self.value(expr.object, env)
            if isinstance(owner, LuaTable):
                return did_you_mean(str(expr.key.value), [k for k in owner.data if isinstance(k, str)])
        return []

    # -- indexing ----------------------------------------------------------------------------------------------------

    def get_index(self, owner: Value, key: Value, expr: ast.Expr | None = None, env: Env | None = None) -> Value:
        """``owner[key]`` with metatables."""
        for _ in range(100):
            if isinstance(owner, LuaTable):
                value = owner.get(key)
                handler = owner.meta("__index")
                if value is not None or handler is None:
                    return value
                if not isinstance(handler, (LuaTable, Host)):
                    results = self.call(handler, [owner, key])
                    return results[0] if results else None
                owner = handler
                continue
            if isinstance(owner, Host):
                return owner.index(self, key)
            if isinstance(owner, str):
                return self.strings.get(key)
            what = self.describe(expr, owner) if expr is not None else f"a {type_name(owner)} value"
            helps = self.similar(expr, env) if expr is not None and owner is None else []
            if owner is None and isinstance(expr, ast.Name) and expr.name == "F":  # PyTorch's functions
                helps = [by_module(module_for(str(key)))]
            raise self.error("E0203", f"attempt to index {what}", expr.span if expr is not None else None, helps=helps)
        raise self.error("E0203", "a chain of __index without end")

    def set_index(self, owner: Value, key: Value, value: Value) -> None:
        """``owner[key] = value`` with metatables."""
        for _ in range(100):
            if isinstance(owner, LuaTable):
                handler = owner.meta("__newindex")
                if handler is None or owner.get(key) is not None:
                    if key is None or key != key:
                        raise self.error("E0205", f"a table's key is {'nil' if key is None else 'NaN'}")
                    owner.set(key, value)
                    return
                if not isinstance(handler, (LuaTable, Host)):
                    self.call(handler, [owner, key, value])
                    return
                owner = handler
                continue
            if isinstance(owner, Host):
                owner.set_index(self, key, value)
                return
            raise self.error("E0203", f"attempt to set {show_key(key)} of a {type_name(owner)} value")
        raise self.error("E0203", "a chain of __newindex without end")

    def protected(self, function: Value, args: list[Value]) -> list[Value]:
        """``pcall``: (true, results...) or (false, error value); limits pass through."""
        frames = len(self.frames)
        try:
            return [True, *self.call(function, args)]
        except LimitError:
            raise
        except Thrown as thrown:
            value = thrown.value
        except SpecError as failure:
            value = f"{failure.diagnostics[0].span or ''}: {failure.diagnostics[0].message}"
        del self.frames[frames:]  # turns of loops that were left
        return [False, value]


EXPRESSIONS: dict[type, Any] = {
    ast.Constant: Interpreter._constant,
    ast.Name: Interpreter._name_value,
    ast.Varargs: Interpreter._varargs,
    ast.Index: Interpreter._index,
    ast.Call: Interpreter._call_value,
    ast.Function: Interpreter._function_value,
    ast.Binary: Interpreter._binary,
    ast.Unary: Interpreter._unary,
    ast.Paren: Interpreter._paren,
    ast.TableExpr: Interpreter._table,
}
