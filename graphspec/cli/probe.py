"""``graphspec probe``: how gradients fare over time in a model's loops."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

from graphspec.build import ExperimentSpec
from graphspec.cli.common import opened, place
from graphspec.cli.eval import load
from graphspec.cli.output import Output
from graphspec.engine import device_named
from graphspec.errors import fail
from graphspec.passes.told import Count
from graphspec.plots.style import format_of, save
from graphspec.probe import Measured, Rescaling, Subject, measure, of_experiment, of_model
from graphspec.probe.picture import norms_over_time
from graphspec.settings import check_seed
from graphspec.training.experiment import Experiment

MAX_STEPS = 100_000


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("what", nargs="+", metavar="SPEC|RUN [NAME=VALUE ...]", help="specs, runs or checkpoints, each before its options")
    sub.set_defaults(options=[])
    entry = "a cell {x, prev_s} -> {y, next_s}, or a model, of a library; again for several of one, or one for each"
    sub.add_argument("--entry", action="append", default=[], metavar="LUA", help=entry)
    sub.add_argument("--steps", type=int, default=100, metavar="N", help="the largest t - k, the length of made-up inputs (default: 100)")
    sub.add_argument("--sequences", type=int, default=4, metavar="N", help="how many are looked at (default: 4)")
    sub.add_argument("--seed", type=int, metavar="N", help="of initial parameters and made-up inputs (default: 1, or the experiment's)")
    sub.add_argument("--sigma", default="", metavar="VALUE,...", help="recurrent weights rescaled to this largest singular value, in turn")
    sub.add_argument("--radius", default="", metavar="VALUE,...", help="recurrent weights rescaled to this spectral radius, in turn")
    sub.add_argument("--last", action="store_true", help="a run's newest checkpoint instead of its best")
    sub.add_argument("-o", "--out", type=place, metavar="FILE", help="draw it, all on one page: .svg, .png or .pdf")
    sub.add_argument("--title", default="", metavar="TEXT", help="of the picture")


def run(args: argparse.Namespace, out: Output) -> int:
    for name, most in (("steps", MAX_STEPS), ("sequences", 1000)):
        if not 1 <= getattr(args, name) <= most:
            raise fail("E0807", f"--{name} must be from 1 to {most:,}, got {getattr(args, name)}")
    if args.out:
        format_of(args.out)
    changes = [*rescalings("sigma_max", args.sigma), *rescalings("radius", args.radius)]
    device = device_named(args.device, args.threads or 1)  # its matrices are small: threads would wait for each other
    found: list[Measured] = []
    with out.at_work(bool(args.out)):
        for subject in subjects(args, out):
            for variant in [subject.rescaled(change) for change in changes] or [subject]:
                found += measure(variant, args.steps, device)
                if not args.json:
                    show(found[-len(subject.loops) :], out)
        if args.out:
            save(norms_over_time(found, args.title), args.out)
    if args.json:
        out.json({"file": args.out, "scans": [one.to_json() for one in found]})
    return 0


# -- what is probed --------------------------------------------------------------------------------------------------------------


def rescalings(measure: str, text: str) -> list[Rescaling]:
    """``.5,.95`` as what to do; E0807 for what are no numbers above 0."""
    values = []
    for word in filter(None, text.split(",")):
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            raise fail("E0807", f"--{measure.removesuffix('_max')}: a number above 0 is wanted, got {word!r}")
        values.append(value)
    return [Rescaling("sigma_max" if measure == "sigma_max" else "radius", value) for value in values]


def subjects(args: argparse.Namespace, out: Output) -> Iterator[Subject]:
    """Each spec or run with the options that stand behind it, and its entry; E0807 for words that do not go together."""
    given: list[tuple[str, list[str]]] = []
    for word in (*args.what, *args.options):
        if "=" not in word or Path(word).exists():
            given.append((word, []))
        elif given:
            given[-1][1].append(word)
        else:
            raise fail("E0807", f"{word} stands before any spec", helps=["options stand behind the spec that they are for"])
    entries: list[str | None] = args.entry or [None] * len(given)
    if len(given) == 1:
        given *= len(entries)
    if len(given) != len(entries):
        raise fail("E0807", f"{len(given)} specs and {len(entries)} entries", helps=["one spec with several entries, or an entry for each"])
    for (path, options), entry in zip(given, entries, strict=True):
        yield _subject(args, out, path, options, entry)


def _subject(args: argparse.Namespace, out: Output, path: str, options: list[str], entry: str | None) -> Subject:
    label = " ".join([path, *options, *([entry] if entry else [])])
    own = argparse.Namespace(**{**vars(args), "spec": path, "run": path, "options": options, "entry": entry})
    if Path(path).is_dir() or Path(path).suffix == ".safetensors":
        return of_experiment(load(own, out), label, args.sequences)
    found = opened(own)
    out.warnings(found.warnings)
    if not isinstance(found.result, ExperimentSpec):
        seed = 1 if args.seed is None else args.seed
        check_seed(seed, "--seed")
        return of_model(found, label, args.steps, args.sequences, seed)
    if args.seed is not None:
        found = opened(own, **{"experiment.seed": args.seed})
    return of_experiment(Experiment(found, device=args.device, threads=args.threads), label, args.sequences)


# -- what is said ----------------------------------------------------------------------------------------------------------------


def show(found: list[Measured], out: Output) -> None:
    for one in found:
        counts = f"{Count(one.sequences):sequence}, {Count(one.steps):step} back from the last"
        out.text(f"{one.label}\nstate {', '.join(one.state)}; {counts}\n")
        _norms(one, out)
        if one.weights:
            rows = [(w.name, " x ".join(map(str, w.shape)), f"{w.sigma_max:.4g}", _number(w.radius)) for w in one.weights]
            out.table([("recurrent weight", "shape", "sigma_max", "spectral radius"), *rows], right=(2, 3))
            out.text("")
        if one.saturation:
            nodes = [(s.node, s.kind, f"{s.low:.1%}", f"{s.high:.1%}") for s in one.saturation]
            out.table([("saturated (within .05)", "", "at the lower limit", "at the upper limit"), *nodes], right=(2, 3))
            out.text("")
        if one.gates:
            gates = [(g.node, f"{g.mean:.3f}", *(f"{q:.3f}" for q in g.quantiles), f"{g.memory:.4g} steps") for g in one.gates]
            out.table([("forget gate", "mean", "5 %", "50 %", "95 %", "memory 1/(1-mean)"), *gates], right=(1, 2, 3, 4, 5))
            out.text("")


def _norms(one: Measured, out: Output) -> None:
    beside = one.bound or one.separate
    head = ("t - k", "|ds_t/ds_k| median", "least", "largest", "bound" if one.bound else "product of norms")
    lags = [lag for lag in sorted({a * 10**b for a in (1, 2, 5) for b in range(6)} | {one.steps}) if lag <= one.steps]
    columns = (one.median, one.least, one.largest, beside)
    rows = [(f"{lag:,}", *(power(column[lag - 1]) for column in columns)) for lag in lags]
    out.table([head, *rows], right=(0, 1, 2, 3, 4))
    if one.gain is None:
        told = "no bound follows from the weights alone; these norms cannot exceed the product of the steps' own, as measured"
    elif len(one.state) == 1:
        told = f"bound: {one.gain:.4g}^(t-k), from sigma_max of the weights and the largest slopes"
    else:
        told = "bound: from sigma_max of the weights and the largest slopes, tensor by tensor"
    loose = "; it is loose: above 1 it does not say that gradients explode" if one.bound and one.bound[-1] > 1e-6 else ""
    out.text(f"  {told}{loose}\n")


def power(logarithm: float) -> str:
    """10 to this power, as people write it, however large or small."""
    if math.isinf(logarithm):
        return "0"
    if -3 <= logarithm < 4:
        return f"{10**logarithm:.3g}"
    exponent = math.floor(logarithm)
    mantissa = f"{10 ** (logarithm - exponent):.1f}"
    return f"1.0e{exponent + 1:+03d}" if mantissa == "10.0" else f"{mantissa}e{exponent:+03d}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
