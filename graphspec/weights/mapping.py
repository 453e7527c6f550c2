"""A mapping: which of a file's tensors becomes which parameter, and how, a line for each or for many.

    Linear.* = fc.*                                               # a star stands for the same on both sides
    lstm[{l}].*.gate[{g}].weight = rnn.weight_ih_l{l-1} [{g} of 4]      # a letter in braces is a number
    gates.bias = rnn.bias_ih_l0 [ifog of ifgo] + rnn.bias_hh_l0 [ifog of ifgo]
    SeqLSTM.weight = rnn.weight_ih_l0 [ifog of ifgo] transposed / rnn.weight_hh_l0 [ifog of ifgo] transposed
    extra.* = nothing                                             # stays as it is
    nothing = *.num_batches_tracked                               # not used

``[2 of 4]`` is the second of four blocks of rows; ``[ifog of ifgo]`` names the blocks and puts them in another order, ``[g of ifgo]`` takes
one; ``transposed`` exchanges the two axes; ``+`` adds (PyTorch has two biases), ``/`` stacks rows.  The first line that fits a parameter
is the one for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from graphspec.errors import Source, Span, SpecError, error, fail
from graphspec.suggest import did_you_mean
from graphspec.weights.common import Array

NOTHING = "nothing"
HOLE = re.compile(r"\*|\{([A-Za-z]\w*)([+-]\d{1,6})?\}")
BLOCKS = re.compile(r"\[\s*(\S+)\s+of\s+(\S+)\s*\]")
MAX_MAPPING = 2**20
MAX_SHOWN = 5
MAX_STARS = 4
"""In a pattern: the ways to share a name among more of them are too many to try."""


Steps = tuple[tuple[str, str] | None, ...]


@dataclass(frozen=True)
class Piece:
    """A tensor of theirs, and what is done to it in turn: blocks chosen (``("ifog", "ifgo")``), or ``None`` for transposed."""

    name: str
    steps: Steps


@dataclass(frozen=True)
class Line:
    """A line of a mapping: a pattern of our names, and rows of sums of pieces; without rows, what fits stays as it is."""

    ours: str
    rows: tuple[tuple[Piece, ...], ...]
    span: Span


@dataclass(frozen=True)
class Mapped:
    """What becomes of a parameter: its value (None where it stays as it is), and from what, in words."""

    value: Array | None
    source: str


# -- reading ---------------------------------------------------------------------------------------------------------------------


def source_of(mapping: str | Path | Mapping[str, str] | None) -> Source:
    """The text of a mapping: a file's, a text's (it has a ``=``), or of a dict from our names to theirs; of None, equal names."""
    if mapping is None:
        return Source("<names>", "* = *")
    if isinstance(mapping, Mapping):
        return Source("<mapping>", "\n".join(f"{ours} = {theirs}" for ours, theirs in mapping.items()))
    if isinstance(mapping, str) and "=" in mapping:
        return Source("<mapping>", mapping)
    try:
        with open(mapping, "rb") as file:
            data = file.read(MAX_MAPPING + 1)
        if len(data) > MAX_MAPPING:
            raise fail("E0722", f"{mapping} has more than {MAX_MAPPING:,} bytes, and is no mapping")
        return Source(str(mapping), data.decode("utf-8"))
    except OSError as failure:
        raise fail("E0801", f"{mapping} cannot be read: {failure.strerror or failure}") from None
    except ValueError:
        raise fail("E0722", f"{mapping} is no text, and no mapping") from None


def parsed(source: Source) -> tuple[list[Line], list[Line]]:
    """The lines for our parameters, and those that name tensors of the file which are not used; E0722 for what makes no sense.

    A semicolon ends a line too.
    """
    lines, unused = [], []
    for found in re.finditer(r"[^\n;]+", source.text):
        text = re.sub(r"(^|\s)#.*", "", found[0]).rstrip()
        begin = found.start() + len(text) - len(text.lstrip())
        span = Span(source, begin, begin + len(text.strip()))
        if not text.strip():
            continue
        ours, equals, theirs = (part.strip() for part in text.partition("="))
        if not equals or not ours or not theirs or re.search(r"\s", ours):
            raise fail("E0722", "this line of a mapping is not OUR NAME = THEIR NAME", span)
        if max(ours.count("*"), theirs.count("*") if ours == NOTHING else 0) > MAX_STARS:
            raise fail("E0722", f"there are more than {MAX_STARS} stars in a name", span)
        if ours == NOTHING:
            unused.append(Line(theirs, (), span))
        elif theirs == NOTHING:
            lines.append(Line(ours, (), span))
        else:
            rows = tuple(tuple(_piece(word, ours, span) for word in re.split(r"\s\+\s", row)) for row in re.split(r"\s/\s", theirs))
            lines.append(Line(ours, rows, span))
    return lines, unused


def _piece(text: str, ours: str, span: Span) -> Piece:
    name, _, rest = text.strip().partition(" ")
    if not name:
        raise fail("E0722", "a name is missing on the right", span)
    known = [hole[0] if hole[0] == "*" else hole[1] for hole in HOLE.finditer(ours)]
    wanted = [hole[0] if hole[0] == "*" else hole[1] for hole in HOLE.finditer(text)]
    if wanted.count("*") > known.count("*"):
        raise fail("E0722", "there are more stars on the right than on the left", span)
    for letter in wanted:
        if letter not in known:
            raise fail("E0722", f"{{{letter}}} is on the right only", span, helps=[f"put {{{letter}}} where the number stands on the left"])
    steps: list[tuple[str, str] | None] = []
    rest = rest.strip()
    while rest:
        blocks = BLOCKS.match(rest)
        end = blocks.end() if blocks else len("transposed")
        if blocks is None and not re.match(r"transposed(\s|\[|$)", rest):
            helps = ["blocks of rows are chosen as `[2 of 4]` or `[ifog of ifgo]`, axes exchanged with `transposed`"]
            raise fail("E0722", f"`{rest}` says nothing about {name}", span, helps=helps)
        steps.append((blocks[1], blocks[2]) if blocks else None)
        rest = rest[end:].strip()
    return Piece(name, tuple(steps))


# -- names -----------------------------------------------------------------------------------------------------------------------


def pattern(text: str) -> re.Pattern[str]:
    """A regular expression for a pattern of names; a letter that stands twice is the same number twice."""
    parts, at, known = [], 0, set()
    for hole in HOLE.finditer(text):
        parts.append(re.escape(text[at : hole.start()]))
        at = hole.end()
        if hole[0] == "*":
            parts.append("(.*)")
        elif hole[1] in known:
            parts.append(f"(?P={hole[1]})")
        else:
            known.add(hole[1])
            parts.append(rf"(?P<{hole[1]}>\d{{1,9}})")
    return re.compile("".join(parts) + re.escape(text[at:]))


def filled(text: str, found: re.Match[str]) -> str:
    """A text with what a match gave for its stars and letters."""
    named = set(found.re.groupindex.values())
    stars = iter([value for i, value in enumerate(found.groups(), 1) if i not in named])

    def value(hole: re.Match[str]) -> str:
        return next(stars) if hole[0] == "*" else str(int(found[hole[1]]) + int(hole[2] or 0))

    return HOLE.sub(value, text)


# -- putting together ------------------------------------------------------------------------------------------------------------


def mapped(
    shapes: Mapping[str, Sequence[int]], tensors: Mapping[str, Array], mapping: str | Path | Mapping[str, str] | None = None
) -> dict[str, Mapped]:
    """A value for each of our names, of the shape that it has here.

    E0722 for a line that makes no sense, E0723 for names that are on one side only, each of them, E0724 for shapes that do not fit.
    """
    lines, unused = parsed(source_of(mapping))
    patterns = [pattern(line.ours) for line in lines]
    rules: dict[str, tuple[Line, re.Match[str]]] = {}
    for name in shapes if mapping is not None else shapes.keys() & tensors.keys():
        fits = ((line, match) for line, p in zip(lines, patterns, strict=True) if (match := p.fullmatch(name)))
        if (first := next(fits, None)) is not None:
            rules[name] = first
    used: set[str] = set()
    problems: list[SpecError] = []
    wrong: list[Line] = []
    found: dict[str, Mapped] = {}
    for name, (line, match) in rules.items():
        try:
            if line not in wrong:  # what is wrong with a line is told once
                found[name] = _value(name, tuple(shapes[name]), line, match, tensors, used)
        except SpecError as problem:
            problems.append(problem)
            wrong.append(line)
    dropped = {theirs for line in unused for theirs in tensors if pattern(line.ours).fullmatch(theirs)}
    problems += _idle(lines, rules, shapes) if mapping is not None else []
    if not wrong:
        ours, theirs = set(shapes) - set(rules), set(tensors) - used - dropped
        alike = _alike({name: shapes[name] for name in ours}, {name: tensors[name] for name in theirs})[:MAX_SHOWN]
        rest = ["* = *"] if alike and mapping is None and rules else []
        example = "; ".join([*alike, *rest]) or f"{min(ours, default='')} = NAME"
        helps = [
            *([] if alike else _closest(ours, tensors)),
            f"{'a mapping (`--map`)' if mapping is None else 'one more line'} says which is which: `{example}`",
        ]
        problems += _left(ours, "of the model", "is given nothing", helps, "NAME = nothing")
        problems += _left(theirs, "of the file", "is not used", [] if alike else _closest(theirs, shapes), "nothing = NAME")
    if problems:
        first_code = problems[0].code
        same = [d for problem in problems for d in problem.diagnostics if d.code == first_code]
        raise SpecError(*same[:MAX_SHOWN])
    return {name: found[name] for name in shapes}


def _idle(lines: Iterable[Line], rules: Mapping[str, tuple[Line, re.Match[str]]], shapes: Mapping[str, Sequence[int]]) -> list[SpecError]:
    """Lines that no parameter needs."""
    needed = {id(line) for line, _ in rules.values()}
    found = []
    for line in lines:
        if id(line) not in needed:
            taken = any(pattern(line.ours).fullmatch(name) for name in shapes)
            why = "fits only what lines before it are for" if taken else "is the name of no parameter"
            found.append(fail("E0723", f"{line.ours} {why}", line.span, helps=[] if taken else did_you_mean(line.ours, shapes)))
    return found


def _left(names: set[str], whose: str, what: str, helps: Iterable[str], way: str) -> list[SpecError]:
    """E0723 for names that nothing is said about: one error for all of them."""
    left = sorted(names)
    if not left:
        return []
    more = [f"so {'is' if len(left) == 2 else 'are'} {', '.join(left[1:MAX_SHOWN])}"] if len(left) > 1 else []
    more += [f"and {len(left) - MAX_SHOWN} more"] if len(left) > MAX_SHOWN else []
    leave = f"to leave it so, say `{way.replace('NAME', left[0])}` in the mapping"
    return [SpecError(error("E0723", f"{left[0]} {whose} {what}", notes=more, helps=[*helps, leave]))]


def _closest(names: set[str], others: Iterable[str]) -> list[str]:
    return did_you_mean(min(names), others) if names else []


def _alike(ours: Mapping[str, Sequence[int]], theirs: Mapping[str, Array]) -> list[str]:
    """Lines for modules of ours that one module of theirs alone has the fields and the shapes of, and the other way round."""

    def modules(shapes: Mapping[str, Sequence[int]]) -> dict[frozenset[tuple[str, tuple[int, ...]]], list[str]]:
        fields: dict[str, set[tuple[str, tuple[int, ...]]]] = {}
        for name, shape in shapes.items():
            module, _, field = name.rpartition(".")
            fields.setdefault(module, set()).add((field, tuple(shape)))
        found: dict[frozenset[tuple[str, tuple[int, ...]]], list[str]] = {}
        for module, has in sorted(fields.items()):
            found.setdefault(frozenset(has), []).append(module)
        return found

    named = modules({name: array.shape for name, array in theirs.items()})
    pairs = [(mine, named.get(has, [])) for has, mine in modules(ours).items()]
    return [f"{mine[0]}.* = {found[0]}.*" for mine, found in pairs if len(mine) == len(found) == 1 and mine[0] and found[0]]


def _value(
    name: str, shape: tuple[int, ...], line: Line, match: re.Match[str], tensors: Mapping[str, Array], used: set[str]
) -> Mapped:  # fmt: skip
    if not line.rows:
        return Mapped(None, "as it is")
    try:
        value, source = _rows_value(name, line.rows, line.span, match, tensors, used)
        if value.shape != shape:
            raise fail("E0724", f"{name} is {list(shape)} in the model; {source} is {list(value.shape)}", line.span)
    except SpecError as failure:
        if failure.code == "E0724":
            raise SpecError(failure.diagnostics[0].with_help(*_turned(name, shape, line, match, tensors))) from None
        raise
    return Mapped(value, source)


def _turned(name: str, shape: tuple[int, ...], line: Line, match: re.Match[str], tensors: Mapping[str, Array]) -> list[str]:
    """The line that would fit if axes were exchanged before the rest, or after it, or not at all; for this parameter alone."""
    rest = f"; {line.span.text}" if HOLE.search(line.ours) else ""
    ways: tuple[Callable[[Steps], Steps], ...] = (
        lambda steps: tuple(step for step in steps if step is not None),
        lambda steps: (None, *steps),
        lambda steps: (*steps, None),
    )
    for change in ways:
        rows = tuple(tuple(Piece(piece.name, change(piece.steps)) for piece in row) for row in line.rows)
        try:
            value, source = _rows_value(name, rows, line.span, match, tensors, set())
        except SpecError:
            continue
        if value.shape == shape:
            return [f"this has its shape: `{name} = {source}{rest}`"]
    return []


def _rows_value(
    name: str, rows: Iterable[Iterable[Piece]], span: Span, match: re.Match[str], tensors: Mapping[str, Array], used: set[str]
) -> tuple[Array, str]:
    """Rows of sums put together, and the same in words."""
    parts: list[Array] = []
    words: list[str] = []
    for row in rows:
        added = [_piece_value(piece, match, span, tensors, used) for piece in row]
        words.append(" + ".join(text for _, text in added))
        shapes = {array.shape for array, _ in added}
        if len(shapes) > 1:
            raise fail("E0724", f"{name}: {' and '.join(str(list(s)) for s in sorted(shapes))} cannot be added", span)
        parts.append(added[0][0] if len(added) == 1 else np.sum([array.astype(np.float64) for array, _ in added], axis=0))
    if len(parts) > 1 and (any(p.ndim == 0 for p in parts) or len({p.shape[1:] for p in parts}) > 1):
        raise fail("E0724", f"{name}: {' and '.join(str(list(p.shape)) for p in parts)} cannot be stacked", span)
    return np.concatenate(parts) if len(parts) > 1 else parts[0], " / ".join(words)


def _piece_value(
    piece: Piece, match: re.Match[str], span: Span, tensors: Mapping[str, Array], used: set[str]
) -> tuple[Array, str]:  # fmt: skip
    """A piece's tensor with its steps done, and the piece in words."""
    name = filled(piece.name, match)
    if name not in tensors:
        raise fail("E0723", f"the file holds no {name}", span, f"for {match[0]}", helps=did_you_mean(name, tensors))
    used.add(name)
    array, words = tensors[name], name
    for step in piece.steps:
        if step is None:
            if array.ndim != 2:
                raise fail("E0724", f"{words} has {array.ndim} axes: only two can be exchanged", span)
            array, words = array.T, f"{words} transposed"
        else:
            chosen, order = (filled(word, match) for word in step)
            array = _blocks(array, chosen, order, words, span)
            words = f"{words} [{chosen} of {order}]"
    return array, words


def _blocks(array: Array, chosen: str, order: str, name: str, span: Span) -> Array:
    """Blocks of rows by number (``2 of 4``) or by letter (``ifog of ifgo``)."""
    numbered = order.isdecimal() and order.isascii()
    if numbered:
        count = int(order) if len(order) < 10 else 0
        picks = [int(chosen) - 1] if chosen.isdecimal() and chosen.isascii() and len(chosen) < 10 else [-1]
    else:
        count = len(order) if len(set(order)) == len(order) else 0
        picks = [order.find(letter) for letter in chosen]
    if not count or not all(0 <= pick < count for pick in picks) or len(set(picks)) < len(picks):
        helps = ["`[2 of 4]` is the second of four blocks of rows, `[ifog of ifgo]` puts blocks in another order"]
        raise fail("E0722", f"`[{chosen} of {order}]` chooses no blocks", span, helps=helps)
    if array.ndim == 0 or len(array) % count:
        raise fail("E0724", f"{name} is {list(array.shape)}: its rows are not {count} equal blocks", span)
    size = len(array) // count
    parts = [array[pick * size : (pick + 1) * size] for pick in picks]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
