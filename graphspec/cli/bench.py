"""``graphspec bench``: how long a step takes, against the machine's bound and beside other frameworks."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from graphspec.bench import (
    CELLS,
    CONFIGS,
    PEERS,
    STEP_PEERS,
    Case,
    Machine,
    Result,
    Settings,
    StepCase,
    figures,
    make_case,
    make_steps,
    measure,
    measure_machine,
    peers_named,
)
from graphspec.bench.contest import TENTHS
from graphspec.bench.step import open_experiment
from graphspec.cli.common import limits, overrides, pointing_beside, precision_argument, sizes_given
from graphspec.cli.output import Output
from graphspec.engine import MOST_THREADS
from graphspec.errors import fail
from graphspec.machine import environment
from graphspec.passes import ARRAYS, KERNELS, PASSES
from graphspec.suggest import did_you_mean
from graphspec.tensorfile import write_bytes
from graphspec_runtime.threads import cores

MAX_REPEATS = 10_000
MAX_MEMORY = 10**7
NAMES = tuple(dict.fromkeys(name for name, _ in (*PASSES, *KERNELS, *ARRAYS)))
"""Of the compiler's passes."""
QUIET = 0.5
"""The load of other processes above which times of several threads are told to be doubtful."""


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("spec", nargs="?", metavar="SPEC", help="a spec with an experiment, instead of the shipped models")
    sub.add_argument("options", nargs="*", default=[], metavar="NAME=VALUE", help="options of the spec, and fields such as data.batch")
    known = f"sizes of the shipped models: {', '.join(CONFIGS)} (default: char)"
    sub.add_argument("--config", default="char", metavar="NAME,...", help=known)
    sub.add_argument("--cell", default="lstm", metavar="NAME,...", help=f"which of them: {', '.join(CELLS)} (default: lstm)")
    sub.add_argument("--at", default="", metavar="B=50,T=50", help="other sizes than the configuration's: B, T, H, V, L, S")
    sub.add_argument("--peers", default="", metavar="NAME,...", help=f"beside the same step in {', '.join(PEERS)} (default: none)")
    steps = f"a step of a layer alone (B=1, L=1), in the loop of `graphspec sample`; peers: {', '.join(STEP_PEERS)}"
    sub.add_argument("--step", action="store_true", help=steps)
    sub.add_argument("--without", default="", metavar="PASS,...", help="beside graphspec without this pass of the compiler, such as tables")
    sub.add_argument("--memory", type=int, default=0, metavar="STEPS", help="then do so many steps, and tell what memory is in use")
    precision_argument(sub)
    sub.add_argument("--update", action="store_true", help="clipping and optimizer belong to the step")
    sub.add_argument("--repeats", type=int, default=5, metavar="N", help="turns of each contender, of which the median counts (default: 5)")
    sub.add_argument("-o", "--out", metavar="FILE", help="write all that was found there too, as JSON")
    sub.set_defaults(threads=1)


def run(args: argparse.Namespace, out: Output) -> int:
    settings, whats = asked(args), subjects(args)
    if isinstance(whats[0], str):  # what is wrong with a spec is said before the machine is measured
        with pointing_beside(args, as_option(args.spec)):
            open_experiment(whats[0], overrides(args.options), settings.roots, settings.lenient, settings.limits, settings.plugins)
    with out.at_work(bool(args.out)):
        record = told(args, settings, whats, out)
        if args.out:
            write_bytes(Path(args.out), (json.dumps(record, indent=1) + "\n").encode())
    if args.json:
        out.json(record)
    return 0


def told(args: argparse.Namespace, settings: Settings, whats: Sequence[Case | str], out: Output) -> dict[str, Any]:
    """All that is measured, as JSON; in words as it comes."""
    found: list[Result] = []
    load = other_load()
    if settings.clock == "wall" and load > QUIET:
        out.note(f"other processes are busy (load {load:.1f}): times with several threads then say little")
    machine = measure_machine(settings.threads or cores())
    if not args.json:
        say_machine(machine, out)
        clock = "processor time" if settings.clock == "cpu" else "time"
        out.text(f"a step is {step_said(args)}; {clock}, the median of {args.repeats} turns\n")
    for what in whats:
        result = measure(what, settings, overrides(args.options), out.note if out.live else lambda text: None)
        found.append(result)
        if not args.json:
            show(result, machine, out)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"), "environment": environment(), "machine": machine.to_json(),
        "device": settings.device, "threads": settings.threads, "precision": settings.precision, "update": settings.update,
        "repeats": settings.repeats, "clock": settings.clock, "load": load, "memory_steps": settings.memory,
        "missing": list(dict.fromkeys(word for r in found for word in r.missing)),
        "results": [row for result in found for row in result.to_json(machine)],
    }  # fmt: skip


def asked(args: argparse.Namespace) -> Settings:
    """E0807 for what makes no sense."""
    for name, least, most in (("repeats", 1, MAX_REPEATS), ("threads", 1, MOST_THREADS), ("memory", TENTHS, MAX_MEMORY)):
        if not least <= getattr(args, name) <= most and (name != "memory" or args.memory):
            raise fail("E0807", f"--{name} must be from {least} to {most:,}, got {getattr(args, name)}")
    peers = peers_named(words(args.peers), STEP_PEERS if args.step else PEERS)
    for name in words(args.without):
        if name not in NAMES:
            helps = did_you_mean(name, NAMES) or [f"there are {', '.join(NAMES)}"]
            raise fail("E0807", f"--without: there is no pass {name!r}", helps=helps)
    for name in ("update", "spec") if args.step else ():
        if getattr(args, name):
            raise fail("E0807", f"--step is for layers of the shipped models, and takes no {'--update' if name == 'update' else 'spec'}")
    if args.step and args.precision != "float32":
        raise fail("E0807", "what generates computes in float32, so --precision has no meaning beside --step")
    if peers and args.spec:
        helps = ["leave out the spec: `graphspec bench --peers torch`"]
        raise fail("E0807", "--peers are for the shipped models, not for a spec", helps=helps)
    return Settings(
        args.device, args.threads, args.precision, args.update, args.repeats, peers, words(args.without), args.memory, tuple(args.root),
        args.lenient, limits(args.limit), tuple(args.plugin),
    )  # fmt: skip


def subjects(args: argparse.Namespace) -> list[Case | str]:
    """The spec, or each cell in each configuration (the decoder, which has sizes of its own, once)."""
    if args.spec and ("=" not in args.spec or Path(args.spec).exists()):
        return [args.spec]
    if args.spec or args.options:
        helps = ["sizes of the shipped models: `--at B=8,T=20`"]
        raise fail("E0807", f"{args.spec or args.options[0]} stands before any spec", helps=helps)
    changed = sizes_given(args.at)
    for name in ("config", "cell"):
        if not words(getattr(args, name)):
            raise fail("E0807", f"--{name} names nothing")
    if args.step:
        return [step for cell in words(args.cell) for step in make_steps(cell, changed)]
    cases = [make_case(config, cell, changed) for config in words(args.config) for cell in words(args.cell)]
    return list({str(case): case for case in cases}.values())


def as_option(spec: str) -> list[str]:
    """The option that may be meant by names that stand where a spec is wanted."""
    values = {"config": CONFIGS, "cell": CELLS, "peers": PEERS, "without": NAMES}
    found = [option for option, names in values.items() if words(spec) and set(words(spec)) <= {*names}]
    return [f"did you mean `--{option} {spec}`?" for option in found]


def words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def other_load() -> float:
    """Processes that wanted a core, the mean of the last minute; 0 where the system does not tell."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


# -- what is said ----------------------------------------------------------------------------------------------------------------


def say_machine(machine: Machine, out: Output) -> None:
    threads = f"{machine.threads} thread{'s' if machine.threads > 1 else ''}"
    out.text(
        f"{machine.processor}, {threads}: {machine.peak / 1e9:.0f} GFLOP/s, memory {machine.dram / 1e9:.0f} GB/s, "
        f"cache {machine.cache / 1e9:.0f} GB/s (measured by {machine.measured})"
    )


def step_said(args: argparse.Namespace) -> str:
    """What a step is, in words."""
    if args.step:
        return "a layer's next state, in the loop of `graphspec sample`, in float32"
    low = "" if args.precision == "float32" else f" with products of {args.precision}"
    return f"{'forward, backward, clipping and optimizer' if args.update else 'forward and backward'} in float32{low}"


def show(result: Result, machine: Machine, out: Output) -> None:
    rows = result.to_json(machine)
    about = f", bound {figures(rows[0]['bound_ms'])} ms" if result.bounded else ""
    unit, power = ("ms", 1) if not isinstance(result.case, StepCase) else ("us", 1000)
    if isinstance(result.case, StepCase):
        about = f", {figures(result.work.bytes / 1e6)} MB of weights"
    symbols = f"{result.symbols:,} symbol{'s' if result.symbols > 1 else ''} a step"
    out.text(f"{result.title}: {symbols}, {figures(result.work.flops / 1e9)} GFLOP{about}")
    head = ("", f"{unit} a step", "symbols/s", "GFLOP/s", "of peak", "to bound", "to ours", "memory", "in use", "first step")
    table = [head, *(_row(row, len(rows) > 1, power) for row in rows)]
    shown = [i for i in range(len(head)) if any(line[i] for line in table[1:])]
    out.table([tuple(line[i] for i in shown) for line in table], right=tuple(range(1, len(shown))))
    for word in result.missing:
        out.text(f"  {word}")
    out.text("")


def _row(row: dict[str, Any], compared: bool, power: int) -> tuple[str, ...]:
    """Times are milliseconds times ``power``."""
    cold = row["cold_compile_s"]
    first = f"{row['compile_s']:.2f} s" + (f" (cold {cold:.2f} s)" if cold is not None else "")
    return (
        row["contender"], figures(power * row["ms"]), f"{row['symbols_per_second']:,.0f}", figures(row["gflops"]), f"{row['of_peak']:.0%}",
        f"{row['to_bound']:.2f}" if "to_bound" in row else "", f"{row['ratio']:.2f}" if compared else "",
        f"{row['peak_bytes'] / 1e6:,.0f} MB", in_use(row.get("resident_bytes", ())), first,
    )  # fmt: skip


def in_use(resident: Sequence[int]) -> str:
    """Memory after the first tenth of the steps that were done for it, and after all."""
    return " .. ".join(f"{resident[i] / 1e6:,.1f}" for i in (0, -1)) + " MB" if resident else ""
