"""Criterions of distributions whose parameters a network gives: Gaussians, and mixtures of them."""

from __future__ import annotations

import math
from types import SimpleNamespace

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Leaf, Module, Sample, register
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import drop_axis, only, pair
from graphspec.nn.criterion import BY_CONSTRUCTOR, SIZE_AVERAGE, Criterion, Losses, floats_to_loss
from graphspec.nn.transfer import log_softmax, softplus
from graphspec.shapes.cells import FLOAT, Cell
from graphspec.shapes.infer import Types

SUM = Argument("sizeAverage", "flag", False)
VAE = "Kingma and Welling (2014), https://arxiv.org/abs/1312.6114, appendix B; {}.lua of https://github.com/y0ast/VAE-Torch"
NOT_TORCH = "not in Torch itself; sizeAverage = true, the mean over the rows, is one argument more"


def of_rows(b: Lowering, x: Value) -> Value:
    """Added up along the last axis."""
    return b.reduce_sum(x, [x.type.rank - 1]) if x.type.rank else x


@register
class KLDCriterion(Criterion):
    """``-1/2 sum (1 + v - mean^2 - exp(v))``, how far ``N(mean, exp(v))`` is from ``N(0, 1)``: ``{mean [..., n], v [..., n]} -> []``.

    v is the logarithm of the variance; there is no target.  The sum over all elements, or with ``sizeAverage = true`` over the number of
    rows.
    """

    name = "KLDCriterion"
    doc = "the Kullback-Leibler divergence of Gaussians, given by mean and log-variance, from N(0, 1)"
    source = VAE.format(name)
    differs = NOT_TORCH
    arguments = (SUM,)
    samples = (
        Sample((), ((2, 3), (2, 3))),
        Sample((True,), ((2, 3), (2, 3))),
        Sample((), ((4,), (4,))),
        Sample((True,), ((2, 2, 3), (2, 2, 3))),
    )

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        floats_to_loss(s, m, s.table(x, 2), y)

    def losses(self, b: Lowering, m: Module, x: Tree) -> Losses:
        mean, v = pair(x)
        inner = b.sub(b.sub(b.shift_by(v, 1), b.mul(mean, mean)), b.exp(v))
        return Losses(b.scale(of_rows(b, inner), -0.5))


@register
class GaussianCriterion(Criterion):
    """``1/2 sum (log(2 pi) + v + (target - mean)^2 / exp(v))``, the negative log likelihood of the target:
    ``{{mean [..., n], v [..., n]}, target [..., n]} -> []``.

    v is the logarithm of the variance.  The sum over all elements, or with ``sizeAverage = true`` over the number of rows.
    """

    name = "GaussianCriterion"
    doc = "the negative log likelihood of targets under Gaussians given by mean and log-variance"
    source = VAE.format(name)
    differs = NOT_TORCH
    arguments = (SUM,)
    samples = (
        Sample((), (((2, 3), (2, 3)), (2, 3))),
        Sample((True,), (((2, 3), (2, 3)), (2, 3))),
        Sample((), (((4,), (4,)), (4,))),
        Sample((True,), (((2, 2, 3), (2, 2, 3)), (2, 2, 3))),
    )

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        given, target = s.table(x, 2)
        floats_to_loss(s, m, [*s.table(given, 2), target], y)

    def losses(self, b: Lowering, m: Module, x: Tree) -> Losses:
        assert isinstance(x, tuple)
        (mean, v), target = pair(x[0]), only(x[1])
        difference = b.sub(target, mean)
        inner = b.add(b.shift_by(v, math.log(2 * math.pi)), b.mul(b.mul(difference, difference), b.exp(b.neg(v))))
        return Losses(b.scale(of_rows(b, inner), 0.5))


@register
class NCECriterion(Criterion):
    """Noise contrastive estimation: ``-(sum log(p / (p + k q)) + sum log(k q' / (p' + k q')))`` over the batch size:
    ``{p [B], p' [B, k], q [B], q' [B, k]} -> []``.

    p are the model's and q the noise's probabilities of the targets, p' and q' those of k samples of noise for each.
    As in dpnn 1e-7 is added to what is divided by.  ``sizeAverage = false`` leaves the sum.
    """

    name = "NCECriterion"
    doc = "how well targets are told from samples of noise, by the model's and the noise's probabilities of both"
    source = "Mnih and Teh (2012), https://arxiv.org/abs/1206.6426; https://github.com/Element-Research/dpnn#nn.NCECriterion"
    differs = (
        "there is no target, which dpnn's takes and does not read; the noise's probabilities have gradients too; gradients are those of "
        f"the formula, where dpnn adds 1e-7 once more; {BY_CONSTRUCTOR}"
    )
    arguments = (SIZE_AVERAGE,)
    samples = (
        Sample((), tuple(Leaf(shape, 0.1, 0.9) for shape in ((3,), (3, 2), (3,), (3, 2)))),
        Sample((False,), tuple(Leaf(shape, 0.1, 0.9) for shape in ((2,), (2, 4), (2,), (2, 4)))),
    )

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        batch, k = s.unknown("B"), s.unknown("k")
        for cell, dims in zip(s.table(x, 4), ((batch,), (batch, k)) * 2, strict=True):
            s.set(cell, dims, FLOAT)
        s.set(y, (), FLOAT)

    def losses(self, b: Lowering, m: Module, x: Tree) -> Losses:
        assert isinstance(x, tuple)
        right, model, noise, others = map(only, x)
        k = b.size_value(model.shape[1], model.dtype)
        noise, others = (b.mul(q, b.broadcast(k, q.shape, ())) for q in (noise, others))
        target = b.log(b.div(right, b.shift_by(b.add(right, noise), 1e-7)))
        samples = b.log(b.div(others, b.shift_by(b.add(model, others), 1e-7)))
        return Losses(b.neg(b.add(target, b.reduce_sum(samples, [1]))))


@register
class MixtureCriterion(Criterion):
    """The negative log likelihood of pen strokes under a mixture of M Gaussians in the plane: ``{y [..., 6M + 1], [..., 3]} -> []``.

    y is what the last layer gives, as it is: one e, then M each of w, mu1, mu2, s1, s2 and r.  The weights are ``softmax(w)``, the means
    mu, the standard deviations ``exp(s)``, the correlations ``tanh(r)``; the probability that the pen is lifted is ``1 / (1 + exp(e))``.
    A target is the offset of the pen ``x1, x2`` and x3, 1 where the pen is lifted and 0 elsewhere.  The mean over the rows; with
    ``sizeAverage = false`` the sum.
    """

    name = "MixtureCriterion"
    doc = "the negative log likelihood of pen strokes under a mixture of Gaussians and a Bernoulli distribution"
    source = "Graves (2013), https://arxiv.org/abs/1308.0850, equations 15 to 26"
    differs = "not in Torch; the paper has the six numbers of one component side by side, here each kind of number has its M side by side"
    arguments = (Argument("nComponents"), SIZE_AVERAGE)
    samples = (
        Sample((2,), ((3, 13), Leaf((3, 3), values=(0.3, -0.5, 0.0, 1.2, 0.1, 1.0, -0.4, 0.8, 0.0)))),
        Sample((1, False), ((7,), Leaf((3,), values=(0.3, -0.5, 1.0)))),
        Sample((3,), ((2, 1, 19), Leaf((2, 1, 3), values=(0.3, -0.5, 0.0, 1.2, 0.1, 1.0)))),
    )

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        super().check(a, origin)
        if a.nComponents > 2**40:
            raise fail("E0422", f"nn.{self.name}: nComponents = {a.nComponents} is more than any tensor can hold", origin)

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        given, target = s.table(x, 2)
        s.set(given, dtype=FLOAT)
        s.set(target, dtype=FLOAT)
        s.set(y, (), FLOAT)
        s.wish(given, 2)
        for cell, n in ((given, 6 * m.args.nComponents + 1), (target, 3)):
            s.last_axis(cell, n)
        s.relate(given, target, lambda dims: (*dims[:-1], 3), lambda dims: (*dims[:-1], 6 * m.args.nComponents + 1))

    def losses(self, b: Lowering, m: Module, x: Tree) -> Losses:
        y, target = pair(x)
        last, M = y.type.rank - 1, m.args.nComponents
        e = b.select(y, last, 0)
        w, mu1, mu2, s1, s2, r = (b.slice(y, last, 1 + i * M, M) for i in range(6))
        x1, x2, x3 = (b.select(target, last, i) for i in range(3))
        z1, z2 = (b.mul(b.sub(drop_axis(b, at, mu, last), mu), b.exp(b.neg(s))) for at, mu, s in ((x1, mu1, s1), (x2, mu2, s2)))
        z = b.sub(b.add(b.mul(z1, z1), b.mul(z2, z2)), b.scale(b.mul(b.tanh(r), b.mul(z1, z2)), 2))
        # log(1 - tanh(r)^2) without the difference, which is 0 too soon
        size = b.abs(r)
        spread = b.scale(b.add(b.shift_by(size, -math.log(2)), b.log1p(b.exp(b.scale(size, -2)))), -2)
        log_n = b.neg(b.add(b.add(b.scale(b.mul(z, b.exp(b.neg(spread))), 0.5), b.add(s1, s2)), b.scale(spread, 0.5)))
        terms = b.shift_by(b.add(log_softmax(b, w, last), log_n), -math.log(2 * math.pi))
        largest = b.stop_gradient(b.reduce_max(terms, [last]))
        summed = b.reduce_sum(b.exp(b.sub(terms, drop_axis(b, largest, terms, last))), [last])
        lifted = b.add(b.mul(x3, softplus(b, e)), b.mul(b.shift_by(b.neg(x3), 1), softplus(b, b.neg(e))))
        return Losses(b.sub(lifted, b.add(largest, b.log(summed))))
