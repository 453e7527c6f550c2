"""What is measured beside the loss: the part of predictions that are right, by the criterions of classes in the loss."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from graphspec.build import ExperimentSpec
from graphspec.errors import SpecError
from graphspec.ir.core import Program
from graphspec.suggest import did_you_mean

ACCURACY = "accuracy"
EXACT = "exact"
LOSS = "valid_loss"
"""What a validation calls the held-out loss."""
RIGHT, COUNTED = "right:", "counted:"
"""Prefixes of a program's results: how many of its predictions were right, and how many were judged at all."""


def is_share(name: str) -> bool:
    """Whether a measure is a part of the whole, from 0 to 1, the larger the better."""
    return name in (ACCURACY, EXACT) or name.startswith(f"{ACCURACY}_")


def measured_by(program: Program) -> list[str]:
    """The measures that a program's results give."""
    return [port.name.removeprefix(RIGHT) for port in program.outputs if port.name.startswith(RIGHT)]


class Tally:
    """Counts what was right, over several runs of a program."""

    def __init__(self, names: Collection[str], to_host: Callable[[Any], Any]) -> None:
        self.counts = dict.fromkeys(names, (0, 0))
        """By measure: how many were right, and how many counted."""
        self._to_host = to_host

    def add(self, results: Mapping[str, Any]) -> None:
        for name, (right, counted) in self.counts.items():
            more = (round(float(self._to_host(results[kind + name]))) for kind in (RIGHT, COUNTED))
            self.counts[name] = (right + next(more), counted + next(more))

    def shares(self) -> dict[str, float]:
        """The part that was right by measure, of the measures where anything counted."""
        return {name: right / counted for name, (right, counted) in self.counts.items() if counted}


def best_measure(spec: ExperimentSpec, names: Collection[str]) -> str:
    """What a validation calls the measure that the best one is chosen by; E0606 for one that this experiment does not have."""
    by = str(spec.fields["best_by"])
    known = ["loss", *names, *([EXACT] if spec.encode is not None else [])]
    if by in known:
        return LOSS if by == "loss" else by
    raise _unknown(spec, by, known)


def _unknown(spec: ExperimentSpec, by: str, known: Collection[str]) -> SpecError:
    helps = did_you_mean(by, known)
    if by in ("perplexity", "bits_per_char"):
        helps = ["it falls with the loss: `best_by = 'loss'` chooses the same"]
    elif by == ACCURACY and not helps:
        helps = ["it is measured where the loss has a criterion of classes; with texts and pairs by `accuracy = 'always'`"]
    return spec.wrong("E0606", f"experiment.best_by must be one of {', '.join(known)}, got {by!r}", "best_by", helps=helps)
