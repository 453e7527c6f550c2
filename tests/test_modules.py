"""``graphspec modules`` and docs/modules.md: what there is to say about records."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graphspec.cli.main import main
from graphspec.graph import LEFT_OUT, REGISTRY, Argument, Make, Sample, Table
from graphspec.graph.record import Record, lua_call, lua_text
from graphspec.open import open_spec
from graphspec.tools import modules

Said = tuple[int, str, str]
ROOT = Path(__file__).parent.parent


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    def said(*words: str) -> Said:
        capsys.readouterr()
        code = main(["modules", *words])
        told = capsys.readouterr()
        return code, told.out, told.err

    return said


@pytest.fixture
def gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LEFT_OUT, "Gone", "it does what no spec can mean")


def test_all_are_listed(run: Callable[..., Said], gone: None) -> None:
    code, out, _ = run()
    assert code == 0
    assert [name for name in REGISTRY if f"  {name} " not in out and f"  {name}\n" not in out] == []
    assert f"{len(REGISTRY)} modules" in out and f"{len(LEFT_OUT)} of Torch's are left out" in out
    assert run("--left-out")[1].startswith(f"nn.{min(LEFT_OUT)}\n")
    assert json.loads(run("--left-out", "--json")[1])["Gone"] == "it does what no spec can mean"


def test_json_has_facts(run: Callable[..., Said]) -> None:
    found = {one["name"]: one for one in json.loads(run("--json")[1])}
    assert set(found) == set(REGISTRY)
    linear = found["Linear"]
    assert linear == json.loads(run("nn.Linear", "--json")[1])
    assert linear["kind"] == "module" and found["Sequential"]["kind"] == "container" and found["MSECriterion"]["kind"] == "criterion"
    assert linear["family"] == "linear" and linear["signature"] == "nn.Linear(inputSize, outputSize, [bias=true])"
    first = {"name": "inputSize", "kind": "size", "required": True, "default": None, "letters": False, "rest": False, "note": ""}
    assert linear["arguments"][0] == first
    assert linear["arguments"][2]["default"] == "true"
    assert linear["parameters"] == {"weight": [3, 4], "bias": [3]}
    assert linear["samples"][0] == {"make": "nn.Linear(4, 3)", "inputs": "[2, 4]", "outputs": "[2, 3]"}
    assert linear["proofs"][:2] == ["finite differences", "PyTorch twin"]
    assert {"make": "nn.JoinTable(2)", "inputs": "{[2, 3], [2, 1]}", "outputs": "[2, 4]"} in found["JoinTable"]["samples"]
    assert found["LookupTable"]["samples"][0]["inputs"].startswith("int32[")
    assert len(found["Linear"]["samples"]) == len(REGISTRY["Linear"].samples)


def test_a_page(run: Callable[..., Said]) -> None:
    code, out, _ = run("Linear")
    assert code == 0 and out == modules.page(REGISTRY["Linear"])
    for words in ("# nn.Linear\n", "[bias=true]", "-- [2, 4] -> [2, 3]", "PyTorch twin", "simple.md#linear>", "| true or false | `true` |"):
        assert words in out
    assert "| `inplace` | true or false; changes nothing" in run("ReLU")[1]


@pytest.mark.parametrize(
    ("words", "told"),
    [(["Linera"], "did you mean `nn.Linear`?"), (["Gone"], "it does what no spec can mean"), (["Linear", "--left-out"], "E0807")],
)
def test_what_is_not_there(run: Callable[..., Said], gone: None, words: list[str], told: str) -> None:
    code, _, err = run(*words)
    assert code == 1 and told in err


def test_a_record_of_a_plugin_is_described_too() -> None:
    class Mine(Record):
        """``x`` as it is: ``[...] -> [...]``."""

        name = "Mine"
        doc = "y = x"
        arguments = (Argument("table", "table", Table((1, "a"), {"k": True})), Argument("n", "size", letters=True, rest=True))
        differs = "it is not in Torch"

        def construct(self, args: Any, origin: Any) -> Any:
            return REGISTRY["Identity"].construct([], origin)

    Mine.__module__ = "elsewhere.mine"
    found = modules.describe(Mine())
    assert found["family"] == "elsewhere.mine" and found["proofs"] == [] and found["parameters"] == {}
    assert found["arguments"][0]["default"] == "{1, 'a', k=true}"
    page = modules.page(Mine())
    assert "`x` as it is" in page and "Other than in Torch: it is not in Torch." in page
    assert "| `n` | a size or a letter, any number of them |  |" in page


def generator() -> Any:
    """docs/modules.py, which writes the page and the proofs."""
    spec = importlib.util.spec_from_file_location("modules_page", ROOT / "docs" / "modules.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


STALE = "records, samples or twins have changed since it was written: run `make modules` (python docs/modules.py)"


def test_proofs_are_those_of_the_tests() -> None:
    assert modules.PROOFS.read_text() == generator().proofs_text(), STALE


def test_the_page_is_that_of_the_records() -> None:
    page, written = generator(), (ROOT / "docs" / "modules.md").read_text()
    assert written == page.page(), STALE


def test_proofs_follow_from_samples_and_twins(monkeypatch: pytest.MonkeyPatch) -> None:
    page = generator()
    assert page.proofs()["Linear"] == [
        "finite differences", "PyTorch twin", "symbolic sizes", "strided inputs", "tied use", "devices against reference",
    ]  # fmt: skip
    monkeypatch.delitem(page.TWINS, "Linear")
    assert "PyTorch twin" not in page.proofs()["Linear"]
    monkeypatch.setattr(type(REGISTRY["Linear"]), "samples", ())
    assert page.proofs()["Linear"] == []


def test_links_of_the_page_lead_somewhere() -> None:
    text = (ROOT / "docs" / "modules.md").read_text()
    headings = [re.sub(r"[^\w-]", "", title.lower().replace(" ", "-")) for title in re.findall(r"^##+ (.*)$", text, re.M)]
    assert len(headings) == len(set(headings)), "two headings have one anchor"
    assert [link for link in re.findall(r"\]\(#([^)]*)\)", text) if link not in headings] == []


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "nil"), (True, "true"), (2.0, "2"), (0.25, "0.25"), ("a", "'a'"), (Table((1,), {"b": Table()}), "{1, b={}}"), (7, "7"),
     (Make("Add", (3,)), "nn.Add(3)"), (float("inf"), "math.huge"), (-float("inf"), "-math.huge")],
)  # fmt: skip
def test_values_as_specs_write_them(value: Any, text: str) -> None:
    assert lua_text(value) == text


def test_a_sample_as_specs_write_it() -> None:
    sample = Sample((Make("Tanh"),), (2,), children=(Make("Linear", (3, 4), (), (("noBias", ()),)),), methods=(("get", (1,)),))
    assert lua_call("Box", sample) == "nn.Box(nn.Tanh()):add(nn.Linear(3, 4):noBias()):get(1)"


def test_examples_run_as_printed() -> None:
    made = [lua_call(record.name, sample) for record in modules.every() for sample in record.samples]
    rows = "".join(f"  {expression},\n" for expression in made)
    open_spec(f"local all = {{\n{rows}}}\nassert(#all == {len(made)})\nlocal x = nn.Identity()()\nreturn nn.gModule({{x}}, {{x}})\n")


@pytest.mark.parametrize("name", sorted(LEFT_OUT))
def test_what_is_left_out_has_a_reason_and_a_way_out(name: str) -> None:
    """``Why, as a sentence: what to write instead.``"""
    assert re.fullmatch(r"[A-Z][^:;]*: .*(nn\.|`).*\.", LEFT_OUT[name]), LEFT_OUT[name]


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_differences_are_clauses(name: str) -> None:
    """They stand behind "Other than in Torch:", with semicolons between them."""
    assert re.fullmatch(r"([a-z](?!.*\. [A-Z]).*[^.; ])?", REGISTRY[name].differs), REGISTRY[name].differs
