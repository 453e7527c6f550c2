"""nn.Scan: a cell run over time, as one loop in the IR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from graphspec.errors import Origin, SpecError, fail
from graphspec.graph import Argument, GModule, Module, Record, Table, Walk, register
from graphspec.ir.core import Value
from graphspec.lower import Lowering, Tree, flatten, unflatten
from graphspec.nn.loop import over_time, stacked
from graphspec.shapes.cells import FLOAT, Cell
from graphspec.shapes.infer import Types, Use
from graphspec.sizes import Size
from graphspec.suggest import did_you_mean

OPTIONS = ("reverse", "steps", "feedback")
FEEDBACKS = ("value", "greedy", "sample")


@register
class Scan(Record):
    """``nn.Scan(cell, {reverse=, steps=, feedback=})`` over ``{xs, s0, context, lengths}`` gives ``{ys, sT}``.

    xs and ys: ``[T, B, ...]``; s0, sT: as the cell's state (zeros without s0); context: anything, handed to every step; lengths: ``[B]``
    int32, the state is kept and ys are 0 at t >= length (t from 0).  With ``steps='T'`` there are no xs and the cell is
    ``{prev_s[, context]} -> {y, next_s}``.  With ``feedback`` the cell's x is what its own y of the step before gives: y itself
    (``value``), 1 + argmax of y (``greedy``), or a class drawn from the log-probabilities y (``sample``); the first x is the input
    ``first``, and a third output holds what was fed on.  When y is a table its first element is fed back.
    """

    name = "Scan"
    doc = "runs a cell {x, s} -> {y, s} over the leading (time) axis"
    source = "Elman (1990); the loop is jax.lax.scan's"
    arguments = (Argument("cell", "module"), Argument("options", "table", None))
    loops = True
    input_names = ("xs", "first", "s0", "context", "lengths")

    def check(self, a: SimpleNamespace, origin: Origin) -> None:
        fields: dict[str, Any] = dict(a.options.fields) if isinstance(a.options, Table) else {}
        for name in fields:
            if name not in OPTIONS:
                raise fail("E0412", f"nn.Scan has no option {name}", origin, helps=did_you_mean(name, OPTIONS))
        a.reverse = bool(fields.get("reverse", False))
        a.feedback = fields.get("feedback")
        if a.feedback is not None and a.feedback not in FEEDBACKS:
            raise fail("E0412", f"nn.Scan: feedback must be one of {', '.join(FEEDBACKS)}, got {a.feedback!r}", origin)
        steps = fields.get("steps")
        if steps is None:
            a.steps = None
        elif isinstance(steps, str) and steps.isidentifier():
            a.steps = Size.letter(steps)
        elif isinstance(steps, (int, float)) and float(steps).is_integer() and steps >= 0:
            a.steps = Size.const(int(steps))
        else:
            raise fail("E0412", f"nn.Scan: steps must be a size letter or a whole number, got {steps!r}", origin)
        if a.feedback is not None and a.steps is None:
            raise fail("E0412", "nn.Scan with feedback has no xs, so it needs to know how many steps: `{feedback = ..., steps = 'T'}`",
                       origin)
        if a.feedback is not None and a.reverse:
            raise fail("E0412", "nn.Scan: feedback cannot run in reverse", origin)
        if not isinstance(a.cell, GModule) or len(a.cell.outputs) != 2:
            raise fail("E0413", "nn.Scan needs a gModule {x, prev_s} -> {y, next_s} as its cell", origin,
                       others=[(a.cell.origin, "this is the cell")])

    def _bare(self, s: Types, use: Use) -> bool | None:
        """Whether the whole input is xs alone (a single node), rather than a list of inputs; None while unknown."""
        node = use.node
        if node is not None:
            return not isinstance(node.inputs, tuple)
        known = s.is_table(use.x)
        return None if known is None else not known

    def _inputs(self, s: Types, m: Module, use: Use) -> dict[str, Cell] | None:
        """The inputs by name; None while it is unknown whether there is one or several."""
        names = self._expected(m)
        bare = self._bare(s, use)
        if bare is None:
            return None
        if bare:
            return {names[0]: use.x}
        if use.node is not None and use.node.labels is not None:
            if names[0] != "s0" and names[0] not in use.node.labels:
                raise fail("E0414", f"nn.Scan needs {names[0]}", use.origin)
            for label in use.node.labels:
                if label not in names:
                    raise fail("E0414", f"nn.Scan with these options takes no {label}", use.origin, notes=[f"it takes {', '.join(names)}"])
            return dict(zip(use.node.labels, s.table(use.x, len(use.node.labels)), strict=True))
        items = s.items(use.x) or []
        if len(items) > len(names):
            raise fail("E0414", f"nn.Scan takes at most {len(names)} inputs ({', '.join(names)}), got {len(items)}", use.origin)
        return dict(zip(names, items, strict=False))

    def _expected(self, m: Module) -> tuple[str, ...]:
        head = () if m.args.steps is not None and not m.args.feedback else ("first",) if m.args.feedback else ("xs",)
        return (*head, "s0", "context", "lengths")

    def shapes(self, s: Types, m: Module, x: Cell, y: Cell) -> None:
        given = self._inputs(s, m, s.current)
        if given is None:
            return
        cell: GModule = m.args.cell
        names = [n for n in ("x", "state", "context") if n != "x" or self._expected(m)[0] != "s0"]
        if len(cell.inputs) not in (len(names), len(names) - 1):
            raise fail("E0413", f"nn.Scan: the cell takes {len(cell.inputs)} inputs, wanted {' , '.join(names[:-1])} (and context)",
                       s.current.origin, others=[(cell.origin, "this is the cell")])
        if ("context" in given) != (len(cell.inputs) == len(names)):
            what = "has no context to read" if "context" not in given else "does not take a context"
            raise fail("E0414", f"nn.Scan: the cell {what}", s.current.origin, others=[(cell.origin, "this is the cell")],
                       helps=["give it by name: `{xs = ..., context = ...}`"] if "context" not in given else [])
        trip = s.unknown("T")
        if m.args.steps is not None:
            s.equate(trip, s.size(m.args.steps))
        use = s.child("cell", cell, Cell(), Cell())
        parts = dict(zip(names, [use.x] if len(cell.inputs) == 1 else s.table(use.x, len(cell.inputs)), strict=False))
        out = s.table(y, 3 if m.args.feedback else 2)
        cell_y, cell_next = s.table(use.y, 2)
        if "xs" in given:
            stacked(s, given["xs"], parts["x"], trip)
        if "first" in given:
            s.same(given["first"], parts["x"])
            self._fed(s, m, cell_y, parts["x"])
            stacked(s, out[2], parts["x"], trip)
        if "s0" in given:
            s.same(given["s0"], parts["state"])
        if "context" in given:
            s.same(given["context"], parts["context"])
        s.same(parts["state"], cell_next)
        s.same(out[1], parts["state"])
        stacked(s, out[0], cell_y, trip)
        if "lengths" in given:
            batch = s.unknown("B")
            s.set(given["lengths"], [batch], "int32")
            for leaf in [*s.leaves(cell_y), *s.leaves(parts["state"])]:
                dims = s.dims(leaf)
                if dims is not None and dims:
                    s.equate(dims[0], batch, 0)
                elif dims is not None:
                    problem = s.explain("E0302", "nn.Scan: lengths needs a batch axis in every state and output", "a scalar has none")
                    raise SpecError(problem)

    @staticmethod
    def _fed(s: Types, m: Module, y: Cell, x: Cell) -> None:
        """State that the first element of y, or what is chosen by it, is the x of the next step."""
        items = s.find(y).items
        source = items[0] if items else y
        if m.args.feedback == "value":
            s.same(source, x)
            return
        s.set(x, dtype="int32")
        s.set(source, dtype=FLOAT)
        dims = s.dims(source)
        if dims is not None:
            s.set(x, dims[:-1])

    def inside(self, w: Walk, m: Module, x: Any) -> Any:
        names = list(self._inputs(w.types, m, w.use) or ())
        given = dict(zip(names, [x] if self._bare(w.types, w.use) else w.items(x, len(names)), strict=True))
        y_cell, state_cell = w.types.find(w.use.subs["cell"].y).items
        fed = w.carried(f"fed back: {m.args.feedback}", y_cell, given.get("first")) if m.args.feedback else None
        state = w.carried("next step", state_cell, given.get("s0"))
        taken = [state]
        if self._expected(m)[0] != "s0":
            taken.insert(0, given["xs"] if fed is None else fed)
        y, following = w.items(w.child("cell", (*taken, *(given[name] for name in ("context",) if name in given))), 2)
        w.carry(state, following)
        if fed is not None:
            w.carry(fed, y)
        w.ports(given, {"ys": y, "sT": following})
        return (y, following) if fed is None else (y, following, y)

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        types = b.session.types
        cells = self._inputs(types, m, b.use)
        assert cells is not None
        values: Sequence[Tree] = (x,) if self._bare(types, b.use) or isinstance(x, Value) else x
        given = dict(zip(cells, values, strict=True))
        return _Loop(b, m, given).build()


class _Loop:
    """The lowering of one scan: what goes in as a const, a carry or an x, and what comes out."""

    def __init__(self, b: Lowering, m: Module, given: dict[str, Tree]) -> None:
        self.b, self.m, self.given = b, m, given
        self.use = b.use.subs["cell"]
        self.cell: GModule = m.args.cell
        parts = self.use.x if len(self.cell.inputs) == 1 else b.session.types.find(self.use.x).items
        cells = [parts] if isinstance(parts, Cell) else list(parts or [])
        self.takes_x = "xs" in given or "first" in given
        self.x_type = b.type_of(cells[0]) if self.takes_x else None
        self.state = cells[1 if self.takes_x else 0]

    def build(self) -> Tree:
        b = self.b
        context = flatten(self.given["context"]) if "context" in self.given else []
        lengths = flatten(self.given["lengths"]) if "lengths" in self.given else []
        leaves = b.session.types.leaves(self.state)
        state = flatten(self.given["s0"]) if "s0" in self.given else [b.zeros(b.type_of(leaf)) for leaf in leaves]
        xs = flatten(self.given["xs"]) if "xs" in self.given else []
        first = flatten(self.given["first"]) if "first" in self.given else []
        state_type = b.type_of(self.state)
        outputs: list[Tree] = []

        def step(
            cell: Lowering, index: Value, consts: list[Value], carries: list[Value], x: list[Value]
        ) -> tuple[list[Value], list[Value]]:
            context_in, lengths_in = consts[: len(context)], consts[len(context) :]
            fed, old = carries[: len(first)], carries[len(first) :]
            arguments: list[Tree] = []
            if self.takes_x:
                arguments.append(unflatten(self.x_type, x or fed))
            arguments.append(unflatten(state_type, old))
            if context:
                arguments.append(unflatten(self.given["context"], context_in))
            result = cell.run_cell(arguments[0] if len(arguments) == 1 else tuple(arguments))
            assert isinstance(result, tuple)
            y, new = result[0], [cell.reshape(n, o.shape) for n, o in zip(flatten(result[1]), old, strict=True)]
            outputs.append(y)
            ys = flatten(y)
            if lengths_in:
                new = [_keep(cell, index, lengths_in[0], n, o) for n, o in zip(new, old, strict=True)]
                ys = [_keep(cell, index, lengths_in[0], v, cell.zeros(v.type)) for v in ys]
                self._forget(cell, index, lengths_in[0])
            following = self._feed(cell, ys[0]) if first else []
            return [*following, *new], [*ys, *following]

        last, ys = over_time(
            b, self.use, b.unknown("T"), step, [*context, *lengths], [*first, *state], xs, self.m.args.reverse,
            lengths=len(context) if lengths else None,
        )  # fmt: skip
        nf, ns = len(first), len(state)
        count = len(flatten(outputs[0]))
        out: list[Tree] = [unflatten(outputs[0], ys[:count]), unflatten(state_type, last[nf : nf + ns])]
        if first:
            out.append(unflatten(self.x_type, ys[count : count + nf]))
        return tuple(out)

    @staticmethod
    def _forget(cell: Lowering, index: Value, lengths: Value) -> None:
        """Rows that have ended add nothing to what is minimised beside the outputs, and no answer of theirs counts."""

        def running(v: Value) -> Value:
            return _keep(cell, index, lengths, v, cell.zeros(v.type)) if v.shape[:1] == lengths.shape else v

        cell.scope.terms = [running(term) for term in cell.scope.terms]
        cell.scope.draws = [replace(draw, log_probability=running(draw.log_probability)) for draw in cell.scope.draws]
        cell.scope.answers = [replace(a, right=running(a.right), counted=running(a.counted)) for a in cell.scope.answers]

    def _feed(self, cell: Lowering, y: Value) -> list[Value]:
        """What goes into the next step."""
        how = self.m.args.feedback
        if how == "value":
            return [y]
        if how == "sample":  # the Gumbel trick: argmax(log p - log(-log u)) is a draw from p
            noise = cell.draw("uniform", y.shape)
            tiny = cell.full_like(noise, 2.0**-25)
            y = cell.sub(y, cell.log(cell.neg(cell.log(cell.add(noise, tiny)))))
        best = cell.argmax(y)
        base = cell.session.index_base
        return [cell.add(best, cell.full_like(best, base)) if base else best]


def _keep(b: Lowering, index: Value, lengths: Value, new: Value, old: Value) -> Value:
    """``new`` in the rows whose sequence has not ended, else ``old``."""
    running = b.compare(b.broadcast(index, lengths.shape, ()), lengths, "lt")
    return b.where(b.broadcast_first(running, new), new, old)
