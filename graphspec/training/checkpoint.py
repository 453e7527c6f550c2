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
from graphspec.tensorfile import PART, read_tensors, write_tensors

Array = np.ndarray[Any, Any]
KEPT = 2
BEST = "best.safetensors"
STATE = "experiment"
"""Where a checkpoint's header keeps the state of its experiment."""


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
        """Write the checkpoint of this step; the older ones but the previous go, and what a killed write left.

        So do those of later steps: the run went on from an earlier one because they are damaged, and they must not push out the
        good one before this.  E0805 when something cannot be written or removed; what was there before is still good.
        """
        write_tensors(self.folder / f"step-{step:08d}.safetensors", tensors, {STATE: dict(state)})
        if best:
            write_tensors(self.folder / BEST, tensors, {STATE: dict(state)})
        present = self.steps()
        past = [path for number, path in present if number <= step]
        for path in [*past[KEPT:], *(path for number, path in present if number > step)]:
            self._remove(path)
        self.sweep()

    def sweep(self) -> None:
        """Remove what killed writes left."""
        for path in self.folder.glob(f"*{PART}"):
            self._remove(path)

    def _remove(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as failure:
            raise fail("E0805", f"{path} cannot be removed: {failure.strerror or failure}") from None

    def newest(self) -> tuple[dict[str, Array], dict[str, Any], list[Diagnostic]] | None:
        """Tensors and state of the newest good one, with a warning for each damaged one; None when there is none at all.

        E0705, naming each, when there are some and none is good: to start afresh over them is for the user to decide.
        """
        skipped: list[Diagnostic] = []
        for path in self._candidates():
            try:
                tensors, header = read_tensors(path)
                return tensors, header[STATE], skipped
            except SpecError as failure:
                skipped.append(error("W0705", f"{failure.diagnostics[0].message}; it is skipped", severity="warning"))
            except KeyError:
                skipped.append(error("W0705", f"{path} holds no experiment; it is skipped", severity="warning"))
        if skipped:
            raise fail(
                "E0705",
                f"no checkpoint in {self.folder} is good",
                notes=[warning.message.removesuffix("; it is skipped") for warning in skipped],
                helps=["to start afresh, choose another folder with `--out`, or remove this one"],
            )
        return None

    def _candidates(self) -> Iterator[Path]:
        yield from (path for _, path in self.steps())
        if (self.folder / BEST).is_file():
            yield self.folder / BEST


def checkpoint_file(path: Path) -> Path:
    """The file to load for a run folder (the best, else the newest that is good) or a file; E0801 when there is nothing there, or
    nothing good, naming each that is damaged."""
    if path.is_dir():
        checkpoints = Checkpoints(path)
        best = checkpoints.folder / BEST
        damaged = []
        for candidate in [*([best] if best.is_file() else []), *(p for _, p in checkpoints.steps())]:
            try:
                read_tensors(candidate)
            except SpecError as failure:
                damaged.append(failure.diagnostics[0].message)
                continue
            return candidate
        raise fail("E0801", f"{path} holds no checkpoint that can be read", notes=damaged, helps=["a run writes them to its --out folder"])
    return path
