"""``data.text``: one text, to be read on and on by a language model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from graphspec.build.describe import Schema
from graphspec.data.corpus import DEFAULT, Corpus, default_corpus, read_corpus
from graphspec.data.ngrams import baselines
from graphspec.data.source import Batch, DataSource
from graphspec.data.vocabulary import Vocabulary

Array = np.ndarray[Any, Any]

LEVELS = ("char",)
"""What a symbol can be."""


class TextSource(DataSource):
    """A text as ``batch`` contiguous streams, ``seq_len`` symbols of each in a batch, in order, so that state is carried from one
    batch to the next; the targets are the symbols one further on.

    The last ``valid`` of the text (a fraction) is the validation part.  Training leaves out what does not fill the last batch of a pass
    (fewer than ``batch * (seq_len + 1)`` symbols); validation reads all streams to their end, with a shorter last batch, and so leaves out
    fewer than ``batch`` symbols.  ``path = ""`` is the default corpus.  Layout as in char-rnn (Karpathy, 2015).
    """

    schema = Schema(
        fields={"path": "", "batch": 50, "seq_len": 50, "valid": 0.05, "level": "char"},
        attributes=frozenset({"vocab_size"}),
        streams=frozenset({"tokens", "targets"}),
    )

    @cached_property
    def corpus(self) -> Corpus:
        """The text; E0617 when it is not the one that is on record for this path."""
        given = self.description.fields["path"]
        corpus = read_corpus(self, "path") if given else default_corpus()
        if self.stored and self.stored["path"] == corpus.name and self.stored["sha256"] != corpus.sha256:
            notes = ["it differs between versions of Python"] if corpus.name == DEFAULT else []
            raise self.wrong(
                "E0617", f"{corpus.name} is not the text that the checkpoint was made with", "path",
                notes=[*notes, f"its SHA-256 is {corpus.sha256[:12]}..., and was {self.stored['sha256'][:12]}..."],
            )  # fmt: skip
        return corpus

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The symbols of the whole text, or those on record."""
        self._check_level()
        if self.stored:
            return Vocabulary.from_json(self.stored["vocabulary"])
        return Vocabulary.of_text(self.corpus.text)

    @property
    def attributes(self) -> Mapping[str, int]:
        return {"vocab_size": len(self.vocabulary)}

    @cached_property
    def indices(self) -> Array:
        """The whole text, int32 [symbols], from 1."""
        return self.vocabulary.encode(self.corpus.text)

    @cached_property
    def split(self) -> int:
        """Where the validation part begins; E0616, or E0614 when a part is too short for one batch."""
        fraction = self.description.fields["valid"]
        if not 0 <= fraction < 1:
            raise self.wrong("E0616", f"data.valid must be at least 0 and less than 1, got {fraction:g}", "valid")
        total = len(self.indices)
        split = int(total * (1 - fraction))
        batch, steps = self.whole("batch"), self.whole("seq_len")
        helps = [f"give a smaller data.batch (now {batch}) or data.seq_len (now {steps}), or a longer text"]
        if split < batch * steps + 1:
            parts = f"{split:,} characters to train on, and {batch} streams of {steps} take {batch * steps + 1:,}"
            raise self.wrong("E0614", f"{self.corpus.name} is too short for one batch: {parts}", helps=helps)
        if fraction and total - split < batch:
            parts = f"its last {fraction:g} is {total - split:,} characters, and there are {batch} streams"
            helps = [*helps, "or do without: data.valid=0"]
            raise self.wrong("E0614", f"{self.corpus.name} is too short to validate on: {parts}", helps=helps)
        return split

    @property
    def training_part(self) -> Array:
        """Indices [symbols]."""
        return self.indices[: self.split]

    @property
    def validation_part(self) -> Array:
        """Indices [symbols]."""
        return self.indices[self.split :]

    @property
    def batches(self) -> int:
        return (self.split - 1) // self.whole("batch") // self.whole("seq_len")

    def batch(self, number: int) -> Batch:
        """``tokens`` and ``targets``: [seq_len, batch]."""
        return self._cut(0, self.split - 1, number % self.batches)

    def valid(self) -> Iterator[Batch]:
        """[seq_len, batch], the last one with fewer rows.  The first token is the last one of the training part, so that every symbol
        of the validation part is a target."""
        count = len(self.indices) - self.split
        length = count // self.whole("batch")
        for number in range(-(-length // self.whole("seq_len"))):
            yield self._cut(self.split - 1, count, number)

    def _cut(self, start: int, count: int, number: int) -> Batch:
        """Batch ``number`` of the ``count`` targets that follow position ``start``."""
        batch, steps = self.whole("batch"), self.whole("seq_len")
        length = count // batch
        rows = np.s_[number * steps : min((number + 1) * steps, length)]

        def streams(first: int) -> Array:
            return np.ascontiguousarray(self.indices[first : first + batch * length].reshape(batch, length)[:, rows].T)

        tokens, targets = streams(start), streams(start + 1)
        return Batch({"tokens": tokens, "targets": targets}, number == 0, targets.size)

    def baselines(self) -> dict[str, float]:
        if not len(self.validation_part):
            return {}
        return baselines(self.training_part, self.validation_part, len(self.vocabulary))

    def to_json(self) -> dict[str, Any]:
        if self.stored and "corpus" not in self.__dict__:  # not read, so nothing new to tell
            return dict(self.stored)
        corpus = self.corpus
        return {"path": corpus.name, "sha256": corpus.sha256, "characters": len(corpus.text), "vocabulary": self.vocabulary.to_json()}

    def _check_level(self) -> None:
        level = self.description.fields["level"]
        if level not in LEVELS:
            raise self.wrong("E0616", f"data.level must be one of {', '.join(LEVELS)}, got {level!r}", "level")
