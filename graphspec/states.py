"""The states of a model's loops over time, handed in and out: what its loops would begin with zeros comes from elsewhere.

A carry of a loop that begins with zeros is a memory, whichever module loops (nn.SeqLSTM, nn.Sequencer, nn.Scan without s0 ...): what is
left in it after one part of a sequence is what the next part begins with.  So a model of whole sequences makes one step (``sample``), and
a training step goes on where the last batch ended (``remember``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from graphspec.errors import Diagnostic, error
from graphspec.ir.core import TensorType, Value
from graphspec.lower import Lowering
from graphspec.nn.loop import Ran
from graphspec.nn.sequence import memory_of
from graphspec.program import Frame, Typed, assumptions, lower_module, open_frame
from graphspec.shapes.infer import Use, merge_repeats


@dataclass(frozen=True)
class Memory:
    """A carry that begins with zeros, of a loop that runs forwards and is in no other."""

    loop: Ran
    number: int
    type: TensorType


def lowered(typed: Typed, watched: Mapping[int, str]) -> tuple[Frame, list[Ran]]:
    """The model's program in evaluation, with the values of these uses among what is captured, and the loops that it has."""
    frame, x = open_frame(typed, training=False)
    frame.b.session.loops, frame.b.session.watched = [], watched
    lower_module(frame, x)
    return frame, frame.b.session.loops


def memories(typed: Typed) -> list[Memory]:
    """All memories of a model, in order."""
    _, loops = lowered(typed, {})
    return [Memory(loop, n, v.type) for loop in loops if not loop.reverse for n, v in enumerate(loop.carries) if _begins_with_zeros(v)]


def _begins_with_zeros(value: Value) -> bool:
    return value.op is not None and value.op.name == "full" and value.op.attrs["value"] == 0


def remembered(typed: Typed) -> dict[str, Memory]:
    """Those of modules that were told to remember, by the names of a program's inputs for them."""
    if all(memory_of(use.module) == "neither" for use in typed.types.uses):
        return {}
    found = [memory for memory in memories(typed) if memory_of(memory.loop.around.module) != "neither"]
    return {f"memory.{number}": memory for number, memory in enumerate(found, 1)}


def warnings_of(typed: Typed, trained: bool) -> list[Diagnostic]:
    """All that is told of a model before it runs: what inference assumed, and each module that was told to remember in vain.

    Who calls a model keeps nothing from call to call.  An experiment (``trained``) keeps what its loops leave, but not that of a loop
    inside another one, which begins anew with each step of that.
    """
    if trained:
        why = "it is inside a loop, each step of which begins it with zeros"
        helps = ["in the cell of a loop the state is the cell's: it goes in and out of it, `{x, prev_s} -> {y, next_s}` for `nn.Scan`"]
    else:
        why = "each call of a model begins with zeros"
        instead = "an experiment keeps what it leaves from batch to batch"
        helps = [f"{instead}; a state of your own goes in and out: `nn.Scan(cell){{xs = x, s0 = s}}`"]
    told = [
        error("W0309", f"nn.{use.module.record.name} remembers nothing here: {why}", use.origin, severity="warning", helps=helps)
        for use in (_looped(typed.use) if trained else typed.types.uses)
        if use.module is not None and memory_of(use.module) != "neither"
    ]
    return [*assumptions(typed), *merge_repeats(told)]


def _looped(use: Use, inside: bool = False) -> Iterator[Use]:
    """The uses that are in a loop over time."""
    if inside:
        yield use
    for sub in use.subs.values():
        yield from _looped(sub, inside or (use.module is not None and use.module.record.loops))


def kept(memory: Memory, training: bool) -> bool:
    """Whether it is kept from batch to batch, in training or in evaluation."""
    return memory_of(memory.loop.around.module) in ("both", "train" if training else "eval")


def hand_in(b: Lowering, found: Iterable[Memory], values: Iterable[Value]) -> None:
    """Before the model is lowered: what its memories hold."""
    for memory, value in zip(found, values, strict=True):
        b.scope.handed.setdefault(id(memory.loop.use), {})[memory.number] = value


def handed_out(b: Lowering, found: Iterable[Memory]) -> list[Value]:
    """After the model was lowered: what is left in its memories."""
    return [b.scope.handed[id(memory.loop.use)][memory.number] for memory in found]
