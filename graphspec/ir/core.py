"""The tensor IR: pure SSA, typed, without layout.

A :class:`Program` is one :class:`Block`: parameters in, ops in order, results out.  A value is defined once and has a
type: a shape of :class:`~graphspec.sizes.Size` polynomials and a dtype.  Strides, aliasing and in-place updates do not
exist here; they are the Plan's business.  An op may own blocks (``scan`` owns its body); a body is closed: it reads
nothing but its own parameters and what it defines.

Every op carries the :class:`~graphspec.errors.Origin` of the user's text that it comes from, and every rewrite hands
it on.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from graphspec.errors import NOWHERE, Origin
from graphspec.sizes import Size, SizeLike, size

DTYPES = ("float32", "float64", "int32", "int64", "bool")
FLOATS = ("float32", "float64")

Shape = tuple[Size, ...]


@dataclass(frozen=True)
class TensorType:
    """Shape and dtype of a value; ``()`` is a scalar."""

    shape: Shape
    dtype: str

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def is_float(self) -> bool:
        return self.dtype in FLOATS

    def with_shape(self, shape: Sequence[SizeLike]) -> TensorType:
        return tensor(shape, self.dtype)

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


def tensor(shape: Sequence[SizeLike], dtype: str) -> TensorType:
    return TensorType(tuple(size(n) for n in shape), dtype)


_serial = itertools.count()


class Value:
    """One SSA value.  Compared by identity; ``name`` is a hint for printing (a local of the spec)."""

    __slots__ = ("type", "op", "name", "serial")

    def __init__(self, type: TensorType, name: str = "", op: Op | None = None) -> None:
        self.type = type
        self.op = op
        self.name = name
        self.serial = next(_serial)

    @property
    def shape(self) -> Shape:
        return self.type.shape

    @property
    def dtype(self) -> str:
        return self.type.dtype

    def __repr__(self) -> str:
        return f"%{self.name or self.serial}:{self.type}"


class Op:
    """One operation: a primitive's name, its inputs, attributes, the blocks it owns, and its outputs."""

    __slots__ = ("name", "inputs", "attrs", "blocks", "outputs", "origin")

    def __init__(
        self,
        name: str,
        inputs: Sequence[Value],
        attrs: Mapping[str, Any],
        types: Sequence[TensorType],
        blocks: Sequence[Block] = (),
        origin: Origin = NOWHERE,
    ) -> None:
        self.name = name
        self.inputs = tuple(inputs)
        self.attrs = dict(attrs)
        self.blocks = tuple(blocks)
        self.origin = origin
        self.outputs = tuple(Value(t, op=self) for t in types)

    @property
    def output(self) -> Value:
        """The only output."""
        (value,) = self.outputs
        return value

    def __repr__(self) -> str:
        return f"<{self.name} {list(self.inputs)} -> {list(self.outputs)}>"


@dataclass
class Block:
    """Parameters, ops in execution order, and the values handed back."""

    params: list[Value] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    results: list[Value] = field(default_factory=list)

    def walk(self) -> Iterator[Op]:
        """Every op of this block and of the blocks inside, outer op first."""
        for op in self.ops:
            yield op
            for inner in op.blocks:
                yield from inner.walk()


Role = Literal["input", "parameter", "buffer", "seed", "step", "state", "noise", "gradient", "output", "loss"]


@dataclass(frozen=True)
class Port:
    """A name and a role for one parameter or result of a program.

    Inputs: ``input`` (from the caller), ``parameter`` (the flat parameter buffer), ``gradient`` (the flat gradient
    buffer when gradients accumulate), ``buffer`` (running statistics), ``state`` (optimizer state, carried state),
    ``seed`` and ``step`` (int64 scalars for random ops and schedules), ``noise`` (an injected dropout mask).
    A result with ``updates`` set is the new value of that input: the runtime may write it over the old one (donation).
    """

    name: str
    role: Role
    updates: str | None = None


@dataclass(frozen=True)
class Guard:
    """Two sizes that must turn out equal (or ``left`` at most ``right``) when the letters are bound, with the spec line that says so."""

    left: Size
    right: Size
    message: str
    origin: Origin
    at_most: bool = False


@dataclass
class Program:
    """A whole computation: a block whose parameters and results have names and roles."""

    block: Block
    inputs: list[Port]
    outputs: list[Port]
    guards: list[Guard] = field(default_factory=list)
    name: str = "program"

    def input(self, name: str) -> Value:
        return next(v for v, p in zip(self.block.params, self.inputs, strict=True) if p.name == name)

    @property
    def letters(self) -> list[str]:
        """The size letters the program is generic in, sorted."""
        return sorted({letter for v in self.block.params for n in v.shape for letter in n.letters})


@dataclass(frozen=True)
class ScanParts:
    """A scan's operands, body parameters, results and outputs, by kind.

    ``scan(consts, carries, xs) -> (carries, ys, sums)``: the body takes ``[index, *consts, *carries, *xs]`` and
    hands back ``[*carries, *ys, *sums]``; index is the int32 position along the leading axis of xs and ys
    (``trip-1 .. 0`` when ``reverse``).  ys are stacked on a leading axis of ``trip``; sums are added up over the
    steps, from zero.
    """

    consts: tuple[Value, ...]
    carries: tuple[Value, ...]
    xs: tuple[Value, ...]
    index: Value
    body_consts: tuple[Value, ...]
    body_carries: tuple[Value, ...]
    body_xs: tuple[Value, ...]
    next_carries: tuple[Value, ...]
    body_ys: tuple[Value, ...]
    body_sums: tuple[Value, ...]
    last: tuple[Value, ...]
    ys: tuple[Value, ...]
    sums: tuple[Value, ...]


def scan_parts(op: Op) -> ScanParts:
    """The parts of a ``scan`` op.  Its attributes: ``trip`` (Size), ``reverse`` (bool), ``consts``, ``carries``, ``ys`` (counts)."""
    nc, nk, ny = op.attrs["consts"], op.attrs["carries"], op.attrs["ys"]
    body = op.blocks[0]
    params, results = tuple(body.params), tuple(body.results)
    return ScanParts(
        consts=op.inputs[:nc],
        carries=op.inputs[nc : nc + nk],
        xs=op.inputs[nc + nk :],
        index=params[0],
        body_consts=params[1 : 1 + nc],
        body_carries=params[1 + nc : 1 + nc + nk],
        body_xs=params[1 + nc + nk :],
        next_carries=results[:nk],
        body_ys=results[nk : nk + ny],
        body_sums=results[nk + ny :],
        last=op.outputs[:nk],
        ys=op.outputs[nk : nk + ny],
        sums=op.outputs[nk + ny :],
    )


def index_type() -> TensorType:
    """The type of a scan's step index."""
    return TensorType((), "int32")


def stacked(type: TensorType, trip: SizeLike) -> TensorType:
    """The type of ``trip`` values of ``type`` on a new leading axis."""
    return TensorType((size(trip), *type.shape), type.dtype)


def inverse(axes: Sequence[int]) -> list[int]:
    """The permutation that undoes ``axes``."""
    return [axes.index(i) for i in range(len(axes))]
