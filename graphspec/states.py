"""The states of a model's loops over time, handed in and out: what its loops would begin with zeros comes from elsewhere.

A carry of a loop that begins with zeros is a memory, whichever module loops (nn.SeqLSTM, nn.Sequencer, nn.Scan without s0 ...): what is
left in it after one part of a sequence is what the next part begins with.  So a model of whole sequences makes one step (``sample``), and
a training step goes on where the last batch ended (``remember``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graphspec.ir.core import TensorType, Value
from graphspec.lower import Lowering
from graphspec.nn.loop import Ran
from graphspec.program import Frame, Typed, lower_module, open_frame


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


def hand_in(b: Lowering, found: Sequence[Memory], values: Sequence[Value]) -> None:
    """Before the model is lowered: what its memories hold."""
    for memory, value in zip(found, values, strict=True):
        b.scope.handed.setdefault(id(memory.loop.use), {})[memory.number] = value


def handed_out(b: Lowering, found: Sequence[Memory]) -> list[Value]:
    """After the model was lowered: what is left in its memories."""
    return [b.scope.handed[id(memory.loop.use)][memory.number] for memory in found]
