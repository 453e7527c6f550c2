"""Writes docs/performance.md: every number in it came of `graphspec bench`, run here unless the same command is on record.

    python docs/performance.py [--device cpu] [--only char] [--again] [--list]

A job is one or several commands; what they found is kept in docs/performance/<job>.json, pictures lie beside.  ``--again`` runs what is on
record too: numbers age with the code, which no hash of a command knows.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphspec.bench import figures
from graphspec_runtime.threads import cores

ROOT = Path(__file__).parent.parent
RECORDS = ROOT / "docs" / "performance"
PAGE = ROOT / "docs" / "performance.md"

QUIET = 0.5
"""The load of the machine below which other processes do not matter."""

Record = dict[str, Any]
Row = Mapping[str, Any]


# -- what is run -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """Commands whose numbers stand together, as a kind of table; ``title`` and ``text`` stand above them."""

    name: str
    title: str
    text: str
    words: Sequence[str]
    kind: str = "training"

    def commands(self, device: str) -> list[str]:
        return [f"graphspec bench {words} --device {device}" for words in self.words]

    @property
    def file(self) -> Path:
        return RECORDS / f"{self.name}.json"

    def _kept(self) -> dict[str, Any]:
        empty: dict[str, Any] = {"commands": [], "records": []}
        return json.loads(self.file.read_text()) if self.file.is_file() else empty

    def records(self) -> list[Record]:
        """What is on record, a record for each command; empty where there is none."""
        return list(self._kept()["records"])

    def run_so(self) -> list[str]:
        """The commands that made the records."""
        return list(self._kept()["commands"])

    def run(self, device: str) -> None:
        found = []
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder, "record.json")
            for command in self.commands(device):
                subprocess.run([sys.executable, "-m", *shlex.split(command), "--out", str(out)], check=True, cwd=ROOT)
                found.append(json.loads(out.read_text()))
        RECORDS.mkdir(exist_ok=True)
        self.file.write_text(json.dumps({"commands": self.commands(device), "records": found}, indent=1) + "\n")


THREADS = cores()
PEERS = "--peers torch,jax"

CELLS = "--cell lstm,gru,lnlstm"

TABLES = (
    *(Job(config, f"{config}, one thread", "", [f"--config {config} {CELLS} {PEERS}"]) for config in ("char", "medium", "mid")),
    Job("large", "large, one thread", "", [f"--config large {PEERS} --repeats 3"]),
    Job("decoder", "Decoder with alignment, one thread", "", [f"--cell decoder {PEERS}"]),
    Job("update", "With clipping and Adam, one thread", "", [f"--config char,medium --update {PEERS}"]),
    Job("bf16", "Products in bf16, one thread",
        "The bound is that of float32; PyTorch's is under bf16 autocast. With AMX its tiles do the work; an AMD EPYC (Zen 4, 2026-11-26), "
        "which has AVX-512 BF16, needed 323 and 688 ms for medium and mid, nn.LSTM 570 and 1,333.",
        ["--config char,medium,mid,large --precision bf16 --peers torch"]),
    Job("threads", f"{THREADS} threads", "Time, not processor time.", [f"--config char,medium,mid --threads {THREADS} {PEERS}"]),
    Job("tuned", "Peers that an expert tuned, one thread",
        "What is done to them stands in [cli.md](cli.md#bench).", [f"--config char,medium,mid {CELLS} --peers torch-tuned,jax-tuned"]),
    Job("tuned-threads", f"Peers that an expert tuned, {THREADS} threads", "Time, not processor time.",
        [f"--config char,medium --threads {THREADS} --peers torch-tuned,jax-tuned"]),
    Job("tables", "With and without the pass tables, one thread",
        "The pass does on a small table what is done to the rows looked up in it: the products of an embedding, once for each symbol.",
        [f"--config char,mid {CELLS} --without tables", "--cell decoder --without tables"]),
    Job("step", "A step in the loop of sample, one thread",
        "A layer's next state for one sequence, in microseconds; in brackets how many times graphspec's. graphspec also looks up what the "
        "step reads and chooses a symbol; the others' inputs lie ready. Of V128, a character model's table, the inputs' product is done on "
        "the table, once a call.",
        ["--step --cell lstm,gru --peers torch,jax,onnx", "--step --cell lstm,gru --at H=128,V=128 --without tables --peers jax,onnx"],
        "step"),
    Job("memory", "Memory over 10,000 steps",
        "What the process has in memory after so many steps, in MB.", ["--config char --update --repeats 1 --memory 10000"], "memory"),
)  # fmt: skip

BASE = "T=30,B=32,H=128,V=65,L=2"
SCALES = {
    "T": ("steps", (10, 25, 50, 100, 200)), "B": ("sequences a batch", (1, 8, 16, 32, 64, 128)), "H": ("units", (64, 128, 256, 512, 1024)),
    "L": ("layers", (1, 2, 3, 4, 6)),
}  # fmt: skip


def at(changed: str, n: int) -> str:
    return ",".join(f"{changed}={n}" if size.startswith(changed) else size for size in BASE.split(","))


SCALING = (
    *(
        Job(f"scaling-{name}", label, "", [f"--at {at(name, n)} --peers torch --repeats 3" for n in values])
        for name, (label, values) in SCALES.items()
    ),
    Job("scaling-threads", "threads", "", [f"--at {BASE} --threads {n} --peers torch --repeats 3" for n in range(1, THREADS + 1)]),
)


# -- the page --------------------------------------------------------------------------------------------------------------------

HEAD = """\
# Performance

What `python docs/performance.py` wrote, from the records in [performance/](performance): how long a training step takes (forward and
backward) of models that are written as people write them, a Linear for each gate and input (`specs/bench`). [cli.md](cli.md#bench) says
what the bound is and how contenders are compared: the same weights, the same batch, the same loss and gradient, turn by turn, each in a
process of its own. Peers are as they come, no setting is tuned, unless it is said. Times are medians, in milliseconds; in brackets how
many times the bound (graphspec), or how many times graphspec's (peers: more than 1 is slower).

"""


def page() -> str:
    text = HEAD
    for job in TABLES:
        records = job.records()
        if records:
            text += f"## {job.title}\n\n{provenance(records[0])} {job.text}".rstrip() + "\n\n" + KINDS[job.kind](records) + "\n"
    drawn = [job for job in SCALING if job.records()]
    if drawn:
        first = drawn[0].records()[0]
        text += f"## Scaling\n\nAn LSTM of {BASE.replace('=', '').replace(',', ' ')}, one size changed at a time. {provenance(first)}\n\n"
        text += "".join(f"![{job.title}](performance/{job.name}.svg)\n" for job in drawn) + "\n"
    text += "## Commands\n\n```\n"
    text += "".join(f"{command}\n" for job in (*TABLES, *SCALING) for command in job.run_so())
    return text + "```\n"


def rows_of(records: Iterable[Record]) -> list[Row]:
    return [row for record in records for row in record["results"]]


def provenance(record: Record) -> str:
    """Day, machine and versions in a sentence or two."""
    machine, environment = record["machine"], record["environment"]
    versions = {name: number for row in record["results"] for name, number in row["versions"].items()}
    told = ", ".join(f"{name} {number}" for name, number in {"graphspec": environment["graphspec"], **versions}.items())
    threads = "1 thread" if record["threads"] == 1 else f"{machine['threads']} threads"
    what = {"cpu": "which processor time leaves out, but not what they did to the caches", "wall": "so these times say little"}
    busy = "" if record["load"] < QUIET else f" Other processes were at work (load {record['load']:.1f}), {what[record['clock']]}."
    return (
        f"{record['date'][:10]}, {machine['processor']}, {threads}, device {record['device']}: {machine['peak'] / 1e9:.0f} GFLOP/s, memory "
        f"{machine['dram'] / 1e9:.0f} GB/s, cache {machine['cache'] / 1e9:.0f} GB/s. Python {environment['python']}, {told}; "
        f"{environment['blas']}.{busy}"
    )


def contenders(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["contender"] for row in rows))


def by_model(rows: Sequence[Row]) -> dict[str, dict[str, Row]]:
    """Rows by model and contender."""
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        found.setdefault(row["model"], {})[row["contender"]] = row
    return found


def headed(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Lines under the heads of their columns; what each begins with has none."""
    return f"| | {' | '.join(head)} |\n{'|---' * (len(head) + 1)}|\n" + "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def step_table(records: Sequence[Record]) -> str:
    """A line for each layer, a column for each contender; then how fast graphspec reads its weights."""
    rows = rows_of(records)
    names, lines = contenders(rows), []
    for model, by in by_model(rows).items():
        ours = by["graphspec"]
        times = [f"{figures(1e3 * by[name]['ms'])} ({by[name]['ratio']:.2f})" if name in by else "" for name in names]
        lines.append([model, *times, figures(ours["bytes"] / ours["ms"] / 1e6)])
    return headed([*names, "weights, GB/s"], lines)


def memory_table(records: Sequence[Record]) -> str:
    """A line for each model and contender, a column for each tenth of the steps."""
    rows, steps = rows_of(records), records[0]["memory_steps"]
    lines = [[f"{row['model']}, {row['contender']}", *(f"{n / 1e6:.1f}" for n in row["resident_bytes"])] for row in rows]
    parts = len(rows[0]["resident_bytes"])
    return headed([f"{steps // parts * (i + 1):,}" for i in range(parts)], lines)


def table(records: Sequence[Record]) -> str:
    """A line for each model, a column for each contender; then graphspec's speed, and memory and compile times of all, in their order."""
    rows = rows_of(records)
    names, lines = contenders(rows), []
    for model, by in by_model(rows).items():
        ours = by["graphspec"]
        memory = " / ".join(f"{by[name]['peak_bytes'] / 1e6:.0f}" if name in by else "-" for name in names)
        first = " / ".join(f"{by[name]['compile_s']:.1f}" if name in by else "-" for name in names)
        speed = f"{ours['gflops']:.0f} ({ours['of_peak']:.0%} of peak)"
        times = [_time(by.get(name)) for name in names]
        lines.append([model, figures(ours["bound_ms"]), *times, f"{ours['symbols_per_second']:,.0f}", speed, memory, first])
    return headed(["bound", *names, "tokens/s", "GFLOP/s", "MB", "first step, s"], lines)


KINDS: Mapping[str, Callable[[Sequence[Record]], str]] = {"training": table, "step": step_table, "memory": memory_table}


def _time(row: Row | None) -> str:
    if row is None:
        return ""
    times = row["to_bound"] if row["contender"] == "graphspec" else row["ratio"]
    return f"{figures(row['ms'])} ({times:.2f})"


# -- pictures --------------------------------------------------------------------------------------------------------------------


def draw(job: Job) -> None:
    """Milliseconds a step of each contender, and the bound, over what the job changes."""
    from graphspec.plots.style import COLOURS, figure, numbered, save, styled

    size = job.name.removeprefix("scaling-")
    records = job.records()
    xs = [record["threads"] if size == "threads" else record["results"][0]["sizes"][size] for record in records]
    lines = {
        name: [next(row["ms"] for row in record["results"] if row["contender"] == name) for record in records]
        for name in [row["contender"] for row in records[0]["results"]]
    }
    with styled():
        picture = figure(6.0, 3.6)
        axes = picture.add_subplot()
        for colour, (name, values) in zip(COLOURS, lines.items(), strict=False):
            axes.plot(xs, values, marker="o", color=colour, label=name)
        axes.plot(xs, [record["results"][0]["bound_ms"] for record in records], color="#57606a", linestyle="dashed", label="bound")
        if size != "threads":
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
        axes.set_xticks(xs)
        for axis in (axes.xaxis, axes.yaxis):
            numbered(axis)
        axes.set_xlabel(job.title)
        axes.set_ylabel("ms a step")
        picture.legend(loc="outside lower left", ncols=4)
    save(picture, RECORDS / f"{job.name}.svg")


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu", help="graphspec's (default: cpu)")
    parser.add_argument("--only", action="append", help="jobs of these names alone")
    parser.add_argument("--again", action="store_true", help="run what is on record too")
    parser.add_argument("--list", action="store_true", help="say what would run")
    args = parser.parse_args(given)
    for job in (*TABLES, *SCALING):
        if (args.only and job.name not in args.only) or (not args.again and job.run_so() == job.commands(args.device)):
            continue
        sys.stderr.write("".join(f"{command}\n" for command in job.commands(args.device)))
        if not args.list:
            job.run(args.device)
    if not args.list:
        for job in SCALING:
            if job.records():
                draw(job)
        PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
