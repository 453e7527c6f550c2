"""Records: what the compiler knows about one kind of module.

A record is one class in one file of ``graphspec/nn``.  Everything that concerns all modules (argument binding, lookup,
did-you-mean, the reference page, gradient checks, agreement with PyTorch) follows from it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from graphspec.errors import Origin, fail
from graphspec.graph.parameter import InitStep
from graphspec.sizes import Size

if TYPE_CHECKING:
    from graphspec.graph.module import Module
    from graphspec.lower import Lowering, Tree
    from graphspec.shapes.cells import Cell
    from graphspec.shapes.infer import Types


@dataclass(frozen=True)
class Table:
    """A Lua table handed to a constructor: positional items and named fields, both possibly nested."""

    items: tuple[Any, ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        """As in Lua, for errors."""
        return f"{{{', '.join([*map(_lua, self.items), *(f'{key} = {_lua(value)}' for key, value in self.fields.items())])}}}"


def _lua(value: Any) -> str:
    words = {None: "nil", True: "true", False: "false"}
    return f"{value:g}" if isinstance(value, float) else words[value] if value is None or isinstance(value, bool) else repr(value)


REQUIRED: Any = object()


@dataclass(frozen=True)
class Argument:
    """One constructor argument.

    ``kind``: "size" (a whole number from 1, or a size letter where ``letters`` allows), "int", "number", "flag",
    "text", "sizes" (numbers and letters, as varargs or one table), "table" (a :class:`Table`, as it is), "module".
    ``note``: what the reference page says of it beside that.  ``field``: what Torch calls it as a field, where that is another name.
    """

    name: str
    kind: str = "size"
    default: Any = REQUIRED
    letters: bool = False
    rest: bool = False
    note: str = ""
    field: str | None = None

    def __str__(self) -> str:
        text = f"{self.name}..." if self.rest else self.name
        return text if self.default is REQUIRED else f"[{text}={lua_text(self.default)}]"


@dataclass(frozen=True)
class ParameterSpec:
    """Shape and initialiser of a parameter or buffer of a module."""

    shape: tuple[int, ...]
    init: InitStep
    more: tuple[InitStep, ...] = ()
    """What is done to it after that, such as another value in some part."""


@dataclass(frozen=True)
class Make:
    """A module that a sample needs made: an argument of a constructor, or a child of a container."""

    name: str
    args: tuple[Any, ...] = ()
    children: tuple[Make, ...] = ()
    methods: tuple[tuple[str, tuple[Any, ...]], ...] = ()


@dataclass(frozen=True)
class Sample:
    """A case that proves a record: constructor arguments and input shapes.

    ``inputs`` is a nested tuple of leaves: a shape (tuple of ints, float values), or ``Leaf``.  An argument that is a module is
    given as a :class:`Make`; so are the ``children`` of a container.  ``methods`` are called on the module, as ``(name, args)`` pairs.
    """

    args: tuple[Any, ...] = ()
    inputs: Any = None
    evaluate: bool = False
    children: tuple[Make, ...] = ()
    methods: tuple[tuple[str, tuple[Any, ...]], ...] = ()


@dataclass(frozen=True)
class Leaf:
    """An input of a sample with a domain: floats in ``low..high`` (kept ``gap`` away from 0), or 1-based
    indices ``1..high`` when ``index``; or the given ``values``."""

    shape: tuple[int, ...]
    low: float = -1.0
    high: float = 1.0
    gap: float = 0.0
    index: bool = False
    values: tuple[float, ...] | None = None


class Walk(Protocol):
    """What goes through a module is followed: values of the IR, what a picture draws, what the probe knows of a tensor."""

    use: Any
    """The use of the module whose inside is followed."""

    @property
    def types(self) -> Any: ...

    def child(self, key: Any, x: Any) -> Any:
        """What the module inside that inference knows by this key gives for ``x``."""

    def items(self, x: Any, count: int) -> Sequence[Any]:
        """The elements of a table."""

    def own(self, what: str, *xs: Any, gain: float = math.inf) -> Any:
        """A tensor that the module itself makes of these; ``what`` it does, in two words.  It changes by at most ``gain`` times what they
        do together."""

    def carried(self, text: str, cell: Any, start: Any = None) -> Any:
        """What the step before has left, of the type on ``cell`` (to begin with, ``start``; zeros if there is none), to be handed to
        :meth:`carry`."""

    def carry(self, before: Any, new: Any) -> None:
        """Leave ``new`` to the next step, where ``before`` was."""

    def ports(self, ins: Mapping[str, Any], outs: Mapping[str, Any]) -> None:
        """What is called how that goes in and comes out."""


class Record:
    """Base of all records.  Subclasses are registered by :func:`register` and never instantiated by users."""

    name: ClassVar[str]
    doc: ClassVar[str] = ""
    """One line: what it computes."""
    source: ClassVar[str] = ""
    """Torch page or paper."""
    differs: ClassVar[str] = ""
    """What is otherwise than in Torch, in a sentence or two; empty when nothing is."""
    arguments: ClassVar[tuple[Argument, ...]] = ()
    samples: ClassVar[tuple[Sample, ...]] = ()
    kind: ClassVar[str] = "module"
    input_names: ClassVar[tuple[str, ...]] = ()
    """Names that inputs may be given by, in the order in which they stand in a plain list."""
    children: ClassVar[bool] = False
    """A container: ``:add`` works on it."""
    stochastic: ClassVar[bool] = False
    loops: ClassVar[bool] = False
    """Runs the modules inside once for each of as many steps as it calls T (``s.unknown("T")``)."""
    carries: ClassVar[tuple[str, ...]] = ()
    """What it hands from each step to the next, by name, in its own loop or in that of a module around it."""
    remembers: ClassVar[bool] = False
    """Runs over time from zeros, or from where it ended in the batch before (``remember``)."""
    closed: ClassVar[bool] = False
    """What is inside is made by the record and nobody's but its own: pictures show it as one thing."""
    sourceless: ClassVar[bool] = False
    """Makes its output from no input at all."""
    parts: ClassVar[tuple[str, ...]] = ()
    """Fields that hold modules inside it in Torch, which are no modules here: such a field is the module itself."""
    methods: ClassVar[tuple[str, ...]] = ()
    """Methods of the Torch class that a spec may call on such a module, beside those that all modules have."""

    @property
    def signature(self) -> str:
        return f"nn.{self.name}({', '.join(map(str, self.arguments))})"

    def construct(self, args: Sequence[Any], origin: Origin) -> Module:
        """A module of this kind from constructor arguments; those that are modules are its children."""
        from graphspec.graph.module import Module

        module = Module(self, self.bind(args, origin), origin)
        given = [getattr(module.args, argument.name) for argument in self.arguments if argument.kind == "module"]
        module.children = [child for child in given if child is not None]
        return module

    def parameters(self, a: SimpleNamespace) -> Mapping[str, ParameterSpec]:
        """Trainable tensors, in Torch's order."""
        return {}

    def buffers(self, a: SimpleNamespace) -> Mapping[str, ParameterSpec]:
        """Tensors that are kept but not trained (running statistics)."""
        return {}

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        """Raise for arguments that are wrong together."""

    def call(self, m: Module, method: str, args: Sequence[Any], origin: Origin) -> Module:
        """Call one of :attr:`methods`; returns the module, as Torch's setters do."""
        raise NotImplementedError

    def get(self, m: Module, name: str) -> float | str | bool | None:
        """``module.name`` of a constructor argument that is a number, a string or a flag."""
        value = getattr(m.args, next((a.name for a in self.arguments if a.field == name), name), None)
        value = value.value if isinstance(value, Size) else value
        if isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        return value if isinstance(value, (str, float, bool)) else None

    def set(self, m: Module, name: str, value: Any, origin: Origin) -> None:
        """``module.name = value`` for a constructor argument (``criterion.sizeAverage = false``); E0426 for another name.

        One that is a module is taken as the constructor takes it, with all that follows; E0424 for a module around this one.
        """
        for argument in self.arguments:
            if name in (argument.name, argument.field) and not argument.rest:
                changed = SimpleNamespace(**{**vars(m.args), argument.name: self._convert(argument, value, origin)})
                if argument.kind == "module":
                    if any(m is inner for inner in value.walk()):
                        raise fail("E0424", "a module cannot contain itself", origin)
                    made = self.construct([getattr(changed, a.name) for a in self.arguments], origin)
                    m.children, m.parameters, m.buffers = made.children, made.parameters, made.buffers
                    changed = SimpleNamespace(**{**vars(changed), **vars(made.args)})
                else:
                    self.check(changed, origin)
                m.args = changed
                return
        raise fail("E0426", f"nn.{self.name} has no argument {name} to set", origin, notes=[f"signature: {self.signature}"])

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        """State what is known of the types of input ``x`` and output ``y``; run again whenever more is known."""
        raise NotImplementedError

    def inside(self, w: Walk, m: Module, x: Any) -> Any:
        """The way from input to output through the modules inside, for all who follow it; that of a module around one other is known."""
        return w.child(next(iter(w.use.subs)), x) if len(w.use.subs) == 1 else w.own(self.doc, x)

    def tells(self, use: Any) -> bool:
        """Whether the way through what is inside a use is known."""
        return len(use.subs) == 1 or (bool(use.subs) and type(self).inside is not Record.inside)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        """Emit IR for input values ``x`` and return the output values: those of the modules inside, unless it computes something itself."""
        return self.inside(b, m, x)  # type: ignore[arg-type, no-any-return]  # of a Walk it has what such modules need

    def noise_shape(self, y: Sequence[Size]) -> Sequence[Size]:
        """The shape of the noise that a caller may inject, by that of the output."""
        return y

    def bind(self, args: Sequence[Any], origin: Origin) -> SimpleNamespace:
        """Constructor arguments by name; E0420-E0422 when they do not fit."""
        bound = SimpleNamespace()
        left = list(args)
        for argument in self.arguments:
            if argument.rest:
                rest = _flatten(left)
                left = []
                values = [self._convert(argument, v, origin) for v in rest]
                if not values and argument.default is REQUIRED:
                    raise fail("E0420", f"nn.{self.name} needs {argument.name}", origin, notes=[f"signature: {self.signature}"])
                setattr(bound, argument.name, tuple(values) if values else argument.default)
                continue
            given = bool(left)
            value = left.pop(0) if left else None
            if value is None:
                if argument.default is REQUIRED:
                    told = f", and argument {len(args) - len(left)} is nil" if given else ""
                    raise fail("E0420", f"nn.{self.name} needs {argument.name}{told}", origin, notes=[f"signature: {self.signature}"])
                setattr(bound, argument.name, argument.default)
            else:
                setattr(bound, argument.name, self._convert(argument, value, origin))
        if any(v is not None for v in left):
            count = len(self.arguments)
            most = f"at most {count} argument{'s' * (count > 1)}" if count else "no arguments"
            helps = ["modules are added one by one: `:add(...)`"] if self.children else self._by_place(args)
            raise fail("E0421", f"nn.{self.name} takes {most}, got {len(args)}", origin,
                       notes=[f"signature: {self.signature}"], helps=helps)
        self.check(bound, origin)
        return bound

    def _convert(self, argument: Argument, value: Any, origin: Origin) -> Any:
        kind = argument.kind
        if kind == "table":
            return value if isinstance(value, Table) else Table((value,))
        if kind == "flag" and isinstance(value, bool):
            return value
        if kind == "text" and isinstance(value, str):
            return value
        if kind == "module" and hasattr(value, "record"):
            return value
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if kind == "number" and number:
            return float(value)
        if kind in ("size", "int", "sizes"):
            if number and float(value).is_integer():
                whole = int(value)
                if kind == "size" and whole < 1:
                    raise fail("E0422", f"nn.{self.name}: {argument.name} must be at least 1, got {whole}", origin,
                               notes=[f"signature: {self.signature}"])
                if abs(whole) > MAX_SIZE:
                    raise fail("E0504", f"nn.{self.name}: {argument.name} = {whole} is past the largest size, 2^53", origin)
                return Size.const(whole) if argument.letters else whole
            if argument.letters and isinstance(value, str) and value.isidentifier():
                return Size.letter(value)
            if number:
                raise fail("E0422", f"nn.{self.name}: {argument.name} must be a whole number, got {value:g}", origin,
                           notes=[f"signature: {self.signature}"])
        wanted = {"size": "a size", "int": "a whole number", "number": "a number", "flag": "true or false", "text": "a string",
                  "sizes": "sizes", "module": "a module"}[kind]
        if argument.letters:
            wanted += " or a size letter such as 'B'"
        raise fail("E0422", f"nn.{self.name}: {argument.name} must be {wanted}, got {_lua_type(value)}", origin,
                   notes=[f"signature: {self.signature}"], helps=self._by_place([value]))

    def _by_place(self, args: Sequence[Any]) -> list[str]:
        """A hint where an argument shows that the call was meant in another way."""
        if any(hasattr(value, "inputs") for value in args):
            return [f"a node is what the module is called with: `nn.{self.name}(...)(node)`"]
        if any(isinstance(value, str) and value in ("same", "valid") for value in args):
            return ["a border of (k - 1) / 2 on each side keeps the size ('same' of PyTorch and Keras), one of 0 is 'valid'"]
        if any(isinstance(value, Table) for value in args) and self.arguments:
            return ["arguments stand one after another, by place, and not in a table"]
        return []


MAX_SIZE = 2**53

REGISTRY: dict[str, Record] = {}
"""Every record by name; filled by importing :mod:`graphspec.nn`."""

LEFT_OUT: dict[str, str] = {}
"""Modules of Torch that there are none of here, by name, each with the reason; filled likewise."""


class NameTaken(ValueError):
    """A second record of one name; ``owner`` is the Python module that has the first."""

    def __init__(self, name: str) -> None:
        self.name, self.owner = name, type(REGISTRY[name]).__module__
        super().__init__(f"two records named {name}: {self.owner} has it already")


def register(cls: type[Record]) -> type[Record]:
    """Class decorator: makes ``nn.<name>`` known; NameTaken where another record has the name."""
    if cls.name in REGISTRY:
        raise NameTaken(cls.name)
    REGISTRY[cls.name] = cls()
    return cls


def _flatten(values: Sequence[Any]) -> list[Any]:
    """Varargs, or one table (Torch also takes a LongStorage) of them."""
    if len(values) == 1 and isinstance(values[0], Table):
        return list(values[0].items)
    return list(values)


def lua_text(value: Any) -> str:
    """A value as a spec writes it; a module that a sample needs as the expression that makes it."""
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}".replace("inf", "math.huge")
    if isinstance(value, Table):
        fields = (f"{name}={lua_text(item)}" for name, item in value.fields.items())
        return "{" + ", ".join([*map(lua_text, value.items), *fields]) + "}"
    if isinstance(value, Make):
        return lua_call(value.name, value)
    return repr(value) if isinstance(value, str) else str(value)


def lua_call(name: str, what: Sample | Make) -> str:
    """The expression that makes a module of that name: its arguments, children and methods called."""
    calls = [("add", (child,)) for child in what.children] + list(what.methods)
    return f"nn.{name}({', '.join(map(lua_text, what.args))})" + "".join(
        f":{method}({', '.join(map(lua_text, args))})" for method, args in calls
    )


def _lua_type(value: Any) -> str:
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, str):
        return f"the string '{value}'"
    if isinstance(value, (int, float)):
        return f"the number {value:g}"
    if isinstance(value, Table):
        return "a table"
    return f"a {type(value).__name__.lower()}"
