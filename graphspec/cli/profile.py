"""``graphspec profile``: where a step's time goes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from graphspec.bench.picture import time_by_line
from graphspec.bench.profile import CompiledModel, Cost, Profile, Timed, chain, profile, share, source_text
from graphspec.bench.step import CompiledStep
from graphspec.build import ExperimentSpec
from graphspec.cli.common import opened, place, precision_argument, sizes_given, spec_arguments, typed
from graphspec.cli.output import Output
from graphspec.errors import fail, one_line
from graphspec.plots.style import format_of, save
from graphspec.render import line_numbers
from graphspec.settings import DTYPES, check_settings
from graphspec_runtime.threads import default_threads

MAX_STEPS = 1_000_000
WIDTH = 44
"""Characters of a line of the spec that are shown."""
SHOWN = 0.001
"""The share of a step below which a row is left out (``--json`` has all)."""


def arguments(sub: argparse.ArgumentParser) -> None:
    spec_arguments(sub)
    sub.add_argument("--dtype", default="float32", choices=DTYPES)
    precision_argument(sub)
    sub.add_argument("--at", default="", metavar="B=50,T=50", help="sizes (default: those of the data; 32 each for a model without data)")
    sub.add_argument("--steps", type=int, metavar="N", help="steps whose mean counts (default: as many as take two seconds)")
    sub.add_argument("--instructions", action="store_true", help="each instruction of the plan too")
    sub.add_argument("-o", "--out", type=place, metavar="FILE", help="draw it: .svg, .png or .pdf")


def run(args: argparse.Namespace, out: Output) -> int:
    if args.steps is not None and not 1 <= args.steps <= MAX_STEPS:
        raise fail("E0807", f"--steps must be from 1 to {MAX_STEPS:,}, got {args.steps}")
    if args.out:
        format_of(args.out)
    check_settings(args.dtype, args.precision, 1)
    found, at = opened(args), sizes_given(args.at)
    out.warnings(found.warnings)
    settings: dict[str, Any] = {"device": args.device, "threads": args.threads, "precision": args.precision}
    step: CompiledStep | CompiledModel
    if isinstance(found.result, ExperimentSpec):
        step = CompiledStep(found, {}, None, **settings, update=True, dtype=args.dtype, at=at, timed=True)
        what = "training step"
    else:
        step, what = CompiledModel(typed(found, args.dtype), at, **settings), "forward and backward"
    result = profile(step, what, args.steps)
    if args.out:
        save(time_by_line(result, args.spec), args.out)
    if args.json:
        out.json(to_json(result, args))
        return 0
    sizes = " ".join(f"{letter}={n}" for letter, n in result.sizes.items())
    threads = args.threads or default_threads()
    dtype = args.dtype if args.precision == "float32" else f"{args.dtype} with products of {args.precision}"
    out.text(f"{args.spec}: {result.what}, {dtype}, {result.device}, {threads} thread{'s' if threads > 1 else ''} {sizes}".rstrip())
    work = sum(one.cost.flops for one in result.timed)
    speed = f", {work / 1e9:.3g} GFLOP of matrix products" if work else ""
    out.text(f"{milliseconds(result.plain)} ms a step, the mean of {result.steps}{speed}")
    alone = threads > 1 and result.device == "native"  # what others share among threads are products, timed or not
    slower = "the clock read around every instruction" + (" and loops over time not shared among threads" if alone else "")
    out.text(f"{milliseconds(result.seconds)} ms with {slower}:\n")
    show(result, args.instructions, out)
    return 0


# -- what is said ----------------------------------------------------------------------------------------------------------------


def show(result: Profile, instructions: bool, out: Output) -> None:
    groups = [group for group in result.by_line() if shown(group[2], result)]
    rows = [row(cost, result, out, line_numbers(lines) or "no line of the spec", *words(ones)) for lines, ones, cost in groups]
    others = [(what, Cost(seconds)) for what, seconds in result.others.items() if shown(Cost(seconds), result)]
    table(("line", "", "in"), [*rows, *(row(cost, result, out, what, "", "") for what, cost in others)], out)
    groups = [group for group in result.by_kind() if shown(group[2], result)]
    rows = [row(cost, result, out, kind, counted(ones)) for kind, ones, cost in groups]
    table(("kind of work", ""), [*rows, *(row(cost, result, out, what, "") for what, cost in others)], out)
    if instructions:
        each = sorted(result.timed, key=lambda one: -one.cost.seconds)
        rows = [row(one.cost, result, out, str(one.serial), one.kernel, line_numbers(one.lines)) for one in each]
        table(("instruction", "", "line"), rows, out)
    out.text("  before the first step was done")
    told = [
        (f"{report.seconds * 1e3:,.1f} ms" if i == 0 else "", f"  {report.name}" if i == 0 else "", text)
        for report in result.passes for i, text in enumerate(report.sentences or ["nothing to do"])
    ]  # fmt: skip
    whole, *rest = [(f"{seconds * 1e3:,.0f} ms", what, "") for what, seconds in result.prepared.items()]
    out.table([whole, *told, *rest], right=(0,), indent="    ")


def shown(cost: Cost, result: Profile) -> bool:
    return share(cost.seconds, result.seconds) >= SHOWN


def row(cost: Cost, result: Profile, out: Output, *names: str) -> tuple[str, ...]:
    part = share(cost.seconds, result.seconds)
    gflops = f"{cost.gflops:,.1f}" if cost.gflops else ""
    calls = f"{cost.calls:,}" if cost.calls else ""
    return (out.bar(part), f"{part:.1%}", milliseconds(cost.seconds), gflops, calls, *names)


def table(names: Sequence[str], rows: list[tuple[str, ...]], out: Output) -> None:
    out.table([("", "share", "ms", "GFLOP/s", "calls", *names), *rows], right=(1, 2, 3, 4))
    out.text("")


def words(ones: Sequence[Timed]) -> tuple[str, str]:
    """The text of the line that took longest, and the functions around it."""
    if not ones[0].places:
        return "", ""
    origin = ones[0].places[0]
    return one_line(source_text(origin), WIDTH), chain(origin)


def counted(ones: Sequence[Timed]) -> str:
    return f"{len(ones)} instruction{'s' if len(ones) > 1 else ''}"


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:,.2f}" if seconds >= 1e-4 else f"{seconds * 1e3:.4f}"


def to_json(result: Profile, args: argparse.Namespace) -> dict[str, Any]:
    def cost(cost: Cost) -> dict[str, Any]:
        part = share(cost.seconds, result.seconds)
        return {"ms": cost.seconds * 1e3, "share": part, "calls": cost.calls, "flops": cost.flops, "gflops": cost.gflops}

    def lines(lines: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
        return [{"file": path, "line": line} for path, line in lines]

    return {
        "what": result.what, "device": result.device, "dtype": args.dtype, "precision": args.precision,
        "threads": args.threads or default_threads(), "at": dict(result.sizes), "file": args.out,
        "steps": result.steps, "step_ms": result.plain * 1e3, "ms": result.seconds * 1e3,
        "lines": [
            {"lines": lines(key), "text": source_text(ones[0].places[0]) if ones[0].places else "", **cost(sum_of)}
            for key, ones, sum_of in result.by_line()
        ],
        "kinds": [{"kind": key, **cost(sum_of)} for key, _, sum_of in result.by_kind()],
        "instructions": [
            {"number": one.serial, "kernel": one.kernel, "lines": lines(one.lines), **cost(one.cost)} for one in result.timed
        ],
        "others": {what: seconds * 1e3 for what, seconds in result.others.items()},
        "passes": [{"name": report.name, "ms": report.seconds * 1e3, "told": report.sentences} for report in result.passes],
        "prepared_ms": {what: seconds * 1e3 for what, seconds in result.prepared.items()},
    }  # fmt: skip
