"""The layers of Torch's page "simple layers": how they begin, what a spec may call on them, what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphspec
from gradcheck import declared, show, source, typed, use
from graphspec.check import Probe
from graphspec.errors import NOWHERE, Origin, Source, Span, SpecError
from graphspec.graph import Table, connect, gmodule, initial_value, new_module
from graphspec.program import infer, named_parameters
from test_record_shapes import said


def begun(name: str, *args: Any, reset: float | None = None, clones: int = 0) -> dict[str, np.ndarray]:
    """The initial values of a module's parameters."""
    module = new_module(name, args, NOWHERE)
    if reset is not None:
        module.reset(reset)
    for _ in range(clones):
        module = module.clone([], NOWHERE)
    x = source("B", 3)
    found = infer(gmodule([x], [connect(module, x, NOWHERE)], NOWHERE))
    return {p.name.rpartition(".")[2]: initial_value(p, 1, "float64") for p in named_parameters(found.module)}


@pytest.mark.parametrize("clones", [0, 1])
@pytest.mark.parametrize("reset", [None, 0.01])
def test_lengths_begin_as_those_of_the_directions(reset: float | None, clones: int) -> None:
    values = begun("LinearWeightNorm", 3, 5, reset=reset, clones=clones)
    np.testing.assert_allclose(values["g"], np.linalg.norm(values["v"], axis=1, keepdims=True))
    assert np.abs(values["v"]).max() <= (0.01 if reset else 1) * 3 ** (0.5 if reset else -0.5)
    values = begun("WeightNorm", new_module("Linear", [3, 2000], NOWHERE), clones=clones)
    np.testing.assert_allclose(values["g"], np.linalg.norm(values["v"], axis=1))
    assert abs(values["v"].std() - (2 / 3) ** 0.5) < 0.02
    assert not values["bias"].any()


def test_weight_norm_leaves_the_given_module_whole() -> None:
    given = new_module("Linear", [3, 2], NOWHERE)
    normed = new_module("WeightNorm", [given], NOWHERE)
    assert set(given.parameters) == {"weight", "bias"}
    assert normed.children[0].parameters == {"bias": given.parameters["bias"]}


REFUSED = [
    ("CMul", (), "E0420"),
    ("CAdd", (0,), "E0422"),
    ("Add", (), "E0422"),
    ("PartialLinear", (3,), "E0420"),
    ("LinearWeightNorm", (3, 2, True, -1), "E0422"),
    ("LookupTable", (3, 2, 0, 0), "E0422"),
    ("LookupTable", (3, 2, 0, 1, -2), "E0422"),
    ("LookupTable", (3, 2, 0, 1, float("inf")), "E0422"),
    ("Narrow", (1, 0, 1), "E0422"),
    ("Convert", (None, "bf"), "E0422"),
    ("Convert", ("bt", "bf"), "E0422"),
    ("Convert", ("bcc", "bf"), "E0422"),
    ("Convert", ("b*", "bf"), "E0422"),
    ("Copy", ("float",), "E0422"),
    ("Constant", (), "E0420"),
    ("Constant", ("a",), "E0422"),
    ("Constant", (Table(),), "E0422"),
    ("Constant", (Table((1, Table((2, 3)))),), "E0422"),
    ("Constant", (1, -1), "E0422"),
    ("Index", (0,), "E0422"),
    ("Padding", (1, 2, 0), "E0422"),
    ("WeightNorm", (3,), "E0422"),
    ("WeightNorm", (new_module("Tanh", [], NOWHERE),), "E0422"),
    ("WeightNorm", (new_module("Linear", [3, 2], NOWHERE), 3), "E0422"),
]


@pytest.mark.parametrize(("name", "args", "code"), REFUSED, ids=[f"{c[0]}-{i}" for i, c in enumerate(REFUSED)])
def test_arguments_refused(name: str, args: Any, code: str) -> None:
    with pytest.raises(SpecError) as caught:
        new_module(name, args, NOWHERE)
    assert caught.value.code == code


CALLS = [
    ("PartialLinear", (3, 2), "setPartition", ()),
    ("PartialLinear", (3, 2), "setPartition", (Table((3,)),)),
    ("PartialLinear", (3, 2), "setPartition", (Table((1.5,)),)),
    ("PartialLinear", (3, 2), "setPartition", (Table(("a",)),)),
    ("PartialLinear", (3, 2), "setPartition", (Table((float("inf"),)),)),
    ("LookupTable", (3, 2), "setMaxNorm", (-1,)),
    ("LookupTable", (3, 2), "setPadding", ("a",)),
    ("Squeeze", (), "setNumInputDims", (float("nan"),)),
    ("Unsqueeze", (1,), "setNumInputDims", (True,)),
    ("View", (-1,), "resetSize", (-1, -1)),
]


@pytest.mark.parametrize(("name", "args", "method", "given"), CALLS, ids=[f"{c[0]}-{c[2]}-{i}" for i, c in enumerate(CALLS)])
def test_methods_refuse(name: str, args: Any, method: str, given: Any) -> None:
    module = new_module(name, args, NOWHERE)
    assert method in module.record.methods
    with pytest.raises(SpecError) as caught:
        module.record.call(module, method, given, NOWHERE)
    assert caught.value.code == "E0422"


def stepped(module: Any, given: Any, cotangent: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A LookupTable's weight, what it reads, and what comes back to the weight."""
    x = source(*np.shape(given), dtype="int32")
    found = infer(gmodule([x], [connect(module, x, NOWHERE)], NOWHERE), "float64")
    probe = Probe(found, [np.array(given, np.int32)])
    weight = np.random.default_rng(3).standard_normal(module.parameters["weight"].shape)
    point = probe.point({probe.parameters[0].name: weight})
    (y,) = probe.forward(point)
    return weight, y, probe.backward(point, [np.broadcast_to(cotangent, y.shape)])[probe.parameters[0].name]


def test_padding_is_not_trained() -> None:
    weight, y, gradient = stepped(new_module("LookupTable", [3, 2, 2], NOWHERE), [[1, 2], [2, 1]], 1.0)
    np.testing.assert_array_equal(y[0, 1], weight[1])
    np.testing.assert_array_equal(gradient, [[2, 2], [0, 0], [0, 0]])


def test_gradients_of_rows_are_shared_by_how_often_they_are_read() -> None:
    module = new_module("LookupTable", [3, 2], NOWHERE)
    module.record.call(module, "scaleGradByFreq", [], NOWHERE)
    weight, y, gradient = stepped(module, [2, 2, 1, 2], np.array([[1.0], [2], [5], [6]]))
    np.testing.assert_allclose(y[3], weight[1])
    np.testing.assert_allclose(gradient, [[5, 5], [3, 3], [0, 0]])


@pytest.mark.parametrize("p", [1, 2, 3.5])
def test_long_rows_are_read_cut(p: float) -> None:
    weight, y, gradient = stepped(new_module("LookupTable", [3, 4, 0, 1.5, p], NOWHERE), [1, 2, 3], 1.0)
    norms = (np.abs(weight) ** p).sum(axis=1) ** (1 / p)
    assert norms.max() > 1.5
    np.testing.assert_allclose(y, weight * np.minimum(1, 1.5 / norms)[:, None], rtol=1e-6)
    np.testing.assert_array_equal(gradient, np.ones((3, 4)))


def test_a_tensor_of_two_axes_is_an_argument() -> None:
    model = graphspec.compile("""
        local x = nn.Identity{'B', 4}()
        local y = nn.Constant(torch.Tensor{{1, 2, 3}, {4, 5, 6}}, 1)(x)
        return nn.gModule({x}, {y})
    """)
    np.testing.assert_array_equal(model(np.zeros((2, 4))), [[[1, 2, 3], [4, 5, 6]]] * 2)


def test_padding_of_indices_wants_whole_numbers() -> None:
    x = source("B", 3, dtype="int32")
    with pytest.raises(SpecError) as caught:
        infer(gmodule([x], [connect(new_module("Padding", [2, 1, None, 0.5], NOWHERE), x, NOWHERE)], NOWHERE))
    assert caught.value.code == "E0302"


FROM_OUTPUT = [
    # module, arguments, what its output is declared to be, what its input then is
    ("Euclidean", (4, 3), ("T", "B", 3), "[T, B, 4]"),
    ("Cosine", (4, 3), ("B", 3), "[B, 4]"),
    ("PartialLinear", (4, 3), ("B", 3), "[B, 4]"),
    ("LinearWeightNorm", (4, 3), (3,), "[4]"),
    ("CAdd", (3,), ("B", 3), "[B, 3]"),
    ("Max", (2,), ("B", 4), "[B, n, 4]"),
    ("Unsqueeze", (2,), ("B", 1, 4), "[B, 4]"),
    ("Convert", ("chw", "hwc"), ("B", "H", "W", 3), "[B, 3, H, W]"),
    ("Padding", (2, -3), ("B", 9), "[B, 6]"),
    ("Contiguous", (), ("B", 9), "[B, 9]"),
]


@pytest.mark.parametrize(("name", "args", "output", "expected"), FROM_OUTPUT, ids=[c[0] for c in FROM_OUTPUT])
def test_input_from_output(name: str, args: Any, output: Any, expected: str) -> None:
    x = source()
    found = typed([x], declared(use(name, args, x), output))
    assert show(found.inputs) == expected
    assert not found.assumed


def test_tables_type_each_other() -> None:
    a, c = source("T", "B", 4), source()
    found = typed([a, c], use("Bilinear", (4, 2, 3), [a, c]))
    assert (show(found.inputs), show(found.outputs)) == ("[T, B, 4], [T, B, 2]", "[T, B, 3]")
    t, index = source(), source("K", dtype="int32")
    found = typed([t, index], declared(use("Index", (2,), [t, index]), ("B", "K", 5)))
    assert show(found.inputs) == "[B, n, 5], [K]"


FROM_INPUT = [
    ("CMul", (6,), ("B", 2, 3), "[B, 2, 3]"),
    ("Squeeze", (), ("B", 1, 3, 1), "[B, 3]"),
    ("Squeeze", (2,), ("B", "n"), "[B]"),
    ("Squeeze", (2,), ("B", 3), "[B, 3]"),
    ("Squeeze", (None, 2), (1, 1, 3), "[1, 3]"),
    ("Unsqueeze", (1, 1), ("T", "B", 4), "[T, B, 1, 4]"),
    ("Collapse", (2,), ("B", "T", 3), "[B, 3*T]"),
    ("Convert", ("tbf", "bf"), ("T", "B", 3), "[B, 3*T]"),
    ("Narrow", (1, -1, 2), ("T", 3), "[T - 2, 3]"),
    ("Padding", (1, 2, 1), ("B", 3), "[B, 5]"),
    ("Constant", (Table((1, 2)), 1), ("B", 3), "[B, 2]"),
    ("SparseLinear", (9, 4), ("B", "K", 2), "[B, 4]"),
]


@pytest.mark.parametrize(("name", "args", "given", "expected"), FROM_INPUT, ids=[f"{c[0]}-{i}" for i, c in enumerate(FROM_INPUT)])
def test_output_from_input(name: str, args: Any, given: Any, expected: str) -> None:
    x = source(*given)
    assert show(typed([x], use(name, args, x)).outputs) == expected


MISFITS = [
    ("CMul", (5,), [(2, 3)], "sizes 5 do not fit [2, 3]"),
    ("Add", (5,), [("B", 3)], "sizes 5 do not fit [B, 3]"),
    ("Bilinear", (3, 2, 4), [("B", 3), ("B", 4)], "4 vs 2"),
    ("Max", (3,), [("B", 4)], "dimension 3 of a tensor with 2 axes"),
    ("Squeeze", (3,), [("B", 4)], "dimension 3 of a tensor with 2 axes"),
    ("Unsqueeze", (4,), [("B", 4)], "a new axis at position 4 of 2 axes"),
    ("Unsqueeze", (1, 3), [("B", 4)], "at least 3 axes"),
    ("Transpose", (Table((1, 2)),), [(4,)], "dimension 2 of a tensor with 1 axis"),
    ("Convert", ("bchw", "bf"), [("B", 4)], "'bchw' has 4 axes, the tensor has 2"),
    ("Convert", ("bf", "b"), [("B", 4)], "4 vs 1"),
    ("Narrow", (1, -1, 4), [(4, 2)], "an axis of 4"),
    ("Padding", (1, 1, None, 0, 6), [(4, 2)], "index 6 of an axis of 4"),
    ("Index", (1,), [("B", 3), ("B", 2)], "rank 1 is wanted here, got int32 [B, 2]"),
    ("SparseLinear", (9, 4), [("B", 3)], "3 vs 2"),
    ("SparseLinear", (9, 4), [(2,)], "at least 2 axes"),
    ("Narrow", (10**9, 1, 1), [()], "dimension 1000000000 of"),
]


@pytest.mark.parametrize(("name", "args", "inputs", "words"), MISFITS, ids=[f"{c[0]}-{i}" for i, c in enumerate(MISFITS)])
def test_refused_in_plain_words(name: str, args: Any, inputs: Any, words: str) -> None:
    nodes = [source(*dims) for dims in inputs]  # no sizes: not typed
    here = Origin(Span(Source("a.spec", "here"), 0, 4))
    node = connect(new_module(name, list(args), NOWHERE), nodes if len(nodes) > 1 else nodes[0], here)
    with pytest.raises(SpecError) as caught:
        typed(nodes, node)
    assert caught.value.code == "E0302"
    assert words in said(caught.value)


def test_sparse_pairs_of_value_0_count_nothing() -> None:
    x = source(2, 2)
    found = infer(gmodule([x], [connect(new_module("SparseLinear", [3, 2], NOWHERE), x, NOWHERE)], NOWHERE), "float64")
    probe = Probe(found, [np.zeros((2, 2))])
    parameters = probe.draw_parameters(np.random.default_rng(0), 0.5)
    weight, bias = (value for key, value in sorted(parameters.items(), key=lambda item: -item[1].size))
    (name,) = found.input_names
    point = {**probe.point(parameters), name: np.array([[2.0, 3.0], [0.0, 0.0]])}
    np.testing.assert_allclose(probe.forward(point)[0], 3 * weight[:, 1] + bias)
    with pytest.raises(SpecError, match="index 4"):
        probe.forward({**point, name: np.array([[2.0, 3.0], [4.0, 1.0]])})
