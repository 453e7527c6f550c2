"""Other frameworks' training steps of the same models, and how their weights follow from the spec's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from graphspec.bench.cases import CELLS, GATES, Case
from graphspec.errors import fail
from graphspec.suggest import did_you_mean

Array = np.ndarray[Any, Any]

LIBRARY = ("lstm", "gru")
"""Cells that other frameworks have."""
LM = ("lstm", "gru", "lnlstm")
"""Cells of language models."""


@dataclass(frozen=True)
class Peer:
    """A way to write the step in another framework: its ``name`` begins with its package, ``cells`` can be written so, ``needs`` are
    further packages."""

    name: str
    doc: str
    cells: Sequence[str] = CELLS
    needs: Sequence[str] = ()

    @property
    def packages(self) -> Sequence[str]:
        return (self.name.split()[0], *self.needs)


PEERS: Mapping[str, Sequence[Peer]] = {
    "torch": (
        Peer("torch nn", "nn.LSTM or nn.GRU, as they come", LIBRARY),
        Peer("torch eager", "a cell with a product for each gate and input, in a Python loop"),
    ),
    "torch-compile": (Peer("torch compiled", "the same through torch.compile; compiling takes minutes"),),
    "torch-tuned": (
        Peer("torch nn tuned", "as torch nn, in an environment that is tuned (TUNED), as the next ones are", LIBRARY),
        Peer("torch fused tuned", "gates side by side, inputs' products before the loop, weights' gradients after it, by hand", ("lstm",)),
    ),
    "jax": (
        Peer("jax scan", "the same in lax.scan, jitted"),
        Peer("jax fused", "gates side by side and products of the inputs before the scan, by hand"),
    ),
    "jax-tuned": (
        Peer("jax tuned", "jax fused with a gradient of the scan by hand, weights' gradients in one product after it", LM),
    ),
}
"""By the word that asks for them."""

STEP_PEERS: Mapping[str, Sequence[Peer]] = {
    "torch": (Peer("torch cell", "nn.LSTMCell or nn.GRUCell", LIBRARY), Peer("torch nn", "nn.LSTM or nn.GRU, of one step", LIBRARY)),
    "jax": (
        Peer("jax step", "a step with gates side by side, jitted", LIBRARY),
        Peer("jax loop", "the same in lax.fori_loop, all steps in one call", LIBRARY),
    ),
    "onnx": (Peer("onnxruntime step", "the operator LSTM or GRU of one step, through io-binding", LIBRARY, ("onnx",)),),
}
"""Of a layer alone, a step at a time.  They read inputs that lie ready, and need not choose symbols as graphspec does."""


def peers_named(words: Sequence[str], known: Mapping[str, Sequence[Peer]] = PEERS) -> list[Peer]:
    """The peers that words such as ``torch`` and ``jax`` stand for; E0807 for other words."""
    for word in words:
        if word not in known:
            helps = did_you_mean(word, known) or [f"there are {', '.join(known)}"]
            raise fail("E0807", f"--peers: there is no peer {word!r}", helps=helps)
    return [peer for word in dict.fromkeys(words) for peer in known[word]]


MALLOC = {"mmap_max": 0, "trim_threshold": 1 << 36, "top_pad": 1 << 26, "hugetlb": 1}
TUNED = {
    "GLIBC_TUNABLES": ":".join(f"glibc.malloc.{name}={n}" for name, n in MALLOC.items()),
    "THP_MEM_ALLOC_ENABLE": "1", "OMP_PROC_BIND": "true", "XLA_FLAGS": "--xla_cpu_prefer_vector_width=512",
}  # fmt: skip
"""The environment of peers that are tuned: freed memory is kept (glibc gives large blocks back to the system, which clears them for each
step anew) and lies in huge pages, threads stay on their cores, XLA uses all of AVX-512."""


class Runner(Protocol):
    """A step of another framework."""

    def measured(self) -> tuple[float, float]:
        """A training step's loss and the norm of its gradient, before any update; of a layer alone the sum and the norm of its state after
        the first steps."""

    def steps(self, count: int) -> None:
        """So many steps, done when this returns."""


@dataclass(frozen=True)
class Layer:
    """A column's weights by gate: ``x`` and ``h`` [units, units], their biases ``bx`` and ``bh`` [units], ``gain`` of each normalised
    sum [units] (layer norm only), ``c`` [units, units] of the context (decoder only)."""

    x: Sequence[Array]
    h: Sequence[Array]
    bx: Sequence[Array]
    bh: Sequence[Array]
    gain: Sequence[Array] = ()
    c: Sequence[Array] = ()


def layers(case: Case, weights: Mapping[str, Array]) -> list[Layer]:
    """The layers of a case, gates in the order of the spec's text: in, forget, cell, out; for the GRU reset, update, new (which is that
    of PyTorch)."""
    gates = range(1, GATES[case.cell] + 1)
    if case.cell == "decoder":
        stems = [f"make_step[1].weighted_sum[{gate}]." for gate in gates]
        fields = ("x_to_h.weight", "h_to_h.weight", "c_to_h.weight", "x_to_h.bias")
        x, h, c, bx = ([weights[f"{stem}{field}"] for stem in stems] for field in fields)
        return [Layer(x, h, bx, (), (), c)]
    found = []
    for number in range(1, case.sizes["L"] + 1):
        top = f"{case.stem}cells.{case.cell}[{number}]."
        if case.cell == "gru":
            pairs = [(f"{top}weighted_sum[{gate}].x_to_h", f"{top}weighted_sum[{gate}].h_to_h") for gate in (1, 2)]
            pairs.append((f"{top}x_to_new", f"{top}h_to_new"))
        else:
            top += "memory_cell[1]."
            pairs = [(f"{top}weighted_sum[{gate}].x_to_h", f"{top}weighted_sum[{gate}].h_to_h") for gate in gates]
        gain = [weights[f"{top}normalised[{gate}].gain.weight"] for gate in range(1, 6)] if case.cell == "lnlstm" else []
        x, h = ([weights[f"{pair[side]}.weight"] for pair in pairs] for side in (0, 1))
        bx, bh = ([weights[f"{pair[side]}.bias"] for pair in pairs] for side in (0, 1))
        found.append(Layer(x, h, bx, bh, gain))
    return found


def ends(case: Case, weights: Mapping[str, Array]) -> dict[str, Array]:
    """What stands around the layers, by short names: ``embedding``, ``decoder_w``, ``decoder_b``; for the decoder also ``states``,
    ``key_w``, ``key_b``, ``query_w``, ``query_b``, ``score_w``, ``score_b``."""
    step = "make_step[1]."
    found = {"embedding": f"{step}embedding.weight", "decoder_w": f"{step}decoder.weight", "decoder_b": f"{step}decoder.bias"}
    if case.cell == "decoder":
        found["states"] = "states.weight"
        stems = {"key": "state_to_key", "query": f"{step}attend[1].h_to_query", "score": f"{step}attend[1].match_to_score"}
        found |= {f"{name}_{end[0]}": f"{stem}.{end}" for name, stem in stems.items() for end in ("weight", "bias")}
    return {name: weights[place] for name, place in found.items()}


def sum_and_norm(leaves: Iterable[Any]) -> tuple[float, float]:
    """The sum of all numbers of a state, and their norm."""
    flat = np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in leaves])
    return float(flat.sum()), float(np.sqrt((flat**2).sum()))


CLIP = {"decoder": 1.0}
"""The norm to which the specs clip; 5 for all others."""

LEARNING_RATE = 2e-3
EPSILON = 1e-5
"""Of layer norm, in the spec."""


def clip_norm(case: Case) -> float:
    return CLIP.get(case.cell, 5.0)
