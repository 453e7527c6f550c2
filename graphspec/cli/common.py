"""What commands share: opening the spec that the command line names."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from graphspec.build import Limits
from graphspec.cli.output import Output
from graphspec.errors import Diagnostic, SpecError, fail
from graphspec.graph import load_remembered
from graphspec.open import Opened, open_spec, pick_module, with_tried_fixes
from graphspec.passes.told import PassReport
from graphspec.program import Typed, infer, named_parameters
from graphspec.suggest import did_you_mean

POSITIONAL = ("command", "spec", "options")
"""Of a command line's arguments, those that stand without a dash."""


def spec_arguments(sub: argparse.ArgumentParser, entry: bool = True) -> None:
    """SPEC, its options, and (for libraries) an entry."""
    sub.add_argument("spec", metavar="SPEC", help="a .spec file")
    sub.add_argument(
        "options",
        nargs="*",
        default=[],
        metavar="NAME=VALUE",
        help="options of the spec, and fields such as data.path, optim.learningRate, experiment.epochs",
    )
    if entry:
        sub.add_argument("--entry", metavar="LUA", help="an expression over what a library returns, such as 'network({rnn_size=5})'")


def precision_argument(sub: argparse.ArgumentParser) -> None:
    """``--precision``, of matrix products."""
    words = "of matrix products of float32: bf16 rounds their operands, on the native device with AVX-512 BF16 (default: float32)"
    sub.add_argument("--precision", default="float32", metavar="NAME", help=words)


def remembered_plugins(folder: Path, known: Mapping[str, Any], out: Output) -> None:
    """Load the plugins that a run was trained with, from where their code lay if Python does not find them; that is told.

    Code inside the run's own folder is not run: a folder may come from anybody.
    """
    files = known.get("plugin_files")
    for name in known.get("plugins", []):
        file = files.get(name) if isinstance(files, dict) else None
        own = not isinstance(file, str) or Path(file).resolve().is_relative_to(folder.resolve())
        if load_remembered(str(name), None if own else file):
            out.note(f"the plugin {name} is taken from {file}")


def place(text: str) -> str:
    """A file or folder that the command line names: not nothing."""
    if not text:
        raise argparse.ArgumentTypeError("a name is wanted, got nothing")
    return text


def overrides(words: list[str], form: str = "options are given as `rnn_size=256`") -> dict[str, Any]:
    """``name=value`` words as a dict; E0807 for a word that is none, with the ``form`` that is wanted."""
    found: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise fail("E0807", f"{word!r} is not NAME=VALUE", helps=[form])
        if name in found:
            raise fail("E0807", f"{name} is given twice")
        found[name] = value
    return found


def sizes_given(text: str) -> dict[str, int]:
    """Sizes from ``B=50,T=50``; E0807 for what are no whole numbers."""
    found: dict[str, int] = {}
    for name, value in overrides([word for word in text.split(",") if word], "sizes are given as `--at B=50,T=50`").items():
        if not value.isdigit():
            raise fail("E0807", f"--at {name}={value}: a whole number is wanted")
        found[name] = int(value)
    return found


def limits(words: list[str]) -> Limits:
    """``--limit name=N``; E0807 for a limit that does not exist."""
    known = [f.name for f in fields(Limits)]
    given: dict[str, int] = {}
    for name, value in overrides(words, "limits are given as `--limit steps=1000000`").items():
        if name not in known:
            raise fail("E0807", f"there is no limit {name}", helps=did_you_mean(name, known) or [f"limits are {', '.join(known)}"])
        if not value.isdigit():
            raise fail("E0807", f"--limit {name}: a whole number is wanted, got {value!r}")
        given[name] = int(value)
    return Limits(**given)


def opened(args: argparse.Namespace, **more: Any) -> Opened:
    """The spec of the command line, evaluated."""
    options, allowed = {**overrides(args.options), **more}, limits(args.limit)
    with pointing_beside(args):
        return open_spec(args.spec, getattr(args, "entry", None), lenient=args.lenient, roots=args.root, options=options, limits=allowed)


@contextmanager
def pointing_beside(args: argparse.Namespace, meant: Sequence[str] = ()) -> Iterator[None]:
    """What is said of a spec that is not there: what else may be ``meant`` by its name, else a spec that lies beside; and of an option that
    the spec has not, but the command."""
    try:
        yield
    except SpecError as failure:
        first = failure.diagnostics[0]
        if first.code == "E0801" and not Path(args.spec).exists():
            raise SpecError(first.with_help(*(meant or beside(Path(args.spec))))) from None
        failure.diagnostics = tuple(_as_option(problem, args) for problem in failure.diagnostics)
        raise


def _as_option(problem: Diagnostic, args: argparse.Namespace) -> Diagnostic:
    """An option that the spec has not (E0602) is the command's own where that has one by its name."""
    name = problem.message.rpartition(" ")[2]
    if problem.code != "E0602" or name not in vars(args) or name in POSITIONAL:
        return problem
    value = "" if isinstance(vars(args)[name], bool) else f" {overrides(args.options)[name]}"
    return replace(problem, helps=(f"did you mean `--{name.replace('_', '-')}{value}`?",))


def beside(path: Path) -> list[str]:
    """The spec that may be meant by a path where there is none."""
    names = [other.name for other in path.parent.glob("*.spec")]
    form = f"{path.parent}/{{}}" if path.parent.name else "{}"
    return did_you_mean(path.name if path.suffix else f"{path.name}.spec", names, form)


def pass_rows(reports: Sequence[PassReport]) -> list[tuple[str, str]]:
    """What passes did: a row for each sentence, the pass's name before its first."""
    return [(report.name if i == 0 else "", text) for report in reports for i, text in enumerate(report.sentences)]


def typed(opened: Opened, dtype: str) -> Typed:
    """Its model with every type known; errors come with fixes that were tried."""
    module = pick_module(opened)
    named_parameters(module)
    try:
        return infer(module, dtype)
    except SpecError as failure:
        raise with_tried_fixes(opened, failure) from None
