"""Blocks of convolution networks, made of other modules: columns beside each other, whose outputs are planes of one image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Make, Module, Record, Sample, Table, new_module, register
from graphspec.nn.common import DPNN
from graphspec.shapes.cells import Cell
from graphspec.shapes.infer import Types
from graphspec.suggest import did_you_mean


class Made(Record):
    """Base of modules that are one other module, made of their arguments."""

    closed = True

    def make(self, a: SimpleNamespace, origin: Origin) -> Module:
        raise NotImplementedError

    def construct(self, args: Sequence[Any], origin: Origin) -> Module:
        module = super().construct(args, origin)
        module.args.made = self.make(module.args, origin)
        module.children = [module.args.made]
        return module

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.child("made", m.args.made, x, y)


def chain(origin: Origin, *modules: Module) -> Module:
    made = new_module("Sequential", [], origin)
    for module in modules:
        made.add(module, origin)
    return made


@register
class FireModule(Made):
    """A 1x1 convolution to ``s1x1`` planes, then a 1x1 and a 3x3 convolution of those beside each other, the activation after both steps:
    ``[B, nInputPlane, h, w] -> [B, e1x1 + e3x3, h, w]``, or without the batch axis.

    ``activation`` is the name of a module without arguments.  Iandola et al. (2016).
    """

    name = "FireModule"
    doc = "the fire module of SqueezeNet: squeeze to few planes, expand by 1x1 and 3x3 convolutions"
    source = DPNN + "FireModule.lua"
    differs = "a single image is taken too"
    arguments = (Argument("nInputPlane"), Argument("s1x1"), Argument("e1x1"), Argument("e3x3"), Argument("activation", "text", "ReLU"))
    samples = (Sample((2, 1, 2, 1, "Tanh"), (2, 2, 2, 3)), Sample((1, 2, 1, 2, "Sigmoid"), (1, 3, 2)), Sample((2, 2, 1, 1), (1, 2, 2, 2)))

    def make(self, a: SimpleNamespace, origin: Origin) -> Module:
        def conv(*args: int) -> Module:
            return new_module("SpatialConvolution", args, origin)

        expand = new_module("Concat", [-3], origin)
        squeeze = conv(a.nInputPlane, a.s1x1, 1, 1)
        expand.add(conv(a.s1x1, a.e1x1, 1, 1), origin)
        expand.add(conv(a.s1x1, a.e3x3, 3, 3, 1, 1, 1, 1), origin)
        return chain(origin, squeeze, new_module(a.activation, [], origin), expand, new_module(a.activation, [], origin))


FIELDS = ("inputSize", "outputSize", "reduceSize", "reduceStride", "transfer", "batchNorm", "padding", "kernelSize", "kernelStride",
          "poolSize", "poolStride", "pool")  # fmt: skip


@register
class Inception(Made):
    """Columns beside each other on ``[B, inputSize, h, w]`` (or one image), their planes one after another, smaller images amid zeros.

    ``config`` has these fields.  For each of ``kernelSize`` (``{5, 3}``) a 1x1 convolution to as many planes as ``reduceSize`` says, with
    ``reduceStride``, and one of that size to ``outputSize`` planes, with ``kernelStride``; then a column with ``pool`` (a max pooling by
    ``poolSize``, 3, and ``poolStride``, 1) and a 1x1 convolution; then one with a 1x1 convolution alone: the last two by the last two of
    reduceSize, without which there is no such convolution, or column.  ``transfer`` (nn.ReLU) follows each convolution, behind a batch
    normalisation with ``batchNorm``; without ``padding`` convolutions make images smaller.  Szegedy et al. (2014).
    """

    name = "Inception"
    doc = "the inception module: convolutions of several sizes and a pooling beside each other"
    source = DPNN + "Inception.lua"
    differs = "how much the columns' sizes differ is known when the model is compiled"
    arguments = (Argument("config", "table"),)
    samples = (
        Sample((Table((), {"inputSize": 2, "outputSize": Table((2, 1)), "reduceSize": Table((1, 2, 1, 2))}),), (2, 2, 4, 5)),
        Sample((Table((), {"inputSize": 1, "outputSize": Table((2,)), "reduceSize": Table((1,)), "kernelSize": Table((3,)), "poolSize": 2,
                           "kernelStride": Table((1,)), "padding": False, "transfer": None}),), (1, 4, 4)),
        Sample((Table((), {"inputSize": 1, "outputSize": Table((1,)), "reduceSize": Table((1, 2)), "kernelSize": Table((3,)), "poolSize": 2,
                           "reduceStride": Table((2, 1)), "kernelStride": Table((1,)), "poolStride": 2, "batchNorm": True}),), (2, 1, 4, 4),
               evaluate=True),
    )  # fmt: skip

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        fields = {name: value for name, value in a.config.fields.items() if value is not None}
        for name in fields:
            if name not in FIELDS:
                raise fail("E0422", f"nn.{self.name}: config has no field {name}", origin, helps=did_you_mean(name, FIELDS))
        a.inputSize = self._size(fields, "inputSize", None, origin)
        a.kernelSize = self._sizes(fields, "kernelSize", (5, 3), origin)
        n = len(a.kernelSize)
        a.outputSize = self._sizes(fields, "outputSize", None, origin)
        a.reduceSize = self._sizes(fields, "reduceSize", None, origin)
        if len(a.outputSize) < n or len(a.reduceSize) < n:
            raise fail("E0422", f"nn.{self.name}: outputSize and reduceSize need a size for each of the {n} of kernelSize", origin)
        a.reduceStride = (*self._sizes(fields, "reduceStride", (), origin), *(1,) * (n + 2))
        a.kernelStride = (*self._sizes(fields, "kernelStride", (), origin), *(1,) * n)
        a.poolSize = self._size(fields, "poolSize", 3, origin)
        a.poolStride = self._size(fields, "poolStride", 1, origin)
        for name, default in (("batchNorm", False), ("padding", True)):
            setattr(a, name, self._convert(Argument(name, "flag"), fields.get(name, default), origin))
        for name in ("transfer", "pool"):
            setattr(a, name, self._convert(Argument(name, "module"), fields[name], origin) if name in fields else None)

    def _size(self, fields: Mapping[str, Any], name: str, default: int | None, origin: Origin) -> int:
        if name not in fields and default is None:
            raise fail("E0420", f"nn.{self.name}: config needs {name}", origin)
        return int(self._convert(Argument(name), fields.get(name, default), origin))

    def _sizes(self, fields: Mapping[str, Any], name: str, default: tuple[int, ...] | None, origin: Origin) -> tuple[int, ...]:
        if name not in fields:
            if default is None:
                raise fail("E0420", f"nn.{self.name}: config needs {name}", origin)
            return default
        given = self._convert(Argument(name, "table"), fields[name], origin)
        return tuple(int(self._convert(Argument(name), item, origin)) for item in given.items)

    def make(self, a: SimpleNamespace, origin: Origin) -> Module:
        transfer = a.transfer if a.transfer is not None else new_module("ReLU", [], origin)

        def conv(into: Module, planes: int, n: int, size: int, stride: int) -> int:
            pad = size // 2 if a.padding else 0
            into.add(new_module("SpatialConvolution", [planes, n, size, size, stride, stride, pad], origin), origin)
            if a.batchNorm:
                into.add(new_module("SpatialBatchNormalization", [n], origin), origin)
            into.add(transfer.clone([], origin), origin)
            return n

        whole = new_module("DepthConcat", [-3], origin)
        for size, reduced, step, n, stride in zip(a.kernelSize, a.reduceSize, a.reduceStride, a.outputSize, a.kernelStride, strict=False):
            column = chain(origin)
            conv(column, conv(column, a.inputSize, reduced, 1, step), n, size, stride)
            whole.add(column, origin)
        pool = a.pool
        if pool is None:
            pool = new_module("SpatialMaxPooling", [a.poolSize, a.poolSize, a.poolStride, a.poolStride], origin)
        count = len(a.kernelSize)
        for position, first in ((count, [pool]), (count + 1, [])):
            column = chain(origin, *first)
            if position < len(a.reduceSize):
                conv(column, a.inputSize, a.reduceSize[position], 1, a.reduceStride[position])
            if column.children:
                whole.add(column, origin)
        return whole


@register
class Serial(Made):
    """The module itself: in Torch it is written to files in another form."""

    name = "Serial"
    doc = "the module that it is made of"
    source = DPNN + "Serial.lua"
    differs = "it does nothing, as a spec writes no modules to files; tensortype changes nothing"
    arguments = (Argument("module", "module"), Argument("tensortype", "text", None))
    closed = False
    methods = ("mediumSerial", "lightSerial", "heavySerial")
    samples = (Sample((Make("Linear", (3, 2)),), (2, 3)), Sample((Make("Tanh"), "torch.FloatTensor"), (4,)))

    def call(self, m: Module, method: str, args: Sequence[Any], origin: Origin) -> Module:
        return m

    def make(self, a: SimpleNamespace, origin: Origin) -> Module:
        return a.module  # type: ignore[no-any-return]
