"""``data.arrays``: what a file may hold, streams and sizes, batches, damaged files."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphspec.data.arrays import ArraySource
from graphspec.errors import SpecError
from graphspec.open import open_spec
from sources import assert_same, opened

Array = np.ndarray[Any, Any]


def numbers(count: int = 40) -> dict[str, Array]:
    return {"x": np.arange(count * 6.0).reshape(count, 2, 3), "y": np.arange(count) % 5 + 1}


def array_source(folder: Path, arrays: dict[str, Any] | None = None, stored: Any = None, **fields: Any) -> ArraySource:
    np.savez(folder / "data.npz", **(numbers() if arrays is None else arrays))
    source = opened("data.arrays", folder, stored, path="data.npz", **fields)
    assert isinstance(source, ArraySource)
    return source


def test_arrays_are_streams_with_sizes_and_classes(tmp_path: Path) -> None:
    arrays = {**numbers(), "on": np.arange(40) > 20, "double": np.ones((40, 1)), "byte": np.full((40, 2), 255, np.uint8)}
    source = array_source(tmp_path, arrays, shuffle=False)
    assert source.streams == {"x", "y", "on", "double", "byte"}
    assert source.attributes == {"x_size": 3, "double_size": 1, "byte_size": 2, "y_classes": 5, "on_classes": 1, "byte_classes": 255}
    batch = source.batch(0)
    assert {name: array.dtype.name for name, array in batch.arrays.items()} == {
        "x": "float32", "double": "float32", "y": "int32", "on": "int32", "byte": "int32",
    }  # fmt: skip
    np.testing.assert_array_equal(batch.arrays["x"], arrays["x"][:38])
    assert (batch.symbols, batch.starts) == (38, True)


def test_an_array_named_like_a_size_is_a_stream(tmp_path: Path) -> None:
    source = array_source(tmp_path, {"x": np.ones((3, 4)), "x_size": np.ones(3)})
    assert source.attributes == {}
    assert source.streams == {"x", "x_size"}


@pytest.mark.parametrize(("asked", "told"), [("y_classes", True), ("z_classes", False), ("y_size", False)])
def test_labels_that_are_no_whole_numbers_have_no_classes(asked: str, told: bool, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.ones((4, 3)), y=np.ones(4))
    (tmp_path / "model.spec").write_text(f"local d = data.arrays {{ path = 'data.npz' }}\nreturn nn.Linear(3, d.{asked})\n")
    with pytest.raises(SpecError) as caught:
        open_spec(tmp_path / "model.spec")
    problem = caught.value.diagnostics[0]
    assert (problem.code, any("save `y.astype('int32')`" in text for text in problem.helps)) == ("E0605", told)


@pytest.mark.parametrize(("batch", "valid"), [(7, 0.25), (1, 0.05), (1000, 0.5), (16, 0.0)])
def test_a_pass_is_every_example_once(batch: int, valid: float, tmp_path: Path) -> None:
    source = array_source(tmp_path, batch=batch, valid=valid)
    orders = []
    for turn in range(3):
        batches = [source.batch(turn * source.batches + n) for n in range(source.batches)]
        assert all(1 <= b.symbols <= batch for b in batches)
        rows = np.concatenate([b.arrays["x"][:, 0, 0] // 6 for b in batches])
        for b in batches:
            np.testing.assert_array_equal(b.arrays["y"], b.arrays["x"][:, 0, 0] // 6 % 5 + 1)
        assert sorted(rows) == list(range(source.split))
        orders.append(rows.tolist())
    assert orders[0] != orders[1] != orders[2]
    held_out = [n for b in source.valid() for n in b.arrays["x"][:, 0, 0] // 6]
    assert held_out == list(range(source.split, 40))
    assert len(held_out) == 40 * valid
    assert [n for b in source.valid(whole=True) for n in b.arrays["x"][:, 0, 0] // 6] == list(range(40))


def test_a_batch_is_a_function_of_its_number(tmp_path: Path) -> None:
    one, other, reseeded = (array_source(tmp_path, batch=6, seed=seed) for seed in (1, 1, 2))
    expected = {number: one.batch(number) for number in (0, 3, 8, 20, 7)}
    for number in sorted(expected, reverse=True):
        assert_same(other.batch(number), expected[number])
    assert reseeded.batch(0).arrays["y"].tolist() != expected[0].arrays["y"].tolist()


def test_without_shuffling_the_order_is_that_of_the_file(tmp_path: Path) -> None:
    source = array_source(tmp_path, batch=10, shuffle=False, valid=0.0)
    assert [source.batch(n).arrays["x"][0, 0, 0] for n in range(8)] == [0, 60, 120, 180] * 2


# -- files that cannot be used ---------------------------------------------------------------------------------------------------


def saved(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def one_array() -> bytes:
    file = io.BytesIO()
    np.save(file, np.ones(3))
    return file.getvalue()


def archive(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as content:
        for name, data in members.items():
            content.writestr(name, data)
    return file.getvalue()


def bomb() -> bytes:
    return archive(x=b"\0" * 210_000_000)


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "text": (lambda: b"1,2\n3,4\n", r"E0620.*data.npz cannot be used: it is no .npz file"),
    "nothing": (lambda: b"", r"E0620.*it is no .npz file"),
    "one array": (one_array, r"E0620.*it is no .npz file"),
    "no arrays": (saved, r"E0620.*as many examples each, and there is none"),
    "no array": (lambda: archive(readme=b"hello"), r"E0620.*readme is no array"),
    "other counts": (lambda: saved(x=np.ones(3), y=np.ones(1200)), r"E0620.*x has 3, y has 1,200"),
    "one number": (lambda: saved(x=np.float64(3)), r"E0620.*x is float64 \[\]"),
    "no examples": (lambda: saved(x=np.ones((0, 3))), r"E0620.*x is float64 \[0, 3\]"),
    "no values": (lambda: saved(x=np.ones((3, 0))), r"E0620.*x is float64 \[3, 0\]"),
    "complex": (lambda: saved(x=np.ones(3, np.complex64)), r"E0620.*x is complex64 \[3\]"),
    "texts": (lambda: saved(x=np.array(["a", "b"])), r"E0620.*x is <U1 \[2\]"),
    "objects": (lambda: saved(x=np.array([{}, None])), r"E0620.*Object arrays cannot be loaded"),
    "large numbers": (lambda: saved(x=np.array([2**31])), r"E0620.*x has numbers beyond 32 bits"),
    "large negative numbers": (lambda: saved(x=np.array([-(2**31) - 1])), r"E0620.*x has numbers beyond 32 bits"),
    "large unsigned numbers": (lambda: saved(x=np.array([2**64 - 1], np.uint64)), r"E0620.*x has numbers beyond 32 bits"),
    "large fractions": (lambda: saved(x=np.array([1e300, np.inf])), r"E0620.*x has numbers beyond 32 bits"),
    "a field's name": (lambda: saved(batch=np.ones(3)), r"E0620.*an array cannot be called batch"),
    "half a file": (lambda: saved(**numbers())[:300], r"E0620.*it is no .npz file"),
    "larger than it looks": (bomb, r"E0618.*data.npz is larger than 200,000,000 bytes unpacked"),
    "one example": (lambda: saved(x=np.ones(1)), r"E0614.*data.npz has one example only"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_file_that_cannot_be_used(case: str, tmp_path: Path) -> None:
    make, words = BAD[case]
    (tmp_path / "data.npz").write_bytes(make())
    with pytest.raises(SpecError, match=words):
        opened("data.arrays", tmp_path, path="data.npz").batch(0)


@pytest.mark.parametrize(
    ("name", "made"), [("t.csv", "np.genfromtxt('t.csv', delimiter=',', skip_header=1)"), ("t.npy", "np.load('t.npy')")]
)
def test_how_another_file_becomes_one(name: str, made: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("a,b\n1,2\n3,4\n")
    with pytest.raises(SpecError) as caught:
        opened("data.arrays", tmp_path, path=name).batch(0)
    assert caught.value.diagnostics[0].helps == (f"`np.savez('data.npz', x={made})` makes one of it",)


@pytest.mark.parametrize(
    ("fields", "words"),
    [({}, r"E0616.*data.arrays needs a path"), ({"path": "no.npz"}, r"E0610.*no.npz does not exist"), ({"path": "/etc/hosts"}, r"E0611")],
)
def test_a_path_is_needed_and_stays_under_the_roots(fields: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=words):
        opened("data.arrays", tmp_path, **fields).batch(0)


@pytest.mark.parametrize("pack", [np.savez, np.savez_compressed])
@given(data=st.data())
def test_a_damaged_file_is_told_as_such(pack: Callable[..., None], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever happened to its bytes, it is read or refused."""
    file = io.BytesIO()
    pack(file, **numbers(4))
    content = bytearray(file.getvalue())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "data.npz").write_bytes(content)
    with suppress(SpecError):
        opened("data.arrays", folder, path="data.npz").batch(0)


def test_what_is_large_and_no_bomb_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """50,000 small photographs as float32 were refused, as what unpacks to much more than it is still is."""
    monkeypatch.setattr("graphspec.data.arrays.MAX_BYTES", 1000)
    (tmp_path / "data.npz").write_bytes(saved(x=np.random.default_rng(1).random((100, 30))))
    assert opened("data.arrays", tmp_path, path="data.npz").batch(0).symbols == 64
    np.savez_compressed(tmp_path / "data.npz", x=np.zeros((100, 300)))
    with pytest.raises(SpecError, match=r"E0618.*data.npz is larger than 4,\d+ bytes unpacked"):
        opened("data.arrays", tmp_path, path="data.npz").batch(0)
    monkeypatch.setattr("graphspec.data.arrays.MAX_ARRAYS", 2000)
    (tmp_path / "data.npz").write_bytes(saved(x=np.random.default_rng(1).random((100, 30))))
    with pytest.raises(SpecError, match=r"E0618.*data.npz is larger than 2,000 bytes"):
        opened("data.arrays", tmp_path, path="data.npz").batch(0)


# -- what a checkpoint keeps -----------------------------------------------------------------------------------------------------


def test_a_stored_source_needs_no_file(tmp_path: Path) -> None:
    kept = array_source(tmp_path).to_json()
    (tmp_path / "data.npz").unlink()
    again = opened("data.arrays", tmp_path, kept, path="data.npz")
    assert again.streams == {"x", "y"}
    assert again.attributes == {"x_size": 3, "y_classes": 5}
    assert again.to_json() == kept
    with pytest.raises(SpecError, match=r"E0610"):
        again.batch(0)


def test_the_record_is_of_the_numbers_not_of_their_packing(tmp_path: Path) -> None:
    kept = array_source(tmp_path).to_json()
    np.savez_compressed(tmp_path / "data.npz", **dict(reversed(numbers().items())))
    again = opened("data.arrays", tmp_path, kept, path="data.npz")
    assert again.batch(0).symbols == 38
    assert again.to_json() == kept
    changed = numbers()
    changed["y"][7] = 1
    with pytest.raises(SpecError, match=r"E0617.*data.npz is not the file of arrays that the checkpoint was made with"):
        array_source(tmp_path, changed, kept).batch(0)
