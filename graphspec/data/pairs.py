"""``data.pairs``: sequences with what becomes of them, such as sentences with their translations."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import chain
from typing import Any

import numpy as np

from graphspec.build.describe import Schema
from graphspec.data.corpus import Corpus, read_corpus
from graphspec.data.source import Batch, DataSource
from graphspec.data.tasks import DEFAULT_TASK, Pairs, make_pairs
from graphspec.data.vocabulary import LEVELS, START, STOP, Vocabulary, symbols_of

Array = np.ndarray[Any, Any]

ATTRIBUTES = frozenset({"source_vocab_size", "target_vocab_size"})
STREAMS = frozenset({"source", "source_length", "target_in", "target_out", "target_length"})
WINDOW = 50
"""Batches among which pairs of like lengths are put together."""


class PairSource(DataSource):
    """Pairs as batches of about one length.

    A batch has ``source`` int32 [S, B] with ``source_length`` int32 [B] (padded with the index of ``</s>``), ``target_in`` int32 [T,
    B]: ``<s>`` and the target (padded with ``</s>``), and ``target_out`` int32 [T, B]: the target and ``</s>``, padded with 0, which
    stands for "does not count" (``nn.ClassNLLCriterion(nil, true, 0)``); ``target_length`` int32 [B] counts ``</s>``.

    The last ``valid`` of the pairs (a fraction) is the validation part.  Each pass shuffles the rest by ``seed`` and its number; of every
    50 batches those of like lengths are then put together, and the batches shuffled again.
    """

    @property
    def streams(self) -> frozenset[str]:
        return STREAMS

    @property
    def measure(self) -> str:
        return "perplexity"

    @abstractmethod
    def read(self) -> Pairs:
        """The pairs; E06xx when there is something wrong with them."""

    @cached_property
    def pairs(self) -> Pairs:
        """The pairs; E0617 when they are not those on record, E0614 when there are too few."""
        pairs = self.read()
        if self.stored and self.stored["name"] == pairs.name and self.stored["sha256"] != pairs.sha256:
            notes = [f"their SHA-256 is {pairs.sha256[:12]}..., and was {self.stored['sha256'][:12]}..."]
            raise self.wrong("E0617", f"{pairs.name} holds other pairs than the checkpoint was made with", "path", notes=notes)
        return pairs

    @cached_property
    def vocabularies(self) -> tuple[Vocabulary, Vocabulary]:
        """Of sources and of targets: ``<s>``, ``</s>``, for words ``<unk>``, then what the training part (for characters: all) has."""
        if self.stored:
            source, target = (Vocabulary.from_json(self.stored[side]) for side in ("source_vocabulary", "target_vocabulary"))
            return source, target
        return self._vocabulary(self.pairs.source), self._vocabulary(self.pairs.target)

    def _vocabulary(self, texts: Sequence[str]) -> Vocabulary:
        level, special = self.one_of("level", LEVELS), (START, STOP)
        if level == "char":
            return Vocabulary.of_text("".join(texts), special)
        words = chain.from_iterable(symbols_of(text, level) for text in texts[: self.split])
        return Vocabulary.of_symbols(words, self.whole("vocab", 4), level, special)

    @property
    def attributes(self) -> Mapping[str, int]:
        source, target = self.vocabularies
        return {"source_vocab_size": len(source), "target_vocab_size": len(target)}

    @cached_property
    def split(self) -> int:
        """How many pairs are trained on."""
        total = len(self.pairs.source)
        split = round(total * (1 - self.fraction("valid")))
        if not split:
            raise self.wrong(
                "E0614", f"{self.pairs.name} has {total} pairs, which leaves none to train on", helps=["give a smaller data.valid"]
            )
        return split

    @cached_property
    def encoded(self) -> tuple[list[Array], list[Array]]:
        """Indices of every source and target, without ``<s>`` and ``</s>``."""
        source, target = self.vocabularies
        return [source.encode(text) for text in self.pairs.source], [target.encode(text) for text in self.pairs.target]

    @cached_property
    def lengths(self) -> Array:
        """[pairs, 2]: of the target and of the source."""
        source, target = self.encoded
        return np.asarray([[len(t), len(s)] for s, t in zip(source, target, strict=True)])

    @property
    def batches(self) -> int:
        return -(-self.split // self.whole("batch"))

    def batch(self, number: int) -> Batch:
        turn, place = divmod(number, self.batches)
        rows = self.order(turn)[place]
        return self._cut(rows, starts=True)

    @cached_property
    def order(self) -> Any:
        """The batches of a pass, each the numbers of its pairs."""
        return lru_cache(2)(self._order)

    def _order(self, turn: int) -> list[Array]:
        size = self.whole("batch")
        draw = np.random.default_rng([int(self.description.fields["seed"]), turn])
        shuffled = draw.permutation(self.split)
        found: list[Array] = []
        for start in range(0, self.split, WINDOW * size):
            window = shuffled[start : start + WINDOW * size]
            window = window[np.lexsort(self.lengths[window].T[::-1])]
            found += [window[i : i + size] for i in range(0, len(window), size)]
        return [found[i] for i in draw.permutation(len(found))]

    def valid(self, whole: bool = False) -> Iterator[Batch]:
        rows = np.arange(0 if whole else self.split, len(self.pairs.source))
        rows = rows[np.lexsort(self.lengths[rows].T[::-1])]
        size = self.whole("batch")
        for start in range(0, len(rows), size):
            yield self._cut(rows[start : start + size], starts=True)

    def _cut(self, rows: Array, starts: bool) -> Batch:
        sources, targets = ([side[i] for i in rows] for side in self.encoded)
        return self.padded(sources, targets, starts)

    def padded(self, sources: Sequence[Array], targets: Sequence[Array], starts: bool = True) -> Batch:
        """A batch of these sources and targets."""
        source_vocabulary, vocabulary = self.vocabularies
        start, stop = vocabulary.index(START), vocabulary.index(STOP)
        lengths = np.asarray([len(s) for s in sources], np.int32)
        target_lengths = np.asarray([len(t) + 1 for t in targets], np.int32)
        source = np.full((int(lengths.max(initial=1)), len(sources)), source_vocabulary.index(STOP), np.int32)
        target_in = np.full((int(target_lengths.max(initial=1)), len(targets)), stop, np.int32)
        target_out = np.zeros_like(target_in)
        for column, (s, t) in enumerate(zip(sources, targets, strict=True)):
            source[: len(s), column] = s
            target_in[0, column], target_in[1 : len(t) + 1, column] = start, t
            target_out[: len(t), column], target_out[len(t), column] = t, stop
        arrays = {
            "source": source, "source_length": lengths, "target_in": target_in, "target_out": target_out, "target_length": target_lengths,
        }  # fmt: skip
        return Batch(arrays, starts, int(target_lengths.sum()))

    def to_json(self) -> dict[str, Any]:
        if self.stored and "pairs" not in self.__dict__:
            return dict(self.stored)
        source, target = self.vocabularies
        return {
            "name": self.pairs.name, "sha256": self.pairs.sha256, "pairs": len(self.pairs.source),
            "source_vocabulary": source.to_json(), "target_vocabulary": target.to_json(),
        }  # fmt: skip


class FilePairs(PairSource):
    """``data.pairs``: ``path`` is a file of lines ``source TAB target`` (more columns are left out), or ``source_path`` and
    ``target_path`` are two files of as many lines; with none of them the pairs are generated: number names (see ``data.generated``)."""

    schema = Schema(
        fields={
            "path": "", "source_path": "", "target_path": "", "batch": 64, "level": "char", "vocab": 10_000, "valid": 0.02,
            "max_length": 200, "size": 30_000, "seed": 1,
        },
        attributes=ATTRIBUTES,
        streams=STREAMS,
    )  # fmt: skip

    def read(self) -> Pairs:
        """E0610-E0613, E0618 as for a text; E0619 for a line that is no pair, or files that do not match."""
        fields = self.description.fields
        if fields["path"]:
            return self._of_table(read_corpus(self, "path"))
        if fields["source_path"] or fields["target_path"]:
            for field, other in (("source_path", "target_path"), ("target_path", "source_path")):
                if not fields[field]:
                    raise self.wrong("E0616", f"data.{other} is given, and data.{field} is not", other)
            return self._of_two(read_corpus(self, "source_path"), read_corpus(self, "target_path"))
        return make_pairs(self, DEFAULT_TASK)

    def _of_table(self, corpus: Corpus) -> Pairs:
        rows = [line.split("\t") for line in corpus.text.splitlines()]
        for number, row in enumerate(rows, 1):
            if len(row) < 2 and row != [""]:
                helps = ["a line is `source TAB target`"]
                raise self.wrong("E0619", f"{corpus.name} is not a table of pairs: line {number} has no tab", "path", helps=helps)
        kept = [row for row in rows if row != [""]]
        return self._kept([row[0] for row in kept], [row[1] for row in kept], corpus.name, corpus.sha256, "path")

    def _of_two(self, source: Corpus, target: Corpus) -> Pairs:
        left, right = source.text.splitlines(), target.text.splitlines()
        if len(left) != len(right):
            counts = f"{source.name} has {len(left):,} lines, {target.name} {len(right):,}"
            raise self.wrong("E0619", f"the two files do not match: {counts}", "source_path")
        return self._kept(left, right, f"{source.name} and {target.name}", source.sha256[:32] + target.sha256[:32], "source_path")

    def _kept(self, source: list[str], target: list[str], name: str, sha256: str, field: str) -> Pairs:
        """Without pairs of which a side is empty, or has more than ``max_length`` symbols."""
        longest, level = self.whole("max_length"), self.one_of("level", LEVELS)
        kept = [
            (s, t) for s, t in zip(map(str.strip, source), map(str.strip, target), strict=True)
            if s and t and max(len(symbols_of(s, level)), len(symbols_of(t, level))) <= longest
        ]  # fmt: skip
        if not kept:
            raise self.wrong("E0613", f"{name} holds no pair whose sides have 1 to {longest} symbols (data.max_length)", field)
        left, right = zip(*kept, strict=True)
        return Pairs(left, right, name, sha256)
