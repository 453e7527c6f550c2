"""Identity and the linear layers."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import ClassVar

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Module, ParameterSpec, Record, Sample, register
from graphspec.graph.parameter import linear_init
from graphspec.graph.record import MAX_SIZE
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import TORCH
from graphspec.shapes.cells import FLOAT, Cell
from graphspec.shapes.infer import Types
from graphspec.sizes import Size, product


def declared_type(a: SimpleNamespace, origin: Origin) -> tuple[list[Size] | None, str | None]:
    """The sizes and the dtype that ``{'T', 'B', dtype='int32'}`` declares; E0427 for anything else in the table."""
    dims: list[Size] = []
    for item in a.type.items:
        if isinstance(item, str) and item.isidentifier():
            dims.append(Size.letter(item))
        elif isinstance(item, float) and abs(item) > MAX_SIZE:
            raise fail("E0504", f"nn.Identity: {item:g} is past the largest size, 2^53", origin)
        elif isinstance(item, (int, float)) and not isinstance(item, bool) and float(item).is_integer() and item >= 0:
            dims.append(Size.const(int(item)))
        else:
            raise fail("E0427", f"nn.Identity: a type is made of sizes and size letters, got {item!r}", origin,
                       helps=["as in `nn.Identity{'T', 'B', dtype = 'int32'}()`"])
    dtype = a.type.fields.get("dtype")
    known = {"float": FLOAT, "int32": "int32", "bool": "bool"}
    if dtype is not None and (not isinstance(dtype, str) or dtype not in known):
        raise fail("E0427", f"nn.Identity: dtype must be one of {', '.join(known)}, got {dtype!r}", origin)
    return (dims if a.type.items else None), known[dtype] if dtype else None


@register
class Identity(Record):
    """``nn.Identity()``; with a table it declares a type: ``nn.Identity{'T', 'B', dtype='int32'}``, a size or a letter an axis."""

    name = "Identity"
    doc = "y = x; its arguments declare the type of an input"
    source = TORCH + "simple.md#identity"
    arguments = (Argument("type", "table", None),)
    samples = (Sample((), (2, 3)), Sample((), ((2, 3), (4,))))

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        a.dims, a.dtype = declared_type(a, origin) if a.type is not None else (None, None)

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        if m.args.dims is not None or m.args.dtype is not None:
            s.set(x, [s.size(n) for n in m.args.dims] if m.args.dims is not None else None, m.args.dtype)
        s.same(x, y)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        return x


@register
class Linear(Record):
    """``y = W x + b`` along the last axis: ``[..., in] -> [..., out]``."""

    name = "Linear"
    doc = "y = W x + b along the last axis"
    source = TORCH + "simple.md#linear"
    arguments: ClassVar[tuple[Argument, ...]] = (Argument("inputSize"), Argument("outputSize"), Argument("bias", "flag", True))
    samples: ClassVar[tuple[Sample, ...]] = (
        Sample((4, 3), (2, 4)), Sample((4, 3), (4,)), Sample((2, 3), (3, 2, 2)), Sample((3, 2, False), (2, 3)),
    )

    def parameters(self, a: SimpleNamespace) -> Mapping[str, ParameterSpec]:
        init = linear_init(a.inputSize)
        weight = {"weight": ParameterSpec((a.outputSize, a.inputSize), init)}
        return {**weight, "bias": ParameterSpec((a.outputSize,), init)} if a.bias else weight

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.set(x, dtype=FLOAT)
        s.set(y, dtype=FLOAT)
        s.wish(x, 2)
        s.last_axis(x, m.args.inputSize)
        s.last_axis(y, m.args.outputSize)
        s.relate(x, y, lambda d: (*d[:-1], m.args.outputSize), lambda d: (*d[:-1], m.args.inputSize))

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        assert isinstance(x, Value)
        rows = x if x.type.rank == 2 else b.reshape(x, (product(x.shape[:-1]), x.shape[-1]))
        y = b.matmul(rows, b.transpose(b.parameter(m, "weight"), (1, 0)))
        if m.args.bias:
            y = b.add(y, b.broadcast_last(b.parameter(m, "bias"), y))
        return b.reshape(y, (*x.shape[:-1], m.args.outputSize))


@register
class LinearNoBias(Linear):
    """``y = W x`` along the last axis."""

    name = "LinearNoBias"
    doc = "y = W x along the last axis"
    source = TORCH + "simple.md#linear"
    arguments = (Argument("inputSize"), Argument("outputSize"))
    samples = (Sample((4, 3), (2, 4)), Sample((2, 3), (3, 2, 2)))

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        a.bias = False
