"""Recurrent layers beyond their samples: rows of zeros that are masked, which a ReLU before them makes."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest

import test_records
from graphspec.graph import Leaf, Make, Sample, Table
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


SIMPLE = Make("Recurrent", (2, Make("Linear", (3, 2)), Make("Linear", (2, 2)), Make("Tanh")))
JOINED = Make("Sequential", (), (Make("JoinTable", (1, 1)), Make("Linear", (5, 2)), Make("Tanh")))
PAIRED = Make("Sequential", (), (Make("FlattenTable"), Make("ConcatTable", (), (Make("CAddTable"), Make("CMulTable")))))

LOOPED = {
    "Recurrent": ((3, 2, 3), Make("Sequencer", (SIMPLE,))),
    "Recurrent, a table": (((2, 3), (2, 3)), Make("Sequencer", (SIMPLE,))),
    "Recurrent, masked": (GAPS, Make("Sequencer", (Make("Recurrent", (
        2, Make("Linear", (2, 2)), Make("Linear", (2, 2))), methods=(("maskZero", (1,)),)),))),
    "Recurrence": ((3, 2, 3), Make("Sequencer", (Make("Recurrence", (JOINED, 2, 1)),))),
    "Recurrence of a table": ((3, 2, 2), Make("Sequencer", (Make("Recurrence", (PAIRED, Table((Table((2,)), Table((2,)))), 1)),))),
    "a recurrent module in a recurrent module": ((3, 2, 3), Make("Sequencer", (Make("Recurrence", (
        Make("Sequential", (), (Make("JoinTable", (1, 1)), Make("GRU", (5, 2)))), 2, 1)),))),
    "a loop in a loop": ((2, 3, 1, 2), Make("Sequencer", (Make("Sequencer", (Make("FastLSTM", (2, 2)),)),))),
    "over it": ((2, 2, 3), Make("BiSequencer", (SIMPLE, Make("GRU", (3, 2)), Make("CAddTable")))),
    "again and again": ((2, 3), Make("Repeater", (SIMPLE, 3))),
}  # fmt: skip


@pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed: no twins to compare with")
@pytest.mark.parametrize("proof", PROOFS, ids=["gradient", "letters", "twin", "strided", "tied", "device"])
@pytest.mark.parametrize("name", LOOPED)
def test_looped(name: str, proof: Any) -> None:
    inputs, module = LOOPED[name]
    first = () if inputs is not GAPS else (Make("ReLU"),)
    proof(registry["Sequential"], Sample((), inputs, children=(*first, module)))
