"""Recurrent layers beyond their samples: rows of zeros that are masked, which a ReLU before them makes."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

import graphspec
import test_records
from gradcheck import declared, show, source, typed, use
from graphspec.errors import NOWHERE, Origin, Source, Span, SpecError
from graphspec.graph import Leaf, Make, Sample, Table, connect, gmodule, initial_value
from graphspec.ir.verify import verify
from graphspec.nn import registry
from graphspec.program import backward_program, noise_types
from graphspec.samples import Case, made
from test_record_shapes import said

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


BESIDE = {
    "noise, other at each step": Make("Sequencer", (Make("Sequential", (), (Make("Dropout"), Make("GRU", (3, 2)))),)),
    "running statistics": Make("Sequencer", (Make("Sequential", (), (Make("BatchNormalization", (3,)), Make("GRU", (3, 2)))),)),
    "both ways": Make("BiSequencer", (Make("Dropout"), Make("BatchNormalization", (3,)))),
}
"""Modules that a loop hands on more for than parameters."""


@pytest.mark.parametrize("proof", [PROOFS[0], PROOFS[1], PROOFS[5]], ids=["gradient", "letters", "device"])
@pytest.mark.parametrize("name", BESIDE)
def test_what_goes_along(name: str, proof: Any) -> None:
    proof(registry["Sequential"], Sample((), (3, 2, 3), children=(BESIDE[name],)))


def test_noise_in_a_sequencer_has_a_time_axis() -> None:
    inner = source()
    noisy = use("Dropout", (), inner)
    noisy.annotations["name"] = "drop"
    x = source("T", "B", 3)
    found = typed([x], use("Sequencer", [gmodule([inner], [use("GRU", (3, 2), noisy)], NOWHERE)], x))
    (noise,) = noise_types(found, ["drop"]).items()
    assert noise[0] == "drop" and show(noise[1]) == "[T, B, 3]"
    verify(backward_program(found, True, dict([noise])))


BACKWARD = [
    # module, what its output is declared to be, what its input then is
    (Make("SeqLSTM", (3, 2)), ("T", "B", 2), "[T, B, 3]"),
    (Make("SeqGRU", (3, 2, True)), ("B", "T", 2), "[B, T, 3]"),
    (Make("LSTM", (3, 2)), ("B", 2), "[B, 3]"),
    (Make("GRU", (3, 2)), (2,), "[3]"),
    (Make("Sequencer", (Make("GRU", (3, 2)),)), ("T", "B", 2), "[T, B, 3]"),
    (Make("Sequencer", (Make("LookupTable", (9, 2)),)), ("T", "B", 2), "[T, B]"),
    (SIMPLE, ("B", 2), "[B, 3]"),
    (Make("SeqBRNN", (3, 2)), ("T", "B", 2), "[T, B, 3]"),
    (Make("SpatialZeroPadding", (1, 2)), ("B", 3, 8, 9), "[B, 3, 6, 6]"),
    (Make("SpatialReflectionPadding", (1,)), (3, "H", 9), "[3, H - 2, 7]"),
    (Make("PixelShuffle", (2,)), ("B", 3, 8, 6), "[B, 12, 4, 3]"),
]


@pytest.mark.parametrize(("what", "output", "expected"), BACKWARD, ids=[f"{c[0].name}-{i}" for i, c in enumerate(BACKWARD)])
def test_input_from_output(what: Make, output: Any, expected: str) -> None:
    x = source()
    found = typed([x], declared(connect(made(what), x, NOWHERE), output))
    assert show(found.inputs) == expected
    assert not found.assumed


WRONG = [
    ((3,), Make("SeqLSTM", (3, 2)), "[T, B, n] is wanted here"),
    ((2, 3), Make("Sequencer", (Make("GRU", (4, 2)),)), "nn.Linear: the input does not fit"),
    ((), Make("Sequencer", (Make("Identity"),)), "no time axis"),
    ((2, 3), Make("LSTM", (3, 2), methods=(("maskZero", (3,)),)), "3 axes are wanted here"),
    ((2, 3), Make("SpatialZeroPadding", (1,)), "[C, H, W] or [B, C, H, W] is wanted here"),
    ((1, 2, 2), Make("SpatialReflectionPadding", (2,)), "an axis of at least 3 is wanted here, got 2"),
    ((1, 2, 2), Make("SpatialZeroPadding", (-1,)), "an axis of at least 3 is wanted here, got 2"),
    ((3, 2, 2), Make("PixelShuffle", (2,)), "3"),
]


@pytest.mark.parametrize(("dims", "what", "words"), WRONG, ids=[f"{c[1].name}-{i}" for i, c in enumerate(WRONG)])
def test_what_does_not_fit_is_said(dims: Any, what: Make, words: str) -> None:
    start = source(*dims) if dims else source(2)
    x = start if dims else use("Select", (1, 1), start)
    with pytest.raises(SpecError) as failure:
        typed([start], connect(made(what), x, Origin(Span(Source("a.spec", "here"), 0, 4))))
    assert failure.value.code == "E0302"
    assert words in said(failure.value)


@pytest.mark.parametrize("what", [Make("SeqLSTM", (2, 3)), Make("SeqLSTMP", (2, 3, 1)), Make("SeqGRU", (2, 3))], ids=lambda w: w.name)
def test_the_second_gate_begins_open(what: Make) -> None:
    module = made(what)
    module.reset()
    bias = initial_value(module.parameters["bias"], 1, "float64")
    assert bias[:9].tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 0]


@pytest.mark.parametrize(
    ("what", "mode", "words"),
    [
        (Make("Sequencer", (Make("GRU", (2, 2)),)), "always", "remember takes 'both', 'train', 'eval' or 'neither', got 'always'"),
        (Make("SeqGRU", (2, 2)), 3, "'neither', got 3"),
        (Make("BiSequencer", (Make("GRU", (2, 2)),)), "both", "nn.BiSequencer keeps no state from batch to batch"),
        (Make("GRU", (2, 2)), "eval", "nn.GRU keeps no state from batch to batch"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_what_does_not_remember(what: Make, mode: Any, words: str) -> None:
    module = made(what)
    for method, args in (("remember", ["neither"]), ("forget", [])):
        assert module.record.call(module, method, args, NOWHERE) is module
    with pytest.raises(SpecError, match=re.escape(words)) as failure:
        module.record.call(module, "remember", [mode], NOWHERE)
    assert failure.value.code == "E0422"


def test_a_bare_module_makes_its_first_step() -> None:
    """Each use outside of a loop begins with zeros, also the second of one module."""
    case = Case(registry["GRU"], registry["GRU"].samples[0], uses=2)
    first, second = case.typed.input_names
    a, b = case.probe.forward({**case.point, second: case.point[first]})
    np.testing.assert_array_equal(a, b)


SCAN = """
local v, h = nn.Identity()(), nn.Identity{'B', 2}()
local all = nn.Scan(nn.gModule({v, h}, {nn.CAddTable()({nn.GRU(3, 2)(v), h}), nn.Tanh()(h)})){xs = x}
"""


@pytest.mark.parametrize(
    ("module", "told"),
    [
        ("nn.GRU(3, 2)", ["nn.GRU"]),
        ("nn.Sequential():add(nn.FastLSTM(3, 2)):add(nn.LSTM(2, 2))", ["nn.FastLSTM", "nn.LSTM"]),
        ("nn.Sequencer(nn.GRU(3, 2))", []),
        ("nn.Repeater(nn.GRU(3, 2), 2)", []),
        ("nn.Sequencer(nn.Sequential():add(nn.GRU(3, 2)):add(nn.Recurrence(nn.CAddTable(), 2, 1)))", []),
        ("nn.BiSequencer(nn.MaskZero(nn.FastLSTM(3, 2), 1))", []),
        ("nn.Sequential()", ["nn.GRU"]),  # that in the Scan
    ],
)
def test_a_recurrent_module_in_no_loop_is_told(module: str, told: list[str]) -> None:
    """As PyTorch's nn.GRU is used, nothing would be recurrent."""
    scan = SCAN if module == "nn.Sequential()" else "local all = x"
    text = f"local x = nn.Identity{{'T', 'B', 3}}()\n{scan}\nreturn nn.gModule({{x}}, {{{module}(all)}})"
    assert [w.message.split()[0] for w in graphspec.compile(text).warnings if w.code == "W0308"] == told
