"""``graphspec check-module``: what is right is proved, what is wrong is seen, and said where."""

# ruff: noqa: F811  (fixtures are used by their names)
from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from compiled import NEEDS_COMPILER
from graphspec.nn import registry
from graphspec.prove import prove
from test_plugins import SWISH, clean, said  # noqa: F401  (fixtures)

NEEDS_TORCH = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed: no twins to compare with")
RIGHT = "b.mul(x, b.sigmoid(x))"


def test_a_plugin_is_proved(said: Any) -> None:
    code, out, err = said("check-module Swish --plugin swishes --device numpy")
    assert code == 0, err
    assert "differences" in out and "numpy" in out and "nn.Swish: all 6 checks hold" in out


@NEEDS_COMPILER
def test_the_native_device_is_among_them(said: Any) -> None:
    code, out, _ = said("check-module nn.Swish --plugin swishes --json")
    assert code == 0
    checks = {proof["check"] for proof in json.loads(out)["proofs"]}
    assert checks == {"finite differences", "symbolic sizes", "numpy", "native"}


@NEEDS_TORCH
def test_its_twin_too(said: Any, tmp_path: Path) -> None:
    code, out, _ = said("check-module Swish --plugin swishes --device numpy --twin")
    assert code == 0 and "twin" in out
    (tmp_path / "othertwins.py").write_text("TWINS = {'Swish': lambda m, x, env: x * x.sigmoid() + x}\n")
    code, out, _ = said("check-module Swish --plugin swishes --device numpy --twin othertwins")
    assert code == 1 and "WRONG" in out and "2 checks FAILED" in out


@NEEDS_TORCH
def test_ours_have_theirs_among_the_tests(said: Any) -> None:
    code, out, _ = said("check-module LSTM --device numpy --twin twins --json")
    assert code == 0
    assert {proof["check"] for proof in json.loads(out)["proofs"]} == {"finite differences", "symbolic sizes", "numpy", "twin"}


@NEEDS_TORCH
@pytest.mark.parametrize(("given", "told"), [("json", "no twin of nn.Swish in json"), ("nowhere", "cannot be imported")])
def test_a_twin_that_is_not_there(said: Any, given: str, told: str) -> None:
    code, _, err = said(f"check-module Swish --plugin swishes --twin {given}")
    assert code == 1 and "E0807" in err and told in err


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("b.mul(x, b.stop_gradient(b.sigmoid(x)))", "WRONG"),
        ("b.mul(x, b.nothing(x))", "AttributeError: 'Lowering' object has no attribute 'nothing'"),
        ("x + 1", "TypeError"),
        ("b.parameter(m, 'weight')", "KeyError: 'weight'"),
        ("b.reduce_sum(x, (0,))", "E0823: a mistake in the record of nn.Swish, in odd: float64[] comes of `lower`, and its `shapes` says"),
        ("print(end='')", "E0823: a mistake in the record of nn.Swish, in odd: nothing comes of `lower`"),
    ],
)
def test_a_wrong_record_fails(said: Any, tmp_path: Path, wrong: str, told: str) -> None:
    (tmp_path / "odd.py").write_text(SWISH.replace(RIGHT, wrong))
    code, out, err = said("check-module Swish --plugin odd --device numpy")
    assert code == 1, err
    assert told in out and "FAILED" in out
    assert told == "WRONG" or told.startswith("E0823") or "(odd.py:" in out


def test_one_without_samples_is_not_proved(said: Any, tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(SWISH.replace("samples = (", "unused = ("))
    code, out, _ = said("check-module Swish --plugin odd")
    assert code == 1 and "nothing of it is proved" in out
    assert json.loads(said("check-module Swish --plugin odd --json")[1]) == {"name": "Swish", "ok": False, "proofs": []}


def test_an_unknown_one(said: Any) -> None:
    code, _, err = said("check-module Linera")
    assert code == 1 and "did you mean `nn.Linear`?" in err


def test_sizes_that_must_be_numbers_are_no_mistake() -> None:
    found = [proof for proof in prove(registry["SplitTable"]) if proof.check == "symbolic sizes"]
    assert found and all(proof.ok and proof.message == "numbers only" for proof in found)
