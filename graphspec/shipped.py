"""What comes with graphspec beside its code: next to the package in a checkout, inside it in an installed wheel."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent

SPECS = _HERE / "specs" if (_HERE / "specs").is_dir() else _HERE.parent / "specs"
"""The folder of the shipped specs."""

ERROR_PAGES = _HERE / "error_pages" if (_HERE / "error_pages").is_dir() else _HERE.parent / "docs" / "errors"
"""The folder of the pages of error codes."""
