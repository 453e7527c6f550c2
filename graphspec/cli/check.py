"""``graphspec check``: gradients against finite differences, in float64."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import numpy as np

from graphspec.build import ExperimentSpec
from graphspec.check import check
from graphspec.cli.common import opened, spec_arguments, typed
from graphspec.cli.output import Output
from graphspec.engine import Engine, device_named
from graphspec.graph import name_parameters
from graphspec.ir.core import Program
from graphspec.training.step import set_up

WRONG_GRADIENTS = 3


def arguments(sub: argparse.ArgumentParser) -> None:
    spec_arguments(sub)
    sub.add_argument("--scale", type=float, default=0.5, help="of the parameters drawn (default: 0.5)")
    sub.add_argument("--seed", type=int, default=1)
    sub.add_argument("--tolerance", type=float, default=1e-6, help="relative error that still passes (default: 1e-6)")


def run(args: argparse.Namespace, out: Output) -> int:
    found = opened(args)
    device = device_named(args.device, args.threads)
    engines: dict[int, tuple[Engine, dict[str, Any]]] = {}

    def execute(program: Program, given: Mapping[str, Any]) -> Mapping[str, Any]:
        if id(program) not in engines:
            engines[id(program)] = (Engine(program, device), {name: np.array(a) for name, a in given.items()})
        engine, held = engines[id(program)]  # always the same arrays, so that the plan is bound once
        for name, array in given.items():
            held[name][...] = array
        return {name: np.array(a) for name, a in engine.run(held).items()}

    if isinstance(found.result, ExperimentSpec):
        model = set_up(found.result, "float64").typed
        name_parameters([model.module])
    else:
        model = typed(found, "float64")
    out.warnings(found.warnings)
    report = check(model, execute, scale=args.scale, tolerance=args.tolerance, seed=args.seed)
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
    return 0 if report.ok else WRONG_GRADIENTS
