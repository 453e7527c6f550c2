"""Tensors with a JSON header in one safetensors file, written so that a crash leaves the old file or the new one."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from graphspec.errors import SpecError, fail

Array = np.ndarray[Any, Any]
KEY = "graphspec"
PART = ".part"
"""Ending of a file that is being written; one that is found was left by a killed write."""


def write_tensors(path: Path, tensors: Mapping[str, Array], header: Mapping[str, Any]) -> None:
    """Write atomically: a temporary file beside it, fsync, reread and compare, rename, fsync of the folder.

    The same tensors and header make the same bytes.  E0805 when it cannot be written, or does not read back as it should; the
    file that was there before is then untouched.  safetensors writes arrays that are not C-contiguous wrongly, without a word
    (issue 825 of its repository), so copies are made contiguous, and what was written is compared all the same.
    """
    from safetensors.numpy import save

    # not ascontiguousarray, which makes an array without axes one of shape [1]
    solid = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    plain = json.loads(json.dumps(header))
    digest = checksum(solid, plain)

    def compare(written: Path) -> None:
        try:
            found = checksum(*read_tensors(written))
        except SpecError:
            found = ""
        if found != digest:
            raise fail("E0805", f"{path} cannot be written: what was written does not read back the same")

    # one entry only: safetensors keeps several in no particular order
    write_bytes(path, save(solid, {KEY: json.dumps({"header": plain, "checksum": digest}, sort_keys=True)}), compare)


def checksum(tensors: Mapping[str, Array], header: Mapping[str, Any]) -> str:
    """sha256 over the header and over names, types, shapes and bytes."""
    total = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        array = tensors[name]
        total.update(f"{name}:{array.dtype}:{array.shape};".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def write_bytes(path: Path, data: bytes, check: Callable[[Path], None] | None = None) -> None:
    """The whole file or nothing, lasting once this returns; ``check`` looks at what was written before it takes the name.

    E0805 when any part of it fails.
    """
    temporary = path.with_name(path.name + PART)
    try:
        if path.exists() and not path.is_file():  # a rename would put a file in the place of a device
            raise OSError("it is there and is not a file")
        make_folder(path.parent)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if check is not None:
            check(temporary)
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as failure:
        raise fail("E0805", f"{path} cannot be written: {failure.strerror or failure}") from None
    finally:
        with contextlib.suppress(OSError):  # what stopped the write may stop this too; it is swept up later
            temporary.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make it and those above it, each lasting through a power cut; OSError, which names a file that stands in the way."""
    if not folder.is_dir():
        if folder.exists():
            raise NotADirectoryError(errno.ENOTDIR, f"{folder} is a file and not a folder")
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in it last through a power cut."""
    if os.name == "nt":  # folders cannot be opened there
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_tensor_file(path: Path) -> bool:
    """Whether a file looks like one of tensors: safetensors begins with the length of a JSON object, in eight bytes, and the object."""
    try:
        with open(path, "rb") as file:
            start = file.read(9)
    except OSError:
        return False
    return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size


def read_tensors(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """Tensors and header; E0801 when it cannot be read, E0705 when it is damaged or not ours."""
    from safetensors import SafetensorError, safe_open

    try:
        if path.exists() and not path.is_file() and not path.is_dir():  # who would open a pipe would wait
            raise OSError("it is not a file")
        with open(path, "rb") as file:
            file.read(1)
        with safe_open(path, framework="numpy") as content:
            metadata = content.metadata() or {}
            tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118  (not a dict)
    except OSError as failure:
        raise fail("E0801", f"{path} cannot be read: {failure.strerror or failure}") from None
    except (SafetensorError, KeyError, ValueError, TypeError):
        if path.suffix in (".spec", ".lua"):
            helps = [f"train it with `graphspec run {path}`, then name the run's folder", "in Python `graphspec.compile` makes a model"]
            raise fail("E0705", f"{path} is a spec, and nothing that was trained or saved", helps=helps) from None
        raise _not_ours(path) from None
    return tensors, header_of(path, tensors, metadata)


def header_of(path: Path, tensors: Mapping[str, Array], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The header that a file's metadata hold; E0705 where there is none, or its checksum is not that of these tensors."""
    try:
        saved = json.loads(metadata[KEY])
        header, digest = saved["header"], saved["checksum"]
    except (KeyError, ValueError, TypeError):
        raise _not_ours(path) from None
    if not isinstance(header, dict) or checksum(tensors, header) != digest:
        raise fail("E0705", f"{path} is damaged: its checksum does not match")
    return header


def _not_ours(path: Path) -> SpecError:
    return fail("E0705", f"{path} is damaged, or was not written by graphspec")
