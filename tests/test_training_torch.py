"""Training against PyTorch, in float64: the whole language model, and every optimizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphspec
from graphspec.engine import Engine
from graphspec.ir.builder import Builder
from graphspec.ir.core import Port, Program, tensor
from graphspec.training.optimizers import OPTIMIZERS, Update
from graphspec_runtime import open_device

torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not among the test requirements (.ci/run installs it)")

CHAR_LM = Path(__file__).parent.parent / "specs" / "char_lm.spec"
GATES = {"input": 1, "forget": 2, "cell": 3, "output": 4}
"""PyTorch's gate order, and which new_input_sum of the listing is that gate's."""


class TorchModel(torch.nn.Module):  # type: ignore[misc]
    def __init__(self, vocab: int, size: int, layers: int) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(vocab, size)
        self.lstm = torch.nn.LSTM(size, size, layers)
        self.decoder = torch.nn.Linear(size, vocab)

    def forward(self, tokens: Any, state: Any) -> Any:
        hidden, state = self.lstm(self.embedding(tokens), state)
        return torch.nn.functional.log_softmax(self.decoder(hidden), -1), state


def copy_weights(model: TorchModel, experiment: graphspec.Experiment, layers: int) -> None:
    """nn.LSTM's stacked gates into the eight Linears of each layer."""
    mine = experiment.parameters

    def put(ending: str, value: Any) -> None:
        (name,) = [n for n in mine if n.endswith(ending)]
        mine[name][...] = value.detach().numpy()

    put("LookupTable.weight", model.embedding.weight)
    put("make_step[1].Linear.weight", model.decoder.weight)
    put("make_step[1].Linear.bias", model.decoder.bias)
    for layer in range(layers):
        for position, number in enumerate(GATES.values()):
            for theirs, ours in (("ih", "x_to_h"), ("hh", "h_to_h")):
                for field in ("weight", "bias"):
                    stacked = getattr(model.lstm, f"{field}_{theirs}_l{layer}")
                    put(f"make_lstm_step[{layer + 1}].new_input_sum[{number}].{ours}.{field}", stacked.chunk(4)[position])


def test_char_lm_follows_pytorch_for_twenty_steps() -> None:
    size, layers = 16, 2
    experiment = graphspec.experiment(
        CHAR_LM, dtype="float64", rnn_size=size, n_layers=layers, **{"data.batch": 4, "data.seq_len": 9, "optim.learningRate": 1e-2}
    )
    torch.manual_seed(1)
    model = TorchModel(len(experiment.source.vocabulary), size, layers).double()
    copy_weights(model, experiment, layers)
    assert sum(p.numel() for p in model.parameters()) == experiment.flat_parameters.size
    adam = torch.optim.Adam(model.parameters(), lr=1e-2)
    state = None
    for step in range(20):
        batch = experiment.source.batch(step).arrays
        tokens, targets = (torch.from_numpy(batch[name].astype(np.int64) - 1) for name in ("tokens", "targets"))
        adam.zero_grad()
        log_p, state = model(tokens, state)
        state = tuple(s.detach() for s in state)
        loss = torch.nn.functional.nll_loss(log_p.flatten(0, 1), targets.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        adam.step()
        assert abs(experiment.train_step() - loss.item()) < 1e-9, f"step {step + 1}"


TWINS: dict[str, tuple[dict[str, Any], Any]] = {
    "sgd": ({}, lambda p: torch.optim.SGD(p, lr=0.05)),
    "sgd momentum": ({"momentum": 0.9}, lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9)),
    "sgd dampened": ({"momentum": 0.9, "dampening": 0.3}, lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, dampening=0.3)),
    "sgd nesterov": ({"momentum": 0.9, "nesterov": True}, lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True)),
    "sgd decay": ({"weightDecay": 0.1}, lambda p: torch.optim.SGD(p, lr=0.05, weight_decay=0.1)),
    "adagrad": ({"weightDecay": 0.1}, lambda p: torch.optim.Adagrad(p, lr=0.05, weight_decay=0.1)),
    "rmsprop": ({"alpha": 0.95}, lambda p: torch.optim.RMSprop(p, lr=0.05, alpha=0.95)),
    "adadelta": ({}, lambda p: torch.optim.Adadelta(p, lr=0.05)),
    "adam": ({"weightDecay": 0.1}, lambda p: torch.optim.Adam(p, lr=0.05, weight_decay=0.1)),
    "adamw": ({}, lambda p: torch.optim.AdamW(p, lr=0.05)),
}


def update_program(name: str, fields: dict[str, Any], n: int) -> Program:
    """One update of ``n`` parameters."""
    record = OPTIMIZERS[name]
    b = Builder(dtype="float64")
    flat, scalar = tensor([n], "float64"), tensor([], "float64")
    names = ["parameters", "gradients", *record.state, "rate", "step"]
    values = [b.param(scalar if k in ("rate", "step") else flat, k) for k in names]
    given = dict(zip(names, values, strict=True))
    state = {k: given[k] for k in record.state}
    settings = {**record.fields, **fields}
    new, new_state = record.rule(Update(b, given["parameters"], given["gradients"], state, given["rate"], given["step"], settings))
    b.block.results = [new, *(new_state[k] for k in record.state)]
    return Program(b.block, [Port(k, "state") for k in names], [Port(f"new {k}", "state", k) for k in ("parameters", *record.state)])


@pytest.mark.parametrize("case", TWINS)
def test_optimizers_follow_torch_optim_for_fifty_steps(case: str) -> None:
    fields, make = TWINS[case]
    name = case.split()[0]
    draw = np.random.default_rng(0)
    engine = Engine(update_program(name, fields, 7), open_device("numpy"), check=True)
    mine = {"parameters": draw.standard_normal(7), **{k: np.zeros(7) for k in OPTIMIZERS[name].state}}
    theirs = torch.nn.Parameter(torch.from_numpy(mine["parameters"].copy()))
    optimizer = make([theirs])
    for step in range(1, 51):
        gradient = draw.standard_normal(7)
        engine.run({**mine, "gradients": gradient, "rate": np.array(0.05), "step": np.array(float(step))})
        theirs.grad = torch.from_numpy(gradient)
        optimizer.step()
        np.testing.assert_allclose(mine["parameters"], theirs.detach().numpy(), rtol=0, atol=1e-10)
