"""What inference knows of the value on an edge, and how two such pieces of knowledge are made one.

A :class:`Cell` is unknown, a tensor (with a known rank; its sizes may hold unknown letters), or a table of cells.
:class:`Solver` unifies cells and sizes: a lone letter takes the other side's value; sums and products with one unknown are
solved; what cannot be decided is kept, and becomes a run-time guard if it never is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Union

from graphspec.errors import NOWHERE, Origin
from graphspec.sizes import Size, SizeLike, size

FLOAT = "float"
"""The dtype of a value that has the model's float type, whichever it is."""

UNKNOWN = "?"
"""First character of letters that inference made up."""


class Cell:
    """A node of a union-find forest; ask :meth:`Solver.find` for its representative."""

    __slots__ = ("link", "dims", "items", "dtype", "note", "origin")

    def __init__(self) -> None:
        self.link: Cell | None = None
        self.dims: tuple[Size, ...] | None = None
        self.items: list[Cell] | None = None
        self.dtype: str | None = None
        self.note = ""
        """How it came by its type, when it was assumed."""
        self.origin = NOWHERE
        """What stated its rank first."""


CellTree = Union[Cell, Sequence["CellTree"]]


class Mismatch(Exception):
    """Two types that cannot be one.  ``axis`` (from 0) tells where two shapes differ; None when it is not about one size.

    Of a tensor that has another rank ``cell`` is the tensor, and ``wanted`` what it should have been; ``table``: it is about how many
    elements a table has.
    """

    def __init__(self, message: str, axis: int | None = None, left: Size | None = None, right: Size | None = None,
                 cell: Cell | None = None, wanted: Sequence[Size] = (), table: bool = False) -> None:  # fmt: skip
        super().__init__(message)
        self.message = message
        self.axis = axis
        self.left = left
        self.right = right
        self.cell = cell
        self.wanted = wanted
        self.table = table


@dataclass
class Pending:
    """An equation of sizes that is not decided yet."""

    left: Size
    right: Size
    origin: Origin


class Solver:
    """Cells and letters with what is known of them."""

    def __init__(self) -> None:
        self.bindings: dict[str, Size] = {}
        self.bound_at: dict[str, Origin] = {}
        """For each letter that is bound: what stated that."""
        self.pending: list[Pending] = []
        self.bounds: list[Pending] = []
        self.changes = 0
        self.origin: Origin = NOWHERE
        self._count = 0

    # -- sizes ---------------------------------------------------------------------------------------------------

    def letter(self, hint: str = "n") -> Size:
        """A new unknown size; ``hint`` is how it would like to be called."""
        self._count += 1
        return Size.letter(f"{UNKNOWN}{self._count}{hint}")

    def resolve(self, n: Size) -> Size:
        """The size with everything known put in."""
        while any(name in self.bindings for name in n.letters):
            n = n.substitute(self.bindings)
        return n

    def equate(self, left: SizeLike, right: SizeLike, axis: int | None = None) -> None:
        """State that two sizes are equal; Mismatch when they cannot be."""
        a, b = self.resolve(size(left)), self.resolve(size(right))
        if a == b:
            return
        if (nothing := _of_nothing(a, b)) or not self._solve(a, b):
            if nothing or (a - b).value is not None or _impossible(a, b):
                raise Mismatch(f"{show(a)} vs {show(b)}", axis, a, b)
            if not any({p.left, p.right} == {a, b} for p in self.pending):
                self.pending.append(Pending(a, b, self.origin))

    def at_most(self, small: SizeLike, big: SizeLike) -> None:
        """State that one size is at most another: for the run to see, where inference cannot."""
        self.bounds.append(Pending(size(small), size(big), self.origin))

    def open_bounds(self) -> list[Pending]:
        """The bounds that nothing known decides, each once."""
        resolved = [Pending(self.resolve(b.left), self.resolve(b.right), b.origin) for b in self.bounds]
        undecided = [b for b in resolved if any(factor < 0 for _, factor in (b.right - b.left).terms)]
        return list({(b.left, b.right, b.origin): b for b in undecided}.values())

    def _solve(self, a: Size, b: Size) -> bool:
        for letter, other in sorted(((a.lone, b), (b.lone, a)), key=lambda pair: not (pair[0] or "").startswith(UNKNOWN)):
            if letter and letter not in other.letters:
                self._bind(letter, other)
                return True
        if len(a.terms) == 1 and len(b.terms) == 1:  # c1*m1 = c2*m2: one side may divide the other but for a letter
            for big, small in ((a, b), (b, a)):
                for letter in sorted(small.letters):
                    rest = small.divide(Size.letter(letter))
                    quotient = big.divide(rest) if rest is not None else None
                    if quotient is not None and letter not in quotient.letters and letter not in (rest.letters if rest else ()):
                        self._bind(letter, quotient)
                        return True
        difference = a - b
        alone = _one_letter(difference)
        if alone is not None and alone[2] % alone[1] == 0:
            self._bind(alone[0], Size.const(-alone[2] // alone[1]))
            return True
        for monomial, factor in difference.terms:  # a letter that stands alone with factor +-1
            if len(monomial) == 1 and monomial[0][1] == 1 and abs(factor) == 1 and monomial[0][0].startswith(UNKNOWN):
                letter = monomial[0][0]
                rest = difference - Size([(monomial, factor)])
                if letter not in rest.letters:
                    self._bind(letter, -rest if factor == 1 else rest)
                    return True
        return False

    def _bind(self, letter: str, value: Size) -> None:
        number = value.value
        if number is not None and number < 0:
            raise Mismatch(f"a size would have to be {number}")
        self.bindings[letter] = value
        self.bound_at[letter] = self.origin
        self.changes += 1

    def settle(self) -> None:
        """Try the undecided equations again, now that more is known."""
        waiting, self.pending = self.pending, []
        for equation in waiting:
            self.origin = equation.origin
            self.equate(equation.left, equation.right)

    def one_form(self, n: Size) -> Size:
        """One form for all sizes that undecided equations call equal: a number where there is one, else the shortest."""
        equal = {self.resolve(n)}
        before = 0
        while len(equal) != before:
            before = len(equal)
            for equation in self.pending:
                sides = {self.resolve(equation.left), self.resolve(equation.right)}
                if sides & equal:
                    equal |= sides
        return min(equal, key=lambda form: (form.value is None, len(form.terms), str(form)))

    # -- cells ---------------------------------------------------------------------------------------------------

    def find(self, cell: Cell) -> Cell:
        while cell.link is not None:
            if cell.link.link is not None:
                cell.link = cell.link.link
            cell = cell.link
        return cell

    def dims(self, cell: Cell) -> tuple[Size, ...] | None:
        """The sizes of a tensor, resolved; None while its rank is unknown; Mismatch for a table."""
        cell = self.find(cell)
        if cell.items is not None:
            raise Mismatch(f"a tensor is wanted here, got {self.show(cell)}")
        return None if cell.dims is None else tuple(self.resolve(n) for n in cell.dims)

    def items(self, cell: Cell) -> list[Cell] | None:
        """The elements of a table; None while unknown; Mismatch for a tensor."""
        cell = self.find(cell)
        if cell.dims is not None:
            raise Mismatch(f"a table is wanted here, got the tensor {self.show(cell)}")
        return cell.items

    def is_table(self, cell: Cell) -> bool | None:
        cell = self.find(cell)
        return True if cell.items is not None else False if cell.dims is not None else None

    def table(self, cell: Cell, n: int) -> list[Cell]:
        """State that it is a table of ``n``; returns its elements."""
        found = self.items(cell)
        if found is None:
            found = [Cell() for _ in range(n)]
            self.find(cell).items = found
            self.changes += 1
        if len(found) != n:
            raise Mismatch(f"a table of {n} is wanted here, got {self.show(cell)}", table=True)
        return found

    def set(self, cell: Cell, dims: Sequence[SizeLike] | None = None, dtype: str | None = None) -> None:
        """State a tensor's sizes and/or dtype."""
        cell = self.find(cell)
        if cell.items is not None:
            raise Mismatch(f"a tensor is wanted here, got {self.show(cell)}")
        if dtype is not None and cell.dtype is None:
            cell.dtype = dtype
            self.changes += 1
        elif dtype is not None and cell.dtype != dtype:
            raise Mismatch(f"{_dtype(dtype)} is wanted here, got {_dtype(cell.dtype)}")
        if dims is None:
            return
        wanted = tuple(size(n) for n in dims)
        if cell.dims is None:
            cell.dims, cell.origin = wanted, self.origin
            self.changes += 1
        elif len(cell.dims) != len(wanted):
            raise Mismatch(f"rank {len(wanted)} is wanted here, got {self.show(cell)}", cell=cell, wanted=wanted)
        else:
            for axis, (old, new) in enumerate(zip(cell.dims, wanted, strict=True)):
                self.equate(old, new, axis)

    def same(self, a: Cell, b: Cell) -> None:
        """Make two cells one; Mismatch when they differ."""
        a, b = self.find(a), self.find(b)
        if a is b:
            return
        if b.dims is None and b.items is None and b.dtype is None:
            a, b = b, a  # a is the emptier one
        if a.items is not None and b.items is not None:
            if len(a.items) != len(b.items):
                raise Mismatch(f"a table of {len(a.items)} and a table of {len(b.items)}")
            for left, right in zip(a.items, b.items, strict=True):
                self.same(left, right)
        elif (
            a.items is not None
            and (b.dims is not None or b.dtype is not None)
            or b.items is not None
            and (a.dims is not None or a.dtype is not None)
        ):
            raise Mismatch(f"{self.show(a)} and {self.show(b)}")
        elif a.dims is not None and b.dims is not None:
            if len(a.dims) != len(b.dims):
                raise Mismatch(f"{self.show(a)} has {len(a.dims)} axes, {self.show(b)} has {len(b.dims)}")
            for axis, (left_n, right_n) in enumerate(zip(a.dims, b.dims, strict=True)):
                self.equate(left_n, right_n, axis)
        if a.dtype and b.dtype and a.dtype != b.dtype:
            raise Mismatch(f"{_dtype(a.dtype)} and {_dtype(b.dtype)}")
        b.origin = b.origin if b.dims is not None else a.origin
        b.dims = b.dims if b.dims is not None else a.dims
        b.items = b.items if b.items is not None else a.items
        b.dtype = b.dtype or a.dtype
        b.note = b.note or a.note
        a.link = b
        self.changes += 1

    def leaves(self, cell: Cell) -> Iterator[Cell]:
        """The tensors (or unknowns) of a nested table, in order."""
        cell = self.find(cell)
        if cell.items is None:
            yield cell
        else:
            for item in cell.items:
                yield from self.leaves(item)

    def show(self, cell: Cell) -> str:
        """A type as a person reads it: ``[B, 800]``, ``{[B, 5], [B, 5]}``, ``?``."""
        cell = self.find(cell)
        if cell.items is not None:
            return "{" + ", ".join(self.show(item) for item in cell.items) + "}"
        if cell.dims is None:
            return "?"
        kind = "" if cell.dtype in (None, FLOAT) else f"{cell.dtype} "
        return kind + self.shown(cell.dims)

    def shown(self, dims: Sequence[Size]) -> str:
        return "[" + ", ".join(show(self.resolve(n)) for n in dims) + "]"

    def fixed_by(self, cell: Cell) -> list[tuple[Origin, bool]]:
        """For each axis of a tensor, what fixed its size, and whether that was another statement than the one that gave the rank."""
        cell = self.find(cell)
        found = []
        for n in cell.dims or ():
            origin, later = cell.origin, False
            while (letter := next((name for name in sorted(n.letters) if name in self.bound_at), None)) is not None:
                origin, later = self.bound_at[letter], True
                n = n.substitute({letter: self.bindings[letter]})
            found.append((origin, later))
        return found


def show(n: Size) -> str:
    """A size with made-up letters as their hints."""
    return str(n.substitute({name: Size.letter(hint_of(name)) for name in n.letters if name.startswith(UNKNOWN)}))


def hint_of(letter: str) -> str:
    """What a made-up letter would like to be called."""
    return letter.lstrip("?0123456789") or "n"


def _one_letter(n: Size) -> tuple[str, int, int] | None:
    """``(letter, c, d)`` where the size is ``c*letter + d``."""
    rest = [(monomial, factor) for monomial, factor in n.terms if monomial]
    if len(rest) != 1 or len(rest[0][0]) != 1 or rest[0][0][0][1] != 1:
        return None
    return rest[0][0][0][0], rest[0][1], dict(n.terms).get((), 0)


def _of_nothing(a: Size, b: Size) -> bool:
    """Whether ``a = b`` holds for a letter of 0 alone, which neither side says (6*B = 36*B): then there is no model of anything."""
    alone = _one_letter(a - b)
    return alone is not None and alone[2] == 0 and a.value is None and b.value is None


def _impossible(a: Size, b: Size) -> bool:
    """Whether ``a = b`` has no solution in whole numbers because only one side is a multiple of some number (5 = 2*n)."""
    alone = _one_letter(a - b)
    if alone is not None and alone[2] % alone[1]:
        return True
    for product, number in ((a, b.value), (b, a.value)):
        if number is not None and len(product.terms) == 1 and (number % product.terms[0][1] or number < 0):
            return True
    return False


def _dtype(dtype: str | None) -> str:
    return {FLOAT: "a float tensor", "int32": "an index (int32) tensor", "bool": "a mask (bool) tensor", None: "something"}.get(
        dtype, f"{dtype}"
    )
