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
from typing import Any

from graphspec.errors import NOWHERE
from graphspec.ir.core import DTYPES, Block, Guard, Op, Port, Program, TensorType, Value, tensor
from graphspec.ir.ops import IRError
from graphspec.sizes import Size, parse_size


def print_program(program: Program) -> str:
    """The whole program; parses back to the same one (origins are comments)."""
    printer = _Printer()
    block = program.block
    lines = [f"program {program.name}"]
    for port, value in zip(program.inputs, block.params, strict=True):
        lines.append(f"  in  {printer.define(value)}: {value.type} {json.dumps(port.name)} {port.role}")
    for guard in program.guards:
        lines.append(f"  guard {guard.left} == {guard.right} {json.dumps(guard.message)}")
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
                    f"{pad}  yield {', '.join(map(self.name, body.results))}",
                    f"{pad}}}",
                ]
            outputs = ", ".join(self.define(v) for v in op.outputs)
            types = ", ".join(str(v.type) for v in op.outputs)
            head = f"{pad}{outputs} = {op.name}({inputs}){attrs} : {types}" + (" {" if op.blocks else "")
            lines.append(f"{head:<100}  ; {op.origin}" if op.origin.span is not None else head)
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
    """The program that was printed; IRError where the text is not one."""
    lines = _Lines(text)
    words = lines.take().split()
    if len(words) != 2 or words[0] != "program":
        raise IRError("the text does not begin with `program NAME`")
    program = Program(Block(), [], [], [], words[1])
    names: dict[str, Value] = {}
    while (line := lines.peek()) is not None:
        if line.startswith("in "):
            match = _match(r"in\s+(%[\w.]+): (.*?) (\"(?:[^\"\\]|\\.)*\") (\w+)$", lines.take())
            value = Value(parse_type(match[2]), _hint(match[1]))
            names[match[1]] = value
            program.block.params.append(value)
            program.inputs.append(Port(json.loads(match[3]), match[4]))  # type: ignore[arg-type]
        elif line.startswith("guard "):
            match = _match(r"guard (.*) == (.*?) (\"(?:[^\"\\]|\\.)*\")$", lines.take())
            program.guards.append(Guard(parse_size(match[1]), parse_size(match[2]), json.loads(match[3]), NOWHERE))
        elif line.startswith("out "):
            match = _match(r"out (%[\w.]+) (\"(?:[^\"\\]|\\.)*\") (\w+)(?: updates (\"(?:[^\"\\]|\\.)*\"))?$", lines.take())
            program.block.results.append(_value(names, match[1]))
            program.outputs.append(Port(json.loads(match[2]), match[3], json.loads(match[4]) if match[4] else None))  # type: ignore[arg-type]
        else:
            program.block.ops.append(_op(lines, names))
    return program


class _Lines:
    """Lines without comments and blanks, one at a time."""

    def __init__(self, text: str) -> None:
        self.lines = [line.split("  ; ")[0].strip() for line in text.splitlines()]
        self.lines = [line for line in self.lines if line]
        self.at = 0

    def peek(self) -> str | None:
        return self.lines[self.at] if self.at < len(self.lines) else None

    def take(self) -> str:
        line = self.peek()
        if line is None:
            raise IRError("the text ends too early")
        self.at += 1
        return line


def _match(pattern: str, line: str) -> re.Match[str]:
    match = re.match(pattern, line)
    if match is None:
        raise IRError(f"not IR: {line}")
    return match


def _value(names: Mapping[str, Value], name: str) -> Value:
    if name not in names:
        raise IRError(f"{name} is read before it is defined")
    return names[name]


def _hint(name: str) -> str:
    stem = name[1:].split(".")[0]
    return "" if stem == "v" else stem


def _op(lines: _Lines, names: dict[str, Value]) -> Op:
    match = _match(r"((?:%[\w.]+(?:, )?)*) = (\w+)\(([^)]*)\)(.*) : (.*?)( \{)?$", lines.take())
    inputs = [_value(names, name) for name in re.findall(r"%[\w.]+", match[3])]
    attrs = dict(_attrs(match[4]))
    blocks = [_body(lines)] if match[6] else []
    types = [parse_type(t) for t in re.findall(r"\w+\[[^\]]*\]", match[5])]
    op = Op(match[2], inputs, attrs, types, blocks)
    for name, value in zip(re.findall(r"%[\w.]+", match[1]), op.outputs, strict=True):
        value.name = _hint(name)
        names[name] = value
    return op


def _body(lines: _Lines) -> Block:
    head = lines.take()
    if not head.startswith("body("):
        raise IRError(f"a body is wanted: {head}")
    block, names = Block(), {}
    for name, kind in re.findall(r"(%[\w.]+): (\w+\[[^\]]*\])", head):
        names[name] = Value(parse_type(kind), _hint(name))
        block.params.append(names[name])
    while (line := lines.peek()) is not None and not line.startswith("yield"):
        block.ops.append(_op(lines, names))
    block.results = [_value(names, name) for name in re.findall(r"%[\w.]+", lines.take())]
    if lines.take() != "}":
        raise IRError("a body ends with }")
    return block


def _attrs(text: str) -> Iterator[tuple[str, Any]]:
    for name, sizes, plain in re.findall(r" (\w+)=(?:<([^>]*)>|(\"(?:[^\"\\]|\\.)*\"|\[[^\]]*\]|\S+))", text):
        if plain:
            value = json.loads(plain)
            yield name, tuple(value) if isinstance(value, list) else value
        elif name == "shape":
            yield name, tuple(parse_size(part) for part in sizes.split(",") if part.strip())
        else:
            yield name, parse_size(sizes)


def parse_type(text: str) -> TensorType:
    """``float32[T, B]``."""
    match = re.fullmatch(r"(\w+)\[(.*)\]", text.strip())
    if match is None or match[1] not in DTYPES:
        raise IRError(f"not a type: {text}")
    return tensor([parse_size(part) for part in match[2].split(",") if part.strip()], match[1])


def same_program(a: Program, b: Program) -> bool:
    """Whether two programs are the same but for names and origins."""
    guards = [[(g.left, g.right, g.message) for g in p.guards] for p in (a, b)]
    return a.name == b.name and a.inputs == b.inputs and a.outputs == b.outputs and guards[0] == guards[1] and _same_block(a.block, b.block)


def _same_block(a: Block, b: Block) -> bool:
    if len(a.params) != len(b.params) or len(a.ops) != len(b.ops) or len(a.results) != len(b.results):
        return False
    pairs = dict(zip(a.params, b.params, strict=True))
    if any(x.type != y.type for x, y in pairs.items()):
        return False
    for left, right in zip(a.ops, b.ops, strict=True):
        alike = left.name == right.name and left.attrs == right.attrs and len(left.inputs) == len(right.inputs)
        if not alike or any(pairs.get(x) is not y for x, y in zip(left.inputs, right.inputs, strict=True)):
            return False
        if [v.type for v in left.outputs] != [v.type for v in right.outputs] or len(left.blocks) != len(right.blocks):
            return False
        if not all(_same_block(x, y) for x, y in zip(left.blocks, right.blocks, strict=True)):
            return False
        pairs.update(zip(left.outputs, right.outputs, strict=True))
    return all(pairs.get(x) is y for x, y in zip(a.results, b.results, strict=True))
