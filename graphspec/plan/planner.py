"""From a program to a Plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from graphspec.codegen import print_c
from graphspec.errors import NOWHERE
from graphspec.ir.core import Program, Value
from graphspec.plan.destinations import Root, at
from graphspec.plan.emit import Code, Moves
from graphspec.plan.place import Place, Storage
from graphspec.plan.scans import Emitter
from graphspec.sizes import Size, product, to_expr
from graphspec_runtime.plan import Argument, Buffer, Guard, Output, Plan

PRINTERS: Mapping[str, Callable[[Plan], str]] = {
    "c": print_c,
    "c, timed": partial(print_c, timed=True),
    "c, bf16": partial(print_c, precision="bf16"),
    "c, bf16, timed": partial(print_c, timed=True, precision="bf16"),
}
"""How plans are printed, by language."""

RESIDENT = frozenset({"parameter", "gradient", "buffer", "state"})
"""Roles whose arrays stay where they are between runs; others are copied in."""


def make_plan(program: Program, language: str = "") -> Plan:
    """The program as data that any device can run, for every binding of its size letters; printed in ``language`` too, for devices that
    compile one (``c``, or ``c, bf16`` with products of that precision).

    An output whose port ``updates`` an argument lies in that argument's memory: the runtime overwrites it.
    """
    code = Code()
    places: dict[Value, Place] = {}
    updated = [port.updates for port in program.outputs if port.updates]
    if len(set(updated)) < len(updated):
        raise ValueError(f"two results update one argument: {', '.join(updated)}")
    donated = set(updated)
    resident = donated | {port.name for port in program.inputs if port.role in RESIDENT}
    arguments = {}
    for port, v in zip(program.inputs, program.block.params, strict=True):
        storage = code.add(Storage(port.name, v.dtype, product(v.shape), "argument", first=0))
        places[v] = Place.whole(storage, v.shape)
        arguments[port.name] = v
    block = Emitter(code, places, program.block)
    for port, v in zip(program.outputs, program.block.results, strict=True):
        if port.updates:
            old = arguments[port.updates]
            block.wishes.ask(v, Root(at(places[old]), over=old))
    block.run()
    results = _results(program, block, {arguments[name] for name in donated}, arguments)
    code.serial += 1
    for place in (*results, *(places[v] for v in arguments.values())):
        # Arguments too: copied in at the next run, none may overwrite a result of this run that is handed in as another.
        code.touch(place.storage)
    outputs = tuple(
        Output(port.name, port.role, code.view(place), port.updates) for port, place in zip(program.outputs, results, strict=True)
    )
    guards = tuple(Guard(to_expr(g.left), to_expr(g.right), g.message, code.origin(g.origin), g.at_most) for g in program.guards)
    plan = Plan(
        name=program.name,
        letters=tuple(program.letters),
        buffers=tuple(_buffer(s) for s in code.storages),
        arguments=tuple(
            Argument(port.name, port.role, i, tuple(map(to_expr, v.shape)), port.name in resident, port.name in donated)
            for i, (port, v) in enumerate(zip(program.inputs, program.block.params, strict=True))
        ),
        outputs=outputs,
        code=tuple(code.steps[0]),
        guards=guards,
        origins=tuple(code.origins),
    )
    return replace(plan, sources={language: PRINTERS[language](plan)}) if language else plan


def _results(program: Program, block: Emitter, overwritten: set[Value], arguments: dict[str, Value]) -> list[Place]:
    """Where the results lie, after old values that are still wanted were saved and updates were written over their arguments."""
    code, places, live = block.code, block.places, block.live
    old = {live.group(v) for v in overwritten}
    results: list[Place] = []
    moves: Moves = []
    for port, v in zip(program.outputs, program.block.results, strict=True):
        place = places[v]
        if port.updates:
            target = places[arguments[port.updates]]
            moves.append((target, place))
            place = target
        elif live.group(v) in old and place.storage.kind == "argument":
            saved = Place.whole(code.storage(port.name, v.dtype, product(v.shape)), v.shape)
            code.copies([(saved, place)], NOWHERE)
            place = saved
        results.append(place)
    code.copies(moves, NOWHERE)
    return results


def _buffer(s: Storage) -> Buffer:
    value = to_expr(s.value) if isinstance(s.value, Size) else s.value
    return Buffer(s.name, s.dtype, to_expr(s.size), s.kind, s.first or 0, s.last, value)
