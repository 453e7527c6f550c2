"""``graphspec check-module``: a record of one's own, or any other, proved by its samples."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from graphspec.cli.output import Output
from graphspec.engine import device_named
from graphspec.errors import fail
from graphspec.graph import Record, about_missing, find_record
from graphspec.prove import Proof, Twin, prove, twins_beside
from graphspec_runtime import PlanError
from graphspec_runtime.compiler import find_compiler

SHORT = {"symbolic sizes": "symbolic", "finite differences": "differences"}
"""Heads of columns."""


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("name", metavar="NAME", help="of the module, such as Linear")
    sub.add_argument(
        "--twin", nargs="?", const="", metavar="MODULE",
        help="compare with its PyTorch twin too: TWINS[NAME] of this Python module (default: of the record's own)",
    )  # fmt: skip
    sub.add_argument("--device", action="append", metavar="NAME", help="compare this one with the reference (default: numpy, native)")


def run(args: argparse.Namespace, out: Output) -> int:
    name = args.name.removeprefix("nn.")
    record = find_record(name)
    if record is None:
        raise fail("E0401", f"there is no module nn.{name}", **about_missing(name))
    twin = _twin(record, args.twin) if args.twin is not None else None
    devices = args.device or ["numpy", *(["native"] if _compiles() else [])]
    for device in devices:
        device_named(device)  # said at once if it cannot be had
    proofs = list(prove(record, devices, twin))
    ok = bool(proofs) and all(proof.ok for proof in proofs)
    if args.json:
        out.json({"name": name, "ok": ok, "proofs": [vars(proof) for proof in proofs]})
    else:
        _print(record, proofs, ok, out)
    return 0 if ok else 1


def _compiles() -> bool:
    """Whether there is a C compiler."""
    try:
        find_compiler()
    except PlanError:
        return False
    return True


def _twin(record: Record, place: str) -> Twin:
    if find_spec("torch") is None:
        raise fail("E0820", "a twin needs the package torch, which is not installed", helps=["pip install torch"])
    if place:
        sys.path.append(os.getcwd())  # looked for here too, as plugins are
        try:
            twins = getattr(importlib.import_module(place), "TWINS", {})
        except ImportError as failure:
            raise fail("E0807", f"--twin {place} cannot be imported: {failure}") from None
    else:
        twins = twins_beside(record)
    if record.name not in twins:
        helps = [f"a twin is a function `twin(m, x, env)` in PyTorch; it stands in a dict: `TWINS = {{'{record.name}': twin}}`"]
        raise fail("E0807", f"there is no twin of nn.{record.name} in {place or type(record).__module__}", helps=helps)
    found: Twin = twins[record.name]
    return found


def _print(record: Record, proofs: Sequence[Proof], ok: bool, out: Output) -> None:
    if not proofs:
        out.text(f"nn.{record.name} has no samples, so nothing of it is proved: give its record `samples = (Sample(args, inputs), ...)`")
        return
    checks = list(dict.fromkeys(proof.check for proof in proofs))
    rows = [("", *(SHORT.get(check, check) for check in checks))]
    for sample in dict.fromkeys(proof.sample for proof in proofs):
        by = {proof.check: proof for proof in proofs if proof.sample == sample}
        rows.append((sample, *(_cell(by.get(check)) for check in checks)))
    out.table(rows)
    for proof in proofs:
        if not proof.ok and proof.message:
            out.text(f"\n{proof.sample}, {proof.check}:\n  {proof.message}")
    out.text(f"\nnn.{record.name}: " + (f"all {len(proofs)} checks hold" if ok else f"{sum(not p.ok for p in proofs)} checks FAILED"))


def _cell(proof: Proof | None) -> str:
    if proof is None:
        return "-"
    if proof.error is None:
        return proof.message if proof.ok else "FAILED"
    return f"{proof.error:.1e}" + ("" if proof.ok else "  WRONG")
