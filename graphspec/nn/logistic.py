"""Criterions of logistic regression with two classes, -1 and 1."""

from __future__ import annotations

from graphspec.graph import Leaf, Module, Sample, register
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import DPNN, mean_of, pair
from graphspec.nn.criterion import Losses, signs, tell
from graphspec.nn.margin import SoftMarginCriterion
from graphspec.shapes.cells import FLOAT, Cell, Mismatch
from graphspec.shapes.infer import Types
from graphspec.sizes import product


@register
class BinaryLogisticRegression(SoftMarginCriterion):
    """The mean of ``log(1 + exp(-t x))`` for targets t that are -1 or 1: ``{[B] or [B, 1], [B] or [B, 1]} -> []``; with
    ``sizeAverage = false`` the sum.

    x and t have as many elements, in whichever of the shapes; ``[1, B]`` is one too.
    """

    name = "BinaryLogisticRegression"
    doc = "the logistic loss of two classes, -1 and 1, for a column of numbers"
    source = DPNN + "BinaryLogisticRegression.lua"
    differs = ""
    samples = (
        Sample((), ((3,), Leaf((3,), index=True, values=(1, -1, 1)))),
        Sample((False,), ((3, 1), Leaf((3,), values=(1.0, -1.0, -1.0)))),
        Sample((), ((2,), Leaf((2, 1), index=True, values=(-1, 1)))),
        Sample((), ((1, 2), Leaf((2, 1), values=(-1.0, 1.0)))),
    )

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        cells = s.table(x, 2)
        s.set(cells[0], dtype=FLOAT)
        s.set(y, (), FLOAT)
        s.wish(cells[0], 2)
        rows = s.unknown("B")
        for cell, other in (cells, reversed(cells)):
            dims = s.dims(cell)
            if dims is None:
                known = s.dims(other)
                if known is not None:
                    s.guess(lambda cell=cell, known=known: s.set(cell, known))  # type: ignore[misc]
                continue
            if len(dims) not in (1, 2):
                raise Mismatch(f"[B] or [B, 1] is wanted, got {s.show(cell)}")
            if len(dims) == 2 and dims[0].value == 1:
                s.equate(dims[1], rows, 1)
            else:
                s.equate(dims[0], rows, 0)
                if len(dims) == 2:
                    s.equate(dims[1], 1, 1)

    def one_choice(self, prediction: Value) -> bool:
        return True

    def losses(self, b: Lowering, m: Module, x: Tree) -> Losses:
        prediction, target = pair(x)
        rows = (product(prediction.shape),)
        return super().losses(b, m, (b.reshape(prediction, rows), b.reshape(target, rows)))


@register
class SpatialBinaryLogisticRegression(SoftMarginCriterion):
    """Half the mean of ``log(1 + exp(-t x))`` over pixels, for targets t that are -1 or 1:
    ``{[B, 1, h, w] or [1, h, w], the same} -> []``.

    With ``sizeAverage = false`` half the mean over the pixels of an image, added up over images.
    """

    name = "SpatialBinaryLogisticRegression"
    doc = "half the logistic loss of two classes, -1 and 1, for each pixel"
    source = DPNN + "SpatialBinaryLogisticRegression.lua"
    samples = (
        Sample((), ((2, 1, 2, 2), Leaf((2, 1, 2, 2), index=True, values=(1, -1, 1, 1, -1, -1, 1, -1)))),
        Sample((False,), ((2, 1, 1, 2), Leaf((2, 1, 1, 2), values=(1.0, -1.0, -1.0, 1.0)))),
        Sample((), ((1, 2, 1), Leaf((1, 2, 1), values=(1.0, -1.0)))),
        Sample((False,), ((1, 1, 3), Leaf((1, 1, 3), values=(1.0, -1.0, 1.0)))),
    )

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        super().shapes(s, m, x, y)
        image = s.table(x, 2)[0]
        s.wish(image, 4)
        dims = s.dims(image)
        if dims is not None:
            if len(dims) not in (3, 4):
                raise Mismatch(f"[B, 1, h, w] or [1, h, w] is wanted, got {s.show(image)}")
            s.equate(dims[-3], 1, len(dims) - 3)

    def one_choice(self, prediction: Value) -> bool:
        return True  # each pixel's

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        tell(b, m, x)
        prediction, target = pair(x)
        losses = self.loss(b, m, prediction, signs(b, target, prediction))
        pixels = product(prediction.shape if m.args.sizeAverage else prediction.shape[-2:])
        return b.scale(mean_of(b, b.reduce_sum(losses, range(losses.type.rank)), pixels), 0.5)
