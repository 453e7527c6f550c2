"""One tensor repeated as large as another."""

from __future__ import annotations

from graphspec.graph import Module, Record, Sample, register
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import pair, unless_known
from graphspec.shapes.cells import FLOAT, Cell, Mismatch
from graphspec.shapes.infer import Types


@register
class ExpandAs(Record):
    """``{x, v} -> {x, v repeated}``: v has as many axes as x, each as large as that of x or 1; where it is 1, v is repeated.

    Whether an axis is repeated is told by its size: a letter that x has there too is not.
    """

    name = "ExpandAs"
    doc = "a tensor repeated along axes of size 1, as large as another one"
    source = "https://github.com/Element-Research/rnn/blob/master/ExpandAs.lua"
    differs = "an axis whose size is a letter that only the second tensor has is refused"
    samples = (Sample((), ((2, 3), (1, 3))), Sample((), ((2, 3), (2, 3))), Sample((), ((2, 3, 2), (2, 1, 1))), Sample((), ((4,), (1,))))

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        first, other = s.table(x, 2)
        whole, repeated = s.table(y, 2)
        s.same(first, whole)
        s.same(first, repeated)
        s.set(first, dtype=FLOAT)
        s.set(other, dtype=FLOAT)
        s.wish(first, 2)
        dims, given = s.dims(first), s.dims(other)
        if dims is None or given is None:
            if dims is not None:
                s.guess(lambda: s.set(other, [1, *dims[1:]] if dims else []))
            return
        if len(dims) != len(given):
            raise Mismatch(f"tensors with {len(dims)} and {len(given)} axes")
        for axis, (n, k) in enumerate(zip(dims, given, strict=True)):
            if k != n and k.value != 1:
                if k.value is None:
                    unless_known(s, m, f"whether dimension {axis + 1} is repeated is not known before the run", s.show(other))
                else:
                    s.equate(k, n, axis)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        first, other = pair(x)
        kept = [axis for axis, (n, k) in enumerate(zip(first.shape, other.shape, strict=True)) if k == n]
        return first, b.broadcast(b.reshape(other, [other.shape[axis] for axis in kept]), first.shape, kept)
