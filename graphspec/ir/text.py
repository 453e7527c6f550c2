"""IR as text, for people and for tests: :func:`print_program` and :func:`parse_program` are inverse.

::

    program forward
      in  %x: float32[B, 3] "input" input
      out %y "output" output
      %w = slice(%parameters) axis=0 length=6 start=0 : float32[6]      ; model.spec:3:7
      %a, %b = scan(%c | %s | %xs) reverse=false trip=T : float32[B], float32[T, B] {
        body(%t: int32[], %c2: float32[2] ...)
        ...
        yield %n, %y2
      }
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from graphspec.errors import NOWHERE
from graphspec.ir.core import DTYPES, Block, Guard, Op, Port, Program, Role, TensorType, Value, tensor
from graphspec.ir.ops import IRError
from graphspec.sizes import Size, parse_size

NAME = r"%[\w.]+"
TYPE = r"\w+\[[^\[\]]*\]"
STRING = r"\"(?:[^\"\\]|\\.)*\""
VALUE = rf"<[^<>]*>|{STRING}|\[[^\[\]{{}}]*\]|[\w.+-]+"
ATTR = rf"\w+=(?:{VALUE})"
MAX_DEPTH = 50
"""Bodies inside each other that a text may have."""


def print_program(program: Program) -> str:
    """The whole program; parses back to the same one (origins are comments)."""
    printer = _Printer()
    block = program.block
    lines = [f"program {program.name}"]
    for port, value in zip(program.inputs, block.params, strict=True):
        lines.append(f"  in  {printer.define(value)}: {value.type} {json.dumps(port.name)} {port.role}")
    for guard in program.guards:
        lines.append(f"  guard {guard.left} {'<=' if guard.at_most else '=='} {guard.right} {json.dumps(guard.message)}")
    lines += printer.ops(block, 1)
    for port, value in zip(program.outputs, block.results, strict=True):
        updates = f" updates {json.dumps(port.updates)}" if port.updates is not None else ""
        lines.append(f"  out {printer.name(value)} {json.dumps(port.name)} {port.role}{updates}")
    return "\n".join(lines) + "\n"


class _Printer:
    def __init__(self) -> None:
        self.names: dict[Value, str] = {}
        self.taken: dict[str, int] = {}

    def define(self, value: Value) -> str:
        stem = re.sub(r"\W+", "_", value.name).strip("_") or "v"
        if stem[0].isdigit():
            stem = "v" + stem
        number = self.taken.get(stem, 0)
        self.taken[stem] = number + 1
        name = f"%{stem}" if number == 0 and stem != "v" else f"%{stem}.{number}"
        self.names[value] = name
        return name

    def name(self, value: Value) -> str:
        return self.names[value]

    def ops(self, block: Block, depth: int) -> list[str]:
        pad = "  " * depth
        lines = []
        for op in block.ops:
            inputs = self._inputs(op)
            attrs = "".join(f" {k}={_attr(v)}" for k, v in sorted(op.attrs.items()))
            inner: list[str] = []
            for body in op.blocks:
                params = ", ".join(f"{self.define(v)}: {v.type}" for v in body.params)
                inner += [
                    f"{pad}  body({params})",
                    *self.ops(body, depth + 1),
                    f"{pad}  yield {', '.join(map(self.name, body.results))}".rstrip(),
                    f"{pad}}}",
                ]
            outputs = ", ".join(self.define(v) for v in op.outputs)
            types = ", ".join(str(v.type) for v in op.outputs)
            left, right = (f"{outputs} = ", f" : {types}") if op.outputs else ("", "")
            head = f"{pad}{left}{op.name}({inputs}){attrs}{right}" + (" {" if op.blocks else "")
            origin = str(op.origin).replace("\n", " ")  # a path may hold anything
            lines.append(f"{head:<100}  ; {origin}" if op.origin.span is not None else head)
            lines += inner
        return lines

    def _inputs(self, op: Op) -> str:
        names = [self.name(v) for v in op.inputs]
        if op.name != "scan":
            return ", ".join(names)
        nc, nk = op.attrs["consts"], op.attrs["carries"]
        return " | ".join(", ".join(part) for part in (names[:nc], names[nc : nc + nk], names[nc + nk :]))


def _attr(value: Any) -> str:
    """Sizes in brackets with a mark, the rest as JSON (infinities as JSON's Python form)."""
    if isinstance(value, Size):
        return f"<{value}>"
    if isinstance(value, tuple) and value and all(isinstance(v, Size) for v in value):
        return "<" + ", ".join(map(str, value)) + ">"
    if isinstance(value, tuple):
        return json.dumps(list(value))
    return json.dumps(value)


def parse_program(text: str) -> Program:
    """The program that was printed; IRError where the text is not one.  What the ops mean is the verifier's business."""
    try:
        return _program(_Lines(text))
    except IRError:
        raise
    except ValueError as failure:  # of a size or a number
        raise IRError(f"not IR: {failure}") from None


def _program(lines: _Lines) -> Program:
    program = Program(Block(), [], [], [], _match(r"program (\S+)", lines.take())[1])
    names: dict[str, Value] = {}
    while lines.ahead("in "):
        match = _match(rf"in\s+({NAME}): (.*?) ({STRING}) (\w+)", lines.take())
        program.block.params.append(_define(names, match[1], Value(parse_type(match[2]), _hint(match[1]))))
        program.inputs.append(_port(match[3], match[4]))
    while lines.ahead("guard "):
        match = _match(rf"guard (.*) (==|<=) (.*?) ({STRING})", lines.take())
        program.guards.append(Guard(parse_size(match[1]), parse_size(match[3]), json.loads(match[4]), NOWHERE, match[2] == "<="))
    while not lines.ended and not lines.ahead("out "):
        program.block.ops.append(_op(lines, names, 0))
    while not lines.ended:
        match = _match(rf"out ({NAME}) ({STRING}) (\w+)(?: updates ({STRING}))?", lines.take())
        program.block.results.append(_value(names, match[1]))
        program.outputs.append(_port(match[2], match[3], match[4]))
    return program


class _Lines:
    """Lines without comments and blanks, one at a time."""

    def __init__(self, text: str) -> None:
        bare = (re.sub(rf"({STRING})|  ; .*", r"\1", line).strip() for line in text.split("\n"))
        self.lines = [line for line in bare if line]
        self.at = 0

    @property
    def ended(self) -> bool:
        return self.at == len(self.lines)

    def ahead(self, start: str) -> bool:
        """Whether the next line begins so."""
        return not self.ended and self.lines[self.at].startswith(start)

    def take(self) -> str:
        if self.ended:
            raise IRError("the text ends too early")
        self.at += 1
        return self.lines[self.at - 1]


def _match(pattern: str, text: str) -> re.Match[str]:
    match = re.fullmatch(pattern, text)
    if match is None:
        raise IRError(f"not IR: {text}")
    return match


def _port(name: str, role: str, updates: str | None = None) -> Port:
    if role not in get_args(Role):
        raise IRError(f"not a role: {role}")
    return Port(json.loads(name), role, json.loads(updates) if updates else None)  # type: ignore[arg-type]


def _define(names: dict[str, Value], name: str, value: Value) -> Value:
    if name in names:
        raise IRError(f"{name} is defined twice")
    names[name] = value
    return value


def _value(names: Mapping[str, Value], name: str) -> Value:
    if name not in names:
        raise IRError(f"{name} is read before it is defined")
    return names[name]


def _split(text: str, pattern: str) -> list[str]:
    """The parts of a list with commas, each of that pattern."""
    if not text.strip():
        return []
    _match(rf"\s*{pattern}(?:, {pattern})*\s*", text)
    return re.findall(pattern, text)


def _hint(name: str) -> str:
    stem = name[1:].split(".")[0]
    return "" if stem == "v" else stem


def _op(lines: _Lines, names: dict[str, Value], depth: int) -> Op:
    head = rf"(?:({NAME}(?:, {NAME})*) = )?(\w+)\(([^()]*)\)((?: {ATTR})*)(?: : ({TYPE}(?:, {TYPE})*))?( \{{)?"
    match = _match(head, lines.take())
    parts = [[_value(names, name) for name in _split(part, NAME)] for part in match[3].split("|")]
    attrs = dict(_attrs(match[4]))
    counts = [attrs.get("consts"), attrs.get("carries")] if match[2] == "scan" else []
    if [len(part) for part in parts[:-1]] != counts:
        raise IRError(f"the operands are not consts | carries | xs: {match[0]}")
    blocks = [_body(lines, depth + 1)] if match[6] else []
    op = Op(match[2], [v for part in parts for v in part], attrs, [parse_type(t) for t in _split(match[5] or "", TYPE)], blocks)
    outputs = _split(match[1] or "", NAME)
    if len(outputs) != len(op.outputs):
        raise IRError(f"{len(outputs)} values of {len(op.outputs)} types: {match[0]}")
    for name, value in zip(outputs, op.outputs, strict=True):
        _define(names, name, value).name = _hint(name)
    return op


def _body(lines: _Lines, depth: int) -> Block:
    if depth > MAX_DEPTH:
        raise IRError(f"more than {MAX_DEPTH} bodies inside each other")
    block = Block()
    names: dict[str, Value] = {}
    for param in _split(_match(r"body\((.*)\)", lines.take())[1], f"{NAME}: {TYPE}"):
        name, kind = param.split(": ")
        block.params.append(_define(names, name, Value(parse_type(kind), _hint(name))))
    while not lines.ended and not lines.ahead("yield"):
        block.ops.append(_op(lines, names, depth))
    block.results = [_value(names, name) for name in _split(_match("yield(.*)", lines.take())[1], NAME)]
    _match("}", lines.take())
    return block


def _attrs(text: str) -> Iterator[tuple[str, Any]]:
    seen: set[str] = set()
    for name, written in re.findall(rf" (\w+)=({VALUE})", text):
        if name in seen:
            raise IRError(f"two attributes {name}:{text}")
        seen.add(name)
        if not written.startswith("<"):
            value = json.loads(written)
            yield name, tuple(value) if isinstance(value, list) else value
        elif name == "shape":
            yield name, tuple(parse_size(part) for part in written[1:-1].split(","))
        else:
            yield name, parse_size(written[1:-1])


def parse_type(text: str) -> TensorType:
    """``float32[T, B]``."""
    match = re.fullmatch(r"(\w+)\[(.*)\]", text.strip())
    if match is None or match[1] not in DTYPES:
        raise IRError(f"not a type: {text}")
    return tensor([parse_size(part) for part in match[2].split(",")] if match[2].strip() else [], match[1])


def same_program(a: Program, b: Program) -> bool:
    """Whether two programs are the same but for names and origins."""
    guards = [[(g.left, g.right, g.message, g.at_most) for g in p.guards] for p in (a, b)]
    return a.name == b.name and a.inputs == b.inputs and a.outputs == b.outputs and guards[0] == guards[1] and _same_block(a.block, b.block)


def _written(op: Op) -> dict[str, str]:
    """Attributes as they are printed: so NaN is itself, and 0.0 is neither -0.0 nor 0 nor false."""
    return {name: _attr(value) for name, value in op.attrs.items()}


def _same_block(a: Block, b: Block) -> bool:
    if len(a.params) != len(b.params) or len(a.ops) != len(b.ops) or len(a.results) != len(b.results):
        return False
    pairs = dict(zip(a.params, b.params, strict=True))
    if any(x.type != y.type for x, y in pairs.items()):
        return False
    for left, right in zip(a.ops, b.ops, strict=True):
        alike = left.name == right.name and _written(left) == _written(right) and len(left.inputs) == len(right.inputs)
        if not alike or any(pairs.get(x) is not y for x, y in zip(left.inputs, right.inputs, strict=True)):
            return False
        if [v.type for v in left.outputs] != [v.type for v in right.outputs] or len(left.blocks) != len(right.blocks):
            return False
        if not all(_same_block(x, y) for x, y in zip(left.blocks, right.blocks, strict=True)):
            return False
        pairs.update(zip(left.outputs, right.outputs, strict=True))
    return all(pairs.get(x) is y for x, y in zip(a.results, b.results, strict=True))
