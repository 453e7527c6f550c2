"""Criterions of real numbers: each element is compared with its target."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import ClassVar

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Leaf, Module, ParameterSpec, Sample, Table, register
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import CRITERIONS, TORCH_CODE, numbers, only, pair, unless_known
from graphspec.nn.criterion import BY_CONSTRUCTOR, SIZE_AVERAGE, Compared, Criterion, Losses, WeightedElements, weight_buffer
from graphspec.nn.transfer import softplus
from graphspec.shapes.cells import FLOAT, Cell, Mismatch
from graphspec.shapes.infer import Types
from graphspec.sizes import Size

SIZES = "x and target have equal sizes, where Torch asks for as many elements only"
LOW, HIGH = Leaf((2, 3), -0.9, -0.4), Leaf((2, 3), 0.1, 0.5)
"""Apart, and less than 1 apart by some and more by others."""


@register
class AbsCriterion(Compared):
    """The mean over all elements of ``|x - target|``: ``{[...], [...]} -> []``; with ``sizeAverage = false`` the sum."""

    name = "AbsCriterion"
    doc = "the mean absolute difference"
    source = CRITERIONS + "abscriterion"
    differs = SIZES
    samples = (
        Sample((), (LOW, HIGH)),
        Sample((False,), (Leaf((4,), 0.1, 0.5), Leaf((4,), 0.6, 1.0))),
        Sample((), (Leaf((2, 1, 2), 0.5, 1.0), Leaf((2, 1, 2), -1.0, 0.0))),
    )

    def loss(self, b: Lowering, m: Module, x: Value, target: Value) -> Value:
        return b.abs(b.sub(x, target))


@register
class SmoothL1Criterion(Compared):
    """The mean over all elements of ``d^2 / 2`` where ``|d| < 1``, else ``|d| - 1/2``, for ``d = x - target``: ``{[...], [...]} -> []``;
    with ``sizeAverage = false`` the sum."""

    name = "SmoothL1Criterion"
    doc = "the mean of d^2 / 2 where |d| < 1, else |d| - 1/2"
    source = CRITERIONS + "smoothl1criterion"
    differs = SIZES
    samples = (
        Sample((), (Leaf((2, 3), values=(0.2, -0.4, 1.5, 2.0, -0.1, -3.0)), (2, 3))),
        Sample((False,), (Leaf((4,), values=(0.5, -1.6, 1.7, 0.1)), Leaf((4,), -0.3, 0.3))),
        Sample((), (Leaf((2, 1, 2), 2.5, 3.0), (2, 1, 2))),
    )

    def loss(self, b: Lowering, m: Module, x: Value, target: Value) -> Value:
        difference = b.sub(x, target)
        size = b.abs(difference)
        near = b.compare(size, b.full_like(size, 1), "lt")
        return b.where(near, b.scale(b.mul(difference, difference), 0.5), b.shift_by(size, -0.5))


@register
class MSECriterion(Compared):
    """The mean over all elements of ``(x - target)^2``: ``{[...], [...]} -> []``; with ``sizeAverage = false`` the sum."""

    name = "MSECriterion"
    doc = "the mean squared difference"
    source = CRITERIONS + "msecriterion"
    differs = SIZES
    samples: ClassVar[tuple[Sample, ...]] = (
        Sample((), ((2, 3), (2, 3))),
        Sample((False,), ((4,), (4,))),
        Sample((), ((2, 3, 2), (2, 3, 2))),
    )

    def loss(self, b: Lowering, m: Module, x: Value, target: Value) -> Value:
        difference = b.sub(x, target)
        return b.mul(difference, difference)


@register
class WeightedMSECriterion(MSECriterion):
    """MSECriterion with the target times ``weight``: the mean over all elements of ``(x - weight * target)^2``,
    ``{[...], [...]} -> []``.

    ``weight`` is a table (of tables ...) of numbers, of the sizes of x, or of those behind its leading axis.
    """

    name = "WeightedMSECriterion"
    doc = "the mean squared difference from the target times a weight"
    source = TORCH_CODE + "WeightedMSECriterion.lua"
    differs = BY_CONSTRUCTOR
    arguments = (Argument("weight", "table"), SIZE_AVERAGE)
    samples = (
        Sample((Table((0.5, 2.0, -1.0)),), ((2, 3), (2, 3))),
        Sample((Table((0.5, 2.0, -1.0)), False), ((3,), (3,))),
        Sample((Table((Table((1, 2)), Table((3, 0.5)))),), ((2, 2), (2, 2))),
        Sample((Table((Table((1, 2, 0)), Table((3, 0.5, 1)))), True), ((2, 2, 3), (2, 2, 3))),
    )

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        super().check(a, origin)
        if numbers(a.weight) is None:
            raise fail("E0422", f"nn.{self.name}: weight must be a table of numbers, or of such tables of one length", origin)

    def buffers(self, a: SimpleNamespace) -> Mapping[str, ParameterSpec]:
        return weight_buffer(a, "weight")

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        super().shapes(s, m, x, y)
        prediction = s.table(x, 2)[0]
        sizes, dims = self.buffers(m.args)["weight"].shape, s.dims(prediction)
        s.wish(prediction, len(sizes) + 1)
        if dims is None:
            return
        if len(dims) - len(sizes) not in (0, 1):
            raise Mismatch(f"a weight of {len(sizes)} axes on a tensor of {len(dims)}")
        first = len(dims) - len(sizes)
        s.set(prediction, [*dims[:first], *map(Size.const, sizes)])

    def loss(self, b: Lowering, m: Module, x: Value, target: Value) -> Value:
        return super().loss(b, m, x, b.mul(target, b.broadcast_last(b.buffer(m, "weight"), target)))


@register
class SpatialAutoCropMSECriterion(MSECriterion):
    """MSECriterion of ``x [..., h, w]`` and the middle of ``target [..., H, W]``, with 3 or 4 axes; h <= H, w <= W.

    Where the number of rows (columns) left out is odd, one more is left out at the end.  Sizes that are letters must be equal.
    """

    name = "SpatialAutoCropMSECriterion"
    doc = "the mean squared difference from the middle of a larger target"
    source = CRITERIONS + "spatialautocropmsecriterion"
    differs = "how much is left out must be known before the run"
    samples = (
        Sample((), ((2, 2, 3), (2, 5, 4))),
        Sample((False,), ((2, 1, 2, 2), (2, 1, 2, 4))),
        Sample((True,), ((1, 2, 2, 3), (1, 2, 2, 3))),
    )

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        prediction, target = s.table(x, 2)
        s.set(prediction, dtype=FLOAT)
        s.set(target, dtype=FLOAT)
        s.set(y, (), FLOAT)
        s.wish(prediction, 4)
        for one, other in ((prediction, target), (target, prediction)):
            known = s.dims(one)
            if known is not None and len(known) not in (3, 4):
                raise Mismatch(f"3 or 4 axes are wanted here, got {len(known)}")
            if known is not None and s.dims(other) is None:
                s.set(other, [*known[:-2], s.unknown("h"), s.unknown("w")])
        dims, given = s.dims(prediction), s.dims(target)
        if dims is None or given is None:
            return
        if len(dims) != len(given):
            raise Mismatch(f"x has {len(dims)} axes, target {len(given)}")
        for axis, (a, b) in enumerate(zip(dims[:-2], given[:-2], strict=True)):
            s.equate(a, b, axis)
        for axis, (a, b) in enumerate(zip(dims[-2:], given[-2:], strict=True), len(dims) - 2):
            left = (b - a).value
            if left is not None and left < 0:
                raise Mismatch(f"the target's dim {axis + 1} is {b}, smaller than {a}")
            if left is None:
                s.guess(lambda a=a, b=b, axis=axis: s.equate(a, b, axis))  # type: ignore[misc]
                unless_known(s, m, f"how much of dim {axis + 1} is left out is not known before the run", f"{a} of {b}")

    def losses(self, b: Lowering, m: Module, x: Tree) -> Losses:
        prediction, target = pair(x)
        for axis in (prediction.type.rank - 2, prediction.type.rank - 1):
            n = prediction.shape[axis]
            left = (target.shape[axis] - n).value
            assert left is not None, "inference asks for it"
            target = b.slice(target, axis, left // 2, n) if left else target
        return super().losses(b, m, (prediction, target))


@register
class DistKLDivCriterion(Compared):
    """The mean over all elements of ``target * (log(target) - x)``, 0 where ``target <= 0``: ``{[...], [...]} -> []``; with
    ``sizeAverage = false`` the sum.

    x are log-probabilities, targets probabilities.
    """

    name = "DistKLDivCriterion"
    doc = "the Kullback-Leibler divergence of probabilities from log-probabilities, a mean over the elements"
    source = CRITERIONS + "distkldivcriterion"
    differs = BY_CONSTRUCTOR
    samples = (
        Sample((), (Leaf((2, 3), -2.0, -0.1), Leaf((2, 3), 0.1, 0.9))),
        Sample((False,), (Leaf((4,), -2.0, -0.1), Leaf((4,), 0.2, 0.9))),
        Sample((True,), (Leaf((2, 1, 2), -2.0, -0.1), Leaf((2, 1, 2), 0.2, 1.0))),
    )

    def loss(self, b: Lowering, m: Module, x: Value, target: Value) -> Value:
        some, none = b.compare(target, b.full_like(target, 0), "gt"), b.full_like(target, 0)
        safe = b.where(some, target, b.full_like(target, 1))
        return b.where(some, b.mul(target, b.sub(b.log(safe), x)), none)


@register
class BCECriterion(WeightedElements):
    """The mean over all elements of ``-(t log(x) + (1 - t) log(1 - x))`` for probabilities x of the targets t from 0 to 1:
    ``{[..., n], [..., n]} -> []``; with ``sizeAverage = false`` the sum.

    ``weights``: a factor for each place along the last axis.  As in Torch 1e-12 is added to what a logarithm is taken of.
    """

    name = "BCECriterion"
    doc = "the binary cross entropy of probabilities with targets from 0 to 1"
    source = CRITERIONS + "bcecriterion"
    differs = SIZES
    halves = (0.5, 0.5)
    samples = (
        Sample((), (Leaf((2, 3), 0.1, 0.9), Leaf((2, 3), 0.1, 0.9))),
        Sample((Table((0.5, 2.0, 1.0)),), (Leaf((2, 3), 0.1, 0.9), Leaf((2, 3), values=(0, 1, 1, 0, 1, 0)))),
        Sample((Table((0.5, -2.0)), False), (Leaf((2,), 0.1, 0.9), Leaf((2,), 0.1, 0.9))),
        Sample((None, False), (Leaf((2, 1, 2), 0.1, 0.9), Leaf((2, 1, 2), 0.1, 0.9))),
    )

    def loss(self, b: Lowering, m: Module, x: Value, target: Value) -> Value:
        one = b.full_like(x, 1)
        no, yes = (b.log(b.shift_by(p, 1e-12)) for p in (b.sub(one, x), x))
        return b.neg(b.add(b.mul(target, yes), b.mul(b.sub(one, target), no)))


@register
class MultiLabelSoftMarginCriterion(WeightedElements):
    """BCECriterion of ``sigmoid(x)``, computed so that nothing overflows: the mean over all elements of ``log(1 + exp(x)) - x t``,
    ``{[..., n], [..., n]} -> []``; with ``sizeAverage = false`` the sum.  ``weights``: a factor for each place along the last axis."""

    name = "MultiLabelSoftMarginCriterion"
    doc = "the binary cross entropy of sigmoid(x) with targets from 0 to 1"
    source = CRITERIONS + "multilabelsoftmargincriterion"
    differs = SIZES
    halves = (0, 0.5)
    samples = (
        Sample((), (Leaf((2, 3), -3.0, 3.0), Leaf((2, 3), values=(0, 1, 1, 0, 1, 0)))),
        Sample((Table((0.5, 2.0, 1.0)), False), ((2, 3), Leaf((2, 3), 0.1, 0.9))),
        Sample((Table((0.5, 2.0)),), ((2,), Leaf((2,), 0.1, 0.9))),
        Sample((), ((2, 1, 2), (2, 1, 2))),
    )

    def loss(self, b: Lowering, m: Module, x: Value, target: Value) -> Value:
        return b.sub(softplus(b, x), b.mul(x, target))


@register
class L1Cost(Criterion):
    """``sum |x|`` over all elements of the only input ``x [...]``; a penalty, so there is no target."""

    name = "L1Cost"
    doc = "the sum of the absolute values; no target"
    source = TORCH_CODE + "L1Cost.lua"
    samples = (Sample((), Leaf((2, 3), gap=0.1)), Sample((), Leaf((4,), gap=0.1)), Sample((), Leaf((2, 1, 2), gap=0.1)))

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.set(x, dtype=FLOAT)
        s.set(y, (), FLOAT)
        s.wish(x, 2)

    def losses(self, b: Lowering, m: Module, x: Tree) -> Losses:
        return Losses(b.abs(only(x)))
