"""Pictures: what they show, that they are whole, and the page in a real browser."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

import graphspec
from browser import FOUND, browser
from graphspec import SpecError
from graphspec.cli.main import main
from graphspec.draw import make_scene, to_html, to_svg
from graphspec.draw.metrics import width
from graphspec.draw.scene import Box, Item, Scene
from graphspec.graph import REGISTRY
from graphspec.open import open_spec, pick_module
from graphspec.program import Typed, infer, named_parameters
from graphspec.samples import graph_of, module_of

ROOT = Path(__file__).parent.parent
BAHDANAU = ROOT / "tests" / "specs" / "bahdanau.spec"


def typed(spec: str | Path, entry: str | None = None) -> Typed:
    module = pick_module(open_spec(spec, entry))
    named_parameters(module)
    return infer(module)


def lstm() -> Typed:
    return typed(ROOT / "specs" / "lstm.spec", "network({rnn_size=5, n_layers=2})")


def texts(svg: str) -> list[str]:
    """Every piece of text of a picture."""
    root = ElementTree.fromstring(svg)
    return [piece for element in root.iter() if element.tag.endswith(("text", "tspan")) for piece in [element.text or ""] if piece]


PICTURED = [("lstm", lstm), ("bahdanau", lambda: typed(BAHDANAU))]


@pytest.mark.parametrize(("name", "make"), PICTURED)
def test_a_picture_is_one_whole_file(name: str, make: object) -> None:
    svg = to_svg(make_scene(make(), name))  # type: ignore[operator]
    assert to_svg(make_scene(make(), name)) == svg  # type: ignore[operator]
    ElementTree.fromstring(svg)
    assert "prefers-color-scheme:dark" in svg
    assert not re.search(r"(?:href|src|url)\s*[=(]", svg)
    assert re.findall(r"https?://[^\"' ]*", svg) == ["http://www.w3.org/2000/svg"]
    assert "nan" not in svg.lower().replace("font-family", "")


def test_the_listing_shows_its_calls_names_shapes_and_parameters() -> None:
    shown = texts(to_svg(make_scene(lstm(), "lstm")))
    assert shown.count("make_lstm_step") == 2
    assert shown.count("new_input_sum") == 8
    for words in ("in_gate", "forget_gate", "cell_gate", "out_gate", "x_to_h", "next_h", "[B, 5]"):
        assert words in shown
    assert "480 parameters (θ)" in shown


def test_scans_are_boxes_with_their_loop() -> None:
    scene = make_scene(typed(BAHDANAU), "bahdanau")
    scans = [box for box in boxes(scene) if box.kind == "nn.Scan"]
    assert len(scans) == 3
    assert all(box.loops for box in scans)
    shown = texts(to_svg(scene))
    assert shown.count("next step") == 3
    assert any("backwards" in words for words in shown)


def outline(item: Item) -> str:
    """What is in a box, in words, and the loops in it."""
    kind = item.note if isinstance(item, Box) else "" if item.kind in (item.title, f"nn.{item.title}") else item.kind.removeprefix("nn.")
    inside = [outline(child) for child in item.children] if isinstance(item, Box) else []
    loops = [f"{loop.source.title} -{loop.text}-> {loop.target.title}" for loop in item.loops] if isinstance(item, Box) else []
    return " ".join(filter(None, [item.title, kind])) + (f" ({', '.join([*inside, *loops])})" if inside else "")


BOTH = "nn.ConcatTable():add(nn.SelectTable(1)):add(nn.SelectTable(2))"
OPENED = {
    "nn.Sequential():add(nn.Linear(3, 2)):add(nn.Tanh())": "Sequential (Linear, Tanh)",
    "nn.ConcatTable():add(nn.Tanh()):add(nn.Sequential():add(nn.Linear(3, 2)))": "ConcatTable (Tanh, Sequential (Linear))",
    "nn.DepthConcat(1):add(nn.Tanh()):add(nn.Narrow(1, 1, 2))": "DepthConcat (Tanh, Narrow, joined along dimension 1 DepthConcat)",
    "nn.Bottle(nn.Sequential():add(nn.Linear(3, 2)):add(nn.Bottle(nn.Linear(2, 3))))": "Bottle (Sequential (Linear, Bottle (Linear)))",
    "nn.Sequencer(nn.GRU(3, 2))": "Sequencer over T (GRU, GRU -h-> GRU)",
    "nn.BiSequencer(nn.LSTM(3, 2), nn.GRU(3, 2))":
        "BiSequencer over T (forward LSTM, backward GRU, merge JoinTable, forward -h, c-> forward, backward -h-> backward)",
    "nn.Sequencer(nn.Recurrent(2, nn.Linear(3, 2), nn.Linear(2, 2)))":
        "Sequencer over T (Recurrent (input Linear, start Add, feedback Linear, merge CAddTable, first or later step Recurrent, transfer "
        "Sigmoid), transfer -y-> feedback)",
    f"nn.Sequencer(nn.Recurrence(nn.Sequential():add({BOTH}):add(nn.CMulTable()), 3, 1))":
        "Sequencer over T (Recurrence (Sequential (ConcatTable (SelectTable, SelectTable), CMulTable), y before), CMulTable -y-> y before)",
    "nn.SeqLSTM(3, 2)": "SeqLSTM over T (SeqLSTM, SeqLSTM -h, c-> SeqLSTM)",
    "nn.WeightNorm(nn.Linear(3, 2))": "WeightNorm",
    "nn.GRU(3, 2)": "GRU",
}  # fmt: skip


@pytest.mark.parametrize("module", OPENED)
def test_a_module_made_of_others_is_opened(module: str) -> None:
    """With branches and what is carried; what a record makes for itself stays one thing."""
    scene = make_scene(typed(f"local x = nn.Identity{{'T', 'B', 3}}()\nreturn nn.gModule({{x}}, {{{module}(x)}})"), "it")
    assert outline(scene.root.children[1]) == OPENED[module]
    ElementTree.fromstring(to_svg(scene))


MADE_OF_OTHERS = [(name, i) for name, record in sorted(REGISTRY.items()) for i, sample in enumerate(record.samples)
                  if record.children or record.loops or record.carries or any(a.kind == "module" for a in record.arguments)]  # fmt: skip


@pytest.mark.parametrize(("name", "number"), MADE_OF_OTHERS)
def test_what_is_inside_is_joined(name: str, number: int) -> None:
    """Every value that goes in is read, every leaf is on a way from the inputs to the output, and all parameters are counted."""
    sample = REGISTRY[name].samples[number]
    module = module_of(REGISTRY[name], sample)
    graph = graph_of(module, sample.inputs)
    named_parameters(graph)
    scene = make_scene(infer(graph), name)
    ElementTree.fromstring(to_svg(scene))
    lines = [(e.source, e.target) for e in scene.edges] + [(loop.source, loop.target) for box in boxes(scene) for loop in box.loops]
    read, fed = {source for source, _ in lines}, {target for _, target in lines}
    leaves = list(scene.root.leaves())
    assert [leaf.title for leaf in leaves if leaf not in read and leaf.look != "output"] == []
    assert [leaf.title for leaf in leaves if leaf not in fed and leaf.look != "input" and leaf.title != "zeros"] == []
    assert sum(item.count for item in scene.root.children) == scene.count


def boxes(scene: Scene) -> list[Box]:
    return [item for item in scene.root.walk() if isinstance(item, Box)]


def test_tied_modules_are_marked() -> None:
    text = "local x = nn.Identity{'B', 3}()\nlocal l = nn.Linear(3, 3)\nreturn nn.gModule({x}, {l(nn.Tanh()(l(x)))})"
    leaves = [leaf for leaf in make_scene(typed(text), "tied").root.leaves() if leaf.kind == "nn.Linear"]
    assert len({leaf.tied for leaf in leaves}) == 1 and leaves[0].tied
    assert not any(leaf.tied for leaf in make_scene(lstm(), "lstm").root.leaves())


def test_hostile_names_stay_text() -> None:
    text = "local x = nn.Identity{'B', 3}():annotate{name = '<script>alert(1)</script>&\\0\"'}\nreturn nn.gModule({x}, {nn.Tanh()(x)})"
    scene = make_scene(typed(text), "</title><script>")
    ElementTree.fromstring(to_svg(scene))
    page = to_html(scene)
    assert "<script>alert" not in page
    assert page.count("<script") == 2  # the facts and the program
    assert page.count("</script") == 2


DEEP = """
local x = nn.Identity{'B', 3}()
local function layer(h) return nn.CAddTable()({nn.Tanh()(h), x}) end
local h = x
for i = 1, 400 do h = LAYER end
return nn.gModule({x}, {h})"""


def test_a_large_graph_is_folded() -> None:
    scene = make_scene(typed(DEEP.replace("LAYER", "layer(h)")), "deep")
    leaves = list(scene.root.leaves())
    assert 400 <= len(leaves) <= 500
    assert sum(leaf.look == "folded" for leaf in leaves) >= 350


def test_a_graph_too_large_to_read_is_told() -> None:
    with pytest.raises(SpecError) as caught:
        make_scene(typed(DEEP.replace("LAYER", "nn.CAddTable()({nn.Tanh()(h), x})").replace("400", "700")), "deep", most=100)
    assert caught.value.code == "E0510"


def test_a_model_shows_itself_in_a_notebook_and_writes_pictures(tmp_path: Path) -> None:
    model = graphspec.compile(ROOT / "specs" / "lstm.spec", "network({rnn_size=5, n_layers=2})")
    assert "<iframe" in model._repr_html_() and "make_lstm_step" in model._repr_html_()
    model.draw(tmp_path / "model.svg")
    model.draw(tmp_path / "model.html")
    assert (tmp_path / "model.svg").read_text().startswith("<svg")
    assert (tmp_path / "model.html").read_text().startswith("<!doctype html>")
    with pytest.raises(SpecError, match="E0837"):
        model.draw(tmp_path / "model.pdf")


ENDINGS = [("x.svg", "<svg"), ("x.html", "<!doctype html>"), ("x", "<svg"), ("x.png", None), ("x.PDF", None)]


@pytest.mark.parametrize(("name", "begins"), ENDINGS)
def test_a_file_is_what_its_ending_says(name: str, begins: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is no SVG and no page is refused, and not written under the name of another kind of file."""
    (tmp_path / "model.spec").write_text("local x = nn.Identity{'B', 3}()\nreturn nn.gModule({x}, {nn.Linear(3, 2)(x)})")
    done = main(["draw", str(tmp_path / "model.spec"), "--out", str(tmp_path / name)])
    assert done == (0 if begins else 1)
    assert (tmp_path / name).exists() == bool(begins)
    assert (tmp_path / name).read_text().startswith(begins) if begins else "error[E0837]" in capsys.readouterr().err


@pytest.mark.skipif(FOUND is None, reason="no Chromium on this machine to open the page in (Debian: apt install chromium)")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_works_in_a_browser(tmp_path: Path, dark: bool) -> None:
    """It opens offline, a node that is pointed at tells its line, search finds what it should, and zooming zooms."""
    page = tmp_path / "bahdanau.html"
    page.write_text(to_html(make_scene(typed(BAHDANAU), "bahdanau.spec")))
    with browser(tmp_path / "profile") as shown:
        shown.open(page, dark=dark)
        requests = [e["params"]["request"]["url"] for e in shown.events if e.get("method") == "Network.requestWillBeSent"]
        assert requests == [page.resolve().as_uri()]
        assert not [e for e in shown.events if e.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded")]
        ground = shown.value("getComputedStyle(document.querySelector('svg .bg')).fill")
        assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 200) is dark

        place = "[...document.querySelectorAll('.i')].find(g => g.textContent.startsWith('alpha')).getBoundingClientRect()"
        x, y, w, h = (json.loads(shown.value(f"(r => JSON.stringify([r.x, r.y, r.width, r.height]))({place})")))
        shown.mouse("mouseMoved", x + w / 2, y + h / 2)
        card = shown.value("new Promise(go => setTimeout(() => go(document.getElementById('card').innerText), 300))")
        assert "MaskedSoftMax" in card
        assert "nn.MaskedSoftMax()({e, mask})" in card

        shown.value("document.getElementById('search').focus()")
        shown.type("tanh")
        assert shown.value("document.getElementById('found').textContent").endswith("matches")
        found, all_nodes = (shown.value(f"document.querySelectorAll('{which}').length") for which in (".match", ".i"))
        named = shown.value("[...document.querySelectorAll('.i')].filter(g => g.textContent.includes('Tanh')).length")
        assert 0 < named <= found < all_nodes
        width = "document.querySelector('.i').getBoundingClientRect().width"
        before = shown.value(width)
        shown.value("document.getElementById('in').click()")
        assert shown.value(f"new Promise(go => setTimeout(() => go({width}), 300))") > before


@pytest.mark.parametrize("text", ["{2 × [B, 32]}", "{2 × {[B, 3], [B, 4]}}", "[T, B, 10000]", "LookupTable", "θ 1,234,567"])
def test_a_text_has_the_room_that_it_takes(text: str) -> None:
    """In DejaVu Sans, the widest font that browsers are likely to have; a hundredth is less than the margin of a leaf."""
    manager = pytest.importorskip("matplotlib.font_manager", reason="the font comes with matplotlib")
    font = manager.get_font(manager.findfont("DejaVu Sans"))
    font.set_size(100, 72)
    font.set_text(text)
    taken = font.get_width_height()[0] / 64
    assert width(text, 100) >= 0.98 * taken
