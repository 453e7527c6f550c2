"""Pictures of numbers: what they show, that they are the same every time, and what happens when they cannot be made."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from graphspec import SpecError
from graphspec.cli.main import main
from graphspec.plots import accuracy_by_length, alignment, encoded, learning_curves, save
from graphspec.plots.lengths import wilson
from graphspec.plots.style import duration, number, shown
from graphspec.training.experiment import Experiment
from graphspec.training.history import History, read_run
from runfolders import BEGAN, end, make_run, step, valid


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def curve(name: str, steps: int = 20, every: int = 5, low: float = 1.0, **measures: float) -> History:
    """A run whose training loss is ``low + 1/step``."""
    events = []
    for n in range(1, steps + 1):
        events.append(step(n, low + 1 / n))
        if n % every == 0:
            events.append(valid(n, low + 2 / n, **measures))
    times = [{"step": 0, "seconds": 0.0, "at": BEGAN}, *({"step": n, "seconds": 30.0 * n} for n in range(10, steps + 1, 10))]
    return read_run(make_run(Path(name), [*events, end(steps)], times))


def points(line: Any) -> list[tuple[float, float]]:
    return list(zip(map(float, line.get_xdata()), map(float, line.get_ydata()), strict=True))


def texts(svg: bytes) -> list[str]:
    return [text for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("}text") for text in [element.text or ""]]


# -- learning curves -------------------------------------------------------------------------------------------------------------


def test_the_curves_of_one_run() -> None:
    losses, bits = learning_curves([curve("a", bits_per_char=2.5)]).axes
    training, held_out = losses.get_lines()
    assert points(training) == [(n, 1 + 1 / n) for n in range(1, 21)]
    assert points(held_out) == [(n, 1 + 2 / n) for n in (5, 10, 15, 20)]
    assert points(bits.get_lines()[0]) == [(n, 2.5) for n in (5, 10, 15, 20)]
    assert losses.get_title(loc="left") == "a"
    assert (losses.get_ylabel(), bits.get_ylabel(), bits.get_xlabel()) == ("loss, nats per symbol", "bits per character", "training step")
    assert [text.get_text() for text in losses.get_legend().get_texts()] == ["training, running mean", "held out"]


def test_several_runs_stand_on_one_page_with_their_names() -> None:
    runs = [curve("x/a", bits_per_char=1.0), curve("b", exact=0.5), curve("y/a")]
    picture = learning_curves(runs, "Title")
    assert [axes.get_ylabel() for axes in picture.axes] == ["loss, nats per symbol", "exactly right", "bits per character"]
    assert [len(axes.get_lines()) for axes in picture.axes] == [6, 3, 3]
    assert [text.get_text() for text in picture.legends[0].get_texts()] == ["x/a", "b", "y/a"]
    assert len({line.get_color() for line in picture.axes[0].get_lines()}) == 3
    assert picture.axes[0].get_title(loc="left") == "Title"


def test_no_two_of_many_runs_look_alike() -> None:
    lines = learning_curves([curve(f"run-{n}", steps=5) for n in range(16)]).legends[0].get_lines()
    assert len({(line.get_color(), str(line._unscaled_dash_pattern)) for line in lines}) == 16


def test_curves_over_time() -> None:
    run = curve("a", steps=25)
    axes = learning_curves([run], against_time=True).axes[0]
    assert points(axes.get_lines()[0]) == [(30 * n, 1 + 1 / n) for n in range(1, 21)]  # when steps 21 to 25 were is not recorded
    assert axes.get_xlabel() == "time of training"
    assert "2 min" in [axes.xaxis.get_major_formatter()(tick, 0) for tick in axes.get_xticks()]


def test_long_names_leave_room_for_the_curves() -> None:
    picture = learning_curves([curve("long-" * 40 + str(n)) for n in range(30)], "title" * 60)
    picture.canvas.draw()
    size = picture.axes[0].get_window_extent()
    assert size.width > 500 and size.height > 200
    names = [text.get_text() for text in picture.legends[0].get_texts()]
    assert len(set(names)) == 30 and max(map(len, names)) <= 90


@pytest.mark.parametrize(("low", "scale"), [(0.001, "log"), (1.0, "linear"), (-0.5, "linear")])
def test_losses_of_many_magnitudes_have_a_logarithmic_axis(low: float, scale: str) -> None:
    assert learning_curves([curve("a", steps=100, low=low)]).axes[0].get_yscale() == scale


def test_a_long_run_is_thinned_and_keeps_its_ends() -> None:
    line = learning_curves([curve("a", steps=9000, every=10_000)]).axes[0].get_lines()[0]
    assert 1000 < len(points(line)) <= 2000
    assert (points(line)[0], points(line)[-1]) == ((1, 2.0), (9000, 1 + 1 / 9000))


def test_numbers_that_are_not_finite_leave_a_gap() -> None:
    run = curve("a", perplexity=math.inf)
    run.steps[3]["train_loss"] = math.nan
    assert texts(encoded(learning_curves([run]), "svg"))


def test_runs_without_a_step_have_nothing_to_draw() -> None:
    empty = read_run(make_run(Path("empty"), []))
    assert len(learning_curves([empty, curve("a")]).axes) == 1
    for runs in ([empty], []):
        with pytest.raises(SpecError) as caught:
            learning_curves(runs)
        assert caught.value.code == "E0836"


# -- alignments ------------------------------------------------------------------------------------------------------------------


def ticks(axis: Any) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def test_an_alignment_has_the_source_across_and_the_target_downwards() -> None:
    alpha = np.array([[0.9, 0.1, 0.0], [0.0, 0.25, 0.75]])
    axes, bar = alignment(alpha, ["a", " ", "longer"], ["x", "\n"], "a title").axes
    assert np.array_equal(axes.get_images()[0].get_array(), alpha)
    assert (ticks(axes.xaxis), ticks(axes.yaxis)) == (["a", "␣", "longer"], ["x", "↵"])
    assert axes.xaxis.get_label_position() == "top" and axes.yaxis_inverted()
    assert [label.get_rotation() for label in axes.get_xticklabels()] == [0, 0, 90]
    assert (axes.get_xlabel(), axes.get_ylabel(), bar.get_ylabel()) == ("source", "target", "weight")
    assert axes.get_images()[0].get_clim() == (0.0, 0.9)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (30, 40), (2, 70), (40, 2)])
def test_cells_are_square_and_labels_do_not_touch(rows: int, columns: int) -> None:
    picture = alignment(np.full((rows, columns), 1 / columns), ["m"] * columns, ["w"] * rows)
    picture.canvas.draw()
    box = picture.axes[0].get_window_extent()
    assert box.width / columns == pytest.approx(box.height / rows)
    for labels, low, high in ((picture.axes[0].get_xticklabels(), "x0", "x1"), (picture.axes[0].get_yticklabels()[::-1], "y0", "y1")):
        boxes = [label.get_window_extent() for label in labels]
        assert all(getattr(a, high) < getattr(b, low) for a, b in pairwise(boxes))
        assert all(label.get_fontsize() >= 9 for label in labels)


@pytest.mark.parametrize(
    ("shape", "source", "target"),
    [((2, 3), 3, 3), ((2, 3), 2, 2), ((0, 3), 3, 0), ((6,), 3, 2), ((1, 1001), 1001, 1), ((1001, 1), 1, 1001)],
)
def test_what_is_no_alignment_or_too_large(shape: tuple[int, ...], source: int, target: int) -> None:
    with pytest.raises(SpecError) as caught:
        alignment(np.zeros(shape), ["a"] * source, ["b"] * target)
    assert caught.value.code == "E0836"


@pytest.mark.parametrize(
    ("symbol", "label"),
    [
        ("a", "a"), (" ", "␣"), ("\t", "⇥"), ("$x$", "$x$"), ("\0", r"\x00"), ("\ud800", r"\ud800"), ("語", "語"),
        ("x" * 20 + "y" * 20, "x" * 11 + "…" + "y" * 12),
    ],
)  # fmt: skip
def test_symbols_as_labels(symbol: str, label: str) -> None:
    assert shown(symbol) == label
    assert label in texts(encoded(alignment([[1.0]], [symbol], ["b"]), "svg"))


# -- accuracy by length ----------------------------------------------------------------------------------------------------------


def test_accuracy_by_length() -> None:
    axes = accuracy_by_length({"with": {20: (5, 10), 10: (10, 10)}, "without": {10: (0, 4), 20: (0, 0)}}).axes[0]
    assert [points(container.lines[0]) for container in axes.containers] == [[(10, 1.0), (20, 0.5)], [(10, 0.0)]]
    bars = axes.containers[0].lines[2][0].get_segments()
    assert [(low, high) for (_, low), (_, high) in bars] == [pytest.approx(wilson(10, 10)), pytest.approx(wilson(5, 10))]
    assert [text.get_text() for text in axes.figure.legends[0].get_texts()] == ["with", "without"]
    assert {"0 %", "100 %"} <= {axes.yaxis.get_major_formatter()(tick, 0) for tick in axes.get_yticks()}
    with pytest.raises(SpecError) as caught:
        accuracy_by_length({"with": {3: (0, 0)}})
    assert caught.value.code == "E0836"


@pytest.mark.parametrize(("right", "total", "low", "high"), [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662)])
def test_intervals_are_those_of_the_books(right: int, total: int, low: float, high: float) -> None:
    """The last is the example of Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I."""
    assert wilson(right, total) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [(0.0, 0, "0"), (20_000.0, 0, "20,000"), (0.25, 2, "0.25"), (2.0, 1, "2.0"), (1e-7, 0, "1e-07"), (-1.5, 1, "-1.5")],
)
def test_numbers_as_people_write_them(value: float, decimals: int, text: str) -> None:
    assert number(value, decimals) == text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0"), (0.5, "0.5 s"), (40, "40 s"), (300, "5 min"), (3600, "1:00 h"), (5400, "1:30 h")])
def test_times_as_people_write_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


# -- files -----------------------------------------------------------------------------------------------------------------------

PICTURES: dict[str, Callable[[], Any]] = {
    "curves": lambda: learning_curves([History(Path("a"), steps=[step(1), step(2)], valid=[valid(2, 1.0, exact=0.5)])]),
    "alignment": lambda: alignment([[0.5, 0.5]], ["a", "b"], ["c"]),
    "lengths": lambda: accuracy_by_length({"m": {1: (1, 2)}}),
}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("form", ["svg", "png", "pdf"])
def test_the_same_picture_is_the_same_bytes_whatever_the_users_settings(name: str, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    before = encoded(PICTURES[name](), form)
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 20)
    monkeypatch.setitem(matplotlib.rcParams, "svg.fonttype", "path")
    settings = dict.copy(matplotlib.rcParams)  # as they are: a look at some of them changes them
    assert encoded(PICTURES[name](), form) == before
    assert dict.copy(matplotlib.rcParams) == settings
    assert before.startswith({"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}[form])


def test_pictures_load_nothing_that_opens_windows_or_keeps_figures() -> None:
    code = "import sys; from graphspec.plots import alignment, encoded\n"
    code += "for form in ('svg', 'png', 'pdf'): encoded(alignment([[1.0]], ['a'], ['b']), form)\nprint('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_an_svg_has_its_text_as_text_and_nothing_from_outside() -> None:
    svg = encoded(PICTURES["alignment"](), "svg")
    assert {"source", "target", "weight", "a", "b", "c"} <= set(texts(svg))
    assert b"date" not in svg.lower()
    assert svg.count(b"href=") == svg.count(b'href="#') + svg.count(b'href="data:')


def test_letters_that_the_font_lacks_are_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "語" in texts(encoded(alignment([[1.0]], ["語"], ["b"]), "svg"))


@pytest.mark.parametrize(("path", "code"), [("a.jpg", "E0837"), ("a", "E0837"), ("file/a.svg", "E0805"), ("folder.svg", "E0805")])
def test_files_that_cannot_be(elsewhere: Path, path: str, code: str) -> None:
    (elsewhere / "file").write_text("")
    (elsewhere / "folder.svg").mkdir()
    with pytest.raises(SpecError) as caught:
        save(PICTURES["alignment"](), path)
    assert caught.value.code == code
    assert {p.name for p in elsewhere.iterdir()} == {"file", "folder.svg"}


# -- the command -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["svg", "PNG", "pdf"])
def test_plot(ending: str, capsys: pytest.CaptureFixture[str]) -> None:
    curve("a", bits_per_char=2.0), curve("b")
    assert main(["plot", "a", "b", "--out", f"new/c.{ending}"]) == 0
    assert capsys.readouterr() == (f"new/c.{ending}: a to step 20, b to step 20\n", "")
    assert Path(f"new/c.{ending}").read_bytes() == encoded(learning_curves([read_run("a"), read_run("b")]), ending.lower())


def test_plot_to_standard_output_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    curve("a")
    assert main(["plot", "a", "--time", "--title", "over time"]) == 0
    assert {"over time", "time of training"} <= set(texts(capsys.readouterr().out.encode()))
    assert main(["plot", "a", "--out", "a.svg", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"file": "a.svg", "runs": [{"run": "a", "steps": 20, "damaged": []}]}


def test_plot_names_damage_and_draws_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    make_run(Path("a"), [step(1), "half a li"])
    assert main(["plot", "a", "--out", "a.svg"]) == 0
    assert "W0835" in capsys.readouterr().err
    assert main(["plot", "a", "--out", "a.svg", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"][0]["damaged"][0]["code"] == "W0835"


def test_plot_needs_a_package(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    curve("a")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["plot", "a", "--out", "a.svg"]) == 1
    said = capsys.readouterr().err
    assert "E0820" in said and "graphspec[plots]" in said


# -- alignments of a trained model -----------------------------------------------------------------------------------------------

SPECS = Path(__file__).parent.parent / "specs"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two steps, with attention (``translate``), without, and of a language model."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "pairs.tsv").write_text("".join(f"{'ab' * n}c\t{'xy' * n}z\n" for n in range(1, 30)))
    (folder / "text.txt").write_text("to be or not to be, " * 50)
    sizes = {
        "translate": "embedding=4 hidden=4 cell=8 align=4 data.path=pairs.tsv data.batch=4",
        "seq2seq": "embedding=4 hidden=4 data.path=pairs.tsv data.batch=4",
        "char_lm": "rnn_size=4 data.path=text.txt data.batch=2 data.seq_len=5",
    }
    for name, words in sizes.items():
        options = [word.replace("data.path=", f"data.path={folder}/") for word in words.split()]
        assert main(["run", str(SPECS / f"{name}.spec"), *options, "--steps", "2", "--out", str(folder / name)]) == 0
    return folder


def sample(trained: Path, name: str, *words: str) -> int:
    return main(["sample", str(trained / name), *words])


def test_sample_draws_an_alignment(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = Experiment.load(trained / "translate", threads=1)
    seed = next(n for n in range(20) if model.generate(["abc"], length=3, temperature=1.0, seed=n)[0][0].symbols)  # not all draw a symbol
    words = ("--source", "abc", "--length", "3", "--temperature", "1", "--seed", str(seed))
    assert sample(trained, "translate", *words, "--alignment", "a.svg") == 0
    out, err = capsys.readouterr()
    assert err == "a.svg: the alignment of 'abc'\n"
    labels = [text for text in texts(Path("a.svg").read_bytes()) if len(text) == 1]
    assert labels[:3] == ["a", "b", "c"] and labels[3 : 3 + len(out) - 1] == list(out[:-1]) and out.strip()


def test_several_sources_have_a_numbered_picture_each(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [word for source in ("abc", "ab", "cc") for word in ("--source", source)]
    assert sample(trained, "translate", *words, "--temperature", "9", "--length", "4", "--alignment", "new/a.png", "--json") == 0
    out, err = capsys.readouterr()
    written = [f"a-{number}.png" for number, found in enumerate(json.loads(out), 1) if found["hypotheses"][0]["text"]]
    assert err == "" and sorted(path.name for path in Path("new").iterdir()) == written != []


def test_a_sequence_without_a_symbol_has_no_picture(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sample(trained, "translate", "--source", "abc", "--length", "0", "--alignment", "a.svg") == 0
    assert capsys.readouterr() == ("\n", "a.svg is not written: no symbol came of 'abc'\n")
    assert not Path("a.svg").exists()


@pytest.mark.parametrize(
    ("name", "words", "code"),
    [
        ("seq2seq", "--source abc --alignment a.svg", "E0807"), ("char_lm", "--alignment a.svg", "E0807"),
        ("char_lm", "--beam 2 --alignment a.svg", "E0807"), ("translate", "--source abc --alignment a.gif", "E0837"),
    ],
)  # fmt: skip
def test_what_has_no_alignment_to_draw(trained: Path, capsys: pytest.CaptureFixture[str], name: str, words: str, code: str) -> None:
    assert sample(trained, name, *words.split()) == 1
    out, err = capsys.readouterr()
    assert out == "" and f"[{code}]" in err
