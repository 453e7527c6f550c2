"""Passes: pairs of programs before and after, equal results on the reference, and nothing left to do a second time.

A pair is ``tests/passes/<pass>.<what>.in.ir`` and ``.out.ir``, as they are printed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphspec.autodiff import gradients
from graphspec.check import choose_sizes
from graphspec.errors import SpecError
from graphspec.ir.builder import Builder
from graphspec.ir.core import FLOATS, Port, Program, scan_parts, tensor
from graphspec.ir.rewrite import copy_program
from graphspec.ir.text import parse_program, print_program, same_program
from graphspec.ir.verify import verify
from graphspec.open import open_spec, pick_module
from graphspec.passes import ARRAYS, KERNELS, PASSES, Pass, optimise
from graphspec.passes.told import Count, PassReport, Told, told
from graphspec.plan import make_plan, product_flops
from graphspec.program import backward_program, forward_program, infer, named_parameters
from graphspec.reference import interpret
from graphspec.sizes import Size
from graphspec.training.step import set_up, training_program
from random_models import Models
from random_programs import Generator, draw_arguments

HERE = Path(__file__).parent
BY_NAME: dict[str, Pass] = dict((*PASSES, *ARRAYS, *KERNELS))
ENDS = {"arrays": ARRAYS, "kernels": KERNELS}
"""What comes after the passes that all devices share."""
PAIRS = sorted(path.name.removesuffix(".in.ir") for path in (HERE / "passes").glob("*.in.ir"))

Arrays = Mapping[str, np.ndarray[Any, Any]]


def draw(program: Program, letters: Mapping[str, int] | None = None, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """Arguments for any program; whole numbers are such that its index checks let them pass."""
    rng = np.random.default_rng(seed)
    letters = choose_sizes(program) if letters is None else letters
    checks = [op.attrs for op in program.block.walk() if op.name == "check_index"]
    low = max((a["base"] for a in checks), default=1)
    high = min((a["base"] + a["size"].evaluate(letters) for a in checks), default=4)
    arguments: dict[str, np.ndarray[Any, Any]] = {}
    for port, v in zip(program.inputs, program.block.params, strict=True):
        shape = [n.evaluate(letters) for n in v.shape]
        drawn = rng.uniform(0.1, 1, shape) if v.dtype in FLOATS else rng.integers(low, high, shape) if shape else np.array(5)
        arguments[port.name] = drawn.astype(v.dtype)
    return arguments


REORDERS = {"parts", "sums", "stages", "products", "tables", "vectors"}
"""Passes that add up in another order, so that the last bits may differ; the others compute every number by the same operations."""


def agree(wanted: Arrays, found: Arrays, exactly: bool = True) -> None:
    assert wanted.keys() == found.keys()
    for name, value in wanted.items():
        assert found[name].dtype == value.dtype
        if exactly or value.dtype not in FLOATS:
            np.testing.assert_array_equal(found[name], value, err_msg=name)
        else:
            largest = np.abs(value, where=np.isfinite(value), out=np.zeros_like(value)).max(initial=0)
            np.testing.assert_allclose(found[name], value, rtol=1e-10, atol=1e-12 * largest, err_msg=name)


def run(name: str, program: Program) -> Told:
    """The pass on a program; it verifies, and a second time there is nothing left to do."""
    told = BY_NAME[name](program)
    verify(program)
    once = print_program(program)
    assert not BY_NAME[name](program), f"{name} goes on"
    assert print_program(program) == once
    return told


# -- pairs ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", PAIRS)
def test_pair(pair: str) -> None:
    before, after = ((HERE / "passes" / f"{pair}.{side}.ir").read_text(encoding="utf-8") for side in ("in", "out"))
    program = parse_program(before)
    verify(program)
    told = run(pair.split(".")[0], program)
    assert print_program(program) == after
    assert bool(told) == (before != after)
    first, second = parse_program(before), parse_program(after)
    assert print_program(first) == before
    for letters in ({"B": 2, "T": 3, "S": 4}, {"B": 1, "T": 1, "S": 1}, {"B": 3, "T": 0, "S": 2}):
        arguments = draw(first, letters)
        agree(interpret(first, arguments), interpret(second, arguments), pair.split(".")[0] not in REORDERS)


def test_every_pass_has_a_pair_that_changes_something() -> None:
    texts = {pair: [(HERE / "passes" / f"{pair}.{side}.ir").read_text(encoding="utf-8") for side in ("in", "out")] for pair in PAIRS}
    assert {pair.split(".")[0] for pair, (before, after) in texts.items() if before != after} == set(BY_NAME)
    assert len(list((HERE / "passes").iterdir())) == 2 * len(PAIRS)


def test_a_check_that_is_kept_still_fails() -> None:
    program = parse_program((HERE / "passes" / "dead-code.checks.out.ir").read_text(encoding="utf-8"))
    arguments = draw(program, {"B": 2, "T": 3})
    arguments["index"][2, 1] = 5
    with pytest.raises(SpecError) as caught:
        interpret(program, arguments)
    assert caught.value.code == "E0310"


def test_what_a_pass_did_is_told() -> None:
    program = parse_program((HERE / "passes" / "dead-code.ops.in.ir").read_text(encoding="utf-8"))
    assert [(r.name, r.sentences) for r in optimise(program, check=True) if r.told] == [("dead-code", ["4 ops removed"])]
    assert not any(r.told for r in optimise(program, check=True))


def test_runs_of_one_pass_are_told_as_one() -> None:
    assert [f"{Count(n):matrix|matrices} and {Count(1234)}" for n in (1, 2)] == ["1 matrix and 1,234", "2 matrices and 1,234"]
    report = PassReport("products")
    for numbers, moved in (((1200, 1), 0), ((0, 0), 1), ((8, 2), 0)):
        report.add(told({"{:product} became {}": numbers, "{:op} moved": moved}), 0.25)
    assert report.sentences == ["1,208 products became 3", "1 op moved"] and report.seconds == 0.75


# -- whole specs ---------------------------------------------------------------------------------------------------------

ENTRIES: dict[str, tuple[str | None, ...]] = {
    "lstm": ("network({rnn_size = 3, n_layers = 2})",),
    "char_rnn": ("unroll(5, 3, 2, {})", "unroll(5, 3, 1, {dropout = true})"),
    "columns": ("stack(rnn, 2, 3, 2)", "stack(lstm, 2, 3, 2, 0.3)", "gru(2, 3)", "peephole(2, 3)"),
    "feedback": ("iterate()", "say('greedy')", "say('sample')"),
}
"""How to open specs that return no module."""
SPECS = {path.stem: path for folder in (HERE.parent / "specs", HERE / "specs") for path in sorted(folder.glob("*.spec"))}
FOR_PAIRS = {"embedding": 2, "hidden": 2, "data.batch": 2, "data.size": 40}
EXPERIMENTS: dict[str, dict[str, object]] = {
    "char_lm": {"rnn_size": 3, "data.batch": 2, "data.seq_len": 4},
    "word_lm": {"rnn_size": 3, "data.batch": 2, "data.seq_len": 4, "data.vocab": 9},
    "seq2seq": FOR_PAIRS,
    "translate": {**FOR_PAIRS, "cell": 4, "align": 3},
    "adding": {"size": 3, "data.batch": 2, "data.length": 5},
}


def test_every_entry_is_of_a_spec() -> None:
    assert ENTRIES.keys() | EXPERIMENTS.keys() <= SPECS.keys()
    assert {path.stem for path in SPECS.values() if "experiment {" in path.read_text(encoding="utf-8")} == EXPERIMENTS.keys()


def spec_programs() -> dict[str, Callable[[], Program]]:
    found: dict[str, Callable[[], Program]] = {}
    for name in SPECS.keys() - EXPERIMENTS.keys():
        for i, entry in enumerate(ENTRIES.get(name, (None,))):
            for direction in (forward_program, backward_program):
                found[f"{name}-{i}-{direction.__name__}"] = lambda n=name, e=entry, d=direction: module_program(n, e, d)  # type: ignore[misc]
    for name in EXPERIMENTS:
        found[f"{name}-training"] = lambda n=name: experiment_program(n)  # type: ignore[misc]
    return found


def module_program(name: str, entry: str | None, direction: Callable[..., Program]) -> Program:
    module = pick_module(open_spec(SPECS[name], entry))
    named_parameters(module)
    return direction(infer(module, "float64"), True)


def experiment_program(name: str) -> Program:
    return training_program(set_up(open_spec(SPECS[name], options=EXPERIMENTS[name]).result, "float64"))


PROGRAMS = spec_programs()


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_specs_give_the_same_before_and_after_each_pass(name: str) -> None:
    program = PROGRAMS[name]()
    verify(program)
    arguments = draw(program)
    wanted = interpret(program, arguments)
    assert all(np.all(np.isfinite(a)) for a in wanted.values())
    origins = {str(op.origin) for op in program.block.walk()}
    exactly = True
    for each, _ in PASSES:
        run(each, program)
        exactly = exactly and each not in REORDERS
        agree(wanted, interpret(program, arguments), exactly)
    for end in ENDS.values():
        last = copy_program(program)
        for each, _ in end:
            run(each, last)
            agree(wanted, interpret(last, arguments), exactly)
        assert {str(op.origin) for op in last.block.walk()} <= origins


@pytest.mark.parametrize("name", [name for name in sorted(PROGRAMS) if "forward" not in name])
def test_gradients_keep_no_more_than_before(name: str) -> None:
    """Fewer bytes a step in what loops stack, but for what is stacked to be multiplied at once."""
    before = PROGRAMS[name]()
    after = copy_program(before)
    for each, _ in PASSES:
        if each not in REORDERS:
            run(each, after)
    assert same_program(before, PROGRAMS[name]()), "a copy was changed"
    letters = choose_sizes(before)

    def stacked(program: Program) -> int:
        scans = [op for op in program.block.ops if op.name == "scan"]
        return sum(int(np.prod([n.evaluate(letters) for n in v.shape])) for op in scans for v in op.outputs)

    assert stacked(after) <= stacked(before)


# -- random programs -----------------------------------------------------------------------------------------------------


def backward_of(program: Program) -> Program:
    """The gradients of every float result by every float input."""
    program = copy_program(program)
    b = Builder(program.block, "float64")
    wrt = [v for v in program.block.params if v.type.is_float]
    results = {v: b.param(v.type, f"d{i}") for i, v in enumerate(dict.fromkeys(program.block.results)) if v.type.is_float}
    found = [(v, g) for v, g in zip(wrt, gradients(b, results, wrt), strict=True) if g is not None]
    b.block.results = [g for _, g in found]
    ports = [*program.inputs, *(Port(v.name, "input") for v in results.values())]
    return Program(b.block, ports, [Port(f"g{v.name}", "output") for v, _ in found])


@pytest.mark.parametrize("end", ENDS)
@settings(max_examples=25)
@given(seed=st.integers(0, 2**32))
def test_random_programs_and_their_gradients(seed: int, end: str) -> None:
    forward = Generator(seed).program()
    for program in (forward, backward_of(forward)):
        verify(program)
        original = copy_program(program)
        for name, _ in (*PASSES, *ENDS[end]):
            run(name, program)
        for letters in ({"B": 2, "T": 3}, {"B": 3, "T": 0}):
            arguments = {**draw(original, letters, seed), **draw_arguments(forward, letters, seed)}
            with np.errstate(all="ignore"):
                agree(interpret(original, arguments), interpret(program, arguments), exactly=False)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("seed", [0, 5156])
def test_random_models_have_nothing_left_to_do(seed: int, end: str) -> None:
    """The second one: a residual that is kept in the place of another gives a third."""
    program = backward_of(Models(seed).program())
    for name, _ in (*PASSES, *ENDS[end]):
        run(name, program)


def test_residuals_are_dropped_that_plain_arithmetic_gives_back() -> None:
    """The backward loop of an LSTM-like cell reads gates and states, and no products of them."""
    b = Builder(dtype="float64")
    T, B = Size.letter("T"), Size.letter("B")
    xs = b.param(tensor([T, B, 8], "float64"), "xs")
    h0, c0 = b.param(tensor([B, 2], "float64"), "h0"), b.param(tensor([B, 2], "float64"), "c0")

    def cell(i: Builder, t: Any, consts: Any, carries: Any, xs: Any) -> Any:
        h, c = carries
        gates = [i.slice(xs[0], 1, 2 * k, 2) for k in range(4)]
        new_c = i.add(i.mul(i.sigmoid(i.add(gates[0], h)), c), i.mul(i.sigmoid(gates[1]), i.tanh(gates[2])))
        new_h = i.mul(i.sigmoid(gates[3]), i.tanh(new_c))
        return [new_h, new_c], [new_h], []

    _, (hs,), _ = b.scan(T, [], [h0, c0], [xs], cell)
    (dx,) = gradients(b, {hs: b.param(hs.type, "d")}, [xs])
    assert dx is not None
    b.block.results = [dx]
    program = Program(b.block, [Port(v.name, "input") for v in b.block.params], [Port("dx", "output")])
    optimise(program, check=True)

    forward, _ = (op for op in program.block.ops if op.name == "scan")
    kept = [v.op.name for v in scan_parts(forward).body_ys if v.op is not None]
    assert sorted(kept) == ["add", "sigmoid", "sigmoid", "sigmoid", "tanh", "tanh"], "the gates, and the state, which is the add"


GATES = {
    "Linears of its own": ("", "nn.CAddTable()({nn.Linear(4, 4)(x), nn.Linear(4, 4)(h)})"),
    "a JoinTable each": ("", "nn.Linear(8, 4)(nn.JoinTable(2)({x, h}))"),
    "a JoinTable that they share": ("local both = nn.JoinTable(2)({x, h})", "nn.Linear(8, 4)(both)"),
}
"""What a cell's gates read of its input and state, as people write it: what comes before the gates, and a gate."""


def test_joined_inputs_take_no_more_work_than_inputs_apart() -> None:
    """The input's half of every product and gradient is done on the table of its symbols, and the state's alone in the loop."""
    found = {}
    for name, (before, gate) in GATES.items():
        text = f"""
            local token, h = nn.Identity{{'B', dtype = 'int32'}}(), nn.Identity{{'B', 4}}()
            local x = nn.LookupTable(9, 4)(token)
            {before}
            local g, c = nn.Sigmoid()({gate}), nn.Tanh()({gate})
            local new = nn.CAddTable()({{c, nn.CMulTable()({{g, h}})}})
            local cell = nn.gModule({{token, h}}, {{nn.Identity()(new), new}})
            local xs = nn.Identity{{'T', 'B', dtype = 'int32'}}()
            return nn.gModule({{xs}}, {{nn.SelectTable(1)(nn.Scan(cell){{xs = xs}})}})
        """
        program = backward_program(infer(pick_module(open_spec(text)), "float64"), training=True)
        optimise(program, check=True, kernels=True)
        loops = [op.blocks[0] for op in program.block.ops if op.name == "scan"]
        inside = sorted(str(op.inputs[1].shape) for body in loops for op in body.ops if op.name == "matmul")
        found[name] = product_flops(make_plan(program), {"T": 7, "B": 3}), inside
    assert len(set(map(str, found.values()))) == 1, found
