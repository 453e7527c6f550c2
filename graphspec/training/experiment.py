"""An experiment: a spec with its data, compiled into one training step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from graphspec.binding import bind_sizes
from graphspec.build import ExperimentSpec
from graphspec.data import Batch
from graphspec.data.pairs import PairSource
from graphspec.data.prefetch import Prefetch
from graphspec.engine import Engine, device_named
from graphspec.errors import Diagnostic, fail
from graphspec.graph import initial_value, initial_values, views
from graphspec.open import Opened, open_spec
from graphspec.settings import check_settings
from graphspec.states import warnings_of
from graphspec.suggest import no_attribute
from graphspec.tensorfile import write_tensors
from graphspec.training.anomaly import Watched
from graphspec.training.checkpoint import STATE, Found, check_same_data, load_checkpoint
from graphspec.training.classonly import ClassOnly
from graphspec.training.decoding import Decoder, Hypothesis, Settings, check_by_length, check_generation, check_given, settings_of
from graphspec.training.decoding.model import cannot_generate, check_trained
from graphspec.training.feeding import source_of
from graphspec.training.fields import measures_accuracy
from graphspec.training.measures import EXACT, LOSS, Tally, best_measure, measured_by
from graphspec.training.predicting import Predictor
from graphspec.training.schedules import Schedule
from graphspec.training.step import accumulation_program, evaluation_program, training_program, training_setup
from graphspec.views import Kept, Views, check_matching, on_host, put, resident
from graphspec.weights import load as load_weights

Array = np.ndarray[Any, Any]


def experiment(
    path_or_text: str | Path, *, dtype: str = "float32", device: str = "cpu", precision: str = "float32", lenient: bool = False,
    roots: Sequence[str | Path] = (), index_base: int = 1, threads: int | None = None, **options: Any,
) -> Experiment:  # fmt: skip
    """The experiment that a spec returns, ready to train; SpecError when it returns none, or for whatever else is wrong.

    ``options``: the spec's own, and fields such as ``**{"data.path": p, "optim.learningRate": 1e-3, "experiment.seed": 2}``.
    """
    check_settings(dtype, precision, index_base)
    opened = open_spec(path_or_text, lenient=lenient, roots=roots, options=options)
    return Experiment(opened, dtype=dtype, device=device, precision=precision, threads=threads)


class Experiment:
    """Training state and the compiled steps.

    ``parameters`` maps canonical names to arrays (views of one flat buffer), and items can be assigned; ``steps`` counts training steps
    done; ``total_steps`` is what the schedule aims at.
    """

    flat_parameters: Kept[Any] = Kept()
    parameters: Kept[Views] = Kept()
    buffers: Kept[Views] = Kept()

    def __init__(
        self, opened: Opened, *, dtype: str = "float32", device: str = "cpu", precision: str = "float32", threads: int | None = None
    ) -> None:
        if not isinstance(opened.result, ExperimentSpec):
            helps = ["end it with `return experiment { loss = ..., inputs = {...} }`"]
            raise fail("E0607", "the spec does not return an experiment", opened.evaluation.origin, helps=helps)
        self.opened = opened
        self.dtype = dtype
        self.spec: ExperimentSpec = opened.result
        self.fields = self.spec.fields
        self.steps = 0
        self.loaded_from: Path | None = None  # the checkpoint that it goes on from
        self.setup = training_setup(opened, dtype)
        self.seed = int(self.fields["seed"])
        self.schedule = Schedule(self.fields)
        self.device_name = device
        self.precision = precision
        self._device = device_named(device, threads, precision)
        self.threads = None if threads is None else int(threads)
        self._resident = partial(resident, device=self._device)
        order = self.setup.graph.all_parameters()
        check_trained(self.spec, order)
        self.flat_parameters = self._resident(initial_values(order, self.seed, dtype))
        self.parameters = Views(views(self.flat_parameters, order), "parameter", self._device)
        buffers = {p.name: self._resident(initial_value(p, self.seed, dtype)) for p in self.setup.graph.all_parameters(buffers=True)}
        self.buffers = Views(buffers, "running statistic", self._device)
        self.optimizer_state = {name: self._resident(np.zeros(len(self.flat_parameters), dtype)) for name in self.setup.optimizer_state}
        self.source = source_of(self.spec, opened.library.sources)
        self.setup.judged = measures_accuracy(self.spec, self.source.measure)
        self._train: Engine | Watched = Engine(training_program(self.setup), self._device)
        self._accumulate: Engine | Watched | None = None
        self._gradients: dict[str, Any] = {}
        if self.setup.accumulate > 1:
            self._accumulate = Engine(accumulation_program(self.setup), self._device)
            self._gradients["gradients"] = self._resident(np.zeros(len(self.flat_parameters), dtype))
        self._evaluate = Engine(evaluation_program(self.setup), self._device)
        self.best_by = best_measure(self.spec, measured_by(self._evaluate.program))
        self.answers = self._tally()
        self._batches: Prefetch | None = None
        self._total_steps: int | None = None
        self._carry: dict[str, Any] = {}
        self._decoder: Decoder | None = None
        settings: dict[str, Any] = {"dtype": dtype, "device": device, "precision": precision, "threads": threads}
        self.predictor = cache(partial(Predictor, opened, self.spec, **settings))  # by node

    def __repr__(self) -> str:
        done = f"step {self.steps:,} of {self.total_steps:,}"
        return f"<Experiment of {self.opened.source.path}: {len(self.flat_parameters):,} parameters, {done}, {self.device_name}>"

    @property
    def warnings(self) -> list[Diagnostic]:
        """Of evaluating the spec, of typing what is trained, and of what it cannot generate with."""
        return [*self.opened.warnings, *warnings_of(self.setup.typed, trained=True), *cannot_generate(self.spec, self.dtype)]

    def to_host(self, array: Any) -> Array:
        """A copy as a NumPy array."""
        return on_host(array, self._device)

    def _tally(self) -> Tally:
        return Tally(measured_by(self._evaluate.program), self.to_host)

    @property
    def _epoch(self) -> Fraction:
        """Training steps in a pass over the data."""
        return Fraction(self.source.batches, self.setup.accumulate)

    @property
    def steps_per_epoch(self) -> int:
        """Training steps in a pass over the data, rounded up."""
        return math.ceil(self._epoch)

    @property
    def total_steps(self) -> int:
        """What the run and its schedule aim at: the spec's epochs, unless it was set."""
        return self._total_steps if self._total_steps is not None else math.ceil(int(self.fields["epochs"]) * self._epoch)

    @total_steps.setter
    def total_steps(self, steps: int) -> None:
        self._total_steps = steps

    # -- steps -------------------------------------------------------------------------------------------------------

    def _arguments(self, batch: Batch, carry: Mapping[str, Any], count: int) -> dict[str, Any]:
        """What a program is given for a batch, the ``count``-th of the run from 1: random numbers hang on that."""
        return {
            **self.setup.feeding.inputs(batch.arrays), **carry, "parameters": self.flat_parameters, **self.buffers,
            "seed": np.asarray(self.seed, np.int64), "step": np.asarray(count, np.int64),
        }  # fmt: skip

    def zero_carry(self, batch: Batch) -> dict[str, Any]:
        """Carried states at the start: zeros, of the batch's size."""
        shapes = {port: array.shape for port, array in self.setup.feeding.inputs(batch.arrays).items()}
        letters = bind_sizes(self._evaluate.program, shapes, partial=True)
        return {name: self._resident(np.zeros([n.evaluate(letters) for n in t.shape], t.dtype)) for name, t in self.setup.carried.items()}

    def __getattr__(self, name: str) -> Any:
        raise no_attribute(self, "Experiment", name)

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        base = float(self.setup.optimizer_fields["learningRate"])
        return base * self.schedule.factor(self.steps, self.total_steps, self._epoch)

    def train_step(self) -> float:
        """One step on the next batch, or the next ``accumulate`` batches; the loss before it (the mean of theirs), in the criterion's unit
        (nats per symbol for a language model).  ``answers`` then has what was right."""
        if self._batches is None:
            self._batches = Prefetch(self.source)
        rate, size = np.asarray(self.learning_rate, self.dtype), self.setup.accumulate
        for gradients in self._gradients.values():
            put(gradients, 0, self._device)
        loss, self.symbols, self.answers = 0.0, 0, self._tally()
        for number in range(self.steps * size, (self.steps + 1) * size):
            batch = self._batches.batch(number)
            if self.setup.carried and (batch.starts or not self._carry):
                self._carry = self.zero_carry(batch)
            arguments = {**self._arguments(batch, self._carry, number + 1), **self._gradients}
            if self._accumulate is not None and (number + 1) % size:
                results = self._accumulate.run(arguments)
            else:
                results = self._train.run({**arguments, **self.optimizer_state, "learning_rate": rate})
            loss += float(self.to_host(results["loss"])) / size
            self.answers.add(results)
            self.symbols += batch.symbols
        self.gradient_norm = float(self.to_host(results["gradient_norm"]))
        self.steps += 1
        return loss

    def close(self) -> None:
        """Let the thread go that fetches batches; the next step would start another."""
        if self._batches is not None:
            self._batches.close()
        self._batches = None

    def evaluate(self, whole: bool = False) -> dict[str, float]:
        """On the held-out part (``whole``: on all data), in evaluate mode: ``valid_loss`` (nats per symbol), the data's own measure
        (``bits_per_char``, ``perplexity``), ``accuracy``, the part of predictions that are right (``answers`` has their numbers), and
        ``exact``, the part of pairs that come out without a mistake; empty without such a part."""
        total, weight, right, pairs, self.answers = 0.0, 0, 0, 0, self._tally()
        carry: dict[str, Any] = {}
        decoded = self.spec.encode is not None and isinstance(self.source, PairSource)
        for batch in self.source.valid(whole):
            if batch.starts:
                carry = self.zero_carry(batch)
            results = self._evaluate.run(self._arguments(batch, carry, self.steps * self.setup.accumulate))
            total += float(self.to_host(results["loss"])) * batch.symbols
            weight += batch.symbols
            self.answers.add(results)
            if decoded:
                exact = self.decoder.exact(batch)
                right, pairs = right + int(exact.sum()), pairs + len(exact)
        if not weight:
            return {}
        found = {LOSS: total / weight, **self.source.measured(total / weight), **self.answers.shares()}
        return {**found, **({EXACT: right / pairs} if pairs else {})}

    def watch(self) -> None:
        """From now on a number that is not finite is an error at the node that it comes from (E0711); a copy of everything a step."""
        if isinstance(self._train, Engine):
            self._train = Watched(self._train)
        if isinstance(self._accumulate, Engine):
            self._accumulate = Watched(self._accumulate)

    def predict(self, *inputs: Any, node: str | None = None, **named: Any) -> Any:
        """What the criterion compares with its target, or another ``node`` (by its local variable), for inputs by place or by name as a
        Model takes them: those that it is computed from, so no targets; in evaluate mode.  E0319, E0807: it cannot be told which node."""
        return self.predictor(node)({**self.parameters, **self.buffers}, inputs, named)

    # -- generating --------------------------------------------------------------------------------------------------

    @property
    def decoder(self) -> Decoder:
        """What generates with the spec's step; E0607 when there is none, E0622 and E0623 when it does not fit."""
        if self._decoder is None:
            self._decoder = Decoder(self.spec, self.dtype, self._device, self.source, {**self.parameters, **self.buffers})
        return self._decoder

    def named(self) -> dict[str, Array]:
        """Parameters and running statistics as they are now, on the host."""
        return {name: self.to_host(array) for name, array in (*self.parameters.items(), *self.buffers.items())}

    def generate(
        self, sources: Sequence[str] | None = None, *, length: int | None = None, temperature: float | None = None,
        top_k: int | None = None, top_p: float = 1.0, beam: int | None = None, length_penalty: float = 0.0, n_best: int = 1,
        prime: str = "", seed: int = 1, batch: int = 64,
    ) -> list[list[Hypothesis]]:  # fmt: skip
        """Sequences from the spec's own step: for each of the ``sources`` (one for a language model, after ``prime``) its ``n_best``
        hypotheses, best first.

        At most ``length`` symbols (200; 500 of a language model).  ``temperature``, ``top_k`` and ``top_p`` draw (a language model at
        0.8; 0 takes the likeliest, as for sources), ``beam`` searches with that width, its scores divided by
        ((5 + length) / 6) ** ``length_penalty``.  E0624 for settings that make no sense.
        """
        settings = settings_of(
            self.spec.encode is not None, length=length, temperature=temperature, top_k=top_k, top_p=top_p, beam=beam,
            length_penalty=length_penalty, seed=seed,
        )  # fmt: skip
        check_generation(settings, n_best, batch)
        check_given(self.spec.encode is not None, sources, prime)
        if sources is None:
            return [found[:n_best] for found in self.decoder.generate(None, 1, settings, prime)]
        results = []
        for start in range(0, len(sources), batch):
            encoded = self.encoded(sources[start : start + batch], start + 1)
            pairs = self._pairs.padded(encoded, [np.zeros(0, np.int32)] * len(encoded))
            results += [found[:n_best] for found in self.decoder.generate(pairs, len(encoded), settings, number=start)]
        return results

    def exact_by_length(self, whole: bool = False) -> dict[int, tuple[int, int]]:
        """By the number of symbols of the source: how many held-out pairs come out without a mistake, and how many there are."""
        found: dict[int, tuple[int, int]] = {}
        check_by_length(self.spec.encode is not None)
        for batch in self._pairs.valid(whole):
            for n, right in zip(batch.arrays["source_length"].tolist(), self.decoder.exact(batch).tolist(), strict=True):
                before = found.get(n, (0, 0))
                found[n] = before[0] + right, before[1] + 1
        return dict(sorted(found.items()))

    @property
    def _pairs(self) -> PairSource:
        if not isinstance(self.source, PairSource):
            raise fail("E0624", "sources are for experiments on pairs", self.spec.origin)
        return self.source

    def encoded(self, sources: Sequence[str], first: int = 1) -> list[Array]:
        """The symbols of sources, from 1; white space around them is dropped, as it is from what is trained on.  ``first``: the number
        of the first, for errors."""
        return self._pairs.vocabularies[0].encode_each(sources, "source", first)

    def score(self, texts: Sequence[str], sources: Sequence[str] | None = None, *, batch: int = 64) -> list[float]:
        """The log-probability, in nats, of each text: of a target after its source (the stop symbol counts), or of a text after a line's
        end.  E0624 when there is not one source for each, or a language model has any."""
        check_generation(Settings(0), batch=batch)
        check_given(self.spec.encode is not None, sources, "", texts)
        decoder = self.decoder
        found: list[float] = []
        if sources is None:
            for text in texts:
                given = np.concatenate([decoder.encoded_prime(""), decoder.vocabulary.encode(text)])[:, None]
                found += decoder.score(None, given[:-1], given[1:]).tolist()
            return found
        targets = decoder.vocabulary.encode_each(texts, "text")
        for start in range(0, len(texts), batch):
            pairs = self._pairs.padded(self.encoded(sources[start : start + batch], start + 1), targets[start : start + batch])
            found += decoder.score(pairs, pairs.arrays["target_in"], pairs.arrays["target_out"]).tolist()
        return found

    def sample(
        self, length: int | None = None, temperature: float | None = None, prime: str = "", seed: int = 1, top_k: int | None = None,
        top_p: float = 1.0,
    ) -> str:  # fmt: skip
        """A language model's text after ``prime``, as :meth:`generate` draws it."""
        return "".join(self.stream(length, temperature, prime, seed, top_k, top_p))

    def stream(
        self, length: int | None = None, temperature: float | None = None, prime: str = "", seed: int = 1, top_k: int | None = None,
        top_p: float = 1.0,
    ) -> Iterator[str]:  # fmt: skip
        """The same, piece by piece."""
        settings = settings_of(False, length=length, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
        check_generation(settings)
        check_given(self.spec.encode is not None, None, prime)
        return self.decoder.stream(settings, prime)

    # -- state -------------------------------------------------------------------------------------------------------

    def tensors(self) -> dict[str, Array]:
        """Everything a checkpoint keeps as arrays: parameters, running statistics, optimizer state by parameter, carried states."""
        found = self.named()
        order = self.setup.graph.all_parameters()
        for key, flat in self.optimizer_state.items():
            found.update({f"{key}:{name}": self.to_host(a) for name, a in views(flat, order).items()})
        for key, value in self._carry.items():
            found[f"carry:{key}"] = self.to_host(value)
        return found

    def state(self) -> dict[str, Any]:
        """Everything a checkpoint keeps beside: plain data."""
        return {
            "steps": self.steps, "total_steps": self.total_steps, "schedule": self.schedule.to_json(), "dtype": self.dtype,
            "spec": self.opened.to_json(),
        }  # fmt: skip

    def restore(self, tensors: Mapping[str, Array], state: Mapping[str, Any]) -> None:
        """Go on exactly where :meth:`tensors` and :meth:`state` were taken; E0706 for what does not match, E0617 for other data."""
        order = self.setup.graph.all_parameters()
        mine = {**self.parameters, **self.buffers}
        for key, flat in self.optimizer_state.items():
            mine.update({f"{key}:{name}": a for name, a in views(flat, order).items()})
        rest = {name: array for name, array in tensors.items() if not name.startswith("carry:")}
        check_matching(mine, rest, "the experiment", "the checkpoint")
        check_same_data(state["spec"]["sources"], self.opened.library.sources.to_json(), self.source.origin)
        for name, array in mine.items():
            put(array, tensors[name].astype(self.dtype), self._device)
        self._carry = {n.partition(":")[2]: self._resident(np.array(a)) for n, a in tensors.items() if n.startswith("carry:")}
        self.steps = state["steps"]
        self.total_steps = state["total_steps"]
        self.schedule.restore(state["schedule"])

    def load_weights(self, path: str | Path, mapping: str | Path | Mapping[str, str] | None = None) -> None:
        """Take parameters from a file of PyTorch or Torch, as a mapping says: :func:`graphspec.weights.load`."""
        load_weights(self, path, mapping)

    def save(self, path: str | Path) -> None:
        """Everything needed to go on or to sample, in one file."""
        write_tensors(Path(path), self.tensors(), {STATE: self.state()})

    @ClassOnly
    def load(
        path: str | Path, *, device: str = "cpu", threads: int | None = None, last: bool = False, roots: Sequence[str | Path] = (),
        **options: Any,
    ) -> Experiment:  # fmt: skip
        """A new experiment as it was saved, or the best (``last``: the newest) of a run's folder.

        The corpus is opened again only when it trains or validates (``options`` may name another place for it; one that the spec names
        is looked for under ``roots``)."""
        checkpoint = load_checkpoint(Path(path), last)
        made = restored(checkpoint, device=device, threads=threads, roots=roots, options=options)
        made.opened.warnings.extend(checkpoint.skipped)
        return made


def restored(found: Found, *, device: str, threads: int | None, roots: Sequence[str | Path], options: Mapping[str, Any]) -> Experiment:
    """A new experiment as it was when the checkpoint was written."""
    made = Experiment(Opened.from_json(found.state["spec"], options, roots), dtype=found.state["dtype"], device=device, threads=threads)
    made.restore(found.tensors, found.state)
    made.loaded_from = found.path
    return made
