"""Checkpoints of a run: whole files only, the previous good one kept, damaged ones named and skipped.

A run folder's ``checkpoints/`` holds ``step-<n>.safetensors`` (everything to go on), the two newest of them, and
``best.safetensors``; a run that was stopped between two of them leaves ``stopped-<n>.safetensors``, which goes with the next one.  A
checkpoint is one file with its own checksum, so that one rename makes it, and there is no second file that could disagree.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from graphspec.errors import Diagnostic, Origin, SpecError, error, fail
from graphspec.tensorfile import PART, read_tensors, write_tensors

Array = np.ndarray[Any, Any]
KEPT = 2
"""Checkpoints of steps that a run keeps."""
BEST = "best.safetensors"
STATE = "experiment"
"""Where a checkpoint's header keeps the state of its experiment."""


class Checkpoints:
    """The checkpoints of one run folder."""

    def __init__(self, run_dir: Path) -> None:
        self.folder = run_dir / "checkpoints"

    def steps(self, kinds: str = "step|stopped") -> list[tuple[int, Path]]:
        """Step and file of each, newest first."""
        named = re.compile(rf"(?:{kinds})-(\d+)\.safetensors")
        found = [(int(m.group(1)), p) for p in self.folder.glob("*.safetensors") if (m := named.fullmatch(p.name))]
        return sorted(found, reverse=True)

    def write(self, step: int, tensors: Mapping[str, Array], state: Mapping[str, Any], best: bool = False, stopped: bool = False) -> None:
        """Write the checkpoint of this step, and delete what is no longer needed: all but the two newest, and what a killed write left.

        Checkpoints of later steps are deleted too: they were damaged when the run went on from an earlier one, and would pass for the
        newest.  One that is written because the run was ``stopped`` deletes no other, and is deleted by the next: in the end a run that
        was stopped and resumed leaves the files of one that was not.  The best is written first, so that a step's checkpoint is
        never there without it.  E0805 when something cannot be written or deleted; what was there before is still good.
        """
        if best:
            write_tensors(self.folder / BEST, tensors, {STATE: dict(state)})
        write_tensors(self.folder / f"{'stopped' if stopped else 'step'}-{step:08d}.safetensors", tensors, {STATE: dict(state)})
        if not stopped:
            past = [path for number, path in self.steps("step") if number <= step]
            later = [path for number, path in self.steps("step") if number > step]
            for path in [*past[KEPT:], *later, *(path for _, path in self.steps("stopped"))]:
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

    def newest(self) -> Found | None:
        """The newest good one; None when there is none at all.

        E0705, naming each, when there are some and none is good: to start afresh over them is for the user to decide.
        """
        found, damaged = _first_good([*(path for _, path in self.steps()), *self.best()])
        if found is None and damaged:
            helps = ["to start afresh, choose another folder with `--out`, or remove this one"]
            raise fail("E0705", f"no checkpoint in {self.folder} is good", notes=damaged, helps=helps)
        return found

    def best(self) -> list[Path]:
        """The best one's file, if it is there."""
        return [path for path in (self.folder / BEST,) if path.is_file()]


class Found(NamedTuple):
    """A good checkpoint: what it holds, a warning for each damaged one that was passed over, its file."""

    tensors: dict[str, Array]
    state: dict[str, Any]
    skipped: list[Diagnostic]
    path: Path


def load_checkpoint(path: Path, last: bool = False) -> Found:
    """What a file holds, or, of a run folder, its best checkpoint, else the newest that is good; with ``last`` the newest first.

    E0801 when there is nothing there, or nothing good, naming each that is damaged; E0705 for a file that is damaged, or no experiment's.
    """
    if not path.is_dir():
        return _read(path)
    checkpoints = Checkpoints(path)
    best, steps = checkpoints.best(), [file for _, file in checkpoints.steps()]
    found, damaged = _first_good([*steps, *best] if last else [*best, *steps])
    if found is None:
        raise fail("E0801", f"{path} holds no checkpoint that can be read", notes=damaged, helps=["a run writes them to its --out folder"])
    return found


def _read(path: Path) -> Found:
    tensors, header = read_tensors(path)
    if not isinstance(header.get(STATE), dict):
        helps = ["a model is loaded with `graphspec.load(path)`"] if "model" in header else []
        raise fail("E0705", f"{path} holds no experiment", helps=helps)
    return Found(tensors, header[STATE], [], path)


def _first_good(paths: Iterable[Path]) -> tuple[Found | None, list[str]]:
    """The first of these files that is good, if there is one, and what is wrong with those before it."""
    damaged: list[str] = []
    for path in paths:
        try:
            found = _read(path)
        except SpecError as failure:
            damaged.append(failure.diagnostics[0].message)
            continue
        skipped = [error("W0705", f"{message}; it is skipped", severity="warning") for message in damaged]
        return found._replace(skipped=skipped), damaged
    return None, damaged


def check_same_data(then: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]], origin: Origin) -> None:
    """E0617 where a source is another than when the checkpoint was written; both by place, as sources are recorded."""
    for place, old in then.items():
        if place in now and now[place].get("sha256") != old.get("sha256"):
            notes = [f"their SHA-256 is {now[place]['sha256'][:12]}..., and was {old['sha256'][:12]}..."]
            raise fail("E0617", "the data are not those that the run began with", origin, notes=notes)
