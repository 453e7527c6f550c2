"""A process that does training steps when it is told to: ``python -m graphspec.bench.worker NAME``, pickled dicts on both pipes.

Asked ``{"do": "prepare", ...}`` it answers with ``found``, the two numbers that contenders must agree on, and the ``seconds`` from the
spec to there; ``{"do": "steps", "count": n}``: ``wall`` and ``cpu`` seconds of n steps, ``resident`` bytes after them; ``{"do": "end"}``:
``peak`` bytes of memory, and it ends.
What goes wrong is answered as ``{"errors": [Diagnostic, ...]}``.
"""

from __future__ import annotations

import gc
import os
import pickle
import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from graphspec.bench.cases import StepCase
from graphspec.errors import SpecError, error
from graphspec.tensorfile import read_tensors, write_tensors

Message = dict[str, Any]
STREAM = "stream:"
"""Begins the names of what a batch holds, in the file that contenders share."""


class Ours:
    """graphspec's own step; with ``share`` it writes the weights and the batch that the others are to take."""

    def __init__(self, name: str) -> None:
        import numpy as np

        from graphspec.bench import sampled, step  # all that has to be loaded before a clock starts

        self._step, self._sampled, self.versions = step, sampled, {"numpy": np.__version__}
        self.steps: Callable[[int], None] = lambda count: None

    def prepare(self, asked: Message) -> Message:
        case = asked["case"]
        streams = case.streams() if case else None
        began = time.perf_counter()
        compiled: Any
        if isinstance(case, StepCase):
            compiled = self._sampled.SampledStep(asked["spec"], asked["options"], case.symbols, **asked["settings"])
        else:
            compiled = self._step.CompiledStep(asked["spec"], asked["options"], streams, **asked["settings"])
        seconds = time.perf_counter() - began
        if asked["share"]:  # before a step that may change the weights
            weights, streams = compiled.shared() if isinstance(case, StepCase) else (compiled.named(), streams or {})
            given = {f"{STREAM}{name}": array for name, array in streams.items()}
            write_tensors(Path(asked["share"]), {**weights, **given}, {"streams": list(streams)})
        began = time.perf_counter()
        found = compiled.measured()
        seconds += time.perf_counter() - began
        self.steps = compiled.steps
        about = {"symbols": case.symbols, "work": case.work} if case else {"symbols": compiled.symbols, "work": compiled.work()}
        return {"found": found, "seconds": seconds, "versions": self.versions, **about}


PEERS = {
    "torch": ("graphspec.bench.torch_peers", "TorchRunner", "TorchSteps"), "jax": ("graphspec.bench.jax_peers", "JaxRunner", "JaxSteps"),
    "onnxruntime": ("graphspec.bench.onnx_peers", "", "OnnxSteps"),
}  # fmt: skip
"""By package, which is how a peer's name begins: where its steps are written, and what makes those of training and of a layer alone."""


class Theirs:
    """The step of a peer, with the weights and the batch that are in a file."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.steps: Callable[[int], None] = lambda count: None
        package = name.split()[0]
        place, *self._kinds = PEERS[package]
        self._module = import_module(place)
        self.versions = {package: str(import_module(package).__version__)}

    def prepare(self, asked: Message) -> Message:
        tensors, header = read_tensors(Path(asked["share"]))
        streams = {name: tensors.pop(f"{STREAM}{name}") for name in header["streams"]}
        runner = getattr(self._module, self._kinds[isinstance(asked["case"], StepCase)])
        began = time.perf_counter()
        ready = runner(self.name, asked["case"], tensors, streams, **asked["settings"])
        found = ready.measured()
        self.steps = ready.steps
        return {"found": found, "seconds": time.perf_counter() - began, "versions": self.versions}


def forget_peak() -> None:
    """Have the system measure the peak from here on, where it can: of steps, not of how weights were drawn, compared and handed over."""
    gc.collect()
    with suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def peak_bytes() -> int:
    """The most memory that this process had (``ru_maxrss`` would be the parent's where that was larger)."""
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) * 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def resident_bytes() -> int:
    """The memory that this process has now; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


def timed(work: Callable[[int], None], count: int) -> Message:
    cpu, wall = time.process_time(), time.perf_counter()
    work(count)
    spent = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    return {**spent, "resident": resident_bytes()}


def serve(name: str, asking: BinaryIO, answering: BinaryIO) -> None:
    """Answer until the end."""
    contender: Any = None
    asked: Message = {"do": ""}
    while asked["do"] != "end":
        try:
            asked = pickle.load(asking)
        except EOFError:  # whoever asked is gone
            return
        answer: Message
        try:
            if asked["do"] == "prepare":
                contender = (Ours if name.startswith("graphspec") else Theirs)(name)
                answer = contender.prepare(asked)
                forget_peak()
            elif asked["do"] == "steps":
                answer = timed(contender.steps, asked["count"])
            else:
                answer = {"peak": peak_bytes()}
        except SpecError as failure:
            answer = {"errors": failure.diagnostics}
        except MemoryError:
            answer = {"errors": [error("E0702", f"not enough memory for {name}")]}
        except Exception as failure:  # another framework's, which may be anything
            answer = {"errors": [error("E0841", f"{name} failed: {type(failure).__name__}: {failure}")]}
        pickle.dump(answer, answering)
        answering.flush()


def main() -> None:
    answering = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints goes to stderr, not among the answers
    serve(sys.argv[1], sys.stdin.buffer, answering)


if __name__ == "__main__":
    main()
