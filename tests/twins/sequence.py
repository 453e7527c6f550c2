"""PyTorch twins of recurrent layers over whole sequences."""

from __future__ import annotations

from typing import Any

from graphspec.graph import Module
from twins.common import Env, Twin

try:
    import torch
except ImportError:  # the tests that need it are skipped, with this reason
    torch = None  # type: ignore[assignment]


def arranged(m: Module, x: Any, env: Env) -> tuple[Any, list[Any], Any, Any, Any]:
    """x as [T, B, n], the states given, the weights of x and of h, and the bias."""
    given = x if isinstance(x, list) else [x]
    x = given[-1].transpose(0, 1) if m.args.batchfirst else given[-1]
    weight = env.parameter(m, "weight").t()
    return x, given[:-1], weight[:, : m.args.inputsize], weight[:, m.args.inputsize :], env.parameter(m, "bias")


def lstm(m: Module, x: Any, env: Env) -> Any:
    x, given, wx, wh, bias = arranged(m, x, env)
    cells = bias.shape[0] // 4
    order = torch.arange(4 * cells).reshape(4, cells)[[0, 1, 3, 2]].reshape(-1)  # torch has its gates as i, f, g, o
    weights = [wx[order], wh[order], bias[order], torch.zeros_like(bias)]
    h = given[-1] if given else x.new_zeros(x.shape[1], m.args.outputsize)
    c = given[0] if len(given) == 2 else x.new_zeros(x.shape[1], cells)
    if "weightO" in m.parameters:
        weights.append(env.parameter(m, "weightO").t())
    h, c, steps = h[None], c[None], []
    for part in x.split(1) if m.args.maskzero else [x]:
        y, h, c = torch.lstm(part, (h, c), weights, True, 1, 0.0, True, False, False)
        if m.args.maskzero:
            alive = (part != 0).any(2, keepdim=True).double()
            y, h, c = y * alive, h * alive, c * alive
        steps.append(y)
    y = torch.cat(steps)
    return y.transpose(0, 1) if m.args.batchfirst else y


def gru(m: Module, x: Any, env: Env) -> Any:
    x, given, wx, wh, bias = arranged(m, x, env)
    h = given[0] if given else x.new_zeros(x.shape[1], m.args.outputsize)
    steps = []
    for row in x:
        (rx, ux, gx), (rh, uh, gh) = torch.nn.functional.linear(row, wx, bias).chunk(3, 1), wh.chunk(3)
        r, u = torch.sigmoid(rx + h @ rh.t()), torch.sigmoid(ux + h @ uh.t())
        h = torch.lerp(torch.tanh(gx + (r * h) @ gh.t()), h, u)
        h = torch.where((row == 0).all(1, keepdim=True), torch.zeros_like(h), h) if m.args.maskzero else h
        steps.append(h)
    return torch.stack(steps).transpose(0, 1) if m.args.batchfirst else torch.stack(steps)


TWINS: dict[str, Twin] = {
    "SeqLSTM": lstm,
    "SeqLSTMP": lstm,
    "SeqGRU": gru,
    "SeqReverseSequence": lambda m, x, env: x.flip(m.args.dim - 1),
}
