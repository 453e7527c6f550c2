"""Canonical parameter names: call path, local name, field (``make_lstm_step[1].new_input_sum[2].x_to_h.weight``).

A name depends on what the user wrote, never on what the compiler did with it: checkpoints, initial values and
``model.parameters`` use it.  Names are relative to the function that closed the graph, so that they do not depend on who
called it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from graphspec.graph.module import Module
from graphspec.graph.parameter import Parameter


def name_parameters(roots: Sequence[Module]) -> list[Parameter]:
    """Give every parameter and buffer of the modules its canonical name; returns them in canonical order."""
    modules = sorted({id(m): m for root in roots for m in root.walk()}.values(), key=lambda m: m.serial)
    owners = [m for m in modules if m.parameters or m.buffers]
    paths = {id(m): _call_path(m) for m in owners}
    holders = {id(child): m for m in modules if m.record.children for child in m.children}
    above = _shared_prefix([_call_path(root) for root in roots])
    counts: dict[tuple[str, int | str], int] = {}
    calls: dict[int, str] = {}
    leaves: dict[str, list[Module]] = {}
    for module in owners:
        path = ""
        steps = paths[id(module)]
        for name, serial in steps[len(above) :] if steps[: len(above)] == above else steps:
            if serial not in calls:
                key = (path, name)
                counts[key] = counts.get(key, 0) + 1
                calls[serial] = f"{path}{name}[{counts[key]}]."
            path = calls[serial]
        leaves.setdefault(path + _stem(module, holders), []).append(module)
    ordered: dict[int, Parameter] = {}
    titles: dict[int, str] = {}
    for title, group in leaves.items():
        for number, module in enumerate(group, 1):
            titles[id(module)] = f"{title}[{number}]" if len(group) > 1 else title
    for module in owners:
        for field, parameter in (*module.parameters.items(), *module.buffers.items()):
            if id(parameter) not in ordered:
                ordered[id(parameter)] = parameter
                parameter.name = f"{titles[id(module)]}.{field}"
    _name_sources(ordered.values())
    return list(ordered.values())


def _stem(module: Module, holders: Mapping[int, Module]) -> str:
    """The name of the local it was assigned to, else of its kind, in the container that holds it (``net.Linear``)."""
    holder = holders.get(id(module))
    if module.name or holder is None:
        return module.name or module.record.name
    return f"{_stem(holder, holders)}.{module.record.name}"


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
