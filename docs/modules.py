"""Writes docs/modules.md, and into graphspec/tools/proofs.json what proves each record, from records, samples and the tests' tables.

    python docs/modules.py
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "modules.md"
COMMAND = "python docs/modules.py"
ELSEWHERE_TITLE = "Names in PyTorch and Keras"

if str(ROOT / "tests") not in sys.path:
    sys.path.append(str(ROOT / "tests"))

import test_records as proved  # noqa: E402
from graphspec.graph import LEFT_OUT, REGISTRY, Record  # noqa: E402
from graphspec.graph.elsewhere import ELSEWHERE  # noqa: E402
from graphspec.tools import modules  # noqa: E402
from twins import TWINS  # noqa: E402

HEAD = """\
# Modules

What `python docs/modules.py` wrote from the records of [graphspec/nn](../graphspec/nn). `graphspec modules NAME` shows one of them,
[cli.md](cli.md#modules) says how. Arguments in brackets may be left out; `B, T, n` and the like stand for sizes. Below the signature stand
the cases that prove a module: the expression that makes it, the shapes that go in, the shapes that come out; braces are tables.

No module has a backward function of its own: gradients follow from what it lowers to. What is proved of it is named:

* *finite differences*: every gradient, of inputs and parameters, in float64;
* *PyTorch twin*: outputs and gradients to 1e-10 against the same module written with PyTorch;
* *symbolic sizes*: the same numbers come out when sizes are letters, which only a call binds;
* *strided inputs*: the same again from views, which are left as they were;
* *tied use*: one module object used twice gets both gradients;
* *devices against reference*: optimised, on NumPy and in C, against interpreting it plainly.
"""


def ours() -> list[Record]:
    """Records that come with graphspec, whatever a test or a plugin has added."""
    return [record for record in modules.every() if modules.ours(record)]


def proofs() -> dict[str, list[str]]:
    """What the tests prove of each record, as their tables have it."""
    return {record.name: list(_proofs(record)) for record in ours()}


def _proofs(record: Record) -> Iterable[str]:
    if record.name in proved.ELSEWHERE:
        yield proved.ELSEWHERE[record.name]
        return
    samples = range(len(record.samples))
    if samples and record.name not in proved.INTEGERS:
        yield "finite differences"
    if record.name in TWINS:
        yield "PyTorch twin"
    if any((record.name, i) not in proved.OPEN for i in samples):
        yield "symbolic sizes"
    if samples:
        yield "strided inputs"
    if samples and record.kind != "criterion":
        yield "tied use"
    if samples:
        yield "devices against reference"


def proofs_text() -> str:
    """The file of proofs: a line for each record."""
    lines = (f" {json.dumps(name)}: {json.dumps(found)}" for name, found in sorted(proofs().items()))
    return "{\n" + ",\n".join(lines) + "\n}\n"


def page() -> str:
    text, chapters = HEAD, modules.chapters(ours())
    for chapter, families in chapters.items():
        text += f"\n**{chapter}**\n\n"
        for title, records in families.items():
            text += f"* [{title}](#{_anchor(title)}): " + ", ".join(f"[{r.name}](#nn{r.name.lower()})" for r in records) + "\n"
    text += f"\n**Names**\n\n* [{ELSEWHERE_TITLE}](#{_anchor(ELSEWHERE_TITLE)})\n" + ("* [Left out](#left-out)\n" if LEFT_OUT else "")
    for families in chapters.values():
        for title, records in families.items():
            text += f"\n## {title}\n" + "".join(f"\n{modules.page(record, 3)}" for record in records)
    text += f"\n## {ELSEWHERE_TITLE}\n\nThose that differ in more than upper and lower case.\n\n| there | here |\n|---|---|\n"
    text += "".join(f"| `{name}` | {_here(said)} |\n" for name, said in sorted(ELSEWHERE.items(), key=lambda pair: pair[0].lower()))
    if LEFT_OUT:
        text += "\n## Left out\n\nWhat Torch has and a spec cannot have, or has in another way.\n\n| module | |\n|---|---|\n"
        text += "".join(f"| `nn.{name}` | {reason} |\n" for name, reason in sorted(LEFT_OUT.items()))
    return text


def _here(said: str) -> str:
    """What a name of PyTorch or Keras is here, with a link to the module."""
    name = re.split(r"\W", said)[0]
    return f"[{name}](#nn{name.lower()}){said.removeprefix(name)}" if name in REGISTRY else said


def _anchor(title: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    return "".join(c for c in title.lower().replace(" ", "-") if c.isalnum() or c in "-_")


def main() -> int:
    modules.PROOFS.write_text(proofs_text(), encoding="utf-8")
    modules.proofs.cache_clear()
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
