"""``graphspec``: arguments, and what becomes of errors."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from graphspec import __version__
from graphspec.cli.output import FAILED, INTERRUPTED, NO_DEVICE, OK, USAGE, Output, Unwritable
from graphspec.errors import SpecError, error
from graphspec.settings import check_device
from graphspec.suggest import did_you_mean, one_of, same

COMMANDS = {
    "compile": "infer shapes, compile, and say what came of it",
    "run": "train an experiment",
    "eval": "a trained model on its held-out data, or on others",
    "predict": "what a trained model says of new arrays",
    "sample": "write with a trained model",
    "probe": "how gradients fare over time: norms of Jacobians against their bound",
    "bench": "how fast a training step is, against the machine's bound and other frameworks",
    "profile": "where a step's time goes: by line of the spec, by kind of work, by pass",
    "plot": "draw learning curves of runs",
    "runs": "list runs, or compare them",
    "draw": "draw the model: an SVG picture, or a page to explore",
    "check": "compare gradients with finite differences",
    "check-module": "prove an nn module by its samples: gradients, devices, its PyTorch twin",
    "modules": "every nn module: arguments, shapes, sources, and how it is proved",
    "weights": "what a file of PyTorch or Torch holds, and taking parameters from it",
    "fmt": "lay specs out in the standard way",
    "cache": "what was compiled and is kept on this machine",
    "doctor": "what this machine has",
    "explain": "what an error code means, with an example",
}

WITH_SPECS = ("compile", "run", "eval", "predict", "sample", "probe", "bench", "profile", "draw", "check", "weights")
"""Commands that evaluate a spec: they share options."""

DEVICE_ERROR = "E0701"


class Unreadable(Exception):
    """A command line that means nothing: what is wrong with it, what may be meant, and what its command takes."""

    def __init__(self, message: str, helps: list[str], usage: str) -> None:
        super().__init__(message)
        self.helps = helps
        self.usage = usage


class Parser(argparse.ArgumentParser):
    """argparse, with a suggestion for a command, an option or a choice that does not exist, and all commands where none is named."""

    chosen: Parser | None = None
    """The parser of the command that is used."""

    def error(self, message: str) -> NoReturn:
        usage = self.format_help() if message.endswith("required: COMMAND") else self.format_usage()
        helps = []
        if found := CHOICE.match(message):
            where, given = found.groups()
            if where == "COMMAND":
                option = [f"did you mean `--{given}`?"] if f"--{given}" in self._option_string_actions else []  # help, version
                message, helps = f"there is no command {given!r}", option or one_of(given, COMMANDS)
            else:
                helps = did_you_mean(given, next((a.choices for a in self._actions if a.choices and where in a.option_strings), ()))
        raise Unreadable(message.replace(" (choose from ", " (there are "), helps, usage)

    def unknown(self, words: list[str]) -> NoReturn:
        """For words that nothing takes: what may be meant, a field of the experiment, an option, or one of the spec."""
        takes_fields = any(action.dest == "options" for action in self._actions)
        fields = fields_of_experiments() if takes_fields else {}
        options = [option.removeprefix("--") for option in self._option_string_actions if option.startswith("--")]
        helps = []
        for word, after in zip(words, [*words[1:], ""], strict=True):
            name, equals, value = word.lstrip("-").partition("=")
            if name == word:
                helps += [f"did you mean `--{name}`?"] if name in options else []
                continue
            if not name[:1].isalpha():
                continue
            value = (value if equals or after.startswith("-") else after) or "..."
            if (field := same(name, fields)) is not None:
                helps.append(fields[field].replace("=`?", f"={value}`?"))
                continue
            commands = takers(f"--{name}")
            if commands:
                helps.append(f"`--{name}` is an option of {', '.join(commands)}")
            elif found := did_you_mean(name, options, "--{}"):
                helps += found
                continue
            if takes_fields:
                helps.append(f"options of a spec have no dashes: `{name.replace('-', '_')}={value}`")
        raise Unreadable(f"unrecognized arguments: {' '.join(words)}", helps, self.format_usage())


CHOICE = re.compile(r"argument (\S+): invalid choice: '(.*?)'")


def takers(option: str) -> list[str]:
    """The commands that have an option of their own by that name."""
    found = []
    for name in COMMANDS:
        sub = Parser(add_help=False)
        import_module(module_of(name)).arguments(sub)
        if option in sub._option_string_actions:
            found.append(name)
    return found


def fields_of_experiments() -> dict[str, str]:
    """Names for which other programs have an option, and what to say of each."""
    from graphspec.build.options import OPTIMIZER
    from graphspec.library import StandardLibrary

    library = StandardLibrary()
    kinds = [("experiment", library.experiment_fields), *((kind, schema.fields) for kind, schema in library.schemas.items())]
    found = {name: f"did you mean `{kind.partition('.')[0]}.{name}=`?" for kind, names in reversed(kinds) for name in names}
    return {**found, "optimizer": OPTIMIZER}


def parser(chosen: str | None) -> Parser:
    """The command line; only the ``chosen`` command's own arguments are loaded."""
    top = Parser(prog="graphspec", description="Compile, check, train and sample from .spec files (Torch nngraph code).")
    top.add_argument("--version", action="version", version=f"graphspec {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    for name, text in COMMANDS.items():
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.add_argument("--json", action="store_true", help="machine-readable output")
        if name not in ("cache", "doctor", "explain", "fmt", "plot", "runs"):
            plugins = "a Python module that registers nn modules (again for more)"
            sub.add_argument("--plugin", action="append", default=[], metavar="MODULE", help=plugins)
        if name in WITH_SPECS:
            threads = "threads that work (default: OMP_NUM_THREADS, else one a core; bench: 1)"
            sub.add_argument("--threads", type=int, metavar="N", help=threads)
            sub.add_argument("--lenient", action="store_true", help="dangling nodes and duplicates are warnings, for old files")
            sub.add_argument(
                "--root",
                action="append",
                default=[],
                metavar="DIR",
                help="where `require` and paths of data look before the spec's own folder (again for more)",
            )
            limits = "raise a limit of evaluation: steps, depth, nesting, tokens, text, nodes, elements"
            sub.add_argument("--limit", action="append", default=[], metavar="NAME=N", help=limits)
            devices = "cpu (the default: native where there is a C compiler, else numpy), native, numpy, cuda, cuda:1, reference"
            sub.add_argument("--device", default="cpu", help=devices)
        if name == chosen:
            import_module(module_of(name)).arguments(sub)
            top.chosen = sub
    return top


def module_of(command: str) -> str:
    return f"graphspec.cli.{command.replace('-', '_')}"


def load_plugins(names: Sequence[str]) -> None:
    """Those that the command line names: they are looked for in the current folder too, as Python does for ``-m``."""
    if names:
        from graphspec.graph import load_plugin

        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())
        import_module("graphspec.nn")  # first, so that of a name that both have the plugin's is the one too many
        for name in names:
            load_plugin(name)


def parse(words: list[str]) -> argparse.Namespace:
    """Arguments; NAME=VALUE words may stand anywhere (argparse alone takes them before the flags only)."""
    top = parser(next((word for word in words if word in COMMANDS), None))
    args, rest = top.parse_known_args(words)
    stray = [word for word in rest if word.startswith("-") or "=" not in word or not hasattr(args, "options")]
    if stray:
        (top.chosen or top).unknown(stray)
    if rest:
        args.options = [*args.options, *rest]
    return args


def pictured(failure: SpecError) -> SpecError:
    """The error, and a picture of it where the spec asked for one."""
    if failure.draw_as is None:
        return failure
    from graphspec.draw.failure import draw_failure

    try:
        return draw_failure(failure)
    except SpecError as problem:  # the picture cannot be drawn or written: the error itself is what matters
        return SpecError(*failure.diagnostics, *problem.diagnostics)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    path = list(sys.path)
    try:
        return command(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        Output(False).note("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        _forget_output()
        return OK
    except Unwritable as failure:
        _forget_output()
        Output(False).failure(SpecError(error("E0805", f"standard output cannot be written: {failure}")))
        return FAILED
    finally:
        sys.path[:] = path  # a plugin may have had the current folder added


def command(words: list[str]) -> int:
    """The exit code of a command line; errors are told."""
    out = Output("--json" in words)
    try:
        args = parse(words)
    except SystemExit:
        out.text("", end="")  # help and version wait in the buffer
        return OK
    except Unreadable as wrong:
        if out.as_json:
            out.failure(SpecError(error("E0807", str(wrong), helps=wrong.helps)))
        else:
            out.note(wrong.usage + "\n".join([f"graphspec: {wrong}", *(f"  {help}" for help in wrong.helps)]))
        return USAGE
    out.as_json = args.json  # which may be shortened
    try:
        given = getattr(args, "device", None)
        for name in [given] if isinstance(given, str) else given or []:  # before anything else is read
            check_device(name)
        load_plugins(getattr(args, "plugin", []))
        return int(import_module(module_of(args.command)).run(args, out))
    except SpecError as failure:
        out.failure(pictured(failure))
        return NO_DEVICE if failure.code == DEVICE_ERROR else FAILED
    except (BrokenPipeError, Unwritable):
        raise
    except MemoryError:
        out.failure(SpecError(error("E0702", "not enough memory for this", helps=["smaller sizes, or a smaller batch, need less"])))
        return FAILED
    except Exception as bug:
        if os.environ.get("GRAPHSPEC_TRACEBACK"):
            raise
        if isinstance(bug, OSError) and bug.filename is not None:  # a folder that may not be entered, a name that is too long
            out.failure(SpecError(error("E0801", f"{os.fspath(bug.filename)} cannot be read: {bug.strerror}")))
            return FAILED
        from graphspec.graph import plugin_at_fault

        found = plugin_at_fault(bug)
        if found is not None:
            plugin, place = found
            helps = [f"`graphspec check-module NAME --plugin {plugin}` proves its modules one by one"]
            told = error("E0823", f"a mistake in the plugin {plugin}: {type(bug).__name__}: {bug}", notes=[f"at {place}"], helps=helps)
            out.failure(SpecError(told))
            return FAILED
        text = f"a mistake in graphspec itself: {type(bug).__name__}: {bug}"
        helps = ["please report it with the spec; with GRAPHSPEC_TRACEBACK=1 in the environment it says where it happened"]
        out.failure(SpecError(error("E0901", text, helps=helps)))
        return FAILED


def _forget_output() -> None:
    """What waits in the buffer of standard output goes nowhere: the interpreter flushes it at exit, and would complain."""
    with contextlib.suppress(AttributeError, OSError, ValueError):  # there may be no standard output, or none with a handle
        handle = sys.stdout.fileno()
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), handle)
