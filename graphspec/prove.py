"""Proving a record by its samples: gradients against finite differences, devices against the reference, a twin written with PyTorch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from traceback import extract_tb
from typing import Any

import numpy as np

from graphspec.check import Array, compare, on_device, relative_error
from graphspec.engine import device_named
from graphspec.errors import SpecError
from graphspec.graph import Module, Record, Sample, plugin_at_fault
from graphspec.graph.record import lua_call
from graphspec.ir.verify import verify
from graphspec.samples import Case, nested, written

TOLERANCE = 1e-6
"""Of finite differences."""
SAME = 1e-10
"""Of what computes the same in another order, in float64."""


@dataclass
class Env:
    """What a twin may use beside its input: tensors of parameters and buffers, the mode, and the noise that a random record drew."""

    parameters: dict[int, Any]
    buffers: dict[int, Any]
    training: bool
    noise: Any = None
    outputs: list[Any] = field(default_factory=list)
    """What a random record itself gave, such as the sample that it drew."""
    updated: dict[int, Any] = field(default_factory=dict)

    def parameter(self, m: Module, key: str) -> Any:
        return self.parameters[id(m.parameters[key])] if key in m.parameters else None

    def buffer(self, m: Module, key: str) -> Any:
        return self.buffers[id(m.buffers[key])] if key in m.buffers else None


Twin = Callable[[Module, Any, Env], Any]
"""The same module written with torch, from the same tensors: ``twin(m, x, env)``, where ``m`` is the module with its arguments and ``x`` a
tensor or a nested list of tensors.  A record that minimises something beside its outputs has that, a scalar, as the last output of its
twin; one that draws has there minus the logarithm of the probability of what it drew (``env.outputs[0]``)."""


@dataclass(frozen=True)
class Proof:
    """One check of one sample.  ``error`` is relative; it is None, and ``message`` says why, where the check could not be made."""

    sample: str
    check: str
    ok: bool
    error: float | None = None
    message: str = ""


def prove(record: Record, devices: Sequence[str] = ("numpy",), twin: Twin | None = None) -> Iterator[Proof]:
    """Every check of every sample, as it is made.  Whatever is raised on the way, by the record's own code too, is a failed check."""
    for sample in record.samples:
        made = f"{lua_call(record.name, sample)}{':evaluate()' if sample.evaluate else ''} on {written(sample.inputs)}"
        try:
            case = Case(record, sample)
            for program in (case.probe.forward_program, case.probe.backward_program):
                verify(program)
        except Exception as failure:
            yield Proof(made, "finite differences", False, message=told(failure))
            continue
        yield _checked(made, "finite differences", TOLERANCE, partial(_differences, case))
        letters = _checked(made, "symbolic sizes", SAME, partial(_against, record, sample, letters=True))
        needs_numbers = letters.message.startswith("E03")  # what it does hangs on a size (how many pieces, say): no mistake
        yield replace(letters, ok=True, message="numbers only") if needs_numbers else letters
        for device in devices:
            yield _checked(made, device, SAME, partial(_against, record, sample, device))
        if twin is not None:
            yield _checked(made, "twin", SAME, partial(_twin, case, twin))


def _checked(sample: str, check: str, tolerance: float, measure: Callable[[], float]) -> Proof:
    try:
        error = measure()
    except Exception as failure:
        return Proof(sample, check, False, message=told(failure))
    return Proof(sample, check, error <= tolerance, error)


def told(failure: Exception) -> str:
    """An exception in a line: a SpecError's code and message, another one's type and the place it comes from."""
    if isinstance(failure, SpecError):
        return "; ".join(f"{d.code}: {d.message}" for d in failure.diagnostics)
    fault = plugin_at_fault(failure)
    place = extract_tb(failure.__traceback__)[-1]
    return f"{type(failure).__name__}: {failure} ({fault[1] if fault else f'{place.filename}:{place.lineno}'})"


def _differences(case: Case) -> float:
    return compare(case.probe.forward, case.probe.backward, case.point, case.parameter_names).max_relative_error


def _against(record: Record, sample: Sample, device: str = "reference", letters: bool = False) -> float:
    """The largest error of outputs and gradients: on a device, or with letters for sizes, against interpreting numbers plainly."""
    wanted = Case(record, sample)
    found = Case(record, sample, on_device(device_named(device)), letters=letters)
    theirs, ours = wanted.probe.results(wanted.point), found.probe.results(found.point)
    errors = [_error(ours[name], value) for name, value in theirs.items()]
    cotangents = cotangents_of(wanted)
    gradients = found.probe.backward(found.point, cotangents)
    errors += [_error(gradients[name], value) for name, value in wanted.probe.backward(wanted.point, cotangents).items()]
    return max(errors, default=0.0)


def _error(found: Array, wanted: Array) -> float:
    if found.shape != wanted.shape:
        return float("inf")
    return relative_error(np.asarray(found, float), np.asarray(wanted, float), 1.0)


def _twin(case: Case, twin: Twin) -> float:
    return max(twin_errors(case, twin).values(), default=0.0)


def cotangents_of(case: Case) -> list[Array]:
    """Gradients of the float outputs, drawn at random."""
    return [np.asarray(case.rng.standard_normal(y.shape)) for y in case.probe.forward(case.point)]


def twin_errors(case: Case, twin: Twin) -> dict[str, float]:
    """The relative error of each output, of each running statistic that the twin updates, and of each gradient, against the twin's."""
    import torch

    env, x, inputs = twin_environment(case)
    wanted = flat(twin(case.module, x, env))
    results = case.probe.results(case.point)
    names = [*case.typed.output_names, *case.probe.terms]
    errors = {name: _error(results[name], y.detach().numpy()) for name, y in zip(names, wanted, strict=True)}
    for buffer in case.typed.module.all_parameters(buffers=True):
        if id(buffer) in env.updated:
            errors[f"new {buffer.name}"] = _error(results[f"new {buffer.name}"], env.updated[id(buffer)].numpy())
    floats = [y for y in wanted if y.is_floating_point()]
    cotangents: list[Array] = [np.asarray(case.rng.standard_normal(tuple(y.shape))) for y in floats]
    gradients = case.probe.backward(case.point, cotangents)
    sources = {name: t for name, t in zip(case.typed.input_names, inputs, strict=True) if t.requires_grad}
    sources.update({p.name: env.parameters[id(p)] for p in case.probe.parameters})
    alive = [(y, torch.tensor(c)) for y, c in zip(floats, cotangents, strict=True) if y.requires_grad]
    if not alive or not sources:
        return errors
    outs, given = zip(*alive, strict=True)
    found = torch.autograd.grad(outs, list(sources.values()), given, allow_unused=True)
    for name, g in zip(sources, found, strict=True):
        errors[f"gradient of {name}"] = _error(gradients[name], np.zeros(gradients[name].shape) if g is None else g.numpy())
    return errors


def twin_environment(case: Case) -> tuple[Env, Any, list[Any]]:
    """The case's tensors for torch: (environment, inputs nested, the inputs in order)."""
    import torch

    tensors = {p.name: torch.tensor(case.parameters[p.name], requires_grad=True) for p in case.probe.parameters}
    buffers = case.typed.module.all_parameters(buffers=True)
    env = Env(
        {id(p): tensors[p.name] for p in case.probe.parameters},
        {id(p): torch.tensor(case.probe.steady[p.name]) for p in buffers},
        training=not case.sample.evaluate,
    )
    if case.record.stochastic:  # what it makes of ones is its noise
        ones = {name: np.ones_like(value) for name, value in case.point.items()}
        at_ones, found = case.probe.results(ones), case.probe.results(case.point)
        env.noise = torch.tensor(np.asarray(at_ones[case.probe.outputs[0]]))
        env.outputs = [torch.tensor(np.asarray(found[name])) for name in case.typed.output_names]
    inputs = [torch.tensor(a, requires_grad=a.dtype == np.float64) for a in case.inputs]
    return env, nested(case.sample.inputs, inputs), inputs


def flat(x: Any) -> list[Any]:
    """The tensors of a nested list, in order."""
    return [leaf for item in x for leaf in flat(item)] if isinstance(x, list) else [x]


def twins_beside(record: Record) -> Mapping[str, Twin]:
    """``TWINS`` of the Python module that a record stands in."""
    found: Mapping[str, Twin] = getattr(sys.modules[type(record).__module__], "TWINS", {})
    return found
