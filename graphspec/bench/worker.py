"""A process that does training steps when it is told to: ``python -m graphspec.bench.worker NAME``, pickled dicts on both pipes.

Asked ``{"do": "prepare", ...}`` it answers with the step's ``loss``, the ``norm`` of its gradient and the ``seconds`` from the spec to
there; ``{"do": "steps", "count": n}``: ``wall`` and ``cpu`` seconds of n steps; ``{"do": "end"}``: ``peak`` bytes of memory, and it ends.
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
from pathlib import Path
from typing import Any, BinaryIO

from graphspec.bench.cases import Case
from graphspec.errors import SpecError, error
from graphspec.tensorfile import read_tensors, write_tensors

Message = dict[str, Any]
STREAM = "stream:"
"""Begins the names of what a batch holds, in the file that contenders share."""


class Ours:
    """graphspec's own step; with ``share`` it writes the weights and the batch that the others are to take."""

    def __init__(self, name: str) -> None:
        import numpy as np

        from graphspec.bench import step  # all that has to be loaded before a clock starts

        self._step, self.versions = step, {"numpy": np.__version__}
        self.steps: Callable[[int], None] = lambda count: None

    def prepare(self, asked: Message) -> Message:
        case = Case(**asked["case"]) if asked["case"] else None
        streams = case.streams() if case else None
        began = time.perf_counter()
        compiled = self._step.CompiledStep(asked["spec"], asked["options"], streams, **asked["settings"])
        seconds = time.perf_counter() - began
        if asked["share"]:  # before a step that may change the weights
            given = {f"{STREAM}{name}": array for name, array in (streams or {}).items()}
            write_tensors(Path(asked["share"]), {**compiled.named(), **given}, {"streams": list(streams or {})})
        began = time.perf_counter()
        loss, norm = compiled.measured()
        seconds += time.perf_counter() - began
        self.steps = compiled.steps
        about = {"symbols": compiled.symbols, "flops": None if case else compiled.flops()}
        return {"loss": loss, "norm": norm, "seconds": seconds, "versions": self.versions, **about}


class Theirs:
    """The step of a peer, with the weights and the batch that are in a file."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.steps: Callable[[int], None] = lambda count: None
        if name.startswith("torch"):
            import torch

            from graphspec.bench.torch_peers import TorchRunner

            self._runner: Any = TorchRunner
            self.versions = {"torch": str(torch.__version__)}
        else:
            import jax

            from graphspec.bench.jax_peers import JaxRunner

            self._runner = JaxRunner
            self.versions = {"jax": jax.__version__}

    def prepare(self, asked: Message) -> Message:
        tensors, header = read_tensors(Path(asked["share"]))
        streams = {name: tensors.pop(f"{STREAM}{name}") for name in header["streams"]}
        settings = {name: asked["settings"][name] for name in ("threads", "update", "precision")}
        began = time.perf_counter()
        runner = self._runner(self.name, Case(**asked["case"]), tensors, streams, **settings)
        loss, norm = runner.measured()
        self.steps = runner.steps
        return {"loss": loss, "norm": norm, "seconds": time.perf_counter() - began, "versions": self.versions}


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


def timed(work: Callable[[int], None], count: int) -> Message:
    cpu, wall = time.process_time(), time.perf_counter()
    work(count)
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


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
                contender = (Ours if name == "graphspec" else Theirs)(name)
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
