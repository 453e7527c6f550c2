"""Packages that only some features need, imported where they are used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from graphspec.errors import fail


def need(module: str, extra: str, what: str, *helps: str) -> Any:
    """The module; E0820, which says what needs its package and how to get it, when that is not installed or does not work."""
    package = module.partition(".")[0]
    try:
        return import_module(module)
    except ImportError as failure:
        missing = isinstance(failure, ModuleNotFoundError) and failure.name in (package, module)
        why = "which is not installed" if missing else f"which cannot be imported: {failure}"
        first = f"pip install {package} (or: pip install 'graphspec[{extra}]')"
        raise fail("E0820", f"{what} the package {package}, {why}", helps=[first, *helps]) from None
