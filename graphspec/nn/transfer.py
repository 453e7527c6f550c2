"""Transfer functions: pointwise nonlinearities and the softmax family."""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar

from graphspec.errors import Origin, error, fail
from graphspec.graph import Argument, Leaf, Module, Record, Sample, register
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import INPLACE, TORCH, Pointwise, drop_axis, impossible, only, positive
from graphspec.nn.pointwise import SMOOTH
from graphspec.nn.scan import Scan
from graphspec.shapes.cells import Cell, Mismatch
from graphspec.shapes.infer import Types
from graphspec.sizes import Size


@register
class Sigmoid(Pointwise):
    """``y = 1 / (1 + exp(-x))``."""

    name = "Sigmoid"
    doc = "y = 1 / (1 + exp(-x))"
    source = TORCH + "transfer.md#sigmoid"
    samples = SMOOTH

    def apply(self, b: Lowering, m: Module, x: Value) -> Value:
        return b.sigmoid(x)


@register
class Tanh(Pointwise):
    """``y = tanh(x)``."""

    name = "Tanh"
    doc = "y = tanh(x)"
    source = TORCH + "transfer.md#tanh"
    samples = SMOOTH

    def apply(self, b: Lowering, m: Module, x: Value) -> Value:
        return b.tanh(x)


@register
class ReLU(Pointwise):
    """``y = max(x, 0)``; the gradient at 0 is 0."""

    name = "ReLU"
    doc = "y = max(x, 0)"
    source = TORCH + "transfer.md#relu"
    arguments = (INPLACE,)
    samples = (Sample((), Leaf((5,), gap=0.1)), Sample((True,), Leaf((2, 3), gap=0.1)), Sample((), Leaf((2, 3, 2), gap=0.1)))

    def apply(self, b: Lowering, m: Module, x: Value) -> Value:
        return positive(b, x)


@register
class SoftPlus(Pointwise):
    """``y = log(1 + exp(beta x)) / beta``, computed so that nothing overflows.

    Torch returns x itself where ``beta x > 20``; the difference is below 2.1e-9 / beta.
    """

    name = "SoftPlus"
    doc = "y = log(1 + exp(beta * x)) / beta"
    source = TORCH + "transfer.md#softplus"
    arguments = (Argument("beta", "number", 1.0),)
    samples = (*SMOOTH, Sample((2.5,), (2, 3)))

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        if a.beta == 0:
            raise fail("E0422", "nn.SoftPlus: beta must not be 0", origin)

    def apply(self, b: Lowering, m: Module, x: Value) -> Value:
        z = b.scale(x, m.args.beta) if m.args.beta != 1 else x
        y = softplus(b, z)
        return b.scale(y, 1 / m.args.beta) if m.args.beta != 1 else y


def softplus(b: Lowering, z: Value) -> Value:
    """``log(1 + exp(z)) = max(z, 0) + log1p(exp(-|z|))``; ``-|z|`` as ``min(z, -z)`` would do as well."""
    return b.add(b.maximum(z, b.full_like(z, 0)), b.log1p(b.exp(b.neg(b.abs(z)))))


AXES = {3: "three", 4: "four"}


class SoftMaxFamily(Record):
    """Base of modules that normalise one axis, by Torch's rule: the only axis of a vector, axis 2 of ``[B, n]``, axis 1 of
    ``[n, h, w]``, axis 2 of ``[B, n, h, w]``.

    Three and four axes are planes of Torch's, and in a spec much more often a sequence ``[T, B, n]`` or attention's
    ``[B, heads, T, T]``; so they are warned of (W0315), and refused where the axis is a Scan's time axis (E0316).
    """

    source = TORCH + "transfer.md#softmax"
    differs = "on three and four axes there is a warning (W0315), and an error where it would normalise the time axis of nn.Scan (E0316)"
    samples: ClassVar[tuple[Sample, ...]] = (
        Sample((), (5,)), Sample((), (2, 3)), Sample((), (3, 2, 2)), Sample((), (2, 3, 2, 2)), Sample((), Leaf((3, 4), -9.0, 9.0)),
    )

    planes: ClassVar[str | None] = None
    """The module that normalises the planes of images alone, if there is one."""

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.like(x, y)
        dims = s.dims(x)
        if dims is None:
            return
        axis = self.axis(len(dims))
        if len(dims) < 3:
            return
        axes = f"on {AXES[len(dims)]} axes"
        last = f"for the last axis: `nn.Bottle(nn.{self.name}())`, or put nn.{self.name} into the cell of the Scan"
        if is_time_axis(s, dims[axis]):
            raise impossible(s, m, f"{axes} it normalises axis {axis + 1}, which is time here", s.show(x), "E0316", inputs=[(1, x)],
                             helps=[last, "for the steps of each sequence: `nn.Select` or `nn.Transpose` to `[B, T]` first"])
        planes = f": `nn.{self.planes}()` says so" if self.planes else ": nothing to do"
        s.warn(error("W0315", f"nn.{self.name} {axes} normalises axis {axis + 1} (Torch's rule), here of {s.show(x)}", s.current.origin,
                     severity="warning", helps=[last, f"for axis {axis + 1}, the planes of images{planes}"]))

    @staticmethod
    def axis(rank: int) -> int:
        """The axis (from 0) that Torch normalises."""
        if not 1 <= rank <= 4:
            raise Mismatch(f"1 to 4 axes are wanted here, got {rank}")
        return 0 if rank in (1, 3) else 1

    def apply(self, b: Lowering, x: Value, axis: int) -> Value:
        raise NotImplementedError

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x = only(x)
        return self.apply(b, x, self.axis(x.type.rank))


def is_time_axis(s: Types, n: Size) -> bool:
    """Whether a size is the (still symbolic) number of steps of some Scan."""
    if n.lone is None:
        return False
    scans = (use for use in s.uses if use.module is not None and isinstance(use.module.record, Scan))
    return any("T" in use.fresh and s.resolve(use.fresh["T"]) == n for use in scans)


@register
class SoftMax(SoftMaxFamily):
    """``y_i = exp(x_i) / sum_j exp(x_j)`` over the only axis of ``[n]``, the second of ``[B, n]``, the first of ``[n, h, w]``, the second
    of ``[B, n, h, w]``."""

    name = "SoftMax"
    doc = "y_i = exp(x_i) / sum_j exp(x_j)"
    planes = "SpatialSoftMax"

    def apply(self, b: Lowering, x: Value, axis: int) -> Value:
        return softmax(b, x, axis)


@register
class LogSoftMax(SoftMaxFamily):
    """``y_i = x_i - log(sum_j exp(x_j))`` over the only axis of ``[n]``, the second of ``[B, n]``, the first of ``[n, h, w]``, the second
    of ``[B, n, h, w]``."""

    name = "LogSoftMax"
    doc = "y_i = x_i - log(sum_j exp(x_j))"
    source = TORCH + "transfer.md#logsoftmax"
    planes = "SpatialLogSoftMax"

    def apply(self, b: Lowering, x: Value, axis: int) -> Value:
        return log_softmax(b, x, axis)


@register
class SoftMin(SoftMaxFamily):
    """``y_i = exp(-x_i) / sum_j exp(-x_j)`` over the only axis of ``[n]``, the second of ``[B, n]``, the first of ``[n, h, w]``, the second
    of ``[B, n, h, w]``."""

    name = "SoftMin"
    doc = "y_i = exp(-x_i) / sum_j exp(-x_j)"
    source = TORCH + "transfer.md#softmin"

    def apply(self, b: Lowering, x: Value, axis: int) -> Value:
        return softmax(b, b.neg(x), axis)


class Planes(SoftMaxFamily):
    """Base of softmaxes over the planes of images: ``[n, h, w]`` or ``[B, n, h, w]``; ``[n]`` and ``[B, n]`` are planes of one place."""

    differs = ""
    samples = (Sample((), (3, 2, 2)), Sample((), (2, 3, 2, 2)), Sample((), (4,)), Sample((), (2, 3)))

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.like(x, y, 4)
        dims = s.dims(x)
        if dims is not None:
            self.axis(len(dims))


@register
class SpatialSoftMax(Planes):
    """SoftMax over the planes, for each place of an image ``[n, h, w]`` or ``[B, n, h, w]``; ``[n]`` and ``[B, n]`` are planes of
    one place."""

    name = "SpatialSoftMax"
    doc = "y_i = exp(x_i) / sum_j exp(x_j) over the planes, at each place"
    source = TORCH + "transfer.md#spatialsoftmax"

    def apply(self, b: Lowering, x: Value, axis: int) -> Value:
        return softmax(b, x, axis)


@register
class SpatialLogSoftMax(Planes):
    """LogSoftMax over the planes, for each place of an image ``[n, h, w]`` or ``[B, n, h, w]``; tensors as for SpatialSoftMax."""

    name = "SpatialLogSoftMax"
    doc = "y_i = x_i - log(sum_j exp(x_j)) over the planes, at each place"
    source = TORCH + "transfer.md#spatiallogsoftmax"

    def apply(self, b: Lowering, x: Value, axis: int) -> Value:
        return log_softmax(b, x, axis)


def centred(b: Lowering, x: Value, axis: int) -> Value:
    """x minus its largest element along the axis.  The shift changes no softmax, so no gradient goes through it."""
    return b.sub(x, drop_axis(b, b.stop_gradient(b.reduce_max(x, [axis])), x, axis))


def softmax(b: Lowering, x: Value, axis: int) -> Value:
    e = b.exp(centred(b, x, axis))
    return b.div(e, drop_axis(b, b.reduce_sum(e, [axis]), x, axis))


def log_softmax(b: Lowering, x: Value, axis: int) -> Value:
    z = centred(b, x, axis)
    return b.sub(z, drop_axis(b, b.log(b.reduce_sum(b.exp(z), [axis])), x, axis))
