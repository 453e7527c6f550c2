"""A benchmark: contenders made ready, compared, and timed in turns."""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from graphspec.bench.cases import Case, StepCase, Work
from graphspec.bench.contender import OURS, Contender
from graphspec.bench.machine import Machine
from graphspec.bench.peers import Peer
from graphspec.build import Limits
from graphspec.errors import fail
from graphspec.training.decoding.settings import LONG_CHUNK

SAME = 1e-4
"""How far apart losses and norms of gradients may be, relative where they are above 1."""

SAME_ROUGHLY = 2e-2
"""The same where products are of a lower precision."""

ROUND = 0.1
"""Seconds that a contender's turn takes at least, in so many whole steps."""

TENTHS = 10
"""Parts of the steps after which memory is looked at."""

REST = 0.05
"""Seconds between turns where several threads work: those of the one before wait actively for a while, and would take the next one's
cores."""

MOST_STEPS = 100_000
"""In one turn."""


@dataclass(frozen=True)
class Settings:
    """``device`` and ``threads`` (None: as each contender likes) of graphspec; ``threads`` are the peers' too.  ``update``: clipping and
    optimizer belong to the step.  ``repeats``: turns of each contender.  ``without``: passes, for each of which graphspec stands beside
    itself once more, compiled without it.  ``memory``: steps that are done after those timed, to see whether memory grows."""

    device: str = "cpu"
    threads: int | None = 1
    precision: str = "float32"
    update: bool = False
    repeats: int = 5
    peers: Sequence[Peer] = ()
    without: Sequence[str] = ()
    memory: int = 0
    roots: Sequence[str] = ()
    lenient: bool = False
    limits: Limits | None = None
    plugins: Sequence[str] = ()

    @property
    def same(self) -> float:
        """How far apart contenders' losses and norms may be."""
        return SAME if self.precision == "float32" else SAME_ROUGHLY

    @property
    def clock(self) -> str:
        """``cpu`` for one thread, whose processor time no other process changes; ``wall`` for more, and for what is no CPU."""
        return "cpu" if self.threads == 1 and not self.device.startswith("cuda") else "wall"


@dataclass(frozen=True)
class Timing:
    """One contender: ``rounds`` holds ``(wall, cpu)`` seconds a step for each turn; ``peak`` bytes of its process; ``compile`` seconds from
    the spec to the first step done, with all caches warm, and ``cold`` with none (graphspec only); ``found`` are the numbers that all must
    agree on (:func:`compared`); ``versions`` of what it is made of; ``resident`` bytes after each tenth of the steps done for them."""

    name: str
    rounds: Sequence[tuple[float, float]]
    clock: str
    peak: int
    compile: float
    cold: float | None
    found: tuple[float, float]
    versions: Mapping[str, str] = field(default_factory=dict)
    resident: Sequence[int] = ()

    def seconds(self, clock: str | None = None) -> float:
        """A step, the median of the turns."""
        place = ("wall", "cpu").index(clock or self.clock)
        return statistics.median(turn[place] for turn in self.rounds)


@dataclass(frozen=True)
class Result:
    """What a benchmark of one model found."""

    title: str
    case: Case | None
    symbols: int
    work: Work
    timings: Sequence[Timing]
    missing: Sequence[str]

    @property
    def ours(self) -> Timing:
        return self.timings[0]

    @property
    def bounded(self) -> bool:
        """Whether the machine's peak and bandwidth bound it: a training step."""
        return not isinstance(self.case, StepCase)

    def to_json(self, machine: Machine) -> list[dict[str, Any]]:
        """A row for each contender; times in milliseconds, memory in bytes, compile times in seconds."""
        about: dict[str, Any] = {"model": self.title, "symbols": self.symbols, "flops": self.work.flops, "bytes": self.work.bytes}
        if self.case:
            about |= {"config": self.case.config, "cell": self.case.cell, "sizes": dict(self.case.sizes)}
        if self.bounded:
            about["bound_ms"] = 1e3 * machine.bound(self.work)
        keys, rows = [key for key, _ in compared(self.case)], []
        for timing in self.timings:
            seconds = timing.seconds()
            row: dict[str, Any] = {
                "contender": timing.name, "clock": timing.clock, "ms": 1e3 * seconds, "wall_ms": 1e3 * timing.seconds("wall"),
                "cpu_ms": 1e3 * timing.seconds("cpu"), "rounds_ms": [[1e3 * wall, 1e3 * cpu] for wall, cpu in timing.rounds],
                "symbols_per_second": self.symbols / seconds, "gflops": self.work.flops / seconds / 1e9,
                "of_peak": self.work.flops / seconds / machine.peak, "peak_bytes": timing.peak, "compile_s": timing.compile,
                "cold_compile_s": timing.cold, **dict(zip(keys, timing.found, strict=True)),
                "ratio": seconds / self.ours.seconds(), "versions": dict(timing.versions),
            }  # fmt: skip
            if timing.resident:
                row["resident_bytes"] = list(timing.resident)
            if self.bounded:
                row["to_bound"] = seconds / machine.bound(self.work)
            rows.append({**about, **row})
        return rows


def measure(
    what: Case | str, settings: Settings, options: Mapping[str, Any] | None = None, tell: Callable[[str], None] = lambda text: None
) -> Result:
    """Time the step of a case, or the training step of the spec at a path (with its ``options``, on the first batch of
    its data, without peers).

    ``tell`` hears what goes on.  E0840 where a peer finds something else; E0841 where one fails.
    """
    case = what if isinstance(what, Case) else None
    title = str(what)
    peers = [peer for peer in settings.peers if case and case.cell in peer.cells]
    absent = dict.fromkeys(package for peer in peers for package in peer.packages if find_spec(package) is None)
    missing = [f"{package} is left out: the package is not installed (pip install {package})" for package in absent]
    peers = [peer for peer in peers if not set(absent) & set(peer.packages)]
    with tempfile.TemporaryDirectory() as place, ExitStack() as ends:
        caches, share = Path(place), str(Path(place, "share.safetensors"))

        def contender(name: str) -> Contender:
            return ends.enter_context(Contender(name, settings.threads, caches))

        given: dict[str, Any] = {"threads": settings.threads}
        if not isinstance(case, StepCase):
            given |= {"update": settings.update, "precision": settings.precision}
        own = {
            **given, "device": settings.device, "roots": list(settings.roots), "lenient": settings.lenient, "limits": settings.limits,
            "plugins": list(settings.plugins),
        }  # fmt: skip
        asked = {"case": case, "spec": str(case.spec) if case else title, "options": case.options if case else options or {}}
        tell(f"{title}: compiling")
        with Contender(OURS, settings.threads, caches) as first:
            cold = first.ask("prepare", **asked, share=None, settings=own)["seconds"]
        # Where the weights lie (of ours the first alone writes them), and how the step is made:
        each: dict[str, tuple[str | None, dict[str, Any]]] = {OURS: (share, own)}
        each |= {name: (None, {**own, **more}) for name, more in variants(case, settings).items()}
        each |= {peer.name: (share, given) for peer in peers}
        named = {name: contender(name) for name in each}
        ready = []
        for name, one in named.items():
            tell(f"{title}: {name} gets ready")
            ready.append(one.ask("prepare", **asked, share=each[name][0], settings=each[name][1]))
            compare(title, name, case, ready[0]["found"], ready[-1]["found"], settings.same)
        tell(f"{title}: timing")
        rounds = turns(list(named.values()), settings)
        resident = [grown(one, settings.memory) for one in named.values()]
        peaks = [int(one.ask("end")["peak"]) for one in named.values()]
    timings = [
        Timing(
            name, rounds[i], settings.clock, peaks[i], r["seconds"], cold if name == OURS else None, r["found"], r["versions"], resident[i]
        )
        for i, (name, r) in enumerate(zip(named, ready, strict=True))
    ]
    return Result(title, case, ready[0]["symbols"], ready[0]["work"], timings, missing)


def figures(value: float) -> str:
    """A number with three figures, as people write it: ``0.0123``, ``26.4``, ``1,234``."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def variants(case: Case | None, settings: Settings) -> dict[str, dict[str, Any]]:
    """graphspec once more, by name: how else its step is made."""
    found: dict[str, dict[str, Any]] = {f"{OURS} -{name}": {"without": [name]} for name in settings.without}
    if isinstance(case, StepCase):
        found[f"{OURS}, {LONG_CHUNK} a call"] = {"at_once": LONG_CHUNK}
    return found


def compared(case: Case | None) -> Sequence[tuple[str, str]]:
    """What contenders must agree on, as records and people call it."""
    if isinstance(case, StepCase):
        return ("state_sum", "sum of the state"), ("state_norm", "norm of the state")
    return ("loss", "loss"), ("gradient_norm", "norm of the gradient")


def compare(
    title: str, name: str, case: Case | None, ours: tuple[float, float], theirs: tuple[float, float], same: float = SAME
) -> None:
    """E0840 unless a contender finds what we do."""
    for (_, what), mine, other in zip(compared(case), ours, theirs, strict=True):
        if not abs(mine - other) <= same * max(1.0, abs(mine)):
            notes = ["both were given the same weights and the same batch"]
            raise fail("E0840", f"{title}: the {what} is {mine:.7g}, and {other:.7g} with {name}", notes=notes)


def grown(one: Contender, steps: int) -> list[int]:
    """Bytes that a contender's process has after each tenth of so many steps."""
    return [int(one.ask("steps", count=steps // TENTHS)["resident"]) for _ in range(TENTHS if steps else 0)]


def turn_length(one: Contender) -> int:
    """How many steps take about :data:`ROUND`; so many were done when this returns, so that all they need is allocated."""
    one.ask("steps", count=1)  # the first step after the one compared may still allocate
    count = 1
    while (wall := one.ask("steps", count=count)["wall"]) < ROUND / 2 and count < MOST_STEPS:
        count = min(max(2 * count, math.ceil(count * ROUND / max(wall, 1e-6))), MOST_STEPS)
    return count


def turns(contenders: Sequence[Contender], settings: Settings) -> list[list[tuple[float, float]]]:
    """For each contender its turns, ``(wall, cpu)`` seconds a step: all take one, then all another.  Some before are not counted, and say
    how many steps make a turn."""
    counts = [turn_length(one) for one in contenders]
    found: list[list[tuple[float, float]]] = [[] for _ in contenders]
    for _ in range(settings.repeats):
        for one, count, seconds in zip(contenders, counts, found, strict=True):
            if settings.threads != 1:
                time.sleep(REST)
            said = one.ask("steps", count=count)
            seconds.append((said["wall"] / count, said["cpu"] / count))
    return found
