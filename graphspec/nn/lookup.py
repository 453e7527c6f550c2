"""Layers that read indices: embeddings and one-hot vectors.  Indices are int32, from 1, checked at run time."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace

from graphspec.graph import Argument, Leaf, Module, ParameterSpec, Record, Sample, register
from graphspec.graph.parameter import normal
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import TORCH, only
from graphspec.shapes.cells import FLOAT, Cell
from graphspec.shapes.infer import Types


class IndexRecord(Record):
    """Base of modules from indices ``[...]`` to vectors ``[..., n]``."""

    def width(self, a: SimpleNamespace) -> int:
        """The size of the new last axis."""
        raise NotImplementedError

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.set(x, dtype="int32")
        s.set(y, dtype=FLOAT)
        s.wish(x, 1)
        n = self.width(m.args)
        s.last_axis(y, n)
        s.relate(x, y, lambda d: (*d, n), lambda d: d[:-1])


@register
class LookupTable(IndexRecord):
    """Row ``x`` of a table of ``nIndex`` vectors: ``[...] -> [..., nOutput]``; begins as normal(0, 1)."""

    name = "LookupTable"
    doc = "the rows of a weight matrix at the given indices (an embedding)"
    source = TORCH + "convolution.md#lookuptable"
    arguments = (Argument("nIndex"), Argument("nOutput"))
    samples = (
        Sample((5, 3), Leaf((4,), index=True, high=5)),
        Sample((3, 2), Leaf((2, 3), index=True, high=3)),
        Sample((4, 2), Leaf((), index=True, high=4)),
        Sample((2, 3), Leaf((2, 2, 2), index=True, high=2)),
    )

    def width(self, a: SimpleNamespace) -> int:
        return int(a.nOutput)

    def parameters(self, a: SimpleNamespace) -> Mapping[str, ParameterSpec]:
        return {"weight": ParameterSpec((a.nIndex, a.nOutput), normal())}

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        return b.gather(b.parameter(m, "weight"), b.zero_based(only(x), m.args.nIndex))


@register
class OneHot(IndexRecord):
    """1 at the given index, 0 elsewhere: ``[...] -> [..., outputSize]``."""

    name = "OneHot"
    doc = "vectors of zeros with a one at the given index"
    source = "https://github.com/Element-Research/dpnn#nn.OneHot"
    arguments = (Argument("outputSize"),)
    samples = (Sample((4,), Leaf((3,), index=True, high=4)), Sample((2,), Leaf((2, 3), index=True, high=2)),
               Sample((3,), Leaf((), index=True, high=3)))

    def width(self, a: SimpleNamespace) -> int:
        return int(a.outputSize)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        index = b.zero_based(only(x), m.args.outputSize)
        return b.place(index, b.full(1, index.shape), m.args.outputSize)
