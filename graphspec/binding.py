"""Size letters bound from the shapes of arrays, and the errors of run time that speak of the spec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphspec.errors import Origin, SpecError, error, fail
from graphspec.ir.core import Program
from graphspec.sizes import Size


def check_letters(program: Program, sizes: Mapping[str, int]) -> None:
    """E0807 for sizes that the program does not have."""
    for name in sizes:
        if name not in program.letters:
            raise fail("E0807", f"there is no size {name}: the model's sizes are {', '.join(program.letters) or 'all fixed'}")


def bind_sizes(program: Program, shapes: Mapping[str, Sequence[int]], partial: bool = False) -> dict[str, int]:
    """Every letter's number from the shapes of the inputs (``partial``: of some of them); E0307 where a shape does not fit its type."""
    letters: dict[str, int] = {}
    owners: dict[str, str] = {}
    later: list[tuple[str, int, Size, int]] = []
    for port, value in zip(program.inputs, program.block.params, strict=True):
        if partial and port.name not in shapes:
            continue
        shape = shapes[port.name]
        if len(shape) != value.type.rank:
            raise fail("E0307", f"{port.name} has {len(shape)} axes, the model takes {value.type}")
        for axis, (n, wanted) in enumerate(zip(shape, value.shape, strict=True)):
            letter = wanted.lone
            if letter is None:
                later.append((port.name, axis, wanted, n))
            elif letters.setdefault(letter, n) != n:
                raise fail("E0307", f"{port.name}, axis {axis + 1}: {letter} is {n} here, but {letters[letter]} in {owners[letter]}")
            else:
                owners.setdefault(letter, port.name)
    for name, axis, wanted, n in later:
        unknown = wanted.letters - set(letters)
        if len(unknown) == 1:  # c*L + d = n
            (letter,) = unknown
            zero, one = (wanted.evaluate({**letters, letter: i}) for i in (0, 1))
            if one != zero and (n - zero) % (one - zero) == 0 and (n - zero) // (one - zero) >= 0:
                letters[letter] = (n - zero) // (one - zero)
                owners[letter] = name
        missing = wanted.letters - set(letters)
        if missing or wanted.evaluate(letters) != n:
            told = "" if missing or wanted.value is not None else f" = {wanted.evaluate(letters)}"
            raise fail("E0307", f"{name}, axis {axis + 1}: {n} given, {wanted}{told} wanted")
    return letters


def check_guards(program: Program, letters: Mapping[str, int]) -> None:
    """Raise E0311 for equations and bounds of sizes that this binding breaks."""
    broken = []
    for guard in program.guards:
        left, right = guard.left.evaluate(letters), guard.right.evaluate(letters)
        if left > right if guard.at_most else left != right:
            relation = "be at most" if guard.at_most else "equal"
            text = f"{guard.left} must {relation} {guard.right}, but they are {left} and {right}"
            broken.append(error("E0311", text, guard.origin, guard.message))
    if broken:
        raise SpecError(*broken)


def index_error(value: int, place: Sequence[int], base: int, n: int, origin: Origin) -> SpecError:
    """E0310: an index outside its range."""
    where = f" at position {', '.join(str(i + 1) for i in place)}" if place else ""
    from_zero = "classes and indices count from 1: save `y + 1` of data that count from 0 (in Python, `compile` takes index_base=0)"
    helps = [from_zero] if value == 0 and base == 1 else []
    return fail("E0310", f"index {value}{where} is not in {base}..{base + n - 1}", origin, "looked up here", helps=helps)
