"""The Plan: a program as plain data, ready to be executed for any binding of its size letters.

A plan is a list of instructions and loops over *views* of *buffers*.  All sizes, offsets and strides are :data:`Expr`
(polynomials over the size letters) and count elements, so one plan serves every T and B.  Buffers that live in the arena
have lifetimes; the runtime gives them offsets when the letters are bound.  ``to_json``/``from_json`` are inverse.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from graphspec_runtime.errors import PlanError

FORMAT = 1

Term = tuple[int, tuple[tuple[str, int], ...]]
"""A factor and the letters it multiplies, each with its power."""

Expr = int | tuple[Term, ...]
"""A size: a number, or the sum of its terms."""


def evaluate(expr: Expr, sizes: Mapping[str, int]) -> int:
    """The number for a binding of the letters."""
    if isinstance(expr, int):
        return expr
    total = 0
    for factor, letters in expr:
        for name, power in letters:
            factor *= sizes[name] ** power
        total += factor
    return total


def letters_of(expr: Expr) -> set[str]:
    return set() if isinstance(expr, int) else {name for _, letters in expr for name, _ in letters}


def show(expr: Expr) -> str:
    """``2*B*T + 1``."""
    if isinstance(expr, int):
        return str(expr)
    text = ""
    for factor, letters in sorted(expr, key=lambda term: (-sum(power for _, power in term[1]), term[1])):
        names = [name if power == 1 else f"{name}^{power}" for name, power in letters]
        body = "*".join(([str(abs(factor))] if abs(factor) != 1 or not names else []) + names)
        text += (f" {'-' if factor < 0 else '+'} " if text else "-" if factor < 0 else "") + body
    return text or "0"


@dataclass(frozen=True)
class Buffer:
    """``size`` elements of memory.

    ``argument``: bound by the caller.  ``arena``: alive from instruction ``first`` to ``last`` (both included; instructions are
    counted through the loops' bodies, a loop counts as one span for what lives outside it), its offset assigned at bind.
    ``constant``: one element holding ``value`` (an Expr where it is a size).
    """

    name: str
    dtype: str
    size: Expr
    kind: Literal["argument", "arena", "constant"]
    first: int = 0
    last: int = 0
    value: float | Expr | None = None


@dataclass(frozen=True)
class View:
    """A strided window into a buffer; offset and strides in elements.  In turn t of loop L, the offset grows by ``t * steps[L]``."""

    buffer: int
    offset: Expr
    shape: tuple[Expr, ...]
    strides: tuple[Expr, ...]
    steps: tuple[tuple[int, Expr], ...] = ()


@dataclass(frozen=True)
class Instruction:
    """One kernel call.  ``origin`` indexes :attr:`Plan.origins`; ``serial`` is its number in the lifetimes' count.

    Outputs never overlap inputs, except that an output of a pointwise kernel may be exactly one of its inputs.
    ``accumulate`` in ``attrs`` means that the result is added to what the output holds; ``origins``, that it does what several places ask
    for, and ``work``, how much of it each does.
    """

    kernel: str
    inputs: tuple[View, ...]
    outputs: tuple[View, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    origin: int = -1
    serial: int = 0


@dataclass(frozen=True)
class Loop:
    """``body`` for t = 0 .. trip-1, or trip-1 .. 0 when ``reverse``.

    ``rows``: so many rows that do not depend on each other, on the first axis of every instruction; any of them can go through all turns
    by themselves.
    """

    id: int
    trip: Expr
    reverse: bool
    body: tuple[Instruction | Loop, ...]
    origin: int = -1
    rows: Expr | None = None


@dataclass(frozen=True)
class Argument:
    """What the caller binds.  A ``resident`` one (parameters, states) is used where it lies, others are copied in at each run;
    a ``donated`` one is overwritten by an output."""

    name: str
    role: str
    buffer: int
    shape: tuple[Expr, ...]
    resident: bool
    donated: bool


@dataclass(frozen=True)
class Output:
    """A result; ``updates`` names the argument that it is the new value of (and in whose memory it lies)."""

    name: str
    role: str
    view: View
    updates: str | None = None


@dataclass(frozen=True)
class Guard:
    """Two sizes that must be equal (or ``left`` at most ``right``) once the letters are bound."""

    left: Expr
    right: Expr
    message: str
    origin: int = -1
    at_most: bool = False


@dataclass(frozen=True)
class Plan:
    name: str
    letters: tuple[str, ...]
    buffers: tuple[Buffer, ...]
    arguments: tuple[Argument, ...]
    outputs: tuple[Output, ...]
    code: tuple[Instruction | Loop, ...]
    guards: tuple[Guard, ...]
    origins: tuple[str, ...]
    sources: Mapping[str, str] = field(default_factory=dict)
    """The plan in languages that devices compile, by the language's name."""

    def origin(self, index: int) -> str:
        return self.origins[index] if index >= 0 else ""

    def origins_of(self, step: Instruction) -> tuple[str, ...]:
        """Where all that an instruction computes was made: several places for a fused kernel."""
        found = step.attrs.get("origins") or ((step.origin,) if step.origin >= 0 else ())
        return tuple(self.origins[i] for i in found)

    def walk(self) -> Iterator[tuple[Instruction, tuple[Loop, ...]]]:
        """Every instruction with the loops around it, outermost first."""
        yield from walk(self.code)

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "name": self.name,
            "letters": list(self.letters),
            "buffers": [{**vars(b), "value": _number_to_json(b.value)} for b in self.buffers],
            "arguments": [vars(a) for a in self.arguments],
            "outputs": [{**vars(o), "view": _view_to_json(o.view)} for o in self.outputs],
            "code": [_step_to_json(step) for step in self.code],
            "guards": [vars(g) for g in self.guards],
            "origins": list(self.origins),
            "sources": dict(self.sources),
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Plan:
        """The plan that ``to_json`` wrote (also after a trip through JSON text); PlanError for another format."""
        if data.get("format") != FORMAT:
            raise PlanError("plan", f"plan format {data.get('format')!r} is not {FORMAT}; compile the spec again")
        return Plan(
            name=data["name"],
            letters=tuple(data["letters"]),
            buffers=tuple(
                Buffer(b["name"], b["dtype"], _freeze(b["size"]), b["kind"], b["first"], b["last"], _number_from_json(b["value"]))
                for b in data["buffers"]
            ),
            arguments=tuple(Argument(**{**a, "shape": _freeze(a["shape"])}) for a in data["arguments"]),
            outputs=tuple(Output(o["name"], o["role"], _view_from_json(o["view"]), o["updates"]) for o in data["outputs"]),
            code=tuple(_step_from_json(step) for step in data["code"]),
            guards=tuple(Guard(_freeze(g["left"]), _freeze(g["right"]), g["message"], g["origin"], g["at_most"]) for g in data["guards"]),
            origins=tuple(data["origins"]),
            sources=dict(data["sources"]),
        )


def walk(code: tuple[Instruction | Loop, ...], loops: tuple[Loop, ...] = ()) -> Iterator[tuple[Instruction, tuple[Loop, ...]]]:
    """Every instruction of some code with the loops around it, outermost first, behind those given."""
    for step in code:
        if isinstance(step, Loop):
            yield from walk(step.body, (*loops, step))
        else:
            yield step, loops


def _freeze(data: Any) -> Any:
    """Lists as tuples, all the way down."""
    return tuple(_freeze(each) for each in data) if isinstance(data, (list, tuple)) else data


def _number_to_json(value: float | Expr | None) -> Any:
    # JSON has no infinities and no NaN: those travel as strings
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def _number_from_json(value: Any) -> Any:
    return float(value) if isinstance(value, str) else _freeze(value)


def _view_to_json(view: View) -> list[Any]:
    return [view.buffer, view.offset, view.shape, view.strides, view.steps]


def _view_from_json(data: Any) -> View:
    return View(*_freeze(data))


def _step_to_json(step: Instruction | Loop) -> dict[str, Any]:
    if isinstance(step, Loop):
        body = [_step_to_json(inner) for inner in step.body]
        return {"loop": step.id, "trip": step.trip, "reverse": step.reverse, "origin": step.origin, "rows": step.rows, "body": body}
    return {
        "kernel": step.kernel,
        "inputs": [_view_to_json(v) for v in step.inputs],
        "outputs": [_view_to_json(v) for v in step.outputs],
        "attrs": dict(step.attrs),
        "origin": step.origin,
        "serial": step.serial,
    }


def _step_from_json(data: Mapping[str, Any]) -> Instruction | Loop:
    if "loop" in data:
        body = tuple(_step_from_json(s) for s in data["body"])
        return Loop(data["loop"], _freeze(data["trip"]), data["reverse"], body, data["origin"], _freeze(data["rows"]))
    return Instruction(
        data["kernel"],
        tuple(_view_from_json(v) for v in data["inputs"]),
        tuple(_view_from_json(v) for v in data["outputs"]),
        {name: _freeze(value) for name, value in data["attrs"].items()},
        data["origin"],
        data["serial"],
    )
