"""Sizes: integer polynomials over size letters, in normal form.

A dimension of a tensor is a :class:`Size`: ``128``, ``B``, ``T*B``, ``2*S + 1``.  Two sizes are the same when their
normal forms are; whether two *different* forms are equal for some binding is left to inference (which solves for
letters) and to guards at run time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Union

if TYPE_CHECKING:
    from graphspec_runtime.plan import Expr

Monomial = tuple[tuple[str, int], ...]
"""Letters with their powers, sorted; ``()`` is the constant one."""

SizeLike = Union["Size", int]

USUAL = 50
"""What a size that is not known counts as in a guess."""


@lru_cache(maxsize=4096)
def _text(terms: tuple[tuple[Monomial, int], ...]) -> str:
    """How a size is written; the same few are, again and again, for messages that are hardly ever needed."""
    if not terms:
        return "0"
    parts = []
    for monomial, factor in sorted(terms, key=lambda t: (-sum(p for _, p in t[0]), t[0])):
        letters = [name if power == 1 else f"{name}^{power}" for name, power in monomial]
        sign, number = ("-" if factor < 0 else "+"), abs(factor)
        body = "*".join(([str(number)] if number != 1 or not letters else []) + letters)
        parts.append((sign, body))
    first = ("-" if parts[0][0] == "-" else "") + parts[0][1]
    return first + "".join(f" {sign} {body}" for sign, body in parts[1:])


class Size:
    """An immutable polynomial with integer coefficients.

    >>> B, T = Size.letter("B"), Size.letter("T")
    >>> print(2 * T * B + 1, (T * B).divide(B), (T + 1) * B == B * T + B)
    2*B*T + 1 T True
    """

    __slots__ = ("terms", "_hash")

    terms: tuple[tuple[Monomial, int], ...]

    def __init__(self, terms: Mapping[Monomial, int] | Iterable[tuple[Monomial, int]] = ()) -> None:
        items = terms.items() if isinstance(terms, Mapping) else terms
        self.terms = tuple(sorted((m, c) for m, c in items if c != 0))
        number = self.value
        self._hash = hash(self.terms if number is None else number)  # a size is equal to the number that it is

    @staticmethod
    @lru_cache(maxsize=4096)
    def const(value: int) -> Size:
        return Size((((), int(value)),))

    @staticmethod
    @lru_cache(maxsize=4096)
    def letter(name: str) -> Size:
        return Size(((((name, 1),), 1),))

    @property
    def value(self) -> int | None:
        """The number, when it is one."""
        if not self.terms:
            return 0
        if len(self.terms) == 1 and self.terms[0][0] == ():
            return self.terms[0][1]
        return None

    @property
    def lone(self) -> str | None:
        """The letter, when the size is nothing but one letter."""
        if len(self.terms) == 1:
            monomial, factor = self.terms[0]
            if factor == 1 and len(monomial) == 1 and monomial[0][1] == 1:
                return monomial[0][0]
        return None

    @property
    def letters(self) -> frozenset[str]:
        return frozenset(name for monomial, _ in self.terms for name, _ in monomial)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, int):
            return self.value == other
        return isinstance(other, Size) and self.terms == other.terms

    def __hash__(self) -> int:
        return self._hash

    def __add__(self, other: SizeLike) -> Size:
        total = dict(self.terms)
        for monomial, factor in size(other).terms:
            total[monomial] = total.get(monomial, 0) + factor
        return Size(total)

    __radd__ = __add__

    def __neg__(self) -> Size:
        return Size([(m, -c) for m, c in self.terms])

    def __sub__(self, other: SizeLike) -> Size:
        return self + (-size(other))

    def __rsub__(self, other: SizeLike) -> Size:
        return size(other) - self

    def __mul__(self, other: SizeLike) -> Size:
        total: dict[Monomial, int] = {}
        for m1, c1 in self.terms:
            for m2, c2 in size(other).terms:
                product = _multiply(m1, m2)
                total[product] = total.get(product, 0) + c1 * c2
        return Size(total)

    __rmul__ = __mul__

    def divide(self, other: SizeLike) -> Size | None:
        """The exact quotient, or None when there is none (or ``other`` is 0)."""
        divisor = size(other)
        if not divisor.terms:
            return None
        if len(divisor.terms) > 1:  # long division by the leading term
            return self._long_division(divisor)
        monomial, factor = divisor.terms[0]
        quotient = []
        for m, c in self.terms:
            rest = _quotient(m, monomial)
            if rest is None or c % factor:
                return None
            quotient.append((rest, c // factor))
        return Size(quotient)

    def _long_division(self, divisor: Size) -> Size | None:
        names = sorted(self.letters | divisor.letters)

        def order(term: tuple[Monomial, int]) -> tuple[int, ...]:
            """Lexicographic by powers: products keep this order, so every step removes the highest term for good."""
            powers = dict(term[0])
            return tuple(powers.get(name, 0) for name in names)

        rest, quotient = self, Size()
        lead = Size([max(divisor.terms, key=order)])
        while rest.terms:
            step = Size([max(rest.terms, key=order)]).divide(lead)
            if step is None:
                return None
            quotient, rest = quotient + step, rest - step * divisor
        return quotient

    def substitute(self, values: Mapping[str, SizeLike]) -> Size:
        """The size with letters replaced (letters not named stay)."""
        if not any(name in values for name in self.letters):
            return self
        total = Size()
        for monomial, factor in self.terms:
            product = Size.const(factor)
            for name, power in monomial:
                part = size(values[name]) if name in values else Size.letter(name)
                for _ in range(power):
                    product = product * part
            total = total + product
        return total

    def evaluate(self, values: Mapping[str, int]) -> int:
        """The number for a binding of every letter; KeyError names a letter that is missing."""
        total = 0
        for monomial, factor in self.terms:
            for name, power in monomial:
                factor *= values[name] ** power
            total += factor
        return total

    def guess(self) -> int:
        """A number to decide by what is faster, never what comes out: each letter counts as :data:`USUAL`."""
        return self.evaluate(dict.fromkeys(self.letters, USUAL))

    def __str__(self) -> str:
        return _text(self.terms)

    __repr__ = __str__


def size(value: SizeLike) -> Size:
    """A number or a size, as a size."""
    return value if isinstance(value, Size) else Size.const(value)


def product(sizes: Iterable[SizeLike]) -> Size:
    total = Size.const(1)
    for each in sizes:
        total = total * each
    return total


def to_expr(n: Size) -> Expr:
    """A size as a Plan holds it."""
    value = n.value
    return value if value is not None else tuple((factor, letters) for letters, factor in n.terms)


def to_size(expr: Expr) -> Size:
    """The size that ``to_expr`` made plain data of."""
    return Size.const(expr) if isinstance(expr, int) else Size([(letters, factor) for factor, letters in expr])


def parse_size(text: str) -> Size:
    """The size that ``str`` wrote; ValueError when it is not one."""
    words = re.split(r"\s*([+-])\s*", text.strip())
    if not words[0]:  # a sign comes first
        del words[0]
    else:
        words.insert(0, "+")
    if not words or len(words) % 2:
        raise ValueError(f"not a size: {text!r}")
    total = Size()
    for sign, body in zip(words[::2], words[1::2], strict=True):
        part = Size.const(-1 if sign == "-" else 1)
        for factor in body.split("*"):
            part = part * _factor(factor.strip(), text)
        total = total + part
    return total


def _factor(word: str, text: str) -> Size:
    """A number, a letter, or a letter with a power."""
    if re.fullmatch("[0-9]+", word):
        return Size.const(int(word))
    name, mark, power = word.partition("^")
    letter = "_" + name[1:] if name.startswith("?") and name != "?" else name  # inference's own letters are ?1B, ?2n ...
    if not letter.isidentifier() or (mark and not re.fullmatch("[0-9]+", power)):
        raise ValueError(f"not a size: {text!r}")
    number = int(power or 1)
    return Size([(((name, number),) if number else (), 1)])


def _multiply(a: Monomial, b: Monomial) -> Monomial:
    if not a or not b:
        return a or b
    powers = dict(a)
    for name, power in b:
        powers[name] = powers.get(name, 0) + power
    return tuple(sorted(powers.items()))


def _quotient(a: Monomial, b: Monomial) -> Monomial | None:
    powers = dict(a)
    for name, power in b:
        left = powers.get(name, 0) - power
        if left < 0:
            return None
        if left:
            powers[name] = left
        else:
            del powers[name]
    return tuple(sorted(powers.items()))
