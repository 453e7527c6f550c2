"""Recurrent modules made of modules that the user gives: what each does with its own output of the step before."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from graphspec.errors import Origin, fail
from graphspec.graph import Argument, Leaf, Make, Module, Sample, Table, Walk, new_module, register
from graphspec.ir.core import TensorType, Value, tensor
from graphspec.lower import Lowering, Tree, flatten, unflatten
from graphspec.nn.common import RNN
from graphspec.nn.recurrent import ONE_STEP, RHO, Stateful, check_rank
from graphspec.nn.sequence import cleared
from graphspec.shapes.cells import FLOAT, Cell
from graphspec.shapes.infer import Types, Use


@register
class Recurrent(Stateful):
    """``y = transfer(merge{input(x), feedback(y of the step before)})``; at the first step ``y = transfer(start(input(x)))``.

    ``start`` is a module, or a size for ``nn.Add(size)``, or a table of sizes for nn.CAdd; transfer is nn.Sigmoid and merge
    nn.CAddTable unless given.
    """

    name = "Recurrent"
    doc = "one step of a simple recurrent network"
    carries = ("y",)
    source = RNN + "Recurrent"
    differs = ONE_STEP + "; after maskZero the first step is masked too"
    arguments = (
        Argument("start", "module"), Argument("input", "module"), Argument("feedback", "module"), Argument("transfer", "module", None), RHO,
        Argument("merge", "module", None),
    )  # fmt: skip
    samples = (
        Sample((2, Make("Linear", (3, 2)), Make("Linear", (2, 2))), (2, 3)),
        Sample((Make("Linear", (2, 2)), Make("Linear", (3, 2)), Make("Linear", (2, 2)), Make("Tanh"), 5, Make("CMulTable")), (2, 3)),
        Sample((Table((2,)), Make("LookupTable", (4, 2)), Make("Tanh")), Leaf((3,), index=True, high=4)),
    )

    def bind(self, args: Sequence[Any], origin: Origin) -> SimpleNamespace:
        given = list(args)
        number = bool(given) and isinstance(given[0], (int, float)) and not isinstance(given[0], bool)
        if number or (given and isinstance(given[0], Table)):
            sizes = given[0].items if isinstance(given[0], Table) else (given[0],)
            given[0] = new_module("Add" if len(sizes) == 1 else "CAdd", sizes, origin)
        bound = super().bind(given, origin)
        bound.transfer = bound.transfer if bound.transfer is not None else new_module("Sigmoid", [], origin)
        bound.merge = bound.merge if bound.merge is not None else new_module("CAddTable", [], origin)
        return bound

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        a = m.args
        if not s.current.subs:
            taken, back, total = Cell(), Cell(), Cell()
            s.child("input", a.input, x, taken)
            s.child("start", a.start, taken, total)
            s.child("feedback", a.feedback, y, back)
            s.child("merge", a.merge, s.tree([taken, back]), total)
            s.child("transfer", a.transfer, total, y)
        if (n := getattr(a, "masked", None)) is not None:
            check_rank(s, x, n)

    def states(self, b: Lowering, use: Use) -> list[TensorType]:
        return [*(b.type_of(leaf) for leaf in b.session.types.leaves(use.y)), tensor((), "int32")]

    def inside(self, w: Walk, m: Module, x: Any) -> Any:
        before = w.carried(*self.carries, w.use.y)
        given = w.child("input", x)
        first = w.child("start", given)
        later = w.child("merge", (given, w.child("feedback", before)))
        y = w.child("transfer", w.own("first or later step", first, later, gain=1))
        w.carry(before, y)
        return y

    def step(self, b: Lowering, m: Module, x: Tree, state: list[Value]) -> tuple[Tree, list[Value]]:
        *old, begun = state
        given = b.child("input", x)
        first = b.child("start", given)
        later = b.child("merge", (given, b.child("feedback", unflatten(b.type_of(b.use.y), old))))
        at_first = b.compare(begun, b.full_like(begun, 0), "eq")
        chosen = [b.where(b.broadcast(at_first, v.shape, ()), v, w) for v, w in zip(flatten(first), flatten(later), strict=True)]
        y = b.child("transfer", unflatten(first, chosen))
        return y, [*flatten(y), b.full_like(begun, 1)]

    def masked(self, b: Lowering, mask: Value, state: list[Value]) -> list[Value]:
        return [*(cleared(b, mask, v) for v in state[:-1]), state[-1]]


@register
class Recurrence(Stateful):
    """``y = recurrentModule{x, y of the step before}``, which is zeros at the first step.

    ``outputSize`` is the size of y without its batch axis: a number, ``{sizes}``, or a table of such for a y that is a table;
    ``nInputDim`` is how many axes x (its first tensor) has without its batch axis.
    """

    name = "Recurrence"
    doc = "a module that reads its own output of the step before"
    carries = ("y",)
    source = RNN + "Recurrence"
    differs = ONE_STEP
    arguments = (Argument("recurrentModule", "module"), Argument("outputSize", "table"), Argument("nInputDim"), RHO)
    SUM = Make("Sequential", (), (Make("ParallelTable", (), (Make("Linear", (3, 2)), Make("Linear", (2, 2)))), Make("CAddTable"),
                                  Make("Tanh")))
    samples = (Sample((SUM, 2, 1), (2, 3)), Sample((SUM, Table((2,)), 1, 7), (3,)))

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        a.sizes = self._sizes(a.outputSize, origin)

    def _sizes(self, given: Table, origin: Origin) -> Any:
        """Nested lists of sizes; a tuple for one tensor."""
        if given.items and not given.fields and all(isinstance(item, Table) for item in given.items):
            return [self._sizes(item, origin) for item in given.items]
        numbers = [n for n in given.items if isinstance(n, (int, float)) and not isinstance(n, bool) and 1 <= n <= 2**40 and int(n) == n]
        if not numbers or len(numbers) != len(given.items) or given.fields:
            raise fail("E0422", "nn.Recurrence: outputSize is a size, a table of sizes, or a table of such tables", origin)
        return tuple(int(n) for n in numbers)

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        n = m.args.nInputDim
        if not s.current.subs:
            s.child("cell", m.args.recurrentModule, s.tree([x, y]), y)
        check_rank(s, x, n)
        dims = s.dims(next(iter(s.leaves(x))))
        if dims is not None:
            self._state(s, y, m.args.sizes, dims[: len(dims) - n])

    def _state(self, s: Types, cell: Cell, sizes: Any, lead: Sequence[Any]) -> None:
        if isinstance(sizes, tuple):
            s.set(cell, [*lead, *sizes], FLOAT)
            return
        for inner, item in zip(s.table(cell, len(sizes)), sizes, strict=True):
            self._state(s, inner, item, lead)

    def states(self, b: Lowering, use: Use) -> list[TensorType]:
        return [b.type_of(leaf) for leaf in b.session.types.leaves(use.y)]

    def inside(self, w: Walk, m: Module, x: Any) -> Any:
        before = w.carried(*self.carries, w.use.y)
        y = w.child("cell", (x, before))
        w.carry(before, y)
        return y

    def step(self, b: Lowering, m: Module, x: Tree, state: list[Value]) -> tuple[Tree, list[Value]]:
        y = b.child("cell", (x, unflatten(b.type_of(b.use.y), state)))
        return y, flatten(y)
