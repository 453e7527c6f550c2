"""Containers and modules on tables: types both ways, values at the edges, errors in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphspec
from gradcheck import declared, show, source, typed, use
from graphspec.check import Probe
from graphspec.errors import NOWHERE, SpecError
from graphspec.graph import connect, new_module
from graphspec.program import Typed, forward_program
from graphspec.reference import interpret
from graphspec.samples import Make, made


def through(module: Make, inputs: Any) -> Any:
    """A module, with its children, on nodes."""
    return connect(made(module), inputs, NOWHERE)


def run(found: Typed, *inputs: Any) -> Any:
    arguments = dict(zip(found.input_names, (np.array(x) for x in inputs), strict=True))
    return interpret(forward_program(found, True), {"parameters": np.zeros(0), "seed": 1, "step": 0, **arguments})["output"].tolist()


LINEAR = Make("Linear", (4, 3))


@pytest.mark.parametrize(
    ("module", "output", "expected"),
    [
        (Make("Bottle", (LINEAR,)), ("T", "B", 3), "[T, B, 4]"),
        (Make("Bottle", (LINEAR,)), ("B", 3), "[B, 4]"),
        (Make("Concat", (2,), (LINEAR, LINEAR)), ("B", 6), "[B, 4]"),
        (Make("Parallel", (2, 2), (LINEAR, LINEAR)), ("B", 6), "[B, 2, 4]"),
        (Make("Sequential", (), (Make("ConcatTable", (), (LINEAR, LINEAR)), Make("CMaxTable"))), ("B", 3), "[B, 4]"),
        (Make("Sequential", (), (Make("ConcatTable", (), (LINEAR, LINEAR)), Make("DotProduct"))), ("T", "B"), "[T, B, 4]"),
    ],
)
def test_input_from_output(module: Make, output: Any, expected: str) -> None:
    x = source()
    assert show(typed([x], declared(through(module, x), output)).inputs) == expected


def of_two(name: str, args: Any, n: int, *inputs: Any) -> tuple[Any, list[Any]]:
    """What a module makes of two inputs, and the gradients of the sum of that."""
    a, b = source(n), source(n)
    found = typed([a, b], use(name, args, [a, b]))
    given = [np.array(x, float) for x in inputs]
    probe = Probe(found, given, interpret, training=True)
    point = probe.point(probe.draw_parameters(np.random.default_rng(1), 0.5))
    outs = probe.forward(point)
    gradients = probe.backward(point, [np.ones_like(y) for y in outs])
    return outs[0].tolist(), [gradients[name].tolist() for name in found.input_names]


def test_of_equals_the_first_is_taken() -> None:
    first, second = [1, 2, 3], [1, 3, 2]
    assert of_two("CMaxTable", (), 3, first, second) == ([1, 3, 3], [[1, 0, 1], [0, 1, 0]])
    assert of_two("CMinTable", (), 3, first, second) == ([1, 2, 2], [[1, 1, 0], [0, 0, 1]])


@pytest.mark.parametrize(("name", "args"), [("PairwiseDistance", (p,)) for p in (1, 2, 3, 0.5)] + [("CosineDistance", ())])
def test_vectors_of_zeros_have_no_distance_and_no_gradient(name: str, args: Any) -> None:
    assert of_two(name, args, 2, [0, 0], [0, 0]) == ([0], [[0, 0], [0, 0]])


def test_depth_concat_puts_the_odd_row_of_zeros_behind() -> None:
    x = source(1, 4)
    module = Make("DepthConcat", (1,), (Make("Identity"), Make("Narrow", (2, 1, 1))))
    assert run(typed([x], through(module, x)), [[1.0, 2, 3, 4]]) == [[1, 2, 3, 4], [0, 1, 0, 0]]


def test_kernels_of_a_circular_convolution() -> None:
    x, k = source(4), source(3)
    found = typed([x, k], use("CircularConvolution", (), [x, k]))
    assert run(found, [1.0, 2, 3, 4], [0.0, 1, 0]) == [1, 2, 3, 4]
    assert run(found, [1.0, 2, 3, 4], [1.0, 0, 0]) == [2, 3, 4, 1]
    assert run(found, [1.0, 2, 3, 4], [0.0, 0, 1]) == [4, 1, 2, 3]


@pytest.mark.parametrize(
    ("module", "shapes", "code", "words"),
    [
        ("nn.ConcatTable()", ["B, 3"], "E0302", "no module has been added"),
        ("nn.ParallelTable():add(nn.Tanh())", ["B, 3", "B, 3"], "E0302", "a table of 1"),
        ("nn.Concat(1):add(nn.Linear(3, 2)):add(nn.Linear(3, 4))", ["B, 3"], "E0318", "outputs of the modules"),
        ("nn.DepthConcat(1):add(nn.Identity()):add(nn.Narrow(2, 1, 2))", ["B, N"], "E0313", "not known before the run"),
        ("nn.Parallel(2, 2):add(nn.Linear(3, 2))", ["B, 2, 3"], "E0302", "2 vs 1"),
        ("nn.MapTable(nn.Tanh()):add(nn.Tanh())", ["B, 3", "B, 3"], "E0302", "holds one module: 2"),
        ("nn.MapTable()", ["B, 3", "B, 3"], "E0302", "nothing has been added"),
        ("nn.MapTable(nn.Linear(3, 2), false)", ["B, 3", "B, 3"], "E0302", "1 modules for 2 elements"),
        ("nn.MapTable(nn.Tanh(), false):resize(0)", ["B, 3"], "E0422", "at least 1"),
        ("nn.MapTable(nn.Tanh(), false):resize(1e9)", ["B, 3"], "E0506", "more than 10000"),
        ("nn.MapTable(nn.Tanh()):resize()", ["B, 3"], "E0420", "resize needs n"),
        ("nn.Bottle(nn.Linear(3, 2), 2, 3)", ["B, T, 3"], "E0302", "nOutputDim is 3"),
        ("nn.Bottle(3)", ["B, 3"], "E0422", "must be a module"),
        ("nn.SplitTable(1)", ["1e9, 3"], "E0506", "more than 10000"),
        ("nn.SelectTable(1e9)", [""], "E0313", "is not known"),
        ("nn.ZipTable()", ["B, 3", "B, 3"], "E0302", "a table is wanted"),
        ("nn.PairwiseDistance(-1)", ["B, 3", "B, 3"], "E0422", "more than 0"),
        ("nn.CircularConvolution()", ["B, 3", "B, 4"], "E0302", "a kernel of 4 for a vector of 3"),
        ("nn.OuterProd()", ["B, 3", "B, 3", "B, 3", "B, 3"], "E0302", "two or three vectors"),
        ("nn.MixtureTable(0)", ["B, 3", "B, 3, 4"], "E0422", "counts from 1"),
    ],
)
def test_refused_in_plain_words(module: str, shapes: list[str], code: str, words: str) -> None:
    names = [f"x{i}" for i in range(len(shapes))]
    lines = []
    for name, shape in zip(names, shapes, strict=True):
        dims = ", ".join(f"'{n}'" if n.isalpha() else n for n in shape.split(", ") if n)
        lines.append(f"local {name} = nn.Identity{{{dims}}}()" if dims else f"local {name} = nn.Identity()()")
    given = names[0] if len(names) == 1 else f"{{{', '.join(names)}}}"
    text = "\n".join([*lines, f"return nn.gModule({{{', '.join(names)}}}, {{{module}({given})}})"])
    with pytest.raises(SpecError) as failure:
        graphspec.compile(text)
    assert failure.value.code == code
    assert words in str(failure.value)


def test_a_map_with_parameters_of_its_own() -> None:
    one, own = made(Make("MapTable", (LINEAR,))), made(Make("MapTable", (LINEAR, False), methods=(("resize", (3,)),)))
    assert len(one.all_parameters()) == 2
    assert len(own.all_parameters()) == 6
    assert len(own.clone([], NOWHERE).all_parameters()) == 6
    with pytest.raises(SpecError):
        new_module("MapTable", [3], NOWHERE)
