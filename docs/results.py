"""Writes docs/results.md: every number in it came of a command, run here unless it is on record for the same spec, options and seed.

    python docs/results.py [--text tinyshakespeare.txt] [--only translate] [--list]

A job goes through the command line, as a user's would, into runs/results/.  Its numbers are kept in docs/results/<job>.json under a hash of
the spec with its requires, the options and the seed; pictures lie beside them.  ``--text`` names a corpus that is not part of Python; jobs
that need it keep their old numbers without it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphspec.bench.contender import UNSET

ROOT = Path(__file__).parent.parent
RECORDS = ROOT / "docs" / "results"
PAGE = ROOT / "docs" / "results.md"
RUNS = ROOT / "runs" / "results"

Numbers = dict[str, Any]


# -- commands --------------------------------------------------------------------------------------------------------------------


def graphspec(*words: str, **more: Any) -> str:
    """What a command writes to its standard output."""
    environment = {name: value for name, value in os.environ.items() if name not in UNSET}
    command = [sys.executable, "-m", "graphspec", *words]
    done = subprocess.run(command, env=environment, text=True, check=True, cwd=ROOT, stdout=subprocess.PIPE, **more)
    return str(done.stdout)


def evaluated(folder: Path, *more: str) -> Numbers:
    """What a run's best checkpoint does on the held-out data."""
    found: Numbers = json.loads(graphspec("eval", str(folder), *more, "--json"))
    return {name: value for name, value in found.items() if name != "step"}


def last(folder: Path) -> Numbers:
    """The same of the last checkpoint: what a run ends with, not the best of many looks at the held-out part."""
    return evaluated(folder, "--last")


def by_length(folder: Path) -> Numbers:
    return evaluated(folder, "--by-length")


@dataclass(frozen=True)
class Job:
    """A run: its spec, the words of its command (``TEXT`` stands for the corpus of ``--text``), its seed, and how its numbers are read."""

    name: str
    spec: str
    words: str
    seed: int
    read: Callable[[Path], Numbers]

    @property
    def command(self) -> str:
        return f"graphspec run specs/{self.spec}.spec {self.words.replace('TEXT', 'tinyshakespeare.txt')} --seed {self.seed}"

    @property
    def key(self) -> str:
        """A hash of all that its numbers hang on."""
        total = hashlib.sha256(f"{self.words} {self.seed}".encode())
        for path in required(ROOT / "specs" / f"{self.spec}.spec"):
            total.update(path.read_bytes())
        return total.hexdigest()[:16]

    @property
    def folder(self) -> Path:
        return RUNS / self.key / f"{self.name}-{self.seed}"

    @property
    def shown(self) -> str:
        """The run folder as pictures name it."""
        return str(self.folder.relative_to(ROOT))

    def run(self, text: str) -> Numbers:
        words = self.words.replace("TEXT", text).split()
        where = ["--seed", str(self.seed), "--threads", "1", "--out", str(self.folder), "--resume"]
        graphspec("run", f"specs/{self.spec}.spec", *words, *where)
        environment = json.loads((self.folder / "run.json").read_text())["environment"]
        (run,) = json.loads(graphspec("runs", "--json", str(self.folder)))
        about = {"command": self.command, "seed": self.seed, "seconds": round(run["seconds"])}
        return {**about, "machine": environment["machine"], "numpy": environment["numpy"], **self.read(self.folder)}


def required(spec: Path) -> list[Path]:
    """A spec and what it requires, directly or not."""
    found: list[Path] = []
    waiting = [spec]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.append(path)
            waiting += [path.with_name(part.split("'")[0] + ".spec") for part in path.read_text().split("require '")[1:]]
    return sorted(found)


# -- what is run -----------------------------------------------------------------------------------------------------------------

SHAKESPEARE = (
    "one_hot=true n_layers=1 data.path=TEXT data.batch=20 optim.learningRate=4e-3 experiment.schedule=linear "
    "experiment.valid_every=1000 --steps 26000"
)
SEEDS = (1, 2, 3)
JOBS = (
    Job("language", "char_lm", SHAKESPEARE, 1, last),
    *(Job("translate", "translate", "--steps 900", seed, by_length) for seed in SEEDS),
    *(Job("seq2seq", "seq2seq", "--steps 3000", seed, by_length) for seed in SEEDS),
    *(Job("adding-lstm", "adding", "cell=lstm --steps 4000", seed, last) for seed in SEEDS),
    Job("adding-rnn", "adding", "cell=rnn --steps 4000", 1, last),
)


@dataclass(frozen=True)
class Probe:
    """A look at gradients over time: a spec, and the words of its command."""

    spec: str
    words: str

    @property
    def command(self) -> str:
        return f"graphspec probe {self.spec} {self.words}"

    @property
    def key(self) -> str:
        return hashlib.sha256(f"{self.command} {(ROOT / self.spec).read_text()}".encode()).hexdigest()[:16]

    def run(self) -> Numbers:
        """For each scan: log10 of the largest norm, and of the bound, after 1, 10 and 100 steps; whether the bound holds at every step."""
        scans = json.loads(graphspec("probe", self.spec, *shlex.split(self.words), "--json"))["scans"]
        return {"command": self.command, "scans": [self._read(scan["label"], **scan["log10"]) for scan in scans]}

    @staticmethod
    def _read(label: str, largest: Sequence[float], bound: Sequence[float] | None, **_: Any) -> Numbers:
        some = [largest[n - 1] for n in AFTER]
        if bound is None or None in bound:
            return {"label": label, "norms": some}
        holds = all(norm is None or norm <= limit + 1e-9 for norm, limit in zip(largest, bound, strict=True))
        return {"label": label, "norms": some, "bounds": [bound[n - 1] for n in AFTER], "holds": holds}


AFTER = (1, 10, 100)
"""Steps after which norms are shown."""

PROBES = (
    Probe("specs/columns.spec", "--entry 'rnn(8, 16)' --sigma .5,.95,1,1.5"),
    Probe("docs/results/linear_rnn.spec", "--radius .9,1.2"),
    Probe("specs/columns.spec", "--entry 'lstm(8, 16)'"),
)


@dataclass(frozen=True)
class Row:
    """A line of the page: a system, the job that it comes from, which number, how it is written, the bar, and the paper's number."""

    system: str
    job: str
    number: str
    form: str
    bar: str
    paper: str


ROWS = (
    Row("RNN, adding problem, T = 100: mean squared error", "adding-rnn", "valid_loss", ".4f", "stays near .167", "always to say 1: .167"),
    Row("LSTM, adding problem, T = 100: mean squared error", "adding-lstm", "valid_loss", ".4f", "below .01",
        "Hochreiter and Schmidhuber (1997): solved"),
    Row("Language model, 1x128 on one-hot input: bits per character", "language", "bits_per_char", ".3f", "at most 2.41",
        "char-rnn (Karpathy, 2015); a static 5-gram has 2.51 (Witten-Bell) or 2.31 (Kneser-Ney)"),
    Row("Translation, no attention: exactly right", "seq2seq", "exact", ".1%", "well below the next row",
        "Sutskever et al. (2014): BLEU 30.6"),
    Row("Translation with alignment: exactly right", "translate", "exact", ".1%", "100 % of 1,000",
        "Bahdanau et al. (2014): BLEU 26.8, without alignment 17.8"),
)  # fmt: skip


# -- records and pictures --------------------------------------------------------------------------------------------------------


def known(name: str) -> dict[str, Numbers]:
    """The numbers on record of a job, by key."""
    record = RECORDS / f"{name}.json"
    return json.loads(record.read_text()) if record.is_file() else {}


def keep(job: Job, numbers: Numbers) -> None:
    """Put numbers on record; those of a spec or options that are no more go."""
    RECORDS.mkdir(exist_ok=True)
    current = {other.key for other in JOBS if other.name == job.name}
    found = {key: value for key, value in known(job.name).items() if key in current}
    found[job.key] = numbers
    (RECORDS / f"{job.name}.json").write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


def keep_probes() -> None:
    """The records of all probes; those that are there already are not made anew."""
    before = known("probe")
    found = {probe.key: before[probe.key] if probe.key in before else probe.run() for probe in PROBES}
    (RECORDS / "probe.json").write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


def jobs(name: str) -> list[Job]:
    return [job for job in JOBS if job.name == name]


def draw() -> None:
    """The pictures whose runs are there."""
    there = {job.name: job for job in reversed(JOBS) if job.folder.is_dir()}  # of several seeds the first
    if "language" in there:
        graphspec("plot", there["language"].shown, "--title", "language model", "--out", str(RECORDS / "language.svg"))
    if {"adding-lstm", "adding-rnn"} <= there.keys():
        folders = [there[name].shown for name in ("adding-rnn", "adding-lstm")]
        graphspec("plot", *folders, "--title", "adding problem, T = 100", "--out", str(RECORDS / "adding.svg"))
        graphspec("probe", *folders, "--title", "after training on the adding problem", "--out", str(RECORDS / "probe.svg"))
    if "translate" in there:
        source = "sixty-five thousand, four hundred and twenty-one"
        picture = str(RECORDS / "alignment.svg")
        graphspec("sample", str(there["translate"].folder), "--source", source, "--alignment", picture, stderr=subprocess.DEVNULL)
    if {"translate", "seq2seq"} <= there.keys():
        from graphspec.plots import accuracy_by_length, save

        lines = {}
        for name, title in (("translate", "with alignment"), ("seq2seq", "without")):
            counts: dict[int, tuple[int, int]] = {}
            for numbers in known(name).values():
                for length, (right, total) in numbers["by_length"].items():
                    before = counts.get(int(length) // 5 * 5, (0, 0))
                    counts[int(length) // 5 * 5] = before[0] + right, before[1] + total
            lines[title] = counts
        save(accuracy_by_length(lines, length="length of the source, characters (in fives)"), RECORDS / "by_length.svg")


# -- the page --------------------------------------------------------------------------------------------------------------------

HEAD = """\
# Results

What `make results` wrote: it runs what has changed (a spec, its options, a seed) and takes the rest from the records in
[results/](results). The commands are those below, with `--threads 1` and a run folder; times are of whole runs on one core, validation
included, on the machine that a record names, beside other work. A row of several numbers has one for each seed. All of them were run
in C; NumPy (`GRAPHSPEC_CPU=numpy`) adds up in another order and takes longer.

| system | measured | the bar | minutes | paper |
|---|---|---|---|---|
"""


GRADIENTS = """
## Gradients over time

The largest of the norms of ds(t)/ds(k) over four sequences, exactly and in float64, after 1, 10 and 100 steps, and the
lecture's bound (sigma_max(W) gamma)^(t-k). The lecture: at sigma_max .95 under 5.9e-3 after 100 steps; a linear network of spectral
radius .9 dies (6.6e-5), one of 1.2 explodes (1.4e8). The bound is loose: above 1 it does not say that gradients explode.

| what | norms | bounds | the bound holds |
|---|---|---|---|
"""


def page() -> str:
    text = HEAD
    for row in ROWS:
        found = [known(job.name)[job.key] for job in jobs(row.job) if job.key in known(job.name)]
        measured = ", ".join(format(numbers[row.number], row.form) for numbers in found) or "not run"
        minutes = ", ".join(f"{numbers['seconds'] / 60:.1f}" for numbers in found)
        text += f"| {row.system} | {measured} | {row.bar} | {minutes} | {row.paper} |\n"
    text += GRADIENTS
    for probe in PROBES:
        for scan in known("probe").get(probe.key, {"scans": []})["scans"]:
            bounds, holds = scan.get("bounds"), {True: "at every step", False: "NO", None: "none is claimed"}[scan.get("holds")]
            text += f"| {scan['label']} | {powers(scan['norms'])} | {powers(bounds) if bounds else ''} | {holds} |\n"
    text += "\n## Commands\n\n```\n"
    text += "".join(f"{job.command}\n" for job in JOBS if job.seed == 1) + "".join(f"{probe.command}\n" for probe in PROBES)
    return text + "```\n\n" + (RECORDS / "notes.md").read_text()


def powers(logarithms: Sequence[float | None]) -> str:
    """Numbers by their logarithms."""
    return ", ".join("0" if n is None else f"{10.0**n:.2g}" for n in logarithms)


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--text", help="tinyshakespeare.txt, the corpus of char-rnn")
    parser.add_argument("--only", help="jobs of this name alone")
    parser.add_argument("--list", action="store_true", help="say what would run")
    args = parser.parse_args(given)
    for job in JOBS:
        if (args.only and args.only != job.name) or job.key in known(job.name):
            continue
        left_out = "TEXT" in job.words and not args.text
        sys.stderr.write(f"{job.command}{'   (left out: it needs --text)' if left_out else ''}\n")
        if not left_out and not args.list:
            keep(job, job.run(str(Path(args.text).resolve()) if args.text else ""))
    if not args.list:
        keep_probes()
        draw()
        PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
