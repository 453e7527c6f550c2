"""What records that run a module over time share: how a stack of values is typed, and one loop in the IR."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from graphspec.errors import SpecError
from graphspec.ir.core import Value
from graphspec.lower import Answers, Draw, Lowering, Scope
from graphspec.shapes.cells import Cell
from graphspec.shapes.infer import Types, Use
from graphspec.sizes import Size, SizeLike, size

Values = list[Value]
Step = Callable[[Lowering, Value, Values, Values, Values], tuple[Values, Values]]
"""``step(b, index, consts, carries, xs) -> (carries, ys)``, built in the loop's body; ``b`` is at the use that is looped."""


@dataclass(frozen=True)
class Ran:
    """A loop over time as it was lowered, for those who look at one step of it."""

    around: Use
    """Of the module that loops."""
    use: Use
    """Of what it loops over."""
    step: Step
    trip: Size
    reverse: bool
    consts: Values
    carries: Values
    xs: Values
    owners: Sequence[int]
    """For each carry the id of the use whose state it is."""
    lengths: int | None
    """Which of the consts says how many steps each row has."""


def stacked(s: Types, stack: Cell, one: Cell, trip: Size) -> None:
    """State that ``stack`` is ``one`` with a leading axis of ``trip``, leaf by leaf."""
    for a, b in ((stack, one), (one, stack)):
        items = s.find(a).items
        if items is not None:
            for left, right in zip(items, s.table(b, len(items)), strict=True):
                stacked(s, *((left, right) if a is stack else (right, left)), trip)
            return
    for a, b in ((stack, one), (one, stack)):
        if s.find(a).dtype is not None:
            s.set(b, dtype=s.find(a).dtype)
    dims = s.dims(one)
    if dims is not None:
        s.set(stack, [trip, *dims])
    else:
        dims = s.dims(stack)
        if dims is not None:
            if not dims:
                raise SpecError(s.explain("E0302", f"nn.{s.current.module.record.name if s.current.module else 'Scan'}: "
                                          f"xs has no time axis", f"{s.show(stack)}"))
            s.equate(dims[0], trip, 0)
            s.set(one, dims[1:])


def over_time(
    b: Lowering, use: Use, trip: SizeLike, step: Step, consts: Sequence[Value], carries: Sequence[Value], xs: Sequence[Value],
    reverse: bool = False, owners: Sequence[int] | None = None, lengths: int | None = None,
) -> tuple[Values, Values]:  # fmt: skip
    """The module of ``use`` once for each of ``trip`` steps, as one loop (a single step needs none); returns the last carries and the
    stacks of ys.

    What the module needs from outside goes along: parameters, random counters and steady buffers as consts, running statistics as
    carries, injected noise as xs; values of nodes that were asked for by name come out as stacks, what is minimised beside the outputs,
    the logarithms of what was drawn and the numbers of right answers as sums.
    """
    assert use.module is not None
    scope = b.scope
    handed = scope.handed.get(id(use), {})
    carries = [handed.get(number, v) for number, v in enumerate(carries)]
    inside = list(use.module.walk())
    parameters = {id(p): scope.parameters[id(p)] for m in inside for p in m.parameters.values()}
    buffers = {id(p): scope.buffers[id(p)] for m in inside for p in m.buffers.values()}
    counters = [v for v in (scope.seed, scope.step) if v is not None]
    noise = {name: v for name, v in scope.noise.items() if _inside(b, name)}
    moving = buffers if b.session.training else {}
    kept = {} if b.session.training else buffers
    captured: list[str] = []
    counts: list[int] = []
    draws: list[Draw] = []
    answers: list[Answers] = []
    title = ""
    if b.session.loops is not None and not scope.indices:
        title = f"loop {len(b.session.loops)}"
        mine = owners if owners is not None else [id(b.use)] * len(carries)
        b.session.loops.append(Ran(b.use, use, step, size(trip), reverse, list(consts), list(carries), list(xs), mine, lengths))
        scope.captured |= {f"{title} const {i}": v for i, v in enumerate(consts)} | {f"{title} x {i}": v for i, v in enumerate(xs)}

    def body(builder: Any, index: Value, inner_consts: Values, inner_carries: Values, slices: Values) -> Any:
        const, carry, piece = iter(inner_consts), iter(inner_carries), iter(slices)
        inner = Scope(
            parameters={key: next(const) for key in parameters},
            buffers={key: next(const) for key in kept},
            seed=next(const) if scope.seed is not None else None,
            step=next(const) if scope.step is not None else None,
            indices=[next(const) for _ in scope.indices] + [index],
        )
        own = [next(carry) for _ in carries]
        inner.buffers.update({key: next(carry) for key in moving})
        x = [next(piece) for _ in xs]
        inner.noise = {name: next(piece) for name in noise}
        if title:
            inner.captured |= {f"{title} carry {i}": v for i, v in enumerate(own)}
        new, ys = step(b.inner(builder, use, inner), index, list(const), own, x)
        counts.append(len(ys))
        captured.extend(inner.captured)
        draws.extend(inner.draws)
        answers.extend(inner.answers)
        judged = [v for answer in inner.answers for v in (answer.right, answer.counted)]
        summed = [builder.reduce_sum(v, range(v.type.rank)) for v in (*judged, *inner.terms)]
        sums = [*(draw.log_probability for draw in inner.draws), *summed]
        return [*new, *(inner.buffers[key] for key in moving)], [*ys, *inner.captured.values()], sums

    shared = [*parameters.values(), *kept.values(), *counters, *scope.indices, *consts]
    begun, pieces = [*carries, *moving.values()], [*xs, *noise.values()]
    if size(trip).value == 1:
        last, ys, sums = body(b, b.full(0, (), "int32"), shared, begun, [b.select(v, 0, 0) for v in pieces])
        ys = [b.unsqueeze(v, 0) for v in ys]
    else:
        last, ys, sums = b.scan(trip, shared, begun, pieces, body, reverse=reverse)
    handed.update({number: b.reshape(last[number], carries[number].shape) for number in handed})
    for key, value in zip(moving, last[len(carries) :], strict=True):
        scope.buffers[key] = value
    scope.captured.update(zip(captured, ys[counts[0] :], strict=True))
    scope.draws += [replace(draw, log_probability=total) for draw, total in zip(draws, sums, strict=False)]
    judged, terms = sums[len(draws) :][: 2 * len(answers)], sums[len(draws) + 2 * len(answers) :]
    scope.answers += [Answers(right, counted, None) for right, counted in zip(judged[::2], judged[1::2], strict=True)]
    scope.terms += terms
    return last[: len(carries)], ys[: counts[0]]


def _inside(b: Lowering, name: str) -> bool:
    """Whether the node of that name is in the module being lowered (noise for it then has a leading time axis)."""
    where = next(path for path, title in b.session.node_names.items() if title == name)
    return where[: len(b.path)] == b.path
