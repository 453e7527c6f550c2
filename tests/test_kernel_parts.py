"""The kernels as libraries of their own: what is in each part, and when it is compiled."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from graphspec_runtime import PlanError, cache, compiler
from graphspec_runtime.devices import native

try:
    compiler.find_compiler()
except PlanError:
    pytest.skip("there is no C compiler", allow_module_level=True)


def test_a_first_step_with_an_empty_cache(tmp_path: Path) -> None:
    """The kernels are compiled by the side; a process that ends early leaves them whole, or nothing."""
    script = "from graphspec_runtime import open_device; device = open_device('native'); {}"
    environment = {**os.environ, "GRAPHSPEC_CACHE": str(tmp_path)}
    subprocess.run([sys.executable, "-c", script.format("pass")], env=environment, check=True, timeout=120)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(cache.MAKING)]
    done = subprocess.run([sys.executable, "-c", script.format("print(device.library.gs_threads())")], env=environment, capture_output=True)
    assert done.stdout.strip().isdigit(), done.stderr


def test_the_kernels_in_parts_are_all_of_them() -> None:
    """Each function of the header is in the part that its name says, or in the first; compiled in one they are the same."""
    text = (compiler.SOURCES / "kernels.c").read_text()
    words = compiler.find_compiler()
    whole = ctypes.CDLL(str(compiler.built(words, text, ("-O0",))))
    parts = [native.kernels(words, part)() for part in range(len(native.KERNELS))]
    header = (compiler.SOURCES / "graphspec.h").read_text()
    names = set(re.findall(r"^(?:void \*?|int |gs_int |double )(gs_\w+)\(", header, re.M))
    assert len(names) > 15
    assert {"gs_gemm_f32", "gs_gemm_f64", "gs_parallel", "gs_clock", "gs_normal_f64"} <= names
    for name in names:
        named = [part for part, ending in enumerate(native.KERNELS) if name.endswith(ending)]
        assert hasattr(whole, name) == any(hasattr(parts[part], name) for part in named), name


KEPT = """
import graphspec, numpy, sys
from graphspec_runtime import compiler
from graphspec_runtime.devices import native
model = graphspec.compile("return nn.Sequential():add(nn.Linear(64, 64))", dtype=sys.argv[1], device="native")
model.forward(numpy.ones((64, 64)))
text = (compiler.SOURCES / "kernels.c").read_text()
for part, ending in enumerate(native.KERNELS):
    flags = (*native.KERNEL_FLAGS, f"-DGS_PART={part}")
    print(ending or "all", compiler.place(compiler.find_compiler(), text, flags).exists())
"""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_a_plan_does_not_call_is_not_compiled(tmp_path: Path, dtype: str) -> None:
    """But for the products of float32, which a device begins with."""
    environment = {**os.environ, "GRAPHSPEC_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", KEPT, dtype], env=environment, capture_output=True, text=True)
    kept = dict(line.split() for line in done.stdout.splitlines())
    assert kept.pop("_f32") in ("True", "False")  # it may not be there yet
    assert kept == {"all": "True", "_f64": str(dtype == "float64"), "_bf16": "False"}, done.stderr
