"""Modules: constructed layers, before they are connected."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

from graphspec.errors import NOWHERE, Origin, fail
from graphspec.graph.lookup import about_missing, find_record
from graphspec.graph.parameter import FlatParameters, InitStep, Parameter
from graphspec.graph.record import ParameterSpec, Record

_serial = itertools.count()

MAX_ELEMENTS = 2**40
"""No parameter may have more elements than this (E0504); nothing is allocated before it is checked."""


class Module:
    """One layer object.  Connecting the same object twice ties its parameters."""

    def __init__(self, record: Record, args: SimpleNamespace, origin: Origin = NOWHERE) -> None:
        self.record = record
        self.args = args
        self.origin = origin
        self.name: str | None = None
        self.serial = next(_serial)
        self.training = True
        self.extras: dict[Any, Any] = {}
        """Fields that the spec itself put on the module."""
        self.children: list[Module] = []
        self.parameters: dict[str, Parameter] = {}
        for key, spec in record.parameters(args).items():
            self.parameters[key] = self._make(key, spec, False)
        self.buffers = {k: self._make(k, spec, True) for k, spec in record.buffers(args).items()}

    def _make(self, key: str, spec: ParameterSpec, buffer: bool) -> Parameter:
        parameter = Parameter(spec.shape, self._steps(spec), self.origin, buffer)
        if parameter.size > MAX_ELEMENTS:
            shape = " x ".join(map(str, spec.shape))
            raise fail("E0504", f"nn.{self.record.name}: {key} of {shape} has more than 2^40 elements", self.origin)
        return parameter

    def _steps(self, spec: ParameterSpec) -> list[InitStep]:
        """How a parameter begins; what is taken from another parameter is taken from its present value."""
        first = spec.init
        if first.kind == "norms":
            source = self.parameters[first.args[0]]
            first = InitStep("norms", (source, len(source.log)))
        return [first, *spec.more]

    def walk(self) -> Iterator[Module]:
        """This module and all modules inside, each once, outer first."""
        seen: set[int] = set()
        stack = [self]
        while stack:
            module = stack.pop()
            if id(module) not in seen:
                seen.add(id(module))
                yield module
                stack.extend(reversed(module.children))

    def all_parameters(self, buffers: bool = False) -> list[Parameter]:
        """Parameters (or buffers) of this and all inner modules, each once, in order of construction."""
        found: dict[int, Parameter] = {}
        for module in sorted(self.walk(), key=lambda m: m.serial):
            for parameter in (module.buffers if buffers else module.parameters).values():
                found.setdefault(id(parameter), parameter)
        return list(found.values())

    def flat_parameters(self) -> FlatParameters:
        """nngraph's ``getParameters()``."""
        return FlatParameters(tuple(self.all_parameters()))

    def add(self, child: Module, origin: Origin) -> Module:
        """Torch's ``container:add(module)``; E0423 for a module that is no container."""
        if not self.record.children:
            raise fail("E0423", f"nn.{self.record.name} is not a container: nothing can be added to it", origin)
        if any(self is inner for inner in child.walk()):
            raise fail("E0424", "a container cannot contain itself", origin)
        self.children.append(child)
        return self

    def replace(self, change: Callable[[Module], Module]) -> Module:
        """Torch's ``replace``: this module, then those inside what comes of it, each as ``change`` says."""
        made = change(self)
        for child in list(made.children):
            other = child.replace(change)
            if other is not child:
                made.put(child, other)
        return made

    def put(self, old: Module, new: Module) -> None:
        """Use ``new`` wherever ``old`` is a child."""
        self.children = [new if child is old else child for child in self.children]
        for key, value in vars(self.args).items():
            if value is old:
                setattr(self.args, key, new)

    def reset(self, bound: float | None = None) -> None:
        """Torch's ``reset([stdv])``: default initialisation again, or uniform in +-bound*sqrt(3)."""
        for module in self.walk():
            specs = module.record.parameters(module.args)
            for key, parameter in module.parameters.items():
                parameter.log[:] = module._steps(specs[key])
                if bound is not None and specs[key].init.kind != "norms":
                    parameter.view.apply("uniform", -bound * 3**0.5, bound * 3**0.5)

    def share(self, other: Module, names: Sequence[str], origin: Origin) -> Module:
        """Torch's ``share(other, 'weight', ...)``: use the other's tensors, recursively; E0425 when they differ."""
        mine, theirs = list(self.walk()), list(other.walk())
        if len(mine) != len(theirs):
            raise fail("E0425", f"cannot share: {len(mine)} modules here, {len(theirs)} there", origin)
        for a, b in zip(mine, theirs, strict=True):
            for name in names:
                for own, given in ((a.parameters, b.parameters), (a.buffers, b.buffers)):
                    if name in own and name in given:
                        if own[name].shape != given[name].shape:
                            raise fail("E0425", f"cannot share {name}: shape {list(own[name].shape)} here, {list(given[name].shape)} there",
                                       origin, others=[(a.origin, "this"), (b.origin, "the other")])
                        own[name] = given[name]
        return self

    def clone(self, shared: Sequence[str], origin: Origin) -> Module:
        """Torch's ``clone(names...)``: a deep copy whose named parameters stay shared."""
        copy = copy_module(self, shared, origin, {}, {})
        copy.name = None  # it is called by the variable it is assigned to
        return copy

    def copied_from(self, source: Module, modules: dict[int, Module]) -> None:
        """Called on a copy: a place to copy what is more than parameters and children (a gModule's nodes)."""

    def __repr__(self) -> str:
        return f"nn.{self.record.name}"


def copy_module(
    module: Module, shared: Sequence[str], origin: Origin, modules: dict[int, Module], tensors: dict[int, Parameter]
) -> Module:
    """A deep copy; ``modules`` and ``tensors`` map what has been copied, so that ties inside stay ties."""
    if id(module) in modules:
        return modules[id(module)]
    copy = object.__new__(type(module))
    copy.__dict__.update(module.__dict__)
    modules[id(module)] = copy
    copy.serial, copy.origin = next(_serial), Origin(module.origin.span, origin.frames)
    for field in ("parameters", "buffers"):
        table: dict[str, Parameter] = {}
        for name, parameter in getattr(module, field).items():
            if name in shared:
                table[name] = parameter
            else:
                if id(parameter) not in tensors:
                    tensors[id(parameter)] = parameter.clone(copy.origin)
                table[name] = tensors[id(parameter)]
        setattr(copy, field, table)
    copy.children = [copy_module(child, shared, origin, modules, tensors) for child in module.children]
    copy.args = SimpleNamespace(**{key: modules.get(id(value), value) for key, value in vars(module.args).items()})
    copy.copied_from(module, modules)
    return copy


def new_module(name: str, args: Sequence[Any], origin: Origin) -> Module:
    """Construct ``nn.<name>(args...)``; E0401 for a name that does not exist, E042x for arguments that do not fit."""
    record = find_record(name)
    if record is None:
        raise fail("E0401", f"there is no module nn.{name}", origin, **about_missing(name))
    return record.construct(list(args), origin)
