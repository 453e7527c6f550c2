"""The rules of the house that a machine can check: files, directions of imports, codes, what an import loads, what a wheel holds."""

from __future__ import annotations

import ast
import doctest
import importlib
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from graphspec.codes import CODES

REPOSITORY = Path(__file__).parent.parent
PATHS = {"graphspec": REPOSITORY / "graphspec", "graphspec_runtime": REPOSITORY / "runtime" / "graphspec_runtime"}
FILES = {path.relative_to(home.parent).as_posix(): path for home in PATHS.values() for path in sorted(home.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}

MAX_LINES = 400

LAYERS: dict[str, str] = {
    # room: the rooms it may import, all of which stand above it in this table
    "graphspec_runtime": "",
    "errors": "",
    "sizes": "graphspec_runtime",
    "codes": "",
    "shipped": "",
    "suggest": "",
    "extras": "errors",
    "settings": "errors suggest",
    "machine": "",
    "render": "errors",
    "tensorfile": "errors",
    "views": "errors suggest graphspec_runtime",
    "lang": "errors suggest graphspec_runtime",
    "graph": "errors sizes suggest",
    "ir": "errors sizes",
    "build": "errors suggest lang graph",
    "shapes": "errors sizes graph",
    "lower": "errors sizes graph shapes ir",
    "nn": "errors sizes suggest graph shapes ir lower",
    "binding": "errors sizes ir",
    "autodiff": "errors sizes ir",
    "passes": "errors sizes ir",
    "reference": "errors sizes ir binding",
    "program": "errors sizes suggest graph shapes ir lower nn autodiff",
    "arguments": "errors suggest graph ir program",
    "states": "errors shapes ir lower nn program",
    "codegen": "sizes graphspec_runtime",
    "plan": "errors sizes ir codegen graphspec_runtime",
    "engine": "errors sizes settings ir binding passes reference plan graphspec_runtime",
    "check": "errors sizes suggest graph shapes ir binding engine program reference graphspec_runtime",
    "samples": "errors graph nn check program reference",
    "prove": "errors graph ir check engine samples",
    "data": "errors extras suggest build",
    # What a spec can name, before anything is trained:
    "training.fields": "errors suggest build",
    "training.schedules": "errors suggest build training.fields",
    "training.optimizers": "errors suggest ir build",
    "library": "build data training.fields training.schedules training.optimizers",
    "open": "errors suggest tensorfile graph lang build nn program library",
    # What a run leaves, and pictures of it:
    "training.checkpoint": "errors tensorfile",
    "training.lock": "errors tensorfile",
    "training.measures": "errors suggest build ir",
    "training.history": "errors training.checkpoint training.lock training.measures",
    "plots": "errors extras tensorfile training.history training.measures",
    "weights": "errors suggest tensorfile views training.checkpoint",
    # On top, and only on top:
    "draw": "errors extras graph shapes program tensorfile",
    "api": "* of the above",
    "training": "* of the above",
    "probe": "* of the above",
    "bench": "* of the above",
    "tools": "* of the above",
    "cli": "* of the above",
}

LATE = {
    ("errors", "render"): "an uncaught error reads well because it draws itself",
}
"""Imports against the direction, inside a function, each with its reason."""


# -- reading imports -------------------------------------------------------------------------------------------------------------


def imports(nodes: Iterable[ast.AST], late: bool = False) -> Iterator[tuple[str, bool]]:
    """The dotted names that code imports, and whether it does so inside a function.  What only a type checker reads is left out."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, late) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, "imports are absolute"
            yield from ((f"{node.module}.{alias.name}", late) for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from imports(node.orelse, late)
        else:
            yield from imports(ast.iter_child_nodes(node), late or isinstance(node, (ast.FunctionDef, ast.Lambda)))


def room_of(dotted: str) -> str | None:
    """The room that a module's or a name's dotted path belongs to; None for other packages and for the door, ``graphspec`` itself."""
    package, _, rest = dotted.partition(".")
    if package == "graphspec_runtime":
        return package
    if package != "graphspec" or not rest or rest.startswith("__"):
        return None
    two = ".".join(rest.split(".")[:2])
    return two if two in LAYERS else two.partition(".")[0]


def module_of(name: str) -> str:
    return name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def allowed(room: str) -> set[str]:
    above = list(LAYERS)[: list(LAYERS).index(room)]
    return set(above) if LAYERS[room].startswith("*") else set(LAYERS[room].split())


def misdirected(name: str, tree: ast.Module) -> list[str]:
    """Imports of a file that the table does not allow."""
    home = room_of(module_of(name))
    found = []
    for dotted, late in imports([tree]):
        room = room_of(dotted)
        if room is None or room == home or home is None:
            continue
        if home not in LAYERS:
            found.append(f"{home} has no row in the table of layers")
        elif room not in allowed(home) and not (late and (home, room) in LATE):
            found.append(f"{name} imports {dotted}: {home} may import {', '.join(sorted(allowed(home))) or 'nothing'}")
    return found


def test_the_table_of_layers_has_no_circle() -> None:
    for position, (room, below) in enumerate(LAYERS.items()):
        assert allowed(room) <= set(list(LAYERS)[:position]), f"{room}: {below}"


@pytest.mark.parametrize("name", FILES)
def test_imports_go_one_way(name: str) -> None:
    assert misdirected(name, TREES[name]) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("graphspec/ir/core.py", "from graphspec.graph import Node"),
        ("graphspec/errors.py", "def f():\n    import graphspec.lang"),
        ("graphspec/training/optimizers.py", "from graphspec.training.loop import run"),
        ("graphspec_runtime/plan.py", "from graphspec.sizes import Size"),
        ("graphspec/newcomer.py", "from graphspec.errors import fail"),
    ],
)
def test_an_import_against_the_direction_is_seen(name: str, text: str) -> None:
    assert len(misdirected(name, ast.parse(text))) == 1


# -- files -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_files_are_short(name: str) -> None:
    lines = len(FILES[name].read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{name} has {lines} lines"


@pytest.mark.parametrize("name", FILES)
def test_modules_say_what_they_are(name: str) -> None:
    assert ast.get_docstring(TREES[name])


@pytest.mark.parametrize("name", [name for name, path in FILES.items() if ">>> " in path.read_text(encoding="utf-8")])
def test_examples_in_docstrings_are_true(name: str) -> None:
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    found = doctest.testmod(importlib.import_module(module_of(name)), optionflags=flags)
    assert found.attempted > 0
    assert found.failed == 0


# -- packages --------------------------------------------------------------------------------------------------------------------


def packages(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w-]", requirement)[0] for requirement in requirements}


def test_few_packages_are_needed_and_torch_is_none_of_them() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert packages(project["dependencies"]) == {"numpy", "lark", "safetensors", "rich", "threadpoolctl"}
    assert set(extras) == {"test", "gpu-cuda12", "gpu-cuda13", "data", "draw", "plots", "tensorboard", "onnx", "lsp", "mpi"}
    assert "torch" not in set().union(*map(packages, extras.values()))


def names_package(tree: ast.Module, package: str) -> bool:
    """Whether code imports a package or names it, or a wheel of it, in a string of its own."""
    pattern = re.compile(rf"{package}([.-].*)?")
    strings = (n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str))
    return any(dotted.partition(".")[0] == package for dotted, _ in imports([tree])) or any(map(pattern.fullmatch, strings))


def test_one_file_names_cupy() -> None:
    assert [name for name, tree in TREES.items() if names_package(tree, "cupy")] == ["graphspec_runtime/devices/cupy.py"]


EAGER = {
    "torch": {"graphspec/bench/torch_peers.py"}, "jax": {"graphspec/bench/jax_peers.py"}, "onnxruntime": {"graphspec/bench/onnx_peers.py"},
    "cupy": set[str](),
}  # fmt: skip
"""Files that import a package when they are loaded: a benchmark's peers, each in a process of its own, which alone loads its file."""


@pytest.mark.parametrize("package", EAGER)
def test_nothing_imports_it_when_loaded(package: str) -> None:
    def loads(tree: ast.Module, wanted: str) -> bool:
        return any((dotted + ".").startswith(f"{wanted}.") and not late for dotted, late in imports([tree]))

    assert {name for name, tree in TREES.items() if loads(tree, package)} == EAGER[package]
    for name in EAGER[package]:
        assert [other for other, tree in TREES.items() if loads(tree, module_of(name))] == []


def modules_after(code: str) -> set[str]:
    """The names in ``sys.modules`` of a fresh Python after running some code."""
    done = subprocess.run([sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_graphspec_loads_little() -> None:
    loaded = modules_after("import graphspec")
    assert loaded.isdisjoint({"numpy", "lark", "rich", "safetensors", "torch", "cupy"})
    assert {name for name in loaded if name.startswith("graphspec.")} == set()


def test_compiling_loads_no_package_for_other_things() -> None:
    loaded = modules_after("import graphspec; graphspec.compile('local x = nn.Identity{1}()\\nreturn nn.gModule({x}, {nn.Tanh()(x)})')")
    assert loaded.isdisjoint({"rich", "torch", "cupy", "matplotlib", "sklearn", "onnx"})


# -- codes -----------------------------------------------------------------------------------------------------------------------


def codes_in(tree: ast.Module) -> set[str]:
    found = (n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str))
    return {text for text in found if re.fullmatch(r"[EW]0\d{3}", text)}


USED = {code: name for name, tree in TREES.items() if name != "graphspec/codes.py" for code in codes_in(tree)}


def test_every_code_that_is_used_has_a_title() -> None:
    assert {code: name for code, name in USED.items() if code not in CODES} == {}


def test_every_code_that_has_a_title_is_used() -> None:
    assert sorted(set(CODES) - set(USED)) == []


def test_codes_mentioned_in_docstrings_exist() -> None:
    mentioned = {code: name for name, path in FILES.items() for code in re.findall(r"\b[EW]0\d{3}\b", path.read_text(encoding="utf-8"))}
    assert {code: name for code, name in mentioned.items() if code not in CODES} == {}


def test_titles_are_short_and_differ() -> None:
    assert len(set(CODES.values())) == len(CODES)
    assert [title for title in CODES.values() if len(title) > 80 or title.endswith(".")] == []


# -- the wheel -------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, unpacked, as pip would lay it out."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_holds_all_that_is_needed(wheel: Path) -> None:
    for package, home in PATHS.items():
        kept = [p.relative_to(home) for p in home.rglob("*") if p.suffix in {".py", ".lark", ".c", ".cu", ".json", ".typed"}]
        assert [str(p) for p in kept if not (wheel / package / p).is_file()] == []
    specs = [p.relative_to(REPOSITORY) for p in (REPOSITORY / "specs").rglob("*.spec")]
    assert [str(p) for p in specs if not (wheel / "graphspec" / p).is_file()] == []
    assert sorted(p.name for p in wheel.iterdir() if p.suffix != ".dist-info") == ["graphspec", "graphspec_runtime"]


def test_the_wheel_works_outside_the_repository(wheel: Path, tmp_path: Path) -> None:
    code = f"import sys; sys.path.insert(0, {str(wheel)!r})\nimport graphspec\nfrom graphspec.shipped import SPECS\n"
    code += "model = graphspec.compile(SPECS / 'lstm.spec', 'network({rnn_size=5})')\n"
    code += "print(graphspec.__file__, len(model.parameters), sep='|')"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    place, parameters = done.stdout.strip().split("|")
    assert Path(place).is_relative_to(wheel)
    assert parameters == "16"
