"""The loops of decoding, as IR: a scan over the steps of a chunk, whose body is the experiment's own step.

Between the steps of a chunk there is nothing but the program.  What goes from one chunk to the next (token, state, scores) are inputs
and results; the number of the step, on which random numbers hang, is an input too, so that the length of a chunk changes nothing.
Minus infinity is ``LOWEST``: a number, so that no NaN comes up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphspec.ir.builder import Builder
from graphspec.ir.core import Port, Program, TensorType, Value, inverse, tensor
from graphspec.lower import Lowering, Scope, flatten, unflatten
from graphspec.program import open_frame
from graphspec.sizes import Size
from graphspec.training.decoding.model import StepModel, is_shared

LOWEST = -1e30
"""In place of minus infinity: the score of an empty place in a beam.  Continuations that are ruled out score twice as much below zero."""

CHUNK = Size.letter("CHUNK")
RANKS = Size.letter("RANKS")

Step = Callable[[Lowering, Value, Sequence[Value]], tuple[Value, list[Value], list[Value]]]
"""``step(b, token, state) -> (log_p, extras, state)`` inside a body."""

Body = Callable[[Lowering, Step, Sequence[Value], Sequence[Value], Sequence[Value]], tuple[list[Value], list[Value]]]
"""``body(b, step, consts, carries, xs) -> (carries, ys)``; the first x is the number of the step."""


def _loop(
    model: StepModel, name: str, carries: dict[str, TensorType], ys: Sequence[str], body: Body,
    consts: dict[str, TensorType] | None = None, xs: dict[str, TensorType] | None = None,
) -> Program:  # fmt: skip
    """A program that runs ``body`` for a chunk of steps.

    Its inputs are those of the step, ``consts``, the first values of ``carries`` (token and state are carried too), ``turns`` (int32
    ``[CHUNK]``) and ``xs`` (``[CHUNK, ...]``); its results ``new <carry>`` and the stacks ``ys``.
    """
    frame, given = open_frame(model.typed, training=False)
    b, scope = frame.b, frame.b.scope
    token, *rest = flatten(given)
    state, context = rest[: len(model.state)], rest[len(model.state) :]
    fixed = [frame.input(key, t, "input") for key, t in (consts or {}).items()]
    first = [frame.input(key, t, "input") for key, t in carries.items()]
    stacks = [frame.input(key, t, "input") for key, t in {"turns": tensor([CHUNK], "int32"), **(xs or {})}.items()]
    parameters, buffers = list(scope.parameters.items()), list(scope.buffers.items())
    assert scope.seed is not None and scope.step is not None
    shared = [*(v for _, v in parameters), *(v for _, v in buffers), scope.seed, scope.step]

    def inside(builder: Any, index: Value, outer: list[Value], old: list[Value], now: list[Value]) -> Any:
        supply = iter(outer)
        inner = Scope({key: next(supply) for key, _ in parameters}, {key: next(supply) for key, _ in buffers})
        inner.seed, inner.step, inner.indices = next(supply), next(supply), [now[0]]
        step_context = [next(supply) for _ in context]
        cell = b.inner(builder, model.typed.use, inner)

        def step(cell: Lowering, token: Value, state: Sequence[Value]) -> tuple[Value, list[Value], list[Value]]:
            context = [unflatten(model.typed.inputs[2], step_context)] if model.has_context else []
            result = cell.run_cell((token, unflatten(model.typed.inputs[1], state), *context))
            assert isinstance(result, tuple)
            y, following = result
            log_p, *extras = flatten(y)
            kept = [cell.reshape(v, t.shape) for v, t in zip(flatten(following), model.state, strict=True)]
            return log_p, extras, kept

        new, stacked = body(cell, step, list(supply), old, now)
        return new, stacked, []

    last, stacked, _ = b.scan(CHUNK, [*shared, *context, *fixed], [token, *state, *first], stacks, inside)
    names = [*model.typed.input_names[: 1 + len(model.state)], *carries]
    outputs = [(Port(f"new {key}", "output"), v) for key, v in zip(names, last, strict=True)]
    outputs += [(Port(key, "output"), v) for key, v in zip(ys, stacked, strict=True)]
    return frame.finish(name, outputs)


def extra_names(model: StepModel) -> list[str]:
    return [f"extra.{i}" for i in range(1, len(model.extras) + 1)]


# -- forcing ---------------------------------------------------------------------------------------------------------------------


def force_program(model: StepModel) -> Program:
    """Given symbols instead of chosen ones: ``tokens`` and ``targets`` int32 ``[CHUNK, rows]``; ``log_p [CHUNK, rows]`` of the targets, 0
    where a target is 0."""

    def body(b: Lowering, step: Step, consts: Sequence[Value], carries: Sequence[Value], xs: Sequence[Value]) -> Any:
        old, state = carries[0], carries[1:]
        _, token, target = xs
        log_p, _, following = step(b, token, state)
        place = b.maximum(b.sub(target, b.full_like(target, 1)), b.full_like(target, 0))
        picked = b.pick(log_p, place)
        counts = b.compare(target, b.full_like(target, 0), "gt")
        return [old, *following], [b.where(counts, picked, b.full_like(picked, 0))]

    rows = tensor([CHUNK, model.rows], "int32")
    return _loop(model, "force", {}, ["log_p"], body, xs={"tokens": rows, "targets": rows})


# -- drawing ---------------------------------------------------------------------------------------------------------------------


def draw_program(model: StepModel, stop: int | None, sampled: bool, limited: bool) -> Program:
    """One symbol after the other, each fed to the next step: ``symbols`` int32 and ``log_p`` (as the model says), ``[CHUNK, rows]``.

    The likeliest, or ``sampled``: drawn from ``softmax(log_p / temperature)`` by the Gumbel trick.  ``limited`` keeps only as many of the
    likeliest as ``nucleus`` is long (top-k; Fan, Lewis and Dauphin, 2018), and of these each that the likelier ones leave less than its
    element of ``nucleus`` of the probability (top-p; Holtzman et al., 2019).  A row that has given the ``stop`` symbol goes on giving it,
    at no cost.
    """

    def body(b: Lowering, step: Step, consts: Sequence[Value], carries: Sequence[Value], xs: Sequence[Value]) -> Any:
        token, *state = carries[: 1 + len(model.state)]
        log_p, extras, following = step(b, token, state)
        best = _drawn(b, log_p, *consts) if sampled else b.argmax(log_p)
        gain, symbol = b.pick(log_p, best), b.add(best, b.full_like(best, 1))
        if stop is None:
            return [symbol, *following], [symbol, gain, *extras]
        ended = carries[-1]
        last = b.full_like(symbol, stop)
        symbol = b.where(ended, last, symbol)
        gain = b.where(ended, b.full_like(gain, 0), gain)
        return [symbol, *following, b.compare(symbol, last, "eq")], [symbol, gain, *extras]

    dtype = model.typed.dtype
    consts = {"temperature": tensor([], dtype)} if sampled else {}
    if limited:
        consts["nucleus"] = tensor([RANKS], dtype)
    ended = {} if stop is None else {"ended": tensor([model.rows], "bool")}
    return _loop(model, "draw", ended, ["symbols", "log_p", *extra_names(model)], body, consts)


def _drawn(b: Lowering, log_p: Value, temperature: Value, nucleus: Value | None = None) -> Value:
    """Positions ``[rows]`` of symbols drawn from ``log_p [rows, symbols]``."""
    x = b.sub(log_p, b.broadcast_first(b.reduce_max(log_p, [1]), log_p))
    x = b.div(x, b.broadcast(temperature, x.shape, ()))
    if nucleus is None:
        return b.argmax(b.add(x, gumbel(b, b.draw("uniform", x.shape))))
    x, symbols = b.top_k(x, RANKS)
    e = b.exp(x)
    p = b.div(e, b.broadcast_first(b.reduce_sum(e, [1]), e))
    inside = b.compare(b.sub(b.cumsum(p), p), b.broadcast_last(nucleus, p), "lt")
    x = b.where(inside, b.add(x, gumbel(b, b.draw("uniform", x.shape))), b.full_like(x, LOWEST))
    return b.pick(symbols, b.argmax(x))


def gumbel(b: Builder, uniform: Value) -> Value:
    """Gumbel's noise, ``-log(-log(1 - u))``, from multiples of 2^-24 in [0, 1).  Half a multiple more keeps it from infinity, and float32
    from the 1 to which it would round the largest: infinite noise draws a symbol, or never draws it, however likely it is."""
    inside = b.minimum(b.shift_by(uniform, 2.0**-25), b.full_like(uniform, 1 - 2.0**-24))
    return b.neg(b.log(b.neg(b.log1p(b.neg(inside)))))


# -- beam search -----------------------------------------------------------------------------------------------------------------

POOL = ("pool score", "pool turn", "pool parent", "pool log_p")
"""What is known of each hypothesis that was set aside, best first: its score (2 * LOWEST: there is none), the step at which it ended, the
live hypothesis that it ended from, its sum."""


def beam_program(model: StepModel, width: int, stop: int | None) -> Program:
    """Beam search (Sutskever, Vinyals and Le, 2014), all sentences at once.

    At each step, of all continuations of the ``width`` live hypotheses of a sentence the 2 * width best by summed log-probability are
    taken (of equals the lower hypothesis, then the lower symbol).  Those of the first ``width`` that are the ``stop`` symbol end: they
    are set aside with their sum over ``divisor`` as score (length normalisation; Wu et al., 2016).  The first ``width`` that do not end
    live on.  Of what was set aside the best ``width`` are kept, of equals the earlier.  A sentence is done when there are so many, and
    none can be displaced any more: a live hypothesis only loses, and its sum over ``longest``, the divisor of the last step, would be
    no more than the least score that is kept.  (To be done with the first ``width`` would prefer what is short and wrong: in a good
    model much that is unlikely ends early.)  With a width of 1 and divisors of 1 this takes the likeliest symbol at each step.

    Carries: ``scores [sentences, width]`` (0 and LOWEST at first), ``going`` (until it is done), ``POOL``.  Stacks: ``symbols`` (from 1)
    and ``parents`` (from 0) of the live hypotheses, and the extras of their parents.
    """
    n, v, taken = model.sentences, model.symbols, min(2, model.symbols) * width
    live, dtype = tensor([n, width], model.typed.dtype), model.typed.dtype
    whole = tensor([n, width], "int32")

    def body(b: Lowering, step: Step, consts: Sequence[Value], carries: Sequence[Value], xs: Sequence[Value]) -> Any:
        token, *state = carries[: 1 + len(model.state)]
        scores, going, *pool = carries[1 + len(model.state) :]
        turn, divisor = xs
        log_p, extras, following = step(b, token, state)
        totals = b.add(b.reshape(log_p, (n, width, v)), b.broadcast(scores, (n, width, v), (0, 1)))
        values, positions = b.top_k(b.reshape(totals, (n, width * v)), taken)
        parents = _quotient(b, positions, v)
        symbols = b.sub(positions, b.mul(parents, b.full_like(parents, v)))
        ends = b.compare(symbols, b.full_like(symbols, -1 if stop is None else stop - 1), "eq")

        ended, origin, ending = (b.slice(t, 1, 0, width) for t in (values, parents, ends))
        ending = b.logical(ending, b.compare(ended, b.full_like(ended, LOWEST), "gt"), "and")
        ending = b.logical(ending, b.broadcast_first(going, ending), "and")
        score = b.where(ending, b.div(ended, b.broadcast(divisor, ended.shape, ())), b.full_like(ended, 2 * LOWEST))
        fresh = (b.broadcast(turn, origin.shape, ()), origin, ended)
        best, order = b.top_k(b.concat([pool[0], score], 1), width)
        pool = [best, *(_picked(b, b.concat([old, new], 1), order) for old, new in zip(pool[1:], fresh, strict=True))]

        scores, order = b.top_k(b.where(ends, b.full_like(values, 2 * LOWEST), values), width)
        scores = b.maximum(scores, b.full_like(scores, LOWEST))
        parents, symbols = _picked(b, parents, order), _picked(b, symbols, order)
        symbols = b.add(symbols, b.full_like(symbols, 1))
        hope = b.select(scores, 1, 0)
        hope = b.div(hope, b.broadcast(consts[0], hope.shape, ()))
        going = b.logical(going, b.compare(b.select(best, 1, width - 1), hope, "lt"), "and")
        first = b.mul(b.cast(b.iota(n), "int32"), b.full(width, (n,), "int32"))
        rows = b.reshape(b.add(parents, b.broadcast_first(first, parents)), (model.rows,))
        pairs = zip(following, model.state, strict=True)
        kept = [leaf if is_shared(t) else _gathered(b, leaf, rows, model.batch_axis(t)) for leaf, t in pairs]
        return [b.reshape(symbols, (model.rows,)), *kept, scores, going, *pool], [symbols, parents, *extras]

    carries = {"scores": live, "going": tensor([n], "bool"), **dict(zip(POOL, (live, whole, whole, live), strict=True))}
    names = ["symbols", "parents", *extra_names(model)]
    return _loop(model, "beam", carries, names, body, {"longest": tensor([], dtype)}, {"divisor": tensor([CHUNK], dtype)})


def _quotient(b: Lowering, x: Value, n: int) -> Value:
    """``x // n`` of whole numbers: a float64 holds each, and its quotient never reaches the next whole number."""
    x64 = b.cast(x, "float64")
    return b.cast(b.div(x64, b.full_like(x64, n)), x.dtype)


def _picked(b: Lowering, x: Value, positions: Value) -> Value:
    """``x [n, m]`` at ``positions [n, k]``: ``[n, k]``."""
    n, k = positions.shape
    return b.pick(b.broadcast(x, (n, k, x.shape[1]), (0, 2)), positions)


def _gathered(b: Lowering, leaf: Value, rows: Value, axis: int) -> Value:
    """The rows of a leaf in another order."""
    order = [axis, *(i for i in range(leaf.type.rank) if i != axis)]
    moved = b.gather(b.transpose(leaf, order), rows)
    return b.transpose(moved, inverse(order))

