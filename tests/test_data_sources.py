"""What all data sources have in common: their row in the manual, their names in a spec, the words that come with a name that is none."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import graphspec
from graphspec.build.values import number_text
from graphspec.data import SOURCES
from graphspec.errors import SpecError

LANGUAGE = (Path(__file__).parent.parent / "docs" / "language.md").read_text()


def shown(value: str | bool | float) -> str:
    """A default as a spec writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}'" if isinstance(value, str) else number_text(float(value))


@pytest.mark.parametrize("kind", SOURCES)
def test_the_manual_has_its_fields(kind: str) -> None:
    fields = ", ".join(f"`{name} = {shown(value)}`" for name, value in SOURCES[kind].schema.fields.items())
    assert f"| `{kind}` | {fields} |" in LANGUAGE


@pytest.mark.parametrize("kind", SOURCES)
def test_the_manual_has_its_streams(kind: str) -> None:
    streams = SOURCES[kind].schema.streams
    if streams is not None:
        assert {stream for stream in streams if f"\n| `{kind.removeprefix('data.')}.{stream}` | " in LANGUAGE} == streams


SPEC = """
local data_set = data.{source}
local x = nn.Identity{{'T', 'B', {size}}}()
local nothing = nn.MulConstant(0)(nn.Linear({size}, {size})(x))
return experiment {{ loss = nn.MSECriterion()({{nothing, x}}), inputs = {{ [x] = data_set.{stream} }} }}
"""


@pytest.mark.parametrize(
    ("source", "stream", "size", "words"),
    [
        ("text { level = 'word' }", "tokns", 1, "data.text has no tokns.*did you mean `tokens`"),
        ("generated { task = 'copy' }", "inputs", 1, "data.generated has no inputs"),
        ("generated { task = 'adding' }", "source", 1, "data.generated has no source"),
        ("generated { task = 'adding' }", "inputs", "data_set.source_vocab_size", "data.generated has no source_vocab_size"),
        ("arrays { path = 'points.npz' }", "z", 1, "data.arrays has no z"),
        ("arrays { path = 'points.npz' }", "x", "data_set.y_size", "data.arrays has no y_size"),
        ("pairs { path = 'pairs.tsv' }", "sources", 1, "data.pairs has no sources.*did you mean `source`"),
    ],
)
def test_a_name_that_a_source_has_not(source: str, stream: str, size: object, words: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "points.npz", x=np.ones((4, 2)), y=np.ones(4))
    (tmp_path / "a.spec").write_text(SPEC.format(source=source, stream=stream, size=size))
    with pytest.raises(SpecError, match=re.compile(f"E0605.*{words}", re.S)):
        graphspec.experiment(tmp_path / "a.spec")


def test_an_experiment_reads_what_a_task_makes(tmp_path: Path) -> None:
    """The mean square of uniform numbers, and of marks of which every third is 1, is a third."""
    (tmp_path / "a.spec").write_text(SPEC.format(source="generated { task = 'adding', length = 4 }", stream="inputs", size=2))
    experiment = graphspec.experiment(tmp_path / "a.spec", **{"data.length": 6})
    assert experiment.evaluate() == {"valid_loss": pytest.approx(1 / 3, rel=0.01)}
