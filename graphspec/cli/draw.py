"""``graphspec draw``: the model as a picture, an SVG file or a page to explore."""

from __future__ import annotations

import argparse

from graphspec.build import ExperimentSpec
from graphspec.cli.common import opened, place, spec_arguments, typed
from graphspec.cli.output import Output
from graphspec.draw import is_page, make_scene, title_of, to_html, to_svg, write
from graphspec.open import Opened
from graphspec.program import Typed, assumptions
from graphspec.training.step import training_setup


def arguments(sub: argparse.ArgumentParser) -> None:
    spec_arguments(sub)
    sub.add_argument("-o", "--out", type=place, metavar="FILE", help="where: .svg, or .html for a page (default: standard output)")
    sub.add_argument("--html", action="store_true", help="a page to explore: pan, zoom, search, the spec's line for each node")


def run(args: argparse.Namespace, out: Output) -> int:
    page = (bool(args.out) and is_page(args.out)) or args.html
    found = opened(args)
    model = model_of(found)
    out.warnings([*found.warnings, *assumptions(model)])
    scene = make_scene(model, title_of(args.spec, args.entry))
    known = scene.to_json()
    if args.out or not args.json:
        picture = to_html(scene) if page else to_svg(scene)
        if args.out:
            write(picture, args.out)
        else:
            out.text(picture, end="")
    if args.json:
        out.json({**known, **({"file": args.out} if args.out else {})})
    elif args.out:
        out.text(f"{args.out}: {len(known['nodes'])} nodes, {len(known['boxes'])} boxes, {len(known['edges'])} lines")
    return 0


def model_of(found: Opened) -> Typed:
    """What there is to draw: the model, or an experiment's model with its loss."""
    if isinstance(found.result, ExperimentSpec):
        return training_setup(found, "float32").typed
    return typed(found, "float32")
