"""The verifier: the rules that all IR keeps, checked after every pass in tests.

V1 a value is defined once, before it is read, in the same block; V2 a body reads nothing from outside; V3 an op has the attributes
that its primitive takes, and outputs of the types that its rule gives; V4 ports match parameters and results one to one, names differ;
V5 a result that updates an input has its type, and no input is updated twice; V6 the letters of every type, attribute and guard are letters
of some input.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from graphspec.ir.core import Block, Op, Program, TensorType, Value
from graphspec.ir.ops import IRError, check_attributes, primitive
from graphspec.ir.ops.record import Attrs
from graphspec.sizes import Size


def verify(program: Program) -> None:
    """IRError, with the number of the rule and the place in the spec, for the first thing that is wrong."""
    block = program.block
    if len(program.inputs) != len(block.params) or len(program.outputs) != len(block.results):
        raise IRError(
            f"V4: {len(program.inputs)} input ports for {len(block.params)} parameters, "
            f"{len(program.outputs)} output ports for {len(block.results)} results"
        )
    for ports in (program.inputs, program.outputs):
        names = [p.name for p in ports]
        if len(set(names)) != len(names):
            raise IRError(f"V4: a port name is used twice: {min(n for n in names if names.count(n) > 1)}")
    _updates(program)
    known = {letter for v in block.params for n in v.shape for letter in n.letters}
    for guard in program.guards:
        _known(_letters((guard.left, guard.right)), known, f"in a guard of {guard.origin}")
    _block(block, set(), known)


def _updates(program: Program) -> None:
    types = {port.name: v.type for port, v in zip(program.inputs, program.block.params, strict=True)}
    seen: set[str] = set()
    for port, value in zip(program.outputs, program.block.results, strict=True):
        if port.updates is None:
            continue
        if types.get(port.updates) != value.type:
            raise IRError(f"V5: {port.name}: {value.type} updates {port.updates}: {types.get(port.updates)}")
        if port.updates in seen:
            raise IRError(f"V5: {port.updates} is updated twice")
        seen.add(port.updates)


def _block(block: Block, everywhere: set[Value], letters: set[str]) -> None:
    """Check one block; ``everywhere`` collects the values of the whole program."""
    defined: set[Value] = set()

    def define(value: Value, op: Op | None = None) -> None:
        if value in everywhere:
            raise IRError(f"V1: {value} is defined twice{_place(op)}")
        everywhere.add(value)
        defined.add(value)

    for param in block.params:
        _known(_letters(param.shape), letters, f"of {param}")
        define(param)
    for op in block.ops:
        for value in op.inputs:
            if value not in defined:
                rule = "V2: a body reads" if value in everywhere else "V1: read before it is defined:"
                raise IRError(f"{rule} {value}{_place(op)}")
        for inner in op.blocks:
            _block(inner, everywhere, letters)
        _known(_types(op), letters, f"in {op.name}", op)
        for value in op.outputs:
            define(value, op)
    for value in block.results:
        if value not in defined:
            raise IRError(f"V1: the result {value} is not defined in its block")


def _place(op: Op | None) -> str:
    return f" in {op.name} at {op.origin}" if op is not None else ""


def _letters(sizes: Iterable[object]) -> frozenset[str]:
    return frozenset(letter for n in sizes if isinstance(n, Size) for letter in n.letters)


def _known(letters: frozenset[str], known: set[str], what: str, op: Op | None = None) -> None:
    if not letters <= known:
        raise IRError(f"V6: nothing fixes the size {', '.join(sorted(letters - known))} {what}" + (f" at {op.origin}" if op else ""))


def _types(op: Op) -> frozenset[str]:
    """Check what an op takes and gives; the letters of its attributes and results."""
    types = tuple(v.type for v in op.inputs)
    try:
        if op.blocks:
            wanted, letters = _given(op.name, types, op.attrs, op.blocks)
        else:
            wanted, letters = _remembered(op.name, types, tuple((key, value.__class__, value) for key, value in op.attrs.items()))
    except IRError as failure:
        raise IRError(f"V3: {failure}{_place(op)}") from None
    given = [v.type for v in op.outputs]
    if wanted != given:
        raise IRError(f"V3: outputs {', '.join(map(str, given))}; the rule gives {', '.join(map(str, wanted))}{_place(op)}")
    return letters


def _given(name: str, types: Sequence[TensorType], attrs: Attrs, blocks: Sequence[Block]) -> tuple[list[TensorType], frozenset[str]]:
    """The types that a primitive's rule gives, and the letters of those and of the attributes; IRError where it takes no such operands or
    attributes."""
    rule = primitive(name)
    check_attributes(rule, attrs)
    wanted = rule.infer(list(types), attrs, blocks)
    sizes = [n for value in attrs.values() for n in (value if isinstance(value, tuple) else (value,))]
    return wanted, _letters([*sizes, *(n for t in wanted for n in t.shape)])


@lru_cache(maxsize=1 << 14)
def _remembered(
    name: str, types: tuple[TensorType, ...], attrs: tuple[tuple[str, type, Any], ...]
) -> tuple[list[TensorType], frozenset[str]]:
    """The same of an op without a body: the same few come again after every pass.  True is no 1 here, so kinds of attributes count."""
    return _given(name, types, {key: value for key, _, value in attrs}, [])
