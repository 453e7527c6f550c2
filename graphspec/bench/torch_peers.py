"""The benchmark's models in PyTorch, as its users write them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from graphspec.bench.cases import Case
from graphspec.bench.peers import EPSILON, LEARNING_RATE, clip_norm, ends, layers

Array = np.ndarray[Any, Any]
Tensor = Any


class TorchRunner:
    """A step of one of the peers ``torch nn``, ``torch eager``, ``torch compiled``."""

    def __init__(
        self, peer: str, case: Case, weights: Mapping[str, Array], streams: Mapping[str, Array], *, threads: int | None, update: bool,
        precision: str = "float32",
    ) -> None:  # fmt: skip
        if threads is not None:
            torch.set_num_threads(threads)
        model = Library(case, weights) if peer == "torch nn" else Written(case, weights)
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
        h, kind = case.sizes["H"], torch.nn.LSTM if case.cell == "lstm" else torch.nn.GRU
        self.columns = kind(h, h, case.sizes["L"])
        for number, layer in enumerate(layers(case, weights)):
            for name, gates in (("weight_ih", layer.x), ("weight_hh", layer.h), ("bias_ih", layer.bx), ("bias_hh", layer.bh)):
                getattr(self.columns, f"{name}_l{number}").data.copy_(torch.from_numpy(np.concatenate(gates)))
        self.columns.flatten_parameters()
        self.ends = torch.nn.ParameterDict({name: trained(a) for name, a in ends(case, weights).items()})

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        hidden, _ = self.columns(F.embedding(tokens, self.ends["embedding"]))
        return cross_entropy(self.ends, hidden, targets)


def cross_entropy(ends: Any, hidden: Tensor, targets: Tensor) -> Tensor:
    logits = F.linear(hidden, ends["decoder_w"], ends["decoder_b"])
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


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
