"""Where a number that is not finite comes from: a step that gave one is done again, op by op, by the reference interpreter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphspec.engine import Engine
from graphspec.errors import SpecError, fail
from graphspec.ir.core import Op, Program
from graphspec.reference import interpret

Array = np.ndarray[Any, Any]

MADE = "look at what made the data: a logarithm of 0, a division by 0"
"""What helps where they are not finite."""


class Watched:
    """An engine that keeps what it is given until its results are seen to be finite; else E0711, at the first op that makes a number that
    is not."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.program = engine.program

    def run(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """What :meth:`Engine.run` gives, after its loss and the norm of its gradient were seen to be finite."""
        before = {name: self.engine.to_host(value) for name, value in arguments.items()}
        results = self.engine.run(arguments)
        for name in ("loss", "gradient_norm"):
            if name in results and not np.isfinite(self.engine.to_host(results[name])).all():
                raise find(self.program, before, f"the {name.replace('_', ' ')} is not finite")
        return results


def find(program: Program, arguments: Mapping[str, Array], message: str) -> SpecError:
    """The error that names the first op whose result is not finite though everything it reads is."""
    for name, value in arguments.items():
        if not _finite(value):
            return _given(program, name, np.asarray(value), message)
    try:
        with np.errstate(all="ignore"):
            interpret(program, arguments, _stop_at_first)
    except _Found as found:
        return _told(found, message)
    return fail("E0711", f"{message} on this device, but it is by the reference interpreter", helps=["try `--device reference`"])


def _given(program: Program, name: str, array: Array, message: str) -> SpecError:
    """The error for what was not finite before the step: an input comes from the data, anything else from an earlier step."""
    port, value = next((p, v) for p, v in zip(program.inputs, program.block.params, strict=True) if p.name == name)
    reader = next((op for op in program.block.walk() if value in op.inputs), None)
    if port.role != "input" or reader is None:
        return fail("E0711", f"{message}, because {name} is not before the step", helps=["an earlier step made it so"])
    place, number = _first(array)
    text = f"{message}, because what is read here is not: the data hold {number}{place}"
    return fail("E0711", text, reader.origin, "read here", helps=[MADE])


class _Found(Exception):
    def __init__(self, op: Op, inputs: Sequence[Array], outputs: Sequence[Array], steps: tuple[int, ...]) -> None:
        self.op, self.inputs, self.outputs, self.steps = op, inputs, outputs, steps


def _stop_at_first(op: Op, inputs: Sequence[Array], outputs: Sequence[Array], steps: tuple[int, ...]) -> None:
    if not all(map(_finite, outputs)):
        raise _Found(op, inputs, outputs, steps)


def _told(found: _Found, message: str) -> SpecError:
    output = next(a for a in found.outputs if not _finite(a))
    where, value = _first(output)
    count = int((~np.isfinite(output)).sum())
    notes = [f"{found.op.name} gives {value}{where}; {count:,} of {output.size:,} numbers are not finite"]
    ranges = [f"from {a.min():.4g} to {a.max():.4g}" for a in found.inputs if a.dtype.kind == "f" and a.size]
    if ranges:
        notes.append(f"what it reads is {', and '.join(ranges)}")
    if found.steps:
        notes.append(f"at time step {', '.join(str(t + 1) for t in found.steps)} of the scan")
    return fail("E0711", message, found.op.origin, "the first number that is not finite comes from here", notes=notes)


def _first(array: Array) -> tuple[str, float]:
    """Where the first number that is not finite is, counted from 1, and the number."""
    place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
    return f" at [{', '.join(str(i + 1) for i in place)}]" if place else "", float(array[place])


def _finite(array: Any) -> bool:
    return np.asarray(array).dtype.kind != "f" or bool(np.isfinite(array).all())
