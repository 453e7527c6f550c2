"""What the caller of a model gives it, by place or by name, as arrays nested as in the spec; errors call an array what the spec does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphspec.errors import Origin, SpecError, fail
from graphspec.graph import Module
from graphspec.ir.core import TensorType
from graphspec.program import leaves
from graphspec.suggest import did_you_mean

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Wanted:
    """An array that a model takes: what to call it, its type, and where the spec makes it."""

    name: str
    type: TensorType
    origin: Origin

    def wrong(self, why: str) -> SpecError:
        """E0312 for a value that is no such array."""
        return fail("E0312", f"{self.name}: {why}", self.origin, f"it takes {self.type}")


@dataclass(frozen=True)
class Argument:
    """An input or output of a model: its name (``input.2`` where it has none), and its arrays, nested as in the spec."""

    name: str
    wanted: Any

    def __str__(self) -> str:
        return f"{self.name} {show_types(_types(self.wanted))}"


def named_arguments(module: Module, stem: str, types: Any, form: str = "{}") -> list[Argument]:
    """The inputs or outputs (``stem``) of a model by the names that its spec has for them; of two of one name neither has it."""
    nodes = getattr(module, f"{stem}s")
    titles = [node.name or node.annotations.get("name") for node in nodes]
    alone = len(nodes) == 1
    found = []
    for position, (node, title, inside) in enumerate(zip(nodes, titles, [types] if alone else types, strict=True), 1):
        name = form.format(title if title and titles.count(title) == 1 else stem if alone else f"{stem}.{position}")
        found.append(Argument(name, _wanted(name, inside, node.origin)))
    return found


def _wanted(name: str, types: Any, origin: Origin) -> Any:
    if isinstance(types, tuple):
        return tuple(_wanted(f"{name}.{i}", item, origin) for i, item in enumerate(types, 1))
    return Wanted(name, types, origin)


def _types(wanted: Any) -> Any:
    return tuple(_types(item) for item in wanted) if isinstance(wanted, tuple) else wanted.type


def leaves_of(arguments: Sequence[Argument]) -> list[Wanted]:
    """The arrays of all arguments, in order."""
    return [one for argument in arguments for one in leaves(argument.wanted)]


def as_one(given: tuple[Any, ...], named: Mapping[str, Any], known: Sequence[Argument]) -> Any:
    """The arguments of a call as one value in the nesting of the spec; E0312 for one that is missing, unknown, too many or given twice.

    One value by place is all of the inputs (a table of them, or a dict by their names); several are the inputs, or the parts of the
    only one.
    """
    alone = len(known) == 1
    if len(given) == 1 and isinstance(given[0], Mapping) and not named:
        return as_one((), given[0], known)
    if not named:
        if len(given) == 1 and (alone or isinstance(given[0], (tuple, list))):
            return given[0]
        if given and (isinstance(known[0].wanted, tuple) if alone else len(given) == len(known)):
            return given
    names = [argument.name for argument in known]
    helps = [f"the model takes {', '.join(map(str, known))}"]
    if len(given) > len(names):
        raise fail("E0312", f"{len(given)} inputs are given, the model takes {len(names)}", helps=helps)
    found = dict(zip(names, given, strict=False))
    for name, value in named.items():
        if name not in names:
            raise fail("E0312", f"the model has no input named {name}", helps=[*did_you_mean(str(name), names), *helps])
        if name in found:
            raise fail("E0312", f"{name} is given twice, by place and by name", helps=helps)
        found[name] = value
    missing = [name for name in names if name not in found]
    if missing:
        raise fail("E0312", f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not given", helps=helps)
    values = tuple(found[name] for name in names)
    return values[0] if alone else values


def arrays_of(values: Any, known: Sequence[Argument], what: str) -> Any:
    """Nested lists as nested tuples of arrays, in the nesting of the spec; E0312 otherwise.  ``what`` they all are together."""
    if len(known) == 1:
        return _arrays(values, known[0].wanted, known[0].name)
    if not isinstance(values, (tuple, list)) or len(values) != len(known):
        raise fail("E0312", f"{what}: {_no_table(values, len(known))}", helps=[f"they are {', '.join(map(str, known))}"])
    return tuple(_arrays(value, argument.wanted, argument.name) for value, argument in zip(values, known, strict=True))


def _arrays(values: Any, wanted: Any, what: str) -> Any:
    table = isinstance(values, (tuple, list))
    if isinstance(wanted, tuple):
        if not table or len(values) != len(wanted):
            label = f"it takes {show_types(_types(wanted))}"
            raise fail("E0312", f"{what}: {_no_table(values, len(wanted))}", leaves(wanted)[0].origin, label)
        return tuple(_arrays(v, w, f"{what}.{i}") for i, (v, w) in enumerate(zip(values, wanted, strict=True), 1))
    if table and any(isinstance(v, np.ndarray) for v in values):
        raise wanted.wrong(f"one array is wanted, got a table of {len(values)}")
    try:
        array = np.asarray(values)
    except ValueError:
        raise wanted.wrong("an array of numbers is wanted, and the rows of this list are not all of one length") from None
    if array.dtype == object or array.dtype.kind not in "fiub":
        raise wanted.wrong(f"an array of numbers is wanted, got {_kind(values)}")
    return array


def _no_table(values: Any, size: int) -> str:
    return f"a table of {size} is wanted, got {f'a table of {len(values)}' if isinstance(values, (tuple, list)) else 'one value'}"


def _kind(value: Any) -> str:
    return f"one of {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__


def converted(array: Array, wanted: Wanted) -> Array:
    """In the model's own numbers; E0312 where whole numbers are wanted and these are none, and for numbers that are too large."""
    dtype = wanted.type.dtype
    if wanted.type.is_float:
        try:
            with np.errstate(over="raise"):
                return array.astype(dtype) if array.dtype != dtype else array
        except FloatingPointError:
            raise wanted.wrong(f"a number does not fit in {dtype}") from None
    if array.dtype.kind == "f" and not np.array_equal(array, np.floor(array)):
        raise wanted.wrong(f"whole numbers are wanted, got {array.dtype}")
    if dtype == "int32" and array.size and (array.min() < -(2**31) or array.max() >= 2**31):
        raise wanted.wrong(f"a number does not fit in {dtype}")
    return array.astype(dtype)


def check_shapes(wanted: Sequence[Wanted], arrays: Sequence[Array]) -> None:
    """E0307 for an array whose shape is not that of its type, or has another number for a letter than one before it.

    Sizes that are more than a letter (``2*T``) are left to the program."""
    letters: dict[str, tuple[int, Wanted, Array]] = {}
    for one, array in zip(wanted, arrays, strict=True):
        if array.ndim != one.type.rank:
            raise _other_rank(one, array)
        for axis, (n, size) in enumerate(zip(array.shape, one.type.shape, strict=True), 1):
            if (letter := size.lone) is not None:
                before, owner, other = letters.setdefault(letter, (n, one, array))
                if before != n:
                    others = [(owner.origin, f"{owner.name} is {list(other.shape)}")]
                    raise _misfit(one, array, f"{letter} is {n} here, and {before} in {owner.name}", others=others)
            elif size.value is not None and size.value != n:
                raise _misfit(one, array, f"axis {axis} is {n}, and not {size.value}")


def _misfit(one: Wanted, array: Array, why: str, **more: Any) -> SpecError:
    return fail("E0307", f"{one.name} is {list(array.shape)}, {one.type} is wanted: {why}", one.origin, f"it takes {one.type}", **more)


def _other_rank(one: Wanted, array: Array) -> SpecError:
    return _misfit(one, array, f"it has {array.ndim} ax{'i' if array.ndim == 1 else 'e'}s, and not {one.type.rank}")


def ranks_refused(failure: SpecError, wanted: Sequence[Wanted], arrays: Sequence[Array]) -> SpecError:
    """What inference said of the ranks of a call, told of the array that is to blame where the spec declares its rank (E0307)."""
    first = failure.diagnostics[0]
    for one, array in zip(wanted, arrays, strict=True):
        if array.ndim != one.type.rank and first.span == one.origin.span:
            return _other_rank(one, array)
    given = [f"{one.name} is given as {list(array.shape)}" for one, array in zip(wanted, arrays, strict=True)]
    told = SpecError(first.with_notes(*given), *failure.diagnostics[1:])
    told.typed, told.draw_as = failure.typed, failure.draw_as
    return told


def show_types(tree: Any) -> str:
    """``{float32[B, 5], {float32[B, 5]}}``."""
    return "{" + ", ".join(show_types(item) for item in tree) + "}" if isinstance(tree, tuple) else str(tree)
