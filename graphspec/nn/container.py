"""Containers: modules made of modules that are added one by one."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

from graphspec.errors import Origin, SpecError, fail
from graphspec.graph import Argument, Make, Module, Record, Sample, Walk, register
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree
from graphspec.nn.common import TORCH, axis_of, impossible, only, unless_known, usual_rank, with_axis, without
from graphspec.nn.table import MOST_ELEMENTS, joined
from graphspec.shapes.cells import Cell, Mismatch
from graphspec.shapes.infer import Types
from graphspec.sizes import Size

CONTAINERS = TORCH + "containers.md#"
TWO = (Make("Linear", (3, 4)), Make("Linear", (3, 2)))


class Container(Record):
    """Base of modules that ``:add`` works on."""

    children = True


@register
class Sequential(Container):
    """Each child reads what the one before gives: ``nn.Sequential():add(a):add(b)``."""

    name = "Sequential"
    doc = "modules one after another"
    source = CONTAINERS + "sequential"
    samples = (
        Sample((), (2, 3), children=(Make("Linear", (3, 4)), Make("Tanh"), Make("Linear", (4, 2)))),
        Sample((), (2, 3)),
        Sample((), ((2, 3), (2, 1)), children=(Make("JoinTable", (2,)), Make("Square"))),
    )

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        if not m.children:
            s.same(x, y)
        for position, child in enumerate(m.children):
            last = position == len(m.children) - 1
            x = s.child(position, child, x, y if last else Cell()).y

    def inside(self, w: Walk, m: Module, x: Any) -> Any:
        for position in range(len(m.children)):
            x = w.child(position, x)
        return x


class Branches(Container):
    """Base of containers whose children stand beside each other: there is at least one."""

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        if not m.children:
            helps = ["modules are added one by one, `:add(...)`; a table of tensors is joined by nn.JoinTable"]
            raise impossible(s, m, "no module has been added to it", "nothing inside", "E0302", helps=helps)
        self.branches(s, m, x, y)

    def branches(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        raise NotImplementedError


@register
class ConcatTable(Branches):
    """Each child reads the same input, a tensor or a table; the output is the table of what they give."""

    name = "ConcatTable"
    doc = "modules beside each other on one input: the table of their outputs"
    source = TORCH + "table.md#concattable"
    differs = "with nothing added it is refused"
    samples = (
        Sample((), (2, 3), children=TWO),
        Sample((), (4,), children=(Make("Identity"), Make("Tanh"), Make("Square"))),
        Sample((), ((2, 3), (2, 1)), children=(Make("JoinTable", (2,)), Make("SelectTable", (1,)), Make("Identity"))),
        Sample((), (2, 3), children=(Make("ConcatTable", (), (Make("Exp"), Make("Linear", (3, 1)))),)),
    )

    def branches(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        for position, (child, out) in enumerate(zip(m.children, s.table(y, len(m.children)), strict=True)):
            s.child(position, child, x, out)

    def inside(self, w: Walk, m: Module, x: Any) -> Any:
        return tuple(w.child(position, x) for position in range(len(m.children)))


@register
class ParallelTable(Branches):
    """Child i reads element i of the input table; the output is the table of what they give."""

    name = "ParallelTable"
    doc = "modules beside each other, each on its own element of a table"
    source = TORCH + "table.md#paralleltable"
    differs = "there are as many inputs as modules; Torch passes over any more"
    samples = (
        Sample((), ((2, 3), (2, 3)), children=TWO),
        Sample((), ((4,), (2, 5)), children=(Make("Tanh"), Make("Linear", (5, 2)))),
        Sample((), ((2, 3), ((2, 2), (2, 1))), children=(Make("Identity"), Make("JoinTable", (2,)))),
    )

    def branches(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        n = len(m.children)
        for position, (child, given, out) in enumerate(zip(m.children, s.table(x, n), s.table(y, n), strict=True)):
            s.child(position, child, given, out)

    def inside(self, w: Walk, m: Module, x: Any) -> Any:
        return tuple(w.child(position, item) for position, item in enumerate(w.items(x, len(m.children))))


@register
class Concat(Branches):
    """Each child reads the same input; what they give stands one after another along a dimension (negative: counted from the end)."""

    name = "Concat"
    doc = "modules beside each other on one input: their outputs one after another along a dimension"
    source = CONTAINERS + "concat"
    arguments = (Argument("dimension", "int"),)
    samples: ClassVar[tuple[Sample, ...]] = (
        Sample((2,), (2, 3), children=TWO),
        Sample((1,), (3,), children=(*TWO, Make("Identity"))),
        Sample((-1,), (2, 1, 3), children=TWO),
        Sample((1,), ((2, 3), (2, 3)), children=(Make("CAddTable"), Make("CMulTable"))),
    )

    def branches(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        outs = [s.child(position, child, x, Cell()).y for position, child in enumerate(m.children)]
        self.join(s, m, outs, y)

    def join(self, s: Types, m: Module, outs: Sequence[Cell], y: Cell) -> None:
        joined(s, f"outputs of the modules in nn.{self.name}", outs, y, m.args.dimension, inputs=False)

    def inside(self, w: Walk, m: Module, x: Any) -> Any:
        return w.own(f"joined along dimension {m.args.dimension}", *(w.child(position, x) for position in range(len(m.children))), gain=1)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        outs = [only(b.child(position, x)) for position in range(len(m.children))]
        axis = axis_of(m.args.dimension, outs[0].type.rank)
        return b.concat([self.fitted(b, out, axis) for out in outs], axis)

    def fitted(self, b: Lowering, out: Value, axis: int) -> Value:
        """An output as large as the others, but for that axis."""
        return out


@register
class DepthConcat(Concat):
    """As Concat, but other sizes may differ: smaller outputs stand in the middle of zeros (of an odd number of rows around, one less is in
    front)."""

    name = "DepthConcat"
    doc = "modules beside each other on one input: their outputs one after another along a dimension, small ones with zeros around"
    source = CONTAINERS + "depthconcat"
    differs = "how much sizes differ is known when the model is compiled"
    samples = (
        Sample((1,), (2, 5), children=(Make("Identity"), Make("Narrow", (2, 2, -2)), Make("Narrow", (2, 1, -3)))),
        Sample((2,), (2, 3, 4), children=(Make("Narrow", (3, 1, -2)), Make("Identity"))),
        Sample((-1,), (4, 2, 3), children=(Make("Narrow", (1, 3, -1)), Make("Narrow", (1, 2, -1)), Make("Narrow", (2, 2, -1)))),
    )

    def join(self, s: Types, m: Module, outs: Sequence[Cell], y: Cell) -> None:
        s.same_dtype(y, *outs)
        known = [dims for dims in map(s.dims, outs) if dims is not None]
        if len(known) < len(outs):
            return
        axis = axis_of(m.args.dimension, len(known[0]))
        if len({len(dims) for dims in known}) > 1:
            raise Mismatch(f"outputs of different ranks: {', '.join(map(s.show, outs))}")
        sizes: list[Size] = []
        for i, (first, *others) in enumerate(zip(*known, strict=True)):
            more = [(n - first).value for n in others]
            if i == axis:
                sizes.append(sum(others, first))
            elif None in more:
                unless_known(s, m, f"which output is the largest in dimension {i + 1} is not known before the run",
                             ", ".join(map(s.show, outs)))
                return
            else:
                sizes.append(first + max([0, *(n for n in more if n is not None)]))
        s.set(y, sizes)

    def fitted(self, b: Lowering, out: Value, axis: int) -> Value:
        whole = b.type_of(b.use.y).shape
        for i in range(out.type.rank):
            zeros = (whole[i] - out.shape[i]).value
            if i != axis and zeros:
                out = b.pad(out, i, zeros // 2, zeros - zeros // 2)
        return out


@register
class Parallel(Branches):
    """Child i reads slice i of dimension ``inputDimension``, which the slice does not have; what they give stands one after another along
    ``outputDimension``.  Negative dimensions count from the end."""

    name = "Parallel"
    doc = "modules beside each other, each on its own slice of a tensor: their outputs one after another along a dimension"
    source = CONTAINERS + "parallel"
    differs = "there are as many slices as modules; Torch passes over modules that have no slice"
    arguments = (Argument("inputDimension", "int"), Argument("outputDimension", "int"))
    samples = (
        Sample((2, 1), (3, 2), children=TWO),
        Sample((1, 2), (2, 4, 3), children=TWO),
        Sample((-1, -1), (2, 3, 2), children=TWO),
        Sample((1, 1), (3, 2, 2), children=(Make("Tanh"), Make("Identity"), Make("Square"))),
    )

    def branches(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        uses = [s.child(position, child, Cell(), Cell()) for position, child in enumerate(m.children)]
        given = [use.x for use in uses]
        s.same_dtype(x, *given)
        n = Size.const(len(uses))
        dims, known = s.dims(x), next((d for d in map(s.dims, given) if d is not None), None)
        if dims is None and known is not None:
            dims = with_axis(known, axis_of(m.args.inputDimension, len(known) + 1), n)
            s.set(x, dims)
        if dims is None:
            s.wish(x, usual_rank(m.args.inputDimension))
        else:
            axis = axis_of(m.args.inputDimension, len(dims))
            s.equate(dims[axis], n, axis)
            for cell in given:
                s.set(cell, without(dims, axis))
        joined(s, "outputs of the modules in nn.Parallel", [use.y for use in uses], y, m.args.outputDimension, inputs=False)

    def inside(self, w: Walk, m: Module, x: Any) -> Any:
        parts = [w.own(f"slice {position + 1} of dimension {m.args.inputDimension}", x, gain=1) for position in range(len(m.children))]
        outs = [w.child(position, part) for position, part in enumerate(parts)]
        return w.own(f"joined along dimension {m.args.outputDimension}", *outs, gain=1)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        x = only(x)
        axis = axis_of(m.args.inputDimension, x.type.rank)
        outs = [only(b.child(position, b.select(x, axis, position))) for position in range(len(m.children))]
        return b.concat(outs, axis_of(m.args.outputDimension, outs[0].type.rank))


@register
class MapTable(Container):
    """The module on each element of a table: ``nn.MapTable(module)``, or ``nn.MapTable():add(module)``.

    With ``shared = false`` each element has parameters of its own, which start as the module's: how many there are is said by
    ``:resize(n)``.
    """

    name = "MapTable"
    doc = "one module on each element of a table"
    source = TORCH + "table.md#maptable"
    differs = ("shared, it is one module: running statistics are shared too, not weight and bias only; with shared = false the number of "
               "elements is said by `:resize(n)` before the model is compiled")
    arguments = (Argument("module", "module", None), Argument("shared", "flag", True))
    methods = ("resize",)
    samples = (
        Sample((Make("Linear", (3, 2)),), ((2, 3), (4, 3))),
        Sample((), ((3,), (2, 2), (1,)), children=(Make("Tanh"),)),
        Sample((Make("Linear", (3, 2)), False), ((2, 3), (2, 3), (3,)), methods=(("resize", (3,)),)),
        Sample((Make("CMulTable"),), (((2,), (2,)), ((3, 1), (3, 1)))),
        Sample((Make("Linear", (3, 2)), False), ((2, 3), (2, 3)), methods=(("resize", (3,)), ("resize", (2,)))),
    )

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        a.own = getattr(a, "own", 1)

    def call(self, m: Module, method: str, args: Sequence[Any], origin: Origin) -> Module:
        n = self.bind_one(Argument("n"), args, origin)
        self._single(m, origin)
        if n > MOST_ELEMENTS:
            raise fail("E0506", f"nn.{self.name}: more than {MOST_ELEMENTS} modules", origin)
        if not m.args.shared:
            m.children = m.children[:n] + [m.children[0].clone([], origin) for _ in range(len(m.children), n)]
            m.args.own = n
        return m

    def bind_one(self, argument: Argument, args: Sequence[Any], origin: Origin) -> Any:
        """The argument of a method."""
        if not args or args[0] is None:
            raise fail("E0420", f"nn.{self.name}:resize needs {argument.name}", origin)
        return self._convert(argument, args[0], origin)

    def _single(self, m: Module, origin: Origin) -> None:
        if len(m.children) != m.args.own:
            found = "nothing has been added to it" if not m.children else f"{len(m.children) - m.args.own + 1} have been added"
            raise fail("E0302", f"nn.{self.name} holds one module: {found}", origin)

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        self._single(m, s.current.origin)
        n = next((len(items) for items in map(s.items, (x, y)) if items is not None), None)
        if n is None:
            unless_known(s, m, "how many elements its input holds is not known", "is this a table?")
            return
        if not n:
            raise Mismatch("an empty table")
        if not m.args.shared and n != len(m.children):
            help = f"`:resize({n})` gives each its own parameters; without `shared = false` they have the same"
            raise SpecError(s.explain("E0302", f"nn.{self.name}: {len(m.children)} modules for {n} elements", s.show(x), helps=[help]))
        for position, (given, out) in enumerate(zip(s.table(x, n), s.table(y, n), strict=True)):
            s.child(position, m.children[0 if m.args.shared else position], given, out)

    def inside(self, w: Walk, m: Module, x: Any) -> Any:
        return tuple(w.child(position, item) for position, item in enumerate(w.items(x, len(w.use.subs))))
