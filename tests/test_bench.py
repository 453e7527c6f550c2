"""The benchmark: its specs, its bound, that contenders compute the same, what it tells.  No test looks at how fast anything is."""

from __future__ import annotations

import json
import math
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import graphspec
from graphspec.bench import (
    CELLS,
    CONFIGS,
    Case,
    Machine,
    Settings,
    Work,
    figures,
    machine,
    make_case,
    make_steps,
    measure,
    peers_named,
)
from graphspec.bench.contender import UNSET, Contender, environment
from graphspec.bench.contest import compare
from graphspec.bench.peers import TUNED
from graphspec.bench.step import CompiledStep
from graphspec.cli.main import main
from graphspec.errors import Source, SpecError
from graphspec.tools.format import format_source
from graphspec_runtime.compiler import find_compiler

ROOT = Path(__file__).parent.parent
SPECS = sorted((ROOT / "specs" / "bench").glob("*.spec"))
TINY = {"B": 3, "T": 4, "H": 8, "V": 11, "S": 5}
TINY_WORDS = ",".join(f"{name}={n}" for name, n in TINY.items())


def tiny(cell: str, **more: int) -> Case:
    return make_case("char", cell, {**TINY, **more})


class Said(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def command(line: str) -> Said:
        capsys.readouterr()
        code = main(["bench", *shlex.split(line)])
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return command


@pytest.fixture
def known_machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine that need not be measured."""
    found = Machine("a processor", 2, 1, 1e11, 4e10, 1e11, 1 << 25, "hand")
    monkeypatch.setattr("graphspec.cli.bench.measure_machine", lambda threads: found)
    return found


# -- specs -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_a_spec_has_the_form_of_all_specs(path: Path) -> None:
    text = path.read_text()
    assert text.startswith(f"-- specs/bench/{path.name}: ")
    assert len(text.splitlines()) < 120
    assert format_source(Source(path.name, text)) == text


CHECKED = [*(f"lm.spec cell={cell} rnn_size=3 vocab=5" for cell in ("lstm", "gru", "lnlstm")), "decoder.spec rnn_size=3 vocab=30"]


@pytest.mark.parametrize("line", CHECKED)
def test_gradients_are_those_of_finite_differences(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    name, *options = line.split()
    assert main(["check", str(ROOT / "specs" / "bench" / name), *options, "--tolerance", "1e-5"]) == 0, capsys.readouterr().out


LEARNED = [
    *(("lm", {"cell": cell, "rnn_size": 24, "n_layers": 1, "vocab": 12, "data.path": "text.txt", "data.batch": 4, "data.seq_len": 9}, 0.4)
      for cell in ("lstm", "gru", "lnlstm")),
    ("decoder", {"rnn_size": 24, "data.size": 200, "data.length": 3}, 2.5),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options", "bar"), LEARNED, ids=lambda value: value.get("cell") if isinstance(value, dict) else None)
def test_they_train_as_other_specs_do(
    name: str, options: dict[str, Any], bar: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bar is a loss that is out of reach of a model that does not use its inputs; letters spelt backwards begin at 3.4 nats."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over a lazy dog and runs\n" * 80)
    experiment = graphspec.experiment(ROOT / "specs" / "bench" / f"{name}.spec", threads=1, **options, **{"optim.learningRate": 1e-2})
    losses = [experiment.train_step() for _ in range(150)]
    experiment.close()
    assert np.mean(losses[-10:]) < bar


def test_what_is_timed_is_the_spec_as_people_write_it() -> None:
    """A matrix for each gate and input: eight a layer for the LSTM, six for the GRU, twelve with a context."""
    for cell, matrices in (("lstm", 16), ("lnlstm", 16), ("gru", 12), ("decoder", 12)):
        case = tiny(cell, V=11)
        shapes = [a.shape for name, a in CompiledStep(case.spec, case.options, case.streams()).named().items() if "_to_" in name]
        own = 2 if cell == "decoder" else 0  # keys and query
        assert shapes.count((8, 8)) == matrices + own, cell


# -- the bound -------------------------------------------------------------------------------------------------------------------

PROTOTYPE = {
    # what shared/design/performance.md calls the bound, in ms: 286.5 GFLOP/s, 42 GB/s from memory, 124 GB/s from the cache
    ("char", "lstm"): 11.0, ("medium", "lstm"): 201, ("mid", "lstm"): 452,
    ("char", "gru"): 8.4, ("medium", "gru"): 176, ("mid", "gru"): 343,
}  # fmt: skip


@pytest.mark.parametrize(("config", "cell"), PROTOTYPE)
def test_the_bound_is_that_of_the_design(config: str, cell: str) -> None:
    one = Machine("", 1, 1, 286.5e9, 42e9, 124e9, 32 << 20, "")
    assert 1e3 * one.bound(make_case(config, cell).work) == pytest.approx(PROTOTYPE[config, cell], rel=0.01)


@pytest.mark.parametrize("cell", CELLS)
def test_its_flops_are_those_of_the_program(cell: str) -> None:
    """Counted in the program's own products, which also multiply the first state, which is zero."""
    case = tiny(cell, B=6, T=9, H=20, V=20)
    assert case.work.flops == pytest.approx(CompiledStep(case.spec, case.options, case.streams()).work().flops, rel=0.1)


def test_an_embedding_of_few_symbols_is_multiplied_once_for_each() -> None:
    few, many = (tiny("lstm", T=20, V=v).work.flops for v in (10, 40))
    assert many - few == 6 * (4 * 8 * 8 * (60 - 10) + 8 * 60 * (40 - 10))


def test_the_cache_counts_where_the_work_fits_it() -> None:
    one = Machine("", 1, 1, 100.0, 1.0, 10.0, 50, "")
    assert one.bound(Work(200, 100)) == 2 + 10
    assert one.bound(Work(200, 101)) == 2 + 101


def test_a_machine_is_measured_with_and_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "SIDE", 128)
    for name, told in ((None, "a C program"), ("no-such-compiler", "NumPy")):
        if name:
            monkeypatch.setenv("CC", name)
        find_compiler.cache_clear()  # what is not found is not kept
        one = machine.measure_machine(1)
        assert one.measured.startswith(told) or not name  # a machine without a compiler
        assert min(one.peak, one.dram, one.cache) > 1e6 and one.threads == 1


# -- contenders ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("word", ["torch", "torch-tuned", "jax", "jax-tuned"])
def test_peers_find_the_same_loss_and_gradient(word: str, cell: str) -> None:
    """``measure`` raises where they do not; the weights are the spec's, so a wrong gate would show."""
    if find_spec(word.partition("-")[0]) is None:
        pytest.skip(f"{word} is not installed")
    peers = peers_named([word])
    result = measure(tiny(cell, L=3), Settings(repeats=2, peers=peers))
    assert [timing.name for timing in result.timings] == ["graphspec", *(peer.name for peer in peers if cell in peer.cells)]
    assert result.missing == []
    for timing in result.timings:
        assert timing.found == pytest.approx(result.ours.found, rel=1e-4)
        assert len(timing.rounds) == 2 and min(min(turn) for turn in timing.rounds) >= 0 and timing.peak > 1 << 20


@pytest.mark.parametrize("cell", ["lstm", "decoder"])
def test_peers_train_too_when_updates_are_timed(cell: str) -> None:
    if find_spec("torch") is None:
        pytest.skip("torch is not installed")
    result = measure(tiny(cell), Settings(repeats=1, peers=peers_named(["torch"]), update=True))
    assert len(result.timings) == (3 if cell == "lstm" else 2)


def test_a_lower_precision_is_the_peers_too() -> None:
    torch_peers = pytest.importorskip("graphspec.bench.torch_peers", exc_type=ImportError)
    case = tiny("lstm", H=32)
    step = CompiledStep(case.spec, case.options, case.streams())
    low = torch_peers.TorchRunner("torch nn", case, step.named(), case.streams(), threads=None, update=False, precision="bf16")
    (loss, norm), (other, rough) = step.measured(), low.measured()
    assert loss != pytest.approx(other, abs=1e-6) and (loss, norm) == pytest.approx((other, rough), abs=2e-2)


def test_the_update_is_part_of_the_step_only_where_asked() -> None:
    case = tiny("lstm")
    for update in (False, True):
        step = CompiledStep(case.spec, case.options, case.streams(), update=update)
        before = {name: np.array(array) for name, array in step.named().items()}
        first, again = step.measured(), step.measured()
        assert all(np.array_equal(before[name], array) for name, array in step.named().items()) == (not update)
        assert (again == first) == (not update)  # states begin at zero in each step


def test_a_pass_left_out_stands_beside_and_memory_is_looked_at() -> None:
    result = measure(tiny("lstm", T=20), Settings(repeats=1, without=["tables", "fuse"], memory=20))
    assert [timing.name for timing in result.timings] == ["graphspec", "graphspec -tables", "graphspec -fuse"]
    for timing in result.timings:
        assert timing.found == pytest.approx(result.ours.found, rel=1e-5)
        assert len(timing.resident) == 10 and min(timing.resident) > 1 << 20 or sys.platform != "linux"
    kernels = [CompiledStep(tiny("lstm").spec, tiny("lstm").options, tiny("lstm").streams(), without=names) for names in ((), ("tables",))]
    assert ["tables" in [report.name for report in one.engine.notes] for one in kernels] == [True, False]


def test_contenders_that_do_not_agree_are_not_timed() -> None:
    compare("a case", "a peer", None, (4.2, 0.1), (4.2001, 0.1))
    for case, theirs, what in (
        (None, (4.3, 0.1), "loss"), (None, (4.2, 0.2), "gradient"), (None, (math.nan, 0.1), "loss"),
        (make_steps("lstm")[0], (4.3, 0.1), "state"),
    ):  # fmt: skip
        with pytest.raises(SpecError, match=f"{what} .* a peer") as told:
            compare("a case", "a peer", case, (4.2, 0.1), theirs)
        assert told.value.code == "E0840"


def test_a_contender_that_dies_or_fails_is_told(tmp_path: Path) -> None:
    with Contender("graphspec", 1, tmp_path) as one:
        with pytest.raises(SpecError, match="failed") as told:
            one.ask("steps", count="three")
        assert told.value.code == "E0841"
        one._process.kill()
        with pytest.raises(SpecError, match=r"ended with exit code -9") as told:
            one.ask("end")
        assert told.value.code == "E0841"


def test_errors_of_a_spec_come_through_as_they_are(tmp_path: Path) -> None:
    spec = tmp_path / "wrong.spec"
    spec.write_text("return nn.Linar(3, 4)\n")
    with pytest.raises(SpecError) as told:
        measure(str(spec), Settings(repeats=1))
    span = told.value.diagnostics[0].span
    assert span is not None and span.line == 1


def test_settings_that_slow_numpy_down_are_unset_in_contenders_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in UNSET:
        monkeypatch.setenv(name, "something")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    found = environment("graphspec", 3, tmp_path)
    assert not set(UNSET) & set(found) and found["OMP_NUM_THREADS"] == "3"
    assert "OMP_NUM_THREADS" not in environment("graphspec", None, tmp_path)


def test_peers_that_are_tuned_have_an_environment_of_their_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--one")
    plain, tuned = (environment(name, 1, tmp_path) for name in ("jax fused", "jax tuned"))
    assert tuned["GLIBC_TUNABLES"] == TUNED["GLIBC_TUNABLES"] and "GLIBC_TUNABLES" not in plain
    assert tuned["XLA_FLAGS"].split()[:2] == ["--one", TUNED["XLA_FLAGS"]]
    assert plain["XLA_FLAGS"].split() == ["--one", *tuned["XLA_FLAGS"].split()[2:]]  # one thread


def test_a_missing_package_is_told_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphspec.bench.contest.find_spec", lambda name: None)
    result = measure(tiny("lstm"), Settings(repeats=1, peers=peers_named(["torch", "jax"])))
    assert [timing.name for timing in result.timings] == ["graphspec"]
    assert [word.split()[0] for word in result.missing] == ["torch", "jax"]


# -- the command -----------------------------------------------------------------------------------------------------------------

ROW = {
    "model", "config", "cell", "sizes", "contender", "symbols", "flops", "bytes", "bound_ms", "clock", "ms", "wall_ms", "cpu_ms",
    "rounds_ms", "symbols_per_second", "gflops", "of_peak", "to_bound", "ratio", "peak_bytes", "compile_s", "cold_compile_s", "loss",
    "gradient_norm", "versions",
}  # fmt: skip


def test_the_record_has_all_that_a_number_hangs_on(run: Any, known_machine: Machine, tmp_path: Path) -> None:
    said = run(f"--cell lstm,decoder --at {TINY_WORDS} --repeats 3 --json --out {tmp_path / 'record.json'}")
    assert said.code == 0, said
    record = json.loads(said.out)
    assert json.loads((tmp_path / "record.json").read_text()) == record
    assert record["machine"] == known_machine.to_json() and record["threads"] == 1 and record["clock"] == "cpu"
    assert {"date", "environment", "device", "precision", "update", "repeats", "load", "missing"} < set(record)
    assert [(row["cell"], row["symbols"]) for row in record["results"]] == [("lstm", 12), ("decoder", 12)]
    for row in record["results"]:
        assert set(row) == ROW and len(row["rounds_ms"]) == 3 and row["ms"] == row["cpu_ms"]
        assert row["to_bound"] == pytest.approx(row["ms"] / row["bound_ms"])
        assert row["gflops"] == pytest.approx(row["flops"] / row["ms"] / 1e6)


def test_a_table_for_people(run: Any, known_machine: Machine) -> None:
    said = run(f"--config char,mid --cell gru,decoder --at {TINY_WORDS} --repeats 1 --threads 2 --update")
    assert said.code == 0, said
    lines = said.out.splitlines()
    assert lines[0].startswith("a processor, 1 thread: 100 GFLOP/s")
    assert "to bound" in said.out and "to ours" not in said.out  # nobody to compare with
    assert "clipping and optimizer" in lines[1] and "processor time" not in lines[1]
    titles = [line.split(":")[0] for line in lines if "symbols a step" in line]
    assert titles == ["gru (B3 T4 H8 V11 L2)", "decoder (B3 S5 T4 H8 V11)"]  # of the same sizes one each


def test_a_table_of_steps(run: Any, known_machine: Machine, tmp_path: Path) -> None:
    said = run(f"--step --at H=8 --repeats 1 --memory 30 --without fuse --out {tmp_path / 'record.json'}")
    assert said.code == 0, said
    assert "us a step" in said.out and "MB of weights" in said.out and "in use" in said.out and "to bound" not in said.out
    record = json.loads((tmp_path / "record.json").read_text())
    names = ["graphspec", "graphspec -fuse", "graphspec, 256 a call"]
    assert [row["contender"] for row in record["results"]] == names and record["memory_steps"] == 30
    only = {"bound_ms", "to_bound", "loss", "gradient_norm"}
    for row in record["results"]:
        assert set(row) == ROW - only | {"state_sum", "state_norm", "resident_bytes"}
        assert row["sizes"] == {"B": 1, "H": 8, "L": 1} and row["symbols"] == 1


def test_figures() -> None:
    assert [figures(n) for n in (0.01234, 26.42, 99.96, 123.4, 1234.5)] == ["0.0123", "26.4", "100", "123", "1,234"]


def test_what_a_case_is_called() -> None:
    assert str(make_case("char", "lstm")) == "lstm char (B50 T50 H128 V65 L2)"
    assert str(make_case("mid", "lstm", {"T": 100})) == "lstm mid (B64 T100 H512 V256 L2)"
    assert str(make_case("mid", "gru", {"L": 3})) == "gru (B64 T100 H512 V256 L3)"
    assert str(make_case("mid", "decoder")) == "decoder (B32 S30 T30 H256 V500)"


def test_any_experiment(run: Any, known_machine: Machine) -> None:
    said = run(f"{ROOT / 'specs' / 'adding.spec'} size=5 data.length=6 data.batch=7 --repeats 1 --json")
    assert said.code == 0, said
    (row,) = json.loads(said.out)["results"]
    assert row["symbols"] == 7 and row["flops"] > 0 and row["bytes"] % 12 == 0
    assert row["bound_ms"] == pytest.approx(1e3 * known_machine.bound(Work(row["flops"], row["bytes"])))


WRONG = [
    ("--cell lsm", "E0807", "did you mean"),
    ("--cell ,", "E0807", "--cell names nothing"),
    ("--config huge", "E0807", "there is no configuration 'huge'"),
    ("--peers tensorflow", "E0807", "no peer 'tensorflow'"),
    ("--at Q=3", "E0807", "no such size"),
    ("--at B=0", "E0807", "from 1 to"),
    ("--at B=many", "E0807", "a whole number"),
    ("--without tabels", "E0807", "did you mean"),
    ("--memory 5", "E0807", "--memory must be from 10"),
    ("--step --cell decoder", "E0807", "a decoder's step"),
    ("--step --at T=5", "E0807", "says nothing to a step"),
    ("--step --at V=5", "E0807", "is a symbol"),
    ("--step --update", "E0807", "takes no --update"),
    ("--step nowhere.spec", "E0807", "takes no spec"),
    ("--step --precision bf16", "E0807", "computes in float32"),
    ("--step --peers torch-tuned", "E0807", "did you mean"),
    ("--peers onnx", "E0807", "no peer 'onnx'"),
    ("--repeats 0", "E0807", "--repeats must be from 1"),
    ("--threads 0", "E0807", "--threads must be from 1"),
    ("rnn_size=5", "E0807", "stands before any spec"),
    ("nowhere.spec", "E0801", "nowhere.spec"),
    (f"{ROOT / 'specs' / 'adding.spec'} --limit steps=20", "E0501", "more than 20 steps"),
    ("nowhere.spec --peers torch", "E0807", "not for a spec"),
    (f"{ROOT / 'specs' / 'columns.spec'}", "E0607", "does not return an experiment"),
    (f"--at {TINY_WORDS} --device tpu", "E0701", "tpu"),
    (f"--at {TINY_WORDS} --precision fp7", "E0704", "fp7"),
]


@pytest.mark.parametrize(("line", "code", "words"), WRONG)
def test_what_makes_no_sense_is_told(run: Any, known_machine: Machine, line: str, code: str, words: str) -> None:
    said = run(line)
    assert said.code == (4 if code == "E0701" else 1)
    assert f"error[{code}]" in said.err and words in said.err, said.err
    assert not said.out or code in ("E0701", "E0704")  # nothing is measured before


def test_every_configuration_is_one_of_the_design() -> None:
    assert {name: tuple(sizes.values()) for name, sizes in CONFIGS.items()} == {
        "char": (50, 50, 128, 65), "medium": (20, 35, 650, 10_000), "mid": (64, 100, 512, 256), "large": (20, 35, 1500, 10_000),
    }  # fmt: skip
