"""Linear layers of inputs that are given as pairs of an index and a value."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace

from graphspec.graph import Argument, InitStep, Leaf, Module, ParameterSpec, Record, Sample, register
from graphspec.graph.parameter import linear_init
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import TORCH
from graphspec.shapes.cells import FLOAT, Cell, Mismatch
from graphspec.shapes.infer import Types
from graphspec.sizes import Size

LEFT_OUT = {
    "IndexLinear": "Its input is lists of keys and values of several lengths, and it rescales them by the largest seen so far: give pairs "
    "of an index and a value to nn.SparseLinear.",
}

PAIRS = Leaf((3, 2), values=(1.5, 0.4, 4.5, -1.2, 2.5, 0.7))
"""The index is cut to a whole number, so that a small change of it changes nothing."""


@register
class SparseLinear(Record):
    """``y = W x + b`` with x given by the elements that are not 0, as rows of an index (from 1) and a value: ``[k, 2] -> [outputSize]``;
    a batch is ``[B, k, 2]``, or a table of B tensors ``[k, 2]`` whose k may differ: ``-> [B, outputSize]``.

    A pair whose value is 0 counts nothing, whatever its index.
    """

    name = "SparseLinear"
    doc = "y = W x + b with x as pairs of an index and a value"
    source = TORCH + "simple.md#sparselinear"
    differs = "a gradient always comes back to the values, in the input's shape, whatever doGradInput; there may be more leading axes"
    arguments = (Argument("inputSize"), Argument("outputSize"), Argument("doGradInput", "flag", False))
    samples = (
        Sample((4, 3), PAIRS),
        Sample((4, 2, True), Leaf((2, 2, 2), values=(2.5, 0.4, 4.5, -1.2, 2.5, 0.7, 2.5, 1.1))),
        Sample((5, 2), (PAIRS, Leaf((1, 2), values=(5.5, 0.6)))),
    )

    def parameters(self, a: SimpleNamespace) -> Mapping[str, ParameterSpec]:
        init = linear_init(a.inputSize)
        return {
            "weight": ParameterSpec((a.outputSize, a.inputSize), init),
            "bias": ParameterSpec((a.outputSize,), init, (InitStep("mul", (1e-6,)),)),
        }

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        n = m.args.outputSize
        s.set(y, dtype=FLOAT)
        s.last_axis(y, n)
        if s.is_table(x):
            items = s.items(x) or []
            if not items:
                raise Mismatch("an empty table")
            for number, item in enumerate(items, 1):
                s.set(item, (s.unknown("k", number), 2), FLOAT)
            s.set(y, (len(items), n))
            return
        s.wish(x, 3)
        dims = s.dims(x)
        if dims is None:
            return
        if len(dims) < 2:
            raise Mismatch(f"at least 2 axes are wanted here, got {s.show(x)}")
        s.set(x, dtype=FLOAT)
        s.equate(dims[-1], Size.const(2), len(dims) - 1)
        s.set(y, (*dims[:-2], n))

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        if isinstance(x, Value):
            return self._product(b, m, x)
        rows = [self._product(b, m, item) for item in x if isinstance(item, Value)]
        return b.concat([b.unsqueeze(row, 0) for row in rows], 0)

    @staticmethod
    def _product(b: Lowering, m: Module, x: Value) -> Value:
        last = x.type.rank - 1
        index, value = b.cast(b.select(x, last, 0), "int32"), b.select(x, last, 1)
        nothing = b.compare(value, b.full_like(value, 0), "eq")
        index = b.where(nothing, b.full_like(index, b.session.index_base), index)
        columns = b.gather(b.transpose(b.parameter(m, "weight"), (1, 0)), b.zero_based(index, m.args.inputSize))
        y = b.reduce_sum(b.mul(columns, b.broadcast_first(value, columns)), [last - 1])
        return b.add(y, b.broadcast_last(b.parameter(m, "bias"), y))
