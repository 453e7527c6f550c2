"""How fast a step is, of training or of generating: against the bound of the machine, and beside the same step in other frameworks.

Every contender runs in a process of its own (:mod:`graphspec.bench.worker`), so that threads, memory and settings are its own.  They are
given the same weights and the same batch, must find the same before the clock starts, and take turns.
"""

from graphspec.bench.cases import CELLS, CONFIGS, Case, StepCase, Work, make_case, make_steps
from graphspec.bench.contest import Result, Settings, Timing, figures, measure
from graphspec.bench.machine import Machine, measure_machine
from graphspec.bench.peers import PEERS, STEP_PEERS, Peer, peers_named

__all__ = [
    "CELLS", "CONFIGS", "PEERS", "STEP_PEERS", "Case", "Machine", "Peer", "Result", "Settings", "StepCase", "Timing", "Work", "figures",
    "make_case", "make_steps", "measure", "measure_machine", "peers_named",
]  # fmt: skip
