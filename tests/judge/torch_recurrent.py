"""PyTorch's recurrent layers said in specs: its cells of Linears, its layers as nn.Scan over such cells."""

from __future__ import annotations

from typing import Any

import torch

from judge.torch_modules import adapter, lua, spec


def linears(n: int, hidden: int, gates: int, bias: bool, *, state: int | None = None) -> str:
    """``ih`` and ``hh``: what every gate gets of the input and of the state."""
    width = gates * hidden
    return (
        f"local ih = nn.Linear({n}, {width}, {lua(bias)})\nlocal hh = nn.Linear({state or hidden}, {width}, {lua(bias)})\n"
        "local of_x, of_h = ih(x), hh(h)\n"
    )


def gate(of: str, i: int, hidden: int, axis: int) -> str:
    return f"nn.Narrow({axis}, {i * hidden + 1}, {hidden})({of})"


def rnn_step(n: int, hidden: int, bias: bool, axis: int, nonlinearity: str) -> str:
    f = "Tanh" if nonlinearity == "tanh" else "ReLU"
    return linears(n, hidden, 1, bias) + f"local y = nn.{f}()(nn.CAddTable()({{of_x, of_h}}))\n"


def gru_step(n: int, hidden: int, bias: bool, axis: int) -> str:
    def both(i: int) -> str:
        return f"nn.Sigmoid()(nn.CAddTable()({{{gate('of_x', i, hidden, axis)}, {gate('of_h', i, hidden, axis)}}}))"

    candidate = f"nn.CAddTable()({{{gate('of_x', 2, hidden, axis)}, nn.CMulTable()({{r, {gate('of_h', 2, hidden, axis)}}})}})"
    return linears(n, hidden, 3, bias) + (
        f"local r = {both(0)}\nlocal z = {both(1)}\nlocal candidate = nn.Tanh()({candidate})\n"
        "local y = nn.CAddTable()({candidate, nn.CMulTable()({z, nn.CSubTable()({h, candidate})})})\n"
    )


def lstm_step(n: int, hidden: int, bias: bool, axis: int, projected: int = 0) -> str:
    step = linears(n, hidden, 4, bias, state=projected or None) + "local sums = nn.CAddTable()({of_x, of_h})\n"
    for i, (name, f) in enumerate((("i", "Sigmoid"), ("f", "Sigmoid"), ("g", "Tanh"), ("o", "Sigmoid"))):
        step += f"local {name} = nn.{f}()({gate('sums', i, hidden, axis)})\n"
    step += "local next_c = nn.CAddTable()({nn.CMulTable()({f, c}), nn.CMulTable()({i, g})})\n"
    step += "local out = nn.CMulTable()({o, nn.Tanh()(next_c)})\n"
    return step + (f"local hr = nn.Linear({hidden}, {projected}, false)\nlocal y = hr(out)\n" if projected else "local y = out\n")


def tensors(m: Any, ending: str = "") -> dict[str, Any]:
    """Parameters of a layer by our names; those that there are."""
    named = {"ih__weight": "weight_ih", "ih__bias": "bias_ih", "hh__weight": "weight_hh", "hh__bias": "bias_hh", "hr__weight": "weight_hr"}
    return {ours: getattr(m, theirs + ending, None) for ours, theirs in named.items()}


@adapter("RNNCell", "GRUCell")
def cell(m: Any, x: Any, h: Any) -> Any:
    size = (m.input_size, m.hidden_size, m.bias, x.dim())
    step = gru_step(*size) if type(m).__name__ == "GRUCell" else rnn_step(*size, m.nonlinearity)
    return spec(f"local x, h = x1, x2\n{step}return y", x, h, **tensors(m))


@adapter("LSTMCell")
def lstm_cell(m: Any, x: Any, state: Any) -> Any:
    step = lstm_step(m.input_size, m.hidden_size, m.bias, x.dim())
    return spec(f"local x, h, c = x1, x2, x3\n{step}return y, next_c", x, *state, **tensors(m))


@adapter("RNN", "GRU", "LSTM")
def layers(m: Any, x: Any, state: Any = None) -> Any:
    """Layer by layer and direction by direction, each a Scan."""
    assert isinstance(x, torch.Tensor), "packed sequences are given as lengths"
    lone = x.dim() == 2
    lstm = m.mode == "LSTM"
    given = [] if state is None else [s.unsqueeze(1) if lone else s for s in (state if lstm else (state,))]
    y = x.unsqueeze(1) if lone else x.transpose(0, 1) if m.batch_first else x
    last: list[list[Any]] = []
    for layer in range(m.num_layers):
        ways = []
        for way in range(1 + m.bidirectional):
            i = layer * (1 + m.bidirectional) + way
            ys, *states = one_layer(m, y, [s[i] for s in given], f"_l{layer}{'_reverse' * way}", reverse=bool(way))
            ways.append(ys)
            last.append(states)
        y = torch.cat(ways, -1)
    stacked = [torch.stack(parts) for parts in zip(*last, strict=True)]
    stacked = [s.squeeze(1) for s in stacked] if lone else stacked
    y = y.squeeze(1) if lone else y.transpose(0, 1) if m.batch_first else y
    return y, tuple(stacked) if lstm else stacked[0]


def one_layer(m: Any, x: Any, state: list[Any], ending: str, *, reverse: bool) -> Any:
    n, hidden, projected = x.shape[-1], m.hidden_size, m.proj_size
    names = ["h", "c"] if m.mode == "LSTM" else ["h"]
    widths = [projected or hidden, hidden][: len(names)]
    size = (n, hidden, m.bias, 2)
    if m.mode == "LSTM":
        step = lstm_step(*size, projected)
    else:
        step = gru_step(*size) if m.mode == "GRU" else rnn_step(*size, "relu" if m.mode.endswith("RELU") else "tanh")
    declared = "".join(f"local {name} = nn.Identity{{'B', {width}}}()\n" for name, width in zip(names, widths, strict=True))
    states = "h" if len(names) == 1 else "nn.Identity()({h, c})"
    following = "y" if len(names) == 1 else "nn.Identity()({y, next_c})"
    if len(names) == 2:
        declared = "local s = nn.Identity()()\nlocal h, c = s:split(2)\n"
        states = "s"
    made = (
        f"local function step()\nlocal x = nn.Identity{{'B', {n}}}()\n{declared}{step}"
        f"return nn.gModule({{x, {states}}}, {{y, {following}}})\nend\n"
    )
    start = {1: ", s0 = x2", 2: ", s0 = {x2, x3}"}[len(names)] if state else ""
    ends = "local sT = scan[2]\n"
    text = f"{made}local ys, sT = nn.Scan(step(), {{reverse = {lua(reverse)}}})({{xs = x1{start}}}):split(2)\n"
    ends = "return ys, sT" if len(names) == 1 else "local hT, cT = sT:split(2)\nreturn ys, hT, cT"
    return spec(text + ends, x, *state, **tensors(m, ending))
