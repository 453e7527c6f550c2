"""Memory that kernels work in: what happens where there is none, and that what is taken is given back."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compiled import NEEDS_COMPILER
from graphspec.ir.builder import Builder
from graphspec.ir.core import Port, Program, Value, tensor
from graphspec.plan import make_plan
from graphspec.sizes import Size
from graphspec_runtime import Executable, PlanError, compiler, open_device

pytestmark = NEEDS_COMPILER

HERE = Path(__file__).parent
T = Size.letter("T")


@pytest.mark.skipif(sys.platform != "linux", reason="a limit of address space is Linux's")
@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize("what", ["rows", "packed"])
def test_memory_that_runs_out(what: str, threads: str) -> None:
    done = subprocess.run([sys.executable, str(HERE / "starved.py"), what, threads], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_a_bad_index_in_a_loop_leaks_nothing() -> None:
    """The loop's packed matrix is given back, a thousand times."""
    n = 256
    b = Builder(dtype="float64")
    words, table = b.param(tensor([T, 2], "int32"), "words"), b.param(tensor([3, n], "float64"), "table")
    w = b.param(tensor([n, n], "float64"), "w")

    def body(i: Builder, t: Value, consts: list[Value], carries: list[Value], xs: list[Value]) -> Any:
        row = i.gather(consts[0], i.check_index(xs[0], 3, 0))
        return [i.add(i.matmul(carries[0], consts[1]), row)], [], []

    last, _, _ = b.scan(T, [table, w], [b.full(0.0, [2, n])], [words], body)
    b.block.results = list(last)
    program = Program(b.block, [Port(name, "input") for name in ("words", "table", "w")], [Port("last", "output")])
    run = Executable(make_plan(program, "c"), open_device("native", 1))
    given = {"words": np.array([[0, 1]] * 4 + [[0, 3]], "int32"), "table": np.zeros((3, n)), "w": np.zeros((n, n))}

    def failing(times: int) -> None:
        for _ in range(times):
            with pytest.raises(PlanError) as caught:
                run.call(given)
            assert caught.value.kind == "index"

    failing(10)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    failing(1000)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < 40 * n * n * 8, "kilobytes, of a matrix a call"


def test_a_kept_library_is_looked_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """By each program that loads it: it is hashed to see that it is whole."""
    b = Builder(dtype="float32")
    x = b.param(tensor([2], "float32"), "x")
    b.block.results = [b.neg(x)]
    plan = make_plan(Program(b.block, [Port("x", "input")], [Port("y", "output")]), "c")
    given = {"x": np.ones(2, "float32")}
    Executable(plan, open_device("native")).call(given)
    looked: list[Path] = []
    whole = compiler._whole
    monkeypatch.setattr(compiler, "_whole", lambda library: looked.append(library) or whole(library))
    Executable(plan, open_device("native")).call(given)
    assert len(looked) == 1


def test_rows_of_a_table_of_more_than_two_to_the_31_numbers() -> None:
    """Where a row begins is not cut off at 32 bits.  Of the table's eight gigabytes two pages are touched."""
    rows, n = 2**21 + 1, 1024
    try:
        given = {"table": np.zeros((rows, n), "float32"), "index": np.array([rows - 1, 0], "int32")}
    except MemoryError:
        pytest.skip("the system promises less memory than that")
    given["table"][-1] = 1
    b = Builder(dtype="float32")
    table, index = b.param(tensor([rows, n], "float32"), "table"), b.param(tensor([2], "int32"), "index")
    b.block.results = [b.gather(table, index)]
    program = Program(b.block, [Port("table", "parameter"), Port("index", "input")], [Port("y", "output")])
    y = Executable(make_plan(program, "c"), open_device("native")).call(given)["y"]
    np.testing.assert_array_equal(y, np.repeat([[1], [0]], n, 1))
