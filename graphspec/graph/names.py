"""Canonical parameter names: call path, local name, field (``make_lstm_step[1].new_input_sum[2].x_to_h.weight``).

A name depends on what the user wrote, never on what the compiler did with it: checkpoints, initial values and
``model.parameters`` use it.  Names are relative to the function that closed the graph, so that they do not depend on who
called it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from graphspec.graph.module import Module
from graphspec.graph.parameter import Parameter


@dataclass(frozen=True)
class Place:
    """Where a module stands in another: ``role`` is what the other calls it; ``own``, in a graph that the other has made itself."""

    holder: Module
    role: str = ""
    own: bool = False


def name_parameters(roots: Sequence[Module]) -> list[Parameter]:
    """Give every parameter and buffer of the modules its canonical name; returns them in canonical order."""
    modules = sorted({id(m): m for root in roots for m in root.walk()}.values(), key=lambda m: m.serial)
    owners = [m for m in modules if m.parameters or m.buffers]
    places = _places(modules)
    wanted = {id(m): m for m in owners}
    for module in owners:
        unit = _unit(module, places)
        while unit is not None and id(unit) not in wanted:
            wanted[id(unit)] = unit
            unit = _unit(unit, places)
    paths = _paths(roots, wanted.values())
    titles: dict[int, str] = {}
    waiting = list(wanted.values())
    while waiting:  # from the outside in: what is around has its title first
        ready = [m for m in waiting if (around := _unit(m, places)) is None or id(around) in titles]
        groups: dict[str, list[Module]] = {}
        for module in ready:
            groups.setdefault(_stem(module, places, paths, titles), []).append(module)
        for title, group in groups.items():
            for number, module in enumerate(group, 1):
                titles[id(module)] = f"{title}[{number}]" if len(group) > 1 else title
        waiting = [m for m in waiting if id(m) not in titles]
    ordered: dict[int, Parameter] = {}
    for module in owners:
        for field, parameter in (*module.parameters.items(), *module.buffers.items()):
            if id(parameter) not in ordered:
                ordered[id(parameter)] = parameter
                parameter.name = f"{titles[id(module)]}.{field}"
    _name_sources(ordered.values())
    return list(ordered.values())


def _places(modules: Sequence[Module]) -> dict[int, Place]:
    """The modules that stand in another; those in a graph of the user's own stand nowhere else."""
    found: dict[int, Place] = {}
    for holder in modules:
        if holder.record.kind == "graph":
            continue
        given = {id(getattr(holder.args, a.name, None)): a.name for a in holder.record.arguments if a.kind == "module"}
        roles = given if len(given) > 1 else {}
        for child in holder.children:
            if child.record.kind != "graph":
                found[id(child)] = Place(holder, roles.get(id(child), ""))
            elif id(child) not in given and not holder.record.children:
                found.update({id(inner): Place(holder, own=True) for inner in child.children})
    return found


def _unit(module: Module, places: Mapping[int, Place]) -> Module | None:
    """The innermost module around it that is numbered itself: any but a container, whose modules are counted together."""
    while (place := _place(module, places)) is not None:
        module = place.holder
        if not module.record.children:
            return module
    return None


def _place(module: Module, places: Mapping[int, Place]) -> Place | None:
    """Where it stands, if that is part of its name: what has a name of its own from the user needs no more."""
    place = places.get(id(module))
    return None if place is None or (module.name and not place.own) else place


def _stem(module: Module, places: Mapping[int, Place], paths: Mapping[int, str], titles: Mapping[int, str]) -> str:
    """Its name before it is numbered: the call path and the local it was assigned to, else its role or kind in what holds it."""
    names, at = [], module
    while True:
        place = _place(at, places)
        names.append(at.name or (place.role if place else "") or at.record.name)
        if place is None:
            return paths[id(module)] + ".".join(reversed(names))
        at = place.holder
        if not at.record.children:
            return ".".join([titles[id(at)], *reversed(names)])


def _paths(roots: Sequence[Module], modules: Iterable[Module]) -> dict[int, str]:
    """The calls that each was made in, numbered, without those that all share."""
    above = _shared_prefix([_call_path(root) for root in roots])
    counts: dict[tuple[str, int | str], int] = {}
    calls: dict[int, str] = {}
    found: dict[int, str] = {}
    for module in modules:
        path, steps = "", _call_path(module)
        for name, serial in steps[len(above) :] if steps[: len(above)] == above else steps:
            if serial not in calls:
                key = (path, name)
                counts[key] = counts.get(key, 0) + 1
                calls[serial] = f"{path}{name}[{counts[key]}]."
            path = calls[serial]
        found[id(module)] = path
    return found


def _call_path(module: Module) -> list[tuple[str, int]]:
    calls = [f for f in reversed(module.origin.frames) if f.kind == "call"]
    return [(f.name or "call", f.serial) for f in calls]


def _shared_prefix(paths: list[list[tuple[str, int]]]) -> list[tuple[str, int]]:
    """What all paths begin with."""
    first = paths[0] if paths else []
    for length in range(len(first), 0, -1):
        if all(path[:length] == first[:length] for path in paths):
            return first[:length]
    return []


def _name_sources(parameters: Iterable[Parameter]) -> None:
    """Clones start as their originals did; an original that is in no model is named after its first clone."""
    waiting = list(parameters)
    while waiting:
        parameter = waiting.pop()
        for step in parameter.log:
            if step.kind in ("like", "norms") and not step.args[0].name:
                step.args[0].name = f"{parameter.name}~original"
                waiting.append(step.args[0])
