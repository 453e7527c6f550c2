"""Layers with a weight or a bias for each element, or one for all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import ClassVar

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Module, ParameterSpec, Record, Sample, register
from graphspec.graph.parameter import linear_init
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import TORCH, only
from graphspec.shapes.cells import Cell, Mismatch
from graphspec.shapes.infer import Types
from graphspec.sizes import Size, product


def how_it_fits(dims: Sequence[Size], shape: Sequence[int]) -> str | None:
    """How a parameter lies on a tensor: along its last "axes", along its "rows" (all but the leading axis as one), or its elements are
    those of the "whole"; None when it does not."""
    last = dims[len(dims) - len(shape) :]
    if len(dims) >= len(shape) and all(n == 1 or d.value is None or d.value == n for d, n in zip(last, shape, strict=True)):
        return "axes"
    count = math.prod(shape)
    if len(dims) > 1 and product(dims[1:]).value in (None, count):
        return "rows"
    return "whole" if product(dims) == count else None


class ElementParameter(Record):
    """Base of modules that have one parameter of given sizes, and put it on x element by element."""

    key: ClassVar[str]
    """What it is called: a "weight" is multiplied by, a "bias" added."""

    def shape(self, a: SimpleNamespace) -> tuple[int, ...]:
        """The sizes of the parameter."""
        raise NotImplementedError

    def combine(self, b: Lowering, x: Value, parameter: Value) -> Value:
        return b.mul(x, parameter) if self.key == "weight" else b.add(x, parameter)

    def parameters(self, a: SimpleNamespace) -> Mapping[str, ParameterSpec]:
        shape = self.shape(a)
        return {self.key: ParameterSpec(shape, linear_init(math.prod(shape)))}

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        shape = self.shape(m.args)
        one = math.prod(shape) == 1
        s.like(x, y, 2 if one else max(2, len(shape)))
        dims = s.dims(x)
        if dims is None or one:
            return
        how = how_it_fits(dims, shape)
        if how is None:
            raise Mismatch(f"sizes {' x '.join(map(str, shape))} do not fit {s.show(x)}")
        if how == "axes":
            for axis, n in enumerate(shape, len(dims) - len(shape)):
                if n != 1:
                    s.equate(dims[axis], Size.const(n), axis)
        else:
            s.equate(product(dims if how == "whole" else dims[1:]), Size.const(math.prod(shape)))

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x, shape = only(x), self.shape(m.args)
        parameter = b.parameter(m, self.key)
        if math.prod(shape) == 1:
            return self.combine(b, x, b.broadcast(b.reshape(parameter, ()), x.shape, ()))
        how = how_it_fits(x.shape, shape)
        if how == "axes":
            axes = [axis for axis, n in enumerate(shape, x.type.rank - len(shape)) if n != 1]
            return self.combine(b, x, b.broadcast(b.reshape(parameter, [n for n in shape if n != 1]), x.shape, axes))
        if how == "whole":
            return self.combine(b, x, b.reshape(parameter, x.shape))
        flat = b.reshape(x, (x.shape[0], math.prod(shape)))
        return b.reshape(self.combine(b, flat, b.broadcast_last(b.reshape(parameter, (math.prod(shape),)), flat)), x.shape)


class Componentwise(ElementParameter):
    """Base of CAdd and CMul."""

    arguments = (Argument("size", "sizes", rest=True),)
    differs = "an input may have any number of axes before those that the sizes say"
    samples: ClassVar[tuple[Sample, ...]] = (
        Sample((3,), (2, 3)),
        Sample((3,), (3,)),
        Sample((2, 3), (4, 2, 3)),
        Sample((2, 1), (3, 2, 4)),
        Sample((1, 4), (2, 4)),
        Sample((1, 2, 1), (2, 3, 2, 2)),
        Sample((1,), (2, 3)),
        Sample((6,), (2, 3, 2)),
        Sample((2, 3), (3, 2)),
    )

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        if not a.size or min(a.size) < 1:
            raise fail("E0422", f"nn.{self.name}: its sizes are whole numbers of at least 1", origin,
                       helps=[f"as in `nn.{self.name}(opt.rnn_size)`"])

    def shape(self, a: SimpleNamespace) -> tuple[int, ...]:
        return tuple(a.size)


@register
class CMul(Componentwise):
    """``y = w * x``, element by element with a weight of the given sizes.

    The sizes are those of the last axes of x (1 repeats the weight along an axis): ``[..., sizes...] -> [..., sizes...]``.  Or the weight
    has as many elements as x, or as x without its leading axis, and they are taken in order; those sizes must be numbers.
    """

    name = "CMul"
    doc = "y = w * x with a weight for each element"
    source = TORCH + "simple.md#cmul"
    key = "weight"


@register
class CAdd(Componentwise):
    """``y = x + b``, element by element with a bias of the given sizes.

    The sizes are those of the last axes of x (1 repeats the bias along an axis): ``[..., sizes...] -> [..., sizes...]``.  Or the bias
    has as many elements as x, or as x without its leading axis, and they are taken in order; those sizes must be numbers.
    """

    name = "CAdd"
    doc = "y = x + b with a bias for each element"
    source = TORCH + "simple.md#cadd"
    key = "bias"


@register
class Add(ElementParameter):
    """``y = x + b`` with ``inputSize`` biases, for the last axis or for all axes but the leading one; with ``scalar`` one bias for all
    elements, whatever ``inputSize`` says: ``[..., inputSize] -> [..., inputSize]``, or ``[B, ...] -> [B, ...]`` with sizes that are
    numbers."""

    name = "Add"
    doc = "y = x + b"
    source = TORCH + "simple.md#add"
    differs = "an input with more axes than a batch axis and inputSize is taken too: the bias then goes to its last axis"
    arguments = (Argument("inputSize", "size", None), Argument("scalar", "flag", False))
    samples = (
        Sample((3,), (2, 3)), Sample((3,), (3,)), Sample((6,), (2, 3, 2)), Sample((3,), (2, 2, 3)), Sample((3, True), (2, 4)),
        Sample((None, True), (2, 1, 2)),
    )
    key = "bias"

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        if a.inputSize is None and not a.scalar:
            raise fail("E0422", "nn.Add needs inputSize, or true as its second argument", origin, notes=[f"signature: {self.signature}"],
                       helps=["it adds a bias; tensors are added by `nn.CAddTable()({a, b})`"])

    def shape(self, a: SimpleNamespace) -> tuple[int, ...]:
        return (1 if a.scalar else a.inputSize,)


@register
class Mul(ElementParameter):
    """``y = w * x`` with one weight for all elements, of any rank."""

    name = "Mul"
    doc = "y = w * x with one learned factor"
    source = TORCH + "simple.md#mul"
    samples = (Sample((), (2, 3)), Sample((), (4,)), Sample((), (2, 1, 3)))
    key = "weight"

    def shape(self, a: SimpleNamespace) -> tuple[int, ...]:
        return (1,)
