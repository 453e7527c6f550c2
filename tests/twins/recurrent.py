"""PyTorch twins of recurrent modules.

A twin makes one step; its state is kept in ``STATES`` while a twin that loops is at work.
"""

from __future__ import annotations

from typing import Any

from graphspec.graph import Module
from twins.common import Env, Twin

try:
    import torch
    import torch.nn.functional as F
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]

STATES: list[dict[int, Any]] = []
"""For each loop around, outermost first, the states left by the step before, by the module."""


def held(m: Module, *start: Any) -> Any:
    return STATES[-1].get(id(m), start) if STATES else start


def keep(m: Module, *state: Any) -> Any:
    if STATES:
        STATES[-1][id(m)] = state
    return state[0]


def parameters(m: Module, env: Env) -> list[Any]:
    """The tensors of all modules inside, in order of construction."""
    return [env.parameters[id(p)] for p in m.all_parameters()]


def zeros(m: Module, x: Any) -> Any:
    return x.new_zeros(*x.shape[:-1], m.args.outputSize)


def fast_lstm(m: Module, x: Any, env: Env) -> Any:
    wx, bias, wh = parameters(m, env)
    h, c = held(m, zeros(m, x), zeros(m, x))
    n = m.args.outputSize
    order = torch.arange(4 * n).reshape(4, n)[[0, 2, 1, 3]].reshape(-1)  # torch has its gates as i, f, g, o
    shape = h.shape
    h, c = torch.lstm_cell(x.reshape(-1, x.shape[-1]), (h.reshape(-1, n), c.reshape(-1, n)), wx[order], wh[order], bias[order],
                           torch.zeros_like(bias))
    return keep(m, h.reshape(shape), c.reshape(shape))


def lstm(m: Module, x: Any, env: Env) -> Any:
    tensors = iter(parameters(m, env))
    h, c = held(m, zeros(m, x), zeros(m, x))

    def total(peep: Any) -> Any:
        wx, bias, wh = next(tensors), next(tensors), next(tensors)
        sums = F.linear(torch.cat([x, h], -1), torch.cat([wx, wh], 1), bias)
        return torch.addcmul(sums, next(tensors), peep) if peep is not None and m.args.cell2gate else sums

    i, f = torch.sigmoid(total(c)), torch.sigmoid(total(c))
    c = f * c + i * torch.tanh(total(None))
    return keep(m, torch.sigmoid(total(c)) * torch.tanh(c), c)


def gru(m: Module, x: Any, env: Env) -> Any:
    wx, bias, wh, reset, candidate, shift = parameters(m, env)
    (h,) = held(m, zeros(m, x))
    r, z = torch.sigmoid(F.linear(x, wx, bias) + F.linear(h, wh)).chunk(2, -1)
    fresh = torch.tanh(F.linear(x, candidate, shift) + F.linear(r * h, reset))
    return keep(m, torch.lerp(fresh, h, z))


TWINS: dict[str, Twin] = {
    "LSTM": lstm,
    "FastLSTM": fast_lstm,
    "GRU": gru,
}
