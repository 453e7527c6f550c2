"""Modules that rearrange the elements of one tensor, of any dtype."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Leaf, Module, Record, Sample, Table, register
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import TORCH, axis_of, offset_of, only, set_input_dims, unless_known, usual_rank, with_axis, with_size, without
from graphspec.shapes.cells import UNKNOWN, Cell, Mismatch, hint_of, show
from graphspec.shapes.infer import Types
from graphspec.sizes import Size, product, size

INDICES = Leaf((3, 2), index=True, high=5)


class BatchRule(Record):
    """Base of Reshape and View: the output's shape is inferred, lowering only takes it over."""

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        return b.reshape(only(x), b.type_of(b.use.y).shape)


@register
class Reshape(BatchRule):
    """The same elements in another shape: ``[B, ...] -> [B, sizes...]``, or ``[...] -> [sizes...]``.

    By Torch's rule the leading axis stays as a batch axis unless the sizes take all elements (and the leading size is not 1);
    ``true`` as the last argument says that it stays, ``false`` that it does not.
    """

    name = "Reshape"
    doc = "the same elements in another shape, batch axis kept"
    source = TORCH + "simple.md#reshape"
    differs = "sizes may be given as a table; a size of -1 is refused: nn.View takes it"
    arguments = (Argument("size", "sizes", letters=True, rest=True), Argument("batchMode", "flag", None))
    samples = (
        Sample((3, 2), (6,)),
        Sample((3, 2), (4, 6)),
        Sample((Table((6,)),), (2, 3, 2)),
        Sample((6, True), (1, 3, 2)),
        Sample((2, 6, False), (2, 3, 2)),
        Sample((12,), (2, 3, 2)),
    )

    def bind(self, args: Sequence[Any], origin: Origin) -> SimpleNamespace:
        given = list(args)
        mode = given.pop() if given and isinstance(given[-1], bool) else None
        bound = super().bind(given, origin)
        bound.batchMode = mode
        return bound

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        for n in a.size:
            if n.value is not None and n.value < 1:
                helps = ["nn.View takes -1 for what is left"] if n == -1 else []
                raise fail("E0422", f"nn.{self.name}: sizes must be at least 1, got {n}", origin, helps=helps)

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.same_dtype(x, y)
        sizes = [s.size(n) for n in m.args.size]
        dims, known = s.dims(x), s.dims(y)
        if dims is None:
            s.wish(x, 2)
            if m.args.batchMode is False:
                s.set(y, sizes)
            return
        if not dims:
            raise Mismatch("a scalar has no batch axis")
        batch = self._batch(dims, known, sizes, m.args.batchMode)
        if batch is None:
            s.guess(lambda: self._keep(s, y, dims, sizes))
        elif batch:
            self._keep(s, y, dims, sizes)
        else:
            s.equate(product(dims), product(sizes))
            s.set(y, sizes)

    @staticmethod
    def _keep(s: Types, y: Cell, dims: Sequence[Size], sizes: Sequence[Size]) -> None:
        """The leading axis stays."""
        s.equate(product(dims[1:]), product(sizes))
        s.set(y, [dims[0], *sizes])

    @staticmethod
    def _batch(dims: Sequence[Size], known: Sequence[Size] | None, sizes: Sequence[Size], mode: bool | None) -> bool | None:
        """Whether the leading axis stays; None while that is open."""
        if mode is not None:
            return mode
        wanted = product(sizes)
        if product(dims) == wanted:
            return dims[0] == 1
        if len(dims) == 1:
            return False
        rest = product(dims[1:])
        if rest == wanted:
            return True
        if rest.value is not None and wanted.value is not None:
            return False
        return None if known is None else len(known) == len(sizes) + 1


@register
class View(BatchRule):
    """The same elements in another shape, ``[...] -> [sizes...]`` or ``[B, ...] -> [B, sizes...]``; one size may be -1, for what is left.

    By Torch's rule: what the sizes do not take becomes one leading batch axis, unless a size is -1 (which takes it). After
    ``setNumInputDims(n)`` only the last n axes are viewed, and the axes before them become one batch axis.  ``resetSize(sizes...)`` sets
    other sizes.
    """

    name = "View"
    doc = "the same elements in another shape; -1 for what is left"
    source = TORCH + "simple.md#view"
    arguments = (Argument("sizes", "sizes", letters=True, rest=True),)
    methods = ("setNumInputDims", "resetSize")
    samples = (
        Sample((3, 2), (6,)),
        Sample((6,), (4, 3, 2)),
        Sample((-1,), (2, 3)),
        Sample((2, -1), (2, 3, 2)),
        Sample((-1,), (4, 3, 2), methods=(("setNumInputDims", (2,)),)),
        Sample((3,), (2, 2, 3), methods=(("setNumInputDims", (1,)),)),
        Sample((-1,), (3, 2), methods=(("setNumInputDims", (2,)),)),
        Sample((5,), (2, 6), methods=(("resetSize", (3, 2)),)),
    )

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        a.numInputDims = getattr(a, "numInputDims", None)
        if sum(n == -1 for n in a.sizes) > 1:
            raise fail("E0422", f"nn.{self.name}: only one size can be -1", origin)
        for n in a.sizes:
            if n.value is not None and n.value < 1 and n != -1:
                raise fail("E0422", f"nn.{self.name}: sizes must be at least 1, or -1 for what is left, got {n}", origin)

    def call(self, m: Module, method: str, args: Sequence[Any], origin: Origin) -> Module:
        if method == "resetSize":
            m.args = SimpleNamespace(**{**vars(m.args), "sizes": self.bind(args, origin).sizes})
            return m
        return set_input_dims(self, m, args, origin)

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.same_dtype(x, y)
        dims = s.dims(x)
        if dims is None:
            s.wish(x, (m.args.numInputDims or 1) + 1)
            return
        sizes = [s.unknown("n") if n == -1 else s.size(n) for n in m.args.sizes]
        first = max(len(dims) - m.args.numInputDims, 0) if m.args.numInputDims else 0
        lead, inner = dims[:first], dims[first:]
        if any(n == -1 for n in m.args.sizes):
            known = product([n for n, given in zip(sizes, m.args.sizes, strict=True) if given != -1])
            left = product(inner).divide(known)
            if left is not None:
                s.equate(s.unknown("n"), left)
            s.equate(product(inner), product(sizes))
            s.set(y, [product(lead), *sizes] if lead else sizes)
            if s.resolve(product(inner)) != s.resolve(product(sizes)):
                if m.args.sizes[0] == -1:
                    s.guess(lambda: self._trailing(s, inner, sizes))
                told = f"views {s.show(x)}, so -1 would be {show(s.resolve(product(inner)))} / {show(s.resolve(known))}"
                unless_known(s, m, "the size that -1 stands for is not known before the run", told, s.resolve(product(inner)))
            return
        batch = product(inner).divide(product(sizes))
        if batch is not None:
            s.set(y, [batch * product(lead), *sizes] if lead or batch != 1 else sizes)
        else:
            self._undecided(s, y, sizes, lead, inner)

    @staticmethod
    def _undecided(s: Types, y: Cell, sizes: Sequence[Size], lead: Sequence[Size], inner: Sequence[Size]) -> None:
        """Sizes that cannot be divided yet: by the rank of the output, else the first axis is the batch."""
        total, wanted, known = product(inner), product(sizes), s.dims(y)
        if total.value is not None and wanted.value is not None:
            raise Mismatch(f"{total} elements cannot be viewed as {' x '.join(map(str, sizes))}")
        if lead and len(inner) > len(sizes):
            s.guess(lambda: View._trailing(s, inner, sizes))
        elif lead:
            s.equate(total, wanted)
            s.set(y, [product(lead), *sizes])
        elif known is None:
            # View('B', 2, 3) of [B, n] says the batch itself
            whole = len(inner) == 1 or (sizes[0] == inner[0] and sizes[0].lone is not None)
            s.guess(lambda: s.set(y, sizes if whole else [*inner[:1], *sizes]))
        elif len(known) == len(sizes):
            s.equate(total, wanted)
            s.set(y, sizes)
        else:
            s.set(y, [s.unknown("B"), *sizes])
            batch = s.resolve(s.unknown("B"))
            rest = total.divide(batch)
            s.equate(total if rest is None else rest, batch * wanted if rest is None else wanted)

    @staticmethod
    def _trailing(s: Types, inner: Sequence[Size], sizes: Sequence[Size]) -> None:
        """Nothing says more of assumed sizes: the last ones are those of the view, and what is left in front is a batch."""
        if not any(name.startswith(UNKNOWN) for n in inner for name in s.resolve(n).letters):
            return
        open_end = (s.resolve(sizes[0]).lone or "").startswith(UNKNOWN)  # the -1
        pairs = zip(inner[:0:-1], sizes[:0:-1], strict=False) if open_end else zip(inner[::-1], sizes[::-1], strict=False)
        for n, wanted in pairs:
            s.equate(n, wanted)
        if open_end and len(sizes) > len(inner):
            batch = [Size.letter(name) for name in sorted(s.resolve(inner[0]).letters) if hint_of(name) == "B"]
            if batch:
                s.equate(sizes[0], batch[0])


@register
class Select(Record):
    """Element ``index`` of a dimension, which goes away (both negative: from the end): ``[T, B, n] -> [B, n]`` for the first."""

    name = "Select"
    doc = "one element of a dimension"
    source = TORCH + "simple.md#select"
    differs = "a vector is taken too, and gives a scalar"
    arguments = (Argument("dimension", "int"), Argument("index", "int"))
    samples = (Sample((1, 2), (3, 2)), Sample((2, -1), (3, 2)), Sample((-1, 1), (2, 3, 2)), Sample((1, 3), (4,)), Sample((2, 1), INDICES))

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.same_dtype(x, y)
        s.wish(x, usual_rank(m.args.dimension))
        s.relate(x, y, lambda d: self._forward(s, m.args, d), lambda d: with_axis(d, axis_of(m.args.dimension, len(d) + 1), s.unknown("n")))

    @staticmethod
    def _forward(s: Types, a: SimpleNamespace, dims: tuple[Size, ...]) -> tuple[Size, ...]:
        axis = axis_of(a.dimension, len(dims))
        offset_of(a.index, dims[axis])
        s.at_most(abs(a.index), dims[axis])
        return without(dims, axis)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x = only(x)
        axis = axis_of(m.args.dimension, x.type.rank)
        return b.select(x, axis, offset_of(m.args.index, x.shape[axis]))


@register
class Narrow(Record):
    """``length`` elements of a dimension from ``offset`` (negative length: counted to the end, -1 is the last): ``[B, n] -> [B, length]``
    for the second.

    With a negative offset, whichever, all but the last ``length`` elements.  A negative dimension counts from the end.
    """

    name = "Narrow"
    doc = "a range of a dimension"
    source = TORCH + "simple.md#narrow"
    arguments = (Argument("dimension", "int"), Argument("offset", "int", field="index"), Argument("length", "int", size(1), letters=True))
    samples = (
        Sample((1, 2, 2), (4, 2)),
        Sample((2, 1), (3, 2)),
        Sample((-1, 2, -1), (2, 1, 4)),
        Sample((1, 2, -2), (4,)),
        Sample((1, -1, 3), (4, 2)),
        Sample((1, 1, 2), INDICES),
    )

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        if a.offset == 0:
            raise fail("E0422", "nn.Narrow: offset counts from 1, or from the end if it is negative", origin)

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.same_dtype(x, y)
        s.wish(x, usual_rank(m.args.dimension))
        length = s.size(m.args.length)

        def forward(dims: tuple[Size, ...]) -> Sequence[Size]:
            axis = axis_of(m.args.dimension, len(dims))
            taken = narrowed(m.args.offset, length, dims[axis])
            s.at_most(0, taken)
            s.at_most(taken + max(m.args.offset - 1, 0), dims[axis])
            return with_size(dims, axis, taken)

        def backward(dims: tuple[Size, ...]) -> Sequence[Size]:
            axis = axis_of(m.args.dimension, len(dims))
            return with_size(dims, axis, s.unknown("n"))

        s.relate(x, y, forward, backward)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x = only(x)
        axis = axis_of(m.args.dimension, x.type.rank)
        return b.slice(x, axis, max(m.args.offset - 1, 0), narrowed(m.args.offset, b.size(m.args.length), x.shape[axis]))


def narrowed(offset: int, length: Size, whole: Size) -> Size:
    """How many elements a Narrow takes of an axis; Mismatch when they are not there."""
    if length.value is not None and length.value < 0:
        length = whole - offset + 2 + length
    if offset < 0:
        offset, length = 1, whole - length
    last = (length + (offset - 1) - whole).value
    if (length.value is not None and length.value < 1) or (last is not None and last > 0):
        raise Mismatch(f"elements {offset} to {length + (offset - 1)} of an axis of {whole}")
    return length


@register
class Replicate(Record):
    """The tensor repeated ``nFeature`` times along a new dimension: ``[B, n] -> [nFeature, B, n]``; nothing is copied.

    With ``ndim`` a tensor of more axes than that has a batch axis in front that is not counted.
    """

    name = "Replicate"
    doc = "repeats a tensor along a new dimension"
    source = TORCH + "simple.md#replicate"
    arguments = (Argument("nFeature", letters=True, field="nfeatures"), Argument("dim", "size", 1), Argument("ndim", "size", None))
    samples = (Sample((3,), (2,)), Sample((3, 2), (2, 4)), Sample((2, 3), (2, 3)), Sample((3, 1, 1), (2, 4)), Sample((2,), INDICES))

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.same_dtype(x, y)
        s.wish(x, 2)
        n = s.size(m.args.nFeature)

        def backward(dims: tuple[Size, ...]) -> Sequence[Size]:
            axis = self._axis(m.args, len(dims) - 1)
            s.equate(dims[axis], n, axis)
            return without(dims, axis)

        s.relate(x, y, lambda d: with_axis(d, self._axis(m.args, len(d)), n), backward)

    @staticmethod
    def _axis(a: SimpleNamespace, rank: int) -> int:
        axis = int(a.dim) - 1 + (1 if a.ndim is not None and rank > a.ndim else 0)
        if axis > rank:
            raise Mismatch(f"a new dimension {axis + 1} of a tensor with {rank} axes")
        return axis

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x = only(x)
        axis = self._axis(m.args, x.type.rank)
        shape = with_axis(x.shape, axis, b.size(m.args.nFeature))
        return b.broadcast(x, shape, [i for i in range(len(shape)) if i != axis])


@register
class Transpose(Record):
    """Swaps dimensions, one pair after the other: ``nn.Transpose({1, 2}, {2, 3})`` makes ``[n, m, k] -> [m, k, n]``.

    After ``setNumInputDims(n)`` only the last n axes are counted.
    """

    name = "Transpose"
    doc = "swaps pairs of dimensions"
    source = TORCH + "simple.md#transpose"
    arguments = (Argument("pairs", "table", rest=True),)
    methods = ("setNumInputDims",)
    samples = (
        Sample((Table((1, 2)),), (2, 3)),
        Sample((Table((1, 3)), Table((1, 2))), (2, 3, 4)),
        Sample((Table((1, 2)),), (2, 3, 4), methods=(("setNumInputDims", (2,)),)),
        Sample((Table((1, 2)),), (2, 1, 2, 3), methods=(("setNumInputDims", (2,)),)),
        Sample((Table((2, 1)),), INDICES),
    )

    def bind(self, args: Sequence[Any], origin: Origin) -> SimpleNamespace:
        pairs = []
        for given in args:
            items = given.items if isinstance(given, Table) else ()
            if len(items) != 2 or not all(isinstance(n, (int, float)) and n >= 1 and float(n).is_integer() for n in items):
                raise fail("E0422", "nn.Transpose takes pairs of dimensions, as in `nn.Transpose({1, 2})`", origin)
            pairs.append((int(items[0]), int(items[1])))
        if not pairs:
            raise fail("E0420", "nn.Transpose needs a pair of dimensions, as in `nn.Transpose({1, 2})`", origin)
        return SimpleNamespace(pairs=pairs, numInputDims=None)

    def call(self, m: Module, method: str, args: Sequence[Any], origin: Origin) -> Module:
        return set_input_dims(self, m, args, origin)

    @staticmethod
    def permutation(a: SimpleNamespace, rank: int) -> list[int]:
        """Which axis of x is axis i of y."""
        skip = rank - a.numInputDims if a.numInputDims is not None else 0
        if skip < 0:
            raise Mismatch(f"at least {a.numInputDims} axes are wanted here, got {rank}")
        axes = list(range(rank))
        for first, second in a.pairs:
            i, j = axis_of(first + skip, rank), axis_of(second + skip, rank)
            axes[i], axes[j] = axes[j], axes[i]
        return axes

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.same_dtype(x, y)
        s.wish(x, max(max(p) for p in m.args.pairs))

        def backward(dims: tuple[Size, ...]) -> Sequence[Size]:
            axes = self.permutation(m.args, len(dims))
            return [dims[axes.index(i)] for i in range(len(dims))]

        s.relate(x, y, lambda d: [d[i] for i in self.permutation(m.args, len(d))], backward)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x = only(x)
        return b.transpose(x, self.permutation(m.args, x.type.rank))
