"""``data.pairs``: sequences with what becomes of them, such as sentences with their translations."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import chain
from typing import Any

import numpy as np

from graphspec.build.describe import Schema
from graphspec.data.corpus import Corpus, lines_of, read_corpus
from graphspec.data.source import Batch, DataSource
from graphspec.data.tasks import DEFAULT_TASK, DEFAULTS, Pairs, make_pairs
from graphspec.data.vocabulary import LEVELS, START, STOP, Vocabulary, symbols_of

Array = np.ndarray[Any, Any]

ATTRIBUTES = frozenset({"source_vocab_size", "target_vocab_size"})
STREAMS = frozenset({"source", "source_length", "target_in", "target_out", "target_length"})
WINDOW = 50
"""Batches among which pairs of like lengths are put together; at most a quarter of a pass, or every pass would have the same batches."""


class PairSource(DataSource):
    """Pairs as batches of about one length.

    A batch has ``source`` int32 [S, B] with ``source_length`` int32 [B] (padded with the index of ``</s>``), ``target_in`` int32 [T,
    B]: ``<s>`` and the target (padded with ``</s>``), and ``target_out`` int32 [T, B]: the target and ``</s>``, padded with 0, which
    stands for "does not count" (``nn.ClassNLLCriterion(nil, true, 0)``); ``target_length`` int32 [B] counts ``</s>``.

    The last ``valid`` of the pairs (a fraction) is the validation part.  Each pass shuffles the rest by ``seed`` and its number; among
    every 50 batches pairs of like lengths are then put together, and the batches shuffled again.
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
        """The pairs; E0617 when they are not those on record."""
        pairs = self.read()
        self.check_recorded("set of pairs", pairs.name, pairs.sha256, pairs.notes)
        return pairs

    @cached_property
    def vocabularies(self) -> tuple[Vocabulary, Vocabulary]:
        """For sources and for targets: ``<s>``, ``</s>``, for words ``<unk>``, then what the training part (for characters: all) has."""
        if self.stored:
            return self.recorded_vocabulary(self.stored["source_vocabulary"]), self.recorded_vocabulary(self.stored["target_vocabulary"])
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
        return self.training_examples(self.pairs.name, len(self.pairs.source))

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
        return self._of_rows(self.order(turn)[place])

    @cached_property
    def order(self) -> Callable[[int], list[Array]]:
        """A function from the number of a pass to its batches, each an array of the numbers of its pairs."""
        return lru_cache(2)(self._order)

    def _order(self, turn: int) -> list[Array]:
        size = self.whole("batch")
        draw = np.random.default_rng([self.whole("seed", 0), turn])
        shuffled = draw.permutation(self.split)
        window = size * max(min(WINDOW, self.batches // 4), 1)
        found: list[Array] = []
        for start in range(0, self.split, window):
            found += self._by_length(shuffled[start : start + window])
        return [found[i] for i in draw.permutation(len(found))]

    def _by_length(self, rows: Array) -> list[Array]:
        """Batches of these pairs, sorted by the lengths of their targets, then of their sources."""
        rows, size = rows[np.lexsort(self.lengths[rows].T[::-1])], self.whole("batch")
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def valid(self, whole: bool = False) -> Iterator[Batch]:
        return map(self._of_rows, self._by_length(np.arange(0 if whole else self.split, len(self.pairs.source))))

    def _of_rows(self, rows: Array) -> Batch:
        sources, targets = self.encoded
        return self.padded([sources[i] for i in rows], [targets[i] for i in rows])

    def padded(self, sources: Sequence[Array], targets: Sequence[Array]) -> Batch:
        """A batch of these sources and targets, indices without ``<s>`` and ``</s>``."""
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
        return Batch(arrays, True, int(target_lengths.sum()))

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
    ``target_path`` are two files of as many lines; with none of them the pairs are generated: number names (see ``data.generated``).

    White space around a side is dropped; pairs of which a side is empty or has more than ``max_length`` symbols are left out, and those
    that stand there again, so that nothing that is held out is trained on.  The order of a file is drawn by ``seed``: many are sorted.
    """

    schema = Schema(
        fields={
            "path": "", "source_path": "", "target_path": "", "batch": 64, "level": "char", "vocab": 10_000, "max_length": 200, "seed": 1,
            **DEFAULTS,
        },
        attributes=ATTRIBUTES,
        streams=STREAMS,
    )  # fmt: skip

    def read(self) -> Pairs:
        """E0610-E0613, E0618 as for a text; E0619 for a line that is no pair, or files that do not match."""
        path, source_path, target_path = (bool(self.fields[name]) for name in ("path", "source_path", "target_path"))
        if source_path != target_path or (path and source_path):
            raise self.wrong("E0616", "data.pairs takes data.path, or both data.source_path and data.target_path")
        if path:
            corpus = read_corpus(self, "path")
            return self._kept(self._columns(corpus), corpus.name, corpus.sha256, "path")
        if source_path:
            source, target = read_corpus(self, "source_path"), read_corpus(self, "target_path")
            both = hashlib.sha256(f"{source.sha256} {target.sha256}".encode()).hexdigest()
            return self._kept(self._lines(source, target), f"{source.name} and {target.name}", both, "source_path")
        return make_pairs(self, DEFAULT_TASK)

    def _columns(self, corpus: Corpus) -> Iterator[tuple[str, str]]:
        for number, line in enumerate(lines_of(corpus.text), 1):
            source, tab, rest = line.partition("\t")
            if not tab and line.strip():
                helps = ["a line is `source TAB target`"]
                raise self.wrong("E0619", f"{corpus.name} is not a table of pairs: line {number} has no tab", "path", helps=helps)
            yield source, rest.partition("\t")[0]

    def _lines(self, source: Corpus, target: Corpus) -> Iterator[tuple[str, str]]:
        left, right = lines_of(source.text), lines_of(target.text)
        if len(left) != len(right):
            counts = f"{source.name} has {len(left):,} lines, {target.name} {len(right):,}"
            raise self.wrong("E0619", f"the two files do not match: {counts}", "source_path")
        return zip(left, right, strict=True)

    def _kept(self, lines: Iterable[tuple[str, str]], name: str, sha256: str, field: str) -> Pairs:
        longest, level = self.whole("max_length"), self.one_of("level", LEVELS)
        kept: dict[tuple[str, str], tuple[str, str]] = {}  # by their symbols: words may be any number of spaces apart
        for number, (source, target) in enumerate(lines, 1):
            pair = source.strip(), target.strip()
            sides = [symbols_of(side, level) for side in pair]
            for mark in (START, STOP) if level == "token" else ():
                if mark in sides[0] or mark in sides[1]:
                    helps = [f"take it out: every sequence gets its {START} and {STOP} here"]
                    raise self.wrong("E0619", f"{name}: line {number} holds {mark} as a token of its own", field, helps=helps)
            if all(0 < len(side) <= longest for side in sides):
                kept.setdefault((" ".join(sides[0]), " ".join(sides[1])), pair)
        if not kept:
            raise self.wrong("E0613", f"{name} holds no pair whose sides have 1 to {longest} symbols (data.max_length)", field)
        pairs = list(kept.values())
        order = np.random.default_rng(self.whole("seed", 0)).permutation(len(pairs))
        return Pairs([pairs[i][0] for i in order], [pairs[i][1] for i in order], name, sha256)
