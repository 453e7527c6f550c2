"""How to generate, and what comes of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from graphspec.errors import fail
from graphspec.settings import LARGEST_SEED

Array = np.ndarray[Any, Any]

CHUNK = 16
"""Steps of one run of a program: afterwards the host looks whether all sequences have ended, and a terminal shows what there is."""

LONG_CHUNK, PATIENCE = 256, 0.05
"""Steps of one run where there is no end to look for and a terminal waits no longer than so many seconds: each run makes anew what does not
change in its loop, such as the packed weights."""

LENGTH, SOURCE_LENGTH = 500, 200
"""The most symbols, unless told otherwise: of a language model's text, and of what is made of a source."""
TEMPERATURE = 0.8
"""At which a language model draws, unless told otherwise; what is made of a source, and a beam, is the likeliest."""

LARGEST_TEMPERATURE = 1e30
"""More does not fit into float32; all symbols are equally likely long before."""


@dataclass(frozen=True)
class Hypothesis:
    """A sequence that was generated."""

    symbols: tuple[int, ...]
    """From 1, without the stop symbol."""
    text: str
    score: float
    """What it was ranked by: ``log_p``, in a beam search over the length's penalty."""
    log_p: float
    """Of all its symbols, the stop symbol too where it has ended."""
    ended: bool
    """Whether the stop symbol came within the length."""
    extras: tuple[Array, ...] = ()
    """The step's further outputs for each symbol, ``[symbols, ...]``: for attention, ``[symbols, source symbols]``."""


@dataclass(frozen=True)
class Settings:
    """How to choose symbols.

    ``length``: the most symbols.  ``beam``: the width of a beam search; 0 draws one sequence instead, with ``temperature`` (0: always
    the likeliest) from the ``top_k`` likeliest (0: all) and the likeliest that have ``top_p`` of the probability together.  ``penalty``:
    alpha of Wu et al. (2016), a beam search's scores are divided by ((5 + length) / 6) ** alpha.
    """

    length: int
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    beam: int = 0
    penalty: float = 0.0
    seed: int = 1
    chunk: int = CHUNK


def settings_of(
    has_encoder: bool, *, length: int | None = None, temperature: float | None = None, top_k: int | None = None, top_p: float = 1.0,
    beam: int | None = None, length_penalty: float = 0.0, seed: int = 1,
) -> Settings:  # fmt: skip
    """How to choose symbols, from what a user gives; None stands for the model's default.  E0624 for a beam or top_k that keeps nothing."""
    for name, value in (("top_k", top_k), ("beam", beam)):
        if value is not None and value == 0:
            raise fail("E0624", f"{name} must be at least 1, got {value!r}", helps=[f"leave {name} out to go without"])
    if length is None:
        length = SOURCE_LENGTH if has_encoder else LENGTH
    if temperature is None:
        temperature = 0.0 if has_encoder or beam else TEMPERATURE
    return Settings(length, temperature, top_k or 0, top_p, beam or 0, length_penalty, seed)


def check_generation(settings: Settings, n_best: int = 1, batch: int = 1) -> None:
    """E0624 for settings that make no sense, or not together."""
    counts = {
        "length": settings.length, "top_k": settings.top_k, "beam": settings.beam, "seed": settings.seed, "n_best": n_best, "batch": batch,
    }  # fmt: skip
    for name, value in counts.items():
        least = int(name in ("n_best", "batch"))
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise fail("E0624", f"{name} must be a whole number of at least {least}, got {value!r}")
    if settings.seed > LARGEST_SEED:
        raise fail("E0624", f"seed must be at most {LARGEST_SEED}, got {settings.seed}")
    for name, number in (("temperature", settings.temperature), ("top_p", settings.top_p), ("length_penalty", settings.penalty)):
        if not isinstance(number, Real):
            raise fail("E0624", f"{name} must be a number, got {number!r}")
    if not 0 <= settings.temperature <= LARGEST_TEMPERATURE:
        bound = f"at least 0 and at most {LARGEST_TEMPERATURE:g}"
        raise fail("E0624", f"temperature must be {bound}, got {settings.temperature!r}")
    if not 0 < settings.top_p <= 1:
        raise fail("E0624", f"top_p must be more than 0 and at most 1, got {settings.top_p!r}")
    if not 0 <= settings.penalty < math.inf:
        raise fail("E0624", f"length_penalty must be at least 0, got {settings.penalty!r}")
    if settings.beam and settings.temperature:
        raise fail("E0624", "a beam search draws nothing: it takes no temperature", helps=["leave one of them out"])
    if settings.penalty and not settings.beam:
        raise fail("E0624", "length_penalty ranks what a beam search finds, and there is none", helps=["give a beam, such as 5"])
    if (settings.top_k or settings.top_p < 1) and not settings.temperature:
        raise fail("E0624", "top_k and top_p limit what is drawn, and at temperature 0 nothing is", helps=["give a temperature, such as 1"])
    if n_best > max(settings.beam, 1):
        raise fail("E0624", f"the {n_best} best are more than there are", helps=[f"a beam of at least {n_best} has so many"])


def check_by_length(has_encoder: bool) -> None:
    """E0624 where there are no sources by whose length to count."""
    if not has_encoder:
        helps = ["its loss is told without `--by-length`"]
        message = "answers are counted by the length of their source, and this is a language model: it has no encoder"
        raise fail("E0624", message, helps=helps)


def check_given(has_encoder: bool, sources: Sequence[str] | None, prime: str, texts: Sequence[str] | None = None) -> None:
    """E0624 for sources, a prime or texts to score that are not for this kind of model."""
    for name, given in (("sources", sources), ("texts", texts)):
        if isinstance(given, str):
            raise fail("E0624", f"{name} are a list of texts, and this is one text", helps=["put it into brackets"])
        if given is not None and not (isinstance(given, Sequence) and all(isinstance(text, str) for text in given)):
            raise fail("E0624", f"{name} are a list of texts, got {given!r:.60}")
    if not isinstance(prime, str):
        raise fail("E0624", f"the prime is a text, got {prime!r:.60}")
    if has_encoder and sources is None:
        helps = ["give sources, a text for each; on the command line `--source TEXT`, again for more"]
        raise fail("E0624", "this model makes a sequence from a source, and there is none", helps=helps)
    if sources is not None and not has_encoder:
        helps = ["what comes before its text is the prime; on the command line `--prime TEXT`"]
        raise fail("E0624", "this is a language model: it has no encoder for a source", helps=helps)
    if prime and has_encoder:
        raise fail("E0624", "a prime is for language models, and this one begins with its source", helps=["leave the prime out"])
    if sources is not None and texts is not None and len(sources) != len(texts):
        raise fail("E0624", f"each text is scored after its source, and there are {len(texts)} texts and {len(sources)} sources")
    for number, text in enumerate(sources or (), 1):
        if not text.strip():
            raise fail("E0624", f"source {number} is empty")
