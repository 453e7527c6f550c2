"""The specs that come with graphspec: beside the package in a checkout, inside it in an installed wheel."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent

SPECS = _HERE / "specs" if (_HERE / "specs").is_dir() else _HERE.parent / "specs"
"""The folder of the shipped specs."""
