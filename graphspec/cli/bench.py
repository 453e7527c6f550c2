"""``graphspec bench``: how long a training step takes, against the machine's bound and beside other frameworks."""

from __future__ import annotations

import argparse
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from graphspec.bench import (
    CELLS,
    CONFIGS,
    PEERS,
    Case,
    Machine,
    Result,
    Settings,
    figures,
    make_case,
    measure,
    measure_machine,
    peers_named,
)
from graphspec.cli.common import limits, overrides, precision_argument, sizes_given
from graphspec.cli.output import Output
from graphspec.errors import fail
from graphspec.machine import environment
from graphspec.tensorfile import write_bytes
from graphspec_runtime.threads import cores

MAX_REPEATS = 10_000
QUIET = 0.5
"""The load of other processes above which times of several threads are told to be doubtful."""


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("spec", nargs="?", metavar="SPEC", help="a spec with an experiment, instead of the shipped models")
    sub.add_argument("options", nargs="*", metavar="NAME=VALUE", help="options of the spec, and fields such as data.batch")
    known = f"sizes of the shipped models: {', '.join(CONFIGS)} (default: char)"
    sub.add_argument("--config", default="char", metavar="NAME,...", help=known)
    sub.add_argument("--cell", default="lstm", metavar="NAME,...", help=f"which of them: {', '.join(CELLS)} (default: lstm)")
    sub.add_argument("--at", default="", metavar="B=50,T=50", help="other sizes than the configuration's: B, T, H, V, L, S")
    sub.add_argument("--peers", default="", metavar="NAME,...", help=f"beside the same step in {', '.join(PEERS)} (default: none)")
    precision_argument(sub)
    sub.add_argument("--update", action="store_true", help="clipping and optimizer belong to the step")
    sub.add_argument("--repeats", type=int, default=5, metavar="N", help="turns of each contender, of which the median counts (default: 5)")
    sub.add_argument("-o", "--out", metavar="FILE", help="write all that was found there too, as JSON")
    sub.set_defaults(threads=1)


def run(args: argparse.Namespace, out: Output) -> int:
    settings, whats, found = asked(args), subjects(args), []
    load = other_load()
    if settings.clock == "wall" and load > QUIET:
        out.note(f"other processes are busy (load {load:.1f}): times with several threads then say little")
    machine = measure_machine(settings.threads or cores())
    if not args.json:
        say_machine(machine, settings, out)
    for what in whats:
        result = measure(what, settings, overrides(args.options), out.note if out.live else lambda text: None)
        found.append(result)
        if not args.json:
            show(result, machine, out)
    record = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"), "environment": environment(), "machine": machine.to_json(),
        "device": settings.device, "threads": settings.threads, "precision": settings.precision, "update": settings.update,
        "repeats": settings.repeats, "clock": settings.clock, "load": load,
        "missing": list(dict.fromkeys(word for r in found for word in r.missing)),
        "results": [row for result in found for row in result.to_json(machine)],
    }  # fmt: skip
    if args.out:
        write_bytes(Path(args.out), (json.dumps(record, indent=1) + "\n").encode())
    if args.json:
        out.json(record)
    return 0


def asked(args: argparse.Namespace) -> Settings:
    """E0807 for what makes no sense."""
    for name, most in (("repeats", MAX_REPEATS), ("threads", 1024)):
        if not 1 <= getattr(args, name) <= most:
            raise fail("E0807", f"--{name} must be from 1 to {most:,}, got {getattr(args, name)}")
    peers = peers_named(words(args.peers))
    if peers and args.spec:
        helps = ["leave out the spec: `graphspec bench --peers torch`"]
        raise fail("E0807", "--peers are for the shipped models, not for a spec", helps=helps)
    return Settings(
        args.device, args.threads, args.precision, args.update, args.repeats, peers, tuple(args.root), args.lenient, limits(args.limit),
        tuple(args.plugin),
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
    cases = [make_case(config, cell, changed) for config in words(args.config) for cell in words(args.cell)]
    return list({str(case): case for case in cases}.values())


def words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def other_load() -> float:
    """Processes that wanted a core, the mean of the last minute; 0 where the system does not tell."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


# -- what is said ----------------------------------------------------------------------------------------------------------------


def say_machine(machine: Machine, settings: Settings, out: Output) -> None:
    threads = f"{machine.threads} thread{'s' if machine.threads > 1 else ''}"
    out.text(
        f"{machine.processor}, {threads}: {machine.peak / 1e9:.0f} GFLOP/s, memory {machine.dram / 1e9:.0f} GB/s, "
        f"cache {machine.cache / 1e9:.0f} GB/s (measured by {machine.measured})"
    )
    step = "forward, backward, clipping and optimizer" if settings.update else "forward and backward"
    time = "processor time" if settings.clock == "cpu" else "time"
    low = "" if settings.precision == "float32" else f" with products of {settings.precision}"
    out.text(f"a step is {step} in float32{low}; {time}, the median of {settings.repeats} turns\n")


def show(result: Result, machine: Machine, out: Output) -> None:
    rows = result.to_json(machine)
    bound = f", bound {figures(rows[0]['bound_ms'])} ms" if result.case else ""
    out.text(f"{result.title}: {result.symbols:,} symbols a step, {figures(result.work.flops / 1e9)} GFLOP{bound}")
    head = ("", "ms a step", "symbols/s", "GFLOP/s", "of peak", "to bound", "to ours", "memory", "first step")
    table = [head, *(_row(row, len(rows) > 1) for row in rows)]
    shown = [i for i in range(len(head)) if any(line[i] for line in table[1:])]
    out.table([tuple(line[i] for i in shown) for line in table], right=tuple(range(1, len(shown))))
    for word in result.missing:
        out.text(f"  {word}")
    out.text("")


def _row(row: dict[str, Any], compared: bool) -> tuple[str, ...]:
    cold = row["cold_compile_s"]
    first = f"{row['compile_s']:.2f} s" + (f" (cold {cold:.2f} s)" if cold is not None else "")
    return (
        row["contender"], figures(row["ms"]), f"{row['symbols_per_second']:,.0f}", figures(row["gflops"]), f"{row['of_peak']:.0%}",
        f"{row['to_bound']:.2f}" if "to_bound" in row else "", f"{row['ratio']:.2f}" if compared else "",
        f"{row['peak_bytes'] / 1e6:,.0f} MB", first,
    )  # fmt: skip
