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

from graphspec.bench.cases import Case, Work
from graphspec.bench.contender import OURS, Contender
from graphspec.bench.machine import Machine
from graphspec.bench.peers import Peer
from graphspec.build import Limits
from graphspec.errors import fail

SAME = 1e-4
"""How far apart losses and norms of gradients may be, relative where they are above 1."""

SAME_ROUGHLY = 2e-2
"""The same where products are of a lower precision."""

ROUND = 0.1
"""Seconds that a contender's turn takes at least, in so many whole steps."""

REST = 0.05
"""Seconds between turns where several threads work: those of the one before wait actively for a while, and would take the next one's
cores."""

MOST_STEPS = 1000
"""In one turn."""


@dataclass(frozen=True)
class Settings:
    """``device`` and ``threads`` (None: as each contender likes) of graphspec; ``threads`` are the peers' too.  ``update``: clipping and
    optimizer belong to the step.  ``repeats``: turns of each contender."""

    device: str = "cpu"
    threads: int | None = 1
    precision: str = "float32"
    update: bool = False
    repeats: int = 5
    peers: Sequence[Peer] = ()
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
    the spec to the first step done, with all caches warm, and ``cold`` with none (graphspec only); ``versions`` of what it is made of."""

    name: str
    rounds: Sequence[tuple[float, float]]
    clock: str
    peak: int
    compile: float
    cold: float | None
    loss: float
    norm: float
    versions: Mapping[str, str] = field(default_factory=dict)

    def seconds(self, clock: str | None = None) -> float:
        """A step, the median of the turns."""
        place = ("wall", "cpu").index(clock or self.clock)
        return statistics.median(turn[place] for turn in self.rounds)


@dataclass(frozen=True)
class Result:
    """What a benchmark of one model found.  ``work`` has the FLOPs alone for a spec that is none of ours, so it has no bound."""

    title: str
    case: Case | None
    symbols: int
    work: Work
    timings: Sequence[Timing]
    missing: Sequence[str]

    @property
    def ours(self) -> Timing:
        return self.timings[0]

    def to_json(self, machine: Machine) -> list[dict[str, Any]]:
        """A row for each contender; times in milliseconds, memory in bytes, compile times in seconds."""
        about: dict[str, Any] = {"model": self.title, "symbols": self.symbols, "flops": self.work.flops}
        if self.case:
            about |= {"config": self.case.config, "cell": self.case.cell, "sizes": dict(self.case.sizes), "bytes": self.work.bytes}
            about["bound_ms"] = 1e3 * machine.bound(self.work)
        rows = []
        for timing in self.timings:
            seconds = timing.seconds()
            row = {
                "contender": timing.name, "clock": timing.clock, "ms": 1e3 * seconds, "wall_ms": 1e3 * timing.seconds("wall"),
                "cpu_ms": 1e3 * timing.seconds("cpu"), "rounds_ms": [[1e3 * wall, 1e3 * cpu] for wall, cpu in timing.rounds],
                "symbols_per_second": self.symbols / seconds, "gflops": self.work.flops / seconds / 1e9,
                "of_peak": self.work.flops / seconds / machine.peak, "peak_bytes": timing.peak, "compile_s": timing.compile,
                "cold_compile_s": timing.cold, "loss": timing.loss, "gradient_norm": timing.norm,
                "ratio": seconds / self.ours.seconds(), "versions": dict(timing.versions),
            }  # fmt: skip
            if self.case:
                row["to_bound"] = seconds / machine.bound(self.work)
            rows.append({**about, **row})
        return rows


def measure(
    what: Case | str, settings: Settings, options: Mapping[str, Any] | None = None, tell: Callable[[str], None] = lambda text: None
) -> Result:
    """Time the training step of a case, or of the spec at a path (with its ``options``, on the first batch of its data, without peers).

    ``tell`` hears what goes on.  E0840 where a peer finds another loss or gradient; E0841 where one fails.
    """
    case = what if isinstance(what, Case) else None
    title = str(what)
    peers = [peer for peer in settings.peers if case and case.cell in peer.cells]
    absent = dict.fromkeys(peer.package for peer in peers if find_spec(peer.package) is None)
    missing = [f"{package} is left out: the package is not installed (pip install {package})" for package in absent]
    peers = [peer for peer in peers if peer.package not in absent]
    with tempfile.TemporaryDirectory() as place, ExitStack() as ends:
        caches, share = Path(place), str(Path(place, "share.safetensors"))

        def contender(name: str) -> Contender:
            return ends.enter_context(Contender(name, settings.threads, caches))

        given = {"threads": settings.threads, "update": settings.update, "precision": settings.precision}
        own = {
            "device": settings.device, "roots": list(settings.roots), "lenient": settings.lenient, "limits": settings.limits,
            "plugins": list(settings.plugins),
        }  # fmt: skip
        asked = {
            "case": vars(case) if case else None, "spec": str(case.spec) if case else title,
            "options": case.options if case else options or {}, "share": share, "settings": {**given, **own},
        }  # fmt: skip
        tell(f"{title}: compiling")
        with Contender(OURS, settings.threads, caches) as first:
            cold = first.ask("prepare", **{**asked, "share": None})["seconds"]
        named = [(OURS, contender(OURS)), *((peer.name, contender(peer.name)) for peer in peers)]
        ready = []
        for name, one in named:
            tell(f"{title}: {name} gets ready")
            ready.append(one.ask("prepare", **(asked if name == OURS else {**asked, "settings": given})))
            compare(title, name, ready[0], ready[-1], settings.same)
        tell(f"{title}: timing")
        rounds = turns([one for _, one in named], settings)
        peaks = [int(one.ask("end")["peak"]) for _, one in named]
    timings = [
        Timing(name, rounds[i], settings.clock, peaks[i], r["seconds"], cold if name == OURS else None, r["loss"], r["norm"], r["versions"])
        for i, ((name, _), r) in enumerate(zip(named, ready, strict=True))
    ]
    return Result(title, case, ready[0]["symbols"], case.work if case else Work(ready[0]["flops"], math.nan), timings, missing)


def figures(value: float) -> str:
    """A number with three figures, as people write it: ``0.0123``, ``26.4``, ``1,234``."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def compare(title: str, name: str, ours: Mapping[str, Any], theirs: Mapping[str, Any], same: float = SAME) -> None:
    """E0840 unless a contender's loss and norm of the gradient are ours."""
    for key, what in (("loss", "loss"), ("norm", "norm of the gradient")):
        mine, other = ours[key], theirs[key]
        if not abs(mine - other) <= same * max(1.0, abs(mine)):
            notes = ["both were given the same weights and the same batch"]
            raise fail("E0840", f"{title}: the {what} is {mine:.7g}, and {other:.7g} with {name}", notes=notes)


def turns(contenders: Sequence[Contender], settings: Settings) -> list[list[tuple[float, float]]]:
    """For each contender its turns, ``(wall, cpu)`` seconds a step: all take one, then all another.  A first one is not counted, and
    says how many steps make a turn."""
    counts = []
    for one in contenders:
        one.ask("steps", count=1)  # the first step after the one compared may still allocate
        counts.append(min(max(1, math.ceil(ROUND / max(one.ask("steps", count=1)["wall"], 1e-6))), MOST_STEPS))
    found: list[list[tuple[float, float]]] = [[] for _ in contenders]
    for _ in range(settings.repeats):
        for one, count, seconds in zip(contenders, counts, found, strict=True):
            if settings.threads != 1:
                time.sleep(REST)
            said = one.ask("steps", count=count)
            seconds.append((said["wall"] / count, said["cpu"] / count))
    return found
