"""``graphspec compile``: shapes, parameters, what was compiled, how much memory it takes."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable
from typing import Any

from graphspec.arguments import leaves_of, named_arguments
from graphspec.binding import check_letters
from graphspec.build import ExperimentSpec
from graphspec.build.values import to_text
from graphspec.cli.common import opened, pass_rows, precision_argument, sizes_given, spec_arguments, typed
from graphspec.cli.dot import to_dot
from graphspec.cli.output import Output, amount
from graphspec.cli.shapes import shape_report, shape_rows
from graphspec.draw import picture
from graphspec.engine import device_named
from graphspec.errors import Origin
from graphspec.graph import Parameter
from graphspec.ir.core import Block, Program
from graphspec.ir.text import print_program
from graphspec.passes import optimise
from graphspec.passes.kept import Kept
from graphspec.passes.told import Count, PassReport
from graphspec.plan import Summary, make_plan, print_plan, summarise
from graphspec.program import Typed, backward_program, forward_program, leaf_names
from graphspec.render import line_numbers
from graphspec.settings import DTYPES, check_settings
from graphspec.states import warnings_of
from graphspec.training.feeding import source_of
from graphspec.training.fields import measures_accuracy
from graphspec.training.measures import best_measure, measured_by
from graphspec.training.step import training_program, training_setup


def arguments(sub: argparse.ArgumentParser) -> None:
    spec_arguments(sub)
    sub.add_argument("--dtype", default="float32", choices=DTYPES)
    precision_argument(sub)
    sub.add_argument(
        "--emit",
        choices=("ir", "optimised", "plan", "c", "dot", "svg", "json", "shapes"),
        help="print the tensor IR (as it is lowered, or optimised by the passes), the Plan, its C, a drawing as Graphviz text or SVG, "
        "the Plan as JSON, or what fixed each size, instead",
    )
    sub.add_argument("--backward", action="store_true", help="forward and backward of a model; a training step has both anyway")
    sub.add_argument("--why", action="store_true", help="why products stay in loops over time, each by its line")
    sub.add_argument("--at", default="", metavar="B=50,T=50", help="sizes to count memory and work for (default: 1 each)")


def run(args: argparse.Namespace, out: Output) -> int:
    check_settings(args.dtype, args.precision, 1)
    found = opened(args)
    device = device_named(args.device, args.threads, args.precision)  # said at once if it cannot be had
    language = device.language if device else ""
    if args.emit == "c":
        language = language or "c"
    warnings = list(found.warnings)
    if isinstance(found.result, ExperimentSpec):
        setup = training_setup(found, args.dtype)
        setup.judged = measures_accuracy(found.result, source_of(found.result, found.library.sources).measure)
        model, program, what = setup.typed, training_program(setup), "training step"
        best_measure(found.result, measured_by(program))
    else:
        model, what = typed(found, args.dtype), "forward and backward" if args.backward else "forward"
        program = (backward_program if args.backward else forward_program)(model, training=True)
    warnings += warnings_of(model, trained=isinstance(found.result, ExperimentSpec))
    if args.emit == "ir":
        out.warnings(warnings)
        out.text(print_program(program), end="")
        return 0
    if args.emit == "svg":
        out.text(picture(model, args.spec, args.entry, html=False), end="")
        return 0
    if args.emit == "shapes":
        fixed = shape_report(model)
        if args.json:
            out.json(fixed)
        else:
            out.table(shape_rows(fixed), indent="")
        return 0
    if args.emit == "dot":
        out.text(to_dot(model), end="")
        return 0
    before, products = sum(1 for _ in program.block.walk()), count_products(program.block)
    left: list[Kept] | None = [] if args.why else None
    said = optimise(program, kernels=bool(language), left=left)
    if args.emit == "optimised":
        out.text(print_program(program), end="")
        return 0
    plan = make_plan(program, language)
    if args.emit == "plan":
        out.text(print_plan(plan).rstrip())
        return 0
    if args.emit == "json":
        out.json(plan.to_json())
        return 0
    if args.emit == "c":
        out.text(plan.sources[language], end="")
        return 0
    ops = Counter(op.name for op in program.block.walk())
    sizes = binding(args.at, program)
    summary = summarise(plan, sizes)
    told = found.evaluation
    options = [{"name": name, "value": value, "help": told.option_help[name]} for name, value in told.options.items()]
    report = {
        "options": options,
        "inputs": types(model, "input"),
        "outputs": types(model, "output"),
        "parameters": [{"name": p.name, "shape": list(p.shape), "count": p.size} for p in model.module.all_parameters()],
        "ops": dict(sorted(ops.items())),
        "bytes": {"parameters": parameter_bytes(model), "arena": summary.arena, "at": sizes},
        "warnings": [w.to_json() for w in warnings],
    }
    reasons = why_rows(left or [])
    if args.why:
        report["loops"] = [dict(zip(("line", "product", "why"), row, strict=True)) for row in reasons]
    if args.json:
        out.json(report)
        return 0
    out.warnings(warnings)
    _print(out, args.spec, what, model, options, model.module.all_parameters(), before, ops.total() - ops["fused"], said,
        (products, count_products(program.block)), summary, sizes)  # fmt: skip
    if args.why:
        beside = len(reasons) - count_products(program.block)[1]
        of_them = f", {beside} of them in the kernels beside" if beside > 0 else ""
        out.text(f"\n  {Count(len(reasons)):product} left in loops over time{of_them}" + (":" if reasons else ""))
        out.table(reasons, indent="    ")
    return 0


def why_rows(left: list[Kept]) -> list[tuple[str, str, str]]:
    """A row for each product left in a loop: its lines, what it multiplies, and why it is there."""

    def lines(origins: Iterable[Origin]) -> str:
        return line_numbers(sorted({(o.span.source.path, o.span.line) for o in origins if o.span}))

    rows = []
    for one in left:
        shapes = " x ".join(f"[{', '.join(map(str, shape))}]" for shape in (one.left, one.right))
        through = lines(one.through)
        why = one.why + (f", through {through}" if through else "") + (" (going back)" if one.reverse else "")
        rows.append((lines(one.origin.flat()), shapes, why))
    return rows


def types(model: Typed, stem: str) -> list[dict[str, Any]]:
    """Leaves of the inputs or outputs: name, shape (numbers, or text for letters), dtype."""
    tree = model.inputs if stem == "input" else model.outputs
    found = []
    for name, one in zip(leaf_names(stem, tree), leaves_of(named_arguments(model.module, stem, tree)), strict=True):
        shape = [n.value if n.value is not None else str(n) for n in one.type.shape]
        found.append({"name": name, "node": one.name, "shape": shape, "dtype": one.type.dtype})
    return found


def count_products(block: Block, within: bool = False) -> tuple[int, int]:
    """Matrix products in the text of a block, and those of them in loops."""
    total = looped = 0
    for op in block.ops:
        mine = [(int(op.name == "matmul"), int(within and op.name == "matmul"))]
        mine += [count_products(inner, within or op.name == "scan") for inner in op.blocks]
        total, looped = total + sum(a for a, _ in mine), looped + sum(b for _, b in mine)
    return total, looped


def parameter_bytes(model: Typed) -> int:
    return sum(p.size for p in model.module.all_parameters()) * (8 if model.dtype == "float64" else 4)


def binding(text: str, program: Program) -> dict[str, int]:
    """Sizes from ``B=50,T=50``, 1 for the rest; E0807 for what is no size of the model."""
    given = sizes_given(text)
    check_letters(program, given)
    return dict.fromkeys(program.letters, 1) | given


def _print(
    out: Output,
    spec: str,
    what: str,
    model: Typed,
    options: list[dict[str, Any]],
    parameters: list[Parameter],
    before: int,
    after: int,
    said: list[PassReport],
    products: tuple[tuple[int, int], tuple[int, int]],
    summary: Summary,
    sizes: dict[str, int],
) -> None:
    out.text(f"{spec}: {what}, {model.dtype}\n")
    notes = {one.place: "   (assumed: nothing says)" for one in model.assumed}
    rows = [
        (
            stem if i == 0 else "",
            t["node"],
            f"{t['dtype']}[{', '.join(map(str, t['shape']))}]" + (notes.get(i, "") if stem == "inputs" else ""),
        )
        for stem in ("inputs", "outputs")
        for i, t in enumerate(types(model, stem[:-1]))
    ]
    out.table([*rows, *(("" if i else "options", f"{o['name']} = {to_text(o['value'])}", o["help"]) for i, o in enumerate(options))])
    out.text(f"\n  {count(sum(p.size for p in parameters))} parameters in {len(parameters)} tensors")
    shown = parameters if len(parameters) <= 40 else parameters[:36]
    out.table([(p.name, " x ".join(map(str, p.shape)), count(p.size)) for p in shown], right=(2,), indent="    ")
    if len(shown) < len(parameters):
        out.text(f"    ... and {len(parameters) - len(shown)} more (--json has all)")
    out.text(
        f"\n  {Count(before):op}, {after:,} after the passes; {Count(summary.instructions):instruction}, "
        f"{Count(summary.loops):loop} over time"
    )
    (total, within), (left, left_within) = products
    if (total, within) != (left, left_within):
        loops = f"; in loops over time, where a step waits for the one before: {within} became {left_within}" if within else ""
        out.text(f"  {Count(total):matrix product} became {left}{loops}")
    out.table(pass_rows(said), indent="    ")
    at = ", ".join(f"{k}={v}" for k, v in sizes.items())
    out.text(f"  memory: {memory(parameter_bytes(model))} parameters, {memory(summary.arena)} arena{f' at {at}' if at else ''}")


def count(n: int) -> str:
    return f"{n:,}"


def memory(n: int) -> str:
    """Bytes of what is mostly arrays: thousands at least."""
    return amount(n) if n >= 10**6 else f"{n / 1e3:.1f} kB"
