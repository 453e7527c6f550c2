"""safetensors files, of anybody: a length, a JSON table of names, types, shapes and places, and the bytes.

The library that graphspec writes its own files with has no NumPy type for bf16, which many published weights have.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from graphspec.weights.common import Array, Damaged, strided, widened

DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U64": "<u8",
    "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip
MAX_HEADER = 10**8


def read_safetensors(data: bytes) -> tuple[dict[str, Array], dict[str, Any]]:
    """Tensors by name, and the file's metadata; Damaged for what is no such file."""
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > min(len(data) - 8, MAX_HEADER):
        raise Damaged("it is cut short, or no safetensors file")
    try:
        header = json.loads(data[8 : 8 + size])
    except (ValueError, RecursionError):
        raise Damaged("the table at its start is no JSON") from None
    if not isinstance(header, dict):
        raise Damaged("the table at its start is no JSON object")
    metadata = header.pop("__metadata__", None)
    tensors = {name: _tensor(name, entry, data, 8 + size) for name, entry in header.items()}
    return tensors, metadata if isinstance(metadata, dict) else {}


def _tensor(name: str, entry: Any, data: bytes, base: int) -> Array:
    shown = name[:80]
    try:
        kind, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        plain = np.dtype(DTYPES[kind])
    except (KeyError, TypeError, ValueError):
        raise Damaged(f"the entry of {shown} is incomplete, or of a type that is not read") from None
    if not all(type(n) is int for n in (start, end)) or not 0 <= start <= end <= len(data) - base or (end - start) % plain.itemsize:
        raise Damaged(f"{shown} lies outside the file")
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise Damaged(f"the shape of {shown} makes no sense")
    count = (end - start) // plain.itemsize
    flat = np.frombuffer(data, plain, count, base + start) if count else np.zeros(0, plain)
    if kind == "BF16":
        flat = widened(flat)
    strides: list[int] = []
    total = 1
    for length in reversed(shape):
        strides.insert(0, total)
        total *= length
    if total != count:
        raise Damaged(f"{shown} has {count:,} elements, and its shape {total:,}")
    return strided(flat, 0, shape, strides)
