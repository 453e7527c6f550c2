"""Products in bf16: the kernels, programs that use them, and where they are refused."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphspec
from graphspec import SpecError
from graphspec.cli.main import main
from graphspec.engine import device_named
from graphspec_runtime import PlanError, compiler, open_device
from graphspec_runtime.devices import native

Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
SPACE = 1 << 24
"""Bytes, more than any of the products here works in."""


def device_or_skip(threads: int = 1) -> native.NativeDevice:
    try:
        found = open_device("native", threads, "bf16")
    except PlanError as failure:
        pytest.skip(failure.message)
    assert isinstance(found, native.NativeDevice)
    assert found.library.gs_prepare(ctypes.c_int64(SPACE))
    return found


@pytest.fixture(scope="module")
def device() -> native.NativeDevice:
    return device_or_skip()


# -- kernels ---------------------------------------------------------------------------------------------------------------------

ROUNDED = 2.0**-9
"""How far a number may be from its bf16, relatively: eight bits count."""


def integers(*numbers: int) -> list[ctypes.c_int64]:
    return [ctypes.c_int64(n) for n in numbers]


def place(a: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(a.ctypes.data)


def products(device: native.NativeDevice) -> ctypes.CDLL:
    return native.kernels(device.compiler, native.KERNELS.index("_bf16"))()


def gemm(library: ctypes.CDLL, a: Array, b: Array, c: Array, add: int) -> None:
    (m, k), n = a.shape, b.shape[1]
    operands: list[object] = []
    for x in (a, b, c):
        operands += [place(x), *integers(*(s // 4 for s in x.strides))]
    library.gs_gemm_bf16(*integers(m, n, k), *operands, ctypes.c_int(add), *integers(m))


def packed(library: ctypes.CDLL, a: Array, b: Array, c: Array, add: int) -> None:
    (m, k), n = a.shape, b.shape[1]
    library.gs_packed_bf16.restype = ctypes.c_int64
    memory = np.full(library.gs_packed_bf16(*integers(k, n)), np.nan, "float32")  # what is not written would show
    library.gs_pack_bf16(*integers(k, n), place(b), *integers(*(s // 4 for s in b.strides)), place(memory))
    rows = [integers(x.strides[0] // 4)[0] for x in (a, c)]
    library.gs_gemm_packed_bf16(*integers(m, n, k), place(a), rows[0], place(memory), place(c), rows[1], ctypes.c_int(add), *integers(0, 1))


def in_rows(a: Array) -> Array:
    return np.array(a, order="C")


def in_columns(a: Array) -> Array:
    return np.array(a.T, order="C").T


def scattered(a: Array) -> Array:
    """Neither rows nor columns lie in order."""
    found = np.full((2 * a.shape[0], 3 * a.shape[1]), np.nan, "float32")[::2, ::3]
    found[...] = a
    return found


def wide_rows(a: Array) -> Array:
    found = np.full((a.shape[0], a.shape[1] + 5), np.nan, "float32")[:, : a.shape[1]]
    found[...] = a
    return found


LAYOUTS = (in_rows, in_columns, scattered, wide_rows)
SIZES = [
    (1, 1, 1), (2, 40, 40), (5, 70, 33), (7, 129, 64), (250, 65, 1031), (13, 1, 2000), (3, 2100, 35), (64, 512, 128), (31, 77, 1500),
    (49, 47, 31), (144, 40, 300),
]  # fmt: skip


def check_product(got: Array, wanted: np.ndarray, a: Array, b: Array, c: Array) -> None:
    """Within what rounding the operands may change, and sums in float32."""
    x, y = a.astype("float64"), b.astype("float64")
    norms = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(y, axis=0)[None]
    bound = (2 * ROUNDED + ROUNDED**2 + a.shape[1] * 2.0**-23) * norms + 2.0**-23 * np.abs(c)
    assert (np.abs(got - wanted) <= bound).all()


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
@pytest.mark.parametrize("add", [0, 1])
def test_products_agree_with_float64(device: native.NativeDevice, size: tuple[int, int, int], add: int) -> None:
    (m, n, k), rng = size, np.random.default_rng(1)
    a, b, c = (rng.standard_normal(shape).astype("float32") for shape in ((m, k), (k, n), (m, n)))
    wanted = a.astype("float64") @ b.astype("float64") + add * c
    before = device.library.gs_threads()
    for threads in (1, 3):
        device.library.gs_set_threads(ctypes.c_int64(threads))
        for left, right, result in product(LAYOUTS, LAYOUTS, LAYOUTS):
            x, y, z = left(a), right(b), result(c)
            gemm(products(device), x, y, z, add)
            check_product(z, wanted, a, b, c)
            if left in (in_rows, wide_rows) and result in (in_rows, wide_rows):
                z = result(c)
                packed(products(device), x, y, z, add)
                check_product(z, wanted, a, b, c)
    device.library.gs_set_threads(ctypes.c_int64(before))


def test_operands_are_rounded_to_nearest_even(device: native.NativeDevice) -> None:
    """1 + 2^-8 lies between 1 and 1 + 2^-7: to the even one; 1 + 3 * 2^-8 likewise to 1 + 2^-6."""
    a = np.zeros((2, 64), "float32")
    a[:, 0] = [1 + 2.0**-8, 1 + 3 * 2.0**-8]
    b, c = np.eye(64, dtype="float32"), np.zeros((2, 64), "float32")
    gemm(products(device), a, b, c, 0)
    np.testing.assert_array_equal(c[:, 0], np.array([1, 1 + 2.0**-6], "float32"))
    assert not c[:, 1:].any()


def test_numbers_that_are_not_finite_stay_so(device: native.NativeDevice) -> None:
    a, b = np.ones((4, 70), "float32"), np.ones((70, 90), "float32")
    a[1, 3], a[2, 69] = np.nan, np.inf
    for way in (gemm, packed):
        c = np.zeros((4, 90), "float32")
        way(products(device), a, b, c, 0)
        assert np.isnan(c[1]).all() and (c[2] == np.inf).all() and (c[[0, 3]] == 70).all()


NO_AMX = ["-mno-amx-tile", "-mno-amx-int8", "-mno-amx-bf16"]


@pytest.mark.parametrize("way", ["compiler", "system"])
def test_products_without_tiles(device: native.NativeDevice, way: str) -> None:
    """The same on a processor with AMX as on one without, or where the system refuses it: in a process of its own."""
    cpu = Path("/proc/cpuinfo")
    if "amx_bf16" not in (cpu.read_text() if cpu.exists() else ""):
        pytest.skip("the other tests have no tiles either")
    changed = {"CC": " ".join([*device.compiler, *NO_AMX])} if way == "compiler" else {"GRAPHSPEC_AMX": "0"}
    these = "agree_with_float64 or nearest_even or not_finite or threads_change_nothing"
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", __file__, "-k", these]
    done = subprocess.run(words, env={**os.environ, **changed}, capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    assert done.returncode == 0 and "25 passed" in done.stdout, done.stdout + done.stderr


# -- programs --------------------------------------------------------------------------------------------------------------------

SPECS = Path(__file__).parent.parent / "specs"
SMALL: dict[str, Any] = {"rnn_size": 48, "data.batch": 6, "data.seq_len": 9, "device": "native", "threads": 1}
NET = """
local x = nn.Identity{'T', 'B', 48}()
local a, h = nn.Identity{'B', 48}(), nn.Identity{'B', 64}()
local next_h = nn.Tanh()(nn.CAddTable()({nn.Linear(48, 64)(a), nn.Linear(64, 64)(h)}))
local first = nn.Identity{'B', 64}()
local hs, _ = nn.Scan(nn.gModule({a, h}, {next_h, next_h}))({x, first}):split(2)
return nn.gModule({x, first}, {nn.Linear(64, 40)(hs)})
"""


@pytest.mark.parametrize("turns", [1, 2, 12], ids=lambda turns: f"T={turns}")
@pytest.mark.usefixtures("device")
def test_a_model_and_its_gradients(turns: int) -> None:
    """With loops of few turns, which pack nothing, and of more."""
    rng = np.random.default_rng(2)
    inputs = (rng.standard_normal((turns, 5, 48)), rng.standard_normal((5, 64)))
    seed = rng.standard_normal((turns, 5, 40))
    found = {}
    ways = {"exact": {"dtype": "float64", "device": "reference"}, **{p: {"device": "native", "precision": p} for p in ("float32", "bf16")}}
    for name, settings in ways.items():
        model = graphspec.compile(NET, **settings)
        given = tuple(a.astype(model.dtype) for a in inputs)
        output = model(given)
        gradients = model.backward(given, seed)
        found[name] = [np.array(a, "float64") for a in (output, *gradients, model.flat_gradients)]
    for exact, float32, bf16 in zip(*found.values(), strict=True):
        size = np.linalg.norm(exact)
        assert np.linalg.norm(float32 - exact) < 1e-5 * size
        assert 2e-4 * size < np.linalg.norm(bf16 - exact) < 2e-2 * size  # less would be another precision


def test_training_and_checkpoints(device: native.NativeDevice, tmp_path: Path) -> None:
    exact, low = (graphspec.experiment(SPECS / "char_lm.spec", precision=precision, **SMALL) for precision in ("float32", "bf16"))
    np.testing.assert_array_equal(exact.flat_parameters, low.flat_parameters)
    losses = np.array([[one.train_step() for one in (exact, low)] for _ in range(30)])
    assert 0 < np.abs(losses[:, 0] - losses[:, 1]).max() < 0.02
    assert losses[-1, 1] < losses[0, 1] - 0.5
    low.save(tmp_path / "low")
    again = graphspec.Experiment.load(tmp_path / "low", device="native", threads=1)
    np.testing.assert_array_equal(again.flat_parameters, low.flat_parameters)
    assert {name: a.dtype for name, a in again.tensors().items()} == {name: a.dtype for name, a in exact.tensors().items()}
    for one in (exact, low, again):
        one.close()


@pytest.mark.usefixtures("device")
def test_threads_change_nothing() -> None:
    """Not a bit, whichever of them takes which rows."""
    ends = []
    for threads in (1, 2, 3):
        settings = {**SMALL, "rnn_size": 128, "data.batch": 33, "threads": threads}
        one = graphspec.experiment(SPECS / "char_lm.spec", precision="bf16", **settings)
        ends.append([one.train_step() for _ in range(3)])
        one.close()
    assert ends[0] == ends[1] == ends[2]


# -- where it is refused ------------------------------------------------------------------------------------------------------------

REFUSED = [
    ({"device": "numpy"}, "E0707", "precision bf16 is not to be had on the device numpy"),
    ({"device": "reference"}, "E0707", "precision bf16 is not to be had on the device reference"),
    ({"dtype": "float64"}, "E0704", "precision bf16 is of products of float32, not of float64"),
    ({"precision": "bf8"}, "E0704", "precision must be one of float32, bf16, got 'bf8'"),
]


@pytest.mark.parametrize(("settings", "code", "message"), REFUSED, ids=[str(settings) for settings, *_ in REFUSED])
def test_what_is_refused(settings: dict[str, Any], code: str, message: str) -> None:
    for make in (partial(graphspec.compile, NET), partial(graphspec.experiment, SPECS / "char_lm.spec")):
        with pytest.raises(SpecError) as caught:
            make(**{"precision": "bf16", **settings})
        assert caught.value.code == code and message in caught.value.diagnostics[0].message


def test_a_processor_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said at once, also where the device is found by itself; the device without it is had all the same."""
    try:
        about = compiler.about(compiler.find_compiler())
    except PlanError as failure:
        pytest.skip(failure.message)
    monkeypatch.setattr(native, "about", lambda words: replace(about, bf16=False))
    monkeypatch.setenv("GRAPHSPEC_CPU", "native")
    for name in ("native", "cpu"):
        with pytest.raises(SpecError, match="needs a processor with AVX-512 BF16") as caught:
            device_named(name, precision="bf16")
        assert caught.value.code == "E0707"
        assert open_device(name).language == "c"


def test_cpu_that_stands_for_numpy_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRAPHSPEC_CPU", raising=False)
    monkeypatch.setenv("CC", "no-such-compiler")
    compiler.find_compiler.cache_clear()
    try:
        with pytest.raises(PlanError, match=r"device numpy .*no-such-compiler") as caught:
            open_device("cpu", precision="bf16")
    finally:
        monkeypatch.undo()
        compiler.find_compiler.cache_clear()
    assert caught.value.kind == "precision"


# -- commands ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("device")
def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec, sizes = str(SPECS / "char_lm.spec"), ["rnn_size=48", "data.batch=6", "data.seq_len=9"]
    low = ["--device", "native", "--threads", "1", "--precision", "bf16"]
    assert main(["compile", spec, *sizes, *low, "--emit", "c"]) == 0
    printed = capsys.readouterr().out
    assert "gs_gemm_packed_bf16(" in printed and "gs_gemm_bf16(" in printed and "gs_gemm_f32(" not in printed
    assert main(["profile", spec, *sizes, *low, "--steps", "1"]) == 0
    assert "float32 with products of bf16, native, 1 thread" in capsys.readouterr().out
    assert main(["bench", spec, *sizes, *low, "--repeats", "1"]) == 0
    assert "in float32 with products of bf16; processor time" in capsys.readouterr().out
    begun = ["run", spec, *sizes, "--device", "native", "--threads", "1", "--out", str(tmp_path / "run")]
    assert main([*begun, "--steps", "2", "--precision", "bf16"]) == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["precision"] == "bf16"
    assert main([*begun, "--steps", "3", "--resume", "--precision", "bf16"]) == 0
    assert "W0711" not in capsys.readouterr().err
    assert main([*begun, "--steps", "4", "--resume"]) == 0
    assert "precision of the matrix products: bf16, now float32" in capsys.readouterr().err
    assert main(["run", spec, *sizes, *low, "--dtype", "float64"]) == 1
    assert "E0704" in capsys.readouterr().err
