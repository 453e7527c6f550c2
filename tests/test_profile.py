"""Where the time goes: what devices tell of it, and how ``graphspec profile`` shows it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphspec.bench.profile import CompiledModel, profile
from graphspec.cli.main import main
from graphspec.cli.output import Output
from graphspec.engine import Engine
from graphspec.open import open_spec, pick_module
from graphspec.program import infer
from graphspec.render import line_numbers
from graphspec_runtime import PlanError, open_device
from graphspec_runtime.devices import Device
from graphspec_runtime.devices.base import no_seconds
from test_passes import PROGRAMS, draw


def device_or_skip(name: str) -> Device:
    try:
        return open_device(name)
    except PlanError as failure:
        pytest.skip(failure.message)


@pytest.mark.parametrize("name", ["numpy", "native"])
def test_a_device_tells_what_each_instruction_takes(name: str) -> None:
    device = device_or_skip(name)
    program = PROGRAMS["char_lm-training"]()
    arguments = draw(program)
    plain, timed = (Engine(program, device, timed=timed) for timed in (False, True))
    wanted = {k: plain.to_host(v) for k, v in plain.run({k: np.array(v) for k, v in arguments.items()}).items()}
    given = {k: np.array(v) for k, v in arguments.items()}
    assert timed.executable is not None
    bound = timed.executable.bind_arguments(given)
    began = time.perf_counter()
    got = {k: timed.to_host(v) for k, v in timed.run(given).items()}
    whole = time.perf_counter() - began
    for key, value in wanted.items():
        np.testing.assert_array_equal(got[key], value, err_msg=key)
    serials = {step.serial for step, _ in timed.executable.plan.walk()}
    first = bound.seconds.copy()
    assert first.shape == no_seconds(timed.executable.plan).shape
    assert {i for i, s in enumerate(first) if s > 0} - {0} <= serials
    assert 0 < first.sum() <= whole
    timed.run(given)
    assert (bound.seconds >= first).all() and bound.seconds.sum() > first.sum()


# -- graphspec profile -----------------------------------------------------------------------------------------------------------

SPECS = Path(__file__).parent.parent / "specs"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def command(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["profile", *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return command


LM = (str(SPECS / "bench" / "lm.spec"), "rnn_size=8", "vocab=11", "--at", "B=3,T=4", "--steps", "2")


@pytest.mark.parametrize("device", ["numpy", "native"])
def test_a_training_step_by_line(run: Any, device: str) -> None:
    device_or_skip(device)
    code, text, _ = run(*LM, "--json", "--device", device, "--threads", "1")
    found = json.loads(text)
    assert code == 0 and found["at"] == {"B": 3, "T": 4} and found["steps"] == 2 and found["device"] == device
    parts = [found[name] for name in ("lines", "kinds", "instructions")]
    sums = [sum(one["ms"] for one in part) for part in parts]
    assert sums == pytest.approx([sums[0]] * 3)
    assert sums[0] + sum(found["others"].values()) == pytest.approx(found["ms"], rel=0.2)
    assert all([one["ms"] for one in part] == sorted((one["ms"] for one in part), reverse=True) for part in parts[:2])
    (products,) = [one for one in found["kinds"] if one["kind"] == "matrix products"]
    assert products["flops"] > 0 and products["gflops"] == pytest.approx(products["flops"] / products["ms"] / 1e6)
    kinds = {one["kind"] for one in found["kinds"]}
    assert ("fused kernels" in kinds) == (device == "native")
    several = [one for one in found["lines"] if len(one["lines"]) > 1]
    assert bool(several) == (device == "native")
    source = (SPECS / "bench" / "lm.spec").read_text().split("\n")
    mine = [one for one in found["lines"] if len(one["lines"]) == 1 and one["lines"][0]["file"].endswith("bench/lm.spec")]
    assert mine and all(one["text"] == source[one["lines"][0]["line"] - 1].strip() for one in mine)
    assert found["passes"][0]["name"] == "dead-code" and all(p["ms"] >= 0 for p in found["passes"])


MERGED = """
local x = nn.Identity{'B', 12}()
local a = nn.Linear(12, 32)(x)
local b = nn.Linear(12, 8)(x)
return nn.gModule({x}, {nn.Tanh()(a), nn.Sigmoid()(b)})
"""


@pytest.mark.parametrize("device", ["numpy", "native"])
def test_a_product_of_several_lines_is_divided_among_them(device: str) -> None:
    """By the work that each asked for: four fifths, and one."""
    device_or_skip(device)
    found = profile(CompiledModel(infer(pick_module(open_spec(MERGED))), {"B": 5}, device=device, threads=1), "forward and backward", 2)
    merged = [one for one in found.timed if one.shares]
    assert len(merged) >= 2, "forward, and the gradient of x or of the weights"
    for one in merged:
        lines = [place.span.line for place in one.places if place.span]
        assert sorted(zip(lines, one.shares, strict=True)) == [(3, pytest.approx(0.8)), (4, pytest.approx(0.2))]
        parts = one.divided()
        assert [part.cost.flops for part in parts] == [round(share * one.cost.flops) for share in one.shares]
        assert sum(part.cost.seconds for part in parts) == pytest.approx(one.cost.seconds)
        assert all(part.cost.calls == one.cost.calls for part in parts)
    products = [lines for lines, ones, _ in found.by_line() if any(one.kernel == "matmul" for one in ones)]
    assert all(len(lines) == 1 for lines in products) or device == "native", "each line on its own"
    assert sum(cost.seconds for _, _, cost in found.by_line()) == pytest.approx(sum(one.cost.seconds for one in found.timed))


def test_it_is_shown(run: Any) -> None:
    code, text, _ = run(*LM, "--device", "numpy", "--threads", "1", "--instructions")
    assert code == 0
    told = ("training step, float32, numpy, 1 thread B=3 T=4", "ms a step, the mean of 2", "ms with the clock read", "matrix products")
    for wanted in (*told, "matmul", "dead-code"):
        assert wanted in text
    assert re.search(r"lm\.spec:\d+ +\S.*nn\.", text)
    for title in ("line", "kind of work"):
        rows = text.partition(f"  {title}")[2].partition("\n\n")[0]
        assert 97 < sum(map(float, re.findall(r"([\d.]+)%", rows))) < 101, f"by {title} it adds up"


@pytest.mark.parametrize("device", ["numpy", "native"])
def test_that_loops_run_on_one_thread_is_said_where_it_is_so(run: Any, device: str) -> None:
    device_or_skip(device)
    _, text, _ = run(*LM, "--device", device, "--threads", "2")
    assert ("not shared among threads" in text) == (device == "native")


def test_a_model_is_run_forward_and_backward(run: Any) -> None:
    words = (str(SPECS / "lstm.spec"), "--entry", "network({rnn_size=5, n_layers=1})", "--json", "--device", "numpy", "--steps", "1")
    code, text, _ = run(*words)
    found = json.loads(text)
    assert code == 0 and found["what"] == "forward and backward" and found["at"] == {"B": 32}
    code, text, _ = run(*words, "--at", "B=7", "--dtype", "float64")
    again = json.loads(text)
    assert again["at"] == {"B": 7}
    flops = [sum(one["flops"] for one in each["kinds"]) for each in (found, again)]
    assert flops[0] * 7 == flops[1] * 32 > 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--steps", "0"), "--steps must be from 1"),
        (("--at", "Q=3"), "there is no size Q: the model's sizes are B, T"),
        (("--at", "B=few"), "a whole number is wanted"),
        (("--device", "reference"), "the reference interpreter has no instructions"),
    ],
)
def test_what_makes_no_sense(run: Any, words: tuple[str, ...], told: str) -> None:
    code, _, err = run(*LM[:3], *words)
    assert code == 1 and told in err and "E0807" in err


def test_lines_as_people_write_them() -> None:
    assert line_numbers([("a/x.spec", 6), ("a/x.spec", 8), ("a/x.spec", 9), ("b/y.spec", 1)]) == "x.spec:6, 8-9, y.spec:1"
    assert line_numbers([]) == ""


def test_bars() -> None:
    assert [Output.bar(share, 4) for share in (-1, 0, 0.125, 0.5, 0.53, 1, 2)] == ["", "", "▌", "██", "██▏", "████", "████"]


def test_it_is_drawn(run: Any, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    code, text, _ = run(*LM, "--device", "numpy", "--json", "--out", str(tmp_path / "profile.svg"))
    found = json.loads(text)
    picture = (tmp_path / "profile.svg").read_text()
    assert code == 0 and found["file"] == str(tmp_path / "profile.svg")
    first = line_numbers([(one["file"], one["line"]) for one in found["lines"][0]["lines"]])
    for wanted in ("matrix products", "single pointwise ops", first, "ms of a training step, numpy"):
        assert wanted in picture
    code, _, err = run(*LM, "--out", str(tmp_path / "profile.txt"))
    assert code == 1 and "E0837" in err
