"""Printed C as text: names, places, lines.  What it computes is tested in test_native.py."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from graphspec.cli.main import main
from graphspec.codegen.names import WIDTH, operand_name, places, stem, wrapped
from graphspec.ir.builder import Builder
from graphspec.ir.core import Value
from graphspec.passes import optimise
from graphspec.plan import make_plan
from test_passes import PROGRAMS
from test_plan import B, program


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("next_h", "next_h"), ("make_step[1].Linear.weight", "linear_weight"), ("new input.3.1", "new_input_3_1"), ("", ""), ("[1]", "1"),
        ("Größe", "gr_e"), ("x" * 50, "x" * 32),
    ],
)  # fmt: skip
def test_names(name: str, wanted: str) -> None:
    assert stem(name) == wanted


def test_operands_are_no_words_of_c() -> None:
    assert [operand_name(name, 3) for name in ("int", "linux", "M_PI", "", "7")] == ["int_3", "linux_3", "m_pi_3", "p3", "p3"]


def test_places() -> None:
    assert places(["a.spec:6:12", "b.spec:1:1", "a.spec:8:1"]) == "a.spec:6:12, 8:1; b.spec:1:1"
    assert "*/" not in places(["odd*/name.spec:1:2"]) and "\n" not in places(["odd\nname.spec:1:2"])
    assert places(["caf\udce9.spec:1:2"]) == "caf?.spec:1:2"  # a byte that is no UTF-8, as Python reads names of files


def test_long_lines_are_broken_after_commas() -> None:
    line = "    call(" + ", ".join(f"argument_{i}" for i in range(30)) + ");"
    found = wrapped(line)
    assert len(found) > 2 and all(len(each) <= WIDTH + 1 for each in found)
    assert " ".join(each.strip() for each in found) == line.strip()
    for other in ("short(a, b);", "/* " + "a, " * 80 + "*/", "#pragma omp simd " + "a, " * 80, "x" * 200):
        assert wrapped(other) == [other]


def test_a_plan_reads_well() -> None:
    program = PROGRAMS["char_lm-training"]()
    optimise(program, kernels=True)
    text = make_plan(program, "c").sources["c"]
    assert re.search(r"#define B\d+_next_h \(\(\w+ \*\)m\[\d+\]\)", text)
    assert re.search(r"/\* \S*specs/lstm.spec:[\d:, ]+ \*/\nGS_KERNEL void k\d+_fused_next_h\(", text)
    assert re.search(r"restrict next_h_\d+\b", text)
    assert max(len(line) for line in text.split("\n") if not line.startswith(("/*", "#"))) <= 140
    assert not re.search(r"(\w+) (v\d+) = v\d+;", text)  # no second names for one value


def test_no_product_of_numbers_is_left_to_32_bits() -> None:
    """C multiplies 70000 by 70000 as ints: the number of threads that so much work is worth was one of a negative number."""

    def build(b: Builder, x: Value, y: Value, z: Value) -> Sequence[Value]:
        mean = b.broadcast(b.reduce_sum(x, [1, 2]), x.shape, [0])
        return [b.exp(x), b.exp(b.sub(x, mean)), b.concat([y, y], 1), b.exp(z)]

    n = 70_000
    big = program(build, x=(3, n, n), y=(n, n), z=(n, n, B))
    optimise(big, kernels=True)
    text = make_plan(big, "c").sources["c"]
    assert "gs_parts(14700000000, 3)" in text and "gs_parts(4900000000 * n_B, 70000)" in text
    products = re.findall(r"\d+(?: \* \d+)+", text)
    assert not [each for each in products if math.prod(map(int, each.split(" * "))) >= 2**31]


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    spec = Path(__file__).parent.parent / "specs" / "char_lm.spec"
    assert main(["compile", str(spec), "rnn_size=8", "--emit", "c", "--device", "numpy"]) == 0
    found = capsys.readouterr().out
    assert found.startswith('#include "graphspec.h"\n') and "int64_t gs_plan(" in found and found.endswith("}\n")


def test_compile_says_what_passes_did(capsys: pytest.CaptureFixture[str]) -> None:
    spec = Path(__file__).parent.parent / "specs" / "char_lm.spec"
    assert main(["compile", str(spec), "rnn_size=8", "--device", "numpy"]) == 0
    found = capsys.readouterr().out
    assert re.search(r"\d+ matrix products became \d+; in loops over time, where a step waits for the one before: \d+ became \d+\n", found)
    rows = re.findall(r"^    ([a-z-]+) +\d", found, re.M)
    assert "dead-code" in rows and len(rows) == len(set(rows))  # several runs of a pass are one row


def test_one_spec_is_one_text() -> None:
    """Whatever order sets are in: else what is kept would be compiled again and again."""
    spec = str(Path(__file__).parent.parent / "specs" / "translate.spec")
    command = [sys.executable, "-m", "graphspec", "compile", spec, "hidden=8", "--emit", "c", "--device", "numpy"]
    texts = {
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True).stdout for seed in ("1", "2")
    }
    assert len(texts) == 1 and b"gs_plan" in texts.pop()
