"""Evaluating a spec: the globals it sees, the files it requires, and what it returns."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from graphspec.build import methods  # noqa: F401  (gives modules and nodes their methods)
from graphspec.build.bindings import ModuleHost, NodeHost
from graphspec.build.cutorch import Cutorch
from graphspec.build.describe import Description, Library, NoLibrary
from graphspec.build.entry import LEAVES_OUT, call_of, entry_for, models_of, of_a_script
from graphspec.build.env import Env
from graphspec.build.experiment import ExperimentFunction, ExperimentHost
from graphspec.build.files import Files
from graphspec.build.interpreter import Interpreter
from graphspec.build.limits import LimitError, Limits
from graphspec.build.mathlib import math_table
from graphspec.build.namespace import Namespace
from graphspec.build.nngraphlib import NNGraph, graph_table
from graphspec.build.options import Group, Options, Overrides, Pasted
from graphspec.build.stdlib import ABSENT, BASIC, TABLE, Absent, argument, library, nothing
from graphspec.build.strings import STRING
from graphspec.build.torchlib import Torch
from graphspec.build.values import LuaFunction, LuaTable, NativeFunction, Value, type_name
from graphspec.errors import Diagnostic, Frame, Origin, Source, Span, SpecError, error
from graphspec.lang import ast, parse, parse_entry
from graphspec.lang.lint import lint

BUILT_IN = (
    "nn", "nngraph", "graph", "paths", "torch", "cutorch", "cunn", "cudnn", "rnn", "dpnn", "optim", "data", "math", "string", "table",
)  # fmt: skip
"""Names that ``require`` gives without a file."""

OURS = ("data", "optim", "graph", "rnn", "dpnn")
"""Of those, names that a file may have: then it is meant."""

PACKAGES = (
    "env", "sys", "lfs", "xlua", "image", "hdf5", "cjson", "tds", "pl", "cltorch", "clnn", "fbnn", "fbcunn", "gnuplot",
    "loadcaffe", "posix", "ffi",
)  # fmt: skip
"""Torch packages that model files require and models do not use: requiring one is fine, using it is E0209."""

MAX_SAID = 100_000
"""Characters that a spec may print."""

PASTED_LAYERS = {"LookupTable": "LookupTable", "Embedding": "LookupTable", "OneHot": "OneHot", "MaskedLoss": "MaskedLoss"}
"""Layers that well-known repositories carry along as globals, and what they are here."""


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
    debug: bool = False
    """Whether the spec asked for pictures of errors (``nngraph.setDebug(true)``)."""


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
        self.descriptions: list[Description] = []
        self.loaded: dict[str, list[Value]] = {}
        self.loading: list[str] = []
        self.options = Options(self.overrides, [])
        self.library = library_
        given = str(self.overrides.given.get("experiment.seed"))
        self.lua = Interpreter(limits, LuaTable(), int(given) if given.isdigit() else seed)
        self.warnings = self.lua.warnings
        self.lua.strings = library(STRING, "string.")
        self.unsaid = MAX_SAID if texts is None else 0  # a copy that is evaluated again says nothing a second time
        self.forgiving = False
        """Whether statements that cannot run are left out: training code beside the model functions that an entry wants."""
        self.lenient = lenient
        self._globals(lenient)

    def _globals(self, lenient: bool) -> None:
        g = self.lua.globals
        for name, call in BASIC.items():
            g.set(name, NativeFunction(name, call))
        nn = Namespace("nn", lenient, self.warnings.append)
        g.set("print", NativeFunction("print", self._print))
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
        g.set("torch", Torch(self.options))
        g.set("arg", LuaTable())
        for name, record in PASTED_LAYERS.items():
            g.set(name, nn.index(self.lua, record))
        g.set("cutorch", Cutorch(g.get("torch")))
        g.set("cunn", nn)
        g.set("paths", self._paths())
        for name in ("include", "dofile", "require"):
            g.set(name, NativeFunction(name, partial(self._require, name)))
        g.set("options", NativeFunction("options", self.options))
        g.set("data", Group("data", self.library, self.overrides, self.descriptions))
        g.set("optim", Group("optim", self.library, self.overrides, self.descriptions))
        g.set("experiment", NativeFunction("experiment", ExperimentFunction(self.library, self.overrides)))
        g.set("cuda", NativeFunction("cuda", lambda lua, args: args[:1]))
        g.set("usePrealloc", NativeFunction("usePrealloc", nothing))
        pasted = Pasted(self.overrides)
        g.set("opt", pasted)
        g.set("params", pasted)

    def _print(self, lua: Interpreter, args: list[Value]) -> list[Value]:
        """``print``: on standard error at once, so that it is seen before an error that follows."""
        results: list[Value] = BASIC["print"](lua, args)
        line = "".join(c if c.isprintable() or c in "\t\n" else ascii(c)[1:-1] for c in lua.log[-1][: self.unsaid])
        if self.unsaid > 0 and sys.stderr is not None:
            self.unsaid -= len(lua.log[-1]) + 1
            with suppress(OSError, ValueError):  # where it cannot be written there is nobody to tell
                sys.stderr.write(f"{line}\n" if self.unsaid > 0 else f"{line} ... and what is printed after it is not shown\n")
                sys.stderr.flush()
        return results

    def _paths(self) -> LuaTable:
        """What model files do with the package ``paths``; it reaches no file but by ``dofile``."""
        text = PurePosixPath

        def joined(lua: Interpreter, args: list[Value]) -> list[Value]:
            return [str(text(*(argument(lua, args, i + 1, "string", "concat") for i in range(len(args)))))]

        table = library({
            "dofile": partial(self._require, "dofile"),
            "concat": joined,
            "basename": lambda lua, args: [text(argument(lua, args, 1, "string", "basename")).name],
            "dirname": lambda lua, args: [str(text(argument(lua, args, 1, "string", "dirname")).parent)],
            "thisfile": lambda lua, args: [argument(lua, args, 1, "string", "thisfile", "")],
        }, "paths.")  # fmt: skip
        table.metatable = LuaTable()
        table.metatable.set("__index", Absent("paths"))
        return table

    def _require(self, word: str, lua: Interpreter, args: list[Value]) -> list[Value]:
        """``require`` and what else files are read with, all alike; ``word`` is the one that stands there."""
        name = argument(lua, args, 1, "string", word).removesuffix(".lua").removesuffix(".spec")
        if name in BUILT_IN and not (name in OURS and self.files.exists(name)):
            return [self.lua.globals.get({"rnn": "nn", "dpnn": "nn"}.get(name, name))]
        if name in self.loaded:
            return list(self.loaded[name])
        if name.partition(".")[0] in PACKAGES and not self.files.exists(name):
            return [Absent(name)]
        if name in self.loading:
            cycle = " -> ".join([*self.loading[self.loading.index(name) :], name])
            raise lua.error("E0214", f"files that require each other in a circle: {cycle}")
        source = self.files.find(name, lua.origin(), word)
        self.loading.append(name)
        span = lua.span
        assert span is not None
        try:
            with lua.frame(Frame("require", f"{word} '{name}'", span, name=name)):
                self.loaded[name] = self.chunk(source) or [True]
        finally:
            self.loading.pop()
        lua.span = span
        return list(self.loaded[name])

    def chunk(self, source: Source, env: Env | None = None) -> list[Value]:
        """Run a whole file; of an old one (``forgiving``), whatever of its statements can run."""
        limits = self.lua.budget.limits
        parsed = parse(source, limits.nesting, limits.tokens)
        self.options.comments += parsed.comments
        if not self.lenient:
            self.warnings.extend(lint(parsed.block))
        env = env or Env()
        if not self.forgiving:
            return self.lua.run(parsed.block, env)
        frames = len(self.lua.frames)
        for stat in parsed.block.body:
            try:
                results = self.lua.run(ast.Block(stat.span, (stat,)), env)
            except LimitError:
                raise
            except SpecError as failure:
                problem = failure.diagnostics[0]
                text = f"this statement is left out: {problem.message}"
                self.warnings.append(replace(problem, code="W0217", severity="warning", message=text))
                del self.lua.frames[frames:]
                continue
            if isinstance(stat, ast.Return):
                return results
        return []


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
    session.forgiving = lenient and entry is not None
    lua = session.lua
    env = Env()
    models = partial(models_of, env, lua.globals, frozenset(lua.globals.fields()))
    try:
        results = session.chunk(session.source, env)
    except SpecError as failure:
        raise of_a_script(failure, source.path, lenient, models()) from None
    value = results[0] if results else None
    session.forgiving = False
    whole = Span(session.source, 0, 0)
    if entry is not None:
        value = _entry(session, value, entry, env if lenient else Env())
    unknown = session.overrides.unknown()
    if unknown:
        raise SpecError(*unknown)
    if not lenient:
        session.warnings += lua.made_up.warnings()
    return Evaluation(
        _result(session, value, Origin(lua.span or whole), entry, models()),
        session.options.values,
        session.options.help,
        session.warnings,
        [session.source, *session.files.sources.values()],
        lua.log,
        session.descriptions,
        Origin(whole),
        lua.debug,
    )


def _entry(session: Session, value: Value, entry: str, env: Env) -> Value:
    """The value of an expression that sees the fields of the returned table; of an old file, its locals and globals too."""
    block = parse_entry(Source("<entry>", entry))
    session.lua.span = block.span
    outer, env = env, Env(env)
    if isinstance(value, LuaTable):
        env.names.update(value.fields())
    elif isinstance(value, LuaFunction):
        env.names[Path(session.source.path).stem] = value
    elif value is not None and not outer.names:
        raise SpecError(error("E0431", f"an entry picks from a table that the spec returns; it returns {_kind(value)}"))
    try:
        results = session.lua.run(block, env)
    except SpecError as failure:
        raise SpecError(*failure.diagnostics, *_left_out(session)) from None
    return results[0] if results else None


def _left_out(session: Session) -> list[Diagnostic]:
    return [w for w in session.warnings if w.code == "W0217"]


def _kind(value: Value) -> str:
    return (
        "a gModule" if isinstance(value, ModuleHost) else "an experiment" if isinstance(value, ExperimentHost) else f"a {type_name(value)}"
    )


def _result(session: Session, value: Value, origin: Origin, entry: str | None, models: Mapping[str, Value]) -> Any:
    if isinstance(value, ModuleHost):
        return value.module
    if isinstance(value, ExperimentHost):
        return value.experiment
    if isinstance(value, LuaTable):
        fields = value.fields()
        if fields and all(isinstance(v, ModuleHost) for v in fields.values()):
            return {name: v.module for name, v in fields.items()}
        return fields
    what = "nothing" if value is None else "a node" if isinstance(value, NodeHost) else _kind(value)
    text = "a gModule, an experiment or a table of these, this one"
    if entry is not None:
        helps = [f"call it: `--entry '{call_of(entry, value)}'`"] if isinstance(value, LuaFunction) and entry.isidentifier() else []
        raise SpecError(error("E0431", f"an entry gives {text} gives {what}", origin, helps=helps), *_left_out(session))
    pick = entry_for(models)
    helps = ["end the file with `return nn.gModule({inputs}, {outputs})`", *([LEAVES_OUT.format(f"'{pick}'")] if pick else [])]
    raise SpecError(error("E0431", f"a spec returns {text} returns {what}", origin, helps=helps))
