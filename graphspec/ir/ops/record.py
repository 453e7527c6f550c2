"""What is known of a primitive."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from graphspec.ir.core import DTYPES, Block, Op, TensorType, Value
from graphspec.sizes import Size

if TYPE_CHECKING:
    from graphspec.ir.builder import Builder

Attrs = Mapping[str, Any]
Types = Sequence[TensorType]
Blocks = Sequence[Block]
Given = Sequence[Value | None]
"""The cotangent of each output; None where nothing flows back."""
Infer = Callable[[Types, Attrs, Blocks], "list[TensorType]"]
Vjp = Callable[["Builder", Op, Given], "list[Value | None]"]


class IRError(ValueError):
    """IR that breaks a rule of the IR: a compiler's mistake, not a user's."""


@dataclass(frozen=True)
class Case:
    """A sample: input types (shapes with a dtype), attributes, and the domain that float inputs are drawn from."""

    inputs: tuple[tuple[tuple[int, ...], str], ...]
    attrs: Attrs = field(default_factory=dict)
    low: float = -2.0
    high: float = 2.0
    index: int = 0
    """Integers are drawn from 0 .. index-1."""


@dataclass(frozen=True)
class Primitive:
    """One op: its shape rule, its gradient, and samples that prove them.

    ``vjp(builder, op, cotangents)`` gives a cotangent (or None) for each input; it may read ``op.inputs`` and ``op.outputs``.
    None in place of a rule means that nothing flows back.
    """

    name: str
    doc: str
    infer: Infer
    vjp: Vjp | None = None
    pointwise: bool = False
    view: bool = False
    """Moves no data where strides can say it."""
    cases: tuple[Case, ...] = ()
    takes: str = ""
    """The names of its attributes; all must be given.  What each may be is said once, in ``ATTRIBUTES``."""


PRIMITIVES: dict[str, Primitive] = {}


def define(record: Primitive) -> Primitive:
    """Enter a record in the table."""
    if record.name in PRIMITIVES:
        raise ValueError(f"two primitives named {record.name}")
    PRIMITIVES[record.name] = record
    return record


def primitive(name: str) -> Primitive:
    """The record of that name; IRError when there is none."""
    try:
        return PRIMITIVES[name]
    except KeyError:
        raise IRError(f"there is no primitive {name}") from None


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _positive(value: Any) -> bool:
    return _whole(value) and value > 0


def _all(of: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, tuple) and all(of(v) for v in value)


def _is_size(value: Any) -> bool:
    return isinstance(value, Size) and (value.value is None or value.value >= 0)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


ATTRIBUTES: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("size", "start", "length", "before", "after", "trip"), _is_size),
    **dict.fromkeys(("axis", "site", "consts", "carries", "ys", "rows"), _whole),
    **dict.fromkeys(("stride", "dilation"), _positive),
    **dict.fromkeys(("how", "kind"), _is_text),
    "shape": _all(_is_size),
    "axes": _all(_whole),
    "reverse": lambda value: isinstance(value, bool),
    "value": lambda value: isinstance(value, (int, float)),
    "base": lambda value: value in (-1, 0, 1),
    "dtype": lambda value: value in DTYPES,
}
"""What an attribute of that name may be, in every primitive."""


def check_attributes(record: Primitive, attrs: Attrs) -> None:
    """IRError unless the attributes are those that the primitive takes, each of its kind."""
    wanted = record.takes.split()
    if attrs.keys() != set(wanted):
        raise IRError(f"{record.name} takes the attributes {', '.join(sorted(wanted)) or 'none'}, got {', '.join(attrs) or 'none'}")
    for name, value in attrs.items():
        if not ATTRIBUTES[name](value):
            raise IRError(f"{record.name}: {name} = {value!r}")


def need(condition: bool, message: str) -> None:
    """IRError unless the condition holds."""
    if not condition:
        raise IRError(message)


def count(types: Types, n: int, name: str) -> None:
    need(len(types) == n, f"{name} takes {n} inputs, got {len(types)}")


def only(cotangents: Given) -> Value:
    """The cotangent of a one-output op (vjp rules run only when there is one)."""
    assert cotangents[0] is not None
    return cotangents[0]
