"""Clustering by the nearest of some centres, which are parameters."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Module, ParameterSpec, Record, Sample, register
from graphspec.graph.parameter import uniform
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import TORCH, only
from graphspec.shapes.cells import FLOAT, Cell
from graphspec.shapes.infer import Types


@register
class Kmeans(Record):
    """Which of k centres, the rows of ``weight [k, dim]``, is nearest, from 1: ``[B, dim] -> [B]``, int32.

    In training half the squared distances from the nearest centres are minimised beside the loss, those of a centre over how many rows it
    has, times ``scale``: a step of gradient descent with learning rate r moves each centre by r times the way to the mean of its rows.  The
    input has no gradient.
    """

    name = "Kmeans"
    doc = "the index of the nearest of k centres, which move to the mean of what is near them"
    source = TORCH + "simple.md#kmeans"
    differs = (
        "the centres move in training only; initRandom and initKmeansPlus look at samples, which a spec has none of: write samples into "
        "the model's parameter instead"
    )
    arguments = (Argument("k"), Argument("dim"), Argument("scale", "number", 1.0))
    samples = (Sample((2, 3), (5, 3)), Sample((3, 2, 0.5), (4, 2)), Sample((2, 2), (3, 2), evaluate=True))

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        if not 0 < a.scale < float("inf"):
            raise fail("E0422", f"nn.{self.name}: scale must be above 0, got {a.scale:g}", origin)

    def parameters(self, a: SimpleNamespace) -> Mapping[str, ParameterSpec]:
        return {"weight": ParameterSpec((a.k, a.dim), uniform(-1, 1))}

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        batch = s.unknown("B")
        s.set(x, (batch, m.args.dim), FLOAT)
        s.set(y, (batch,), "int32")

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x, weight = b.hold(only(x)), b.parameter(m, "weight")
        every = (x.shape[0], m.args.k, m.args.dim)
        away = b.sub(b.broadcast(x, every, (0, 2)), b.broadcast(weight, every, (1, 2)))
        nearest = b.argmax(b.neg(b.reduce_sum(b.mul(away, away), [2])))
        rows = b.gather(b.scatter_add(nearest, b.full(1, nearest.shape, x.dtype), m.args.k), nearest)
        own = b.sub(x, b.gather(weight, nearest))
        b.also_minimise(b.scale(b.div(b.reduce_sum(b.mul(own, own), [1]), b.shift_by(rows, 1e-7)), m.args.scale / 2))
        return b.add(nearest, b.full_like(nearest, b.session.index_base))
