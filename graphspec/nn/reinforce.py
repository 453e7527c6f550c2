"""Samples whose distribution is learned by REINFORCE.

Williams (1992): the gradient of an expected reward is the mean of the reward times the gradient of the logarithm of the sample's
probability.  No gradient goes through the sample itself; what is minimised is a term beside the loss
(:meth:`graphspec.lower.Lowering.objective`), and criterions that pay rewards stand in :mod:`graphspec.nn.reward`.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import ClassVar

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Leaf, Module, Record, Sample, register
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import DPNN, only
from graphspec.shapes.cells import FLOAT, Cell, Mismatch
from graphspec.shapes.infer import Types
from graphspec.sizes import Size

STOCHASTIC = Argument("stochastic", "flag", False)
"""Whether a sample is drawn in evaluation too."""

ABSTRACT = "It is what the other modules with this name are made of, and draws nothing: write nn.ReinforceNormal, nn.ReinforceBernoulli, "
LEFT_OUT = {"Reinforce": ABSTRACT + "nn.ReinforceCategorical or nn.ReinforceGamma."}

SMALLEST = 1e-30
"""What a sample of a Gamma distribution is at least, so that it has a logarithm."""

HALF_LOG_2_PI = math.log(2 * math.pi) / 2

TRIES = 12
"""Proposals for each sample of a Gamma distribution; each is accepted with a chance above 0.95."""


class Reinforce(Record):
    """Base of modules that draw: a constant sample in training, the mean in evaluation.

    The logarithm of its probability is added over all axes but the first, which is that of the rewards.
    """

    stochastic = True

    def draw(self, b: Lowering, m: Module, x: Tree) -> Value:
        raise NotImplementedError

    def mean(self, b: Lowering, m: Module, x: Tree) -> Value:
        """What is given in evaluation."""
        raise NotImplementedError

    def log_probability(self, b: Lowering, m: Module, x: Tree, sample: Value) -> Value:
        """Of each element of the sample, or group of elements."""
        raise NotImplementedError

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        if not b.training and not m.args.stochastic:
            return b.hold(self.mean(b, m, x))
        sample = b.hold(b.injected if b.injected is not None else self.draw(b, m, x))
        b.drew(self.log_probability(b, m, x, sample))
        return sample


CHANCES = Leaf((3, 2), 0.1, 0.9)


@register
class ReinforceBernoulli(Reinforce):
    """1 with probability x, else 0, each element for itself, ``[B, ...] -> [B, ...]``; x itself in evaluation, unless ``stochastic``.

    Any axes, the first that of the rewards.  Going back, x gets minus the reward times ``(y - x) / (x (1 - x))``, whatever the gradient
    of y.
    """

    name = "ReinforceBernoulli"
    doc = "draws 1 with probability x, else 0, and learns x from a reward"
    source = DPNN + "ReinforceBernoulli.lua"
    arguments = (STOCHASTIC,)
    samples = (Sample((), CHANCES), Sample((True,), Leaf((2, 2, 2), 0.1, 0.9)), Sample((), Leaf((4,), 0.1, 0.9)),
               Sample((), CHANCES, evaluate=True), Sample((True,), CHANCES, evaluate=True))

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.like(x, y)

    def draw(self, b: Lowering, m: Module, x: Tree) -> Value:
        x = only(x)
        return b.cast(b.compare(b.draw("uniform", x.shape), x, "lt"), x.dtype)

    def mean(self, b: Lowering, m: Module, x: Tree) -> Value:
        return only(x)

    def log_probability(self, b: Lowering, m: Module, x: Tree, sample: Value) -> Value:
        x = only(x)
        drawn = b.compare(sample, b.full_like(sample, 0.5), "gt")
        return b.log(b.where(drawn, x, b.sub(b.full_like(x, 1), x)))  # of what was drawn: never 0


@register
class ReinforceCategorical(Reinforce):
    """One class of the last axis, drawn with probabilities x: 1 there, 0 elsewhere; x itself in evaluation, unless ``stochastic``.

    ``[B, k]``, or any axes in front of the classes, the first that of the rewards; ``[k]`` is one row.  Going back, the class that was
    drawn gets minus the reward over ``x + 1e-8``.
    """

    name = "ReinforceCategorical"
    doc = "draws one class as a vector of 0 and 1, and learns the probabilities from a reward"
    source = DPNN + "ReinforceCategorical.lua"
    differs = "there may be other axes than [B, k]"
    arguments = (STOCHASTIC,)
    samples = (Sample((), Leaf((3, 4), 0.1, 0.9)), Sample((True,), Leaf((2, 3, 2), 0.1, 0.9)), Sample((), Leaf((4,), 0.1, 0.9)),
               Sample((), CHANCES, evaluate=True), Sample((True,), CHANCES, evaluate=True))

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.like(x, y)
        if (dims := s.dims(x)) is not None and not dims:
            raise Mismatch("a scalar holds no classes")

    def draw(self, b: Lowering, m: Module, x: Tree) -> Value:
        x = only(x)
        lead, n = x.shape[:-1], x.shape[-1]
        below = b.cumsum(x)
        whole = b.reshape(b.slice(below, x.type.rank - 1, n - 1, 1), lead)  # the probabilities need not add up to 1
        place = b.mul(b.draw("uniform", lead), whole)
        above = b.compare(below, b.broadcast_first(place, x), "gt")
        return b.place(b.argmax(b.cast(above, x.dtype)), b.full(1, lead, x.dtype), n)

    def mean(self, b: Lowering, m: Module, x: Tree) -> Value:
        return only(x)

    def log_probability(self, b: Lowering, m: Module, x: Tree, sample: Value) -> Value:
        chance = b.reduce_sum(b.mul(only(x), sample), [sample.type.rank - 1])
        return b.log(b.shift_by(chance, 1e-8))


class TwoParameters(Reinforce):
    """Base of distributions with a parameter that is the input, and another one that is an argument or the second of two inputs.

    The second input has the axes of the first, or all but its first.
    """

    second: ClassVar[str]

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        given = getattr(a, self.second)
        if given is not None and not 0 < given < float("inf"):
            raise fail("E0422", f"nn.{self.name}: {self.second} must be above 0, got {given:g}", origin)

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        if getattr(m.args, self.second) is not None and not s.is_table(x):
            s.like(x, y) if s.is_table(x) is False or s.is_table(y) is False else s.wish(x, 2)
            return
        first, other = s.table(x, 2)
        s.like(first, y)
        s.set(other, dtype=FLOAT)
        dims, given = s.dims(first), s.dims(other)
        if dims is None:
            return
        if given is None:
            s.guess(lambda: s.set(other, dims))
        elif len(given) + 1 == len(dims):
            s.set(other, dims[1:])
        else:
            s.set(other, dims)

    def both(self, b: Lowering, m: Module, x: Tree) -> tuple[Value, Value]:
        """The two parameters, of one shape."""
        if isinstance(x, Value):
            return x, b.full_like(x, getattr(m.args, self.second))
        first, other = only(x[0]), only(x[1])
        return first, b.broadcast_last(other, first)


SPREAD = Leaf((3, 2), 0.5, 1.5)


@register
class ReinforceNormal(TwoParameters):
    """A draw from the normal distribution around x with standard deviation ``stdev``, each element for itself: ``[B, ...] -> [B, ...]``;
    x in evaluation, unless ``stochastic``.

    Any axes, the first that of the rewards.  ``{mean, stdev}`` is an input where stdev is no argument; its stdev has the axes of the mean,
    or all but the first.  Going back, the mean gets minus the reward times ``(y - x) / stdev^2``, an input stdev minus the reward times
    ``((y - x)^2 - stdev^2) / stdev^3``.
    """

    name = "ReinforceNormal"
    doc = "draws from a normal distribution, and learns its mean from a reward"
    source = DPNN + "ReinforceNormal.lua"
    differs = "stdev^3 is divided by as it is, with no 1e-8 added"
    arguments = (Argument("stdev", "number", None), STOCHASTIC)
    second = "stdev"
    samples = (Sample((0.5,), (3, 2)), Sample((2, True), (4,)), Sample((), ((3, 2), SPREAD)), Sample((), ((3, 2), Leaf((2,), 0.5, 1.5))),
               Sample((0.5,), (3, 2), evaluate=True), Sample((None, True), ((3, 2), SPREAD), evaluate=True))

    def draw(self, b: Lowering, m: Module, x: Tree) -> Value:
        mean, stdev = self.both(b, m, x)
        return b.add(mean, b.mul(b.draw("normal", mean.shape), stdev))

    def mean(self, b: Lowering, m: Module, x: Tree) -> Value:
        return self.both(b, m, x)[0]

    def log_probability(self, b: Lowering, m: Module, x: Tree, sample: Value) -> Value:
        mean, stdev = self.both(b, m, x)
        away = b.div(b.sub(sample, mean), stdev)
        return b.shift_by(b.neg(b.add(b.scale(b.mul(away, away), 0.5), b.log(stdev))), -HALF_LOG_2_PI)


@register
class ReinforceGamma(TwoParameters):
    """A draw from the Gamma distribution of shape x and the given ``scale``, each element for itself: ``[B, ...] -> [B, ...]``; x times
    scale in evaluation, unless ``stochastic``.

    Any axes, the first that of the rewards.  ``{shape, scale}`` is an input where scale is no argument; its scale has the axes of the
    shape, or all but the first.  Going back, the shape gets minus the reward times ``log y - digamma(x) - log scale``, an input scale
    minus the reward times ``y / scale^2 - x / scale``.
    """

    name = "ReinforceGamma"
    doc = "draws from a Gamma distribution, and learns its shape from a reward"
    source = DPNN + "ReinforceGamma.lua"
    differs = "draws below 1e-30 are 1e-30; the best of 12 proposals is drawn, each accepted with a chance above 0.95"
    arguments = (Argument("scale", "number", None), STOCHASTIC)
    second = "scale"
    samples = (Sample((0.5,), Leaf((3, 2), 0.3, 4)), Sample((2, True), Leaf((4,), 0.5, 9)), Sample((), (Leaf((3, 2), 0.3, 4), SPREAD)),
               Sample((), (Leaf((3, 2), 0.3, 4), Leaf((2,), 0.5, 1.5))), Sample((0.5,), Leaf((3, 2), 0.3, 4), evaluate=True))

    def draw(self, b: Lowering, m: Module, x: Tree) -> Value:
        shape, scale = self.both(b, m, x)
        low = b.compare(shape, b.full_like(shape, 1), "lt")  # then of shape + 1, times u^(1 / shape)
        drawn = self._above_one(b, b.where(low, b.shift_by(shape, 1), shape))
        u = b.sub(b.full_like(shape, 1), b.draw("uniform", shape.shape))
        drawn = b.where(low, b.mul(drawn, b.exp(b.div(b.log(u), shape))), drawn)
        return b.maximum(b.mul(drawn, scale), b.full_like(shape, SMALLEST))

    @staticmethod
    def _above_one(b: Lowering, shape: Value) -> Value:
        """Of shape 1 or more, by Marsaglia and Tsang (2000): the first of some proposals that is accepted."""
        many = (*shape.shape, Size.const(TRIES))
        d = b.broadcast(b.shift_by(shape, -1 / 3), many, range(shape.type.rank))
        normal = b.draw("normal", many)
        root = b.shift_by(b.div(normal, b.sqrt(b.scale(d, 9))), 1)
        possible = b.compare(root, b.full_like(root, 0), "gt")
        v = b.where(possible, b.mul(root, b.mul(root, root)), b.full_like(root, 1))
        u = b.sub(b.full_like(v, 1), b.draw("uniform", many))
        bound = b.add(b.scale(b.mul(normal, normal), 0.5), b.mul(d, b.add(b.sub(b.full_like(v, 1), v), b.log(v))))
        accepted = b.logical(possible, b.compare(b.log(u), bound, "lt"), "and")
        return b.pick(b.mul(d, v), b.argmax(b.cast(accepted, v.dtype)))

    def mean(self, b: Lowering, m: Module, x: Tree) -> Value:
        return b.mul(*self.both(b, m, x))

    def log_probability(self, b: Lowering, m: Module, x: Tree, sample: Value) -> Value:
        shape, scale = self.both(b, m, x)
        terms = b.sub(b.mul(b.shift_by(shape, -1), b.log(sample)), b.div(sample, scale))
        return b.sub(terms, b.add(b.mul(shape, b.log(scale)), log_gamma(b, shape)))


STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)


def log_gamma(b: Lowering, x: Value) -> Value:
    """The logarithm of the Gamma function for x > 0, to 1e-14: Stirling's series at x + 8, less the logarithms of x ... x + 7."""
    z = b.shift_by(x, 8)
    inverse = b.div(b.full_like(z, 1), z)
    square = b.mul(inverse, inverse)
    series = b.full_like(z, STIRLING[-1])
    for factor in reversed(STIRLING[:-1]):
        series = b.shift_by(b.mul(series, square), factor)
    found = b.add(b.sub(b.mul(b.shift_by(z, -0.5), b.log(z)), z), b.mul(series, inverse))
    for start in (0, 4):  # four at a time, so that large x do not overflow
        product = b.shift_by(x, start) if start else x
        for k in range(start + 1, start + 4):
            product = b.mul(product, b.shift_by(x, k))
        found = b.sub(found, b.log(product))
    return b.shift_by(found, HALF_LOG_2_PI)
