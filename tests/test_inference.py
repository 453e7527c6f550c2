"""Inference on whole specs: types from both directions, size polynomials, errors with code and line, guards at run time."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import graphspec
from gradcheck import use
from graphspec.errors import NOWHERE, SpecError
from graphspec.graph import Record, connect, gmodule
from graphspec.ir.verify import verify
from graphspec.nn import registry
from graphspec.open import open_spec, pick_module
from graphspec.program import Typed, assumptions, backward_program, forward_program, infer, named_parameters
from graphspec.samples import LETTERS, declare, leaves_of, module_of, nested


def typed(text: str, signature: Any = None) -> Typed:
    module = pick_module(open_spec(text))
    named_parameters(module)
    return infer(module, "float64", signature)


def show(tree: Any) -> str:
    """Types as text, nested as in the spec."""
    if isinstance(tree, tuple):
        return "{" + ", ".join(map(show, tree)) + "}"
    return ("" if tree.is_float else f"{tree.dtype} ") + "[" + ", ".join(map(str, tree.shape)) + "]"


def refusals(text: str) -> list[tuple[str, int]]:
    """Code and line of everything that is wrong."""
    with pytest.raises(SpecError) as caught:
        typed(text)
    assert all(d.span is not None for d in caught.value.diagnostics)
    return [(d.code, d.span.line) for d in caught.value.diagnostics if d.span is not None]


# -- types ---------------------------------------------------------------------------------------------------------------

CELL = """
local x, h = nn.Identity()(), nn.Identity()()
local n = nn.Tanh()(nn.CAddTable()({nn.Linear(3, 4)(x), nn.Linear(4, 4)(h)}))
local cell = nn.gModule({x, h}, {nn.Linear(4, 2)(n), n})
"""

TYPES = {
    # what, the spec, its inputs and outputs
    "forwards": ("""
local x = nn.Identity{'B', 5}()
return nn.gModule({x}, {nn.Linear(4, 2)(nn.Tanh()(nn.Linear(5, 4)(x)))})""", "[B, 5] -> [B, 2]"),
    "any number of leading axes": ("""
local x = nn.Identity{'N', 'T', 'B', 5}()
return nn.gModule({x}, {nn.Linear(5, 4)(x)})""", "[N, T, B, 5] -> [N, T, B, 4]"),
    "backwards through modules that keep the shape": ("""
local x = nn.Identity()()
return nn.gModule({x}, {nn.Identity{'T', 'B', 6}(nn.Sigmoid()(nn.Tanh()(x)))})""", "[T, B, 6] -> [T, B, 6]"),
    "backwards through a Linear": ("""
local x = nn.Identity()()
return nn.gModule({x}, {nn.Identity{'T', 'B', 6}(nn.Linear(5, 6)(x))})""", "[T, B, 5] -> [T, B, 6]"),
    "sideways": ("""
local a, b = nn.Identity()(), nn.Identity{'T', 'B', 7}()
return nn.gModule({a, b}, {nn.CMulTable()({nn.Tanh()(a), b})})""", "{[T, B, 7], [T, B, 7]} -> [T, B, 7]"),
    "up one branch and down another": ("""
local x = nn.Identity()()
local left, right = nn.Tanh()(x), nn.Identity{'A', 'B', 3}(nn.Sigmoid()(x))
return nn.gModule({x}, {left, right})""", "[A, B, 3] -> {[A, B, 3], [A, B, 3]}"),
    "a nested table": ("""
local t = nn.Identity()()
local a, rest = t:split(2)
local b, c = rest:split(2)
local rows = nn.LookupTable(9, 4)(nn.Identity{'S', dtype = 'int32'}(c))
return nn.gModule({t}, {nn.Linear(3, 2)(nn.Identity{'B', 3}(a)), nn.CAddTable()({b, rows})})""",
                       "{[B, 3], {[S, 4], int32 [S]}} -> {[B, 2], [S, 4]}"),
    "pieces of a SplitTable": ("""
local x = nn.Identity{'B', 8}()
local a, b = nn.SplitTable(2)(nn.View(-1, 2, 4)(x)):split(2)
return nn.gModule({x}, {a, nn.Linear(4, 3)(b)})""", "[B, 8] -> {[B, 4], [B, 3]}"),
    "how many pieces a SplitTable has": ("""
local x = nn.Identity()()
local a, b, c = nn.SplitTable(1)(x):split(3)
return nn.gModule({x}, {nn.CAddTable()({a, b, nn.Identity{'B', 5}(c)})})""", "[3, B, 5] -> [B, 5]"),
    "a letter that is solved": ("""
local x = nn.Identity{'B', 'n'}()
return nn.gModule({x}, {nn.Linear(4, 2)(x)})""", "[B, 4] -> [B, 2]"),
    "two letters that are one": ("""
local a, b = nn.Identity{'B', 'n'}(), nn.Identity{'B', 'm'}()
return nn.gModule({a, b}, {nn.CAddTable()({a, b})})""", "{[B, m], [B, m]} -> [B, m]"),
    "one graph at two sizes": ("""
local x = nn.Identity()()
local half = nn.gModule({x}, {nn.Tanh()(x)})
local a, b = nn.Identity{'B', 3}(), nn.Identity{'S', 'B', 4}()
return nn.gModule({a, b}, {half(a), half(b)})""", "{[B, 3], [S, B, 4]} -> {[B, 3], [S, B, 4]}"),
    "a graph's letters are its own": ("""
local x = nn.Identity{'B', 'n'}()
local inner = nn.gModule({x}, {nn.Transpose({1, 2})(x)})
local a, b = nn.Identity{'B', 3}(), nn.Identity{5, 'B'}()
return nn.gModule({a, b}, {inner(a), inner(b)})""", "{[B, 3], [5, B]} -> {[3, B], [B, 5]}"),
    "backwards into a graph": ("""
local x = nn.Identity()()
local inner = nn.gModule({x}, {nn.Tanh()(x)})
local a = nn.Identity()()
return nn.gModule({a}, {nn.Identity{2, 'B'}(inner(inner(a)))})""", "[2, B] -> [2, B]"),
    "a scan forwards": (CELL + """
local xs = nn.Identity{'T', 'B', 3}()
local ys, last = nn.Scan(cell)(xs):split(2)
return nn.gModule({xs}, {ys, last})""", "[T, B, 3] -> {[T, B, 2], [B, 4]}"),
    "a scan backwards, from its ys": (CELL + """
local xs = nn.Identity()()
local ys, last = nn.Scan(cell)(xs):split(2)
return nn.gModule({xs}, {nn.Identity{7, 'B', 2}(ys), last})""", "[7, B, 3] -> {[7, B, 2], [B, 4]}"),
    "a scan backwards, from its last state": (CELL + """
local xs = nn.Identity{'T', 'N', 'n'}()
local ys, last = nn.Scan(cell)(xs):split(2)
return nn.gModule({xs}, {ys, nn.Identity{5, 4}(last)})""", "[T, 5, 3] -> {[T, 5, 2], [5, 4]}"),
    "one cell in two scans": (CELL + """
local a, b = nn.Identity{'T', 'B', 3}(), nn.Identity{'S', 2, 3}()
local ya, la = nn.Scan(cell)(a):split(2)
local yb, lb = nn.Scan(cell, {reverse = true})(b):split(2)
return nn.gModule({a, b}, {ya, la, yb, lb})""", "{[T, B, 3], [S, 2, 3]} -> {[T, B, 2], [B, 4], [S, 2, 2], [2, 4]}"),
}  # fmt: skip
MERGING = ("two letters that are one", "a scan backwards, from its last state")
"""In these a declared letter is another one, or a number, which is told."""


@pytest.mark.parametrize("case", TYPES)
def test_types(case: str) -> None:
    text, wanted = TYPES[case]
    found = typed(text)
    assert f"{show(found.inputs)} -> {show(found.outputs)}" == wanted
    assert not found.assumed and [d.code for d in assumptions(found)] == ["W0311"] * (case in MERGING)
    for program in (forward_program(found, True), backward_program(found, True)):
        verify(program)
        assert not program.guards


POLYNOMIALS = {
    "a sum": ("nn.JoinTable(1)({a, b})", "[S + T, B, 3]"),
    "twice the same": ("nn.JoinTable(1)({a, b, nn.Tanh()(a)})", "[S + 2*T, B, 3]"),
    "a product": ("nn.JoinTable(1)({nn.View(-1, 3)(a), nn.View(-1, 3)(b)})", "[B*S + B*T, 3]"),
    "a product of a sum": ("nn.View(-1)(nn.JoinTable(1)({a, b}))", "[3*B*S + 3*B*T]"),
    "a factor taken out": ("nn.View(-1, 3)(nn.JoinTable(1)({a, b}))", "[B*S + B*T, 3]"),
    "all but a letter": ("nn.View('B', -1)(nn.Transpose({1, 2})(nn.JoinTable(1)({a, b})))", "[B, 3*S + 3*T]"),
    "a difference": ("nn.JoinTable(1)({nn.Narrow(1, 3, -1)(a), b})", "[S + T - 2, B, 3]"),
    "a square": ("nn.View(-1)(nn.MM(false, true)({nn.Select(3, 1)(a), nn.Select(3, 2)(a)}))", "[T^2]"),
}


@pytest.mark.parametrize("case", POLYNOMIALS)
def test_polynomials(case: str) -> None:
    """Sizes as polynomials in the letters of the inputs, and the arrays that come out have them."""
    expression, wanted = POLYNOMIALS[case]
    both = "a, b" if "b" in re.findall(r"\b[ab]\b", expression) else "a"
    text = f"local a, b = nn.Identity{{'T', 'B', 3}}(), nn.Identity{{'S', 'B', 3}}()\nreturn nn.gModule({{{both}}}, {{{expression}}})"
    found = typed(text)
    assert show(found.outputs) == wanted
    arrays = [np.ones((4, 2, 3)), np.ones((5, 2, 3))][: both.count(",") + 1]
    y = graphspec.compile(text)(*arrays)
    assert y.shape == tuple(n.evaluate({"T": 4, "S": 5, "B": 2}) for n in found.outputs.shape)


BACKWARDS = {
    "the rest of a sum": ("{'B', 'n'}", "{'B', 4}", "nn.Linear(10, 2)(nn.JoinTable(2)({a, b}))", "{[B, 6], [B, 4]}"),
    "half of an even size": ("{'B', 'n'}", "{'B', 6}", "nn.CAddTable()({nn.JoinTable(2)({a, nn.Tanh()(a)}), b})", "{[B, 3], [B, 6]}"),
    "a quotient": ("{'B', 'n'}", "{'B', 2, 3}", "nn.CAddTable()({nn.View('B', 2, 3)(a), b})", "{[B, 6], [B, 2, 3]}"),
    "a sum of letters": ("{'B', 'n', 2}", "{'B', 'm'}", "nn.CAddTable()({nn.View('B', -1)(a), b})", "{[B, n, 2], [B, 2*n]}"),
    "a square": ("{'n', 'n'}", "{'m'}", "nn.CAddTable()({nn.View(-1)(a), b})", "{[n, n], [n^2]}"),
}


@pytest.mark.parametrize("case", BACKWARDS)
def test_equations_are_solved(case: str) -> None:
    a, b, expression, wanted = BACKWARDS[case]
    found = typed(f"local a, b = nn.Identity{a}(), nn.Identity{b}()\nreturn nn.gModule({{a, b}}, {{{expression}}})")
    assert show(found.inputs) == wanted
    assert not forward_program(found, False).guards


# -- assumptions ---------------------------------------------------------------------------------------------------------

ASSUMED = {
    "a source that nothing types": ("local x = nn.Identity()()\nreturn nn.gModule({x}, {nn.Tanh()(x)})", "[B, n] -> [B, n]"),
    "a size that is known": ("local x = nn.Identity()()\nreturn nn.gModule({x}, {nn.Linear(5, 4)(x)})", "[B, 5] -> [B, 4]"),
    "indices": ("local x = nn.Identity()()\nreturn nn.gModule({x}, {nn.LookupTable(5, 3)(x)})", "int32 [B] -> [B, 3]"),
    "the xs of a scan": (CELL + "local xs = nn.Identity()()\nlocal ys, last = nn.Scan(cell)(xs):split(2)\n"
                         "return nn.gModule({xs}, {ys, last})",
                         "[T, B, 3] -> {[T, B, 2], [B, 4]}"),
}  # fmt: skip


@pytest.mark.parametrize("case", ASSUMED)
def test_what_nobody_types_is_assumed_and_said(case: str) -> None:
    text, wanted = ASSUMED[case]
    found = typed(text)
    assert f"{show(found.inputs)} -> {show(found.outputs)}" == wanted
    assert found.assumed and [d.code for d in assumptions(found)] == ["W0306"]


@pytest.mark.parametrize(("signature", "wanted"), [(1, "[5] -> [4]"), (3, "[B, n, 5] -> [B, n, 4]"), (4, "[B, n, m, 5] -> [B, n, m, 4]")])
def test_a_call_of_another_rank_types_anew(signature: Any, wanted: str) -> None:
    text = "local x = nn.Identity()()\nreturn nn.gModule({x}, {nn.Linear(5, 4)(x)})"
    found = typed(text, signature)
    assert f"{show(found.inputs)} -> {show(found.outputs)}" == wanted and not assumptions(found)
    assert graphspec.compile(text)(np.ones((2, 3, 5)[-signature:] if signature < 4 else (1, 2, 3, 5))).shape[-1] == 4


# -- errors --------------------------------------------------------------------------------------------------------------

ERRORS = {
    "a size from above": ("""
local x = nn.Identity{'B', 5}()
return nn.gModule({x}, {nn.Linear(4, 2)(x)})""", [("E0302", 3)]),
    "a size from below": ("""
local x = nn.Identity()()
local h = nn.Linear(5, 4)(x)
return nn.gModule({x}, {nn.Identity{'B', 3}(h)})""", [("E0302", 3)]),
    "a size around a corner": ("""
local x = nn.Identity()()
local left = nn.Linear(5, 4)(x)
local right = nn.Linear(6, 4)(x)
return nn.gModule({x}, {left, right})""", [("E0302", 4)]),
    "unequal branches": ("""
local x = nn.Identity{'B', 5}()
local left = nn.Linear(5, 4)(x)
local right = nn.Linear(5, 3)(x)
return nn.gModule({x}, {
  nn.CAddTable()({left, right})})""", [("E0301", 6)]),
    "unequal ranks": ("""
local x, y = nn.Identity{'B', 3}(), nn.Identity{'B', 'T', 3}()
return nn.gModule({x, y}, {nn.CAddTable()({x, y})})""", [("E0301", 3)]),
    "an index as a float": ("""
local x = nn.Identity()()
local rows = nn.LookupTable(5, 3)(x)
return nn.gModule({x}, {rows,
  nn.Linear(3, 3)(x)})""", [("E0302", 5)]),
    "a table as a tensor": ("""
local x = nn.Identity()()
local a, b = x:split(2)
return nn.gModule({x}, {nn.Linear(2, 2)(x), a, b})""", [("E0302", 4)]),
    "a split of another number": ("""
local x, y = nn.Identity()(), nn.Identity()()
local a, b, c = nn.Identity()({x, y}):split(3)
return nn.gModule({x, y}, {a, b, c})""", [("E0303", 3)]),
    "two declarations": ("""
local x = nn.Identity{'B', 3}()
return nn.gModule({x}, {nn.Identity{'B', 4}(x)})""", [("E0302", 3)]),
    "an odd size that would have to be even": ("""
local x, y = nn.Identity{'B', 'n'}(), nn.Identity{'B', 5}()
local twice = nn.JoinTable(2)({x, nn.Tanh()(x)})
return nn.gModule({x, y}, {nn.CAddTable()({twice, y})})""", [("E0301", 4)]),
    "an odd size and one more": ("""
local x, y = nn.Identity{'B', 'n'}(), nn.Identity{'B', 1}()
local twice = nn.JoinTable(2)({x, nn.Tanh()(x), y})
return nn.gModule({x, y}, {nn.Linear(4, 2)(twice)})""", [("E0302", 4)]),
    "a size that would be negative": ("""
local x, y = nn.Identity{'B', 'n'}(), nn.Identity{'B', 8}()
return nn.gModule({x, y}, {nn.Linear(5, 2)(nn.JoinTable(2)({x, y}))})""", [("E0302", 3)]),
    "a letter that nothing fixes": ("""
local x = nn.Identity{'B', 3}()
return nn.gModule({x}, {nn.Replicate('Z', 1)(x)})""", [("E0305", 3)]),
    "a -1 that nothing decides": ("""
local x = nn.Identity{'B', 'T', 'n'}()
return nn.gModule({x}, {nn.View('B', -1, 5)(x)})""", [("E0313", 3)]),
    "all mistakes at once": ("""
local x = nn.Identity{'B', 5}()
local a = nn.Linear(4, 2)(x)
local b = nn.Linear(6, 2)(x)
return nn.gModule({x}, {a, b})""", [("E0302", 3), ("E0302", 4)]),
    "one mistake of a loop once": ("""
local x, ys = nn.Identity{'B', 4}(), {}
for i = 1, 3 do
  ys[i] = nn.Linear(5, 2)(x)
end
return nn.gModule({x}, ys)""", [("E0302", 4)]),
    "inside a function": ("""
local function layer(x)
  return nn.Linear(4, 4)(x)
end
local x = nn.Identity{'B', 5}()
return nn.gModule({x}, {layer(x)})""", [("E0302", 3)]),
    "inside a graph, at one of its uses": ("""
local x = nn.Identity()()
local inner = nn.gModule({x}, {nn.Linear(4, 4)(x)})
local a, b = nn.Identity{'B', 4}(), nn.Identity{'B', 5}()
return nn.gModule({a, b}, {inner(a), inner(b)})""", [("E0302", 3)]),
    "inside a cell": (CELL + """
local xs = nn.Identity{'T', 'B', 2}()
local ys, last = nn.Scan(cell)(xs):split(2)
return nn.gModule({xs}, {ys, last})""", [("E0302", 3)]),
    "a state that changes its size": ("""
local x, h = nn.Identity{'B', 3}(), nn.Identity{'B', 4}()
local n = nn.Linear(7, 5)(nn.JoinTable(2)({x, h}))
local cell = nn.gModule({x, h}, {nn.Tanh()(n), n})
local xs = nn.Identity{'T', 'B', 3}()
local ys, last = nn.Scan(cell)(xs):split(2)
return nn.gModule({xs}, {ys, last})""", [("E0302", 3)]),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors(case: str) -> None:
    text, wanted = ERRORS[case]
    assert refusals(text) == wanted


# -- guards --------------------------------------------------------------------------------------------------------------

GUARDS = {
    # what, the spec, the guard as it stands in IR, shapes that keep it, shapes that break it, its line
    "a sum that is a number": ("""
local a, b = nn.Identity{'B', 'n'}(), nn.Identity{'B', 'm'}()
return nn.gModule({a, b}, {nn.Linear(10, 2)(nn.JoinTable(2)({a, b}))})""", "m + n == 10", [(2, 4), (2, 6)], [(2, 4), (2, 7)], 3),
    "multiples": ("""
local a, b = nn.Identity{'B', 'n'}(), nn.Identity{'B', 'm'}()
local two, three = nn.JoinTable(2)({a, nn.Tanh()(a)}), nn.JoinTable(2)({b, nn.Tanh()(b), nn.Sigmoid()(b)})
return nn.gModule({a, b}, {
  nn.CAddTable()({two, three})})""", "2*n == 3*m", [(1, 3), (1, 2)], [(1, 4), (1, 2)], 5),
    "a part that must be there": ("""
local a = nn.Identity{'T', 'B'}()
return nn.gModule({a}, {nn.Narrow(1, 2, 3)(a)})""", "4 <= T", [(4, 1)], [(3, 1)], 3),
    "a view": ("""
local a, b = nn.Identity{'n', 'm'}(), nn.Identity{'k', 'l'}()
return nn.gModule({a, b}, {nn.CAddTable()({
  nn.View(-1)(a), nn.View(-1)(b)})})""", "m*n == k*l", [(4, 3), (2, 6)], [(4, 3), (2, 5)], 3),
}  # fmt: skip


@pytest.mark.parametrize("case", GUARDS)
def test_guards_are_checked_when_arrays_come(case: str) -> None:
    text, guard, good, bad, line = GUARDS[case]
    program = forward_program(typed(text), True)
    sides = {f"{g.left} {'<=' if g.at_most else '=='} {g.right}" for g in program.guards}
    left, relation, right = guard.partition(" == ")
    assert sides == {guard} or sides == {f"{right}{relation}{left}"}
    model = graphspec.compile(text, dtype="float64")
    for _ in range(2):
        assert np.all(np.isfinite(flat(model(*map(np.ones, good)))))
        with pytest.raises(SpecError) as caught:
            model(*map(np.ones, bad))
        assert caught.value.code == "E0311"
        span = caught.value.diagnostics[0].span
        assert span is not None and span.line == line
    outputs = model(*map(np.ones, good))
    gradients = model.backward([np.ones(shape) for shape in good] if len(good) > 1 else np.ones(good[0]), outputs)
    assert [g.shape for g in (gradients if isinstance(gradients, (list, tuple)) else [gradients])] == good


def flat(tree: Any) -> np.ndarray[Any, Any]:
    return np.concatenate([flat(item) for item in tree]) if isinstance(tree, (list, tuple)) else np.ravel(tree)


JOINED = [record for name, record in sorted(registry.items()) if name not in ("gModule", "Scan")]


@pytest.mark.parametrize("record", JOINED, ids=lambda r: r.name)
def test_sizes_that_only_a_guard_makes_equal_reach_every_record(record: Record) -> None:
    """Each axis of each float input in turn as the sum of two letters: typed and lowered, or refused; IR is never ill-typed."""
    for sample in record.samples:
        leaves = leaves_of(sample.inputs)
        for chosen, axis in [(leaf, axis) for leaf in leaves if not leaf.index for axis in range(len(leaf.shape))]:
            names, sources, own = iter(LETTERS), [], []
            for leaf in leaves:
                shapes = [[next(names) if i == axis else n for i, n in enumerate(leaf.shape)] for _ in range(2)]
                parts = [declare(leaf, shape) for shape in shapes] if leaf is chosen else [declare(leaf, leaf.shape)]
                own.append(use("JoinTable", (axis + 1,), parts) if leaf is chosen else parts[0])
                sources += parts
            graph = gmodule(sources, [connect(module_of(record, sample), nested(sample.inputs, own), NOWHERE)], NOWHERE)
            try:
                found = infer(graph, "float64")
            except SpecError as refused:
                assert refused.code in ("E0302", "E0313")  # noqa: PT017
                continue
            named_parameters(graph)
            verify(forward_program(found, not sample.evaluate))


LAST = "`nn\\.Select\\(1, 1\\)` after it"
RANKS = [
    ("cost, nn.Mean(1)(nn.Mean(1)(x))", rf"E0301.*\[\] has 0 axes, \[1\] has 1.*help: .*{LAST}"),
    ("cost, nn.MulConstant(2)(nn.Mean(1)(nn.Mean(1)(nn.Linear(3, 2)(z))))",
     rf"E0302\]: nn\.Mean: its output does not fit.*:3:68.*wants \[\].*\[1\] comes out of it, where \[\] is wanted.*{LAST}"),
]  # fmt: skip


@pytest.mark.parametrize(("sum", "told"), RANKS, ids=["at once", "from behind"])
def test_a_vector_of_one_beside_a_number(sum: str, told: str) -> None:
    """The mean of a vector is a vector of one in Torch, and the loss is none: told at the mean, with what makes a number of it."""
    text = "local x, z = nn.Identity{'B', 3}(), nn.Identity()()\nlocal cost = nn.MSECriterion()({x, nn.Tanh()(x)})\n"
    text += "return nn.gModule({x, z}, {nn.CAddTable()({%s}), z})"
    with pytest.raises(SpecError) as caught:
        typed(text % sum)
    assert re.search(told, str(caught.value), re.S), str(caught.value)
    mended = re.sub(r"nn\.Mean\(1\)\((nn\.Mean\(1\)\(.*\))\)", r"nn.Select(1, 1)(nn.Mean(1)(\1))", sum)
    assert show(typed(text % mended).outputs).startswith("{[], ")
