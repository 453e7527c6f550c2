"""The states of a model's loops over time, handed in and out: what its loops would begin with zeros comes from elsewhere.

A carry of a loop that begins with zeros is a memory, whichever module loops (nn.SeqLSTM, nn.Sequencer, nn.Scan without s0 ...): what is
left in it after one part of a sequence is what the next part begins with.  So a model of whole sequences makes one step (``sample``), and
a training step goes on where the last batch ended (``remember``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from graphspec.errors import Diagnostic, error
from graphspec.ir.core import TensorType, Value
from graphspec.lower import Lowering
from graphspec.nn.loop import Ran
from graphspec.nn.sequence import memory_of
from graphspec.program import Frame, Typed, lower_module, open_frame
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


def unkept(typed: Typed) -> list[Diagnostic]:
    """A warning for each module of a model that was told to remember: who calls the model keeps nothing from call to call."""
    told = [use for use in typed.types.uses if memory_of(use.module) != "neither"]
    return merge_repeats([_unkept(use) for use in told])


def _unkept(use: Use) -> Diagnostic:
    assert use.module is not None
    text = f"nn.{use.module.record.name} remembers nothing here: each call of a model begins with zeros"
    helps = ["an experiment keeps what it leaves from batch to batch; a state of your own goes in and out: `nn.Scan(cell){xs = x, s0 = s}`"]
    return error("W0309", text, use.origin, severity="warning", helps=helps)


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
