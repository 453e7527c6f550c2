"""Recurrent layers beyond their samples: rows of zeros that are masked, which a ReLU before them makes."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest

import test_records
from graphspec.graph import Leaf, Make, Sample
from graphspec.nn import registry

GAPS = Leaf((3, 2, 2), values=(0.5, 0.9, -0.7, -0.6, -0.4, -0.3, 0.3, -0.7, -0.2, 0.4, -0.8, -0.9))
"""A sequence in which some steps of some rows are all zeros after a ReLU."""

MASKED = {
    "SeqLSTM": (GAPS, Make("SeqLSTM", (2, 2, None, True))),
    "SeqLSTMP": (GAPS, Make("SeqLSTMP", (2, 1, 2, None, True))),
    "SeqGRU": (GAPS, Make("SeqGRU", (2, 2, None, True))),
    "batchfirst": (GAPS, Make("SeqGRU", (2, 2, True, True))),
    "MaskZero": (GAPS, Make("Sequencer", (Make("MaskZero", (Make("Linear", (2, 3)), 1)),))),
    "MaskZero of all": (GAPS, Make("MaskZero", (Make("Linear", (2, 3)), 2))),
    "maskZero": (GAPS, Make("Sequencer", (Make("LSTM", (2, 2), methods=(("maskZero", (1,)),)),))),
    "trimZero": (GAPS, Make("Sequencer", (Make("GRU", (2, 2), methods=(("trimZero", (1,)),)),))),
}

PROOFS = [
    test_records.test_finite_differences, test_records.test_symbolic_sizes, test_records.test_twin,
    test_records.test_strided_inputs_unchanged, test_records.test_tied_use,
    lambda r, s: test_records.test_device_agrees_with_the_reference(r, s, True),
]  # fmt: skip


@pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed: no twins to compare with")
@pytest.mark.parametrize("proof", PROOFS, ids=["gradient", "letters", "twin", "strided", "tied", "device"])
@pytest.mark.parametrize("name", MASKED)
def test_masked(name: str, proof: Any) -> None:
    inputs, module = MASKED[name]
    proof(registry["Sequential"], Sample((), inputs, children=(Make("ReLU"), module)))
