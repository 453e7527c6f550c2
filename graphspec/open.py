"""Opening a spec: reading it, evaluating it with data sources and optimizers plugged in, trying out suggested fixes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

import graphspec.nn  # noqa: F401  (fills the table of records)
from graphspec.build import Evaluation, Limits, entry_for, evaluate
from graphspec.build.files import read_text
from graphspec.errors import Diagnostic, Source, SpecError, fail
from graphspec.graph import GModule, Module, connect, gmodule, load_remembered, new_module, plugins_used
from graphspec.library import StandardLibrary
from graphspec.program import infer
from graphspec.tensorfile import is_tensor_file

SAVED = "a run or checkpoint: `graphspec eval`, `graphspec sample`; in Python `graphspec.Experiment.load(path)`"
"""Where what was trained is opened."""
MAX_TRIES = 4
"""Suggested fixes that are tried out for one error."""


@dataclass
class Opened:
    """An evaluated spec and all that is needed to evaluate it again."""

    source: Source
    evaluation: Evaluation
    library: StandardLibrary
    entry: str | None = None
    lenient: bool = False
    roots: tuple[Path, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    seed: int = 1
    plugins: tuple[str, ...] = ()
    """Python modules that brought records which the spec uses."""

    @property
    def result(self) -> Any:
        return self.evaluation.result

    @property
    def warnings(self) -> list[Diagnostic]:
        return self.evaluation.warnings

    def to_json(self) -> dict[str, Any]:
        """Everything by value: the texts of all files under the names by which specs know them.  It holds no place on this machine, so
        that the same run writes the same bytes wherever its files lie."""
        names: dict[str, str] = {}
        for source in self.evaluation.sources:
            name = self._name(source.path)
            while name in names.values():
                name = f"_{name}"
            names[source.path] = name
        return {
            "path": names[self.source.path],
            "texts": {names[s.path]: s.text for s in self.evaluation.sources},
            "entry": self.entry,
            "lenient": self.lenient,
            "options": {k: v if isinstance(v, (int, float, str, bool)) else str(v) for k, v in self.options.items()},
            "limits": vars(self.limits),
            "seed": self.seed,
            "plugins": list(self.plugins),
            "sources": self.library.sources.to_json(),
        }

    def _name(self, path: str) -> str:
        """A file's path from the root it lies under, as ``require`` finds it; its bare name where it lies under none."""
        under = next((root for root in self.roots if Path(path).is_relative_to(root)), None)
        return (Path(path).relative_to(under) if under else PurePath(Path(path).name)).as_posix()

    @staticmethod
    def from_json(data: Mapping[str, Any], options: Mapping[str, Any] | None = None, roots: Sequence[str | Path] = ()) -> Opened:
        """The spec evaluated again from its copy, its data known from what was stored; ``options`` go before those of then.  ``roots``:
        where data lie that the spec names."""
        folders = [Path(root) for root in roots]
        for plugin in data.get("plugins", ()):
            load_remembered(plugin)
        return open_source(
            Source(data["path"], data["texts"][data["path"]]),
            data["entry"],
            lenient=data["lenient"],
            roots=folders,
            options={**data["options"], **(options or {})},
            limits=Limits(**data["limits"]),
            seed=data["seed"],
            library=StandardLibrary(folders, data["sources"]),
            texts=data["texts"],
        )


def open_spec(
    path_or_text: str | Path,
    entry: str | None = None,
    *,
    lenient: bool = False,
    roots: Sequence[str | Path] = (),
    options: Mapping[str, Any] | None = None,
    limits: Limits | None = None,
    seed: int = 1,
) -> Opened:
    """A spec by path, or by its text (when it has a newline or reads as code); SpecError for all that is wrong with it.

    ``roots``: folders where files that the spec names are looked for, before its own.
    """
    text = str(path_or_text)
    if isinstance(path_or_text, str) and ("\n" in text or text.lstrip().startswith(("return ", "local "))):
        source, folder = Source("<text>", text), []
    else:
        path = Path(path_or_text)
        if path.is_dir():
            helps = [SAVED] if (path / "run.json").exists() else []
            raise fail("E0802", f"{path} is a folder, not a spec", helps=helps)
        if path.is_file() and is_tensor_file(path):
            raise fail("E0102", f"{path} holds tensors, and is no spec", helps=[SAVED, "a model that was saved: `graphspec.load(path)`"])
        source, folder = Source(str(path), read_text(path, str(path))), [path.parent]
    places = list(dict.fromkeys([*map(Path, roots), *folder]))
    for place in places:
        if not place.is_dir():
            raise fail("E0802", f"the root {place} is not a folder")
    return open_source(source, entry, lenient=lenient, roots=places, options=options or {}, limits=limits, seed=seed)


def open_source(
    source: Source,
    entry: str | None,
    *,
    lenient: bool,
    roots: Sequence[Path],
    options: Mapping[str, Any],
    limits: Limits | None = None,
    library: StandardLibrary | None = None,
    texts: Mapping[str, str] | None = None,
    seed: int = 1,
) -> Opened:
    """Evaluate a source; suggested fixes are shown only if the spec compiles with them."""
    limits = limits or Limits()
    library = library or StandardLibrary(roots)
    with plugins_used() as plugins:
        evaluation = evaluate(
            source, roots=roots, overrides=options, entry=entry, lenient=lenient, limits=limits, library=library, texts=texts, seed=seed
        )
    return Opened(source, evaluation, library, entry, lenient, tuple(roots), dict(options), limits, seed, tuple(sorted(plugins)))


def pick_module(opened: Opened) -> GModule:
    """The gModule that the spec gives (another module becomes one, with one input); E0430 when it gives several or an experiment."""
    result = opened.result
    if isinstance(result, GModule):
        return result
    origin = opened.evaluation.origin
    if isinstance(result, dict):
        names = sorted(result)
        example = next((name for name in names if isinstance(result[name], GModule)), None) or entry_for(result) or "f()"
        raise fail(
            "E0430",
            f"this spec returns a table ({', '.join(names) or 'empty'}): say which model to compile",
            origin,
            helps=[f"with an entry, a Lua expression over those names: `--entry '{example}'`, in Python the second argument"],
        )
    if isinstance(result, Module):  # Torch's models without a graph: nn.Sequential():add(...)
        source = connect(new_module("Identity", [], result.origin), None, result.origin)
        return gmodule([source], [connect(result, source, result.origin)], result.origin)
    raise fail("E0430", "this spec is an experiment: train it with `graphspec run`, or `graphspec.experiment` in Python", origin)


def with_tried_fixes(opened: Opened, failure: SpecError) -> SpecError:
    """The same error; of the fixes its diagnostics carry, those that make the spec compile are put into words."""
    told = []
    for problem in failure.diagnostics:
        helps = []
        for fix in problem.fixes[:MAX_TRIES]:
            source = fix.span.source
            text = source.text[: fix.span.start] + fix.text + source.text[fix.span.end :]
            if _compiles(opened, {source.path: text}):
                helps.append(f"try `{fix.text}` at line {fix.span.line}" + ("" if source is opened.source else f" of {source.path}"))
        told.append(replace(problem, helps=(*problem.helps, *helps), fixes=()))
    found = SpecError(*told)
    found.typed = failure.typed
    found.draw_as = opened.source.path if opened.evaluation.debug else None
    return found


def _compiles(opened: Opened, texts: dict[str, str]) -> bool:
    known = {s.path: s.text for s in opened.evaluation.sources}
    try:
        again = open_source(
            opened.source,
            opened.entry,
            lenient=opened.lenient,
            roots=opened.roots,
            options=opened.options,
            limits=opened.limits,
            texts={**known, **texts},
            seed=opened.seed,
        )
        infer(pick_module(again), tries=1)
    except SpecError:
        return False
    return True
