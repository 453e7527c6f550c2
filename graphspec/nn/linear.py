"""Identity and the linear layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Module, ParameterSpec, Record, Sample, Table, register
from graphspec.graph.parameter import fill, linear_init, normal
from graphspec.graph.record import MAX_SIZE
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import TORCH, TORCH_CODE, only, pair, rows
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
    differs = "a table declares a type; Torch passes over arguments"
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


class Projection(Record):
    """Base of modules from vectors to vectors: ``[..., inputSize] -> [..., outputSize]``."""

    differs = "more leading axes than one are taken too"

    def outputs(self, a: SimpleNamespace) -> int:
        """The size of the last axis of the output."""
        return int(a.outputSize)

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        inputs, outputs = m.args.inputSize, self.outputs(m.args)
        s.set(x, dtype=FLOAT)
        s.set(y, dtype=FLOAT)
        s.wish(x, 2)
        s.last_axis(x, inputs)
        s.last_axis(y, outputs)
        s.relate(x, y, lambda d: (*d[:-1], outputs), lambda d: (*d[:-1], inputs))

    def map(self, b: Lowering, m: Module, x: Value) -> Value:
        """``[B, inputSize]`` to ``[B, outputSize]``."""
        raise NotImplementedError

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x = only(x)
        matrix = x if x.type.rank == 2 else b.reshape(x, (product(x.shape[:-1]), x.shape[-1]))
        return b.reshape(self.map(b, m, matrix), (*x.shape[:-1], self.outputs(m.args)))


@register
class Linear(Projection):
    """``y = W x + b`` along the last axis: ``[..., inputSize] -> [..., outputSize]``; ``noBias()`` leaves b away."""

    name = "Linear"
    doc = "y = W x + b along the last axis"
    source = TORCH + "simple.md#linear"
    arguments: ClassVar[tuple[Argument, ...]] = (Argument("inputSize"), Argument("outputSize"), Argument("bias", "flag", True))
    methods: ClassVar[tuple[str, ...]] = ("noBias",)
    samples: ClassVar[tuple[Sample, ...]] = (
        Sample((4, 3), (2, 4)), Sample((4, 3), (4,)), Sample((2, 3), (3, 2, 2)), Sample((3, 2, False), (2, 3)),
        Sample((3, 2), (2, 3), methods=(("noBias", ()),)),
    )

    def parameters(self, a: SimpleNamespace) -> Mapping[str, ParameterSpec]:
        init = linear_init(a.inputSize)
        weight = {"weight": ParameterSpec((a.outputSize, a.inputSize), init)}
        return {**weight, "bias": ParameterSpec((a.outputSize,), init)} if a.bias else weight

    def call(self, m: Module, method: str, args: Sequence[Any], origin: Origin) -> Module:
        m.args = SimpleNamespace(**{**vars(m.args), "bias": False})
        m.parameters.pop("bias", None)
        return m

    def weight(self, b: Lowering, m: Module) -> Value:
        """``[outputSize, inputSize]``."""
        return b.parameter(m, "weight")

    def map(self, b: Lowering, m: Module, x: Value) -> Value:
        y = b.matmul(x, b.transpose(self.weight(b, m), (1, 0)))
        return b.add(y, b.broadcast_last(b.parameter(m, "bias"), y)) if m.args.bias else y


@register
class LinearNoBias(Linear):
    """``y = W x`` along the last axis: ``[..., inputSize] -> [..., outputSize]``."""

    name = "LinearNoBias"
    doc = "y = W x along the last axis"
    source = TORCH + "simple.md#linear"
    arguments = (Argument("inputSize"), Argument("outputSize"))
    methods = ()
    samples = (Sample((4, 3), (2, 4)), Sample((2, 3), (3, 2, 2)))

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        a.bias = False


@register
class PartialLinear(Linear):
    """``y = W x + b`` of which only some outputs are computed: ``[..., inputSize] -> [..., k]``.

    ``setPartition{2, 4}`` says which k outputs, in which order; ``resetPartition()`` says all of them again.  The weight keeps its size.
    """

    name = "PartialLinear"
    doc = "y = W x + b for some of the outputs"
    source = TORCH + "simple.md#partiallinear"
    differs = "a vector and more leading axes than one are taken too; the partition is part of the spec and cannot change in a run"
    methods = ("setPartition", "resetPartition")
    samples = (
        Sample((4, 3), (2, 4)),
        Sample((4, 3), (4,), methods=(("setPartition", (Table((3, 1)),)),)),
        Sample((3, 5, False), (2, 3), methods=(("setPartition", (Table((2, 3, 5)),)),)),
        Sample((3, 2), (2, 2, 3), methods=(("setPartition", (Table((2,)),)), ("resetPartition", ()))),
    )

    def parameters(self, a: SimpleNamespace) -> Mapping[str, ParameterSpec]:
        weight = {"weight": ParameterSpec((a.outputSize, a.inputSize), normal())}
        return {**weight, "bias": ParameterSpec((1, a.outputSize), fill(0))} if a.bias else weight

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        a.partition = getattr(a, "partition", None)

    def call(self, m: Module, method: str, args: Sequence[Any], origin: Origin) -> Module:
        chosen = None
        if method == "setPartition":
            items = args[0].items if args and isinstance(args[0], Table) else ()
            most = m.args.outputSize
            if not items or not all(isinstance(n, (int, float)) and 1 <= n <= most and float(n).is_integer() for n in items):
                raise fail("E0422", f"nn.PartialLinear: setPartition takes outputs, whole numbers from 1 to {most}", origin,
                           helps=["as in `module:setPartition(torch.Tensor{1, 2})`"])
            chosen = tuple(int(n) for n in items)
        m.args = SimpleNamespace(**{**vars(m.args), "partition": chosen})
        return m

    def outputs(self, a: SimpleNamespace) -> int:
        return len(a.partition) if a.partition else int(a.outputSize)

    def map(self, b: Lowering, m: Module, x: Value) -> Value:
        y = b.matmul(x, b.transpose(self._chosen(b, m, b.parameter(m, "weight")), (1, 0)))
        if not m.args.bias:
            return y
        bias = self._chosen(b, m, b.reshape(b.parameter(m, "bias"), (m.args.outputSize,)))
        return b.add(y, b.broadcast_last(bias, y))

    @staticmethod
    def _chosen(b: Lowering, m: Module, x: Value) -> Value:
        """The chosen rows, neighbours in one piece."""
        runs: list[list[int]] = []
        for n in m.args.partition or ():
            if runs and n == runs[-1][-1] + 1:
                runs[-1].append(n)
            else:
                runs.append([n])
        return b.concat([b.slice(x, 0, run[0] - 1, len(run)) for run in runs], 0) if runs else x


@register
class Bilinear(Record):
    """``y_k = x1 A_k x2 + b_k``: ``{[..., inputSize1], [..., inputSize2]} -> [..., outputSize]``."""

    name = "Bilinear"
    doc = "y_k = x1 A_k x2 + b_k"
    source = TORCH + "simple.md#bilinear"
    differs = "a vector and more leading axes than one are taken too"
    arguments = (Argument("inputSize1"), Argument("inputSize2"), Argument("outputSize"), Argument("bias", "flag", True))
    samples = (
        Sample((3, 2, 4), ((2, 3), (2, 2))), Sample((2, 3, 1, False), ((4, 2), (4, 3))), Sample((3, 2, 2), ((3,), (2,))),
        Sample((2, 3, 2), ((2, 1, 2), (2, 1, 3))),
    )

    def parameters(self, a: SimpleNamespace) -> Mapping[str, ParameterSpec]:
        init = linear_init(a.inputSize1)
        weight = {"weight": ParameterSpec((a.outputSize, a.inputSize1, a.inputSize2), init)}
        return {**weight, "bias": ParameterSpec((a.outputSize,), init)} if a.bias else weight

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        a = m.args
        ends = list(zip((*s.table(x, 2), y), (a.inputSize1, a.inputSize2, a.outputSize), strict=True))
        for cell, n in ends:
            s.set(cell, dtype=FLOAT)
            s.last_axis(cell, n)
        s.wish(ends[0][0], 2)
        lead = next((d[:-1] for d in (s.dims(cell) for cell, _ in ends) if d is not None), None)
        for cell, n in ends if lead is not None else []:
            s.set(cell, (*(lead or ()), n))

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        a, (first, second) = m.args, pair(x)
        left, right = (rows(b, v) if v.type.rank > 1 else b.unsqueeze(v, 0) for v in (first, second))
        wide = b.reshape(b.transpose(b.parameter(m, "weight"), (1, 0, 2)), (a.inputSize1, a.outputSize * a.inputSize2))
        products = b.reshape(b.matmul(left, wide), (left.shape[0], a.outputSize, a.inputSize2))
        y = b.reduce_sum(b.mul(products, b.broadcast(right, products.shape, (0, 2))), [2])
        if a.bias:
            y = b.add(y, b.broadcast_last(b.parameter(m, "bias"), y))
        return b.reshape(y, (*first.shape[:-1], a.outputSize))


@register
class Maxout(Projection):
    """The largest of ``maxoutNumber`` linear maps, for each output: ``[..., inputSize] -> [..., outputSize]``.

    The weight is that of one Linear to ``maxoutNumber * outputSize`` numbers, map after map.  Goodfellow et al. (2013).
    """

    name = "Maxout"
    doc = "y_j = max_k (W_k x + b_k)_j"
    source = TORCH_CODE + "Maxout.lua"
    differs = "more leading axes than one are taken too; what is done before the maximum (preprocess) is written out in a spec"
    arguments = (Argument("inputSize"), Argument("outputSize"), Argument("maxoutNumber"))
    samples = (Sample((4, 3, 2), (2, 4)), Sample((3, 2, 4), (3,)), Sample((2, 3, 1), (2, 2, 2)))

    def parameters(self, a: SimpleNamespace) -> Mapping[str, ParameterSpec]:
        init, n = linear_init(a.inputSize), a.outputSize * a.maxoutNumber
        return {"weight": ParameterSpec((n, a.inputSize), init), "bias": ParameterSpec((n,), init)}

    def map(self, b: Lowering, m: Module, x: Value) -> Value:
        y = b.matmul(x, b.transpose(b.parameter(m, "weight"), (1, 0)))
        y = b.add(y, b.broadcast_last(b.parameter(m, "bias"), y))
        maps = b.reshape(y, (x.shape[0], m.args.maxoutNumber, m.args.outputSize))
        return b.reduce_max(maps, [1])
