"""Bottle: a module for few axes on a tensor of many."""

from __future__ import annotations

from graphspec.graph import Argument, Leaf, Make, Module, Record, Sample, register
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import TORCH, only, unless_known
from graphspec.shapes.cells import Cell, Mismatch, show
from graphspec.shapes.infer import Types
from graphspec.sizes import Size, product


@register
class Bottle(Record):
    """A module that takes ``nInputDim`` axes and gives ``nOutputDim``, on a tensor of more axes: the leading ones go through it as one, and
    come out as they were: ``[p, q, r, n] -> [p, q, r, m]`` by a module ``[B, n] -> [B, m]``.

    A tensor of no more than nInputDim axes goes through the module as it is.  By default nOutputDim is nInputDim.
    """

    name = "Bottle"
    doc = "a module for few axes on a tensor of many: leading axes go through it as one"
    source = TORCH + "containers.md#bottle"
    arguments = (Argument("module", "module"), Argument("nInputDim", "size", 2), Argument("nOutputDim", "size", None))
    samples = (
        Sample((Make("Linear", (3, 2)),), (2, 2, 1, 3)),
        Sample((Make("Linear", (3, 2)),), (2, 3)),
        Sample((Make("Linear", (3, 2)),), (3,)),
        Sample((Make("LookupTable", (5, 3)), 1, 2), Leaf((2, 4), index=True, high=5)),
        Sample((Make("Sum", (3,)), 3, 2), (2, 2, 3, 4)),
        Sample((Make("BatchNormalization", (2,)),), (3, 2, 2)),
    )

    @staticmethod
    def ranks(m: Module) -> tuple[int, int]:
        """How many axes the module takes, and gives."""
        return m.args.nInputDim, m.args.nOutputDim or m.args.nInputDim

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        taken, given = self.ranks(m)
        dims, known = s.dims(x), s.dims(y)
        if dims is None and known is not None and len(known) > given:
            dims = (*known[: len(known) - given], *(s.unknown("n", i + 1) for i in range(taken)))
            s.set(x, dims)
        if dims is None:
            s.wish(x, taken + 1)
            return
        if len(dims) <= taken:
            s.child("module", m.children[0], x, y)
            return
        more = len(dims) - taken
        use = s.child("module", m.children[0], Cell(), Cell())
        s.same_dtype(x, use.x)
        s.same_dtype(y, use.y)
        s.set(use.x, (product(dims[: more + 1]), *dims[more + 1 :]))
        outs, first = s.dims(use.y), product(dims[:more])
        if outs is not None:
            if len(outs) != given:
                raise Mismatch(f"the module gives {s.show(use.y)}, and nOutputDim is {given}")
            last = s.unknown("m")
            s.equate(outs[0], first * s.resolve(last), 0)
            if s.resolve(last) == last and s.resolve(outs[0]) != s.resolve(first * last):
                unless_known(s, m, f"how many times {show(s.resolve(first))} is in {show(s.resolve(outs[0]))} cannot be told", s.show(x))
            s.set(y, (*dims[:more], last, *outs[1:]))
        elif known is not None and len(known) == more + given:
            s.set(use.y, (first * known[more], *known[more + 1 :]))

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x, taken = only(x), m.args.nInputDim
        more = x.type.rank - taken
        if more <= 0:
            return b.child("module", x)
        whole: tuple[Size, ...] = (product(x.shape[: more + 1]), *x.shape[more + 1 :])
        return b.reshape(only(b.child("module", b.reshape(x, whole))), b.type_of(b.use.y).shape)
