"""IR as text: what is printed reads back as the same program, and text that is none is refused in one way."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphspec.errors import Origin, Source, Span
from graphspec.ir.builder import Builder
from graphspec.ir.core import Guard, Port, Program, Value, tensor
from graphspec.ir.ops import IRError
from graphspec.ir.text import MAX_DEPTH, parse_program, parse_type, print_program, same_program
from graphspec.ir.verify import verify
from graphspec.sizes import Size
from random_programs import Generator

B, T = Size.letter("B"), Size.letter("T")


def finished(b: Builder, results: list[Value], **more: Any) -> Program:
    """The program that hands back these."""
    b.block.results = results
    ports = [Port(v.name or f"p{i}", "input") for i, v in enumerate(b.block.params)]
    return Program(b.block, ports, [Port(f"o{i}", "output") for i in range(len(results))], **more)


def reads_back(program: Program) -> Program:
    """Text and structure survive a round trip; returns what was read."""
    text = print_program(program)
    again = parse_program(text)
    assert print_program(again) == text
    assert same_program(program, again) and same_program(again, program)
    verify(again)
    return again


def constant(value: Any, dtype: str) -> Program:
    b = Builder()
    b.param(tensor([B], "float32"), "x")
    return finished(b, [b.full(value, (B, 2), dtype)])


CONSTANTS = [
    (0.0, "float64"), (-0.0, "float64"), (math.nan, "float64"), (math.inf, "float64"), (-math.inf, "float32"), (1e-320, "float64"),
    (0.1 + 0.2, "float64"), (1.7976931348623157e308, "float64"), (3, "int32"), (-7, "int64"), (True, "bool"), (False, "bool"),
    (1, "float32"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "dtype"), CONSTANTS, ids=str)
def test_constants_keep_every_bit(value: Any, dtype: str) -> None:
    found = reads_back(constant(value, dtype)).block.ops[0].attrs["value"]
    assert type(found) is type(value)
    assert math.isnan(found) if math.isnan(value) else found == value
    assert math.copysign(1, found) == math.copysign(1, value)


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_any_float_constant_reads_back(value: float) -> None:
    reads_back(constant(value, "float64"))


@pytest.mark.parametrize(("one", "other"), [(0.0, -0.0), (0.0, math.nan), (1, 1.0), (1, True), (math.inf, -math.inf)])
def test_constants_that_differ_are_not_the_same_program(one: Any, other: Any) -> None:
    assert same_program(constant(one, "float64"), constant(one, "float64"))
    assert not same_program(constant(one, "float64"), constant(other, "float64"))


def scans(reverse: bool, with_lengths: bool) -> Program:
    """A scan in a scan over a masked carry, with consts, ys, sums and an inner index read from outside."""
    b = Builder(dtype="float64")
    xs, h0 = b.param(tensor([T, 3, B], "float64"), "xs"), b.param(tensor([B], "float64"), "h0")
    lengths = b.param(tensor([B], "int32"), "lengths")

    def inner(i: Builder, t: Value, consts: list[Value], carries: list[Value], xs: list[Value]) -> Any:
        return [i.add(carries[0], xs[0])], [], [i.mul(xs[0], consts[0])]

    def outer(i: Builder, t: Value, consts: list[Value], carries: list[Value], xs: list[Value]) -> Any:
        (h,), _, (total,) = i.scan(3, [carries[0]], carries, xs, inner, reverse=not reverse)
        if with_lengths:
            h = i.where(i.compare(i.broadcast(t, (B,), ()), consts[0], "lt"), h, carries[0])
        return [h], [total, t], [total]

    last, ys, sums = b.scan(T, [lengths], [h0], [xs], outer, reverse)
    return finished(b, [*last, *ys, *sums])


@pytest.mark.parametrize("with_lengths", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_scans_within_scans(reverse: bool, with_lengths: bool) -> None:
    again = reads_back(scans(reverse, with_lengths))
    (scan,) = (op for op in again.block.ops if op.name == "scan")
    assert scan.attrs["reverse"] is reverse and scan.attrs["trip"] == T
    assert not same_program(again, scans(not reverse, with_lengths))
    assert not same_program(again, scans(reverse, not with_lengths))


def test_scans_with_nothing_in_a_place() -> None:
    """No consts, no carries, no xs; no results of a kind."""
    b = Builder(dtype="float64")
    b.param(tensor([T], "float64"), "x")
    _, ys, _ = b.scan(T, [], [], [], lambda i, t, *_: ([], [t], []))
    _, _, sums = b.scan(T + 1, [], [], [], lambda i, t, *_: ([], [], [i.full(1.0)]))
    reads_back(finished(b, [*ys, *sums]))


def test_ports_guards_and_names_of_every_kind() -> None:
    b = Builder()
    names = ["x", "x", "x.1", "v", "", "7", "übung", "a b", "make_lstm[1].weight", "%", "_", "v0"]
    params = [b.param(tensor([B, 2 * T + 1], "float32"), name) for name in names]
    total = b.add(params[0], params[1])
    total.name = "x"
    odd = ['a "quoted" one', "semi  ; colon", "back\\slash", "new\nline", "ünï", "] : {", "%v.0", "->"]
    ports = [*(Port(name, "input") for name in odd), Port("s", "state"), Port("n", "noise"), Port("g", "gradient"), Port("p", "parameter")]
    guards = [Guard(2 * B, T + 1, 'said "so"  ; here', Origin()), Guard(B, B * T - 3, "", Origin())]
    guards.append(Guard(B, T, "<= this", Origin(), at_most=True))
    b.block.results = [total, params[8]]
    program = Program(b.block, ports, [Port('new "s"', "state", "s"), Port("loss", "loss")], guards, "train")
    again = reads_back(program)
    assert (again.name, again.inputs, again.outputs, again.guards) == ("train", ports, program.outputs, guards)


def test_origins_are_comments() -> None:
    b = Builder()
    x = b.param(tensor([B], "float32"), "x")
    source = Source("odd  ; name\nwith = {.spec", "nn.Tanh()")
    with b.at(Origin(Span(source, 0, 9))):
        y = b.tanh(x)
    program = finished(b, [y])
    text = print_program(program)
    assert "; odd" in text and same_program(parse_program(text), program)


@settings(max_examples=40)
@given(st.integers(0, 2**32))
def test_random_programs_read_back(seed: int) -> None:
    reads_back(Generator(seed).program())


def test_inference_letters_read_back() -> None:
    assert parse_type("float32[?1B, 2*?12n, B^2]") == tensor([Size.letter("?1B"), 2 * Size.letter("?12n"), B * B], "float32")
    assert parse_type("bool[]") == tensor([], "bool")


# -- text that is no program ---------------------------------------------------------------------------------------------

GOOD = """program p
  in  %x: float32[B, 3] "x" input
  in  %w: float32[3, 4] "w" parameter
  in  %n: float32[T] "n" noise
  guard B == 2*T "why"
  %v.0 = matmul(%x, %w) : float32[B, 4]                                     ; a.spec:1:1
  %v.2, %v.3 = scan(%w | %v.0 | ) carries=1 consts=1 reverse=false trip=<T> ys=1 : float32[B, 4], int32[T] {
    body(%t: int32[], %w.1: float32[3, 4], %h: float32[B, 4])
    %v.1 = tanh(%h) : float32[B, 4]
    yield %v.1, %t
    }
  %v.4 = broadcast(%w) axes=[1, 2] shape=<B, 3, 4> : float32[B, 3, 4]
  %v.5 = reduce_sum(%v.4) axes=[0] : float32[3, 4]
  %v.6 = slice(%v.5) axis=0 length=<2> start=<1> : float32[2, 4]
  %v.7 = transpose(%v.6) axes=[1, 0] : float32[4, 2]
  %v.8 = full() dtype="float32" shape=<4, 2> value=NaN : float32[4, 2]
  %v.9 = compare(%v.7, %v.8) how="lt" : bool[4, 2]
  %v.10 = pad(%v.6) after=<B> axis=1 before=<0> : float32[2, B + 4]
  %v.11 = reshape(%x) shape=<3*B> : float32[3*B]
  %v.12 = cast(%x) dtype="bool" : bool[B, 3]
  %v.13 = concat(%x, %x) axis=0 : float32[2*B, 3]
  %v.14 = iota() dtype="int64" size=<B> : int64[B]
  %v.15 = scatter_add(%v.14, %x) size=<5> : float32[5, 3]
  %v.16 = reduce_max(%x) axes=[1] : float32[B]
  %v.17 = place(%v.14, %v.16) size=<5> : float32[B, 5]
  %v.18 = size() dtype="float64" size=<T> : float64[]
  %v.19 = check_index(%v.14) base=0 size=<B> : int64[B]
  %v.20 = full() dtype="int64" shape=[] value=3 : int64[]
  %v.21 = random(%v.20, %v.20) dtype="float32" kind="normal" shape=<B> site=1 : float32[B]
  %v.22 = shift(%v.5, %v.4) reverse=true : float32[B, 3, 4]
  out %v.2 "y" output
  out %v.5 "z" state updates "w"
"""

BAD = {
    "nothing at all": ("", None, ""),
    "another beginning": ("program p", "prog p", "not IR"),
    "two names": ("program p", "program p q", "not IR"),
    "an unknown dtype": ("%x: float32[B, 3]", "%x: float16[B, 3]", "not a type"),
    "a size that is none": ("float32[B, 3] \"x\"", "float32[B 3] \"x\"", "not a size"),
    "an empty size": ("float32[B, 3] \"x\"", "float32[B, , 3] \"x\"", "not a size"),
    "an unknown role": ('"x" input', '"x" inputs', "not a role"),
    "a string that does not end": ('"x" input', '"x input', "not IR"),
    "a bad escape": ('"why"', '"\\q"', "not IR"),
    "a bad guard": ("B == 2*T", "B = 2*T", "not IR"),
    "a value that does not exist": ("matmul(%x, %w)", "matmul(%x, %nobody)", "read before"),
    "a name twice": ("%v.2, %v.3", "%v.2, %x", "defined twice"),
    "two parameters of one name": ("%w.1: float32[3, 4], %h", "%h: float32[3, 4], %h", "defined twice"),
    "more values than types": (": float32[B, 4], int32[T]", ": float32[B, 4]", "2 values of 1 types"),
    "junk between attributes": ("carries=1 consts=1", "carries=1 and consts=1", "not IR"),
    "an attribute twice": ("carries=1", "carries=1 carries=1", "two attributes"),
    "a number that is none": ("carries=1", "carries=1x", "not IR"),
    "an attribute of no size": ("trip=<T>", "trip=<T T>", "not a size"),
    "operands in other places": ("scan(%w | %v.0 | )", "scan(%w, %v.0 |  | )", "consts | carries | xs"),
    "a place too few": ("scan(%w | %v.0 | )", "scan(%w | %v.0)", "consts | carries | xs"),
    "a body that reads from outside": ("tanh(%h)", "tanh(%v.0)", "read before"),
    "no body": ("    body(%t: int32[], %w.1: float32[3, 4], %h: float32[B, 4])\n", "", "not IR"),
    "a parameter without a type": ("%t: int32[], ", "%t, ", "not IR"),
    "no yield": ("    yield %v.1, %t\n", "", "not IR"),
    "no end of a body": ("    }\n", "", "not IR"),
    "the text ends in a body": (GOOD[GOOD.index("    yield") :], "", "too early"),
    "a result that does not exist": ("out %v.2", "out %v.99", "read before"),
    "an op after the results": ('updates "w"\n', 'updates "w"\n  %q = tanh(%x) : float32[B, 3]\n', "not IR"),
    "an input after an op": ("  out %v.2", '  in  %q: float32[] "q" input\n  out %v.2', "not IR"),
}  # fmt: skip


def test_the_good_text_is_one() -> None:
    verify(parse_program(GOOD))
    assert print_program(parse_program(GOOD)).split() == GOOD.replace("; a.spec:1:1", "").split()


@pytest.mark.parametrize("case", BAD)
def test_refused(case: str) -> None:
    old, new, words = BAD[case]
    assert old in GOOD
    text = GOOD.replace(old, new, 1) if new is not None else ""
    with pytest.raises(IRError, match=words.replace("|", r"\|") or "too early"):
        parse_program(text)


def test_bodies_too_deep_are_refused() -> None:
    head, foot = "program p\n", ""
    for _ in range(5000):
        head += "scan( |  | ) carries=0 consts=0 reverse=false trip=<1> ys=0 {\nbody(%t: int32[])\n"
        foot += "yield\n}\n"
    with pytest.raises(IRError, match=f"more than {MAX_DEPTH}"):
        parse_program(head + foot)
    with pytest.raises(IRError):
        parse_program(GOOD.replace("carries=1", "carries=" + "[" * 5000))


PIECES = """%v.0 % < > [ ] ( ) { } " \\ = : , | -1 B é scan body( yield in out guard float32 shape=<2> axes=[1,2] NaN trip=<B^99>""".split()
PIECES += [" ", "\n", "  ; ", "\x00", "9" * 5000]
KINDS = st.sampled_from(["drop", "insert", "swap", "line"])
edits = st.tuples(KINDS, st.integers(0, len(GOOD) - 1), st.integers(1, 12), st.sampled_from(PIECES))


def mutated(text: str, changes: list[tuple[str, int, int, str]]) -> str:
    for kind, at, length, piece in changes:
        at = at % (len(text) + 1)
        lines = text.splitlines(keepends=True)
        if kind == "drop":
            text = text[:at] + text[at + length :]
        elif kind == "insert":
            text = text[:at] + piece + text[at:]
        elif kind == "swap":
            text = text[:at] + piece + text[at + length :]
        elif lines:
            taken = lines.pop(at % len(lines))
            lines.insert(length % (len(lines) + 1), taken)
            text = "".join(lines)
    return text


@settings(max_examples=300)
@given(st.lists(edits, min_size=1, max_size=4))
def test_damaged_text_is_a_program_or_an_ir_error(changes: list[tuple[str, int, int, str]]) -> None:
    """Never another exception; what can still be read prints and reads back, and the verifier has a word of its own for it."""
    try:
        program = parse_program(mutated(GOOD, changes))
    except IRError:
        return
    assert same_program(parse_program(print_program(program)), program)
    with suppress(IRError):
        verify(program)


VALUES = """null;true;"text";[];[0];[9];[null];["a"];[0, 0];1.5;-1;7;NaN;<B>;<2, 3>;<Z>;<-1>""".split(";")


@pytest.mark.parametrize("value", VALUES)
def test_any_attribute_with_any_value(value: str) -> None:
    """Read or refused, verified or refused: no other exception."""
    for match in re.finditer(r"(?<= )\w+=(<[^>]*>|\[[^]]*\]|\S+)", GOOD):
        for piece in (match[0].split("=")[0] + "=" + value, ""):
            with suppress(IRError):
                verify(parse_program(GOOD[: match.start()] + piece + GOOD[match.end() :]))


@given(st.text(max_size=60))
def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(IRError):
        parse_program(text)
