"""From a module's name to its record, or to what is said where there is none; plugins, which bring records of their own.

A plugin is a Python module that registers records when it is imported.  It is named by its dotted name, or it is installed with an entry
point of the group ``graphspec.modules``: then it is loaded when a spec uses a name that nothing else has.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.machinery import PathFinder
from importlib.metadata import entry_points
from pathlib import Path
from traceback import extract_tb, walk_tb
from typing import Any

from graphspec.errors import SpecError, fail
from graphspec.graph.elsewhere import named_elsewhere
from graphspec.graph.record import LEFT_OUT, REGISTRY, NameTaken, Record
from graphspec.suggest import did_you_mean

GROUP = "graphspec.modules"

BROKEN: dict[str, SpecError] = {}
"""Installed plugins that could not be loaded, with the reason."""

_used: ContextVar[set[str] | None] = ContextVar("plugins used", default=None)


def find_record(name: str) -> Record | None:
    """The record of ``nn.<name>``; installed plugins are loaded, one after another, until one of them has it."""
    if name not in REGISTRY:
        load_installed(name)
    record = REGISTRY.get(name)
    used, home = _used.get(), type(record).__module__
    if record is not None and used is not None and home.partition(".")[0] not in ("graphspec", "__main__"):
        used.add(home)
    return record


def load_installed(wanted: str = "") -> None:
    """Load installed plugins, those called ``wanted`` first, until one of them has registered that name."""
    for _, plugin in sorted(installed(), key=lambda point: point[0] != wanted):
        if wanted not in REGISTRY and plugin not in BROKEN:
            try:
                load_plugin(plugin)
            except SpecError as failure:  # it matters only if nothing else has the name: about_missing tells it then
                BROKEN[plugin] = failure


def about_missing(name: str) -> dict[str, Any]:
    """What an error says of a name that no record has: why it was left out, what it is called here if it is PyTorch's or Keras', or the
    nearest name, and which plugins could not be asked."""
    notes = [LEFT_OUT[name]] if name in LEFT_OUT else []
    notes += [f"an installed plugin could not be loaded: {d.message}" for failure in BROKEN.values() for d in failure.diagnostics]
    if name in LEFT_OUT:
        return {"notes": notes, "helps": []}
    elsewhere = named_elsewhere(name)
    return {"notes": notes, "helps": [elsewhere] if elsewhere else did_you_mean(name, REGISTRY, "nn.{}")}


@contextmanager
def plugins_used() -> Iterator[set[str]]:
    """The dotted names of the plugins whose records are found within."""
    found: set[str] = set()
    token = _used.set(found)
    try:
        yield found
    finally:
        _used.reset(token)


@cache
def installed() -> tuple[tuple[str, str], ...]:
    """The entry points of installed plugins: a name, and the Python module to import."""
    return tuple((point.name, point.module) for point in entry_points(group=GROUP))


def load_plugin(name: str) -> None:
    """Import a plugin: E0821 when it cannot be imported or registers nothing, E0822 when one of its names is taken."""
    if name.endswith(".py") or not all(part.isidentifier() for part in name.split(".")):
        stem = name.removesuffix(".py").strip("./").replace("/", ".")
        raise fail("E0821", f"{name!r} is no name of a Python module", helps=did_you_mean(name, [stem]))
    before = set(REGISTRY)
    importlib.invalidate_caches()  # its file may be a moment old
    try:
        importlib.import_module(name)
    except NameTaken as clash:
        _forget(before)
        helps = ["give the record another name: a spec says nn.<name> and can mean one module only"]
        raise fail("E0822", f"the plugin {name} registers nn.{clash.name}, which {clash.owner} has already", helps=helps) from None
    except (Exception, SystemExit) as failure:
        _forget(before)
        raise _unloadable(name, failure) from None
    if set(REGISTRY) == before and not any(f"{type(r).__module__}.".startswith(f"{name}.") for r in REGISTRY.values()):
        helps = ["a plugin imports `register` from graphspec.graph and decorates its records with it"]
        raise fail("E0821", f"the plugin {name} registers no module", helps=helps)


def load_remembered(name: str, file: str | None = None) -> bool:
    """Load a plugin that a file names, a run or a saved model; ``file`` is where its code lay.  True if it was looked for there.

    A file may name any Python module, and importing runs it: so only one that is imported already, or whose text has to do with
    graphspec, is taken for a plugin.
    Where its code lay is only looked at if Python finds no such module; then its folder is searched too.  E0821 for another.
    """
    if name in sys.modules or _mentions_graphspec(name):
        load_plugin(name)
        return False
    ends = (f"{os.sep}{name.replace('.', os.sep)}{end}" for end in (".py", f"{os.sep}__init__.py"))
    end = next((end for end in ends if file is not None and file.endswith(end)), None)
    if file is not None and end is not None:
        if not os.path.isfile(file):
            helps = ["put it back, or name it where it is now: `--plugin`, in its folder"]
            raise fail("E0821", f"the plugin {name} is gone: it was in {file}, and nothing is there", helps=helps)
        sys.path.append(file.removesuffix(end) or os.sep)
    if end is None or not _mentions_graphspec(name):
        helps = ["if it is what the spec was trained with, name it: `--plugin`; in Python import it before"]
        raise fail("E0821", f"the plugin {name} is not there, or has nothing to do with graphspec: it is not imported", helps=helps)
    load_plugin(name)
    return True


def code_of(plugin: str) -> str | None:
    """The file that a plugin's code lies in, an absolute path; None where it has none."""
    file = getattr(sys.modules.get(plugin), "__file__", None)
    return os.path.abspath(file) if file else None


def _mentions_graphspec(name: str) -> bool:
    """Whether there is a Python file of that dotted name with the word in it, found without importing anything."""
    folders = None
    for depth in range(name.count(".") + 1):
        found = PathFinder.find_spec(".".join(name.split(".")[: depth + 1]), folders)
        if found is None:
            return False
        folders = found.submodule_search_locations
        if folders is None:
            break
    try:
        return found is not None and found.origin is not None and b"graphspec" in Path(found.origin).read_bytes()
    except OSError:
        return False


def _forget(before: set[str]) -> None:
    """Take away what a plugin registered before it failed, so that it can be loaded again when it is mended."""
    for name in set(REGISTRY) - before:
        if type(REGISTRY[name]).__module__ not in sys.modules:
            del REGISTRY[name]


def _unloadable(name: str, failure: BaseException) -> SpecError:
    if isinstance(failure, ModuleNotFoundError) and f"{name}.".startswith(f"{failure.name}."):
        helps = ["install its package, or name it with `--plugin` where its file lies: that looks in the current folder too"]
        return fail("E0821", f"the plugin {name} is not there: there is no Python module {failure.name}", helps=helps)
    places = [(f.filename, f.lineno) for f in extract_tb(failure.__traceback__)]
    if isinstance(failure, SyntaxError) and failure.filename:
        places.append((failure.filename, failure.lineno))
    importing = ("<", os.path.dirname(os.path.dirname(__file__)) + os.sep, os.path.dirname(importlib.__file__))
    places = [place for place in places if not place[0].startswith(importing)]
    notes = [f"at {_short(places[-1][0])}:{places[-1][1]}"] if places else []
    said = str(failure) if isinstance(failure, SpecError) else f"{type(failure).__name__}: {getattr(failure, 'msg', failure)}"
    return fail("E0821", f"the plugin {name} cannot be imported: {said}", notes=notes)


def plugin_at_fault(bug: BaseException) -> tuple[str, str] | None:
    """The plugin in whose code an exception arose, or was on its way through, and the innermost place there."""
    homes = {type(record).__module__ for record in REGISTRY.values()}
    for frame, line in reversed(list(walk_tb(bug.__traceback__))):
        home = frame.f_globals.get("__name__", "")
        if home in homes and home.partition(".")[0] != "graphspec":
            return home, f"{_short(frame.f_code.co_filename)}:{line}"
    return None


def _short(path: str) -> str:
    """A path from the current folder, where it lies in it."""
    return os.path.relpath(path) if os.path.realpath(path).startswith(os.path.realpath("") + os.sep) else path
