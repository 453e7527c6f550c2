"""Decoding from the host: programs compiled once, run chunk by chunk until every sequence has ended; hypotheses put together."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from graphspec.build import ExperimentSpec
from graphspec.data import Batch, DataSource, Vocabulary
from graphspec.data.pairs import PairSource
from graphspec.data.vocabulary import LINE_END, START, STOP
from graphspec.engine import Engine
from graphspec.errors import fail
from graphspec.graph import Module, views
from graphspec.program import Typed, forward_program
from graphspec.training.decoding.model import StepModel, encoder_types, step_model
from graphspec.training.decoding.programs import LOWEST, POOL, beam_program, draw_program, extra_names, force_program
from graphspec.training.decoding.settings import CHUNK, LONG_CHUNK, PATIENCE, Hypothesis, Settings
from graphspec.views import put, resident
from graphspec_runtime.devices.base import Device

Array = np.ndarray[Any, Any]


class Decoder:
    """Generates with an experiment's step, and its encoder where it has one.

    ``arrays`` are the parameters and running statistics by name, on the device; what they hold is read anew at every call.
    """

    def __init__(self, spec: ExperimentSpec, dtype: str, device: Device | None, source: DataSource, arrays: Mapping[str, Any]) -> None:
        self.spec, self.dtype, self.device, self.source, self.arrays = spec, dtype, device, source, arrays
        self.model = step_model(spec, dtype)
        self.vocabulary = self._vocabulary()
        self.stop = self.vocabulary.index(STOP) if isinstance(source, PairSource) else None
        self._encoder: tuple[Typed, Engine] | None = None
        self._engines: dict[Any, Engine] = {}
        self._models: dict[int, StepModel] = {1: self.model}
        self._flat: dict[Module, tuple[Any, dict[str, Any]]] = {}
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

    def _shared(self, module: Module | None, seed: int = 1, first: int = 0) -> dict[str, Any]:
        """Parameters, running statistics and counters, as a program of that module takes them.

        The parameters are copied into a buffer that stays, in the module's order: programs are bound to it once.  ``first`` is the number
        of the first row among all that are drawn for one seed, so that no two batches draw the same.
        """
        assert module is not None
        if module not in self._flat:
            order = module.all_parameters()
            flat = resident(np.zeros(sum(p.size for p in order), self.dtype), self.device)
            self._flat[module] = flat, views(flat, order)
        flat, parts = self._flat[module]
        for name, part in parts.items():
            put(part, self.arrays[name], self.device)
        return {
            "parameters": flat, **{p.name: self.arrays[p.name] for p in module.all_parameters(buffers=True)},
            "seed": np.asarray(seed, np.int64), "step": np.asarray(first, np.int64),
        }  # fmt: skip

    def _begin(self, batch: Batch | None, rows: int, width: int = 1) -> tuple[dict[str, Any], dict[str, Any]]:
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
        results = engine.run({**arrays, **self._shared(typed.module)})
        given = zip([*model.state_names, *model.context_names], [*model.state, *model.context], typed.output_names, strict=True)
        found = {name: np.repeat(engine.to_host(results[out]), width, model.batch_axis(t)) for name, t, out in given}
        return {name: found.pop(name) for name in model.state_names}, found

    def _steps(
        self, engine: Engine, arguments: dict[str, Any], carries: dict[str, Any], length: int, chunk: int,
        each: Mapping[str, Array] | None = None,
    ) -> Iterator[dict[str, Array]]:  # fmt: skip
        """Run a program for ``length`` steps, a chunk at a time: what each chunk stacks; ``carries`` are brought up to date."""
        start = 0
        while start < length:
            turns, began = np.arange(start, min(start + chunk, length), dtype=np.int32), time.perf_counter()
            now = {key: stack[start : start + len(turns)] for key, stack in (each or {}).items()}
            results = engine.run({**arguments, **carries, **now, "turns": turns})
            found = {name: engine.to_host(value) for name, value in results.items()}
            carries.update({name: found.pop(f"new {name}") for name in carries if f"new {name}" in found})
            seconds = (time.perf_counter() - began) / len(turns)
            start += len(turns)
            if chunk == CHUNK and start > CHUNK and self.stop is None and seconds * LONG_CHUNK < PATIENCE:  # the first run compiles
                chunk = LONG_CHUNK
            yield found

    # -- drawing -----------------------------------------------------------------------------------------------------

    def draw(
        self, settings: Settings, state: dict[str, Any], context: dict[str, Any], first: Array, number: int = 0
    ) -> Iterator[dict[str, Array]]:
        """Chunks of ``symbols`` and ``log_p [steps, rows]`` (and extras), after the symbols ``first [rows]``; ends when all rows have.

        ``number``: of the first row among all that are drawn.
        """
        sampled = settings.temperature > 0
        limited = sampled and (settings.top_k > 0 or settings.top_p < 1)
        engine = self._engine("draw", sampled, limited)
        arguments = {**self._shared(self.spec.step, settings.seed, number), **context}
        if sampled:
            arguments["temperature"] = np.asarray(max(settings.temperature, np.finfo(self.dtype).tiny), self.dtype)
        if limited:
            kept = min(settings.top_k or self.model.symbols, self.model.symbols)
            arguments["nucleus"] = np.full(kept, settings.top_p if settings.top_p < 1 else np.inf, self.dtype)
        carries: dict[str, Any] = {self.model.typed.input_names[0]: np.asarray(first, np.int32), **state}
        if self.stop is not None:
            carries["ended"] = np.zeros(len(first), np.bool_)
        for found in self._steps(engine, arguments, carries, settings.length, settings.chunk):
            yield found
            if self.stop is not None and carries["ended"].all():
                return

    def exact(self, batch: Batch) -> Array:
        """Which of a batch of pairs come out right to the last symbol when the likeliest is taken at each step; bool ``[B]``."""
        wanted = batch.arrays["target_out"]
        length, rows = wanted.shape
        chunks = list(self.draw(Settings(length), *self._begin(batch, rows), self._first(rows)))
        symbols = np.full((length, rows), self.stop, np.int32)
        found = np.concatenate([chunk["symbols"] for chunk in chunks])
        symbols[: len(found)] = found
        right: Array = np.all((symbols == wanted) | (wanted == 0), axis=0)
        return right

    def _first(self, rows: int) -> Array:
        return np.full(rows, self.vocabulary.index(START), np.int32)

    # -- whole sequences ---------------------------------------------------------------------------------------------

    def generate(self, batch: Batch | None, rows: int, settings: Settings, prime: str = "", number: int = 0) -> list[list[Hypothesis]]:
        """The hypotheses of each row, the best first: one, or as many as a beam is wide.  ``number``: of the first row among all."""
        width = max(settings.beam, 1)
        if settings.beam:
            self._engine("beam", width)
        state, context = self._begin(batch, rows, width)
        first = self._primed(state, context, prime, rows * width) if self._encoder is None else self._first(rows * width)
        if settings.beam:
            return self._search(settings, state, context, first, rows)
        chunks = list(self.draw(settings, state, context, first, number))
        stacks = {key: np.concatenate([chunk[key] for chunk in chunks]) for key in chunks[0]} if chunks else {}
        return [[self._drawn(stacks, row)] for row in range(rows)]

    def _drawn(self, stacks: Mapping[str, Array], row: int) -> Hypothesis:
        symbols = stacks["symbols"][:, row] if stacks else np.zeros(0, np.int32)
        ends = np.flatnonzero(symbols == (self.stop or 0))  # no symbol is 0
        count = int(ends[0]) if len(ends) else len(symbols)
        total = float(stacks["log_p"][:, row].astype(np.float64).sum()) if stacks else 0.0
        extras = tuple(stack[:count, row] for stack in self._extras(stacks, self.model))
        return self._hypothesis(symbols[:count], total, total, len(ends) > 0, extras)

    def _extras(self, stacks: Mapping[str, Array], model: StepModel) -> list[Array]:
        """The stacks of the step's further outputs as ``[steps, rows, ...]``."""
        pairs = zip(extra_names(model), model.extras, strict=True)
        return [np.moveaxis(stacks[name], 1 + model.batch_axis(t), 1) for name, t in pairs if stacks]

    def _hypothesis(self, symbols: Array, score: float, log_p: float, ended: bool, extras: tuple[Array, ...]) -> Hypothesis:
        plain = tuple(symbols.tolist())
        return Hypothesis(plain, self.vocabulary.decode(plain), score, log_p, ended, extras)

    def stream(self, settings: Settings, prime: str = "") -> Iterator[str]:
        """A text of a language model after a prime, piece by piece, as the chunks come."""
        state, context = self._begin(None, 1)
        chunks = self.draw(settings, state, context, self._primed(state, context, prime, 1))
        return self.vocabulary.pieces(self.vocabulary.symbols[int(i) - 1] for chunk in chunks for i in chunk["symbols"][:, 0])

    def encoded_prime(self, prime: str) -> Array:
        """What comes before; a line's end, if the corpus has any, where nothing is given."""
        symbols = self.vocabulary.symbols
        start = next((symbol for symbol in ("\n", LINE_END) if symbol in symbols), symbols[0])
        return self.vocabulary.encode(prime) if prime else np.asarray([self.vocabulary.index(start)], np.int32)

    def _primed(self, state: dict[str, Any], context: dict[str, Any], prime: str, rows: int) -> Array:
        """The last symbol of a prime for each row; ``state`` is brought to what it is after those before."""
        given = np.repeat(self.encoded_prime(prime)[:, None], rows, 1)
        for _ in self._forced(state, context, given[:-1], np.zeros_like(given[:-1])):
            pass
        last: Array = given[-1]
        return last

    def _forced(self, state: dict[str, Any], context: dict[str, Any], tokens: Array, targets: Array) -> Iterator[Array]:
        """Log-probabilities of targets ``[steps, rows]``, chunk by chunk; ``state`` is brought up to date."""
        name = self.model.typed.input_names[0]
        arguments = {**self._shared(self.spec.step), **context, name: np.ones(tokens.shape[1], np.int32)}
        each = {"tokens": tokens, "targets": targets}
        for found in self._steps(self._engine("force"), arguments, state, len(tokens), CHUNK, each):
            yield found["log_p"]

    def score(self, batch: Batch | None, tokens: Array, targets: Array) -> Array:
        """Summed log-probability ``[rows]`` of targets ``[steps, rows]`` (0: does not count) after tokens of the same shape."""
        total = np.zeros(tokens.shape[1])
        for part in self._forced(*self._begin(batch, tokens.shape[1]), tokens, targets):
            total += part.astype(np.float64).sum(0)
        return total

    # -- beam search -------------------------------------------------------------------------------------------------

    def _search(
        self, settings: Settings, state: dict[str, Any], context: dict[str, Any], first: Array, rows: int
    ) -> list[list[Hypothesis]]:
        width = settings.beam
        model, engine = self._models[width], self._engine("beam", width)
        scores = np.full((rows, width), LOWEST, self.dtype)
        scores[:, 0] = 0
        none = np.zeros((rows, width), np.int32)
        pool = dict(zip(POOL, (np.full_like(scores, 2 * LOWEST), none, none, np.zeros_like(scores)), strict=True))
        carries: dict[str, Any] = {model.typed.input_names[0]: first, **state, "scores": scores, "going": np.ones(rows, np.bool_), **pool}
        divisor = (((5 + np.arange(1, settings.length + 1)) / 6) ** settings.penalty).astype(self.dtype)
        arguments = {**self._shared(self.spec.step), **context, "longest": divisor[-1] if len(divisor) else np.ones((), self.dtype)}
        chunks = []
        for found in self._steps(engine, arguments, carries, settings.length, settings.chunk, {"divisor": divisor}):
            chunks.append(found)
            if not carries["going"].any():
                break
        stacks = {key: np.concatenate([chunk[key] for chunk in chunks]) for key in chunks[0]} if chunks else {}
        steps = len(stacks["symbols"]) if stacks else 0
        # the best that ended, then what still lives at the end, each with its steps, its last parent, its score and its sum
        scores, turns, parents, sums = (carries[name] for name in POOL)
        live = carries["scores"]
        turns = np.concatenate([turns, np.full_like(turns, steps)], 1)
        parents = np.concatenate([parents, np.broadcast_to(np.arange(width, dtype=np.int32), parents.shape)], 1)
        kept = np.where(live > LOWEST, live / divisor[steps - 1] if steps else live, LOWEST)
        scores, sums = np.concatenate([scores, kept], 1), np.concatenate([sums, live], 1)
        symbols, origins = _backtracked(stacks, turns, parents)
        extras = self._extras(stacks, model)
        return [
            [
                self._hypothesis(
                    symbols[: turns[row, k], row, k], float(scores[row, k]), float(sums[row, k]), k < width,
                    tuple(stack[np.arange(turns[row, k]), row * width + origins[: turns[row, k], row, k]] for stack in extras),
                )
                for k in np.flatnonzero(scores[row] > LOWEST)[:width].tolist()
            ]
            for row in range(rows)
        ]  # fmt: skip


def _backtracked(stacks: Mapping[str, Array], turns: Array, parents: Array) -> tuple[Array, Array]:
    """Symbols and parents ``[steps, rows, hypotheses]`` of the hypotheses that after ``turns`` steps go on from ``parents``."""
    steps = len(stacks["symbols"]) if stacks else 0
    symbols, origins = np.zeros((steps, *turns.shape), np.int32), np.zeros((steps, *turns.shape), np.int32)
    at = parents
    for t in range(steps - 1, -1, -1):
        inside = t < turns
        symbols[t] = np.take_along_axis(stacks["symbols"][t], at, 1)
        origins[t] = np.take_along_axis(stacks["parents"][t], at, 1)
        at = np.where(inside, origins[t], at)
    return symbols, origins
