"""The benchmark's models in JAX: in ``lax.scan`` as its users write them, and with what a patient one does by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from graphspec.bench.cases import GATES, Case
from graphspec.bench.peers import EPSILON, LEARNING_RATE, clip_norm, ends, layers, sum_and_norm

Array = np.ndarray[Any, Any]
Tensor = Any
Weights = Any
Step = Callable[[Weights, Any, Tensor], tuple[Any, Tensor]]
"""Of a layer: its weights, its state and what comes in, to the next state and the output."""


class JaxRunner:
    """A step of one of the peers ``jax scan``, ``jax fused``, ``jax tuned``."""

    def __init__(
        self, peer: str, case: Case, weights: Mapping[str, Array], streams: Mapping[str, Array], *, threads: int | None, update: bool,
        precision: str = "float32",
    ) -> None:  # fmt: skip
        """``precision`` changes nothing: on a CPU JAX has one only."""
        fused, by_hand = peer != "jax scan", peer == "jax tuned"
        columns = [joined(vars(layer)) if fused else {k: list(v) for k, v in vars(layer).items()} for layer in layers(case, weights)]
        self.weights = jax.tree.map(jnp.asarray, {"columns": columns, "ends": ends(case, weights)})
        self.batch = [jnp.asarray(array - 1) for array in streams.values()]  # symbols of specs count from 1
        loss = decoder_loss(fused) if case.cell == "decoder" else language_loss(case, fused, by_hand)
        self.gradient = jax.jit(jax.value_and_grad(loss))
        self.moments = (jax.tree.map(jnp.zeros_like, self.weights),) * 2 if update else None
        self.update = jax.jit(lambda *state: adam(self.gradient, clip_norm(case), *state))

    def measured(self) -> tuple[float, float]:
        loss, gradient = self.gradient(self.weights, *self.batch)
        return float(loss), float(np.sqrt(sum((np.asarray(g, np.float64) ** 2).sum() for g in jax.tree.leaves(gradient))))

    def steps(self, count: int) -> None:
        for number in range(count):
            if self.moments is None:
                jax.block_until_ready(self.gradient(self.weights, *self.batch))
            else:
                self.weights, self.moments = jax.block_until_ready(self.update(self.weights, self.moments, number + 1, self.batch))


class JaxSteps:
    """Layers alone, a step at a time: ``jax step`` is called for each, ``jax loop`` goes on by itself."""

    def __init__(self, peer: str, case: Case, weights: Mapping[str, Array], streams: Mapping[str, Array], *, threads: int | None) -> None:
        self.columns = jax.tree.map(jnp.asarray, [joined(vars(layer)) for layer in layers(case, weights)])
        self.inputs = jnp.asarray(streams["inputs"])
        self.each, self.looped = list(self.inputs), peer == "jax loop"
        cell, gates, zero = gru_cell if case.cell == "gru" else memory_cell(False), GATES[case.cell], jnp.zeros(self.inputs.shape[1:])

        def step(columns: Any, states: Any, x: Tensor) -> Any:
            found = []
            for column, state in zip(columns, states, strict=True):
                sums = x @ column["x"] + column["bx"], output(state) @ column["h"] + column["bh"]
                state, x = cell((), state, *(jnp.split(part, gates, 1) for part in sums))
                found.append(state)
            return found

        def loop(columns: Any, states: Any, inputs: Tensor, count: Any) -> Any:
            return jax.lax.fori_loop(0, count, lambda i, states: step(columns, states, inputs[i % len(inputs)]), states)

        self.zeros = [zero if case.cell == "gru" else (zero, zero)] * len(self.columns)
        self.states, self.step, self.loop = self.zeros, jax.jit(step), jax.jit(loop)

    def measured(self) -> tuple[float, float]:
        self.states = self.zeros
        self.steps(len(self.each))
        return sum_and_norm(jax.tree.leaves(self.states))

    def steps(self, count: int) -> None:
        if self.looped:
            self.states = self.loop(self.columns, self.states, self.inputs, count)
        else:
            for number in range(count):
                self.states = self.step(self.columns, self.states, self.each[number % len(self.each)])
        jax.block_until_ready(self.states)


def joined(layer: Mapping[str, Any]) -> dict[str, Any]:
    """A layer's gates side by side, so that one product does all: ``x``, ``h``, ``c`` are [units, gates * units]."""
    found = {name: np.concatenate(layer[name]).T for name in ("x", "h", "c") if len(layer[name])}
    found |= {name: np.concatenate(layer[name]) for name in ("bx", "bh") if len(layer[name])}
    return {**found, "gain": list(layer["gain"])}


def adam(gradient: Any, clip: float, weights: Any, moments: Any, count: Any, batch: Any) -> tuple[Any, Any]:
    """A step with clipping and Adam (Kingma and Ba, 2015)."""
    _, g = gradient(weights, *batch)
    norm = jnp.sqrt(sum((leaf**2).sum() for leaf in jax.tree.leaves(g)))
    g = jax.tree.map(lambda leaf: leaf * jnp.minimum(clip / (norm + 1e-6), 1), g)
    first = jax.tree.map(lambda m, leaf: 0.9 * m + 0.1 * leaf, moments[0], g)
    second = jax.tree.map(lambda v, leaf: 0.999 * v + 0.001 * leaf**2, moments[1], g)
    rate = LEARNING_RATE * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
    return jax.tree.map(lambda w, m, v: w - rate * m / (jnp.sqrt(v) + 1e-8), weights, first, second), (first, second)


def cross_entropy(ends: Weights, hidden: Tensor, targets: Tensor) -> Tensor:
    log_p = jax.nn.log_softmax(hidden @ ends["decoder_w"].T + ends["decoder_b"])
    return -jnp.take_along_axis(log_p, targets[..., None], -1).mean()


def layer_norm(gain: Tensor, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + EPSILON) * gain


# -- language models -------------------------------------------------------------------------------------------------------------


def language_loss(case: Case, fused: bool, by_hand: bool) -> Any:
    """The loss as a function of weights, tokens and targets [T, B]."""
    gates, normed, memory = GATES[case.cell], case.cell == "lnlstm", case.cell != "gru"

    def loss(weights: Weights, tokens: Tensor, targets: Tensor) -> Tensor:
        e = weights["ends"]
        x = e["embedding"][tokens]
        zero = jnp.zeros(x.shape[1:])
        start = (zero, zero) if memory else zero
        cell = memory_cell(normed) if memory else gru_cell
        if fused:  # layer by layer, the products of a layer's inputs all at once
            over = hoisted(cell, gates) if by_hand else scanned(cell, gates)
            for column in weights["columns"]:
                x = over(column["h"], column["bh"], column["gain"], start, x @ column["x"] + column["bx"])
            return cross_entropy(e, x, targets)

        def whole(states: Any, x: Tensor) -> Any:
            found = []
            for column, state in zip(weights["columns"], states, strict=True):
                h = output(state)
                from_x = [x @ w.T + b for w, b in zip(column["x"], column["bx"], strict=True)]
                from_h = [h @ w.T + b for w, b in zip(column["h"], column["bh"], strict=True)]
                state, x = cell(column["gain"], state, from_x, from_h)
                found.append(state)
            return found, x

        _, hidden = jax.lax.scan(whole, [start] * len(weights["columns"]), x)
        return cross_entropy(e, hidden, targets)

    return loss


def scanned(cell: Any, gates: int) -> Any:
    """A layer over time: of its weights, the first state and what comes of the inputs ``[T, B, gates * units]``, to its outputs."""

    def column(w: Tensor, b: Tensor, gain: Any, start: Any, xs: Tensor) -> Tensor:
        def step(state: Any, x: Tensor) -> Any:
            return cell(gain, state, jnp.split(x, gates, 1), jnp.split(output(state) @ w + b, gates, 1))

        return jax.lax.scan(step, start, xs)[1]

    return column


def hoisted(cell: Any, gates: int) -> Any:
    """The same with a gradient of its own: at each step only what is pointwise (computed again) and the product for the state before; the
    gradient of the weights is one product after the loop."""

    def pointwise(gain: Any, state: Any, x: Tensor, hidden: Tensor) -> Any:
        return cell(gain, state, jnp.split(x, gates, 1), jnp.split(hidden, gates, 1))

    def forward(w: Tensor, b: Tensor, gain: Any, start: Any, xs: Tensor) -> Any:
        def step(state: Any, x: Tensor) -> Any:
            hidden = output(state) @ w + b
            following, out = pointwise(gain, state, x, hidden)
            return following, (out, state, hidden)

        _, (outs, states, hidden) = jax.lax.scan(step, start, xs)
        return outs, (w, gain, states, xs, hidden)

    def backward(kept: Any, d_outs: Tensor) -> Any:
        w, gain, states, xs, hidden = kept
        back = w.T

        def step(carried: Any, given: Any) -> Any:
            d_state, d_gain = carried
            d_out, *at = given
            pull = jax.vjp(pointwise, gain, *at)[1]
            more, d_state, d_x, d_hidden = pull((d_state, d_out))
            d_h = d_hidden @ back
            d_state = (d_state[0] + d_h, d_state[1]) if isinstance(d_state, tuple) else d_state + d_h
            return (d_state, jax.tree.map(jnp.add, d_gain, more)), (d_x, d_hidden)

        none = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:]), states), jax.tree.map(jnp.zeros_like, gain)
        (d_start, d_gain), (d_xs, d_hidden) = jax.lax.scan(step, none, (d_outs, states, xs, hidden), reverse=True)
        d_w = jnp.einsum("tbh,tbg->hg", output(states), d_hidden)
        return d_w, d_hidden.sum((0, 1)), d_gain, d_start, d_xs

    column = jax.custom_vjp(lambda *given: forward(*given)[0])
    column.defvjp(forward, backward)
    return column


def output(state: Any) -> Tensor:
    """What a state's products read: h, of {h, c} too."""
    return state[0] if isinstance(state, tuple) else state


def memory_cell(normed: bool) -> Any:
    """An LSTM from the sums of its gates."""

    def cell(gain: Any, state: Any, from_x: Any, from_h: Any) -> Any:
        sums = [a + b for a, b in zip(from_x, from_h, strict=True)]
        if normed:
            sums = [layer_norm(g, s) for g, s in zip(gain, sums, strict=False)]
        put, forget, new, out = sums
        c = jax.nn.sigmoid(forget) * state[1] + jax.nn.sigmoid(put) * jnp.tanh(new)
        h = jax.nn.sigmoid(out) * jnp.tanh(layer_norm(gain[4], c) if normed else c)
        return (h, c), h

    return cell


def gru_cell(_: Any, h: Tensor, from_x: Any, from_h: Any) -> Any:
    reset, update = (jax.nn.sigmoid(from_x[gate] + from_h[gate]) for gate in (0, 1))
    new = jnp.tanh(from_x[2] + reset * from_h[2])
    h = new + update * (h - new)
    return h, h


# -- the decoder -----------------------------------------------------------------------------------------------------------------


def decoder_loss(fused: bool) -> Any:
    """The loss as a function of weights, source [S, B], target_in and target_out [T, B]."""

    def loss(weights: Weights, source: Tensor, target_in: Tensor, target_out: Tensor) -> Tensor:
        e, (column,) = weights["ends"], weights["columns"]
        states = e["states"][source].swapaxes(0, 1)
        keys = states @ e["key_w"].T + e["key_b"]
        words = e["embedding"][target_in]
        side = jnp.concatenate([column["h"], e["query_w"].T], 1) if fused else None

        def step(state: Any, x: Tensor) -> Any:
            h, c = state
            if fused:
                from_h, query = jnp.split(h @ side, [4 * h.shape[1]], 1)
                query += e["query_b"]
            else:
                query = h @ e["query_w"].T + e["query_b"]
            scores = (jnp.tanh(keys + query[:, None]) @ e["score_w"].T + e["score_b"])[..., 0]
            context = jnp.einsum("bs,bsh->bh", jax.nn.softmax(scores, 1), states)
            if fused:
                sums = jnp.split(x + from_h + context @ column["c"], 4, 1)
            else:
                each = zip(column["x"], column["bx"], column["c"], column["h"], strict=True)
                sums = [x @ wx.T + b + context @ wc.T + h @ wh.T for wx, b, wc, wh in each]
            put, forget, new, out = sums
            c = jax.nn.sigmoid(forget) * c + jax.nn.sigmoid(put) * jnp.tanh(new)
            h = jax.nn.sigmoid(out) * jnp.tanh(c)
            return (h, c), h

        zero = jnp.zeros(words.shape[1:])
        _, hidden = jax.lax.scan(step, (zero, zero), words @ column["x"] + column["bx"] if fused else words)
        return cross_entropy(e, hidden, target_out)

    return loss
