"""What each kind of statement does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphspec.build.env import BREAK, Env, Flow
from graphspec.build.limits import TURN
from graphspec.build.options import Pasted
from graphspec.build.values import Host, LuaFunction, LuaTable, Value, show, to_number, truth, type_name
from graphspec.errors import Frame, Span
from graphspec.lang import PYTHON_FUNCTIONS, ast

if TYPE_CHECKING:
    from graphspec.build.interpreter import Interpreter


def _assign(lua: Interpreter, stat: ast.Assign, env: Env) -> Flow:
    places = [(target, _place(lua, target, env)) for target in stat.targets]
    values = lua.values(stat.values, env)
    values += [None] * (len(places) - len(values))
    for (target, place), value in zip(places, values, strict=False):
        lua.span = target.span
        if isinstance(target, ast.Name):
            _name(lua, target.name, value)
            owner = env.find(target.name)
            if owner is not None:
                owner.names[target.name] = value
            else:
                pasted = lua.globals.get(target.name)
                if isinstance(value, LuaTable) and isinstance(pasted, Pasted):
                    pasted.adopt(value)
                lua.globals.set(target.name, value)
        else:
            lua.set_index(place[0], place[1], value)
    return None


def _place(lua: Interpreter, target: ast.Expr, env: Env) -> Any:
    if isinstance(target, ast.Index):
        return lua.value(target.object, env), lua.value(target.key, env)
    return None


def _local(lua: Interpreter, stat: ast.Local, env: Env) -> Flow:
    values = lua.values(stat.values, env)
    values += [None] * (len(stat.names) - len(values))
    for name, value in zip(stat.names, values, strict=False):
        _name(lua, name, value)
        env.names[name] = value
    return None


def _name(lua: Interpreter, name: str, value: Value) -> None:
    """Modules and nodes are called by the variable they are first assigned to."""
    if isinstance(value, Host):
        value.named(name)


def _local_function(lua: Interpreter, stat: ast.LocalFunction, env: Env) -> Flow:
    env.names[stat.name] = None
    env.names[stat.name] = LuaFunction(stat.function, env)
    return None


def _function(lua: Interpreter, stat: ast.FunctionStat, env: Env) -> Flow:
    return _assign(lua, ast.Assign(stat.span, (stat.target,), (stat.function,)), env)


def _call_stat(lua: Interpreter, stat: ast.CallStat, env: Env) -> Flow:
    assert isinstance(stat.call, ast.Call)
    lua.calls(stat.call, env)
    return None


def _do(lua: Interpreter, stat: ast.Do, env: Env) -> Flow:
    return lua.block(stat.body, Env(env))


def _if(lua: Interpreter, stat: ast.If, env: Env) -> Flow:
    for condition, body in stat.branches:
        if truth(lua.value(condition, env)):
            return lua.block(body, Env(env))
    return lua.block(stat.otherwise, Env(env)) if stat.otherwise else None


def _while(lua: Interpreter, stat: ast.While, env: Env) -> Flow:
    while truth(lua.value(stat.condition, env)):
        _turn(lua, stat.span)
        flow = lua.block(stat.body, Env(env))
        if flow is BREAK:
            break
        if flow is not None:
            return flow
    return None


def _repeat(lua: Interpreter, stat: ast.Repeat, env: Env) -> Flow:
    while True:
        _turn(lua, stat.span)
        inner = Env(env)
        flow = lua.block(stat.body, inner)
        if flow is BREAK:
            return None
        if flow is not None:
            return flow
        if truth(lua.value(stat.condition, inner)):
            return None


def _turn(lua: Interpreter, span: Span) -> None:
    lua.span = span
    lua.spend(TURN)


def _for(lua: Interpreter, stat: ast.For, env: Env) -> Flow:
    start, stop, step = (_for_number(lua, e, env) for e in (stat.start, stat.stop, stat.step))
    if step == 0:
        raise lua.error("E0204", "the step of this loop is 0", stat.step.span if stat.step else stat.span)
    i = start
    while i <= stop if step > 0 else i >= stop:
        _turn(lua, stat.span)
        inner = Env(env)
        inner.names[stat.name] = i
        lua.frames.append(Frame("loop", stat.head, stat.span, (stat.name, show(i))))
        flow = lua.block(stat.body, inner)
        lua.frames.pop()
        if flow is BREAK:
            break
        if flow is not None:
            return flow
        i += step
    return None


def _for_number(lua: Interpreter, expr: ast.Expr | None, env: Env) -> float:
    if expr is None:
        return 1.0
    value = lua.value(expr, env)
    number = to_number(value)
    if number is None:
        raise lua.error("E0204", f"a loop's bounds are numbers, this is {type_name(value)}", expr.span)
    return number


def _for_in(lua: Interpreter, stat: ast.ForIn, env: Env) -> Flow:
    values = [*lua.values(stat.values, env), None, None, None]
    step, state, control = values[0], values[1], values[2]
    if isinstance(step, float) or (isinstance(step, LuaTable) and step.meta("__call") is None):
        helps = PYTHON_FUNCTIONS["range" if isinstance(step, float) else "enumerate"]
        raise lua.error("E0202", f"attempt to go through a {type_name(step)} value", stat.values[0].span, helps=helps)
    while True:
        _turn(lua, stat.span)
        results = lua.call(step, [state, control], stat.values[0].span)
        control = results[0] if results else None
        if control is None:
            return None
        inner = Env(env)
        for position, name in enumerate(stat.names):
            inner.names[name] = results[position] if position < len(results) else None
        lua.frames.append(Frame("loop", stat.head, stat.span, (stat.names[0], show(control))))
        flow = lua.block(stat.body, inner)
        lua.frames.pop()
        if flow is BREAK:
            return None
        if flow is not None:
            return flow


def _return(lua: Interpreter, stat: ast.Return, env: Env) -> Flow:
    return lua.values(stat.values, env)


def _break(lua: Interpreter, stat: ast.Break, env: Env) -> Flow:
    return BREAK


STATEMENTS: dict[type, Any] = {
    ast.Assign: _assign, ast.Local: _local, ast.LocalFunction: _local_function,
    ast.FunctionStat: _function, ast.CallStat: _call_stat, ast.Do: _do, ast.If: _if,
    ast.While: _while, ast.Repeat: _repeat, ast.For: _for, ast.ForIn: _for_in,
    ast.Return: _return, ast.Break: _break,
}  # fmt: skip
