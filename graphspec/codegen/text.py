"""Pieces of C: sizes, types, places in memory, and lines that know how deep they stand."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from graphspec.codegen.names import buffer_name
from graphspec_runtime.plan import Expr, Plan, View

TYPES = {"float32": "float", "float64": "double", "int32": "int32_t", "int64": "int64_t", "bool": "uint8_t"}
SUFFIX = {"float32": "f32", "float64": "f64"}


def letter(name: str) -> str:
    """A size letter as a C name."""
    return "n_" + re.sub(r"\W", "_", name)


def size(expr: Expr) -> str:
    """A size as a C expression, in parentheses where it is a sum."""
    if isinstance(expr, int):
        return str(expr)
    terms = []
    for factor, letters in expr:
        words = [letter(name) for name, power in letters for _ in range(power)]
        terms.append(" * ".join(([str(factor)] if factor != 1 or not words else []) + words))
    return f"({' + '.join(terms)})" if len(terms) != 1 or " * " in terms[0] else (terms[0] or "0")


def product(sizes: Sequence[Expr]) -> str:
    """A product of sizes as a C expression.  Its numbers are multiplied here: C would have 32 bits for that, too few for 2^31."""
    fixed = math.prod(n for n in sizes if isinstance(n, int))
    words = [size(n) for n in sizes if not isinstance(n, int)]
    return " * ".join(([str(fixed)] if fixed != 1 or not words else []) + words)


def number(value: float, dtype: str) -> str:
    """A constant as a C literal of its type."""
    if dtype == "bool":
        return str(int(bool(value)))
    if dtype not in SUFFIX:
        return f"INT64_C({int(value)})" if dtype == "int64" else f"({int(value)})" if value < 0 else str(int(value))
    mark = "f" if dtype == "float32" else ""
    if math.isnan(value):
        return "NAN"
    if math.isinf(value):
        return "INFINITY" if value > 0 else "(-INFINITY)"
    text = repr(float(value))
    return f"({text}{mark})" if value < 0 else f"{text}{mark}"


def times(index: str, stride: Expr) -> str:
    """``index * stride``, short where the stride is 0 or 1."""
    if stride == 0:
        return ""
    return index if stride == 1 else f"{index} * {size(stride)}"


def at(indices: Sequence[str], strides: Sequence[Expr]) -> str:
    """The element where the indices are."""
    parts = [part for index, stride in zip(indices, strides, strict=True) if (part := times(index, stride))]
    return " + ".join(parts) or "0"


class Lines:
    """C under construction."""

    def __init__(self, depth: int = 0) -> None:
        self.lines: list[str] = []
        self.depth = depth
        self.needs: list[str] = []
        """Bytes of workspace that each piece of it takes."""

    def add(self, *lines: str) -> None:
        for line in lines:
            self.lines.append(line if line.startswith("#") else "    " * self.depth + line if line else "")

    def workspace(self, bytes: str) -> str:
        """So many bytes to work in, as a C expression."""
        self.needs.append(bytes)
        return f"gs_workspace({bytes})"

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        self.add(f"{head} {{" if head else "{")
        self.depth += 1
        yield
        self.depth -= 1
        self.add("}")

    @contextmanager
    def loop(self, index: str, end: str, start: str = "0") -> Iterator[None]:
        with self.block(f"for (gs_int {index} = {start}; {index} < {end}; ++{index})"):
            yield


@dataclass(frozen=True)
class Operand:
    """A view as a kernel sees it: a pointer of its own, the dtype, and a stride for each axis."""

    pointer: str
    dtype: str
    shape: tuple[Expr, ...]
    strides: tuple[Expr, ...]
    literal: str = ""
    """The number in every element, where it is one."""

    def load(self, place: str) -> str:
        """The element at a place."""
        return f"({self.type}){self.literal}" if self.literal else f"{self.pointer}[{place}]"

    @property
    def type(self) -> str:
        return TYPES[self.dtype]


def address(plan: Plan, view: View) -> str:
    """Where a view begins, in the turns of the loops around it."""
    parts = [] if view.offset == 0 else [size(view.offset)]
    parts += [times(f"t{loop}", step) for loop, step in view.steps]
    return " + ".join([buffer_name(plan, view.buffer), *(part for part in parts if part)])
