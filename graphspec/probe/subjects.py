"""What is probed: a spec's model with made-up inputs, an experiment with its data, a run with what it has learned."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np

from graphspec.check import choose_sizes, draw_input
from graphspec.errors import fail
from graphspec.graph import initial_value
from graphspec.ir.core import TensorType
from graphspec.open import Opened, pick_module
from graphspec.probe.loops import find_loops, with_loops
from graphspec.probe.measure import Subject
from graphspec.program import forward_program, leaves
from graphspec.training.experiment import Experiment
from graphspec.training.step import set_up

Array = np.ndarray[Any, Any]


def of_model(opened: Opened, label: str, steps: int, sequences: int, seed: int) -> Subject:
    """A model, or a cell that is scanned: initial parameters by ``seed``, inputs standard normal (classes uniform), ``steps`` long.

    E0830 for a model without a loop.
    """
    typed, loops = with_loops(pick_module(opened))
    rng = np.random.default_rng(seed)
    program = forward_program(typed, training=False)
    letters = choose_sizes(program)
    letters.update({loop.batch: sequences for loop in loops if loop.batch in letters})
    letters.update({loop.trip.lone: steps for loop in loops if loop.trip.lone in letters})
    shapes = {name: [n.evaluate(letters) for n in t.shape] for name, t in zip(typed.input_names, leaves(typed.inputs), strict=True)}
    inputs = {
        name: rng.standard_normal(shapes[name]) if t.is_float else draw_input(t, program, letters, rng, 0, 1)
        for name, t in zip(typed.input_names, leaves(typed.inputs), strict=True)
    }
    for loop in loops:
        if loop.length_input:
            inputs[loop.length_input][...] = loop.trip.evaluate(letters)
    every = (*typed.module.all_parameters(), *typed.module.all_parameters(buffers=True))
    return Subject(label, typed, loops, {p.name: initial_value(p, seed, "float64") for p in every}, inputs)


def of_experiment(experiment: Experiment, label: str, sequences: int) -> Subject:
    """An experiment, or what a run has made of it: its parameters as they are, the first batch that its data hold out (else the first to
    train on), carried states zero.  E0830 without a loop."""
    setup = set_up(experiment.spec, "float64")
    typed = setup.typed
    loops = find_loops(typed)
    if not loops:
        raise fail("E0830", "no loop in this experiment carries a state", experiment.spec.origin)
    types = dict(zip(typed.input_names, leaves(typed.inputs), strict=True))
    letters = {loop.batch for loop in loops if loop.batch}
    batch = next(iter(experiment.source.valid()), None) or experiment.source.batch(0)
    given = setup.feeding.inputs(batch.arrays)
    given = {port: _first(array, types[port], letters, sequences) for port, array in given.items()}
    streams = {stream.name: given[port] for port, stream in setup.feeding.streams.items()}
    carry = experiment.zero_carry(replace(batch, arrays=streams)) if setup.carried else {}
    inputs = {**given, **{port: experiment.to_host(array) for port, array in carry.items() if port in types}}
    inputs = {port: array.astype(types[port].dtype) for port, array in inputs.items()}
    return Subject(label, typed, loops, {name: array.astype("float64") for name, array in experiment.named().items()}, inputs)


def _first(array: Array, t: TensorType, letters: Collection[str], count: int) -> Array:
    """The first sequences of a batch."""
    for axis, n in enumerate(t.shape):
        if n.lone in letters:
            array = array.take(range(min(count, array.shape[axis])), axis)
    return array
