"""The benchmark's models in PyTorch, as its users write them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from graphspec.bench.cases import Case
from graphspec.bench.peers import EPSILON, LEARNING_RATE, Layer, clip_norm, ends, layers, sum_and_norm

Array = np.ndarray[Any, Any]
Tensor = Any


class TorchRunner:
    """A step of one of the peers ``torch nn``, ``torch eager``, ``torch compiled``, ``torch nn tuned``, ``torch fused tuned``."""

    def __init__(
        self, peer: str, case: Case, weights: Mapping[str, Array], streams: Mapping[str, Array], *, threads: int | None, update: bool,
        precision: str = "float32",
    ) -> None:  # fmt: skip
        if threads is not None:
            torch.set_num_threads(threads)
        kinds: dict[str, Any] = {"torch nn": Library, "torch nn tuned": Library, "torch fused tuned": Fused}
        model = kinds.get(peer, Written)(case, weights)
        self.parameters = list(model.parameters())
        loss: Callable[..., Tensor] = model
        if peer == "torch compiled":
            loss = torch.compile(model)
        self.loss = loss
        self.low = precision == "bf16"
        self.batch = [torch.from_numpy(array.astype(np.int64) - 1) for array in streams.values()]  # symbols of specs count from 1
        self.optimizer = torch.optim.Adam(self.parameters, lr=LEARNING_RATE) if update else None
        self.clip = clip_norm(case)

    def _gradient(self) -> Tensor:
        for parameter in self.parameters:
            parameter.grad = None
        with torch.autocast("cpu", torch.bfloat16, enabled=self.low):
            loss = self.loss(*self.batch)
        loss.backward()
        return loss

    def measured(self) -> tuple[float, float]:
        loss = float(self._gradient().detach())
        return loss, float(np.sqrt(sum(float((p.grad.double() ** 2).sum()) for p in self.parameters)))

    def steps(self, count: int) -> None:
        for _ in range(count):
            self._gradient()
            if self.optimizer is not None:
                torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
                self.optimizer.step()


def trained(array: Array) -> Tensor:
    return torch.nn.Parameter(torch.from_numpy(np.array(array)))


def many(arrays: Any) -> Any:
    return torch.nn.ParameterList([trained(a) for a in arrays])


class Library(torch.nn.Module):  # type: ignore[misc]
    """An embedding, nn.LSTM or nn.GRU, a decoder."""

    def __init__(self, case: Case, weights: Mapping[str, Array]) -> None:
        super().__init__()
        self.columns = library(case, weights)
        self.ends = torch.nn.ParameterDict({name: trained(a) for name, a in ends(case, weights).items()})

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        hidden, _ = self.columns(F.embedding(tokens, self.ends["embedding"]))
        return cross_entropy(self.ends, hidden, targets)


def cross_entropy(ends: Any, hidden: Tensor, targets: Tensor) -> Tensor:
    logits = F.linear(hidden, ends["decoder_w"], ends["decoder_b"])
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def library(case: Case, weights: Mapping[str, Array]) -> Any:
    """All layers in one nn.LSTM or nn.GRU."""
    h, kind = case.sizes["H"], torch.nn.LSTM if case.cell == "lstm" else torch.nn.GRU
    columns = kind(h, h, case.sizes["L"])
    for number, layer in enumerate(layers(case, weights)):
        take(columns, layer, f"_l{number}")
    columns.flatten_parameters()
    return columns


def take(module: Any, layer: Layer, end: str = "") -> Any:
    """A module of torch.nn with a layer's weights, whose names have that end."""
    for name, gates in (("weight_ih", layer.x), ("weight_hh", layer.h), ("bias_ih", layer.bx), ("bias_hh", layer.bh)):
        getattr(module, f"{name}{end}").data.copy_(torch.from_numpy(np.concatenate(gates)))
    return module


class Column(torch.nn.Module):  # type: ignore[misc]
    """The weights of one layer, by gate."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        for name, arrays in vars(layer).items():
            setattr(self, name, many(arrays))

    def sum(self, gate: int, x: Tensor, h: Tensor) -> Tensor:
        return F.linear(x, self.x[gate], self.bx[gate]) + F.linear(h, self.h[gate], self.bh[gate])


class Written(torch.nn.Module):  # type: ignore[misc]
    """A product for each gate and input, step by step."""

    def __init__(self, case: Case, weights: Mapping[str, Array]) -> None:
        super().__init__()
        self.case = case
        self.columns = torch.nn.ModuleList([Column(layer) for layer in layers(case, weights)])
        self.ends = torch.nn.ParameterDict({name: trained(a) for name, a in ends(case, weights).items()})
        self.step = {"lstm": self.lstm, "gru": self.gru, "lnlstm": self.lnlstm}.get(case.cell)

    def forward(self, *batch: Tensor) -> Tensor:
        if self.step is None:
            return self.decoder(*batch)
        tokens, targets = batch
        inputs = F.embedding(tokens, self.ends["embedding"])
        zero = inputs.new_zeros(inputs.shape[1:])
        states = [(zero, zero)] * len(self.columns)
        found = []
        for x in inputs:
            for number, column in enumerate(self.columns):
                states[number] = self.step(column, x, *states[number])
                x = states[number][0]
            found.append(x)
        return cross_entropy(self.ends, torch.stack(found), targets)

    def lstm(self, column: Any, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        put, forget, out = (torch.sigmoid(column.sum(gate, x, h)) for gate in (0, 1, 3))
        c = forget * c + put * torch.tanh(column.sum(2, x, h))
        return out * torch.tanh(c), c

    def lnlstm(self, column: Any, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        def norm(gate: int, value: Tensor) -> Tensor:
            return F.layer_norm(value, value.shape[-1:], column.gain[gate], eps=EPSILON)

        put, forget, out = (torch.sigmoid(norm(gate, column.sum(gate, x, h))) for gate in (0, 1, 3))
        c = forget * c + put * torch.tanh(norm(2, column.sum(2, x, h)))
        return out * torch.tanh(norm(4, c)), c

    def gru(self, column: Any, x: Tensor, h: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
        reset, update = (torch.sigmoid(column.sum(gate, x, h)) for gate in (0, 1))
        new = torch.tanh(F.linear(x, column.x[2], column.bx[2]) + reset * F.linear(h, column.h[2], column.bh[2]))
        return new + update * (h - new), h

    def decoder(self, source: Tensor, target_in: Tensor, target_out: Tensor) -> Tensor:
        e, (column,) = self.ends, self.columns
        states = F.embedding(source, e["states"]).transpose(0, 1)
        keys = F.linear(states, e["key_w"], e["key_b"])
        words = F.embedding(target_in, e["embedding"])
        h = c = words.new_zeros(words.shape[1:])
        found = []
        for x in words:
            query = F.linear(h, e["query_w"], e["query_b"])
            scores = F.linear(torch.tanh(keys + query[:, None]), e["score_w"], e["score_b"])[:, :, 0]
            context = torch.bmm(torch.softmax(scores, 1)[:, None], states)[:, 0]
            put, forget, cell, out = (
                F.linear(x, column.x[g], column.bx[g]) + F.linear(context, column.c[g]) + F.linear(h, column.h[g]) for g in range(4)
            )
            c = torch.sigmoid(forget) * c + torch.sigmoid(put) * torch.tanh(cell)
            h = torch.sigmoid(out) * torch.tanh(c)
            found.append(h)
        return cross_entropy(e, torch.stack(found), target_out)


# -- what an expert writes -------------------------------------------------------------------------------------------------------

ORDER = (0, 1, 3, 2)
"""Gates in, forget, out, cell: those with a sigmoid lie side by side."""


class Fused(torch.nn.Module):  # type: ignore[misc]
    """LSTMs layer by layer: one product for all inputs of a layer, then :class:`Loop`."""

    def __init__(self, case: Case, weights: Mapping[str, Array]) -> None:
        super().__init__()
        self.columns = torch.nn.ModuleList()
        for layer in layers(case, weights):
            each = {name: np.concatenate([getattr(layer, name)[gate] for gate in ORDER]) for name in ("x", "h", "bx", "bh")}
            self.columns.append(torch.nn.ParameterDict({name: trained(array) for name, array in each.items()}))
        self.ends = torch.nn.ParameterDict({name: trained(a) for name, a in ends(case, weights).items()})

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        x = F.embedding(tokens, self.ends["embedding"])
        for column in self.columns:
            x = Loop.apply(F.linear(x, column["x"], column["bx"] + column["bh"]), column["h"])
        return cross_entropy(self.ends, x, targets)


class Loop(torch.autograd.Function):  # type: ignore[misc]
    """An LSTM over time, of the sums that come of its inputs ``[T, B, 4 * units]`` and of ``w [4 * units, units]``, with a gradient by
    hand: that of the weights is one product after the loop."""

    @staticmethod
    def forward(ctx: Any, sums: Tensor, w: Tensor) -> Tensor:
        steps, rows, n = len(sums), sums.shape[1], w.shape[1]
        gates, tanhs = torch.empty_like(sums), sums.new_empty(steps, rows, n)
        h, c = sums.new_zeros(steps + 1, rows, n), sums.new_zeros(steps + 1, rows, n)
        side = w.t()
        for t in range(steps):
            now = torch.addmm(sums[t], h[t], side, out=gates[t])
            now[:, : 3 * n].sigmoid_()
            now[:, 3 * n :].tanh_()
            put, forget, out, new = now.chunk(4, 1)
            torch.mul(forget, c[t], out=c[t + 1]).addcmul_(put, new)
            torch.mul(out, torch.tanh(c[t + 1], out=tanhs[t]), out=h[t + 1])
        ctx.save_for_backward(gates, tanhs, h, c, w)
        return h[1:]

    @staticmethod
    def backward(ctx: Any, d_outs: Tensor) -> tuple[Tensor, Tensor]:
        gates, tanhs, h, c, w = ctx.saved_tensors
        n = w.shape[1]
        d_sums, d_h, d_c = torch.empty_like(gates), torch.zeros_like(c[0]), torch.zeros_like(c[0])
        sigmoid, tanh = torch.ops.aten.sigmoid_backward, torch.ops.aten.tanh_backward
        for t in reversed(range(len(gates))):
            put, forget, out, new = gates[t].chunk(4, 1)
            d_h += d_outs[t]
            d_c += tanh(d_h * out, tanhs[t])
            now = d_sums[t]
            for part, a, b in zip(now.chunk(4, 1), (d_c, d_c, d_h, d_c), (new, c[t], tanhs[t], put), strict=True):
                torch.mul(a, b, out=part)
            sigmoid.grad_input(now[:, : 3 * n], gates[t][:, : 3 * n], grad_input=now[:, : 3 * n])
            tanh.grad_input(now[:, 3 * n :], new, grad_input=now[:, 3 * n :])
            d_c *= forget
            torch.mm(now, w, out=d_h)
        return d_sums, d_sums.flatten(0, 1).t() @ h[:-1].flatten(0, 1)


# -- a layer alone ---------------------------------------------------------------------------------------------------------------


class TorchSteps:
    """Layers alone, a step at a time: ``torch cell`` or ``torch nn``."""

    def __init__(self, peer: str, case: Case, weights: Mapping[str, Array], streams: Mapping[str, Array], *, threads: int | None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.inputs = list(torch.from_numpy(streams["inputs"]))
        h, memory = case.sizes["H"], case.cell == "lstm"
        zero = torch.zeros(case.sizes["B"], h)
        if peer == "torch nn":
            columns = library(case, weights)
            self.step: Callable[..., Any] = lambda x, state: columns(x[None], state)[1]
            zero = zero.repeat(case.sizes["L"], 1, 1)
            self.zeros: Any = (zero, zero) if memory else zero
        else:
            kind = torch.nn.LSTMCell if memory else torch.nn.GRUCell
            self.cells = [take(kind(h, h), layer) for layer in layers(case, weights)]
            self.step = self._cells
            self.zeros = [(zero, zero) if memory else zero] * len(self.cells)
        self.state = self.zeros

    def _cells(self, x: Tensor, states: Any) -> Any:
        found = []
        for cell, state in zip(self.cells, states, strict=True):
            state = cell(x, state)
            x = state[0] if isinstance(state, tuple) else state
            found.append(state)
        return found

    def measured(self) -> tuple[float, float]:
        self.state = self.zeros
        self.steps(len(self.inputs))
        return sum_and_norm(torch.utils._pytree.tree_leaves(self.state))

    def steps(self, count: int) -> None:
        with torch.inference_mode():
            for number in range(count):
                self.state = self.step(self.inputs[number % len(self.inputs)], self.state)
