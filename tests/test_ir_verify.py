"""The verifier: for each of its rules, programs that break that one."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

import graphspec.ir.verify as rules
from graphspec.errors import NOWHERE, Origin, Source, Span
from graphspec.ir.builder import Builder
from graphspec.ir.core import Block, Guard, Op, Port, Program, Value, scan_parts, tensor
from graphspec.ir.ops import IRError
from graphspec.ir.verify import verify
from graphspec.sizes import Size

B, T = Size.letter("B"), Size.letter("T")
FLOATS = tensor([B, 3], "float64")


def good() -> Program:
    """One of everything that rules speak of: inputs, an update, a guard, a scan in a scan."""
    b = Builder(dtype="float64")
    x, s, w = b.param(FLOATS, "x"), b.param(FLOATS, "s"), b.param(tensor([T, B, 3], "float64"), "w")

    def inner(i: Builder, t: Value, consts: list[Value], carries: list[Value], xs: list[Value]) -> Any:
        return [i.tanh(carries[0])], [], []

    def outer(i: Builder, t: Value, consts: list[Value], carries: list[Value], xs: list[Value]) -> Any:
        (h,), _, _ = i.scan(3, [], [carries[0]], [], inner)
        return [i.add(h, xs[0])], [i.add(consts[0], xs[0])], [xs[0]]

    last, ys, sums = b.scan(T, [x], [s], [w], outer)
    b.block.results = [last[0], b.add(x, sums[0]), *ys]
    inputs = [Port("x", "input"), Port("s", "state"), Port("w", "input")]
    outputs = [Port("new s", "state", "s"), Port("y", "output"), Port("ys", "output")]
    return Program(b.block, inputs, outputs, [Guard(B, T + 1, "", NOWHERE)])


def scan_of(program: Program) -> Op:
    return next(op for op in program.block.ops if op.name == "scan")


def broken(rule: str, change: Callable[[Program], None], words: str = "") -> str:
    """The verifier passes the program, and names this rule once it is changed; returns what it says."""
    program = good()
    verify(program)
    change(program)
    with pytest.raises(IRError, match=f"^{rule}: .*{words}") as caught:
        verify(program)
    return str(caught.value)


def test_v1_a_value_is_read_after_it_is_defined() -> None:
    broken("V1", lambda p: p.block.ops.reverse(), "read before")


def test_v1_what_is_read_is_defined_somewhere() -> None:
    def stray(p: Program) -> None:
        p.block.ops[-1].inputs = (p.block.params[0], Value(FLOATS))

    broken("V1", stray, "read before")


def test_v1_a_value_is_defined_once() -> None:
    broken("V1", lambda p: p.block.ops.append(p.block.ops[-1]), "defined twice")


def test_v1_an_op_does_not_define_a_parameter() -> None:
    def again(p: Program) -> None:
        p.block.ops[-1].outputs = (p.block.params[0],)
        p.block.results[1] = p.block.params[0]

    broken("V1", again, "defined twice")


def test_v1_a_result_is_defined() -> None:
    def stray(p: Program) -> None:
        p.block.results[1] = Value(FLOATS)

    broken("V1", stray, "result")


def test_v1_a_body_hands_back_its_own_values() -> None:
    def outside(p: Program) -> None:
        scan_of(p).blocks[0].results[0] = p.block.params[0]

    broken("V1", outside, "result")


def test_v1_two_scans_do_not_share_a_body() -> None:
    def shared(p: Program) -> None:
        op = scan_of(p)
        p.block.ops.append(Op("scan", op.inputs, op.attrs, [v.type for v in op.outputs], op.blocks))

    broken("V1", shared, "defined twice")


def test_v2_a_body_reads_nothing_from_outside() -> None:
    def outside(p: Program) -> None:
        body = scan_of(p).blocks[0]
        body.ops[-1].inputs = (p.block.params[0], body.ops[-1].inputs[1])

    broken("V2", outside, "a body reads")


def test_v2_nor_from_the_body_around_it() -> None:
    def outside(p: Program) -> None:
        body = scan_of(p).blocks[0]
        (op,) = body.ops[0].blocks[0].ops
        op.inputs = (scan_parts(scan_of(p)).body_consts[0],)

    broken("V2", outside, "a body reads")


def test_v2_what_a_body_defines_stays_inside() -> None:
    def escaped(p: Program) -> None:
        p.block.ops[-1].inputs = (p.block.params[0], scan_of(p).blocks[0].ops[-1].output)

    broken("V2", escaped)


def test_v3_outputs_have_the_types_that_the_rule_gives() -> None:
    def narrowed(p: Program) -> None:
        p.block.ops[-1].output.type = tensor([B, 4], "float64")

    assert "outputs float64[B, 4]; the rule gives float64[B, 3] in add" in broken("V3", narrowed)


def test_v3_there_is_such_a_primitive() -> None:
    def unknown(p: Program) -> None:
        p.block.ops[-1].name = "nought"

    broken("V3", unknown, "no primitive nought")


def test_v3_the_rule_accepts_the_inputs() -> None:
    def one_too_many(p: Program) -> None:
        p.block.ops[-1].inputs *= 2

    broken("V3", one_too_many, "add takes 2 inputs")


ATTRIBUTES: list[tuple[str, dict[str, Any]]] = [
    ("an attribute that tanh does not have", {"axis": 0}),
    ("an attribute that nothing has", {"flavour": 1}),
]


@pytest.mark.parametrize("more", [c[1] for c in ATTRIBUTES], ids=[c[0] for c in ATTRIBUTES])
def test_v3_an_op_has_the_attributes_it_takes(more: dict[str, Any]) -> None:
    broken("V3", lambda p: p.block.ops[-1].attrs.update(more), "takes the attributes none")


KINDS = [{"trip": 3}, {"trip": Size.const(-1)}, {"reverse": 1}, {"consts": True}, {"carries": -1}, {"ys": 1.0}]


@pytest.mark.parametrize("change", KINDS, ids=str)
def test_v3_an_attribute_is_of_its_kind(change: dict[str, Any]) -> None:
    broken("V3", lambda p: scan_of(p).attrs.update(change), f"scan: {next(iter(change))} = ")


@pytest.mark.parametrize("name", ["trip", "reverse", "consts", "carries", "ys"])
def test_v3_no_attribute_is_missing(name: str) -> None:
    broken("V3", lambda p: scan_of(p).attrs.pop(name), "takes the attributes")


BODIES: dict[str, tuple[Callable[[Op], Any], str]] = {
    "no body": (lambda op: setattr(op, "blocks", ()), "one block"),
    "two bodies": (lambda op: setattr(op, "blocks", (*op.blocks, Block())), "one block"),
    "a parameter too few": (lambda op: setattr(op, "inputs", (*op.inputs, op.inputs[-1])), "body of 4"),
    "a parameter too many": (lambda op: op.blocks[0].params.append(Value(FLOATS)), "body of 5"),
    "a result too few": (lambda op: op.blocks[0].results.__delitem__(slice(1, None)), "results for"),
    "a carry of another type": (lambda op: op.blocks[0].results.__setitem__(0, op.blocks[0].params[0]), "carry 0"),
    "an index of another type": (lambda op: setattr(op.blocks[0].params[0], "type", tensor([], "int64")), "the index is"),
    "a const of another type": (lambda op: setattr(op, "inputs", (op.inputs[2], *op.inputs[1:])), "operand 0"),
    "an x without its steps": (lambda op: op.attrs.update(trip=T + 1), "at each of T \\+ 1 steps"),
    "a sum of whole numbers": (lambda op: op.blocks[0].results.append(op.blocks[0].params[0]), "sums are floats"),
}


@pytest.mark.parametrize("case", BODIES)
def test_v3_a_scan_fits_its_body(case: str) -> None:
    change, words = BODIES[case]
    broken("V3", lambda p: change(scan_of(p)), words)


def test_v3_types_are_checked_inside_bodies_too() -> None:
    def inside(p: Program) -> None:
        (inner,) = (op for op in p.block.walk() if op.name == "tanh")
        inner.output.type = tensor([B, 3], "float32")

    broken("V3", inside, "float32")


def test_v4_ports_match_parameters() -> None:
    broken("V4", lambda p: p.inputs.pop(), "2 input ports for 3 parameters")


def test_v4_ports_match_results() -> None:
    broken("V4", lambda p: p.outputs.append(Port("z", "output")), "4 output ports for 3 results")


def test_v4_input_names_differ() -> None:
    broken("V4", lambda p: p.inputs.__setitem__(2, Port("x", "input")), "twice: x")


def test_v4_output_names_differ() -> None:
    broken("V4", lambda p: p.outputs.__setitem__(2, Port("y", "output")), "twice: y")


def test_v5_an_update_has_the_type_of_what_it_updates() -> None:
    broken("V5", lambda p: p.outputs.__setitem__(2, replace(p.outputs[2], updates="x")), "updates x")


def test_v5_an_update_updates_an_input() -> None:
    broken("V5", lambda p: p.outputs.__setitem__(0, replace(p.outputs[0], updates="nobody")), "nobody")


def test_v5_no_input_is_updated_twice() -> None:
    broken("V5", lambda p: p.outputs.__setitem__(1, replace(p.outputs[1], updates="s")), "s is updated twice")


def test_v6_the_letters_of_types_are_those_of_inputs() -> None:
    def stray(p: Program) -> None:
        b = Builder(p.block, "float64")
        b.full(1, [Size.letter("Z"), B])

    broken("V6", stray, "size Z in full")


def test_v6_also_inside_bodies() -> None:
    def stray(p: Program) -> None:
        scan_of(p).blocks[0].params.append(Value(tensor([B * Size.letter("Q")], "float64")))

    broken("V6", stray, "size Q of")


@pytest.mark.parametrize("name", ["size", "slice", "scan"])
def test_v6_the_letters_of_attributes_are_those_of_inputs(name: str) -> None:
    Z = Size.letter("Z")

    def stray(p: Program) -> None:
        b = Builder(p.block, "float64")
        if name == "size":
            b.size_value(Z + B)
        elif name == "slice":
            b.slice(p.block.params[0], 0, Z, 1)
        else:
            b.scan(Z, [], [p.block.params[0]], [], lambda i, t, consts, carries, xs: (carries, [], []))

    broken("V6", stray, f"size Z in {name}")


def test_v6_the_letters_of_guards_are_those_of_inputs() -> None:
    broken("V6", lambda p: p.guards.append(Guard(B, Size.letter("Z"), "", NOWHERE)), "size Z in a guard")


def test_the_place_in_the_spec_is_told() -> None:
    b = Builder()
    x = b.param(FLOATS, "x")
    with b.at(Origin(Span(Source("model.spec", "\nnn.Tanh()"), 1, 10))):
        y = b.tanh(x)
    y.type = tensor([B], "float64")
    b.block.results = [y]
    with pytest.raises(IRError, match=r"in tanh at model\.spec:2:1$"):
        verify(Program(b.block, [Port("x", "input")], [Port("y", "output")]))


def test_every_rule_has_a_test() -> None:
    told = re.findall(r"\bV\d+\b", rules.__doc__ or "")
    assert told == [f"V{i}" for i in range(1, len(told) + 1)] and told
    tested = {name.split("_")[1].upper() for name in globals() if re.match(r"test_v\d+_", name)}
    assert tested == set(told)
    source = rules.__loader__.get_source(rules.__name__)  # type: ignore[union-attr]
    assert set(re.findall(r"\"(V\d+):", source)) == set(told)
