"""``graphspec predict``: what a trained model says of new arrays."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np

from graphspec.cli.common import place
from graphspec.cli.eval import load
from graphspec.cli.output import Output
from graphspec.data.arrays import read_npz
from graphspec.errors import fail
from graphspec.program import leaf_names, leaves
from graphspec.tensorfile import write_bytes

SHOWN = 10
"""Examples that are shown where nothing is written into a file."""


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("run", metavar="RUN", help="a run folder, or a checkpoint file")
    sub.add_argument("arrays", metavar="ARRAYS", type=place, help="an .npz file with the arrays that the model reads, named as in its data")
    sub.add_argument("options", nargs="*", default=[], metavar="NAME=VALUE", help="options, to go before those it was trained with")
    sub.add_argument("--node", metavar="NAME", help="a local variable of the spec (default: what the loss compares with its target)")
    sub.add_argument("--last", action="store_true", help="the newest checkpoint instead of the best")
    sub.add_argument("-o", "--out", metavar="FILE", type=place, help="an .npz file to write it into")


def run(args: argparse.Namespace, out: Output) -> int:
    path = Path(args.arrays)
    if args.out and Path(args.out).suffix not in ("", ".npz"):
        raise fail("E0807", f"{args.out}: predictions are written as .npz", helps=["numpy.load reads it"])
    arrays = read_npz(path, str(path))
    experiment = load(args, out)
    value = experiment.predict(*experiment.predictor(args.node).ordered(arrays, str(path)), node=args.node)
    found = dict(zip(leaf_names(args.node or "prediction", value), leaves(value), strict=True))
    if args.out:
        file = io.BytesIO()
        np.savez(file, **found)
        write_bytes(Path(args.out), file.getvalue())
    if args.json:
        out.json({"step": experiment.steps, **{name: array.tolist() for name, array in found.items()}})
        return 0
    out.table([(name, f"{array.dtype} {list(array.shape)}") for name, array in found.items()])
    if args.out:
        out.text(f"written to {args.out}")
        return 0
    for array in found.values():
        shown = array[:SHOWN] if array.ndim else array
        out.text(np.array2string(shown, precision=4, suppress_small=True, threshold=1000, edgeitems=4))
        if array.ndim and len(array) > SHOWN:
            out.text(f"and {len(array) - SHOWN:,} more, which `-o FILE` writes")
    return 0
