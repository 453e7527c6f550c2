"""Tensors at build time: what a spec computes to initialise its parameters with (``lookup.weight:copy(torch.randn(9, 4):mul(0.1))``).

They are float64 arrays on the host; as in Torch, ``narrow``, ``select``, ``t`` and ``view`` share their memory.  Nothing of a
model's run happens here.  https://github.com/torch/torch7/blob/master/doc/tensor.md
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from graphspec.build.bindings import Method, Numbers, ParameterHost, bound
from graphspec.build.limits import over
from graphspec.build.stdlib import argument
from graphspec.build.values import LuaTable, Value, show_key, to_text, type_name
from graphspec.graph import Table
from graphspec.suggest import did_you_mean

if TYPE_CHECKING:
    from graphspec.build.interpreter import Interpreter

Array = np.ndarray[Any, Any]


class TensorHost(Numbers):
    """A tensor of numbers."""

    methods: ClassVar[dict[Any, Method]] = {}

    def __init__(self, array: Array) -> None:
        self.array = array

    @property
    def title(self) -> str:  # type: ignore[override]
        """What ``print`` shows: the values, or the ends of them."""
        return f"{np.array2string(self.array, threshold=40, precision=4)} {shape_text(self.array)}"

    def table(self, lua: Interpreter) -> Table:
        charge(lua, self.array.size)
        return as_table(self.array)

    def length(self, lua: Interpreter) -> float:
        return float(self.array.shape[0]) if self.array.ndim else 0.0

    def index(self, lua: Interpreter, key: Value) -> Value:
        method = self.methods.get(key) if isinstance(key, str) else None
        if method is not None:
            return bound(self, str(key), method)
        if isinstance(key, (float, LuaTable)):
            return wrap(part(lua, self.array, key))
        raise lua.error("E0203", f"a tensor has no method {show_key(key)}", helps=did_you_mean(str(key), self.methods))

    def set_index(self, lua: Interpreter, key: Value, value: Value) -> None:
        if not isinstance(key, (float, LuaTable)):
            raise lua.error("E0203", f"a tensor has no field {show_key(key)} that can be set")
        place = part(lua, self.array, key)
        place[...] = operand(lua, value, place.shape, "assignment")

    def arithmetic(self, lua: Interpreter, op: str, left: Value, right: Value) -> Value:
        """``+ -`` with a number or an equal shape, ``* /`` with a number, ``*`` of matrices."""
        if left is None:
            return TensorHost(-self.array)
        sides = [x.array if isinstance(x, TensorHost) else x for x in (left, right)]
        if not all(isinstance(x, (float, np.ndarray)) for x in sides):
            return NotImplemented
        a, b = sides
        both = isinstance(a, np.ndarray) and isinstance(b, np.ndarray)
        allocate(lua, self.array.shape)
        if op == "*" and both:
            if a.ndim not in (1, 2) or b.ndim not in (1, 2) or a.shape[-1] != b.shape[0]:
                raise lua.error("E0211", f"cannot multiply {shape_text(a)} by {shape_text(b)}")
            charge(lua, a.size * (b.shape[1] if b.ndim == 2 else 1))
            allocate(lua, a.shape[:-1] + b.shape[1:])
            return wrap(np.asarray(a @ b))
        if both and (op not in "+-" or a.shape != b.shape):
            helps = ["element by element it is `a:cdiv(b)`"] if op == "/" else []
            raise lua.error("E0211", f"`{op}` of {shape_text(a)} and {shape_text(b)}", helps=helps)
        if op == "/" and not isinstance(b, float) or op not in "+-*/":
            return NotImplemented
        with np.errstate(all="ignore"):
            return TensorHost({"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide}[op](a, b))


def as_table(array: Array) -> Table:
    """The numbers of a tensor, a table for each axis."""
    return Table(tuple(as_table(row) if array.ndim > 1 else float(row) for row in array))


def wrap(array: Array) -> Value:
    """A tensor, or the number that an array without axes is."""
    return float(array) if array.ndim == 0 else TensorHost(array)


def shape_text(array: Array) -> str:
    return f"[{', '.join(map(str, array.shape))}]"


def charge(lua: Interpreter, elements: int) -> None:
    """Pay for work on that many elements."""
    lua.spend(elements // 64)


def allocate(lua: Interpreter, shape: Sequence[int]) -> None:
    """Pay for a tensor before it is made; E0508 when the spec's tensors come to more than the limit."""
    elements, limit = math.prod(shape), lua.budget.limits.elements
    lua.budget.elements += elements
    if lua.budget.elements > limit:
        raise over("E0508", f"the spec's tensors have more than {limit:,} elements", lua.origin(), "elements", limit)
    charge(lua, elements)


def whole(lua: Interpreter, value: Value, name: str, low: int = 0) -> int:
    """A whole number of at least ``low``; E0207 otherwise."""
    if not isinstance(value, float) or not value.is_integer() or value < low:
        raise lua.error("E0207", f"{name}: a whole number of at least {low} is wanted, got {to_text(value)}")
    return int(value)


def sizes(lua: Interpreter, args: Sequence[Value], name: str) -> tuple[int, ...]:
    """Sizes given as numbers, or as one table of them (which ``size()`` gives)."""
    if len(args) == 1 and isinstance(args[0], LuaTable):
        args = args[0].items()
    return tuple(whole(lua, a, name) for a in args)


def axis(lua: Interpreter, array: Array, value: Value) -> int:
    """An axis, from 0, of the Torch axis ``value``, from 1; E0211 when there is none."""
    if not isinstance(value, float) or not value.is_integer() or not 1 <= value <= array.ndim:
        raise lua.error("E0211", f"axis {to_text(value)} of a tensor with {array.ndim} axes")
    return int(value) - 1


def position(lua: Interpreter, value: Value, n: int) -> int:
    """An index, from 0, of Torch's, from 1 or from the end; E0211 outside."""
    at = int(value) if isinstance(value, float) and value.is_integer() else 0
    at = n + at + 1 if at < 0 else at
    if not 1 <= at <= n:
        raise lua.error("E0211", f"there is no element {to_text(value)} of {n}", helps=["indices count from 1"] if at == 0 else [])
    return at - 1


def part(lua: Interpreter, array: Array, key: Value) -> Array:
    """``t[2]`` and ``t[{{1, 3}, 2}]``; memory is shared."""
    keys = key.items() if isinstance(key, LuaTable) else [key]
    if len(keys) > array.ndim:
        raise lua.error("E0211", f"{len(keys)} indices for a tensor with {array.ndim} axes")
    window: list[Any] = []
    for n, item in zip(array.shape, keys, strict=False):
        if isinstance(item, LuaTable):
            ends = item.items()
            window.append(slice(position(lua, ends[0], n), position(lua, ends[-1], n) + 1) if ends else slice(None))
        else:
            window.append(position(lua, item, n))
    return array[(*window, ...)]


def operand(lua: Interpreter, value: Value, shape: tuple[int, ...], name: str) -> Any:
    """A number, or a tensor with as many elements; in this shape."""
    if isinstance(value, float):
        return value
    if isinstance(value, TensorHost):
        if value.array.size != math.prod(shape):
            raise lua.error("E0211", f"{name}: {shape_text(value.array)} does not fit [{', '.join(map(str, shape))}]")
        charge(lua, value.array.size)
        return value.array.reshape(shape)
    if isinstance(value, ParameterHost):
        raise lua.error("E0213", f"{name}: the values of a parameter are drawn when the model is made, not while its spec is read")
    raise lua.error("E0207", f"bad argument to '{name}' (tensor or number expected, got {type_name(value)})")


# -- methods ------------------------------------------------------------------------------------------------------------


def _in_place(name: str, change: Callable[..., Any]) -> Method:
    """``t:name(number or tensor)``: ``change(array, operand)`` is written over the tensor, which is returned."""

    def method(lua: Interpreter, owner: TensorHost, args: list[Value]) -> Value:
        if not args:
            raise lua.error("E0207", f"bad argument #1 to '{name}' (tensor or number expected, got no value)")
        # Torch's three-argument forms: t:add(1, other) is t + 1 * other; t:cmul(a, b) is a * b.
        target, given = owner.array, args
        if len(args) == 2 and isinstance(args[1], TensorHost):
            second = operand(lua, args[1], target.shape, name)
            if isinstance(args[0], float):
                given = [TensorHost(second * args[0])]
            else:
                target, given = operand(lua, args[0], target.shape, name), args[1:]
        charge(lua, owner.array.size)
        with np.errstate(all="ignore"):
            owner.array[...] = change(target, *(operand(lua, a, owner.array.shape, name) for a in given[:1]))
        return owner

    return method


def _elementwise(name: str, change: Callable[[Array], Array]) -> Method:
    def method(lua: Interpreter, owner: TensorHost, args: list[Value]) -> Value:
        source = owner.array if not args else operand(lua, args[0], owner.array.shape, name)
        charge(lua, owner.array.size)
        with np.errstate(all="ignore"):
            owner.array[...] = change(source)
        return owner

    return method


def _reduction(name: str, reduce: Callable[..., Any]) -> Method:
    """Without an argument a number, reduced over all elements; along an axis a tensor, which keeps that axis with size 1."""

    def method(lua: Interpreter, owner: TensorHost, args: list[Value]) -> Value:
        charge(lua, owner.array.size)
        if owner.array.size == 0:
            raise lua.error("E0211", f"{name} of an empty tensor")
        if not args:
            return float(reduce(owner.array))
        return TensorHost(np.asarray(reduce(owner.array, axis=axis(lua, owner.array, args[0]), keepdims=True), np.float64))

    return method


def _random(name: str, draw: Callable[..., Any], defaults: tuple[float, ...]) -> Method:
    def method(lua: Interpreter, owner: TensorHost, args: list[Value]) -> Value:
        numbers = [argument(lua, args, i + 1, "number", name, d) for i, d in enumerate(defaults)]
        charge(lua, owner.array.size)
        owner.array[...] = draw(lua.generator, *numbers, owner.array.shape)
        return owner

    return method


def _size(lua: Interpreter, owner: TensorHost, args: list[Value]) -> Value:
    if not args:
        return LuaTable([float(n) for n in owner.array.shape])
    return float(owner.array.shape[axis(lua, owner.array, args[0])])


def _narrow(lua: Interpreter, owner: TensorHost, args: list[Value]) -> Value:
    along = axis(lua, owner.array, args[0] if args else None)
    first, length = (whole(lua, argument(lua, args, i, "number", "narrow"), "narrow", 1) for i in (2, 3))
    n = owner.array.shape[along]
    if first + length - 1 > n:
        raise lua.error("E0211", f"elements {first} to {first + length - 1} of an axis of {n}")
    return TensorHost(owner.array[(slice(None),) * along + (slice(first - 1, first - 1 + length),)])


def _select(lua: Interpreter, owner: TensorHost, args: list[Value]) -> Value:
    along = axis(lua, owner.array, args[0] if args else None)
    at = position(lua, argument(lua, args, 2, "number", "select"), owner.array.shape[along])
    return wrap(owner.array[(slice(None),) * along + (at,)])


def _transpose(lua: Interpreter, owner: TensorHost, args: list[Value]) -> Value:
    if owner.array.ndim < 2:
        raise lua.error("E0211", f"transpose of a tensor with {owner.array.ndim} axes")
    one, two = (axis(lua, owner.array, a) for a in (args[:2] if len(args) >= 2 else [1.0, 2.0]))
    return TensorHost(owner.array.swapaxes(one, two))


def _view(lua: Interpreter, owner: TensorHost, args: list[Value]) -> Value:
    given = args[0].items() if len(args) == 1 and isinstance(args[0], LuaTable) else args
    wanted = [whole(lua, a, "view", -1) for a in given]
    if wanted.count(-1) == 1:
        known = math.prod(n for n in wanted if n != -1)
        wanted[wanted.index(-1)] = owner.array.size // known if known else 0
    if math.prod(wanted) != owner.array.size:
        raise lua.error("E0211", f"{owner.array.size} elements cannot be seen as {wanted}")
    return TensorHost(owner.array.reshape(wanted))


def _resize(lua: Interpreter, owner: TensorHost, args: list[Value]) -> Value:
    wanted = sizes(lua, args, "resize")
    allocate(lua, wanted)
    if math.prod(wanted) == owner.array.size:
        owner.array = owner.array.reshape(wanted)
    else:
        old = owner.array.reshape(-1)
        owner.array = np.zeros(wanted)
        n = min(old.size, owner.array.size)
        owner.array.reshape(-1)[:n] = old[:n]
    return owner


def _expand(lua: Interpreter, owner: TensorHost, args: list[Value]) -> Value:
    wanted = sizes(lua, args, "expand")
    allocate(lua, wanted)
    try:
        return TensorHost(np.array(np.broadcast_to(owner.array, wanted)))
    except ValueError:
        raise lua.error("E0211", f"{shape_text(owner.array)} cannot be expanded to [{', '.join(map(str, wanted))}]") from None


def _copied(lua: Interpreter, owner: TensorHost, args: list[Value]) -> Value:
    allocate(lua, owner.array.shape)
    return TensorHost(owner.array.copy())


def _same(lua: Interpreter, owner: TensorHost, args: list[Value]) -> Value:
    return owner


def _number(value: Callable[[Array], float]) -> Method:
    return lambda lua, owner, args: float(value(owner.array))


TensorHost.methods = {
    "fill": _in_place("fill", lambda a, b: b),
    "copy": _in_place("copy", lambda a, b: b),
    "zero": _elementwise("zero", np.zeros_like),
    "add": _in_place("add", np.add),
    "csub": _in_place("csub", np.subtract),
    "mul": _in_place("mul", np.multiply),
    "cmul": _in_place("cmul", np.multiply),
    "div": _in_place("div", np.divide),
    "cdiv": _in_place("cdiv", np.divide),
    "pow": _in_place("pow", np.power),
    **{name: _elementwise(name, getattr(np, name)) for name in ("exp", "log", "sqrt", "tanh", "abs", "floor", "ceil", "sin", "cos")},
    **{name: _reduction(name, getattr(np, name)) for name in ("sum", "mean", "max", "min", "prod", "std")},
    "norm": _number(lambda a: math.sqrt(float((a * a).sum()))),
    "uniform": _random("uniform", lambda g, low, high, shape: g.uniform(low, high, shape), (0.0, 1.0)),
    "normal": _random("normal", lambda g, mean, std, shape: mean + std * g.standard_normal(shape), (0.0, 1.0)),
    "bernoulli": _random("bernoulli", lambda g, p, shape: g.random(shape) < p, (0.5,)),
    "size": _size,
    "dim": _number(lambda a: a.ndim),
    "nDimension": _number(lambda a: a.ndim),
    "nElement": _number(lambda a: a.size),
    "numel": _number(lambda a: a.size),
    "narrow": _narrow,
    "select": _select,
    "t": _transpose,
    "transpose": _transpose,
    "view": _view,
    "reshape": _view,
    "resize": _resize,
    "expand": _expand,
    "clone": _copied,
    "contiguous": _same,
    **dict.fromkeys(("float", "double", "cuda", "type", "typeAs", "long", "int"), _same),
}
