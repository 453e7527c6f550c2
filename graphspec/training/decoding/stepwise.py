"""A model of sequences as one step ``{token, states} -> {log_p, states}``, and the proof that its steps give what it gives at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from graphspec.build import ExperimentSpec
from graphspec.errors import Origin, SpecError, fail
from graphspec.graph import Module, Record, initial_value, initial_values, new_module
from graphspec.ir.core import Port, Program, TensorType, tensor
from graphspec.lower import Lowering, Tree, flatten, unflatten
from graphspec.program import Typed, infer, leaves, lower_module, open_frame
from graphspec.reference import interpret
from graphspec.shapes.cells import Cell, Mismatch
from graphspec.shapes.infer import Use
from graphspec.sizes import Size, product
from graphspec.states import hand_in, handed_out, memories
from graphspec.training.step import set_up

Array = np.ndarray[Any, Any]
STEPS, ROWS = 3, 2
"""Of the sequences that a model is tried on."""
CLOSE = 1e-8
"""As far as what a model gives at once and step by step may be apart in float64, relative to the largest."""


class OneStep(Record):
    """The module that :func:`one_step` makes; a spec cannot name it."""

    name = "OneStep"
    doc = "one step of a model of sequences, with the states of its loops"

    def lower(self, b: Lowering, m: Module, x: Tree) -> Tree:
        token, states = b.items(x, 2)
        hand_in(b, m.args.memories, flatten(states))
        y = flatten(b.child("model", token))
        given = unflatten(m.args.outputs, [b.reshape(v, t.shape) for v, t in zip(y, leaves(m.args.outputs), strict=True)])
        return given, tuple(handed_out(b, m.args.memories))


_ONE_STEP = OneStep()


def one_step(spec: ExperimentSpec, typed: Typed) -> Typed | None:
    """``{token [B], states} -> {log_p [B, symbols], states}`` of a step that is ``typed`` as a model from tokens to log-probabilities: of
    sequences ``[T, B]`` (or ``[B, T]``), or of one symbol ``[B]`` for an nn.Sequencer to run.

    None if it is no such model; E0622 if it does not come out the same step by step.
    """
    model, dtype = typed.module, typed.dtype
    rank = _rank_under_loss(spec, model, dtype)
    if rank == 1 or (rank is None and typed.inputs.rank == 1):
        model = new_module("Sequencer", [model], model.origin)
    whole = typed if model is typed.module and typed.inputs.rank == 2 else infer(model, dtype, 2)
    log_p = leaves(whole.outputs)[0]
    fits = _is_of_tokens(whole) and isinstance(log_p, TensorType) and log_p.dtype == dtype and log_p.rank and log_p.shape[-1].value
    if not fits or product(log_p.shape[:-1]) != product(whole.inputs.shape):
        return None
    _try(infer(model, "float64", 2))
    return _Steps(whole).typed


def _is_of_tokens(typed: Typed) -> bool:
    return isinstance(typed.inputs, TensorType) and typed.inputs.dtype == "int32" and typed.inputs.rank == 2


def _rank_under_loss(spec: ExperimentSpec, model: Module, dtype: str) -> int | None:
    """How many axes the tokens have that the model reads where it is trained; None if it is not called there."""
    types = set_up(spec, dtype).typed.types
    ranks = [len(types.dims(use.x) or ()) for use in types.uses if use.module is model]
    return ranks[0] if ranks else None


class _Steps:
    """A model of sequences that is made to read one step."""

    def __init__(self, whole: Typed) -> None:
        types, shape = whole.types, whole.inputs.shape
        found = memories(whole)
        over = {types.resolve(memory.loop.trip) for memory in found}
        self.axis = next((axis for axis, n in enumerate(shape) if n in over), 0)
        """Which axis of the tokens is time: that over which a memory is carried."""
        time, self.rows = shape[self.axis], shape[1 - self.axis]
        if time.lone is None or self.rows.lone is None or time == self.rows:
            helps = ["sizes that vary are letters: `nn.Identity{'T', 'B', dtype = 'int32'}()`"]
            raise fail("E0622", "the experiment's step must take sequences of any length, and any number of them", whole.module.origin,
                       notes=[f"it reads {whole.inputs}"], helps=helps)  # fmt: skip
        kept = [memory for memory in found if types.resolve(memory.loop.trip) == time]
        self.time_letter = time.lone
        types.bindings[time.lone] = Size.const(1)
        for bound in types.open_bounds():
            if (short := (bound.right - bound.left).value) is not None and short < 0:
                raise _misfit("a sequence of one step is too short here", bound.origin)
        y, *more = leaves(whole.outputs)
        first = tensor([self.rows, y.shape[-1]], y.dtype)
        outputs = unflatten(whole.outputs, [first, *more])
        states = tuple(memory.type for memory in kept)
        module = Module(_ONE_STEP, SimpleNamespace(memories=kept, outputs=outputs), whole.module.origin)
        module.children = [whole.module]
        use = Use(module, Cell(), Cell(), whole.use.origin, subs={"model": whole.use})
        self.typed = resolved(replace(
            whole, module=module, use=use, inputs=(tensor([self.rows], "int32"), states), outputs=(outputs, states),
        ))  # fmt: skip


def resolved(typed: Typed) -> Typed:
    """With the sizes in its types as they have become known since."""

    def known(tree: Any) -> Any:
        return unflatten(tree, [t.with_shape([typed.types.resolve(n) for n in t.shape]) for t in leaves(tree)])

    return replace(typed, inputs=known(typed.inputs), outputs=known(typed.outputs))


# -- the proof -------------------------------------------------------------------------------------------------------------------


def _try(whole: Typed) -> None:
    """E0622 at the first module that gives something else when it is not given the whole sequence.  What is drawn is not compared."""
    uses = {f"use {number}": use for number, use in enumerate(_outside(whole.use))}
    watched = {id(use): name for name, use in uses.items()}
    at_once = _program(whole, watched)
    types = {port.name: v.type for port, v in zip(at_once.outputs, at_once.block.results, strict=True)}
    steps = _Steps(whole)
    single = _program(steps.typed, watched)
    if any(op.name == "random" for op in at_once.block.walk()):
        return
    fixed, symbols = _fixed(whole), leaves(whole.outputs)[0].shape[-1].evaluate({})
    tokens = np.random.default_rng(1).integers(1, symbols + 1, (STEPS, ROWS)).astype(np.int32)
    tokens = tokens if steps.axis == 0 else tokens.T
    wanted = interpret(at_once, {"input": tokens, **fixed})
    state = [np.zeros([n.evaluate({str(steps.rows): ROWS}) for n in t.shape], t.dtype) for t in steps.typed.inputs[1]]
    found = []
    for t in range(STEPS):
        names = zip(steps.typed.input_names[1:], state, strict=True)
        found.append(interpret(single, {"input.1": tokens.take(t, steps.axis), **dict(names), **fixed}))
        state = [found[-1][f"state {number}"] for number in range(len(state))]
    for name, whole_value in wanted.items():
        axes = [axis for axis, n in enumerate(types[name].shape) if steps.time_letter in n.letters]
        if name == "log_p":
            whole_value, axis = whole_value.reshape(*tokens.shape, symbols), steps.axis
        elif len(axes) == 1 and types[name].shape[axes[0]].lone == steps.time_letter:
            axis = axes[0]
        else:
            continue
        parts = (whole_value.take(t, axis) for t in range(STEPS))
        if any(not _close(part, one[name].reshape(part.shape)) for part, one in zip(parts, found, strict=True)):
            raise _not_alike(uses.get(name.partition("[")[0], whole.use))


def _outside(use: Use) -> Iterator[Use]:
    """The uses inside a use that are in no loop."""
    for sub in use.subs.values() if use.module is None or not use.module.record.loops else ():
        yield sub
        yield from _outside(sub)


def _program(typed: Typed, watched: dict[int, str]) -> Program:
    """A model, or a step of it: what its uses give, in order, then ``log_p``, and its states."""
    frame, x = open_frame(typed, training=False)
    frame.b.session.watched = watched
    try:
        y = lower_module(frame, x)
    except Mismatch:
        raise _misfit("a sequence of one step is too short here", frame.b.use.origin) from None
    given, states = frame.b.items(y, 2) if typed.module.record is _ONE_STEP else (y, ())
    results = {**frame.b.scope.captured, "log_p": flatten(given)[0], **{f"state {n}": v for n, v in enumerate(flatten(states))}}
    return frame.finish("try", [(Port(name, "output"), v) for name, v in results.items()])


def _fixed(whole: Typed) -> dict[str, Array]:
    """Parameters and all else that is the same for all steps; parameters are moved from where they begin, which may be at zero."""
    order = whole.module.all_parameters()
    flat = initial_values(order, 1, "float64")
    flat += np.random.default_rng(2).normal(0, 0.1, flat.shape)
    buffers = {p.name: initial_value(p, 1, "float64") for p in whole.module.all_parameters(buffers=True)}
    return {"parameters": flat, **buffers, "seed": np.asarray(1), "step": np.asarray(1)}


def _close(a: Array, b: Array) -> bool:
    return bool(np.allclose(a, b, rtol=0, atol=CLOSE * max(1.0, float(np.abs(a).max(initial=0))), equal_nan=True))


def _not_alike(use: Use) -> SpecError:
    assert use.module is not None
    name = use.module.record.name
    return _misfit(f"nn.{name} gives for a sequence something else than for one step after the other", use.origin)


def _misfit(text: str, origin: Origin) -> SpecError:
    return fail(
        "E0622", text, origin, notes=["to generate, the experiment's step, which reads whole sequences, is run symbol by symbol"],
        helps=["only what a loop carries forwards goes from step to step: that of an nn.SeqLSTM, an nn.Sequencer, an nn.Scan ..."],
    )  # fmt: skip
