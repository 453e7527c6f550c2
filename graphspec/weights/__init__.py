"""Weights from elsewhere: files of PyTorch (``.pt``, ``.safetensors``) and of Torch (``.t7``) into a spec's parameters.

``read(path)`` gives the tensors of a file by name, ``load(model, path, mapping)`` puts them into a model or an experiment; what a mapping
says is in :mod:`graphspec.weights.mapping`.  Nothing in a file is ever run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from graphspec.errors import fail
from graphspec.tensorfile import KEY, header_of, is_tensor_file
from graphspec.training.checkpoint import Checkpoints, load_checkpoint
from graphspec.views import Views
from graphspec.weights.common import Array, Damaged, unreadable
from graphspec.weights.mapping import Mapped, mapped
from graphspec.weights.safe import read_safetensors
from graphspec.weights.t7 import is_t7, read_t7
from graphspec.weights.torchfile import read_zip

__all__ = ["Mapped", "load", "mapped", "read"]

LEGACY = b"\x80\x02\x8a\x0a"
"""How ``torch.save`` began before PyTorch 1.6."""


class Weighted(Protocol):
    """A model or an experiment."""

    @property
    def parameters(self) -> Views: ...
    @property
    def buffers(self) -> Views: ...


def load(into: Weighted, path: str | Path, mapping: str | Path | Mapping[str, str] | None = None) -> dict[str, Mapped]:
    """Put a file's tensors into the parameters and running statistics of a model or an experiment, all of them or, on an error, none.

    ``mapping``: a file, a text with ``=`` in it, or a dict from our names to theirs; without, names are the same.  Returns what each
    became.  E0722 for a mapping that makes no sense, E0723 for names that nothing is said about, E0724 for shapes that do not fit.
    """
    mine = {**into.parameters, **into.buffers}
    found = mapped({name: array.shape for name, array in mine.items()}, read(path), mapping)
    values = {name: made.value for name, made in found.items() if made.value is not None}
    for held in (into.parameters, into.buffers):
        held.update({name: values[name] for name in held if name in values})
    return found


def read(path: str | Path) -> dict[str, Array]:
    """The tensors of a file by name, in its order, as read-only arrays (bf16 as float32); what kind of file it is, its first bytes say.

    A run's folder is its best checkpoint.  Of a checkpoint of ours parameters and running statistics are taken, without the optimizer's
    state and what is carried from batch to batch.  E0801 when it cannot be read, E0720 (E0705 for one of ours) when it is damaged or of no
    kind that is known, E0721 when its pickle names anything but tensors and tables, E0802 for a folder that is no run's.
    """
    file = Path(path)
    if file.is_dir():
        if not Checkpoints(file).folder.is_dir():
            raise fail("E0802", f"{path} is a folder, not a file of weights", helps=["a run's folder would do, but it has no checkpoints/"])
        file = load_checkpoint(file).path
    try:
        return _read(file)
    except Damaged as why:
        raise unreadable(file, why) from None
    except OSError as failure:
        raise fail("E0801", f"{path} cannot be read: {failure.strerror or failure}") from None


def _read(path: Path) -> dict[str, Array]:
    if not os.path.isfile(path) and path.exists():
        raise Damaged("it is a device, which may have no end")
    with open(path, "rb") as file:
        start = file.read(16)
    if start.startswith(b"PK"):
        return read_zip(path)
    if start.startswith(LEGACY):
        helps = ["in PyTorch, save it again: `torch.save(torch.load(path, weights_only=True), path)`"]
        raise unreadable(path, "it has the form of PyTorch before 1.6", *helps)
    if is_tensor_file(path):
        tensors, metadata = read_safetensors(path.read_bytes())
        if KEY not in metadata:
            return tensors
        header_of(path, tensors, metadata)  # looks at the checksum
        return _taken(tensors)
    if is_t7(start):
        return read_t7(path.read_bytes())
    raise Damaged("it is no zip of torch.save, no safetensors file and no .t7")


def _taken(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """Without what an experiment keeps beside its model: ``STATE:PARAMETER`` of the optimizer, and carried states."""
    return {name: array for name, array in tensors.items() if name.partition(":")[2] not in tensors and not name.startswith("carry:")}
