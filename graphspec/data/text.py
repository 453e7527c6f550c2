"""``data.text``: one text, to be read on and on by a language model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from graphspec.build.describe import Schema
from graphspec.data.corpus import Corpus, default_corpus, read_corpus
from graphspec.data.ngrams import baselines
from graphspec.data.source import Batch, DataSource
from graphspec.data.vocabulary import LEVELS, Vocabulary, symbols_of

Array = np.ndarray[Any, Any]

STREAMS = frozenset({"tokens", "targets"})


class TextSource(DataSource):
    """A text as ``batch`` contiguous streams, ``seq_len`` symbols of each in a batch, in order, so that state is carried from one
    batch to the next; the targets are the symbols one further on.

    The last ``valid`` of the text (a fraction) is the validation part.  Training leaves out what does not fill the last batch of a pass
    (fewer than ``batch * (seq_len + 1)`` symbols); validation reads all streams to their end, with a shorter last batch, and so leaves out
    fewer than ``batch`` symbols.  ``path = ""`` is the default corpus.  Layout as in char-rnn (Karpathy, 2015).

    ``level``: a symbol is a character (``char``), a word or punctuation mark (``word``), or what stands between white space
    (``token``, for text that is tokenised already, as the Penn Treebank is); the last two keep the ``vocab`` most frequent ones of
    the training part, ``<unk>`` is the rest, and ``<eos>`` a line's end.
    """

    schema = Schema(
        fields={"path": "", "batch": 50, "seq_len": 50, "valid": 0.05, "level": "char", "vocab": 10_000},
        attributes=frozenset({"vocab_size"}),
        streams=STREAMS,
    )

    @cached_property
    def corpus(self) -> Corpus:
        """The text; E0617 when it is not the one that is on record for this path."""
        given = self.fields["path"]
        corpus = read_corpus(self, "path") if given else default_corpus()
        self.check_recorded("text", corpus.name, corpus.sha256, [] if given else ["it differs between versions of Python"])
        return corpus

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The symbols of the whole text, or those on record."""
        if self.stored:
            return self.recorded_vocabulary(self.stored["vocabulary"])
        level = self.one_of("level", LEVELS)
        if level == "char":
            return Vocabulary.of_text(self.corpus.text)
        return Vocabulary.of_symbols(self.symbols[: self._split(len(self.symbols))], self.whole("vocab", 2), level)

    @cached_property
    def symbols(self) -> Sequence[str]:
        """The text cut into symbols; for characters the text itself."""
        return symbols_of(self.corpus.text, self.one_of("level", LEVELS))

    @property
    def measure(self) -> str:
        return "bits_per_char" if self.fields["level"] == "char" else "perplexity"

    @property
    def streams(self) -> frozenset[str]:
        return STREAMS

    @property
    def attributes(self) -> Mapping[str, int]:
        return {"vocab_size": len(self.vocabulary)}

    @cached_property
    def indices(self) -> Array:
        """The whole text, int32 [symbols], from 1."""
        if self.vocabulary.level == "char":
            return self.vocabulary.encode(self.corpus.text)
        indices = self.vocabulary.encode_symbols(self.symbols)
        vars(self).pop("symbols", None)  # a string for each word: far more than a number; another thread may have dropped it too
        return indices

    @cached_property
    def split(self) -> int:
        """Where the validation part begins; E0616, or E0614 when a part is too short for one batch."""
        fraction, total = self.fraction("valid"), len(self.indices)
        split, unit = self._split(total), "characters" if self.vocabulary.level == "char" else "words"
        batch, steps = self.whole("batch"), self.whole("seq_len")
        helps = [f"give a smaller data.batch (now {batch}) or data.seq_len (now {steps}), or a longer text"]
        if split < batch * steps + 1:
            parts = f"{split:,} {unit} to train on, and {batch} streams of {steps} take {batch * steps + 1:,}"
            raise self.wrong("E0614", f"{self.corpus.name} is too short for one batch: {parts}", helps=helps)
        if fraction and total - split < batch:
            parts = f"its last {fraction:g} is {total - split:,} {unit}, and there are {batch} streams"
            helps = [*helps, "or do without: data.valid=0"]
            raise self.wrong("E0614", f"{self.corpus.name} is too short to validate on: {parts}", helps=helps)
        return split

    def _split(self, total: int) -> int:
        return int(total * (1 - self.fraction("valid")))

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

    def valid(self, whole: bool = False) -> Iterator[Batch]:
        """[seq_len, batch], the last one with fewer rows.  The first token is the last one of the training part, so that every symbol
        of the validation part is a target; of the whole text, every symbol but the first."""
        split = 1 if whole else self.split
        count = len(self.indices) - split
        length = count // self.whole("batch")
        for number in range(-(-length // self.whole("seq_len"))):
            yield self._cut(split - 1, count, number)

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
        bits = baselines(self.training_part, self.validation_part, len(self.vocabulary))
        return {name: self.measured(value * math.log(2))[self.measure] for name, value in bits.items()}

    def to_json(self) -> dict[str, Any]:
        if self.stored and "corpus" not in self.__dict__:  # not read, so nothing new to tell
            return dict(self.stored)
        corpus = self.corpus
        return {"name": corpus.name, "sha256": corpus.sha256, "characters": len(corpus.text), "vocabulary": self.vocabulary.to_json()}
