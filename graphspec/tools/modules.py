"""What there is to say about a module, out of its record: as plain data, and as a page."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from functools import cache
from inspect import cleandoc
from pathlib import Path
from typing import Any

from graphspec.graph import Argument, Record, Sample
from graphspec.graph.record import REQUIRED, lua_call, lua_text
from graphspec.nn import registry
from graphspec.program import infer
from graphspec.samples import graph_of, module_of, ranks_of, show_table, written

PROOFS = Path(__file__).parent / "proofs.json"
"""What the tests of this repository prove of each record; ``docs/modules.py`` writes it from the tests' own tables."""

CHAPTERS = {
    "Containers and graphs": {"container": "Containers", "bottle": "Bottle", "node": "Graphs"},
    "Layers": {
        "linear": "Linear layers", "lookup": "Embeddings", "sparse": "Sparse inputs", "affine": "Weights for each element",
        "distance": "Distances from learned vectors", "weightnorm": "Weight normalisation", "normalise": "Normalisation of rows",
        "regularise": "Dropout and batch normalisation", "noise": "Dropout of planes, noise, draws, reversed gradients",
        "penalty": "Penalties", "kmeans": "Clusters", "nce": "Noise contrastive estimation",
    },
    "Transfer functions": {
        "transfer": "Transfer functions", "activation": "Thresholds and slopes", "pointwise": "Arithmetic on each element",
    },
    "Images and sequences": {
        "convolution": "Convolutions", "temporal": "Convolutions over time", "pooling": "Poolings",
        "fractional": "Poolings at random places", "lp": "Poolings by norms", "unpooling": "Unpoolings", "glimpse": "Glimpses",
        "contrast": "Contrast", "binary": "Convolutions by signs", "columns": "Blocks of convolutions", "color": "Colours at random",
        "spatial": "Normalisation and larger images", "padding": "Borders and finer planes",
    },
    "Shapes": {"shape": "Reshaping", "axes": "Axes, types, layouts", "picking": "Slices, padding, constants", "reduce": "Reductions"},
    "Tables": {
        "table": "Arithmetic, joining, splitting", "rearrange": "Rearranging tables", "compare": "Comparing vectors",
        "attention": "Products, masks, mixtures", "memory": "Memories", "expand": "Repeating",
    },
    "Recurrent": {
        "recurrent": "Recurrent modules", "recurrence": "Recurrent modules of one's own", "sequencer": "Over the steps of a sequence",
        "sequence": "Whole sequences", "maskzero": "Masked steps", "mufuru": "Mixtures of operations", "glances": "Visual attention",
        "scan": "Scan",
    },
    "Reinforcement": {"reinforce": "Draws", "reward": "Rewards"},
    "Criterions": {
        "classification": "Classes", "regression": "Real numbers", "margin": "Margins", "embedding": "Likeness",
        "likelihood": "Distributions", "ctc": "Sequences without alignment", "logistic": "Logistic regression",
        "composite": "Criterions made of criterions",
    },
}  # fmt: skip
"""In the order of a reader's questions: the families of each chapter, by the files that records stand in."""

ARGUMENT_KINDS = {
    "size": "a size", "int": "a whole number", "number": "a number", "flag": "true or false", "text": "a string", "sizes": "sizes",
    "table": "a table", "module": "a module",
}  # fmt: skip


def describe(record: Record) -> dict[str, Any]:
    """``{name, kind, family, signature, arguments, methods, doc, about, source, differs, proofs, parameters, samples}``."""
    return {
        "name": record.name, "kind": "container" if record.children else record.kind, "family": family(record),
        "signature": record.signature, "arguments": [_argument(a) for a in record.arguments], "methods": list(record.methods),
        "doc": _markdown(record.doc), "about": _markdown(cleandoc(type(record).__doc__ or "")), "source": record.source,
        "differs": _markdown(record.differs),
        "proofs": proofs().get(record.name, []) if ours(record) else [], "parameters": _parameters(record),
        "samples": [_sample(record, sample) for sample in record.samples],
    }  # fmt: skip


def ours(record: Record) -> bool:
    """Whether it comes with graphspec, and not with a plugin."""
    return type(record).__module__.startswith("graphspec.")


def family(record: Record) -> str:
    """The file that a record stands in; of a plugin's the dotted name."""
    home = type(record).__module__
    return home.rpartition(".")[2] if ours(record) else home


def chapters(records: Iterable[Record]) -> dict[str, dict[str, list[Record]]]:
    """Records by chapter and family; those that belong to none, such as a plugin's, at the end, under the first words of their file."""
    places = {home: (chapter, title) for chapter, families in CHAPTERS.items() for home, title in families.items()}
    found: dict[str, dict[str, list[Record]]] = {chapter: {} for chapter in CHAPTERS}
    for home, (chapter, title) in places.items():
        found[chapter][title] = [r for r in records if ours(r) and family(r) == home]
    for record in records:
        if not ours(record) or family(record) not in places:
            about = re.split(r"[:.](?=\s|$)", (sys.modules[type(record).__module__].__doc__ or family(record)).strip())[0]
            found.setdefault("Others", {}).setdefault(about.replace("\n", " "), []).append(record)
    kept = {chapter: {title: those for title, those in families.items() if those} for chapter, families in found.items()}
    return {chapter: families for chapter, families in kept.items() if families}


def every() -> list[Record]:
    """All records that are known, by name."""
    return [record for _, record in sorted(registry.items())]


@cache
def proofs() -> dict[str, list[str]]:
    found: dict[str, list[str]] = json.loads(PROOFS.read_text(encoding="utf-8"))
    return found


def _argument(argument: Argument) -> dict[str, Any]:
    required = argument.default is REQUIRED
    return {
        "name": argument.name, "kind": argument.kind, "required": required, "default": None if required else lua_text(argument.default),
        "letters": argument.letters, "rest": argument.rest, "note": argument.note,
    }  # fmt: skip


def _parameters(record: Record) -> dict[str, list[int]]:
    """Parameters of the first sample that has any, with their shapes."""
    for sample in record.samples:
        own = module_of(record, sample).parameters
        if own:
            return {name: list(parameter.shape) for name, parameter in own.items()}
    return {}


def _sample(record: Record, sample: Sample) -> dict[str, Any]:
    typed = infer(graph_of(module_of(record, sample), sample.inputs), "float64", ranks_of(sample.inputs))
    return {
        "make": lua_call(record.name, sample) + (":evaluate()" if sample.evaluate else ""),
        "inputs": written(sample.inputs),
        "outputs": show_table(_shapes(typed.outputs)),
    }


def _shapes(tree: Any) -> Any:
    """The types of a table as text; floats are what is usual, and not said."""
    if isinstance(tree, tuple):
        return tuple(map(_shapes, tree))
    return str(tree).removeprefix(tree.dtype) if tree.is_float else str(tree)


# -- pages -----------------------------------------------------------------------------------------------------------------------


def page(record: Record, level: int = 1) -> str:
    """All of it in Markdown, under a heading of that level."""
    found = describe(record)
    parts = [f"{'#' * level} nn.{record.name}", f"```\n{found['signature']}\n```", found["doc"]]
    if found["about"].rstrip(".") != found["doc"].rstrip("."):
        parts.append(found["about"])
    if found["arguments"]:
        rows = [f"| `{a['name']}` | {_wanted(a)} | {_default(a)} |" for a in found["arguments"]]
        parts.append("\n".join(["| argument | | default |", "|---|---|---|", *rows]))
    if found["methods"]:
        parts.append("Methods: " + ", ".join(f"`{name}`" for name in found["methods"]) + ".")
    if found["samples"]:
        width = min(max(len(s["make"]) for s in found["samples"]), 60)
        lines = dict.fromkeys(f"{s['make']:<{width}}  -- {s['inputs']} -> {s['outputs']}" for s in found["samples"])
        parts.append("```lua\n" + "\n".join(lines) + "\n```")
    if found["parameters"]:
        parts.append("Parameters: " + ", ".join(f"`{name}` {shape}" for name, shape in found["parameters"].items()) + ".")
    if found["differs"]:
        parts.append(f"Other than in Torch: {_sentence(found['differs'])}")
    if found["proofs"]:
        parts.append(f"Proved by: {', '.join(found['proofs'])}.")
    if found["source"]:
        parts.append(f"Source: {_link(found['source'])}")
    return "\n\n".join(part for part in parts if part) + "\n"


def _wanted(argument: dict[str, Any]) -> str:
    text = ARGUMENT_KINDS[argument["kind"]] + (" or a letter" if argument["letters"] else "")
    return text + (", any number of them" if argument["rest"] else "") + (f"; {argument['note']}" if argument["note"] else "")


def _default(argument: dict[str, Any]) -> str:
    return "" if argument["required"] else f"`{argument['default']}`"


def _markdown(text: str) -> str:
    """A docstring's ``code`` and references as Markdown's."""
    return re.sub(r":\w+:(?=`)", "", text.replace("``", "`"))


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _link(source: str) -> str:
    """With the address, if it begins with one, as a link."""
    address, space, rest = source.partition(" ")
    return f"<{address}>{space}{rest}" if address.startswith("https://") else source
