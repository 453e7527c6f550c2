"""A few of the mutants of ``fuzz_specs.py`` and of the programs of ``lua_strategy.py``; long runs are made by hand (CONTRIBUTING.md)."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from fuzz_specs import attempt, complaint, corpus
from lua_strategy import programs

FOUND = (723, 39153, 31132, 61062, 161403, 167302)
"""Mutants that once failed: a dtype that is a table (twice), an infinite index, split of NaN, a node for a number, no argument."""


@pytest.mark.parametrize("first", range(0, 400, 50))
def test_mutants_are_compiled_or_told(first: int) -> None:
    assert {n: found for n in range(first, first + 50) if (found := complaint(n))} == {}


@pytest.mark.parametrize("number", FOUND)
def test_mutants_that_once_failed(number: int) -> None:
    assert complaint(number) is None


def test_what_is_mutated_is_right() -> None:
    assert [name for name, text, entry in corpus() if attempt(text, entry)] == []


@settings(max_examples=200, suppress_health_check=[HealthCheck.large_base_example])
@given(programs(depth=2))
def test_random_programs_are_run_or_told(text: str) -> None:
    failure = attempt(text, None)
    assert failure is None or all(d.span is not None for d in failure.diagnostics)
