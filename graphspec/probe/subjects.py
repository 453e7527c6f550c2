"""What is probed: a spec's model with made-up inputs, an experiment with its data, a run with what it has learned."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np

from graphspec.check import choose_sizes, draw_input
from graphspec.errors import fail
from graphspec.graph import GModule, initial_value
from graphspec.ir.core import TensorType
from graphspec.open import Opened, pick_module
from graphspec.probe.measure import Subject
from graphspec.probe.scans import FoundScan, find_scans, with_scan
from graphspec.program import forward_program, leaves
from graphspec.training.experiment import Experiment
from graphspec.training.step import set_up

Array = np.ndarray[Any, Any]


def of_model(opened: Opened, label: str, steps: int, sequences: int, seed: int) -> Subject:
    """A model, or a cell that is scanned: initial parameters by ``seed``, inputs standard normal (classes uniform), ``steps`` long.

    E0830 for a model without a scan.
    """
    typed = with_scan(pick_module(opened))
    scans = find_scans(typed)
    rng = np.random.default_rng(seed)
    program = forward_program(typed, training=False)
    letters = choose_sizes(program)
    letters.update({scan.batch: sequences for scan in scans if scan.batch in letters})
    letters.update({scan.trip.lone: steps for scan in scans if scan.trip.lone in letters})
    shapes = {name: [n.evaluate(letters) for n in t.shape] for name, t in zip(typed.input_names, leaves(typed.inputs), strict=True)}
    inputs = {
        name: rng.standard_normal(shapes[name]) if t.is_float else draw_input(t, program, letters, rng, 0, 1)
        for name, t in zip(typed.input_names, leaves(typed.inputs), strict=True)
    }
    for scan in scans:
        name = _length_input(scan)
        if name:
            inputs[name][...] = scan.trip.evaluate(letters)
    every = (*typed.module.all_parameters(), *typed.module.all_parameters(buffers=True))
    return Subject(label, typed, scans, {p.name: initial_value(p, seed, "float64") for p in every}, inputs)


def _length_input(scan: FoundScan) -> str | None:
    """The model's input that gives a scan its lengths, if one does."""
    graph, place = scan.typed.module, scan.lengths
    assert isinstance(graph, GModule)
    numbers = [number for number, node in enumerate(graph.inputs, 1) if place and place.path == (node.serial,)]
    return None if not numbers else f"input.{numbers[0]}" if len(graph.inputs) > 1 else "input"


def of_experiment(experiment: Experiment, label: str, sequences: int) -> Subject:
    """An experiment, or what a run has made of it: its parameters as they are, the first batch that its data hold out (else the first to
    train on), carried states zero.  E0830 without a scan."""
    setup = set_up(experiment.spec, "float64")
    typed = setup.typed
    scans = find_scans(typed)
    if not scans:
        raise fail("E0830", "there is no nn.Scan in this experiment", experiment.spec.origin)
    types = dict(zip(typed.input_names, leaves(typed.inputs), strict=True))
    letters = {scan.batch for scan in scans if scan.batch}
    batch = next(iter(experiment.source.valid()), None) or experiment.source.batch(0)
    given = {port: batch.arrays[experiment.spec.inputs[node].name] for port, node in setup.data.items()}
    given = {port: _first(array, types[port], letters, sequences) for port, array in given.items()}
    streams = {experiment.spec.inputs[node].name: given[port] for port, node in setup.data.items()}
    carry = experiment.zero_carry(replace(batch, arrays=streams)) if setup.carried else {}
    inputs = {**given, **{port: experiment.to_host(array) for port, array in carry.items()}}
    inputs = {port: array.astype(types[port].dtype) for port, array in inputs.items()}
    return Subject(label, typed, scans, {name: array.astype("float64") for name, array in experiment.named().items()}, inputs)


def _first(array: Array, t: TensorType, letters: Collection[str], count: int) -> Array:
    """The first sequences of a batch."""
    for axis, n in enumerate(t.shape):
        if n.lone in letters:
            array = array.take(range(min(count, array.shape[axis])), axis)
    return array
