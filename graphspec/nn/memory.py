"""What a memory that is read and written by attention is made of (Neural Turing Machines)."""

from __future__ import annotations

from types import SimpleNamespace

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Leaf, Module, Record, Sample, register
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree, flatten
from graphspec.nn.attention import leading
from graphspec.nn.common import drop_axis, pair
from graphspec.nn.compare import dot, norm
from graphspec.nn.pointwise import from_zero
from graphspec.shapes.cells import Cell, Mismatch, show
from graphspec.shapes.infer import Types
from graphspec.sizes import Size

NTM = "Graves, Wayne and Danihelka (2014), https://arxiv.org/abs/1410.5401; https://github.com/kaishengtai/torch-ntm"
BATCHES = "leading (batch) axes are taken too, the same of both inputs"


class ByScalar(Record):
    """Base of modules that treat each vector by a number of its own: ``{[..., n], [..., 1]} -> [..., n]``."""

    source = NTM
    differs = BATCHES
    samples = (
        Sample((), (Leaf((3,), 0.5, 2.0), Leaf((1,), 0.5, 2.0))),
        Sample((), (Leaf((2, 3), 0.5, 2.0), Leaf((2, 1), 0.5, 2.0))),
        Sample((), (Leaf((2, 2, 1), 0.5, 2.0), Leaf((2, 2, 1), 1.5, 3.0))),
    )

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        vector, number = s.table(x, 2)
        s.like(vector, y)
        lead = leading(s, [(vector, 1), (number, 1)])
        if lead is not None:
            s.set(vector, (*lead, s.unknown("n")))
            s.set(number, (*lead, 1))

    def apply(self, b: Lowering, vector: Value, number: Value) -> Value:
        raise NotImplementedError

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        vector, number = pair(x)
        last = vector.type.rank - 1
        return self.apply(b, vector, drop_axis(b, b.reshape(number, vector.shape[:-1]), vector, last))


@register
class ScalarMulTable(ByScalar):
    """A vector times a number, ``y = c x``: ``{[..., n], [..., 1]} -> [..., n]``."""

    name = "ScalarMulTable"
    doc = "a vector times a number that is an input too"

    def apply(self, b: Lowering, vector: Value, number: Value) -> Value:
        return b.mul(vector, number)


@register
class ScalarDivTable(ByScalar):
    """A vector divided by a number, ``y = x / c``: ``{[..., n], [..., 1]} -> [..., n]``."""

    name = "ScalarDivTable"
    doc = "a vector divided by a number that is an input too"

    def apply(self, b: Lowering, vector: Value, number: Value) -> Value:
        return b.div(vector, number)


@register
class PowTable(ByScalar):
    """Each element to a power, ``y_i = x_i ^ p``: ``{[..., n], [..., 1]} -> [..., n]``; for x not negative and p more than 0.

    Where x is 0, y and its gradients are 0.
    """

    name = "PowTable"
    doc = "a vector to the power of a number that is an input too"
    differs = BATCHES + "; a negative element gives no number for whole powers either"

    def apply(self, b: Lowering, vector: Value, number: Value) -> Value:
        return from_zero(b, vector, lambda v: b.exp(b.mul(number, b.log(v))))


@register
class OuterProd(Record):
    """The outer product of two or three vectors, ``y_ij = u_i v_j``: ``{[..., m], [..., n]} -> [..., m, n]``."""

    name = "OuterProd"
    doc = "the outer product of two or three vectors"
    source = NTM
    differs = "leading (batch) axes are taken too, the same of all inputs"
    samples = (
        Sample((), ((2,), (3,))),
        Sample((), ((2, 3), (2, 2))),
        Sample((), ((2,), (3,), (2,))),
        Sample((), ((2, 1, 3), (2, 1, 2), (2, 1, 2))),
    )

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        items = s.items(x)
        if items is None:
            return
        if len(items) not in (2, 3):
            raise Mismatch(f"two or three vectors are wanted, got {s.show(x)}")
        s.wish(items[0], 2)
        lead = leading(s, [*((item, 1) for item in items), (y, len(items))])
        if lead is None:
            return
        own = [s.unknown("n", position) for position, _ in enumerate(items, 1)]
        for item, n in zip(items, own, strict=True):
            s.set(item, (*lead, n))
        s.set(y, (*lead, *own))

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        vectors = flatten(x)
        lead = vectors[0].type.rank - 1
        shape = (*vectors[0].shape[:-1], *(v.shape[-1] for v in vectors))
        first, *others = [b.broadcast(v, shape, [*range(lead), lead + i]) for i, v in enumerate(vectors)]
        for other in others:
            first = b.mul(first, other)
        return first


@register
class CircularConvolution(Record):
    """A vector convolved with a kernel around the end: ``{x [..., n], k [..., s]} -> [..., n]``, s at most n.

    Counted from 0, ``y_i = sum_j k_j x[(i + floor(s / 2) - j) mod n]``: a kernel {0, 1, 0} leaves x as it is, {1, 0, 0} turns it left.
    """

    name = "CircularConvolution"
    doc = "a vector convolved with a kernel, around the end"
    source = NTM
    differs = BATCHES
    samples = (
        Sample((), ((4,), (3,))), Sample((), ((2, 5), (2, 2))), Sample((), ((2, 1, 3), (2, 1, 3))), Sample((), ((5,), (1,))),
    )

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        vector, kernel = s.table(x, 2)
        s.like(vector, y)
        lead = leading(s, [(vector, 1), (kernel, 1)])
        if lead is None:
            return
        n, taps = s.unknown("n"), s.unknown("k")
        s.set(vector, (*lead, n))
        s.set(kernel, (*lead, taps))
        more = (s.resolve(taps) - s.resolve(n)).value
        if more is not None and more > 0:
            raise Mismatch(f"a kernel of {show(s.resolve(taps))} for a vector of {show(s.resolve(n))}")
        s.at_most(taps, n)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        vector, kernel = pair(x)
        rank = vector.type.rank
        n, taps = vector.shape[-1], kernel.shape[-1]
        rows = b.reshape(b.transpose(vector, [rank - 1, *range(rank - 1)]), (n, *vector.shape[:-1]))
        pieces = b.gather(rows, self.places(b, n, taps))  # [n, s, ...]
        kernels = b.broadcast(b.transpose(kernel, [rank - 1, *range(rank - 1)]), pieces.shape, range(1, rank + 1))
        turned = b.reduce_sum(b.mul(pieces, kernels), [1])
        return b.transpose(turned, [*range(1, rank), 0])

    @staticmethod
    def places(b: Lowering, n: Size, taps: Size) -> Value:
        """Which element of the vector each element of the kernel meets, for each element of the result: int32 ``[n, s]``."""
        shape = (n, taps)
        half = b.cast(b.scale(b.size_value(taps, "float64"), 0.5), "int32")
        place = b.add(b.broadcast(b.iota(n), shape, [0]), b.broadcast(half, shape, ()))
        place = b.sub(place, b.broadcast(b.iota(taps), shape, [1]))
        length = b.broadcast(b.size_value(n, "int32"), shape, ())
        place = b.where(b.compare(place, b.full_like(place, 0), "lt"), b.add(place, length), place)
        return b.where(b.compare(place, length, "ge"), b.sub(place, length), place)


@register
class SmoothCosineSimilarity(Record):
    """How like each row of a memory is to a key, ``y_i = M_i.k / (|M_i| |k| + smoothen)``: ``{M [..., n, m], k [..., m]} -> [..., n]``."""

    name = "SmoothCosineSimilarity"
    doc = "the cosine of the angle between a vector and each row of a matrix, smoothed"
    source = NTM
    differs = BATCHES
    arguments = (Argument("smoothen", "number", 1e-3),)
    samples = (
        Sample((), ((2, 3), (3,))), Sample((0.5,), ((2, 3, 2), (2, 2))), Sample((0.0,), ((1, 2, 3), (1, 3))),
        Sample((), ((2, 1, 2, 3), (2, 1, 3))),
    )

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        if not 0 <= a.smoothen < float("inf"):
            raise fail("E0422", f"nn.{self.name}: smoothen must be a number from 0, got {a.smoothen:g}", origin)

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        memory, key = s.table(x, 2)
        s.wish(memory, 3)
        lead = leading(s, [(memory, 2), (key, 1), (y, 1)])
        if lead is not None:
            rows, columns = s.unknown("n"), s.unknown("m")
            s.set(memory, (*lead, rows, columns))
            s.set(key, (*lead, columns))
            s.set(y, (*lead, rows))

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        memory, key = pair(x)
        keys = drop_axis(b, key, memory, memory.type.rank - 2)
        lengths = b.mul(*(norm(b, v) for v in (memory, keys)))
        return b.div(dot(b, memory, keys), b.shift_by(lengths, m.args.smoothen))
