"""Checkpoints of a run: whole files only, the previous good one kept, damaged ones named and skipped.

A run folder's ``checkpoints/`` holds ``step-<n>.safetensors`` (everything to go on), the two newest of them, and
``best.safetensors``.  A checkpoint counts when it reads back with the checksum in its own header.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from graphspec.errors import Diagnostic, SpecError, error, fail
from graphspec.tensorfile import read_tensors, write_tensors

Array = np.ndarray[Any, Any]
KEPT = 2
BEST = "best.safetensors"


class Checkpoints:
    """The checkpoints of one run folder."""

    def __init__(self, run_dir: Path) -> None:
        self.folder = run_dir / "checkpoints"

    def steps(self) -> list[tuple[int, Path]]:
        """Step and file of each, newest first."""
        found = [
            (int(m.group(1)), p) for p in self.folder.glob("step-*.safetensors") if (m := re.fullmatch(r"step-(\d+)\.safetensors", p.name))
        ]
        return sorted(found, reverse=True)

    def write(self, step: int, tensors: Mapping[str, Array], state: Mapping[str, Any], best: bool = False) -> None:
        """Write the checkpoint of this step; the older ones but the previous go, and what a killed write left."""
        write_tensors(self.folder / f"step-{step:08d}.safetensors", tensors, {"experiment": dict(state)})
        if best:
            write_tensors(self.folder / BEST, tensors, {"experiment": dict(state)})
        for _, path in self.steps()[KEPT:]:
            path.unlink(missing_ok=True)
        self.sweep()

    def sweep(self) -> None:
        """Remove what killed writes left."""
        for path in self.folder.glob("*.part"):
            path.unlink(missing_ok=True)

    def newest(self) -> tuple[dict[str, Array], dict[str, Any], list[Diagnostic]] | None:
        """Tensors and state of the newest good one, with a warning for each damaged one; None when there is none."""
        skipped: list[Diagnostic] = []
        for path in self._candidates():
            try:
                tensors, header = read_tensors(path)
                return tensors, header["experiment"], skipped
            except SpecError as failure:
                skipped.append(error("W0705", f"{failure.diagnostics[0].message}; it is skipped", severity="warning"))
            except KeyError:
                skipped.append(error("W0705", f"{path} holds no experiment; it is skipped", severity="warning"))
        return None

    def _candidates(self) -> Iterator[Path]:
        yield from (path for _, path in self.steps())
        if (self.folder / BEST).is_file():
            yield self.folder / BEST


def checkpoint_file(path: Path) -> Path:
    """The file to load for a run folder or a file; E0801 when there is nothing there."""
    if path.is_dir():
        checkpoints = Checkpoints(path)
        best = checkpoints.folder / BEST
        for candidate in [*([best] if best.is_file() else []), *(p for _, p in checkpoints.steps())]:
            try:
                read_tensors(candidate)
            except SpecError:
                continue
            return candidate
        raise fail("E0801", f"{path} holds no checkpoint that can be read", helps=["a run writes them to its --out folder"])
    return path
