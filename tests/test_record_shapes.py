"""What records tell of shapes: both directions, Torch's rank rules, errors and warnings in words."""

from __future__ import annotations

import math
from typing import Any

import pytest

from gradcheck import declared, show, source, typed, use
from graphspec.errors import NOWHERE, Origin, Source, Span, SpecError
from graphspec.graph import Table, connect, gmodule, new_module, split
from graphspec.program import assumptions, infer, leaves, named_parameters

BACKWARD = [
    # module, arguments, what its output is declared to be, what its input then is
    ("Linear", (4, 3), ("B", 3), "[B, 4]"),
    ("Linear", (4, 3), ("T", "B", 3), "[T, B, 4]"),
    ("LinearNoBias", (4, 3), (3,), "[4]"),
    ("LookupTable", (9, 3), ("T", "B", 3), "[T, B]"),
    ("OneHot", (9,), ("B", 9), "[B]"),
    ("Sigmoid", (), ("B", 2, 3), "[B, 2, 3]"),
    ("LogSoftMax", (), ("B", 7), "[B, 7]"),
    ("AddConstant", (1,), (5,), "[5]"),
    ("Dropout", (), ("B", 5), "[B, 5]"),
    ("BatchNormalization", (5,), ("B", 5), "[B, 5]"),
    ("Select", (1, 2), ("B", 5), "[n, B, 5]"),
    ("Narrow", (2, 1, 3), ("B", 3), "[B, n]"),
    ("Replicate", ("S", 2), ("B", 4, 5), "[B, 5]"),
    ("Transpose", (Table((1, 2)), Table((2, 3))), ("A", "B", "C"), "[C, A, B]"),
    ("Sum", (2,), ("B", 4), "[B, n, 4]"),
    ("Mean", (-1,), ("B", 4), "[B, 4, n]"),
    ("LengthMask", (4,), ("B", 4), "[B]"),
    ("GatedLinearUnit", (2,), ("B", "n"), "[B, 2*n]"),
    ("SpatialRegionDropout", (), (3, "H", "W"), "[3, H, W]"),
]


@pytest.mark.parametrize(("name", "args", "output", "expected"), BACKWARD, ids=[f"{c[0]}-{i}" for i, c in enumerate(BACKWARD)])
def test_input_from_output(name: str, args: Any, output: Any, expected: str) -> None:
    x = source()
    found = typed([x], declared(use(name, args, x), output))
    assert show(found.inputs) == expected
    assert not found.assumed


def test_split_table_counts_pieces_of_split() -> None:
    x = source()
    first, second = split(use("SplitTable", (1,), x), 2, NOWHERE)
    found = typed([x], declared(first, ("B", 5)), second)
    assert show(found.inputs) == "[2, B, 5]"


def test_tables_type_each_other() -> None:
    a, b, c = source("B", 3), source(), source()
    found = typed([a, b, c], use("CAddTable", (), [a, b, c]))
    assert show(found.inputs) == "[B, 3], [B, 3], [B, 3]"


def test_join_adds_up() -> None:
    a, b = source("B", 3), source()
    found = typed([a, b], declared(use("JoinTable", (2,), [a, b]), ("B", 10)))
    assert show(found.inputs) == "[B, 3], [B, 7]"
    a, b = source("N", "M"), source("N", "K")
    assert show(typed([a, b], use("JoinTable", (1, 1), [a, b])).outputs) == "[N, K + M]"


def test_mm_and_mv_type_their_inputs() -> None:
    a, b = source("B", "S", 5), source()
    found = typed([a, b], declared(use("MM", (False, True), [a, b]), ("B", "S", 7)))
    assert show(found.inputs) == "[B, S, 5], [B, 7, 5]"
    h, alpha = source("B", "S", 8), source()
    found = typed([h, alpha], use("MV", (True,), [h, alpha]))
    assert (show(found.inputs), show(found.outputs)) == ("[B, S, 8], [B, S]", "[B, 8]")


SHAPES = [
    ("View", (6,), ("B", 2, 3), "[B, 6]"),
    ("View", (-1,), ("T", "B", 5), "[5*B*T]"),
    ("View", (-1, 5), ("T", "B", 5), "[B*T, 5]"),
    ("View", ("T", -1, 5), ("T", "B", 5), "[T, B, 5]"),
    ("View", (2, 3), ("B", "n"), "[B, 2, 3]"),
    ("View", (6,), (1, 6), "[6]"),
    ("View", (12,), (4, 6), "[2, 12]"),
    ("Reshape", (2, 3), ("B", 6), "[B, 2, 3]"),
    ("Reshape", (2, 3), (6,), "[2, 3]"),
    ("Reshape", (2, 3), ("n",), "[2, 3]"),
    ("Reshape", (6,), (2, 3), "[6]"),
    ("Reshape", (6,), (1, 6), "[1, 6]"),
    ("Reshape", ("T", 3), ("B", "m"), "[B, T, 3]"),
    ("Reshape", (4, "B", False), ("B", 4), "[4, B]"),
    ("Sum", (1,), ("n",), "[1]"),
    ("Sum", (1, 1), ("B", "n"), "[B]"),
    ("Select", (2, -1), ("B", "T", 3), "[B, 3]"),
    ("Select", (1, 1), (4,), "[]"),
    ("Narrow", (1, 2, -1), ("T", 3), "[T - 1, 3]"),
    ("Narrow", (2, 1, "K"), ("K", 9), "[K, K]"),
    ("Replicate", ("B", 1), ("B", 4), "[B, B, 4]"),
    ("Transpose", (Table((1, 2)),), ("T", "B", 3), "[B, T, 3]"),
    ("SplitTable", (2,), ("B", 3), "[B], [B], [B]"),
    ("Reshape", (4, False), (1, 4), "[4]"),
    ("Squeeze", (None, 2), ("B", 1, 1), "[B]"),
    ("Squeeze", (None, 2), (1, 1, 1), "[1]"),
]


@pytest.mark.parametrize(("name", "args", "given", "expected"), SHAPES, ids=[f"{c[0]}-{i}" for i, c in enumerate(SHAPES)])
def test_output_from_input(name: str, args: Any, given: Any, expected: str) -> None:
    x = source(*given)
    assert show(typed([x], use(name, args, x)).outputs) == expected


@pytest.mark.parametrize("name", ["Select", "Narrow", "Replicate", "Transpose", "View", "Reshape", "JoinTable"])
def test_indices_stay_indices(name: str) -> None:
    args: dict[str, Any] = {"Select": (1, 1), "Narrow": (1, 1), "Replicate": (2,), "View": (-1,), "Reshape": (6,), "JoinTable": (1,)}
    args["Transpose"] = (Table((1, 2)),)
    x, z = source(2, 3, dtype="int32"), source()
    tables = name == "JoinTable"
    found = typed([x, z] if tables else [x], use(name, args[name], [x, z] if tables else x))
    assert {t.dtype for t in (*leaves(found.inputs), *leaves(found.outputs))} == {"int32"}


REFUSED = [
    # name, arguments, inputs, code, a part of what is said
    ("Select", (3, 1), [("B", 4)], "E0302", "dimension 3 of a tensor with 2 axes"),
    ("Padding", (2, 1, 1), [("B", 4)], "E0302", "with 2 axes, of which the first is the batch's and does not count"),
    ("JoinTable", (2, 1), [("B", 4), ("B", 4)], "E0302", "dimension 2 of a tensor with 2 axes, of which the first is the batch's"),
    ("Select", (2, 5), [("B", 4)], "E0302", "index 5 of an axis of 4"),
    ("Narrow", (2, 2, 4), [("B", 4)], "E0302", "elements 2 to 5 of an axis of 4"),
    ("View", (5,), [(2, 3)], "E0302", "6 elements cannot be viewed as 5"),
    ("View", (4, -1), [(2, 3)], "E0302", "6 vs 4*n"),
    ("View", (2, -1), [("A", "B")], "E0313", "not known before the run"),
    ("Reshape", (5,), [("B", 3)], "E0302", "3*B vs 5"),
    ("SplitTable", (1,), [("T", 3)], "E0313", "how many pieces dimension 1 has"),
    ("SelectTable", (3,), [("B",), ("B",)], "E0302", "element 3 of a table of 2"),
    ("NarrowTable", (2, 2), [("B",), ("B",)], "E0302", "elements 2 to 3 of a table of 2"),
    ("JoinTable", (2,), [("B", 3), (4, 3, 2)], "E0318", "JoinTable inputs must be equal in all dims but 2"),
    ("JoinTable", (1,), [("B", 3), ("B", 4)], "E0318", "dim 2: 3 vs 4"),
    ("MM", (), [("B", 3, 4), ("B", 5, 2)], "E0302", "dim 2: 5 vs 4"),
    ("MM", (), [(3,), (3, 2)], "E0302", "at least 2 axes"),
    ("MixtureTable", (), [("B", 3), ("B", 4, 5)], "E0302", "4 vs 3"),
    ("CSubTable", (), [(2,), (2,), (2,)], "E0302", "a table of 2 is wanted here"),
    ("CTCCriterion", (), [(2, 3, 4), (3, 2)], "E0302", "`graphspec modules CTCCriterion` says what it takes"),
    ("SoftMax", (), [(2, 2, 2, 2, 2)], "E0302", "1 to 4 axes are wanted here"),
    ("Linear", (3, 4), [("B", 5)], "E0302", "dim 2: 5 vs 3"),
    ("MSECriterion", (), [("B", 5), ("B", 4)], "E0301", "MSECriterion inputs must have equal shapes"),
    ("ClassNLLCriterion", (), [("B", 5), ("B",)], None, ""),
    ("ClassNLLCriterion", (Table((1, 2)),), [("B", 5), ("B",)], "E0302", "5 vs 2"),
    ("Transpose", (Table((1, 4)),), [("B", 5)], "E0302", "dimension 4 of a tensor with 2 axes"),
    ("Replicate", (2, 4), [("B", 5)], "E0302", "a new dimension 4 of a tensor with 2 axes"),
]


def said(failure: SpecError) -> str:
    return "\n".join(text for d in failure.diagnostics for text in (d.message, *(b.text for b in d.labels), *d.notes, *d.helps))


@pytest.mark.parametrize(("name", "args", "inputs", "code", "words"), REFUSED, ids=[f"{c[0]}-{i}" for i, c in enumerate(REFUSED)])
def test_refused_in_plain_words(name: str, args: Any, inputs: Any, code: str | None, words: str) -> None:
    nodes = [source(*dims) for dims in inputs]
    text = Source("a.spec", "here")
    node = connect(new_module(name, list(args), NOWHERE), nodes if len(nodes) > 1 else nodes[0], Origin(Span(text, 0, 4)))
    graph = gmodule(nodes, [node], NOWHERE)
    if code is None:
        infer(graph)
        return
    with pytest.raises(SpecError) as caught:
        infer(graph)
    assert caught.value.code == code
    assert words in said(caught.value)


ARGUMENTS = [
    ("Dropout", (1,), "at least 0 and less than 1"),
    ("Dropout", (-0.1,), "at least 0 and less than 1"),
    ("View", (-1, -1), "only one size can be -1"),
    ("View", (0,), "at least 1"),
    ("Reshape", (-1,), "at least 1"),
    ("VolumetricDilatedMaxPooling", (3, 3, 3, 1, 1, 1, 2, 0, 0, 2, 2, 2), "at most half of the kernel"),
    ("SpatialCrossMapLRN", (4,), "size must be odd"),
    ("Transpose", (1, 2), "pairs of dimensions"),
    ("SoftPlus", (0,), "beta must not be 0"),
    ("BatchNormalization", (3, 0), "eps must be more than 0"),
    ("ClassNLLCriterion", (Table(("a",)),), "a table of numbers"),
    ("LookupTable", (0, 3), "at least 1"),
    ("JoinTable", (1.5,), "whole number"),
    ("HardTanh", (1, -1), "more than the lower"),
    ("Clamp", (2, 2), "more than the lower"),
    ("SoftShrink", (-1,), "lambda must be at least 0"),
    ("RReLU", (0.5, 0.25), "0 <= l <= u"),
    ("LeakyReLU", ("a",), "must be a number"),
    ("WhiteNoise", (0, -1), "std must be at least 0"),
    ("Power", (1e9,), "between -1e6 and 1e6"),
    ("TotalDropout", (1,), "at least 0 and less than 1"),
    ("SpatialRegionDropout", (math.nan,), "at least 0 and less than 1"),
]


@pytest.mark.parametrize(("name", "args", "words"), ARGUMENTS, ids=[f"{c[0]}-{i}" for i, c in enumerate(ARGUMENTS)])
def test_arguments_refused(name: str, args: Any, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        new_module(name, list(args), NOWHERE)
    assert caught.value.code == "E0422"
    assert words in caught.value.diagnostics[0].message


LISTING = """\
local i2h = nn.Linear(in_size, 4*rnn)(x)
local h2h = nn.Linear(rnn, rnn)(prev_h)
local sums = nn.CAddTable()({i2h, h2h})
"""


def at(text: Source, part: str) -> Origin:
    start = text.text.index(part)
    return Origin(Span(text, start, start + len(part)))


def test_e0301_labels_both_ends() -> None:
    text = Source("lstm.spec", LISTING)
    x, h = source(), source()
    a = connect(new_module("Linear", [200, 800], NOWHERE), x, at(text, "nn.Linear(in_size, 4*rnn)(x)"))
    b = connect(new_module("Linear", [200, 200], NOWHERE), h, at(text, "nn.Linear(rnn, rnn)(prev_h)"))
    y = connect(new_module("CAddTable", [], NOWHERE), [a, b], at(text, "nn.CAddTable()({i2h, h2h})"))
    with pytest.raises(SpecError) as caught:
        infer(gmodule([x, h], [y], NOWHERE))
    (problem,) = caught.value.diagnostics
    assert (problem.code, problem.message) == ("E0301", "CAddTable inputs must have equal shapes")
    assert [(b.span.line, b.text) for b in problem.labels] == [(1, "input 1: [B, 800]"), (2, "input 2: [B, 200]"), (3, "dim 2: 800 vs 200")]


HINTS = [
    (("B", "S", 4), ("B", 4), "nn.Replicate('S', 2)"),
    (("T", "B", 4), ("B", 4), "nn.Replicate('T', 1)"),
    ((5, 4), (4,), "nn.Replicate(5, 1)"),
    (("B", 4), ("B", 1), "nn.Replicate(4, 2)(nn.Select(2, 1)(...))"),
]


@pytest.mark.parametrize(("big", "small", "words"), HINTS, ids=range(len(HINTS)))
def test_broadcast_hint_names_replicate(big: Any, small: Any, words: str) -> None:
    for shapes in ((big, small), (small, big)):
        nodes = [source(*dims) for dims in shapes]
        with pytest.raises(SpecError) as caught:
            infer(gmodule(nodes, [use("CMulTable", (), nodes)], NOWHERE))
        assert caught.value.code == "E0301"
        assert words in said(caught.value)


@pytest.mark.parametrize(("name", "dims", "told"), [
    ("LogSoftMax", ("A", "B", 4), "nn.LogSoftMax on three axes normalises axis 1 (Torch's rule), here of [A, B, 4]"),
    ("SoftMax", ("B", 2, "T", "T"), "nn.SoftMax on four axes normalises axis 2 (Torch's rule), here of [B, 2, T, T]"),
    ("SoftMin", ("B", 2, "T", "T"), "nn.SoftMin on four axes normalises axis 2 (Torch's rule), here of [B, 2, T, T]"),
    ("SoftMax", ("B", 4), None),
    ("SpatialSoftMax", ("B", 2, "H", "W"), None),
])  # fmt: skip
def test_softmax_of_planes_is_a_warning(name: str, dims: tuple[Any, ...], told: str | None) -> None:
    """Attention's scores went through it by heads, without a word."""
    x = source(*dims)
    found = assumptions(typed([x], use(name, (), x)))
    assert [(d.code, d.message) for d in found] == ([("W0315", told)] if told else [])
    assert all(f"nn.Bottle(nn.{name}())" in d.helps[0] for d in found)
    x = source(*dims)
    assert not assumptions(typed([x], use("Bottle", (new_module(name, [], NOWHERE),), x)))


def test_softmax_over_time_is_an_error() -> None:
    token, state = source(), source()
    hidden = use("CAddTable", (), [token, state])
    copy = use("Identity", (), hidden)
    cell = gmodule([token, state], [hidden, copy], NOWHERE)
    xs, s0 = source("T", "B", 4), source()
    ys, last = split(use("Scan", [cell], [xs, s0]), 2, NOWHERE)
    with pytest.raises(SpecError) as caught:
        typed([xs, s0], use("LogSoftMax", (), ys), last)
    assert caught.value.code == "E0316"
    assert "which is time here" in said(caught.value)


def test_methods_and_settable_arguments() -> None:
    view = new_module("View", [-1], NOWHERE)
    twin = view.clone([], NOWHERE)
    assert view.record.call(view, "setNumInputDims", [2], NOWHERE) is view
    assert (view.args.numInputDims, twin.args.numInputDims) == (2, None)
    criterion = new_module("MSECriterion", [], NOWHERE)
    criterion.record.set(criterion, "sizeAverage", False, NOWHERE)
    assert criterion.args.sizeAverage is False
    with pytest.raises(SpecError) as caught:
        criterion.record.set(criterion, "sizeAverge", False, NOWHERE)
    assert caught.value.code == "E0426"


def test_names_in_a_container() -> None:
    net, named = new_module("Sequential", [], NOWHERE), new_module("Linear", [3, 2], NOWHERE)
    net.name, named.name = "net", "last"
    for module in (new_module("Linear", [2, 3], NOWHERE), new_module("Linear", [3, 3], NOWHERE), named):
        net.add(module, NOWHERE)
    x = source("B", 2)
    found = typed([x], connect(net, x, NOWHERE))
    names = [p.name for p in named_parameters(found.module)]
    inside = [f"net.Linear[{i}].{key}" for i in (1, 2) for key in ("weight", "bias")]
    assert names == ["last.weight", "last.bias", *inside]  # in order of construction


def test_sequential_refuses_to_hold_itself() -> None:
    outer, inner = new_module("Sequential", [], NOWHERE), new_module("Sequential", [], NOWHERE)
    outer.add(inner, NOWHERE)
    with pytest.raises(SpecError):
        inner.add(outer, NOWHERE)
    with pytest.raises(SpecError):
        new_module("Linear", [2, 2], NOWHERE).add(inner, NOWHERE)


def test_a_declared_letter_that_was_solved_stays_taken() -> None:
    """B = 2n here; n must not be called B in turn, or B would be defined by itself (inference then never ended)."""
    x = source("B", 4)
    model = typed([x], use("View", (-1, 2, 4), x))
    (rows, *_), (batch, _) = model.outputs.shape, model.inputs.shape
    assert 2 * rows == batch
    assert "B" not in batch.letters
