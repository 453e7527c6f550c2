"""Evaluating a spec: the globals it sees, the files it requires, and what it returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graphspec.build import methods  # noqa: F401  (gives modules and nodes their methods)
from graphspec.build.bindings import ModuleHost, Namespace, NodeHost
from graphspec.build.describe import Description, Library, NoLibrary
from graphspec.build.env import chunk_env
from graphspec.build.files import Files
from graphspec.build.interpreter import Interpreter
from graphspec.build.limits import Limits
from graphspec.build.mathlib import math_table
from graphspec.build.nngraphlib import NNGraph, graph_table
from graphspec.build.options import ExperimentFunction, ExperimentHost, Group, Options, Overrides, Pasted
from graphspec.build.stdlib import ABSENT, BASIC, TABLE, Absent, argument, library
from graphspec.build.strings import STRING
from graphspec.build.torchlib import Torch
from graphspec.build.values import LuaTable, NativeFunction, Value, type_name
from graphspec.errors import Diagnostic, Frame, Origin, Source, Span, SpecError, error
from graphspec.lang import ast, parse, parse_expression

BUILT_IN = ("nn", "nngraph", "graph", "torch", "cutorch", "cunn", "cudnn", "rnn", "dpnn", "optim", "data", "math", "string", "table")
"""Names that ``require`` gives without a file."""


@dataclass
class Evaluation:
    """What a spec came to.  ``result``: a Module, an ExperimentSpec, a dict of Modules, or a library (dict of Lua values)."""

    result: Any
    options: dict[str, Any]
    option_help: dict[str, str]
    warnings: list[Diagnostic]
    sources: list[Source]
    log: list[str]
    descriptions: list[Description] = field(default_factory=list)
    origin: Origin = field(default_factory=Origin)


class Session:
    """One evaluation."""

    def __init__(
        self,
        source: Source,
        roots: Sequence[Path],
        overrides: Mapping[str, Any],
        lenient: bool,
        limits: Limits,
        library_: Library,
        texts: Mapping[str, str] | None,
        seed: int,
    ) -> None:
        self.source = Source(source.path, texts[source.path]) if texts and source.path in texts else source
        self.files = Files(roots, texts)
        self.overrides = Overrides(overrides)
        self.warnings: list[Diagnostic] = []
        self.descriptions: list[Description] = []
        self.loaded: dict[str, list[Value]] = {}
        self.loading: list[str] = []
        self.options = Options(self.overrides, [])
        self.library = library_
        given = str(self.overrides.given.get("experiment.seed"))
        self.lua = Interpreter(limits, LuaTable(), int(given) if given.isdigit() else seed)
        self.lua.strings = library(STRING, "string.")
        self._globals(lenient)

    def _globals(self, lenient: bool) -> None:
        g = self.lua.globals
        for name, call in BASIC.items():
            g.set(name, NativeFunction(name, call))
        nn = Namespace("nn", lenient, self.warnings.append)
        g.set("math", math_table())
        g.set("string", self.lua.strings)
        g.set("table", library(TABLE, "table."))
        g.set("_G", g)
        for name in ABSENT:
            g.set(name, Absent(name))
        g.set("nn", nn)
        g.set("cudnn", nn)
        g.set("nngraph", NNGraph(nn))
        g.set("graph", graph_table())
        g.set("torch", Torch())
        for name in ("cutorch", "cunn"):
            g.set(name, g.get("torch" if name == "cutorch" else "nn"))
        g.set("options", NativeFunction("options", self.options))
        g.set("data", Group("data", self.library, self.overrides, self.descriptions))
        g.set("optim", Group("optim", self.library, self.overrides, self.descriptions))
        g.set("experiment", NativeFunction("experiment", ExperimentFunction(self.library, self.overrides)))
        g.set("require", NativeFunction("require", self._require))
        g.set("include", NativeFunction("include", self._require))
        g.set("cuda", NativeFunction("cuda", lambda lua, args: args[:1]))
        g.set("usePrealloc", NativeFunction("usePrealloc", lambda lua, args: []))
        pasted = Pasted(self.overrides)
        g.set("opt", pasted)
        g.set("params", pasted)

    def _require(self, lua: Interpreter, args: list[Value]) -> list[Value]:
        name = argument(lua, args, 1, "string", "require").removesuffix(".lua").removesuffix(".spec")
        if name in BUILT_IN:
            return [self.lua.globals.get({"rnn": "nn", "dpnn": "nn"}.get(name, name))]
        if name in self.loaded:
            return list(self.loaded[name])
        if name in self.loading:
            cycle = " -> ".join([*self.loading[self.loading.index(name) :], name])
            raise lua.error("E0214", f"files that require each other in a circle: {cycle}")
        source = self.files.find(name, lua.origin())
        self.loading.append(name)
        span = lua.span
        assert span is not None
        try:
            with lua.frame(Frame("require", f"require '{name}'", span, name=name)):
                self.loaded[name] = self.chunk(source) or [True]
        finally:
            self.loading.pop()
        lua.span = span
        return list(self.loaded[name])

    def chunk(self, source: Source) -> list[Value]:
        """Run a whole file."""
        parsed = parse(source)
        self.options.comments += parsed.comments
        return self.lua.run(parsed.block, chunk_env())


def evaluate(
    source: Source,
    *,
    roots: Sequence[Path] = (),
    overrides: Mapping[str, Any] | None = None,
    entry: str | None = None,
    lenient: bool = False,
    limits: Limits | None = None,
    library: Library | None = None,
    texts: Mapping[str, str] | None = None,
    seed: int = 1,
) -> Evaluation:
    """Run a spec.  ``entry`` is a Lua expression that sees the fields of the table the spec returns; ``texts`` replaces
    files by display path; ``seed`` is that of random tensors, unless ``experiment.seed`` is overridden.

    Raises SpecError with everything that is wrong, positioned.
    """
    session = Session(source, roots, overrides or {}, lenient, limits or Limits(), library or NoLibrary(), texts, seed)
    lua = session.lua
    results = session.chunk(session.source)
    value = results[0] if results else None
    whole = Span(session.source, 0, 0)
    if entry is not None:
        value = _entry(session, value, entry)
    unknown = session.overrides.unknown()
    if unknown:
        raise SpecError(*unknown)
    return Evaluation(
        _result(session, value, Origin(lua.span or whole)),
        session.options.values,
        session.options.help,
        session.warnings,
        [session.source, *session.files.sources.values()],
        lua.log,
        session.descriptions,
        Origin(whole),
    )


def _entry(session: Session, value: Value, entry: str) -> Value:
    expr = parse_expression(Source("<entry>", entry))
    env = chunk_env()
    if isinstance(value, LuaTable):
        env.names.update(value.fields())
    elif value is not None:
        raise SpecError(error("E0431", f"an entry picks from a table that the spec returns; it returns {_kind(value)}"))
    block = ast.Block(expr.span, (ast.Return(expr.span, (expr,)),))
    results = session.lua.run(block, env)
    return results[0] if results else None


def _kind(value: Value) -> str:
    return (
        "a gModule" if isinstance(value, ModuleHost) else "an experiment" if isinstance(value, ExperimentHost) else f"a {type_name(value)}"
    )


def _result(session: Session, value: Value, origin: Origin) -> Any:
    if isinstance(value, ModuleHost):
        return value.module
    if isinstance(value, ExperimentHost):
        return value.experiment
    if isinstance(value, LuaTable):
        fields = value.fields()
        if fields and all(isinstance(v, ModuleHost) for v in fields.values()):
            return {name: v.module for name, v in fields.items()}
        return fields
    helps = ["end the file with `return nn.gModule({inputs}, {outputs})`"]
    what = "nothing" if value is None else "a node" if isinstance(value, NodeHost) else _kind(value)
    raise SpecError(
        error("E0431", f"a spec returns a gModule, an experiment or a table of these, this one returns {what}", origin, helps=helps)
    )
