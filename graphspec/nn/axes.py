"""Modules that add, drop, merge or reorder axes, and those that only change a tensor's type or layout."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Leaf, Module, Record, Sample, register
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import TORCH, axis_of, offset_of, only, set_input_dims, with_axis, without
from graphspec.nn.shape import INDICES, BatchRule
from graphspec.shapes.cells import FLOAT, UNKNOWN, Cell, Mismatch
from graphspec.shapes.infer import Types
from graphspec.sizes import Size, product

LEFT_OUT = {
    "GPU": "A program runs on the one device that it is opened on: leave nn.GPU away.",
    "DontCast": "A model has one type of floats, chosen when it is compiled: leave nn.DontCast away.",
    "NaN": "A program has no place to stop in at a module: leave nn.NaN away, and ask for the value of a node by its name.",
    "Profile": "A module takes no time of its own, kernels do: leave nn.Profile away, and call `graphspec profile`.",
    "PrintSize": "Sizes are known before a program runs: leave nn.PrintSize away, and call `graphspec compile --emit shapes`.",
}

ONE = Size.const(1)
INPUT_DIMS = Argument("numInputDims", "size", None)


class CountedAxes(BatchRule):
    """Base of Squeeze and Unsqueeze: ``numInputDims`` can be set later."""

    methods = ("setNumInputDims",)

    def call(self, m: Module, method: str, args: Sequence[Any], origin: Origin) -> Module:
        return set_input_dims(self, m, args, origin)


@register
class Squeeze(CountedAxes):
    """Drops all axes of size 1, ``[1, n, 1] -> [n]``, or only dimension ``dim`` if its size is 1; the last axis that is left stays.

    With ``numInputDims`` a tensor with one axis more has a batch axis in front that is not counted, and stays.
    """

    name = "Squeeze"
    doc = "drops axes of size 1"
    source = TORCH + "simple.md#squeeze"
    differs = (
        "without dim an axis whose size is a letter stays, whatever a run makes of it; with dim a size that is a letter is 1; of a batch "
        "of one row of one element `[1]` is left, not `[1, 1]`"
    )
    arguments = (Argument("dim", "size", None), INPUT_DIMS)
    samples = (
        Sample((), (1, 3, 1, 2)),
        Sample((2,), (3, 1, 2)),
        Sample((1,), (3, 2)),
        Sample((), (1, 1)),
        Sample((None, 2), (1, 1, 3)),
        Sample((1, 2), (2, 1, 3)),
        Sample((1,), (1, 2, 3), methods=(("setNumInputDims", (3,)),)),
        Sample((1,), Leaf((1, 2), index=True, high=5)),
    )

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.same_dtype(x, y)
        dim, counted = m.args.dim, m.args.numInputDims
        dims, known = s.dims(x), s.dims(y)
        if dims is None:
            s.wish(x, counted + 1 if counted else max(dim or 0, 2))
        elif dim is not None:
            axis = axis_of(dim, len(dims), counted)
            if dims[axis].value in (None, 1) and len(dims) > 1 and (known is None or len(known) < len(dims)):
                s.equate(dims[axis], ONE, axis)
                s.set(y, without(dims, axis))
            else:
                s.set(y, dims)
        else:
            first = 1 if counted and len(dims) == counted + 1 else 0
            left = [*dims[:first], *(n for n in dims[first:] if n != 1)] or [ONE]
            if any(letter.startswith(UNKNOWN) for n in dims[first:] for letter in n.letters):
                s.guess(lambda: s.set(y, left))  # it may turn out to be 1
            else:
                s.set(y, left)


@register
class Unsqueeze(CountedAxes):
    """One more axis, of size 1, at position ``pos``: ``[p, q] -> [1, p, q]``, ``[p, 1, q]`` or ``[p, q, 1]``.

    With ``numInputDims`` only that many last axes are counted.
    """

    name = "Unsqueeze"
    doc = "one more axis, of size 1"
    source = TORCH + "simple.md#unsqueeze"
    differs = "without numInputDims all axes are counted each time; Torch's first input settles how many"
    arguments = (Argument("pos", "int"), INPUT_DIMS)
    samples = (
        Sample((1,), (2, 3)),
        Sample((3,), (2, 3)),
        Sample((2, 2), (4, 2, 3)),
        Sample((1,), (2, 2, 3), methods=(("setNumInputDims", (1,)),)),
        Sample((1,), ()),
        Sample((2,), INDICES),
    )

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.same_dtype(x, y)
        pos, counted = m.args.pos, m.args.numInputDims
        s.wish(x, counted + 1 if counted else max(pos - 1, 2))

        def place(rank: int) -> int:
            skip = rank - counted if counted else 0
            if skip < 0:
                raise Mismatch(f"at least {counted} axes are wanted here, got {rank}")
            if not 0 <= pos + skip - 1 <= rank:
                raise Mismatch(f"a new axis at position {pos} of {rank - skip} axes")
            return int(pos + skip - 1)

        def backward(dims: tuple[Size, ...]) -> Sequence[Size]:
            if not dims:
                raise Mismatch("its output is no scalar")
            axis = place(len(dims) - 1)
            s.equate(dims[axis], ONE, axis)
            return without(dims, axis)

        s.relate(x, y, lambda d: with_axis(d, place(len(d)), ONE), backward)


@register
class Collapse(BatchRule):
    """All axes as one; a tensor with more than ``nInputDim`` axes keeps its leading one: ``[B, ...] -> [B, n]``."""

    name = "Collapse"
    doc = "all axes but the batch axis as one"
    source = TORCH + "simple.md#collapse"
    arguments = (Argument("nInputDim"),)
    samples = (Sample((2,), (2, 3)), Sample((2,), (4, 2, 3)), Sample((1,), (2, 3, 2)), Sample((3,), (4,)), Sample((1,), INDICES))

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        s.same_dtype(x, y)
        s.wish(x, m.args.nInputDim + 1)
        s.relate(x, y, lambda d: [d[0], product(d[1:])] if len(d) > m.args.nInputDim else [product(d)])


class Cast(Record):
    """Base of modules that change a tensor's type, or nothing."""

    def target(self, m: Module) -> str | None:
        """The dtype of the output; None if it is that of the input."""
        return None

    def accepted(self, m: Module) -> str | None:
        """The dtype of the input, if it is said."""
        return None

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        target = self.target(m)
        s.set(x, dtype=self.accepted(m))
        if target is None:
            s.same_dtype(x, y)
        s.set(y, dtype=target)
        s.relate(x, y, lambda d: d, lambda d: d)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        return b.cast(only(x), b.type_of(b.use.y).dtype)


@register
class Contiguous(Cast):
    """``y = x``, ``[...] -> [...]``: a program says nothing about the layout of a tensor."""

    name = "Contiguous"
    doc = "y = x; layout is the planner's"
    source = TORCH + "simple.md#contiguous"
    samples = (Sample((), (2, 3)), Sample((), INDICES))


TENSORS = {"Float": FLOAT, "Double": FLOAT, "Half": FLOAT, "Cuda": FLOAT, "CudaDouble": FLOAT, "CudaHalf": FLOAT,
           "Int": "int32", "Long": "int32", "CudaInt": "int32", "CudaLong": "int32"}
"""Torch's types of tensors, as types of a graph."""


@register
class Copy(Cast):
    """``y = x``, ``[...] -> [...]``, as another type, by the names of Torch: ``nn.Copy('torch.FloatTensor', 'torch.LongTensor')`` gives
    whole numbers.

    All of Torch's types of floats are the model's float type, those of whole numbers are int32.
    """

    name = "Copy"
    doc = "y = x as another type"
    source = TORCH + "simple.md#copy"
    differs = "all types of floats are one, and so are those of whole numbers; forceCopy and dontCast change nothing"
    arguments = (Argument("inputType", "text", None), Argument("outputType", "text", None), Argument("forceCopy", "flag", False),
                 Argument("dontCast", "flag", False))
    samples = (
        Sample((), (2, 3)),
        Sample(("torch.FloatTensor", "torch.DoubleTensor", True, True), (3,)),
        Sample(("torch.LongTensor", "torch.FloatTensor"), INDICES),
        Sample(("torch.IntTensor", "torch.LongTensor"), INDICES),
    )

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        a.types = []
        for name in (a.inputType, a.outputType):
            kind = (name or "torch.FloatTensor").removeprefix("torch.").removesuffix("Tensor")
            if kind not in TENSORS:
                raise fail("E0422", f"nn.Copy: a type of tensor is wanted, got '{name}'", origin, helps=["as in `'torch.FloatTensor'`"])
            a.types.append(TENSORS[kind])

    def accepted(self, m: Module) -> str:
        return str(m.args.types[0])

    def target(self, m: Module) -> str:
        return str(m.args.types[1])


def axes_named(text: str) -> str:
    """A shape in letters, with its batch axis."""
    return text if "b" in text else "b" + text


@register
class Convert(Record):
    """A tensor in another layout, each axis named by a letter: ``nn.Convert('chw', 'hwc')`` reorders, ``nn.Convert('bchw', 'bf')`` makes
    all but the batch axis one, ``'bf'`` or ``'bt'`` to ``'b'`` takes the first element, ``'b'`` to ``'bt'`` adds an axis of size 1.

    ``b`` is the batch axis, and is the first one where it is not named; a tensor without it has one axis less.  The output is of the
    model's float type; ``nn.Convert()`` does only that.
    """

    name = "Convert"
    doc = "axes in another order, or as one"
    source = TORCH + "simple.md#convert"
    arguments = (Argument("inputShape", "text", None), Argument("outputShape", "text", None))
    samples: ClassVar[tuple[Sample, ...]] = (
        Sample(("chw", "hwc"), (2, 1, 2, 3)),
        Sample(("bchw", "bf"), (2, 1, 2, 3)),
        Sample(("hwc", "chw"), (1, 2, 3)),
        Sample(("tbf", "bf"), (2, 3, 2)),
        Sample(("tb", "b"), (2, 3)),
        Sample(("bf", "b"), (3, 1)),
        Sample(("b", "bt"), (3,)),
        Sample(("b", "bf"), ()),
        Sample(("tb", "bt"), INDICES),
        Sample((), (2, 3)),
    )

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        if a.inputShape is None and a.outputShape is not None:
            raise fail("E0422", "nn.Convert: outputShape needs inputShape", origin)
        first = a.inputShape or "b*"
        a.given, a.wanted = axes_named(first), axes_named(a.outputShape or first)
        if "b*" in (a.given, a.wanted):
            if a.given != a.wanted:
                raise fail("E0422", "nn.Convert: 'b*' stands for any shape, on both sides or on none", origin)
            return
        for text in (a.given, a.wanted):
            if len(set(text)) != len(text):
                raise fail("E0422", f"nn.Convert: '{text}' names an axis twice", origin)
        possible = sorted(a.given) == sorted(a.wanted) or (a.wanted == "bf" and a.given != "bt") or (
            a.wanted == "b" and a.given in ("bt", "tb", "bf", "fb")) or (a.wanted, a.given) == ("bt", "b")
        if not possible:
            raise fail("E0422", f"nn.Convert: there is no way from '{a.given}' to '{a.wanted}'", origin)

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        a = m.args
        s.set(y, dtype=FLOAT)
        if a.given == "b*":
            s.relate(x, y, lambda d: d, lambda d: d)
            return
        s.wish(x, len(a.given))
        s.relate(x, y, lambda d: self._forward(s, a, d), lambda d: self._backward(a, d))

    @staticmethod
    def _forward(s: Types, a: SimpleNamespace, dims: tuple[Size, ...]) -> Sequence[Size]:
        sizes = dict(zip(single(a.given, dims), dims, strict=True))
        if a.wanted == "b" and "f" in sizes:
            s.equate(sizes["f"], ONE, list(sizes).index("f"))
        elif a.wanted == "b" and "t" in sizes:
            offset_of(1, sizes["t"])
            s.at_most(1, sizes["t"])
        outcome = []
        for axis in a.wanted:
            if axis in sizes and sorted(a.given) == sorted(a.wanted) or axis == "b" and "b" in sizes:
                outcome.append(sizes[axis])
            elif axis != "b":
                outcome.append(product(n for name, n in sizes.items() if name != "b"))
        return outcome

    @staticmethod
    def _backward(a: SimpleNamespace, dims: tuple[Size, ...]) -> Sequence[Size]:
        if sorted(a.given) != sorted(a.wanted):
            raise Mismatch("the sizes of its input are not known")
        sizes = dict(zip(single(a.wanted, dims), dims, strict=True))
        return [sizes[axis] for axis in a.given if axis in sizes]

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        a, x = m.args, only(x)
        y = b.cast(x, b.dtype)
        if a.given == "b*":
            return y
        names = single(a.given, x.shape)
        if sorted(a.given) == sorted(a.wanted):
            return b.transpose(y, [names.index(axis) for axis in a.wanted if axis in names])
        if a.wanted == "b":
            return b.select(y, next(i for i, axis in enumerate(names) if axis != "b"), 0)
        if "b" in names and names.index("b") > 0:  # Torch swaps the batch with the leading axis
            order = list(range(len(names)))
            order[0], order[names.index("b")] = names.index("b"), 0
            y = b.transpose(y, order)
        return b.reshape(y, b.type_of(b.use.y).shape)


def single(names: str, dims: Sequence[Size]) -> str:
    """The names of a tensor's axes: all, or without the batch's; Mismatch when it has other numbers of them."""
    for found in (names, names.replace("b", "")):
        if len(found) == len(dims):
            return found
    raise Mismatch(f"'{names}' has {len(names)} axes, the tensor has {len(dims)}")
