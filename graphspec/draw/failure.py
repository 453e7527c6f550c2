"""``nngraph.setDebug(true)``: a graph whose shapes do not fit is drawn, with the failing node in red and the shapes that reached it."""

from __future__ import annotations

from pathlib import Path

from graphspec.draw.gather import make_scene
from graphspec.draw.svg import to_svg
from graphspec.errors import SpecError
from graphspec.tensorfile import write_bytes


def draw_failure(failure: SpecError) -> SpecError:
    """The error, with a note that names the picture: ``<spec>.error.svg`` in the present folder.

    Unchanged where the spec did not ask for it, or where the error is about no node.  E0805 when it cannot be written.
    """
    if failure.draw_as is None or failure.typed is None:
        return failure
    spec = Path(failure.draw_as)
    path = Path(f"{spec.stem}.error.svg")
    scene = make_scene(failure.typed, f"{spec.name}: {failure.diagnostics[0].message}")
    wrong = {d.span for d in failure.diagnostics}
    for leaf in scene.root.leaves():
        if leaf.facts.span in wrong:
            leaf.look = "wrong"
    write_bytes(path, to_svg(scene).encode())
    return SpecError(failure.diagnostics[0].with_notes(f"drawn in {path}"), *failure.diagnostics[1:])
