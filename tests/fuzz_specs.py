"""Mutated specs: what a person might type wrong, and what nobody would; for tests/test_fuzz.py, and for long runs:

    python tests/fuzz_specs.py 100000        # specs 0 .. 99,999, or FIRST LAST for a part of them

A mutant must compile, or fail with a coded error at a line, within two seconds and without any other exception.
"""

from __future__ import annotations

import random
import re
import sys
import time
import traceback
from functools import lru_cache
from pathlib import Path
from typing import Any

from graphspec.build import ExperimentSpec, Limits
from graphspec.errors import SpecError
from graphspec.open import open_spec, pick_module
from graphspec.program import forward_program, infer
from graphspec.training.step import set_up, training_program

ROOT = Path(__file__).parent.parent
TOKEN = re.compile(r"\s+|--[^\n]*|[A-Za-z_]\w*|\d+\.?\d*|'[^'\n]*'|\"[^\"\n]*\"|\.\.\.?|[=~<>]=|.", re.S)
WORDS = (
    "nil", "true", "0", "-1", "0.5", "1e300", "2^53", "0/0", "''", "'B'", "'T'", "{}", "{nil, 1}", "()", "(x)", "x", "nn",
    "nn.Identity()()", "nn.Linear(2, 2)", "nn.Sequential()", "nn.Scan", "nn.gModule", "torch.zeros(2)", "function() end", "return", "end",
    "local", "do", "then", ":split(2)", ":clone()", ":getParameters()", ".weight", ".data.module", "[1]", "#", "-", "..", "==", "=", ",",
    "{", "}", "(", ")", "...", ":add(nn.Tanh())", "error('x')", "pcall", "require 'lstm'", "setmetatable({}, {})", "nn.Replicate('S', 2)",
    "nn.View(-1)", "nn.Narrow(1, 2, 3)", "nn.Identity{'B', 3, dtype = 'int32'}()", "nn.LookupTable(3, 2)", "nn.MixtureTable()",
    "nn.SelectTable(2)", "while true do", "math.huge",
)  # fmt: skip
ENTRIES = {
    "lstm": "network({rnn_size=3, n_layers=2})", "char_rnn": "unroll(3, 2, 1, {})", "feedback": "iterate()",
    "columns": "stack(lstm, 3, 4, 2)",
}  # fmt: skip
NOWHERE = ("E08", "E0705", "E0706", "E0430", "E0431", "E0602", "E0601", "E0610")
"""Codes of errors that are about no place in a file."""

LIMITS = Limits(steps=100_000, nodes=1_000, elements=1_000_000)


@lru_cache
def corpus() -> tuple[tuple[str, str, str | None], ...]:
    """(name, text, entry) of every spec, and of every spec on the page of the language."""
    files = [*sorted((ROOT / "specs").glob("*.spec")), *sorted((ROOT / "tests" / "specs").glob("*.spec"))]
    found = [(p.stem, p.read_text(), ENTRIES.get(p.stem)) for p in files]
    for number, block in enumerate(re.findall(r"```lua\n(.*?)```", (ROOT / "docs" / "language.md").read_text(), re.S)):
        found.append((f"language{number}", block, None))
    return tuple(found)


def mutant(number: int) -> tuple[str, str | None]:
    """The spec with this number, always the same, and its entry."""
    r = random.Random(number)
    _, text, entry = r.choice(corpus())
    tokens = TOKEN.findall(text)
    for _ in range(r.choice((1, 1, 1, 2, 3, 8))):
        places = [i for i, t in enumerate(tokens) if not t.isspace()]
        if not places:
            break
        at = r.choice(places)
        kind = r.randrange(7)
        if kind == 0:
            del tokens[at]
        elif kind == 1:
            tokens.insert(at, r.choice(WORDS))
        elif kind == 2:
            tokens[at] = r.choice(WORDS)
        elif kind == 3:
            other = r.choice(places)
            tokens[at], tokens[other] = tokens[other], tokens[at]
        elif kind == 4:
            tokens[at] = tokens[r.choice(places)]
        elif kind == 5:
            end = min(len(tokens), at + r.randrange(2, 30))
            tokens[at:end] = tokens[at:end] * r.choice((0, 2, 3))
        else:
            donor = TOKEN.findall(r.choice(corpus())[1])
            first = r.randrange(len(donor))
            tokens[at:at] = donor[first : first + r.randrange(1, 20)]
    if r.random() < 0.02:
        joined = "".join(tokens)
        at = r.randrange(len(joined) + 1)
        return joined[:at] + chr(r.choice((0, 1, 0x7F, 0xE9, 0x202E, 0x1F600, 0xD800))) + joined[at:], entry
    return "".join(tokens), entry


def attempt(text: str, entry: str | None) -> SpecError | None:
    """Compile it whole: a model's forward program, or an experiment's training step."""
    try:
        opened = open_spec(text + "\n", entry, roots=[ROOT / "specs"], limits=LIMITS)
        if isinstance(opened.result, ExperimentSpec):
            training_program(set_up(opened.result, "float32"))
        else:
            forward_program(infer(pick_module(opened)), training=True)
    except SpecError as failure:
        return failure
    return None


def complaint(number: int) -> str | None:
    """What is wrong with how a mutant was answered, if anything is."""
    text, entry = mutant(number)
    started = time.process_time()
    try:
        failure = attempt(text, entry)
    except Exception:
        return traceback.format_exc(limit=-4)
    if time.process_time() - started > 2:
        return f"{time.process_time() - started:.1f} seconds"
    for problem in failure.diagnostics if failure else ():
        if not re.fullmatch(r"[EW]\d{4}", problem.code):
            return f"no code: {problem}"
        if problem.span is None and not problem.code.startswith(NOWHERE):
            return f"{problem.code} without a line: {problem.message}"
    return None


def main(argv: list[str]) -> int:
    first, last = (0, int(argv[0])) if len(argv) == 1 else (int(argv[0]), int(argv[1]))
    kinds: dict[str, Any] = {}
    for number in range(first, last):
        found = complaint(number)
        if found:
            key = found.strip().splitlines()[-1][:90]
            kinds.setdefault(key, []).append(number)
            if len(kinds[key]) == 1:
                sys.stdout.write(f"--- spec {number}\n{found}\n")
    sys.stdout.write(f"{last - first} specs; { {key: len(numbers) for key, numbers in kinds.items()} or 'all well'}\n")
    return 1 if kinds else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
