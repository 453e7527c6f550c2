"""Layers that read indices: embeddings and one-hot vectors.  Indices are int32, from 1, checked at run time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Leaf, Module, ParameterSpec, Record, Sample, register
from graphspec.graph.parameter import normal
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import TORCH, only
from graphspec.nn.compare import norm
from graphspec.shapes.cells import FLOAT, Cell
from graphspec.shapes.infer import Types
from graphspec.sizes import SizeLike


class IndexRecord(Record):
    """Base of modules from indices ``[...]`` to vectors ``[..., n]``."""

    def width(self, a: SimpleNamespace) -> SizeLike:
        """The size of the new last axis."""
        raise NotImplementedError

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.set(x, dtype="int32")
        s.set(y, dtype=FLOAT)
        s.wish(x, 1)
        n = s.size(self.width(m.args))
        s.last_axis(y, n)
        s.relate(x, y, lambda d: (*d, n), lambda d: d[:-1])


@register
class LookupTable(IndexRecord):
    """Row ``x`` of a table of ``nIndex`` vectors: ``[...] -> [..., nOutput]``; begins as normal(0, 1).

    The row of the index ``paddingValue`` is not trained.  A row that is longer than ``maxNorm``, by the norm of ``normType``, is read cut
    to that length.  After ``scaleGradByFreq()`` what comes back to a row is divided by how often it was read.  ``setPadding``,
    ``setMaxNorm`` and ``setNormType`` set the arguments.
    """

    name = "LookupTable"
    doc = "the rows of a weight matrix at the given indices (an embedding)"
    source = TORCH + "convolution.md#lookuptable"
    differs = (
        "the input may have any number of axes; with maxNorm the row itself keeps its length: what is read is cut, and the gradient of "
        "what is read goes to the row as it is"
    )
    arguments = (Argument("nIndex"), Argument("nOutput"), Argument("paddingValue", "int", 0), Argument("maxNorm", "number", None),
                 Argument("normType", "number", 2.0))
    methods = ("setPadding", "setMaxNorm", "setNormType", "scaleGradByFreq", "accUpdateOnly")
    samples = (
        Sample((5, 3), Leaf((4,), index=True, high=5)),
        Sample((3, 2), Leaf((2, 3), index=True, high=3)),
        Sample((4, 2), Leaf((), index=True, high=4)),
        Sample((2, 3), Leaf((2, 2, 2), index=True, high=2)),
        Sample((5, 3, 5, 100, 1), Leaf((4,), index=True, high=4)),
        Sample((4, 2), Leaf((2, 2), index=True, values=(3, 1, 4, 2)), methods=(("setMaxNorm", (100,)), ("scaleGradByFreq", ()))),
    )

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        a.byFrequency = getattr(a, "byFrequency", False)
        if a.maxNorm is not None and not 0 < a.maxNorm < math.inf:
            raise fail("E0422", f"nn.LookupTable: maxNorm must be more than 0, got {a.maxNorm:g}", origin)
        if not 0 < a.normType < math.inf:
            raise fail("E0422", f"nn.LookupTable: normType must be more than 0, got {a.normType:g}", origin)

    def call(self, m: Module, method: str, args: Sequence[Any], origin: Origin) -> Module:
        fields = {"setPadding": "paddingValue", "setMaxNorm": "maxNorm", "setNormType": "normType"}
        if method in fields:
            default = next(argument.default for argument in self.arguments if argument.name == fields[method])
            value = args[0] if args and args[0] is not None else default
            if value is None:
                m.args = SimpleNamespace(**{**vars(m.args), fields[method]: None})
            else:
                self.set(m, fields[method], value, origin)
        elif method == "scaleGradByFreq":
            m.args = SimpleNamespace(**{**vars(m.args), "byFrequency": True})
        return m

    def width(self, a: SimpleNamespace) -> int:
        return int(a.nOutput)

    def parameters(self, a: SimpleNamespace) -> Mapping[str, ParameterSpec]:
        return {"weight": ParameterSpec((a.nIndex, a.nOutput), normal())}

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        a = m.args
        index = b.zero_based(only(x), a.nIndex)
        y = b.gather(b.parameter(m, "weight"), index)
        if a.maxNorm is not None:
            length = norm(b, y, a.normType)
            most = b.full_like(length, a.maxNorm)
            cut = b.where(b.compare(length, most, "gt"), b.div(most, b.shift_by(length, 1e-7)), b.full_like(length, 1))
            y = b.add(y, b.stop_gradient(b.sub(b.mul(y, b.broadcast_first(cut, y)), y)))
        if a.byFrequency:
            ones = b.full(1, index.shape)
            share = b.broadcast_first(b.gather(b.div(b.full(1, (a.nIndex,)), self._often(b, index, ones, a.nIndex)), index), y)
            scaled = b.mul(y, share)
            y = b.add(scaled, b.stop_gradient(b.sub(y, scaled)))
        if 1 <= a.paddingValue <= a.nIndex:
            padding = b.compare(index, b.full_like(index, a.paddingValue - 1), "eq")
            y = b.where(b.broadcast_first(padding, y), b.stop_gradient(y), y)
        return y

    @staticmethod
    def _often(b: Lowering, index: Value, ones: Value, n: int) -> Value:
        """How often each index is there, at least 1."""
        counted = b.scatter_add(index, ones, n)
        return b.maximum(counted, b.full_like(counted, 1))


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
