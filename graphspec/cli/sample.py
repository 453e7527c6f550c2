"""``graphspec sample``: what a trained model writes, or makes of a source."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from graphspec.build.files import decoded
from graphspec.cli.common import place
from graphspec.cli.eval import load
from graphspec.cli.output import Output
from graphspec.data.corpus import lines_of
from graphspec.errors import fail
from graphspec.training.decoding import Hypothesis
from graphspec.training.decoding.settings import LENGTH, SOURCE_LENGTH, TEMPERATURE
from graphspec.training.experiment import Experiment

GENERATING = {
    "length": None, "temperature": None, "top_k": None, "top_p": 1.0, "prime": "", "beam": None, "n_best": 1, "length_penalty": 0.0,
    "alignment": None,
}  # fmt: skip
"""What says how to generate, with what it is when it is not given."""


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("run", metavar="RUN", help="a run folder, or a checkpoint file")
    sub.add_argument("options", nargs="*", default=[], metavar="NAME=VALUE", help="options, to go before those it was trained with")
    sub.add_argument("--length", type=int, help=f"symbols to write (default: {LENGTH}; with sources {SOURCE_LENGTH})")
    sub.add_argument(
        "--temperature", type=float,
        help=f"1: as the model says; smaller: safer; 0: always the likeliest (default: {TEMPERATURE}; with sources or --beam 0)",
    )  # fmt: skip
    sub.add_argument("--top-k", type=int, metavar="K", help="draw from the K likeliest symbols only")
    sub.add_argument("--top-p", type=float, metavar="P", help="draw from the likeliest that have probability P together")
    sub.add_argument("--prime", metavar="TEXT", help="what comes before, for language models")
    sub.add_argument("--source", action="append", metavar="TEXT", help="what to make a sequence of (again for more)")
    sub.add_argument("--source-file", type=place, metavar="FILE", help="sources, one a line; - for standard input")
    sub.add_argument("--beam", type=int, metavar="WIDTH", help="search with a beam of this width")
    sub.add_argument("--n-best", type=int, metavar="N", help="show the N best of the beam")
    sub.add_argument("--length-penalty", type=float, metavar="A", help="divide a beam's scores by ((5 + length) / 6) ** A")
    sub.add_argument("--score", action="append", metavar="TEXT", help="the log-probability of this text (with sources: one for each)")
    sub.add_argument("--alignment", type=place, metavar="FILE", help="draw what each symbol attended to: .svg, .png or .pdf")
    sub.add_argument("--seed", type=int, default=1)
    sub.add_argument("--last", action="store_true", help="the newest checkpoint instead of the best")
    sub.set_defaults(**GENERATING)


def run(args: argparse.Namespace, out: Output) -> int:
    _check(args)
    if args.alignment:
        from graphspec.plots.style import format_of

        format_of(args.alignment)
    experiment = load(args, out)
    sources = _sources(args)
    if args.alignment:
        _check_alignment(experiment, sources)
    if args.score:
        return _scores(experiment, args, sources, out)
    searched = args.beam is not None or args.n_best != 1 or args.length_penalty  # what only a beam has is refused where there is none
    if sources is not None or searched:
        return _sequences(experiment, args, sources, out)
    return _text(experiment, args, out)


def _check(args: argparse.Namespace) -> None:
    """E0807 for options that do not go together, whatever the model is."""
    if args.source and args.source_file:
        raise fail("E0807", "--source and --source-file are both given", helps=["put all sources into the file"])
    for name, default in GENERATING.items():
        if args.score and getattr(args, name) != default:
            flag = f"--{name.replace('_', '-')}"
            raise fail("E0807", f"--score generates nothing, so {flag} has no meaning beside it", helps=["leave one of the two out"])


def _sources(args: argparse.Namespace) -> list[str] | None:
    if args.source_file is None:
        return args.source  # type: ignore[no-any-return]
    name = "standard input" if args.source_file == "-" else args.source_file
    if args.source_file == "-" and sys.stdin is None:
        raise fail("E0610", f"{name} cannot be read: it is closed")
    try:
        data = sys.stdin.buffer.read() if args.source_file == "-" else Path(args.source_file).read_bytes()
    except (OSError, ValueError) as failure:
        raise fail("E0610", f"{name} cannot be read: {getattr(failure, 'strerror', None) or failure}") from None
    text = decoded(data, lambda told: fail("E0612", f"{name} {told}"))
    return [line for line in lines_of(text) if line.strip()]


def _text(experiment: Experiment, args: argparse.Namespace, out: Output) -> int:
    pieces = experiment.stream(args.length, args.temperature, args.prime, args.seed, args.top_k, args.top_p)
    if args.json:
        out.json({"text": "".join(pieces), "prime": args.prime, "checkpoint": str(experiment.loaded_from), "steps": experiment.steps})
        return 0
    out.text(_before(experiment, args.prime), end="")
    for piece in pieces:
        out.text(piece, end="")
    out.text("")
    return 0


def _before(experiment: Experiment, prime: str) -> str:
    """A prime as it stands before what goes on from it."""
    return prime if not prime or experiment.decoder.vocabulary.level == "char" else f"{prime} "


def _sequences(experiment: Experiment, args: argparse.Namespace, sources: list[str] | None, out: Output) -> int:
    found = experiment.generate(
        sources, length=args.length, temperature=args.temperature, top_k=args.top_k, top_p=args.top_p, beam=args.beam,
        length_penalty=args.length_penalty, n_best=args.n_best, prime=args.prime, seed=args.seed,
    )  # fmt: skip
    if args.alignment:
        _draw(experiment, Path(args.alignment), sources or [], [hypotheses[0] for hypotheses in found], out)
    if args.json:
        out.json([
            {"source": source, "hypotheses": [{"text": h.text, "score": h.score, "log_p": h.log_p, "ended": h.ended} for h in hypotheses]}
            for source, hypotheses in zip(sources if sources is not None else [""], found, strict=True)
        ])  # fmt: skip
        return 0
    for hypotheses in found:
        for h in hypotheses:
            text = _before(experiment, args.prime) + h.text
            out.text(f"{h.score:9.4f}  {text}" if args.n_best > 1 else text)
    return 0


def _scores(experiment: Experiment, args: argparse.Namespace, sources: list[str] | None, out: Output) -> int:
    if sources is not None and len(sources) != len(args.score):
        counts = f"there are {len(args.score)} and {len(sources)}"
        raise fail("E0807", f"--score is for one text to each source: {counts}", helps=["give --score again for each --source"])
    found = experiment.score(args.score, sources)
    if args.json:
        out.json([{"text": text, "log_p": log_p} for text, log_p in zip(args.score, found, strict=True)])
    else:
        out.table([(f"{log_p:.4f}", text) for text, log_p in zip(args.score, found, strict=True)], right=(0,), indent="")
    return 0


def _check_alignment(experiment: Experiment, sources: list[str] | None) -> None:
    if not sources:
        raise fail("E0807", "--alignment needs a source", helps=["give one with `--source TEXT`"])
    if not [extra for extra in experiment.decoder.model.extras[:1] if extra.rank == 2]:
        raise fail("E0807", "this model has no alignment to draw", helps=["its step gives `{log_p, alpha}`, with alpha [B, S]"])


def _draw(experiment: Experiment, path: Path, sources: list[str], best: list[Hypothesis], out: Output) -> None:
    """The first extra of each sequence as a heat map; of several in files with a number each, none where no symbol came."""
    from graphspec.plots import alignment, save

    for number, (source, hypothesis) in enumerate(zip(sources, best, strict=True), 1):
        left = [experiment.source.vocabularies[0].symbols[i - 1] for i in experiment.encoded([source])[0]]  # type: ignore[attr-defined]
        right = [experiment.decoder.vocabulary.symbols[i - 1] for i in hypothesis.symbols]
        file = path if len(sources) == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
        if right:
            save(alignment(hypothesis.extras[0][:, : len(left)], left, right), file)
        if not out.as_json:
            out.note(f"{file}: the alignment of {source!r}" if right else f"{file} is not written: no symbol came of {source!r}")
