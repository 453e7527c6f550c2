"""``graphspec doctor``: what this machine has, and what stands in the way of speed."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from textwrap import shorten
from typing import Any

from graphspec import __version__
from graphspec.cli import cache
from graphspec.cli.output import Output
from graphspec.machine import environment
from graphspec_runtime import PlanError, compiler, open_device
from graphspec_runtime.threads import cores

PACKAGES = ("numpy", "lark", "safetensors", "rich", "threadpoolctl", "torch")
BLAS_SETTINGS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
OUR_SETTINGS = ("CC", "GRAPHSPEC_AMX", "GRAPHSPEC_CPU", "GRAPHSPEC_CACHE", "GRAPHSPEC_CACHE_SIZE")
SLOWING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""Settings that make NumPy's BLAS use other kernels than the best for this processor."""


def arguments(sub: argparse.ArgumentParser) -> None:
    """None of its own."""


def run(args: argparse.Namespace, out: Output) -> int:
    found = examine()
    if args.json:
        out.json(found)
        return 0
    rows = [("graphspec", found["graphspec"]), ("Python", found["python"]), ("machine", found["machine"]), ("cores", str(found["cores"]))]
    rows += [(name, number or "not installed") for name, number in found["packages"].items()]
    rows += [("BLAS", f"{found['blas']}, {found['threads']} thread{'s' * (found['threads'] != 1)}")]
    rows += [*native_rows(found["native"]), ("GPU", found["gpu"])]
    rows += [(name, value) for name, value in found["environment"].items()]
    out.table(rows, indent="")
    for warning in found["warnings"]:
        out.text(f"warning: {warning}")
    return 0


def examine() -> dict[str, Any]:
    """Everything, as plain data."""
    settings = {name: os.environ[name] for name in BLAS_SETTINGS + OUR_SETTINGS if name in os.environ}
    warnings = [f"{name} is set: NumPy may run at half its speed; unset it" for name in SLOWING if name in settings]
    return {
        "graphspec": __version__,
        "python": platform.python_version(),
        **{name: value for name, value in environment().items() if name in ("machine", "blas", "threads")},
        "cores": cores(),
        "packages": {name: installed(name) for name in PACKAGES},
        "native": native(),
        "gpu": gpu(),
        "environment": settings,
        "terminal": {"stdout": sys.stdout is not None and sys.stdout.isatty(), "width": shutil.get_terminal_size().columns},
        "warnings": warnings,
    }


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def native() -> dict[str, Any]:
    """The C compiler and what its code can do, or the one reason why there is none; and where that code is kept."""
    kept = cache.examine()
    try:
        found = compiler.about(compiler.find_compiler())
        compiler.prove(found.words)
    except PlanError as failure:
        return {"missing": failure.message, "cache": kept}
    path = shutil.which(found.words[0])
    able = {"flags": list(found.flags), "vectors": found.vectors, "bf16": found.bf16, "amx": found.amx}
    return {"compiler": path, "version": found.version, **able, "cache": kept}


def native_rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    if "missing" in found:
        return [("C compiler", f"none that works: {shorten(found['missing'], 300)}; cpu is numpy here")]
    bf16 = f", products of bf16{' in tiles (AMX)' * found['amx']}" if found["bf16"] else ""
    return [
        ("C compiler", f"{found['compiler']}, {found['version']}"),
        ("native code", f"vectors of {found['vectors']} bits{bf16} ({' '.join(found['flags']) or 'no flags for this processor'})"),
        ("kept", cache.told(found["cache"])),
    ]


def gpu() -> str:
    """The device, or the one reason why there is none."""
    try:
        return f"cuda: {open_device('cuda').name}"
    except PlanError as failure:
        return f"none: {failure.message}"
