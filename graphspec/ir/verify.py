"""The verifier: the rules that all IR keeps, checked after every pass in tests.

V1 a value is defined once, before it is read, in the same block; V2 a body reads nothing from outside; V3 an op has the attributes
that its primitive takes, and outputs of the types that its rule gives; V4 ports match parameters and results one to one, names differ;
V5 a result that updates an input has its type, and no input is updated twice; V6 the letters of every type, attribute and guard are letters
of some input.
"""

from __future__ import annotations

from collections.abc import Iterable

from graphspec.ir.core import Block, Op, Program, Value
from graphspec.ir.ops import IRError, check_attributes, primitive
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
        if extra := _unknown((guard.left, guard.right), known):
            raise IRError(f"V6: nothing fixes the size {extra} in a guard of {guard.origin}")
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
        if extra := _unknown(value.shape, letters):
            raise IRError(f"V6: nothing fixes the size {extra} of {value}{_place(op)}")
        everywhere.add(value)
        defined.add(value)

    for param in block.params:
        define(param)
    for op in block.ops:
        for value in op.inputs:
            if value not in defined:
                rule = "V2: a body reads" if value in everywhere else "V1: read before it is defined:"
                raise IRError(f"{rule} {value}{_place(op)}")
        for inner in op.blocks:
            _block(inner, everywhere, letters)
        _types(op)
        for attr in op.attrs.values():
            if extra := _unknown(attr if isinstance(attr, tuple) else (attr,), letters):
                raise IRError(f"V6: nothing fixes the size {extra}{_place(op)}")
        for value in op.outputs:
            define(value, op)
    for value in block.results:
        if value not in defined:
            raise IRError(f"V1: the result {value} is not defined in its block")


def _place(op: Op | None) -> str:
    return f" in {op.name} at {op.origin}" if op is not None else ""


def _unknown(sizes: Iterable[object], known: set[str]) -> str:
    """The letters of these sizes that are not known."""
    return ", ".join(sorted({letter for n in sizes if isinstance(n, Size) for letter in n.letters if letter not in known}))


def _types(op: Op) -> None:
    try:
        rule = primitive(op.name)
        check_attributes(rule, op.attrs)
        wanted = rule.infer([v.type for v in op.inputs], op.attrs, op.blocks)
    except IRError as failure:
        raise IRError(f"V3: {failure}{_place(op)}") from None
    given = [v.type for v in op.outputs]
    if wanted != given:
        raise IRError(f"V3: outputs {', '.join(map(str, given))}; the rule gives {', '.join(map(str, wanted))}{_place(op)}")
