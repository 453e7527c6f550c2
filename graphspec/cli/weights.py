"""``graphspec weights``: what a file of PyTorch or Torch holds, and parameters taken from it."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import numpy as np

from graphspec.api import Model
from graphspec.build import ExperimentSpec
from graphspec.cli.common import opened, place
from graphspec.cli.output import Output, amount
from graphspec.errors import error, fail
from graphspec.open import pick_module
from graphspec.settings import DTYPES
from graphspec.training.experiment import Experiment
from graphspec.training.loop import Progress
from graphspec.training.rundir import RunDir
from graphspec.weights import Mapped, load, read


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("file", metavar="FILE", help="a .pt, .safetensors or .t7 file")
    sub.add_argument("options", nargs="*", default=[], metavar="NAME=VALUE", help="options of the spec")
    sub.add_argument("--into", dest="spec", type=place, metavar="SPEC", help="a spec whose parameters are taken from the file")
    sub.add_argument("--entry", metavar="LUA", help="an expression over what a library returns, such as 'network({rnn_size=5})'")
    words = "a file that says which is which, or its text (OURS = THEIRS; ...); without, names are the same"
    sub.add_argument("--map", type=place, metavar="MAP", help=words)
    sub.add_argument("--dtype", choices=DTYPES, default="float32", help="of the parameters (default: float32)")
    words = "a model, for `graphspec.load`; an experiment as a .safetensors file, or as a run folder that `run --resume` goes on with"
    sub.add_argument("-o", "--out", type=place, metavar="FILE|DIR", help=words)


def run(args: argparse.Namespace, out: Output) -> int:
    if args.spec is not None:
        return into(args, out)
    if args.map or args.out or args.entry or args.options:
        raise fail("E0807", "--map, --out, --entry and options are for a spec", helps=["say which one with `--into SPEC`"])
    tensors = read(args.file)
    if args.json:
        out.json([{"name": name, "shape": list(a.shape), "dtype": a.dtype.name} for name, a in tensors.items()])
        return 0
    out.table([(shown(name), a.dtype.name, str(list(a.shape))) for name, a in tensors.items()], indent="")
    total = sum(a.size for a in tensors.values())
    out.text(f"{len(tensors):,} tensors, {total:,} numbers, {amount(sum(a.nbytes for a in tensors.values()))}")
    return 0


def into(args: argparse.Namespace, out: Output) -> int:
    """A spec's parameters from the file; kept where ``--out`` says."""
    found = opened(args)
    made: Model | Experiment
    if isinstance(found.result, ExperimentSpec):
        made = Experiment(found, dtype=args.dtype, device=args.device, threads=args.threads)
    else:
        made = Model(found, pick_module(found), dtype=args.dtype, device=args.device, threads=args.threads)
    sources = load(made, args.file, args.map)
    bad = {name: one.source for name, one in sources.items() if one.value is not None and not np.isfinite(one.value).all()}
    out.warnings([error("W0725", f"{name} is not finite: {shown(text)} holds infinities or what is no number", severity="warning")
                  for name, text in bad.items()])  # fmt: skip
    if args.out:
        keep(made, Path(args.out), out)
    if args.json:
        out.json({"parameters": {name: source(one) for name, one in sources.items()}, "out": args.out})
        return 0
    out.table([(name, "=", shown(one.source)) for name, one in sources.items()], indent="")
    if args.out:
        kind = "experiment" if isinstance(made, Experiment) else "model"
        out.note(f"the {kind} is in {Path(args.out)}")
    return 0


def keep(made: Model | Experiment, path: Path, out: Output) -> None:
    """Write it; an experiment into a folder as a run that has made no step."""
    if not isinstance(made, Experiment) or path.suffix == ".safetensors":
        made.save(path)
        return
    folder = RunDir(path)
    try:
        out.warnings([*folder.lock(), *folder.open(made, resume=False)])
        folder.save(made, asdict(Progress()))
    finally:
        folder.close()


def source(one: Mapped) -> str | None:
    """What a parameter is made of; None where it stays as it is."""
    return None if one.value is None else one.source


def shown(name: str) -> str:
    """A name from a file, which may hold anything, fit for a terminal."""
    return name if name.isprintable() else ascii(name)
