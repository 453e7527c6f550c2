"""The solver of sizes: what equations bind, and what they leave open."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphspec.shapes.cells import Cell, Mismatch, Solver
from graphspec.sizes import Size

NAMES = ["A", "B", "C", "?1n", "?2m", "?3k"]
solutions = st.fixed_dictionaries({name: st.integers(1, 7) for name in NAMES})
monomials = st.dictionaries(st.sampled_from(NAMES), st.integers(1, 2), max_size=2).map(lambda powers: tuple(sorted(powers.items())))
sides = st.dictionaries(monomials, st.integers(1, 3), min_size=1, max_size=3).map(Size)


@given(solutions, st.lists(st.tuples(sides, sides, st.booleans()), min_size=1, max_size=5))
def test_what_is_true_is_never_refused_and_only_what_follows_is_concluded(values: dict[str, int], equations: Any) -> None:
    """Equations made to hold for one solution: the solver accepts them, and that solution fits all it learns."""
    solver = Solver()
    for left, right, scaled in equations:
        a, b = left.evaluate(values), right.evaluate(values)
        solver.equate(*((left * b, right * a) if scaled else (left, right + (a - b))))
    solver.settle()
    for letter, value in solver.bindings.items():
        assert value.evaluate(values) == values[letter]
    for equation in solver.pending:
        assert equation.left.evaluate(values) == equation.right.evaluate(values)
        assert solver.one_form(equation.left) == solver.one_form(equation.right)


A, B, N, M = (Size.letter(name) for name in ("A", "B", "?1n", "?2m"))


@pytest.mark.parametrize(("left", "right", "bound"), [
    (N, 2 * B + 1, {"?1n": 2 * B + 1}), (A, N, {"?1n": A}), (2 * N, 6 * A, {"?1n": 3 * A}), (N * B, 3 * A * B, {"?1n": 3 * A}),
    (N + A, B, {"B": N + A}), (N + A, 2 * B, {"?1n": 2 * B - A}), (A + 4, Size.const(10), {"A": Size.const(6)}),
    (2 * A + 1, Size.const(7), {"A": Size.const(3)}),
    (N - 1, A + 2, {"?1n": A + 3}), (2 * A, 3 * B, {}), (A * B, Size.const(12), {}), (A + B, Size.const(12), {}),
    (N * N, Size.const(9), {}),
])  # fmt: skip
def test_what_an_equation_binds(left: Size, right: Size, bound: dict[str, Size]) -> None:
    for a, b in ((left, right), (right, left)):
        solver = Solver()
        solver.equate(a, b)
        found = solver.bindings
        assert found == bound
        assert bool(solver.pending) == (not bound)


IMPOSSIBLE = [(Size.const(3), Size.const(4)), (2 * A, Size.const(5)), (A + 1, A + 2), (A + 8, Size.const(5)), (2 * A + 1, Size.const(4)),
              (4 * A * B, Size.const(6)), (N + 2, Size.const(1)), (6 * B, 36 * B), (N, 2 * N), (A + B, A)]  # fmt: skip


@pytest.mark.parametrize(("left", "right"), IMPOSSIBLE)
def test_what_cannot_be(left: Size, right: Size) -> None:
    for a, b in ((left, right), (right, left)):
        with pytest.raises(Mismatch):
            Solver().equate(a, b)


def test_waiting_equations_are_decided_when_more_is_known() -> None:
    solver = Solver()
    solver.equate(A * B, 12)
    assert solver.pending
    solver.equate(A, 4)
    solver.settle()
    assert solver.bindings["B"] == 3 and not solver.pending
    solver = Solver()
    solver.equate(A * B, 12)
    solver.equate(A, 5)
    with pytest.raises(Mismatch):
        solver.settle()


def test_cells_unify() -> None:
    solver = Solver()
    a, b, c = Cell(), Cell(), Cell()
    solver.set(a, [A, N], "float")
    solver.set(b, [2, M])
    solver.same(b, c)
    solver.same(a, c)
    solver.set(c, [2, 7])
    assert [solver.show(cell) for cell in (a, b, c)] == ["[2, 7]"] * 3
    left, right = Cell(), Cell()
    solver.same(solver.table(left, 2)[1], a)
    solver.same(left, right)
    assert solver.show(right) == "{?, [2, 7]}"
    for wrong in (lambda: solver.table(right, 3), lambda: solver.set(right, [1]), lambda: solver.items(a), lambda: solver.same(a, right),
                  lambda: solver.set(a, [2, 7, 1]), lambda: solver.set(a, dtype="int32"), lambda: solver.set(a, [2, 8])):  # fmt: skip
        with pytest.raises(Mismatch):
            wrong()
