"""Files of weights: what PyTorch and Torch write is read as it was, and nothing that anybody else writes does any harm."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphspec
from graphspec import weights
from graphspec.errors import SpecError
from t7files import Thing, View, Writer, t7

Array = np.ndarray[Any, Any]


def failure(path: Path) -> SpecError:
    with pytest.raises(SpecError) as caught:
        weights.read(path)
    return caught.value


def refused(tmp_path: Path, data: bytes) -> SpecError:
    path = tmp_path / "weights"
    path.write_bytes(data)
    return failure(path)


def same(found: dict[str, Array], wanted: dict[str, Any]) -> None:
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], np.asarray(value))
        assert not found[name].flags.writeable or found[name].size == 0


# -- PyTorch ---------------------------------------------------------------------------------------------------------------------


def torch_zip(pickled: bytes, storages: dict[str, bytes] | None = None, compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip like torch.save's, around any pickle."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("a/data.pkl", pickled)
        archive.writestr("a/byteorder", b"little")
        for key, data in (storages or {}).items():
            archive.writestr(f"a/data/{key}", data)
    return file.getvalue()


def tensor(
    numel: int = 6, offset: int = 0, sizes: tuple[int, ...] = (2, 3), strides: tuple[int, ...] = (3, 1), kind: str = "Float"
) -> bytes:
    """A pickle of ``{"w": tensor}``, of whatever numbers."""
    parts = [
        b"\x80\x02}X\x01\0\0\0w",
        b"ctorch._utils\n_rebuild_tensor_v2\n(",
        b"(X\x07\0\0\0storage",
        f"ctorch\n{kind}Storage\n".encode(),
        b"X\x01\0\0\x000X\x03\0\0\0cpu",
        pickle.dumps(numel, protocol=2)[2:-1],
        b"tQ",
    ]
    triple = [pickle.dumps(value, protocol=2)[2:-1] for value in (offset, sizes, strides)]
    return b"".join([*parts, *triple, b"\x89ccollections\nOrderedDict\n)RtRs."])


def test_a_tensor_made_by_hand_is_read(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    numbers = np.arange(6, dtype=np.float32)
    path.write_bytes(torch_zip(tensor(), {"0": numbers.tobytes()}))
    same(weights.read(path), {"w": numbers.reshape(2, 3)})
    path.write_bytes(torch_zip(tensor(sizes=(3, 2), strides=(1, 3)), {"0": numbers.tobytes()}))
    same(weights.read(path), {"w": numbers.reshape(2, 3).T})


def test_what_pytorch_saves_is_read(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch writes the files of this test")
    path = tmp_path / "w.pt"
    shared = torch.arange(12.0).reshape(3, 4)
    kinds = {name: torch.arange(3).to(getattr(torch, name)) for name in ("float64", "float16", "int64", "int32", "int16", "int8", "uint8")}
    half = torch.tensor([1.5, -2.0]).bfloat16()
    saved = {
        "a": shared,
        "rows": shared[1:],
        "turned": shared.t(),
        "one": torch.tensor(3.0),
        "empty": torch.zeros(0, 3),
        "true": torch.tensor([True, False]),
        "half": half,
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "nested": {"list": [torch.ones(1), {"x": torch.zeros(2)}], "epoch": 7},
        **kinds,
    }
    torch.save(saved, path)
    found = weights.read(path)
    wanted = {name: value.numpy() for name, value in saved.items() if name not in ("half", "parameter", "nested")}
    wanted |= {"half": [1.5, -2.0], "parameter": [1, 1], "nested.list.0": [1], "nested.list.1.x": [0, 0]}
    same(found, wanted)
    assert {name: found[name].dtype.name for name in kinds} == {name: name for name in kinds}
    assert found["half"].dtype == np.float32
    torch.save(torch.ones(2), path)
    same(weights.read(path), {"tensor": [1, 1]})
    torch.save(torch.optim.Adam([torch.nn.Parameter(torch.ones(2))]).state_dict(), path)
    assert weights.read(path) == {}


def test_safetensors_of_others_are_read(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "w.safetensors"
    wanted = {"a": np.arange(6.0).reshape(2, 3), "b": np.ones(3, np.int32), "empty": np.zeros((0, 4), np.float16), "one": np.float32(2)}
    save_file({name: np.asarray(value) for name, value in wanted.items()}, path, {"format": "pt"})
    same(weights.read(path), wanted)
    header = json.dumps({"x": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes.fromhex("c03f00c0"))
    same(weights.read(path), {"x": [1.5, -2]})


def test_our_own_files_are_read(tmp_path: Path) -> None:
    model = graphspec.compile("local x = nn.Identity{'B', 3}()\nreturn nn.gModule({x}, {nn.Linear(3, 2)(x)})")
    model.save(tmp_path / "m.safetensors")
    same(weights.read(tmp_path / "m.safetensors"), model.parameters)


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch ran",)


def test_a_pickle_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for protocol in range(6):
        error = refused(tmp_path, torch_zip(pickle.dumps({"w": Evil()}, protocol)))
        assert error.code == ("E0721" if protocol else "E0720")
        assert protocol == 0 or "posix.system" in str(error) or "nt.system" in str(error)
    assert not (tmp_path / "ran").exists()
    others = b"torch.load\n_rebuild_tensor_v2", b"torch._utils\n_rebuild_tensor_v2.__globals__", b"collections\nOrderedDict.update"
    for name in (b"builtins\neval", *others):
        assert refused(tmp_path, torch_zip(b"\x80\x02c" + name + b"\n.")).code == "E0721"


def test_a_whole_module_is_refused_with_advice(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch writes the files of this test")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "w.pt")
    error = failure(tmp_path / "w.pt")
    assert error.code == "E0721" and "torch.nn.modules.linear.Linear" in str(error) and "state_dict" in str(error)
    torch.save({"a": torch.ones(1)}, tmp_path / "w.pt", _use_new_zipfile_serialization=False)
    assert "before 1.6" in str(failure(tmp_path / "w.pt"))


HOSTILE_PICKLES = {
    "claims elements": tensor(2**60),
    "reaches outside": tensor(sizes=(2**30, 2**30)),
    "a negative offset": tensor(offset=-1),
    "an offset outside": tensor(offset=2**62),
    "negative strides": tensor(strides=(-3, 1)),
    "expanded": tensor(sizes=(2**60, 2), strides=(0, 1)),
    "an overflow": tensor(sizes=(2**32, 2**32), strides=(0, 0)),
    "empty and huge": tensor(sizes=(0, 2**62)),
    "complex": tensor(kind="ComplexFloat"),
    "many axes": tensor(sizes=(1,) * 100, strides=(1,) * 100),
    "a list of itself": b"\x80\x02]q\0h\0a.",
    "a dict of itself": b"\x80\x02}q\0X\1\0\0\0ah\0s.",
    "deep lists": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "deep tuples": b"\x80\x02)" + b"\x85" * 200_000 + b".",
    "deep key": b"\x80\x02})" + b"\x85" * 200_000 + b"Ns.",
    "laughs": b"\x80\x02)q\0" + b"".join(b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x86q" + bytes([i + 1]) for i in range(200)) + b".",
    "text of 2^31": b"\x80\x02X\xff\xff\xff\x7fabc.",
    "text of 2^63": b"\x80\x04\x8d" + b"\xff" * 8 + b".",
    "a long of 2^31": b"\x80\x02\x8b\xff\xff\xff\x7f.",
    "a memo of 2^32": b"\x80\x02Nr\xff\xff\xff\xff0.",
    "no memo": b"\x80\x02h\x05.",
    "no stop": b"\x80\x02N",
    "nothing": b"",
    "only a mark": b"(.",
    "too many": b"\x80\x02" + b"N" * 1_100_000 + b".",
    "not utf-8": b"\x80\x02X\1\0\0\0\xff.",
    "no name": b"\x80\x02N)R.",
    "odd items": b"\x80\x02}(Nu.",
    "a wrong call": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.",
    "no storage": b"\x80\x02)Q.",
    "a callback": b"\x80\x02ctorch\nFloatStorage\n(lp0\n.",
    "an OrderedDict of numbers": b"\x80\x02ccollections\nOrderedDict\nK\x05\x85R.",
}
FINE = {"a list of itself", "a dict of itself", "deep lists", "deep tuples", "laughs", "a memo of 2^32"}
"""They hold no tensors, and do no harm."""


@pytest.mark.parametrize("kind", HOSTILE_PICKLES)
def test_a_hostile_pickle_is_an_error(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    path.write_bytes(torch_zip(HOSTILE_PICKLES[kind], {"0": bytes(24)}))
    if kind in FINE:
        assert bounded(path) in ({}, "E0720")
    else:
        assert bounded(path) == "E0720"


def outcome(path: Path) -> Any:
    """What reading gives, or its error's code."""
    try:
        return weights.read(path)
    except SpecError as error:
        return error.code if str(error) else "no words"


def bounded(path: Path, most: int = 50_000_000) -> Any:
    """What reading gives, or its error's code; a small file must not have taken much memory (to look at that of long ones takes long)."""
    small = path.stat().st_size < 50_000
    if small:
        tracemalloc.start()
    try:
        return outcome(path)
    finally:
        if small:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < most


def test_a_bomb_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    bomb = torch_zip(tensor(2**23), {"0": bytes(2**25)}, zipfile.ZIP_DEFLATED)
    path.write_bytes(bomb)
    assert len(bomb) < 50_000 and bounded(path) == "E0720"
    lying = bytearray(torch_zip(tensor(), {"0": bytes(24)}))
    for place in [i for i in range(len(lying)) if lying[i : i + 4] == b"PK\1\2"]:  # sizes of 4 GB in the central directory
        lying[place + 20 : place + 28] = b"\xf0\xff\xff\xff" * 2
    path.write_bytes(bytes(lying))
    assert bounded(path) == "E0720"


def test_hostile_safetensors_are_errors(tmp_path: Path) -> None:
    def file(header: Any, data: bytes = bytes(8)) -> bytes:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + data

    def entry(**more: Any) -> dict[str, Any]:
        return {"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **more}}

    bad = [
        entry(shape=[2**60]), entry(shape=[2**32, 2**32]), entry(shape=[-1, -2]), entry(shape=[0, 2**62], data_offsets=[0, 0]),
        entry(shape=2), entry(data_offsets=[0, 2**60]), entry(data_offsets=[-8, 0]), entry(data_offsets=[8, 0]), entry(data_offsets=[0]),
        entry(data_offsets=[0, 7]), entry(dtype="F8"), entry(dtype=[]), entry(shape=[1.0, 2]), {"x": None}, b"{" + b'"a":{' * 100_000,
        b"{]", entry(shape=[1] * 100 + [2]),
    ]  # fmt: skip
    for header in bad:
        assert refused(tmp_path, file(header)).code == "E0720", header


# -- Torch -----------------------------------------------------------------------------------------------------------------------


def checkpoint() -> dict[Any, Any]:
    """A table as scripts saved it: a module with what its last call left, shared parts, a circle, a function."""
    flat = np.arange(20, dtype=np.float64)
    linear = Thing(
        "nn.Linear", {"weight": View(flat, 2, (3, 4), (4, 1)), "bias": View(flat, 14, (3,), (1,)), "output": np.ones(3), "train": True}
    )
    table: dict[Any, Any] = {"opt": {"rnn_size": 128, "name": "x"}, "model": Thing("nn.Sequential", {"modules": {1: linear, 2: linear}})}
    table["again"] = table
    table["f"] = len
    table["turned"] = View(flat, 0, (2, 3), (1, 2))
    table["nothing"] = np.zeros(0)
    for dtype in ("float32", "float16", "int64", "int32", "uint8", "int8"):
        table[dtype] = np.arange(3).astype(dtype)
    return table


@pytest.mark.parametrize("how", [{}, {"ascii_file": True}, {"cuda": True}], ids=["binary", "ascii", "cuda"])
def test_what_torch_saved_is_read(how: dict[str, bool], tmp_path: Path) -> None:
    path, flat = tmp_path / "w.t7", np.arange(20.0)
    path.write_bytes(t7(checkpoint(), **how))
    wanted: dict[str, Any] = {
        "model.modules.1.weight": flat[2:14].reshape(3, 4),
        "model.modules.1.bias": flat[14:17],
        "turned": flat[:6].reshape(3, 2).T,
        **{dtype: np.arange(3).astype(dtype) for dtype in ("float32", "float16", "int64", "int32", "uint8", "int8")},
    }
    found = weights.read(path)
    same(found, wanted)
    assert found["float32"].dtype == np.float32 and found["model.modules.1.bias"].dtype == np.float64
    path.write_bytes(t7(np.ones((2, 2)), **how))
    same(weights.read(path), {"tensor": np.ones((2, 2))})


def hostile_t7() -> dict[str, bytes]:
    def torch_object(kind: str, *parts: bytes) -> bytes:
        return struct.pack("<2i", 4, 1) + struct.pack("<i", 3) + b"V 1" + struct.pack("<i", len(kind)) + kind.encode() + b"".join(parts)

    def storage(count: int, data: bytes = bytes(8)) -> bytes:
        return struct.pack("<2i", 4, 2) + torch_object("torch.DoubleStorage")[8:] + struct.pack("<q", count) + data

    def tensor_of(sizes: list[int], strides: list[int], offset: int = 1, behind: bytes = b"") -> bytes:
        header = struct.pack("<i", len(sizes)) + struct.pack(f"<{2 * len(sizes) + 1}q", *sizes, *strides, offset)
        return torch_object("torch.DoubleTensor", header, behind or storage(1))

    def chain(depth: int) -> bytes:
        return b"".join(struct.pack("<3i", 3, i + 1, 1) + struct.pack("<id", 1, 1.0) for i in range(depth)) + bytes(4)

    return {
        "a storage of 2^60": tensor_of([1], [1], 1, storage(2**60)),
        "a storage of -1": tensor_of([1], [1], 1, storage(-1)),
        "sizes of 2^60": tensor_of([2**60, 2**60], [0, 0]),
        "a negative size": tensor_of([-1], [1]),
        "an offset of 2^60": tensor_of([1], [1], 2**60),
        "an offset of 0": tensor_of([1], [1], 0),
        "2^31 axes": torch_object("torch.DoubleTensor", struct.pack("<i", 2**31 - 1)),
        "a table of 2^31": struct.pack("<3i", 3, 1, 2**31 - 1),
        "a table of -1": struct.pack("<3i", 3, 1, -1),
        "a text of 2^31": struct.pack("<3i", 3, 1, 1) + struct.pack("<2i", 2, 2**31 - 1),
        "a type of 99": struct.pack("<4i", 3, 1, 1, 99),
        "a class of its own": torch_object("tds.Hash", bytes(64)),
        "a tensor without a storage": tensor_of([2], [1], 1, bytes(4)),
        "a storage that is none": tensor_of([2], [1], 1, struct.pack("<3i", 3, 2, 0)),
        "a tensor of itself": tensor_of([2], [1], 1, struct.pack("<2i", 4, 1)),
        "ascii of 2^60": b"4\n1\n3\nV 1\n19\ntorch.DoubleStorage\n1152921504606846976\n1\n",
        "ascii of words": b"3\n1\nxyz\n",
        "ascii of nothing": b"3\n1\n",
        "an empty table": struct.pack("<3i", 3, 1, 0),
        "a chain": chain(50_000),
        "long names": b"".join(struct.pack("<5i", 3, i + 1, 1, 2, 100) + b"n" * 100 for i in range(100))
        + tensor_of([1], [1])[:4]
        + struct.pack("<i", 1000)
        + tensor_of([1], [1], 1, storage(1)[:4] + struct.pack("<i", 1001) + storage(1)[8:])[8:],
    }


@pytest.mark.parametrize("kind", hostile_t7())
def test_a_hostile_t7_is_an_error(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "w.t7"
    path.write_bytes(hostile_t7()[kind])
    found = bounded(path)
    assert found == ({} if kind in ("an empty table", "a chain") else "E0720")


# -- any bytes -------------------------------------------------------------------------------------------------------------------


def whole_files() -> dict[str, bytes]:
    header = json.dumps({"x": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
    return {
        "pt": torch_zip(tensor(), {"0": np.arange(6, dtype=np.float32).tobytes()}),
        "safetensors": struct.pack("<Q", len(header)) + header + bytes(24),
        "t7": t7(checkpoint()),
        "ascii": Writer(ascii_file=True).file(checkpoint()),
    }


@pytest.mark.parametrize("kind", whole_files())
@pytest.mark.parametrize("seed", range(4))
def test_damaged_files_are_errors_or_tensors(kind: str, seed: int, tmp_path: Path) -> None:
    whole, chance, path = whole_files()[kind], random.Random(seed), tmp_path / "w"

    def look(data: bytes) -> None:
        path.write_bytes(data)
        found = outcome(path)
        assert found in ("E0720", "E0721") if isinstance(found, str) else all(array.size <= 2**20 for array in found.values())

    for _ in range(150):
        data = bytearray(whole)
        for _ in range(chance.choice([1, 1, 2, 8])):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        if chance.random() < 0.3:
            place = chance.randrange(len(data))
            data[place : place + chance.choice([1, 4, 8])] = chance.choice([b"\xff" * 8, b"\x7f" * 4, bytes(8), b""])
        look(bytes(data))
    for _ in range(50):
        look(whole[: chance.randrange(len(whole))])
    if kind == "pt":  # the pickle alone, inside a zip that is whole
        pickled = tensor()
        for _ in range(300):
            data = bytearray(pickled)
            data[chance.randrange(len(data))] = chance.randrange(256)
            look(torch_zip(bytes(data), {"0": bytes(24)}))


def test_files_that_are_none(tmp_path: Path) -> None:
    assert failure(tmp_path / "missing").code == "E0801"
    assert failure(tmp_path).code == "E0802"
    assert failure(Path("/dev/zero")).code == "E0720"
    for data in (b"", b"x", b"PK\3\4", b"not weights at all, but text\n", bytes(100), b"\x89PNG"):
        assert refused(tmp_path, data).code == "E0720"
    file = io.BytesIO()
    np.savez(file, x=np.ones(3))
    assert "torch.save" in str(refused(tmp_path, file.getvalue()))
