"""The CUDA device on machines without a GPU: a double over NumPy memory, and the names it uses against the real package."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fakecupy
import graphspec
import graphspec_runtime.devices.cupy as adapter
import graphspec_runtime.kernels as kernels
from graphspec.plan import make_plan
from graphspec.reference import interpret
from graphspec.shipped import SPECS
from graphspec.views import on_host
from graphspec_runtime import Executable, PlanError, open_device
from random_programs import Generator, draw_arguments
from test_plan_random import SIZES, agree
from test_runtime_kernels import check_case, kernel_cases


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Any:
    fakecupy.install(monkeypatch)
    return open_device("cuda")


@pytest.mark.parametrize("case", kernel_cases(), ids=str)
def test_every_kernel_through_the_double(case: Any, device: Any) -> None:
    check_case(case, device)


@pytest.mark.parametrize("seed", range(20))
def test_random_programs_through_the_double(seed: int, device: Any) -> None:
    program = Generator(seed).program()
    executable = Executable(make_plan(program), device)
    donated = {port.updates for port in program.outputs}
    for sizes in SIZES:
        arguments = draw_arguments(program, sizes, seed)
        with np.errstate(all="ignore"):
            wanted = interpret(program, arguments)
        given = {name: device.from_host(a) if name in donated else a for name, a in arguments.items()}
        agree(wanted, executable.call(given))


def test_a_timed_program_through_the_double(device: Any) -> None:
    program = Generator(3).program()
    executable = Executable(make_plan(program), device, timed=True)
    donated = {port.updates for port in program.outputs}
    arguments = draw_arguments(program, SIZES[0], 3)
    with np.errstate(all="ignore"):
        wanted = interpret(program, arguments)
    given = {name: device.from_host(a) if name in donated else a for name, a in arguments.items()}
    agree(wanted, executable.call(given))
    seconds = executable.bind(SIZES[0]).seconds
    assert (seconds > 0).sum() == len({step.serial for step, _ in executable.plan.walk()})


def test_memory_starts_as_nan_and_host_arrays_are_refused(device: Any) -> None:
    with device.stream:
        assert np.isnan(fakecupy.empty((2,), "float32").get()).all()
    with device.stream, pytest.raises(AssertionError, match="ndarray among device operands"):
        fakecupy.add(np.ones(2), fakecupy.zeros((2,)), fakecupy.zeros((2,)))  # type: ignore[attr-defined]


def test_a_view_outside_its_memory_is_refused(device: Any) -> None:
    memory = device.memory(64)
    device.view(memory, 0, np.dtype("float32"), (16,), (4,))
    with pytest.raises(PlanError, match="reaches byte 68 of 64"):
        device.view(memory, 4, np.dtype("float32"), (16,), (4,))


def test_donated_host_array_is_an_error(device: Any) -> None:
    program = next(p for p in (Generator(seed).program() for seed in range(50)) if any(port.updates for port in p.outputs))
    arguments = draw_arguments(program, SIZES[0], 1)
    with pytest.raises(PlanError, match="C-contiguous float64 array on cuda:0"):
        Executable(make_plan(program), device).run(arguments)


# -- models and experiments ----------------------------------------------------------------------------------------------------

SMALL = {"rnn_size": 6, "data.batch": 2, "data.seq_len": 5, "data.path": "corpus.txt"}


@pytest.mark.parametrize("accumulate", [1, 2])
def test_an_experiment_trains_as_on_numpy(device: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accumulate: int) -> None:
    """All that is written between programs keeps the order of the device's stream: gradients set to zero, states carried, a checkpoint
    restored."""
    monkeypatch.chdir(tmp_path)
    Path("corpus.txt").write_text("a text that is said again and again. " * 20)
    losses = {}
    for name in ("cuda", "numpy"):
        ours = graphspec.experiment(SPECS / "char_lm.spec", device=name, **SMALL, **{"experiment.accumulate": accumulate})
        first = [ours.train_step() for _ in range(3)]
        ours.save(tmp_path / f"{name}.safetensors")
        again = graphspec.Experiment.load(tmp_path / f"{name}.safetensors", device=name)
        losses[name] = [*first, again.train_step(), ours.evaluate()["valid_loss"]]
        assert ours.sample(5, temperature=0.5, prime="a t", seed=1)
    assert losses["cuda"] == pytest.approx(losses["numpy"], rel=1e-5)


def test_a_model_and_its_gradients_as_on_numpy(device: Any) -> None:
    rng = np.random.default_rng(0)
    x, state, dy = rng.standard_normal((2, 5)), [rng.standard_normal((2, 5)) for _ in range(4)], np.ones((2, 5))
    found = []
    for name in ("cuda", "numpy"):
        model = graphspec.compile(SPECS / "lstm.spec", "network({rnn_size=5, n_layers=2})", device=name, dtype="float64")
        model(x, state)
        model.backward([x, state], [dy, [np.zeros((2, 5))] * 4])
        model.zero_gradients()
        model.backward([x, state], [dy, [np.zeros((2, 5))] * 4])
        found.append({key: on_host(value, open_device(name)) for key, value in model.gradients.items()})
    for key, value in found[0].items():
        np.testing.assert_allclose(value, found[1][key], rtol=1e-9, atol=1e-12)


# -- one clear error for each cause ------------------------------------------------------------------------------------


def _cause(match: str) -> str:
    with pytest.raises(PlanError, match=match) as caught:
        open_device("cuda")
    assert caught.value.kind == "device"
    return str(caught.value.data["cause"])


def test_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert _cause(r"pip install .*gpu-cuda12") == "not-installed"


def _fails(*args: Any) -> Any:
    raise RuntimeError("libnvrtc.so.12: cannot open shared object file")


def _double_with(monkeypatch: pytest.MonkeyPatch, **runtime: Any) -> None:
    fakecupy.install(monkeypatch)
    monkeypatch.setattr(fakecupy.cuda, "runtime", types.SimpleNamespace(**{**vars(fakecupy.runtime), **runtime}))


def test_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    _double_with(monkeypatch, driverGetVersion=lambda: 0)
    assert _cause("no NVIDIA driver") == "no-driver"
    _double_with(monkeypatch, driverGetVersion=_fails)
    assert _cause("no NVIDIA driver") == "no-driver"


def test_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    _double_with(monkeypatch, getDeviceCount=lambda: 0)
    assert _cause("the driver sees 0") == "no-device"
    _double_with(monkeypatch, getDeviceCount=_fails)
    assert _cause("CUDA 13.0") == "no-device"


def test_missing_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    fakecupy.install(monkeypatch)
    monkeypatch.setattr(fakecupy, "dot", _fails)
    assert _cause(r"libnvrtc.*pip install") == "no-libraries"


def test_unknown_device() -> None:
    with pytest.raises(PlanError, match="no device is called `tpu`"):
        open_device("tpu")


# -- the contract with the real package --------------------------------------------------------------------------------


def _chains(tree: ast.AST, roots: dict[str, str]) -> set[str]:
    """Dotted names below ``cupy`` that the source spells out: ``cupy.a.b`` and ``self._cupy.a.b``."""
    found = set()
    for node in ast.walk(tree):
        parts, at = [], node
        while isinstance(at, ast.Attribute):
            parts.append(at.attr)
            at = at.value
        if isinstance(at, ast.Name) and parts:
            chain = ".".join([at.id, *reversed(parts)])
            found |= {name + chain[len(root) :] for root, name in roots.items() if chain.startswith(root + ".")}
    return found


def _adapter_names() -> set[str]:
    tree = ast.parse(Path(adapter.__file__).read_text())
    names = _chains(tree, {"cupy": "cupy", "self._cupy": "cupy", "cupyx": "cupyx"})
    module = adapter.ArrayModule(types.SimpleNamespace(**{name: name for name in dir(np)}))
    return names | {f"cupy.{name}" for name in vars(module) if name[0] != "_"}


def test_the_adapter_is_thin_and_alone_in_naming_cupy() -> None:
    path = Path(adapter.__file__)
    assert len(path.read_text().splitlines()) < 200
    for other in path.parent.parent.rglob("*.py"):
        tree = ast.parse(other.read_text())
        imports = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        assert other == path or not imports & {"cupy", "cupyx"}, other


def test_the_double_has_every_name_of_the_adapter() -> None:
    assert len(_adapter_names()) > 40
    for name in _adapter_names():
        at: Any = fakecupy
        for part in name.split(".")[1:]:
            at = getattr(at, part)


def test_kernels_use_only_what_the_adapter_offers() -> None:
    """Every ``xp.name`` of the kernels is there under CuPy, but for kernels that the adapter replaces."""
    offered = {name.split(".")[1] for name in _adapter_names()} | {"matmul", "take", "argmax"}
    used = set()
    for path in Path(kernels.__file__).parent.glob("*.py"):
        names = _chains(ast.parse(path.read_text()), {"xp": "xp", "site.xp": "xp", "self.xp": "xp"})
        used |= {name.split(".")[1] for name in names}
    assert used and used <= offered


def _real_cupy() -> Any:
    try:
        return importlib.import_module("cupy")
    except ImportError as e:
        pytest.skip(f"the real CuPy is not installed: {e}")


def test_every_name_exists_in_the_real_package() -> None:
    modules = {"cupy": _real_cupy(), "cupyx": importlib.import_module("cupyx")}
    for name in sorted(_adapter_names()):
        at = modules[name.split(".")[0]]
        for part in name.split(".")[1:]:
            assert hasattr(at, part), name
            at = getattr(at, part)


def test_the_double_agrees_with_the_real_package_on_arguments() -> None:
    cupy = _real_cupy()
    for name in ("copyto", "take", "argmax", "argsort", "cumsum", "dot", "take_along_axis"):
        real, double = inspect.signature(getattr(cupy, name)), inspect.signature(getattr(fakecupy, name))
        assert list(double.parameters) == list(real.parameters)[: len(double.parameters)], name
    for name in ("data", "device", "dtype", "fill", "flags", "get", "max", "min", "nbytes", "reshape", "set", "strides", "transpose", "T"):
        assert hasattr(cupy.ndarray, name)
    for name in fakecupy.NAMES:
        assert isinstance(getattr(cupy, name), cupy.ufunc), name


def test_the_real_package_without_a_gpu_says_what_is_missing() -> None:
    cupy = _real_cupy()
    if cupy.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert _cause("driver|device") in ("no-driver", "no-device")
