"""Steps allocate nothing large after the first, and memory stays flat."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import graphspec
from graphspec.training.step import training_program

CHAR_LM = Path(__file__).parent.parent / "specs" / "char_lm.spec"


def small(**more: object) -> graphspec.Experiment:
    return graphspec.experiment(CHAR_LM, rnn_size=16, n_layers=1, **{"data.batch": 8, "data.seq_len": 10, **more})


def test_a_step_allocates_nothing_large_after_the_first() -> None:
    experiment = graphspec.experiment(CHAR_LM, **{"data.batch": 50, "data.seq_len": 25})  # its gates alone are 0.6 MB a layer
    for _ in range(3):
        experiment.train_step()
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(3):
            experiment.train_step()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 40_000, "beyond two batches, this and the one that is fetched ahead"
    assert peak - before < 200_000, "beyond the batch itself and what Python needs for calls"


def test_memory_is_flat_over_two_thousand_steps() -> None:
    experiment = small()
    for _ in range(20):
        experiment.train_step()
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(1000):
            experiment.train_step()
        gc.collect()
        half, _ = tracemalloc.get_traced_memory()
        for _ in range(1000):
            experiment.train_step()
        gc.collect()
        whole, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert abs(whole - half) < 20_000


def test_one_compile_serves_every_length() -> None:
    """The IR of char_lm has the same ops at T = 5 and T = 5000."""
    counts = {}
    for steps in (5, 5000):
        experiment = small(**{"data.seq_len": steps, "data.batch": 2})
        program = training_program(experiment.setup)
        counts[steps] = sum(1 for _ in program.block.walk())
    assert counts[5] == counts[5000]


@pytest.mark.parametrize("length", [1, 7, 60])
def test_one_model_runs_any_length_and_batch(length: int) -> None:
    model = graphspec.compile(Path(__file__).parent / "specs" / "char_rnn.spec", "unroll(5, 4, 1, {})")
    indices = np.ones((length, 3), int)
    loss, log_p, _ = model(indices, indices, [np.zeros((3, 4))] * 2)
    assert loss.shape == ()
    assert log_p.shape == (length, 3, 5)
    assert len(model._typed) == 1
