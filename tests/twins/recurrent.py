"""PyTorch twins of recurrent modules.

A twin makes one step; its state is kept in ``STATES`` while a twin that loops is at work.
"""

from __future__ import annotations

from typing import Any

from graphspec.graph import Module
from twins.common import Env, Twin, twin_of

try:
    import torch
    import torch.nn.functional as F
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]

STATES: list[dict[int, Any]] = []
"""For each loop around, outermost first, the states left by the step before, by the module."""


def held(m: Module, *start: Any) -> Any:
    return STATES[-1].get(id(m), start) if STATES else start


def keep(m: Module, x: Any, *state: Any) -> Any:
    """The output, the first of the states; after maskZero(1) zeros where x is."""
    if getattr(m.args, "masked", None):
        alive = (x != 0).any(-1, keepdim=True).double()
        state = tuple(part * alive for part in state)
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
    return keep(m, x, h.reshape(shape), c.reshape(shape))


def lstm(m: Module, x: Any, env: Env) -> Any:
    tensors = iter(parameters(m, env))
    h, c = held(m, zeros(m, x), zeros(m, x))

    def total(peep: Any) -> Any:
        wx, bias, wh = next(tensors), next(tensors), next(tensors)
        sums = F.linear(torch.cat([x, h], -1), torch.cat([wx, wh], 1), bias)
        return torch.addcmul(sums, next(tensors), peep) if peep is not None and m.args.cell2gate else sums

    i, f = torch.sigmoid(total(c)), torch.sigmoid(total(c))
    c = f * c + i * torch.tanh(total(None))
    return keep(m, x, torch.sigmoid(total(c)) * torch.tanh(c), c)


def gru(m: Module, x: Any, env: Env) -> Any:
    wx, bias, wh, candidate, shift, reset = parameters(m, env)
    (h,) = held(m, zeros(m, x))
    r, z = torch.sigmoid(F.linear(x, wx, bias) + F.linear(h, wh)).chunk(2, -1)
    fresh = torch.tanh(F.linear(x, candidate, shift) + F.linear(r * h, reset))
    return keep(m, x, torch.lerp(fresh, h, z))


def in_order(m: Module, steps: list[Any], env: Env) -> list[Any]:
    """The module's twin at each step."""
    STATES.append({})
    found = [twin_of(m, x, env) for x in steps]
    STATES.pop()
    return found


def over_steps(m: Module, x: Any, env: Env) -> Any:
    if isinstance(x, list):
        return in_order(m.args.module, x, env)
    found = in_order(m.args.module, list(x), env)
    return [torch.stack(part) for part in zip(*found, strict=True)] if isinstance(found[0], list) else torch.stack(found)


def both_ways(m: Module, x: Any, env: Env) -> Any:
    ahead = in_order(m.args.forward, list(x), env)
    back = in_order(m.args.backward, list(x)[::-1], env)[::-1]
    merged = in_order(m.args.merge, [list(pair) for pair in zip(ahead, back, strict=True)], env)
    return merged if isinstance(x, list) else torch.stack(merged)


def seq_brnn(m: Module, x: Any, env: Env) -> Any:
    """torch's own bidirectional LSTM."""
    x = x.transpose(0, 1) if m.args.batchFirst else x
    n, width = m.args.inputDim, m.args.hiddenDim
    order = torch.arange(4 * width).reshape(4, width)[[0, 1, 3, 2]].reshape(-1)
    weights = []
    for weight, bias in zip(*[iter(parameters(m, env)[:4])] * 2, strict=True):
        weights += [weight[:n].t()[order], weight[n:].t()[order], bias[order], torch.zeros_like(bias)]
    start = x.new_zeros(2, x.shape[1], width)
    y = torch.lstm(x, (start, start), weights, True, 1, 0.0, True, True, False)[0]
    y = y if m.args.merge is not None else sum(y.chunk(2, -1))
    return y.transpose(0, 1) if m.args.batchFirst else y


def recurrent(m: Module, x: Any, env: Env) -> Any:
    a = m.args
    given = twin_of(a.input, x, env)
    state = held(m)
    total = twin_of(a.merge, [given, twin_of(a.feedback, state[0], env)], env) if state else twin_of(a.start, given, env)
    return keep(m, x, twin_of(a.transfer, total, env))


def recurrence(m: Module, x: Any, env: Env) -> Any:
    def start(sizes: Any) -> Any:
        return [start(part) for part in sizes] if isinstance(sizes, list) else x.new_zeros(*x.shape[: x.dim() - m.args.nInputDim], *sizes)

    (state,) = held(m, start(m.args.sizes))
    return keep(m, x, twin_of(m.args.recurrentModule, [x, state], env))


TWINS: dict[str, Twin] = {
    "Recurrent": recurrent,
    "Recurrence": recurrence,
    "Sequencer": over_steps,
    "BiSequencer": both_ways,
    "Repeater": lambda m, x, env: in_order(m.args.module, [x] * m.args.rho, env),
    "Recursor": lambda m, x, env: twin_of(m.args.module, x, env),
    "SeqBRNN": seq_brnn,
    "LSTM": lstm,
    "FastLSTM": fast_lstm,
    "GRU": gru,
}
