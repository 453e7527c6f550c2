"""docs/performance.md: what stands there is what its records say; its tables and pictures."""

from __future__ import annotations

import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def page() -> Any:
    """docs/performance.py, as a module."""
    found = spec_from_file_location("performance", ROOT / "docs" / "performance.py")
    assert found is not None and found.loader is not None
    module = module_from_spec(found)
    sys.modules["performance"] = module  # where a dataclass looks for the names of its annotations
    found.loader.exec_module(module)
    return module


def test_the_page_is_what_its_records_say(page: Any) -> None:
    assert page.PAGE.read_text() == page.page()
    assert any(job.records() for job in page.TABLES)


README_COLUMNS = ("bound", "graphspec", "torch nn", "torch eager", "jax scan")


def test_the_readme_has_figures_of_the_page() -> None:
    """Each from the first table of the page that has the model: one thread, all as they come."""
    readme, page = ((ROOT / name).read_text().splitlines() for name in ("README.md", "docs/performance.md"))
    rows = [line for line in readme if re.match(r"\| (lstm|gru|lnlstm|decoder)\b", line)]
    assert len(rows) == 5
    for row in rows:
        model, *cells = [cell.strip() for cell in row.strip("|").split("|")]
        at = next(i for i, line in enumerate(page) if line.startswith(f"| {model} ("))
        heads = next(line for line in reversed(page[:at]) if line.startswith("| | ")).split("|")
        found = {head.strip(): cell.partition("(")[0].strip() for head, cell in zip(heads[2:], page[at].split("|")[2:], strict=True)}
        assert cells == [found.get(column, "") for column in README_COLUMNS], model


def test_a_job_is_kept_told_and_drawn(page: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "RECORDS", tmp_path / "records")
    job = page.Job("scaling-T", "steps", "", [f"--cell gru --at B=2,T={t},H=6,V=5 --repeats 1" for t in (3, 6)])
    assert job.run_so() == [] and job.records() == []
    job.run("cpu")
    assert job.run_so() == job.commands("cpu") != job.commands("numpy")
    first, second = job.records()
    assert first["results"][0]["sizes"]["T"] == 3 and second["results"][0]["sizes"]["T"] == 6
    lines = page.table(job.records()).splitlines()
    assert len(lines) == 4 and lines[0].startswith("| | bound | graphspec |") and "gru (B2 T6 H6 V5 L2)" in lines[3]
    assert {line.count("|") for line in lines} == {lines[0].count("|")}
    pytest.importorskip("matplotlib")
    for name in ("T", "threads"):
        drawn = page.Job(f"scaling-{name}", "steps", "", [])
        drawn.file.write_text(job.file.read_text())
        page.draw(drawn)
        assert "ms a step" in (tmp_path / "records" / f"scaling-{name}.svg").read_text()


def test_each_kind_of_table(page: Any) -> None:
    shape = {"model": "a step", "bytes": 4e6}
    rows = [{**shape, "contender": name, "ms": ms, "ratio": ms / 0.02} for name, ms in (("graphspec", 0.02), ("a peer", 0.05))]
    assert page.step_table([{"results": rows}]).splitlines()[-1] == "| a step | 20 (1.00) | 50 (2.50) | 200 |"
    row = {"model": "a model", "contender": "graphspec", "resident_bytes": [10**6, 2 * 10**6]}
    lines = page.memory_table([{"results": [row], "memory_steps": 500}]).splitlines()
    assert lines[0] == "| | 250 | 500 |" and lines[-1] == "| a model, graphspec | 1.0 | 2.0 |"
    assert {job.kind for job in page.TABLES} == set(page.KINDS)
