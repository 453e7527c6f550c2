"""Rows of zeros that stand for "nothing here": what comes of them is zeros."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace

from graphspec.graph import Argument, Leaf, Make, Module, ParameterSpec, Record, Sample, register
from graphspec.graph.parameter import normal
from graphspec.lower import Lowering, Tree, map_tree
from graphspec.nn.common import RNN, only
from graphspec.nn.lookup import IndexRecord
from graphspec.nn.recurrent import check_rank, zeros_of
from graphspec.nn.sequence import cleared
from graphspec.shapes.cells import Cell, Mismatch
from graphspec.shapes.infer import Types

LEFT_OUT = {
    "TrimZero": "It leaves rows of zeros out of the computation, so that sizes depend on values: write nn.MaskZero, which gives the same "
    "numbers.",
}

ROWS = Leaf((3, 2), index=True, values=(0, 0, 2, 0, 1, 3))
"""Indices with a row of zeros."""


@register
class MaskZero(Record):
    """The module, but zeros in all outputs for each row of the input that is all zeros.

    ``nInputDim`` is how many axes the input (the first tensor of a table) has without its batch axis; with as many, it is one row.
    """

    name = "MaskZero"
    doc = "a module whose output is zeros where the input is"
    source = RNN + "MaskZero"
    differs = "a row whose squares are too small for the float type is not taken for zeros; silent changes nothing, there is no warning"
    arguments = (Argument("module", "module"), Argument("nInputDim"), Argument("silent", "flag", False))
    samples = (
        Sample((Make("LookupTableMaskZero", (3, 2)), 1), ROWS),
        Sample((Make("LookupTableMaskZero", (3, 2)), 1), Leaf((2,), index=True, values=(0, 0))),
        Sample((Make("Linear", (3, 2)), 1, True), (2, 3)),
        Sample((Make("CAddTable"), 2), ((2, 3), (2, 3))),
    )

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.child("module", m.args.module, x, y)
        check_rank(s, x, m.args.nInputDim)
        dims = s.dims(next(iter(s.leaves(x))))
        if dims is not None and len(dims) > m.args.nInputDim:
            for leaf in s.leaves(y):
                out = s.dims(leaf)
                if out is not None and not out:
                    raise Mismatch("an output with a batch axis is wanted here, got []")
                if out is not None:
                    s.equate(out[0], dims[0], 0)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        y = b.child("module", x)
        mask = zeros_of(b, x, m.args.nInputDim)
        return map_tree(lambda v: cleared(b, mask, v), y)


@register
class LookupTableMaskZero(IndexRecord):
    """Row ``x + 1`` of a table of ``nIndex + 1`` vectors, zeros where x is 0: ``[...] -> [..., nOutput]``."""

    name = "LookupTableMaskZero"
    doc = "the rows of a weight matrix at the given indices, zeros for 0"
    source = RNN + "LookupTableMaskZero"
    differs = "the first row, Torch's zeros, is never read: its values are whatever they began as"
    arguments = (Argument("nIndex"), Argument("nOutput"))
    samples = (
        Sample((5, 3), Leaf((4,), index=True, values=(0, 5, 1, 0))),
        Sample((3, 2), ROWS),
        Sample((4, 2), Leaf((), index=True, high=4)),
    )

    def width(self, a: SimpleNamespace) -> int:
        return int(a.nOutput)

    def parameters(self, a: SimpleNamespace) -> Mapping[str, ParameterSpec]:
        return {"weight": ParameterSpec((a.nIndex + 1, a.nOutput), normal())}

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        row = b.zero_based(only(x), m.args.nIndex + 1, base_shift=-1)
        return cleared(b, b.compare(row, b.full_like(row, 0), "eq"), b.gather(b.parameter(m, "weight"), row))
