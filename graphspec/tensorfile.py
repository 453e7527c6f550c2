"""Tensors with a JSON header in one safetensors file, written so that a crash leaves the old file or the new one."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from graphspec.errors import fail

Array = np.ndarray[Any, Any]
KEY = "graphspec"


def write_tensors(path: Path, tensors: Mapping[str, Array], header: Mapping[str, Any]) -> None:
    """Write atomically: a temporary file beside it, fsync, rename, fsync of the folder.  E0805 when it cannot be written.

    safetensors writes arrays that are not C-contiguous wrongly (issue 825 of its repository), so copies are made contiguous.
    """
    from safetensors.numpy import save

    solid = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    digest = checksum(solid)
    data = save(solid, {KEY: json.dumps({"header": dict(header), "checksum": digest}, sort_keys=True)})
    write_bytes(path, data)


def checksum(tensors: Mapping[str, Array]) -> str:
    """sha256 over names, types, shapes and bytes."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        array = tensors[name]
        total.update(f"{name}:{array.dtype}:{array.shape};".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def write_bytes(path: Path, data: bytes) -> None:
    """The whole file or nothing."""
    temporary = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as failure:
        temporary.unlink(missing_ok=True)
        raise fail("E0805", f"{path} cannot be written: {failure.strerror or failure}") from None


def sync_folder(folder: Path) -> None:
    """Make a rename in it last through a power cut (where the system lets folders be opened)."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_tensors(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """Tensors and header; E0801 when it cannot be read, E0705 when it is damaged or not ours."""
    from safetensors import SafetensorError, safe_open

    try:
        with open(path, "rb") as file:
            file.read(1)
        with safe_open(path, framework="numpy") as content:
            metadata = content.metadata() or {}
            tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118  (not a dict)
        saved = json.loads(metadata[KEY])
        header, digest = saved["header"], saved["checksum"]
    except OSError as failure:
        raise fail("E0801", f"{path} cannot be read: {failure.strerror or failure}") from None
    except (SafetensorError, KeyError, ValueError, TypeError):
        raise fail("E0705", f"{path} is damaged, or was not written by graphspec") from None
    if checksum(tensors) != digest:
        raise fail("E0705", f"{path} is damaged: its checksum does not match")
    return tensors, header
