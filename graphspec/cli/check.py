"""``graphspec check``: gradients against finite differences, in float64."""

from __future__ import annotations

import argparse
import math

from graphspec.build import ExperimentSpec
from graphspec.check import check, on_device
from graphspec.cli.common import opened, spec_arguments, typed
from graphspec.cli.output import OK, WRONG_GRADIENTS, Output
from graphspec.engine import device_named
from graphspec.errors import fail
from graphspec.settings import check_seed
from graphspec.training.step import training_setup


def arguments(sub: argparse.ArgumentParser) -> None:
    spec_arguments(sub)
    sub.add_argument("--scale", type=float, default=0.5, help="of the parameters drawn (default: 0.5)")
    sub.add_argument("--seed", type=int, default=1)
    sub.add_argument("--tolerance", type=float, default=1e-6, help="relative error that still passes (default: 1e-6)")


def run(args: argparse.Namespace, out: Output) -> int:
    check_seed(args.seed, "--seed")
    if not (math.isfinite(args.scale) and args.scale >= 0):
        raise fail("E0807", f"--scale must be at least 0 and finite, got {args.scale:g}")
    found = opened(args)
    if isinstance(found.result, ExperimentSpec):
        model = training_setup(found, "float64").typed
    else:
        model = typed(found, "float64")
    out.warnings(found.warnings)
    report = check(model, on_device(device_named(args.device, args.threads)), scale=args.scale, tolerance=args.tolerance, seed=args.seed)
    if args.json:
        out.json(report.to_json())
    else:
        rows = [
            ("", "relative error", "shape"),
            *(
                (
                    f"{e.kind} {e.name}",
                    f"{e.relative_error:.1e}" + ("" if e.relative_error <= args.tolerance else "  WRONG"),
                    " x ".join(map(str, e.shape)) or "scalar",
                )
                for e in report.entries
            ),
        ]
        out.table(rows)
        worst = f"largest relative error {report.max_relative_error:.1e}"
        verdict = f"all {len(report.entries)} gradients agree" if report.ok else "some gradients are WRONG"
        out.text(f"\n{verdict}; {worst} (tolerance {args.tolerance:g})")
    return OK if report.ok else WRONG_GRADIENTS
