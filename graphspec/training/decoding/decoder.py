"""Decoding from the host: programs compiled once, run chunk by chunk until every sequence has ended; hypotheses put together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from graphspec.build import ExperimentSpec
from graphspec.data import Batch, DataSource, Vocabulary
from graphspec.data.pairs import PairSource
from graphspec.data.vocabulary import LINE_END, START, STOP
from graphspec.engine import Engine
from graphspec.errors import fail
from graphspec.graph import Module
from graphspec.program import Typed, forward_program
from graphspec.training.decoding.model import StepModel, encoder_types, step_model
from graphspec.training.decoding.programs import LOWEST, POOL, beam_program, draw_program, extra_names, force_program
from graphspec.training.decoding.settings import CHUNK, Hypothesis, Settings
from graphspec_runtime.devices.base import Device

Array = np.ndarray[Any, Any]
Named = Mapping[str, Array]
"""Parameters and running statistics by name, on the host."""


class Decoder:
    """Generates with an experiment's step, and its encoder where it has one."""

    def __init__(self, spec: ExperimentSpec, dtype: str, device: Device | None, source: DataSource) -> None:
        self.spec, self.dtype, self.device, self.source = spec, dtype, device, source
        self.model = step_model(spec, dtype)
        self.vocabulary = self._vocabulary()
        self.stop = self.vocabulary.index(STOP) if STOP in self.vocabulary.symbols else None
        self._encoder: tuple[Typed, Engine] | None = None
        self._engines: dict[Any, Engine] = {}
        self._models: dict[int, StepModel] = {1: self.model}
        if spec.encode is not None:
            typed = encoder_types(spec, dtype, self.model)
            self._encoder = typed, Engine(forward_program(typed, training=False), device)

    def _vocabulary(self) -> Vocabulary:
        source = self.source
        found = source.vocabularies[1] if isinstance(source, PairSource) else getattr(source, "vocabulary", None)
        if not isinstance(found, Vocabulary):
            raise fail("E0607", "there is nothing to generate: the data have no vocabulary", self.spec.origin)
        if len(found) != self.model.symbols:
            assert self.spec.step is not None
            raise fail(
                "E0622", f"the experiment's step gives {self.model.symbols} symbols, the vocabulary has {len(found)}", self.spec.step.origin
            )
        return found

    # -- running -----------------------------------------------------------------------------------------------------

    def _engine(self, kind: str, *key: Any) -> Engine:
        """A program's engine, compiled on first use."""
        if (kind, *key) not in self._engines:
            if kind == "beam":
                width = key[0]
                if width not in self._models:
                    self._models[width] = step_model(self.spec, self.dtype, width)
                program = beam_program(self._models[width], width, self.stop)
            else:
                program = draw_program(self.model, self.stop, *key) if kind == "draw" else force_program(self.model)
            self._engines[(kind, *key)] = Engine(program, self.device)
        return self._engines[(kind, *key)]

    def _shared(self, module: Module, named: Named, seed: int = 1) -> dict[str, Any]:
        """Parameters, running statistics and counters, as a program of that module takes them."""
        flat = np.concatenate([np.zeros(0, self.dtype), *(named[p.name].reshape(-1) for p in module.all_parameters())])
        return {
            "parameters": self._resident(flat), **{p.name: self._resident(named[p.name]) for p in module.all_parameters(buffers=True)},
            "seed": np.asarray(seed, np.int64), "step": np.asarray(0, np.int64),
        }  # fmt: skip

    def _resident(self, array: Array) -> Any:
        return array if self.device is None else self.device.from_host(array)

    def begin(self, named: Named, batch: Batch | None, rows: int, width: int = 1) -> tuple[dict[str, Any], dict[str, Any]]:
        """First states and context by the names of the step's inputs, each row repeated ``width`` times: zeros, or what the encoder
        makes of a batch."""
        model = self._models[width]
        if self._encoder is None:
            state = {
                name: np.zeros([rows * width if n == model.rows else n.evaluate({}) for n in t.shape], t.dtype)
                for name, t in zip(model.state_names, model.state, strict=True)
            }
            return state, {}
        typed, engine = self._encoder
        assert batch is not None
        arrays = {name: batch.arrays[s.name] for name, s in zip(typed.input_names, self.spec.encode_inputs, strict=True)}
        results = engine.run({**arrays, **self._shared(typed.module, named)})
        given = zip([*model.state_names, *model.context_names], [*model.state, *model.context], typed.output_names, strict=True)
        found = {name: np.repeat(engine.to_host(results[out]), width, model.batch_axis(t)) for name, t, out in given}
        return {name: found.pop(name) for name in model.state_names}, found

    def _steps(
        self, engine: Engine, model: StepModel, arguments: dict[str, Any], carries: dict[str, Any], length: int, chunk: int,
        each: Mapping[str, Array] | None = None,
    ) -> Iterator[dict[str, Array]]:  # fmt: skip
        """Run a program for ``length`` steps, a chunk at a time: what each chunk stacks; ``carries`` are brought up to date."""
        for start in range(0, length, chunk):
            turns = np.arange(start, min(start + chunk, length), dtype=np.int32)
            now = {key: stack[start : start + len(turns)] for key, stack in (each or {}).items()}
            results = engine.run({**arguments, **carries, **now, "turns": turns})
            found = {name: engine.to_host(value) for name, value in results.items()}
            carries.update({name: found.pop(f"new {name}") for name in carries if f"new {name}" in found})
            yield found

    # -- drawing -----------------------------------------------------------------------------------------------------

    def draw(
        self, named: Named, settings: Settings, state: dict[str, Any], context: dict[str, Any], first: Array
    ) -> Iterator[dict[str, Array]]:
        """Chunks of ``symbols`` and ``log_p [steps, rows]`` (and extras), after the symbols ``first [rows]``; ends when all rows have."""
        sampled = settings.temperature > 0
        limited = sampled and (settings.top_k > 0 or settings.top_p < 1)
        engine = self._engine("draw", sampled, limited)
        assert self.spec.step is not None
        arguments = {**self._shared(self.spec.step, named, settings.seed), **context}
        if sampled:
            arguments["temperature"] = np.asarray(settings.temperature, self.dtype)
        if limited:
            kept = settings.top_k if 0 < settings.top_k < self.model.symbols else self.model.symbols
            arguments.update(top_p=np.asarray(settings.top_p, self.dtype), ranks=np.zeros(kept, np.int32))
        carries: dict[str, Any] = {self.model.typed.input_names[0]: np.asarray(first, np.int32), **state}
        if self.stop is not None:
            carries["ended"] = np.zeros(len(first), np.bool_)
        for found in self._steps(engine, self.model, arguments, carries, settings.length, settings.chunk):
            yield found
            if self.stop is not None and carries["ended"].all():
                return

    def exact(self, named: Named, batch: Batch) -> Array:
        """Which of a batch of pairs come out right to the last symbol when the likeliest is taken at each step; bool ``[B]``."""
        wanted = batch.arrays["target_out"]
        length, rows = wanted.shape
        state, context = self.begin(named, batch, rows)
        chunks = list(self.draw(named, Settings(length), state, context, self._first(rows)))
        symbols = np.full((length, rows), self.stop, np.int32)
        found = np.concatenate([chunk["symbols"] for chunk in chunks])
        symbols[: len(found)] = found
        right: Array = np.all((symbols == wanted) | (wanted == 0), axis=0)
        return right

    def _first(self, rows: int) -> Array:
        return np.full(rows, self.vocabulary.index(START), np.int32)

    # -- whole sequences ---------------------------------------------------------------------------------------------

    def generate(
        self, named: Named, batch: Batch | None, rows: int, settings: Settings, prime: str = ""
    ) -> list[list[Hypothesis]]:
        """The hypotheses of each row, the best first: one, or as many as a beam is wide."""
        width = max(settings.beam, 1)
        if settings.beam:
            self._engine("beam", width)
        state, context = self.begin(named, batch, rows, width)
        first = self._first(rows * width) if self._encoder is not None else np.zeros(0, np.int32)
        if self._encoder is None:
            given = self.encoded_prime(prime)
            state = self.feed(named, state, given[:-1], rows * width, context)
            first = np.full(rows * width, given[-1], np.int32)
        if settings.beam:
            return self._search(named, settings, state, context, first, rows)
        chunks = list(self.draw(named, settings, state, context, first))
        stacks = {key: np.concatenate([chunk[key] for chunk in chunks]) for key in chunks[0]} if chunks else {}
        return [[self._drawn(stacks, row)] for row in range(rows)]

    def _drawn(self, stacks: Mapping[str, Array], row: int) -> Hypothesis:
        symbols = stacks["symbols"][:, row] if stacks else np.zeros(0, np.int32)
        ends = np.flatnonzero(symbols == (self.stop or 0))  # no symbol is 0
        count = int(ends[0]) if len(ends) else len(symbols)
        total = float(stacks["log_p"][:, row].astype(np.float64).sum()) if stacks else 0.0
        extras = tuple(self._extra(stacks[name], i, row)[:count] for i, name in enumerate(extra_names(self.model)) if stacks)
        return self._hypothesis(symbols[:count], total, total, len(ends) > 0, extras)

    def _extra(self, stack: Array, number: int, row: Any) -> Array:
        """Of a stack of extras ``[steps, ...]``, what belongs to a row."""
        found: Array = np.take(stack, row, 1 + self.model.batch_axis(self.model.extras[number]))
        return found

    def _hypothesis(self, symbols: Array, score: float, log_p: float, ended: bool, extras: tuple[Array, ...]) -> Hypothesis:
        plain = tuple(int(symbol) for symbol in symbols)
        return Hypothesis(plain, self.vocabulary.decode(plain), score, log_p, ended, extras)

    def stream(self, named: Named, settings: Settings, prime: str = "") -> Iterator[str]:
        """A text of a language model after a prime, piece by piece, as the chunks come."""
        state, context = self.begin(named, None, 1)
        given = self.encoded_prime(prime)
        state = self.feed(named, state, given[:-1], 1, context)
        chunks = self.draw(named, settings, state, context, given[-1:])
        return self.vocabulary.pieces(self.vocabulary.symbols[int(i) - 1] for chunk in chunks for i in chunk["symbols"][:, 0])

    def encoded_prime(self, prime: str) -> Array:
        """What comes before; a line's end, if the corpus has any, where nothing is given."""
        symbols = self.vocabulary.symbols
        start = next((symbol for symbol in ("\n", LINE_END) if symbol in symbols), symbols[0])
        return self.vocabulary.encode(prime) if prime else np.asarray([self.vocabulary.index(start)], np.int32)

    def feed(self, named: Named, state: dict[str, Any], given: Array, rows: int, context: dict[str, Any]) -> dict[str, Any]:
        """The state after these symbols, the same for every row."""
        tokens = np.repeat(np.asarray(given, np.int32)[:, None], rows, 1)
        for _ in self._forced(named, state, context, tokens, np.zeros_like(tokens)):
            pass
        return state

    def _forced(
        self, named: Named, state: dict[str, Any], context: dict[str, Any], tokens: Array, targets: Array
    ) -> Iterator[Array]:
        """Log-probabilities of targets ``[steps, rows]``, chunk by chunk; ``state`` is brought up to date."""
        assert self.spec.step is not None
        name = self.model.typed.input_names[0]
        arguments = {**self._shared(self.spec.step, named), **context, name: np.ones(tokens.shape[1], np.int32)}
        each = {"tokens": tokens, "targets": targets}
        for found in self._steps(self._engine("force"), self.model, arguments, state, len(tokens), CHUNK, each):
            yield found["log_p"]

    def score(self, named: Named, batch: Batch | None, tokens: Array, targets: Array) -> Array:
        """Summed log-probability ``[rows]`` of targets ``[steps, rows]`` (0: does not count) after tokens of the same shape."""
        state, context = self.begin(named, batch, tokens.shape[1])
        parts = [part.astype(np.float64).sum(0) for part in self._forced(named, state, context, tokens, targets)]
        total: Array = np.sum(parts, axis=0) if parts else np.zeros(tokens.shape[1])
        return total

    # -- beam search -------------------------------------------------------------------------------------------------

    def _search(
        self, named: Named, settings: Settings, state: dict[str, Any], context: dict[str, Any], first: Array, rows: int
    ) -> list[list[Hypothesis]]:
        width = settings.beam
        model, engine = self._models[width], self._engine("beam", width)
        assert self.spec.step is not None
        arguments = {**self._shared(self.spec.step, named, settings.seed), **context}
        scores = np.full((rows, width), LOWEST, self.dtype)
        scores[:, 0] = 0
        none = np.zeros((rows, width), np.int32)
        pool = dict(zip(POOL, (np.full_like(scores, 2 * LOWEST), none, none, np.zeros_like(scores)), strict=True))
        carries: dict[str, Any] = {
            model.typed.input_names[0]: first, **state, "scores": scores, "count": np.zeros(rows, np.int32), **pool,
        }  # fmt: skip
        lengths = np.arange(1, settings.length + 1)
        divisor = (((5 + lengths) / 6) ** settings.penalty).astype(self.dtype)
        chunks = []
        for found in self._steps(engine, model, arguments, carries, settings.length, settings.chunk, {"divisor": divisor}):
            chunks.append(found)
            if (carries["count"] >= width).all():
                break
        stacks = {key: np.concatenate([chunk[key] for chunk in chunks]) for key in chunks[0]} if chunks else {}
        return [self._best(stacks, carries, divisor, row, width) for row in range(rows)]

    def _best(self, stacks: Mapping[str, Array], carries: Mapping[str, Array], divisor: Array, row: int, width: int) -> list[Hypothesis]:
        """What was set aside, best first, then what still lived at the end (less a continuation for each that had ended)."""
        scores, turns, parents, sums = (carries[name][row] for name in POOL)
        count = int(carries["count"][row])
        found = [
            self._traced(stacks, row, width, int(turns[k]), int(parents[k]), float(scores[k]), float(sums[k]), True)
            for k in range(min(count, width))
        ]
        steps = len(stacks["symbols"]) if stacks else 0
        if count < width:  # else it was done before, and what goes on beside it was never wanted
            live = carries["scores"][row]
            found += [
                self._traced(stacks, row, width, steps, k, float(live[k] / divisor[steps - 1]) if steps else 0.0, float(live[k]), False)
                for k in range(width) if live[k] > LOWEST / 2
            ]  # fmt: skip
        return found[:width]

    def _traced(
        self, stacks: Mapping[str, Array], row: int, width: int, steps: int, at: int, score: float, log_p: float, ended: bool
    ) -> Hypothesis:
        """The hypothesis that ``at`` is after so many steps, followed back to its beginning."""
        symbols, origin = np.zeros(steps, np.int32), np.zeros(steps, np.int32)
        for t in range(steps - 1, -1, -1):
            symbols[t] = stacks["symbols"][t, row, at]
            at = origin[t] = stacks["parents"][t, row, at]
        model = self._models[width]
        extras = tuple(
            np.moveaxis(stacks[name], 1 + model.batch_axis(t), 1)[np.arange(steps), row * width + origin]
            for name, t in zip(extra_names(model), model.extras, strict=True) if stacks
        )  # fmt: skip
        return self._hypothesis(symbols, score, log_p, ended, extras)

