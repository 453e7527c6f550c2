"""An experiment: a spec with its data, compiled into one training step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from graphspec.api import check_memory, check_settings, views
from graphspec.binding import bind_sizes
from graphspec.build import ExperimentSpec
from graphspec.data import Batch, DataSource
from graphspec.engine import Engine, device_named
from graphspec.errors import SpecError, fail
from graphspec.graph import Parameter, initial_value, name_parameters
from graphspec.open import Opened, open_spec, with_tried_fixes
from graphspec.tensorfile import read_tensors, write_tensors
from graphspec.training.checkpoint import checkpoint_file
from graphspec.training.sampling import Sampler
from graphspec.training.schedules import rate_factor
from graphspec.training.step import evaluation_program, set_up, training_program

Array = np.ndarray[Any, Any]


def experiment(
    path_or_text: str | Path, *, dtype: str = "float32", device: str = "cpu", precision: str | None = None, lenient: bool = False,
    roots: Sequence[str | Path] = (), index_base: int = 1, threads: int | None = None, **options: Any,
) -> Experiment:  # fmt: skip
    """The experiment that a spec returns, ready to train; SpecError when it returns none, or for whatever else is wrong.

    ``options``: the spec's own, and fields such as ``**{"data.path": p, "optim.learningRate": 1e-3, "experiment.seed": 2}``.
    """
    check_settings(dtype, precision, index_base)
    opened = open_spec(path_or_text, lenient=lenient, roots=roots, options=options)
    return Experiment(opened, dtype=dtype, device=device, threads=threads)


class Experiment:
    """Training state and the compiled steps.

    ``parameters`` maps canonical names to arrays (views of one flat buffer); ``steps`` counts training steps done;
    ``total_steps`` is what the schedule aims at.
    """

    def __init__(self, opened: Opened, *, dtype: str = "float32", device: str = "cpu", threads: int | None = None) -> None:
        if not isinstance(opened.result, ExperimentSpec):
            raise fail(
                "E0607",
                "the spec does not return an experiment",
                opened.evaluation.origin,
                helps=["end it with `return experiment { loss = ..., inputs = {...} }`"],
            )
        self.opened = opened
        self.dtype = dtype
        self.spec: ExperimentSpec = opened.result
        self.fields = self.spec.fields
        self.seed = int(self.fields["seed"])
        self.steps = 0
        try:
            self.setup = set_up(self.spec, dtype)
        except SpecError as failure:
            raise with_tried_fixes(opened, failure) from None
        self._device = device_named(device, threads)
        name_parameters([self.setup.graph, *self.spec.models])
        order = self.setup.graph.all_parameters()
        self._check_trained(order)
        check_memory(order)
        self.flat_parameters = self._resident(
            np.concatenate([np.zeros(0, dtype), *(initial_value(p, self.seed, dtype).reshape(-1) for p in order)])
        )
        self.parameters = views(self.flat_parameters, order)
        self.buffers = {p.name: self._resident(initial_value(p, self.seed, dtype)) for p in self.setup.graph.all_parameters(buffers=True)}
        self.optimizer_state = {
            f"optimizer.{n}": self._resident(np.zeros(len(self.flat_parameters), dtype)) for n in self.setup.optimizer.state
        }
        self.source = self._source()
        self._streams = {port: self.spec.inputs[node].name for port, node in self.setup.data.items()}
        self._train = Engine(training_program(self.setup), self._device)
        self._evaluate = Engine(evaluation_program(self.setup), self._device)
        self._total_steps: int | None = None
        self._carry: dict[str, Any] = {}
        self._sampler: Sampler | None = None

    def _check_trained(self, trained: Sequence[Parameter]) -> None:
        """What generates must share its parameters with what is trained (E0606)."""
        known = {id(p) for p in trained}
        for module in self.spec.models:
            for parameter in module.all_parameters():
                if id(parameter) not in known:
                    raise fail(
                        "E0606", f"experiment: {parameter.name} is used to generate, but the loss does not train it", parameter.origin,
                        helps=["call the same module objects in the step and under the loss"],
                    )  # fmt: skip

    def _resident(self, array: Array) -> Any:
        return array if self._device is None else self._device.from_host(array)

    def to_host(self, array: Any) -> Array:
        """A copy as a NumPy array."""
        return np.array(array if self._device is None else self._device.to_host(array))

    def _source(self) -> DataSource:
        descriptions = {id(s.description): s.description for s in self.spec.inputs.values()}
        if len(descriptions) != 1:
            raise fail(
                "E0606", f"experiment: all inputs must be streams of one data source, these are of {len(descriptions)}", self.spec.origin
            )
        return self.opened.library.sources.open(next(iter(descriptions.values())))

    @property
    def total_steps(self) -> int:
        """What the run and its schedule aim at: the spec's epochs, unless it was set."""
        return self._total_steps if self._total_steps is not None else int(self.fields["epochs"]) * self.source.batches

    @total_steps.setter
    def total_steps(self, steps: int) -> None:
        self._total_steps = steps

    # -- steps -------------------------------------------------------------------------------------------------------

    def _arguments(self, batch: Batch, carry: Mapping[str, Any]) -> dict[str, Any]:
        given = {port: batch.arrays[stream] for port, stream in self._streams.items()}
        return {
            **given, **carry, "parameters": self.flat_parameters, **self.buffers,
            "seed": np.asarray(self.seed, np.int64), "step": np.asarray(self.steps, np.int64),
        }  # fmt: skip

    def zero_carry(self, batch: Batch) -> dict[str, Any]:
        """Carried states at the start: zeros, of the batch's size."""
        shapes = {port: batch.arrays[stream].shape for port, stream in self._streams.items()}
        letters = bind_sizes(self._evaluate.program, shapes, partial=True)
        return {name: self._resident(np.zeros([n.evaluate(letters) for n in t.shape], t.dtype)) for name, t in self.setup.carried.items()}

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        base = float(self.setup.optimizer_fields["learningRate"])
        return base * rate_factor(self.fields, self.steps, self.total_steps, self.source.batches)

    def train_step(self) -> float:
        """One step on the next batch; the loss before it, in the criterion's unit (nats per symbol for a language model)."""
        batch = self.source.batch(self.steps)
        if batch.starts or not self._carry:
            self._carry = self.zero_carry(batch)
        rate = np.asarray(self.learning_rate, self.dtype)
        self.steps += 1
        results = self._train.run({**self._arguments(batch, self._carry), **self.optimizer_state, "learning_rate": rate})
        self.gradient_norm = float(self.to_host(results["gradient_norm"]))
        return float(self.to_host(results["loss"]))

    def evaluate(self) -> dict[str, float]:
        """Loss on the held-out part, in evaluate mode: ``valid_loss`` (nats per symbol), ``bits_per_char``; empty without such a part."""
        total, weight = 0.0, 0
        carry: dict[str, Any] = {}
        for batch in self.source.valid():
            if batch.starts:
                carry = self.zero_carry(batch)
            results = self._evaluate.run(self._arguments(batch, carry))
            total += float(self.to_host(results["loss"])) * batch.symbols
            weight += batch.symbols
        if not weight:
            return {}
        return {"valid_loss": total / weight, "bits_per_char": total / weight / math.log(2)}

    # -- sampling ----------------------------------------------------------------------------------------------------

    def sample(self, n: int, temperature: float = 1.0, prime: str = "", seed: int = 1) -> str:
        """``n`` symbols from the spec's own one-step model, after ``prime``; temperature 0 takes the likeliest."""
        return "".join(self.stream(n, temperature, prime, seed))

    def stream(self, n: int, temperature: float = 1.0, prime: str = "", seed: int = 1) -> Iterator[str]:
        """The same, symbol by symbol."""
        if self._sampler is None:
            self._sampler = Sampler(self.spec, self.dtype, self._device, self.source)
        named = {**self.parameters, **self.buffers}
        return self._sampler.run({name: self.to_host(a) for name, a in named.items()}, n, temperature, prime, seed)

    # -- state -------------------------------------------------------------------------------------------------------

    def tensors(self) -> dict[str, Array]:
        """Everything a checkpoint keeps as arrays: parameters, running statistics, optimizer state by parameter, carried states."""
        found = {name: self.to_host(a) for name, a in (*self.parameters.items(), *self.buffers.items())}
        order = self.setup.graph.all_parameters()
        for key, flat in self.optimizer_state.items():
            found.update({f"{key}:{name}": self.to_host(a) for name, a in views(flat, order).items()})
        for key, value in self._carry.items():
            found[f"carry:{key}"] = self.to_host(value)
        return found

    def state(self) -> dict[str, Any]:
        """Everything a checkpoint keeps beside: plain data."""
        return {"steps": self.steps, "total_steps": self.total_steps, "dtype": self.dtype, "spec": self.opened.to_json()}

    def restore(self, tensors: Mapping[str, Array], state: Mapping[str, Any]) -> None:
        """Go on exactly where :meth:`tensors` and :meth:`state` were taken; E0706 for what does not match."""
        order = self.setup.graph.all_parameters()
        mine = {**self.parameters, **self.buffers}
        for key, flat in self.optimizer_state.items():
            mine.update({f"{key}:{name}": a for name, a in views(flat, order).items()})
        rest = {name for name in tensors if not name.startswith("carry:")}
        for name in [*sorted(set(mine) - rest), *sorted(rest - set(mine))]:
            raise fail("E0706", f"{name} is in {'the experiment' if name in mine else 'the checkpoint'} only")
        for name, array in mine.items():
            if tuple(array.shape) != tensors[name].shape:
                raise fail("E0706", f"{name} is {list(tensors[name].shape)} in the checkpoint, {list(array.shape)} in the experiment")
            array[...] = self._resident(tensors[name].astype(self.dtype))
        self._carry = {n.partition(":")[2]: self._resident(np.array(a)) for n, a in tensors.items() if n.startswith("carry:")}
        self.steps = state["steps"]
        self.total_steps = state["total_steps"]

    def save(self, path: str | Path) -> None:
        """Everything needed to go on or to sample, in one file."""
        write_tensors(Path(path), self.tensors(), {"experiment": self.state()})

    @staticmethod
    def load(path: str | Path, *, device: str = "cpu", threads: int | None = None, **options: Any) -> Experiment:
        """An experiment as it was saved, or the best of a run's folder.

        The corpus is opened again only when it trains or validates (``options`` may name another place for it)."""
        tensors, header = read_tensors(checkpoint_file(Path(path)))
        state = header.get("experiment")
        if not isinstance(state, dict):
            raise fail("E0705", f"{path} holds no experiment")
        found = Experiment(Opened.from_json(state["spec"], options), dtype=state["dtype"], device=device, threads=threads)
        found.restore(tensors, state)
        return found
