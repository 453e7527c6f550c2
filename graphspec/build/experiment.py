"""``experiment{...}``: what to train, on which data, and how to generate with what was trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphspec.build.bindings import ModuleHost, NodeHost
from graphspec.build.describe import ExperimentSpec, Library, Stream
from graphspec.build.options import DescriptionHost, Overrides, StreamHost, lua_number
from graphspec.build.values import Host, LuaTable, Value, type_name
from graphspec.graph import Module
from graphspec.suggest import one_of

if TYPE_CHECKING:
    from graphspec.build.interpreter import Interpreter


class ExperimentHost(Host):
    title = "an experiment"

    def __init__(self, experiment: ExperimentSpec) -> None:
        self.experiment = experiment


class ExperimentFunction:
    """``experiment{...}``."""

    PARTS = ("loss", "step", "inputs", "carry", "optimizer", "generate")
    GENERATE = ("encode", "step", "inputs")

    def __init__(self, library: Library, overrides: Overrides) -> None:
        self.library = library
        self.overrides = overrides

    def __call__(self, lua: Interpreter, args: list[Value]) -> list[Value]:
        table = args[0] if args else None
        if not isinstance(table, LuaTable):
            raise lua.error("E0606", "experiment takes a table: `experiment { loss = ..., inputs = {...} }`")
        given = table.fields()
        known = self.library.experiment_fields
        for name in given:
            if name not in known and name not in self.PARTS:
                raise lua.error("E0606", f"experiment has no field {name}", helps=one_of(name, [*self.PARTS, *known]))
        loss = given.get("loss")
        if not isinstance(loss, NodeHost):
            raise lua.error(
                "E0606",
                "experiment: loss must be a node",
                helps=["a criterion in the graph is one: `nn.ClassNLLCriterion()({log_p, targets})`"],
            )
        step, encode, encode_inputs = self._generate(lua, given)
        optimizer = given.get("optimizer")
        if optimizer is not None and not (isinstance(optimizer, DescriptionHost) and optimizer.description.group == "optim"):
            got = optimizer.title if isinstance(optimizer, Host) else type_name(optimizer)
            raise lua.error(
                "E0606",
                f"experiment: optimizer must be made by optim, got {got}",
                helps=["as in `optim.adam { learningRate = 2e-3 }`"],
            )
        fields: dict[str, Any] = {}
        trusted = set()
        for name, default in known.items():
            value = given.get(name, lua_number(default))
            if name in given and type_name(value) != type_name(lua_number(default)):
                raise lua.error("E0606", f"experiment: {name} is a {type_name(lua_number(default))}, got {type_name(value)}")
            fields[name], outside = self.overrides.take(f"experiment.{name}", value)
            if outside:
                trusted.add(name)
        inputs = {k.node: v.stream for k, v in self._pairs(lua, given, "inputs", StreamHost, "a data stream")}
        carry = {k.node: v.node for k, v in self._pairs(lua, given, "carry", NodeHost, "a node")}
        found = ExperimentSpec(
            loss.node, step, inputs, carry, optimizer.description if optimizer else None, fields, lua.origin(), encode, encode_inputs,
            frozenset(trusted),
        )  # fmt: skip
        return [ExperimentHost(found)]

    def _generate(self, lua: Interpreter, given: dict[str, Value]) -> tuple[Module | None, Module | None, tuple[Stream, ...]]:
        """The step to generate with, what encodes a source for it, and the streams that a source consists of."""
        table = given.get("generate")
        if table is None:
            return self._model(lua, given, "step"), None, ()
        if not isinstance(table, LuaTable) or table.fields().keys() != set(self.GENERATE) or "step" in given:
            raise lua.error(
                "E0606",
                "experiment: generate is a table of encode, step and inputs, and stands in the place of step",
                helps=["as in `generate = { encode = encoder, step = step, inputs = {pairs.source, pairs.source_length} }`"],
            )
        fields = table.fields()
        listed = fields["inputs"]
        streams = [value for _, value in listed.pairs()] if isinstance(listed, LuaTable) else []
        if not streams or not all(isinstance(stream, StreamHost) for stream in streams):
            raise lua.error("E0606", "experiment: generate.inputs is a list of data streams, in the order of the encoder's inputs")
        return self._model(lua, fields, "step"), self._model(lua, fields, "encode"), tuple(stream.stream for stream in streams)

    def _model(self, lua: Interpreter, given: dict[str, Value], name: str) -> Module | None:
        value = given.get(name)
        if value is not None and not isinstance(value, ModuleHost):
            raise lua.error("E0606", f"experiment: {name} must be a gModule, got {type_name(value)}")
        return value.module if value else None

    def _pairs(self, lua: Interpreter, given: dict[str, Value], name: str, kind: type, what: str) -> list[tuple[Any, Any]]:
        table = given.get(name)
        if table is None:
            return []
        if not isinstance(table, LuaTable):
            raise lua.error("E0606", f"experiment: {name} is a table keyed by nodes: `{name} = {{ [node] = ... }}`")
        found = []
        for key, value in table.pairs():
            if not isinstance(key, NodeHost) or not key.node.is_source:
                helps = ["write the node in brackets: `[tokens] = ...`"] if isinstance(key, str) else []
                raise lua.error("E0606", f"experiment: {name} is keyed by source nodes, got {type_name(key)}", helps=helps)
            if not isinstance(value, kind):
                raise lua.error("E0606", f"experiment: {name}: {what} is wanted, got {type_name(value)}")
            found.append((key, value))
        return found
