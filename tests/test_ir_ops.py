"""Every primitive, proved by its own samples: values, gradients, odd strides, no elements, text, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from graphspec.autodiff import gradients
from graphspec.check import compare
from graphspec.ir.builder import Builder
from graphspec.ir.core import DTYPES, FLOATS, Port, Program, TensorType, tensor
from graphspec.ir.ops import PRIMITIVES, Case, IRError, Primitive
from graphspec.ir.text import parse_program, print_program, same_program
from graphspec.ir.verify import verify
from graphspec.reference import OPS, interpret
from graphspec.sizes import size
from op_samples import BOOL, FORMULAS, INT, SAMPLES, Array, F, draw, named, number, params, program_of

BODIES = {"scan", "fused"}
"""Have a body, and so no samples in their records: tests/test_ir_scan.py, tests/test_scan.py and tests/test_passes.py are their own."""


# -- records -------------------------------------------------------------------------------------------------------------


def without_samples(records: Mapping[str, Primitive]) -> list[str]:
    return [name for name, record in records.items() if not record.cases and name not in BODIES]


def test_every_record_has_samples_a_meaning_and_a_sentence() -> None:
    assert without_samples(PRIMITIVES) == []
    assert set(OPS) | BODIES == set(PRIMITIVES)
    assert set(FORMULAS) | BODIES | {"random"} == set(PRIMITIVES)
    assert [p.name for p in PRIMITIVES.values() if not p.doc] == []
    values = [(record.name, v) for record, case in SAMPLES for op in program_of(record, case).block.ops for v in (*op.inputs, *op.outputs)]
    assert {name for name, v in values if 0 in v.shape} | BODIES | {"size"} == set(PRIMITIVES)


def test_a_record_without_samples_is_seen() -> None:
    bare = Primitive("bare", "no samples", PRIMITIVES["tanh"].infer)
    assert without_samples({**PRIMITIVES, "bare": bare}) == ["bare"]


@pytest.mark.parametrize("record", PRIMITIVES.values(), ids=lambda r: r.name)
def test_samples_state_every_attribute(record: Primitive) -> None:
    for case in record.cases:
        assert sorted(case.attrs) == sorted(record.takes.split())


def odd_strides(a: Array) -> Array:
    """The same values, axes in reverse order in memory, every second element."""
    room = np.zeros([2 * n for n in reversed(a.shape)], a.dtype).transpose()
    view: Array = room[(*(slice(None, None, 2) for _ in a.shape), ...)]
    view[...] = a
    return view


@pytest.mark.parametrize(("record", "case"), params([(r, c) for r, c in SAMPLES if r.name in FORMULAS]))
def test_value(record: Primitive, case: Case) -> None:
    """Against the plain formula; strided inputs give the same, and no input changes."""
    program, inputs = program_of(record, case), draw(case)
    verify(program)
    wanted = FORMULAS[record.name](case.attrs, *inputs)
    for given in (inputs, [odd_strides(a) for a in inputs]):
        before = [a.copy() for a in given]
        found = interpret(program, named(given)).values()
        for value, v, right in zip(found, program.block.results, wanted if len(found) > 1 else [wanted], strict=True):
            assert value.dtype == v.dtype and value.shape == right.shape
            np.testing.assert_allclose(value, right, rtol=1e-14, atol=1e-14)
            assert not any(np.shares_memory(value, a) for a in given)
        for a, b in zip(given, before, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("source", "value", "target", "wanted"), [
    (F, 2.7, INT, 2), (F, -2.7, "int64", -2), (F, 0.5, BOOL, True), (F, -0.0, BOOL, False),
    (INT, 3, BOOL, True), (BOOL, True, "float32", 1.0),
    (F, 0.1, "float32", float(np.float32(0.1))), ("int64", 2**40, F, 2.0**40), (INT, -1, "int64", -1), ("float32", 1.5, F, 1.5),
])  # fmt: skip
def test_casts(source: str, value: Any, target: str, wanted: Any) -> None:
    program = program_of(PRIMITIVES["cast"], Case((((1,), source),), {"dtype": target}))
    found = interpret(program, {"x0": np.array([value], source)})["y"]
    assert found.dtype == target and found[0] == wanted


# -- gradients -----------------------------------------------------------------------------------------------------------


def float_inputs(case: Case) -> list[int]:
    return [i for i, (_, dtype) in enumerate(case.inputs) if dtype in FLOATS]


DIFFERENTIABLE = [(r, c) for r, c in SAMPLES if r.vjp is not None and float_inputs(c)]


@pytest.mark.parametrize(("record", "case"), params(DIFFERENTIABLE))
def test_gradient_is_that_of_finite_differences(record: Primitive, case: Case) -> None:
    forward, backward, inputs = program_of(record, case), program_of(record, case, backward=True), named(draw(case))
    verify(backward)
    point = {f"x{i}": inputs[f"x{i}"] for i in float_inputs(case)}

    def value(at: Mapping[str, Array]) -> list[Array]:
        return [np.asarray(interpret(forward, {**inputs, **at})["y"], F)]

    def gradient(at: Mapping[str, Array], cotangents: Sequence[Array]) -> dict[str, Array]:
        found = interpret(backward, {**inputs, **at, "d": cotangents[0]})
        return {name: found[f"g{name[1:]}"] for name in at}

    # a cast to float32 moves by its own rounding
    tolerance = 1e-2 if case.attrs.get("dtype") == "float32" else 1e-7
    report = compare(value, gradient, point, tolerance=tolerance)
    assert report.ok, report.to_json()
    assert len(report.entries) == len(point)


@pytest.mark.parametrize(("record", "case"), params([s for s in SAMPLES if s not in DIFFERENTIABLE]))
def test_nothing_flows_through_the_others(record: Primitive, case: Case) -> None:
    assert record.vjp is None or not float_inputs(case)
    assert [port.name for port in program_of(record, case, backward=True).outputs] == ["y"]


def gradient_of(name: str, *inputs: Array, **attrs: Any) -> list[Array]:
    """Gradients for a cotangent of ones."""
    case = Case(tuple((a.shape, str(a.dtype)) for a in inputs), attrs)
    program = program_of(PRIMITIVES[name], case, backward=True)
    d = np.ones(tuple(number(n) for n in program.input("d").shape))
    found = interpret(program, {**named(inputs), "d": d})
    return [value for key, value in found.items() if key[0] == "g"]


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_a_tie_is_shared_by_two(name: str) -> None:
    a, b = np.array([1.0, 2.0, 0.0]), np.array([1.0, 3.0, -0.0])
    larger = np.array([0.5, 1.0 if name == "minimum" else 0.0, 0.5])
    found = gradient_of(name, a, b)
    np.testing.assert_array_equal(found[0], larger)
    np.testing.assert_array_equal(found[1], 1 - larger)


def test_a_tie_is_shared_by_all() -> None:
    (found,) = gradient_of("reduce_max", np.array([[3.0, 1, 3, 3], [0, 0, 0, 0], [1, 2, 1, 1]]), axes=(1,))
    np.testing.assert_array_equal(found, np.array([[1, 0, 1, 1], [0.75] * 4, [0, 3, 0, 0]]) / 3)


def test_of_equals_the_first_is_taken_and_gets_all() -> None:
    (found,) = gradient_of("top_k", np.array([[3.0, 1, 3, 3], [0, 0, 0, 0], [1, 2, 1, 1]]), size=size(2))
    np.testing.assert_array_equal(found, np.array([[1, 0, 1, 0], [1, 1, 0, 0], [1, 1, 0, 0]]))


def test_kinks() -> None:
    np.testing.assert_array_equal(gradient_of("abs", np.array([-2.0, 0, 3]))[0], [-1, 0, 1])
    index = np.array([1, 1, 0], INT)
    np.testing.assert_array_equal(gradient_of("gather", np.zeros((3, 1)), index)[0], [[1], [2], [0]])


def test_a_value_read_twice_gets_both_gradients() -> None:
    b = Builder(dtype=F)
    x = b.param(tensor([3], F), "x")
    y = b.add(b.mul(x, x), x)
    b.block.results = gradients(b, {y: b.full(1, [3])}, [x])  # type: ignore[assignment]
    point = np.array([1.0, -2, 0.5])
    found = interpret(Program(b.block, [Port("x", "input")], [Port("g", "output")]), {"x": point})["g"]
    np.testing.assert_array_equal(found, 2 * point + 1)


# -- text ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize(("record", "case"), params(SAMPLES))
def test_printed_ir_reads_back(record: Primitive, case: Case, backward: bool) -> None:
    program = program_of(record, case, backward and (record, case) in DIFFERENTIABLE)
    text = print_program(program)
    again = parse_program(text)
    assert print_program(again) == text
    assert same_program(again, program)


# -- what is refused -----------------------------------------------------------------------------------------------------

V, M, Z, S = tensor([3], F), tensor([2, 3], F), tensor([3], INT), tensor([], F)
MASK = tensor([3], BOOL)
N = size(2)
STEPS = {"stride": 1, "dilation": 1}
UNARY = "neg exp log log1p sqrt abs tanh sigmoid sign stop_gradient".split()
BINARY = "add sub mul div maximum minimum".split()
REFUSED: dict[str, list[tuple[list[TensorType], dict[str, Any]]]] = {
    **{name: [([V, V], {}), ([MASK], {})] for name in UNARY},
    **{name: [([V], {}), ([V, M], {}), ([V, Z], {}), ([MASK, MASK], {})] for name in BINARY},
    "compare": [([V, V], {"how": "like"}), ([V, Z], {"how": "lt"}), ([V, M], {"how": "lt"}), ([V], {"how": "lt"})],
    "logical": [([V, V], {"how": "and"}), ([MASK, MASK], {"how": "xor"}), ([MASK], {"how": "and"})],
    "where": [([V, V, V], {}), ([MASK, M, M], {}), ([MASK, V, Z], {}), ([MASK, V], {})],
    "cast": [([V], {"dtype": "float16"}), ([V, V], {"dtype": F})],
    "matmul": [([V, V], {}), ([M, M], {}), ([M, tensor([3, 2], "float32")], {}), ([tensor([2, 3], INT), tensor([3, 2], INT)], {}),
               ([tensor([2, 2, 3], F), tensor([3, 3, 2], F)], {}), ([M], {})],
    "gather": [([V, V], {}), ([S, Z], {}), ([V], {})],
    "scatter_add": [([V, V], {"size": N}), ([Z, M], {"size": N}), ([Z, Z], {"size": N}), ([Z, V], {"size": 2}), ([Z], {"size": N})],
    "pick": [([M, Z], {}), ([V, V], {}), ([S, tensor([], INT)], {}), ([V], {})],
    "place": [([Z, M], {"size": N}), ([V, V], {"size": N}), ([Z, Z], {"size": N}), ([Z], {"size": N})],
    "check_index": [([V], {"size": N, "base": 1}), ([Z], {"size": N, "base": 2}), ([Z], {"size": N}), ([Z, Z], {"size": N, "base": 1})],
    "random": [([S, S], {"kind": "normal", "site": 1, "shape": (), "dtype": F}),
               ([tensor([], "int64")], {"kind": "normal", "site": 1, "shape": (), "dtype": F}),
               ([tensor([], "int64")] * 2, {"kind": "cauchy", "site": 1, "shape": (), "dtype": F}),
               ([tensor([], "int64")] * 2, {"kind": "normal", "site": 1, "shape": (), "dtype": INT})],
    "reduce_sum": [([M], {"axes": (2,)}), ([M], {"axes": (0, 0)}), ([MASK], {"axes": (0,)}), ([M], {"axes": 1}), ([M, M], {"axes": (0,)})],
    "reduce_max": [([M], {"axes": (2,)}), ([M], {"axes": (-1,)}), ([MASK], {"axes": (0,)}), ([M], {})],
    "argmax": [([S], {}), ([V, V], {})],
    "top_k": [([S], {"size": N}), ([V], {"size": size(4)}), ([Z], {"size": N}), ([V], {"size": 2}), ([V, V], {"size": N})],
    "cumsum": [([S], {"reverse": False}), ([Z], {"reverse": False}), ([V], {"reverse": 1}), ([V, V], {"reverse": False})],
    "full": [([V], {"value": 1, "shape": (), "dtype": F}), ([], {"value": "1", "shape": (), "dtype": F}),
             ([], {"value": 1, "shape": (2,), "dtype": F}), ([], {"value": 1, "shape": (), "dtype": "complex64"}),
             ([], {"value": 1, "shape": (size(-1),), "dtype": F})],
    "iota": [([V], {"size": N, "dtype": INT}), ([], {"size": 2, "dtype": INT}), ([], {"size": N, "dtype": "int8"})],
    "size": [([V], {"size": N, "dtype": INT}), ([], {"size": 2.0, "dtype": INT})],
    "reshape": [([M], {"shape": (size(5),)}), ([M, M], {"shape": (size(6),)}), ([M], {"shape": 6})],
    "transpose": [([M], {"axes": (0, 0)}), ([M], {"axes": (0,)}), ([M, M], {"axes": (1, 0)})],
    "broadcast": [([V], {"shape": (N, N), "axes": (1,)}), ([M], {"shape": (size(3), N), "axes": (1, 0)}),
                  ([V], {"shape": (size(3),), "axes": (1,)}), ([V], {"shape": (size(3), N), "axes": ()}),
                  ([V, V], {"shape": (size(3),), "axes": (0,)})],
    "slice": [([V], {"axis": 1, "start": N, "length": N}), ([V], {"axis": 0, "start": N, "length": N}),
              ([V], {"axis": 0, "start": size(0), "length": size(-1)}), ([V, V], {"axis": 0, "start": N, "length": size(0)})],
    "pad": [([V], {"axis": 1, "before": N, "after": N}), ([V], {"axis": 0, "before": size(-1), "after": N}),
            ([S], {"axis": 0, "before": N, "after": N}), ([V, V], {"axis": 0, "before": N, "after": N})],
    "windows": [([V], {**STEPS, "axis": 1, "length": N, "size": N}), ([V], {**STEPS, "axis": 0, "length": N, "size": size(3)}),
                ([V], {**STEPS, "axis": 0, "length": N, "size": N, "stride": 0}), ([V, V], {**STEPS, "axis": 0, "length": N, "size": N}),
                ([V], {**STEPS, "axis": 0, "length": N, "size": N, "dilation": 1.0}), ([S], {**STEPS, "axis": 0, "length": N, "size": N})],
    "overlap": [([V], {**STEPS, "axis": 0, "size": size(9)}), ([M], {**STEPS, "axis": 0, "size": size(3)}),
                ([M], {**STEPS, "axis": 1, "size": size(9)}), ([M, M], {**STEPS, "axis": 0, "size": size(9)}),
                ([tensor([2, 3], INT)], {**STEPS, "axis": 0, "size": size(9)}),
                ([M], {**STEPS, "axis": 0, "size": size(9), "dilation": 0})],
    "concat": [([], {"axis": 0}), ([V, M], {"axis": 0}), ([M, M], {"axis": 2}), ([V, Z], {"axis": 0}),
               ([M, tensor([2, 4], F)], {"axis": 0})],
    "shift": [([V, V], {"reverse": False}), ([S, S], {"reverse": False}), ([V, tensor([2, 3], "float32")], {"reverse": False}),
              ([V, M], {"reverse": 0}), ([V], {"reverse": True})],
}  # fmt: skip


def test_every_primitive_refuses_something() -> None:
    assert set(REFUSED) | BODIES == set(PRIMITIVES)


@pytest.mark.parametrize(("name", "types", "attrs"), [(name, *case) for name, cases in REFUSED.items() for case in cases],
                         ids=[f"{name}-{i}" for name, cases in REFUSED.items() for i in range(len(cases))])  # fmt: skip
def test_refused(name: str, types: list[TensorType], attrs: dict[str, Any]) -> None:
    b = Builder()
    with pytest.raises(IRError, match="reduc" if name.startswith("reduce") else name):
        b.emit(name, *(b.param(t) for t in types), **attrs)
    assert not b.block.ops


@pytest.mark.parametrize("dtype", DTYPES)
def test_arithmetic_of_whole_numbers(dtype: str) -> None:
    """What counts and indices are computed with; bools have logical and compare."""
    b = Builder()
    x = b.param(tensor([2], dtype), "x")
    for name in ("add", "sub", "mul", "maximum", "minimum"):
        if dtype == BOOL:
            with pytest.raises(IRError):
                b.one(name, x, x)
        else:
            assert b.one(name, x, x).type == x.type
