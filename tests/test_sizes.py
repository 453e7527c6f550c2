"""Sizes: the laws of a commutative ring, substitution, division, and text that reads back."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from graphspec.sizes import Size, parse_size, product, size

NAMES = ["A", "B", "T", "seq_len", "_n", "?1B", "?12n"]
A, B, C = (Size.letter(name) for name in "ABC")

monomials = st.dictionaries(st.sampled_from(NAMES), st.integers(1, 3), max_size=3).map(lambda powers: tuple(sorted(powers.items())))
polynomials = st.dictionaries(monomials, st.integers(-6, 6), max_size=5).map(Size)
numbers = st.fixed_dictionaries({name: st.integers(-4, 9) for name in NAMES})
replacements = st.dictionaries(st.sampled_from(NAMES), polynomials, max_size=3)


def evaluated(n: Size, values: Mapping[str, int]) -> int:
    """The value from the terms, with no arithmetic of Size."""
    total = 0
    for monomial, factor in n.terms:
        for name, power in monomial:
            for _ in range(power):
                factor *= values[name]
        total += factor
    return total


@given(polynomials, polynomials, polynomials)
def test_a_commutative_ring(a: Size, b: Size, c: Size) -> None:
    assert a + b == b + a
    assert a * b == b * a
    assert (a + b) + c == a + (b + c)
    assert (a * b) * c == a * (b * c)
    assert a * (b + c) == a * b + a * c
    assert a + 0 == 0 + a == a * 1 == 1 * a == a
    assert a * 0 == 0
    assert a - b == a + -b == -(b - a)
    assert a - a == 0


@given(polynomials, polynomials, numbers)
def test_arithmetic_is_that_of_the_numbers(a: Size, b: Size, values: dict[str, int]) -> None:
    x, y = evaluated(a, values), evaluated(b, values)
    assert (a + b).evaluate(values) == x + y
    assert (a - b).evaluate(values) == x - y
    assert (a * b).evaluate(values) == x * y
    assert (-a).evaluate(values) == -x
    assert a.evaluate(values) == x


@given(polynomials, polynomials, replacements)
def test_substitution_is_a_homomorphism(a: Size, b: Size, values: dict[str, Size]) -> None:
    assert (a + b).substitute(values) == a.substitute(values) + b.substitute(values)
    assert (a * b).substitute(values) == a.substitute(values) * b.substitute(values)
    assert a.substitute({}) == a
    assert a.substitute({name: Size.letter(name) for name in NAMES}) == a


@given(polynomials, replacements, numbers)
def test_substituting_then_evaluating(a: Size, values: dict[str, Size], last: dict[str, int]) -> None:
    inner = {name: values[name].evaluate(last) if name in values else last[name] for name in NAMES}
    assert a.substitute(values).evaluate(last) == a.evaluate(inner)
    assert a.substitute(last) == a.evaluate(last)


def test_substitution_is_simultaneous() -> None:
    assert (A + 2 * B).substitute({"A": B, "B": A}) == B + 2 * A


@given(polynomials)
def test_printed_text_reads_back(a: Size) -> None:
    assert parse_size(str(a)) == a
    assert str(parse_size(str(a))) == str(a)


@given(polynomials, polynomials)
def test_equal_sizes_have_one_normal_form(a: Size, b: Size) -> None:
    twin = b + a - b
    assert twin == a and twin.terms == a.terms and hash(twin) == hash(a) and str(twin) == str(a)


@given(st.integers(-9, 9))
def test_a_constant_is_its_number(n: int) -> None:
    assert Size.const(n) == n and hash(Size.const(n)) == hash(n) and Size.const(n).value == n
    assert len({size(n), n, Size.const(n)}) == 1
    assert A + n - A == n


@given(polynomials, polynomials)
def test_a_product_divides_exactly(a: Size, b: Size) -> None:
    assume(b != 0)
    assert (a * b).divide(b) == a


@given(polynomials, polynomials)
def test_a_quotient_times_the_divisor(a: Size, b: Size) -> None:
    quotient = a.divide(b)
    assert quotient is None or quotient * b == a


NO_QUOTIENT = [(A, B), (A + 1, A), (A * A + 1, A + 1), (3 * A, Size.const(2)), (A, Size()), (Size.const(1), A), (A + B, A - B)]


@pytest.mark.parametrize(("a", "b"), NO_QUOTIENT)
def test_no_exact_quotient(a: Size, b: Size) -> None:
    assert a.divide(b) is None


def test_division_by_several_terms() -> None:
    assert ((A + B) * (A + 2 * B)).divide(A + B) == A + 2 * B
    assert (A * A - B * B).divide(A - B) == A + B
    assert Size().divide(A + B) == 0


def test_what_is_known_of_a_size() -> None:
    assert (A.value, Size().value, (A - A + 3).value, (A + 1).value) == (None, 0, 3, None)
    assert (A.lone, (2 * A).lone, (A * A).lone, (A * B).lone, Size.const(1).lone) == ("A", None, None, None, None)
    assert (A * B - C + 2).letters == {"A", "B", "C"}
    assert (A - A).letters == frozenset()
    assert product([2, A, B + 1]) == 2 * A * B + 2 * A
    assert product([]) == 1
    with pytest.raises(KeyError, match="B"):
        (A * B).evaluate({"A": 2})


TEXTS = {
    "2*B*T + 1": 2 * B * Size.letter("T") + 1,
    "-A + 3": 3 - A,
    "A^2 - B": A * A - B,
    "0": Size(),
    " A*A ": A * A,
    "A-B": A - B,
    "A^0": Size.const(1),
    "2*3*A": 6 * A,
}


@pytest.mark.parametrize("text", TEXTS)
def test_texts(text: str) -> None:
    assert parse_size(text) == TEXTS[text]


WRONG = "|+|A +|A B|A 2|2 A|A + - B|--A|*A|A*|A**B|A^|A^B|A^-1|2^3|A^1.5|1.5|2A|²|(A)|?|A,B".split("|")


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="not a size"):
        parse_size(text)


@given(st.text(alphabet="AB?_ 0129+-*^.,", max_size=12))
def test_any_text_is_a_size_or_a_value_error(text: str) -> None:
    try:
        found = parse_size(text)
    except ValueError:
        return
    assert parse_size(str(found)) == found
