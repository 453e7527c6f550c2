"""Records of a user's own: named with ``--plugin``, installed with an entry point, remembered by runs and saved models."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphspec
import graphspec.nn  # all that is ours is registered before a plugin is
from graphspec.cli.main import main
from graphspec.errors import SpecError
from graphspec.graph import REGISTRY, find_record, load_plugin, lookup
from graphspec.open import Opened

SWISH = '''
"""A plugin."""
from graphspec.graph import Sample, register
from graphspec.nn.common import Pointwise

@register
class Swish(Pointwise):
    """``x * sigmoid(x)``."""

    name = "Swish"
    doc = "y = x sigmoid(x)"
    source = "a paper"
    samples = (Sample((), (5,)), Sample((), (2, 3)))

    def apply(self, b, m, x):
        return b.mul(x, b.sigmoid(x))

TWINS = {"Swish": lambda m, x, env: x * x.sigmoid()}
'''
MODEL = "local x = nn.Identity{'B', 3}()\nreturn nn.gModule({x}, {nn.Swish()(x)})\n"


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty folder with a plugin; what is loaded is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "swishes.py").write_text(SWISH)
    (tmp_path / "model.spec").write_text(MODEL)
    before, records = set(sys.modules), dict(REGISTRY)
    yield
    for name in set(sys.modules) - before:
        if str(tmp_path) in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]
    REGISTRY.clear()
    REGISTRY.update(records)


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[[str], tuple[int, str, str]]:
    def run(line: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(line.split())
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def entry_points(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    """Plugins as if they were installed."""
    found = tuple(EntryPoint(name, value, lookup.GROUP) for name, value in values.items())
    monkeypatch.setattr(lookup, "entry_points", lambda group: found if group == "graphspec.modules" else ())
    monkeypatch.setattr(lookup, "BROKEN", {})
    lookup.installed.cache_clear()


@pytest.fixture
def no_others() -> Iterator[None]:
    yield
    lookup.installed.cache_clear()


@pytest.mark.parametrize("command", ["compile model.spec", "check model.spec", "modules Swish", "compile model.spec --emit shapes"])
def test_a_plugin_is_named(said: Any, command: str) -> None:
    assert said(command)[0] == 1
    code, out, err = said(f"{command} --plugin swishes")
    assert code == 0, err
    assert "outputs" in out or "Swish" in out or "gradients agree" in out


def test_an_installed_plugin_is_found_when_a_name_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, no_others: None
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    entry_points(monkeypatch, other="nowhere.at.all", Swish="swishes")
    assert find_record("Linear") is not None and "swishes" not in sys.modules
    model = graphspec.compile(MODEL)
    np.testing.assert_allclose(model(np.zeros((2, 3))), 0)
    assert lookup.BROKEN == {}, "one named as the module is tried first"


def test_a_broken_installed_plugin_is_told_where_a_name_is_missing(monkeypatch: pytest.MonkeyPatch, no_others: None) -> None:
    entry_points(monkeypatch, other="nowhere.at.all")
    with pytest.raises(SpecError) as failure:
        graphspec.compile(MODEL.replace("Swish", "Tahn"))
    (problem,) = failure.value.diagnostics
    assert problem.code == "E0401" and "did you mean `nn.Tanh`?" in problem.helps
    assert any("nowhere.at.all is not there" in note for note in problem.notes)


def test_a_saved_model_remembers_its_plugin(said: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    load_plugin("swishes")
    model = graphspec.compile(MODEL)
    assert model.opened.plugins == ("swishes",)
    model.save("model.safetensors")
    forget()
    again = graphspec.load("model.safetensors")
    np.testing.assert_array_equal(again(np.ones((1, 3))), model(np.ones((1, 3))))


def forget() -> None:
    """As in another process."""
    del REGISTRY["Swish"], sys.modules["swishes"]


def test_a_run_remembers_its_plugin(said: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(tmp_path)  # installed, as it were
    (tmp_path / "corpus.txt").write_text("the quick brown fox jumps over the lazy dog\n" * 40)
    (tmp_path / "lm.spec").write_text(PLUGGED)
    line = "run lm.spec data.path=corpus.txt --steps {} --out here"
    code, _, err = said(line.format(2) + " --plugin swishes")
    assert code == 0, err
    assert json.loads((tmp_path / "here" / "run.json").read_text())["plugins"] == ["swishes"]
    forget()
    for again in (line.format(4) + " --resume", "eval here", "sample here --length 5"):
        code, _, err = said(again)
        assert code == 0, (again, err)
        forget()
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place not in ("", str(tmp_path))])
    for command in ("sample here --length 5", "sample here --length 5 --plugin swishes"):
        code, _, err = said(command)
        assert code == 0, err
        forget()


def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As in another process, in another folder, where Python does not find what lies in the first one."""
    forget()
    (tmp_path / "other").mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / "other")
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place not in ("", str(tmp_path))])


def test_a_run_remembers_where_a_lone_file_lay(said: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text("the quick brown fox jumps over the lazy dog\n" * 40)
    (tmp_path / "lm.spec").write_text(PLUGGED)
    assert said(f"run lm.spec data.path={tmp_path}/corpus.txt --steps 2 --out here --plugin swishes")[0] == 0
    assert json.loads((tmp_path / "here" / "run.json").read_text())["plugin_files"] == {"swishes": str(tmp_path / "swishes.py")}
    resumed = f"run ../lm.spec data.path={tmp_path}/corpus.txt --steps 3 --out ../here --resume"
    for again in ("eval ../here", "sample ../here --length 5", resumed):
        elsewhere(monkeypatch, tmp_path)
        code, _, err = said(again)
        assert code == 0 and f"the plugin swishes is taken from {tmp_path / 'swishes.py'}" in err, (again, err)
    elsewhere(monkeypatch, tmp_path)
    (tmp_path / "swishes.py").rename(tmp_path / "here" / "swishes.py")
    code, _, err = said("sample ../here --length 5")
    assert code == 1 and f"the plugin swishes is gone: it was in {tmp_path / 'swishes.py'}, and nothing is there" in err
    assert "--plugin" in err


@pytest.mark.parametrize("file", ["here/swishes.py", "other.py", "/", "", 7, None, ["x"]])
def test_a_run_does_not_bring_code(said: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, file: Any) -> None:
    """Of its own folder none is run, nor is a file that is not the module."""
    (tmp_path / "corpus.txt").write_text("the quick brown fox jumps over the lazy dog\n" * 40)
    (tmp_path / "lm.spec").write_text(PLUGGED)
    assert said("run lm.spec data.path=corpus.txt --steps 2 --out here --plugin swishes")[0] == 0
    elsewhere(monkeypatch, tmp_path)
    known = json.loads((tmp_path / "here" / "run.json").read_text())
    named = str(tmp_path / file) if isinstance(file, str) else file
    (tmp_path / "here" / "run.json").write_text(json.dumps({**known, "plugin_files": {"swishes": named}}))
    (tmp_path / "here" / "swishes.py").write_text("raise SystemExit('graphspec: this has run')\n")
    code, _, err = said("sample ../here --length 5")
    assert code == 1 and "E0821" in err and "it is not imported" in err, err


@pytest.mark.parametrize("name", ["harmless", "package.harmless", "nowhere", "package.nowhere", "antigravity", "builtins.nothing"])
def test_a_file_cannot_have_anything_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "package").mkdir()
    for place in ("harmless.py", "package/__init__.py", "package/harmless.py"):
        (tmp_path / place).write_text("raise SystemExit('this has run')\n")
    load_plugin("swishes")
    opened = graphspec.compile(MODEL).opened.to_json()
    with pytest.raises(SpecError) as failure:
        Opened.from_json({**opened, "plugins": [name]})
    assert failure.value.code == "E0821" and "it is not imported" in str(failure.value)


PLUGGED = """
local text = data.text { batch = 4, seq_len = 8 }
local token, prev = nn.Identity{'B', dtype = 'int32'}(), nn.Identity{'B', 8}()
local h = nn.Swish()(nn.CAddTable()({nn.LookupTable(text.vocab_size, 8)(token), prev}))
local step = nn.gModule({token, prev}, {nn.LogSoftMax()(nn.Linear(8, text.vocab_size)(h)), h})
local tokens, targets, state = nn.Identity{'T', 'B', dtype = 'int32'}(), nn.Identity{'T', 'B', dtype = 'int32'}(), nn.Identity()()
local log_p, next_state = nn.Scan(step)({tokens, state}):split(2)
return experiment {
  step = step, loss = nn.ClassNLLCriterion()({log_p, targets}), inputs = { [tokens] = text.tokens, [targets] = text.targets },
  carry = { [state] = next_state }, optimizer = optim.adam {},
}
"""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import json", ["E0821", "registers no module"]), ("1 +", ["E0821", "SyntaxError", "odd.py:1"]),
        ("raise SystemExit(3)", ["E0821", "SystemExit: 3"]), ("import nowhere_else", ["E0821", "No module named 'nowhere_else'"]),
        ("x = 1\n1 / 0", ["E0821", "ZeroDivisionError", "at odd.py:2"]),
        (SWISH.replace("    name =", "    title ="), ["E0821", "AttributeError", "at odd.py:6"]),
        (SWISH.replace("b.sigmoid(x)", "b.sigmoyd(x)"), ["E0823", "odd: AttributeError", "at odd.py:16"]),
        (SWISH.replace('"Swish"', '"Linear"'), ["E0822", "nn.Linear, which graphspec.nn.linear has already"]),
    ],
)  # fmt: skip
def test_what_does_not_load_is_told(said: Any, tmp_path: Path, text: str, told: list[str]) -> None:
    (tmp_path / "odd.py").write_text(text)
    code, _, err = said("compile model.spec --plugin odd")
    assert code == 1
    assert all(part in err for part in told), err


@pytest.mark.parametrize("name", ["", ".", "a b", "swishes.py", "./swishes.py", "..swishes", "1", "a..b", "-x"])
def test_a_name_that_no_python_module_can_have(said: Any, name: str) -> None:
    with pytest.raises(SpecError) as failure:
        load_plugin(name)
    assert failure.value.code == "E0821" and repr(name) in str(failure.value)
    assert ("did you mean `swishes`?" in str(failure.value)) == ("swishes" in name)


def test_a_plugin_that_fails_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "half.py").write_text(SWISH + "\n1 / 0\n")
    for _ in range(2):
        with pytest.raises(SpecError) as failure:
            load_plugin("half")
        assert failure.value.code == "E0821" and "ZeroDivisionError" in str(failure.value)
        assert "Swish" not in REGISTRY
    (tmp_path / "half.py").write_text(SWISH)
    for cached in (tmp_path / "__pycache__").glob("half.*"):
        cached.unlink()
    load_plugin("half")
    load_plugin("half")
    assert "Swish" in REGISTRY
