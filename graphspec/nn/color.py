"""Colours of images changed at random in training."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import ClassVar

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Module, ParameterSpec, Sample, Table, register
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import DPNN, constant, numbers, only
from graphspec.nn.spatial import SameImage


class ColorNoise(SameImage):
    """Base of modules that add one number to each plane of an image in training, drawn for each image: ``[B, inputChannels, h, w]``, or
    without the batch axis."""

    stochastic = True
    differs = "in evaluation there is a gradient too"
    tensors: ClassVar[Mapping[str, int]]
    """Arguments that are tensors, with how many axes; each axis has inputChannels."""

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        for name, rank in self.tensors.items():
            found = numbers(getattr(a, name))
            if found is None or found.shape != (a.inputChannels,) * rank:
                sizes = " x ".join([str(a.inputChannels)] * rank)
                raise fail("E0422", f"nn.{self.name}: {name} must be a table of {sizes} numbers", origin)

    def buffers(self, a: SimpleNamespace) -> Mapping[str, ParameterSpec]:
        found = {name: numbers(getattr(a, name)) for name in self.tensors}
        return {name: constant(array) for name, array in found.items() if array is not None}

    def planes(self, a: SimpleNamespace) -> int:
        return int(a.inputChannels)

    def noise(self, b: Lowering, m: Module, images: Value) -> Value:
        """``[images, inputChannels]``."""
        raise NotImplementedError

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x = only(x)
        if not b.training:
            return x
        if b.injected is not None:
            return b.add(x, b.injected)
        planes = x.type.rank - 2
        noise = self.noise(b, m, x if planes == 2 else b.unsqueeze(x, 0))
        return b.add(x, b.broadcast(b.reshape(noise, x.shape[:planes]), x.shape, range(planes)))


@register
class SimpleColorTransform(ColorNoise):
    """``y = x + noise`` in training, for each plane c of each image a number between -range[c] and range[c]; ``y = x`` in evaluation."""

    name = "SimpleColorTransform"
    doc = "adds a number to each plane of an image in training, drawn from a range"
    source = DPNN + "SimpleColorTransform.lua"
    arguments = (Argument("inputChannels"), Argument("range", "table"))
    tensors: ClassVar[Mapping[str, int]] = {"range": 1}
    samples = (Sample((2, Table((0.5, 2))), (2, 2, 2, 1)), Sample((1, Table((0.3,))), (1, 2, 2)),
               Sample((2, Table((0.5, 2))), (2, 2, 2, 1), evaluate=True))

    def noise(self, b: Lowering, m: Module, images: Value) -> Value:
        drawn = b.shift_by(b.scale(b.draw("uniform", images.shape[:2]), 2), -1)
        return b.mul(drawn, b.broadcast_last(b.buffer(m, "range"), drawn))


@register
class PCAColorTransform(ColorNoise):
    """``y = x + V (a * l)`` in training, the same for all pixels of an image: V are the eigenVectors, a matrix with one in each column,
    l the eigenValues, a drawn from a normal distribution with deviation std; ``y = x`` in evaluation.

    Krizhevsky, Sutskever and Hinton (2012).
    """

    name = "PCAColorTransform"
    doc = "adds to each image in training a colour drawn along the principal components of pixels"
    source = DPNN + "PCAColorTransform.lua"
    arguments = (Argument("inputChannels"), Argument("eigenVectors", "table"), Argument("eigenValues", "table"),
                 Argument("std", "number", 0.1))
    tensors: ClassVar[Mapping[str, int]] = {"eigenVectors": 2, "eigenValues": 1}
    samples = (
        Sample((2, Table((Table((0.6, -0.8)), Table((0.8, 0.6)))), Table((2, 0.5))), (2, 2, 1, 2)),
        Sample((1, Table((Table((1,)),)), Table((2,)), 0.5), (1, 2, 2)),
        Sample((1, Table((Table((1,)),)), Table((2,)), 0.5), (1, 2, 2), evaluate=True),
    )

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        super().check(a, origin)
        if not 0 <= a.std < float("inf"):
            raise fail("E0422", f"nn.{self.name}: std must be at least 0, got {a.std:g}", origin)

    def noise(self, b: Lowering, m: Module, images: Value) -> Value:
        drawn = b.scale(b.draw("normal", images.shape[:2]), m.args.std)
        along = b.mul(drawn, b.broadcast_last(b.buffer(m, "eigenValues"), drawn))
        return b.matmul(along, b.transpose(b.buffer(m, "eigenVectors"), (1, 0)))
