"""Packages that only some features need, imported where they are used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from graphspec.errors import fail


def need(package: str, extra: str, what: str, *helps: str) -> Any:
    """The module; E0820, which says what needs it and how to get it, when it is not installed."""
    try:
        return import_module(package)
    except ImportError:
        first = f"pip install {package} (or: pip install 'graphspec[{extra}]')"
        raise fail("E0820", f"{what} the package {package}, which is not installed", helps=[first, *helps]) from None
