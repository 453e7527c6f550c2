"""Training against PyTorch, in float64: the whole language model, every optimizer, clipping, schedules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphspec
from graphspec.engine import Engine
from graphspec.ir.builder import Builder
from graphspec.ir.core import Port, Program, tensor
from graphspec.training.fields import FIELDS
from graphspec.training.schedules import Schedule
from graphspec.training.step import clipped, gradient_norm
from graphspec_runtime import open_device
from updates import CASES, rate, updates

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


TWINS = {
    "sgd": torch.optim.SGD, "adagrad": torch.optim.Adagrad, "rmsprop": torch.optim.RMSprop, "adadelta": torch.optim.Adadelta,
    "adam": torch.optim.Adam, "adamw": torch.optim.AdamW,
}  # fmt: skip
NAMES = {"learningRate": "lr", "learningRateDecay": "lr_decay", "weightDecay": "weight_decay", "epsilon": "eps"}
"""PyTorch's names for fields, where they are others."""


def twin(name: str, fields: Mapping[str, Any], parameters: Any) -> Any:
    """The optimizer of PyTorch's with these fields."""
    settings = {NAMES.get(k, k): v for k, v in fields.items() if k not in ("beta1", "beta2")}
    if "beta1" in fields:
        settings["betas"] = (fields["beta1"], fields["beta2"])
    return TWINS[name](parameters, **settings)


@pytest.mark.parametrize("case", [case for case, (name, _) in CASES.items() if name in TWINS])
def test_optimizers_follow_torch_optim_for_fifty_steps(case: str) -> None:
    name, fields = CASES[case]
    draw = np.random.default_rng(0)
    start, gradients = draw.standard_normal(7), draw.standard_normal((50, 7))
    theirs = torch.nn.Parameter(torch.from_numpy(start.copy()))
    optimizer = twin(name, fields, [theirs])
    for step, (mine, gradient) in enumerate(zip(updates(name, fields, start, gradients), gradients, strict=True), 1):
        optimizer.param_groups[0]["lr"] = rate(fields, step)
        theirs.grad = torch.from_numpy(gradient)
        optimizer.step()
        np.testing.assert_allclose(mine, theirs.detach().numpy(), rtol=0, atol=1e-10, err_msg=f"step {step}")


def test_graves_rmsprop_is_not_pytorchs() -> None:
    """Centered with momentum comes close; but epsilon stands under the root, and the rate inside the momentum."""
    start, gradients = np.ones(3), np.random.default_rng(0).standard_normal((50, 3))
    fields = {"learningRate": 1e-2, "alpha": 0.95, "momentum": 0.9, "epsilon": 1e-4, "weightDecay": 0.0}
    *_, graves = updates("rmsprop_graves", fields, start, gradients)
    *_, torchs = updates("rmsprop", {**fields, "centered": True}, start, gradients)
    np.testing.assert_allclose(graves, torchs, atol=0.5)
    assert np.abs(graves - torchs).max() > 1e-3


GRADIENTS = {
    "small": [0.3, -0.2, 0.1], "large": [30.0, -20.0, 10.0], "zero": [0.0, 0.0, 0.0], "inf": [math.inf, 1.0, -2.0],
    "minus inf": [-math.inf, 1.0, 2.0], "NaN": [math.nan, 1.0, 2.0],
}  # fmt: skip


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("fields", [{"clip_norm": 5.0}, {"clip_value": 0.25}, {"clip_norm": 0.1, "clip_value": 0.25}], ids=str)
def test_clipping_is_pytorchs_whatever_the_gradient(gradient: str, fields: dict[str, float]) -> None:
    given = np.array(GRADIENTS[gradient])
    b = Builder(dtype="float64")
    value = b.param(tensor([3], "float64"), "gradient")
    b.block.results = [clipped(b, value, gradient_norm(b, value), {"clip_norm": 0.0, "clip_value": 0.0, **fields})]
    engine = Engine(Program(b.block, [Port("gradient", "input")], [Port("clipped", "output")]), open_device("numpy"), check=True)
    theirs = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    theirs.grad = torch.from_numpy(given.copy())
    if "clip_value" in fields:
        torch.nn.utils.clip_grad_value_([theirs], fields["clip_value"])
    if "clip_norm" in fields:
        torch.nn.utils.clip_grad_norm_([theirs], fields["clip_norm"])
    mine = np.array(engine.run({"gradient": given})["clipped"])
    np.testing.assert_allclose(mine, theirs.grad.numpy(), rtol=1e-14, atol=0)
    assert np.isnan(mine).any() == (gradient == "NaN" or ("inf" in gradient and "clip_value" not in fields))


STEPS, BATCHES = 40, 7


def linear(start: int) -> Any:
    """1 until ``start``, then down to 0 at the end."""
    lr = torch.optim.lr_scheduler
    return lambda o: lr.SequentialLR(
        o, [lr.ConstantLR(o, factor=1.0), lr.PolynomialLR(o, STEPS - start, power=1.0)], milestones=[start]
    )


SCHEDULES: dict[str, tuple[dict[str, Any], Any]] = {
    "constant": ({}, lambda o: torch.optim.lr_scheduler.ConstantLR(o, factor=1.0)),
    "linear": ({"schedule_start": 0.0}, lambda o: torch.optim.lr_scheduler.PolynomialLR(o, STEPS, power=1.0)),
    "linear later": ({"schedule_start": 0.5}, linear(STEPS // 2)),
    "exponential": ({"schedule_start": 0.0, "schedule_decay": 0.9}, lambda o: torch.optim.lr_scheduler.StepLR(o, BATCHES, 0.9)),
    "step by epochs": ({"schedule_every": 2, "schedule_decay": 0.1}, lambda o: torch.optim.lr_scheduler.StepLR(o, 2 * BATCHES, 0.1)),
    "step by steps": (
        {"schedule_every": 3, "schedule_unit": "steps", "schedule_decay": 0.5}, lambda o: torch.optim.lr_scheduler.StepLR(o, 3, 0.5)
    ),
    "constant warmed up": ({"schedule_warmup": 10}, lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda s: min(1, (s + 1) / 10))),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
@pytest.mark.filterwarnings("ignore:The epoch parameter in")
@pytest.mark.parametrize("case", SCHEDULES)
def test_schedules_are_pytorchs(case: str) -> None:
    fields, make = SCHEDULES[case]
    mine = Schedule({**FIELDS, "schedule": case.split()[0], **fields})
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    theirs = make(optimizer)
    for step in range(STEPS):
        wanted = optimizer.param_groups[0]["lr"]
        assert math.isclose(mine.factor(step, STEPS, BATCHES), wanted, rel_tol=1e-12, abs_tol=1e-15), f"step {step}"
        optimizer.step()
        theirs.step()


PLATEAUS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "at once": {"patience": 0},
    "patient": {"patience": 3, "factor": 0.5},
    "coarse": {"patience": 1, "threshold": 0.1},
    "to a floor": {"patience": 0, "factor": 0.1, "min_lr": 0.05},
}


@pytest.mark.parametrize("case", PLATEAUS)
@pytest.mark.parametrize("noise", [0.0, 0.05, 1.0])
def test_the_plateau_is_pytorchs(case: str, noise: float) -> None:
    settings = {"factor": 0.7, "patience": 10, "threshold": 1e-4, "min_lr": 0.0, **PLATEAUS[case]}
    names = {"factor": "decay", "min_lr": "floor"}
    given = {f"schedule_{names.get(k, k)}": v for k, v in settings.items()}
    mine = Schedule({**FIELDS, "schedule": "plateau", **given})
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, eps=0.0, **settings)
    draw = np.random.default_rng(3)
    losses = [math.nan, *np.exp(-np.arange(60) / 4) + 1 + noise * draw.random(60), math.nan, math.inf, 0.5]
    for loss in map(float, losses):
        mine.validated(loss)
        theirs.step(loss)
        assert math.isclose(mine.factor(0, 1, 1), optimizer.param_groups[0]["lr"], rel_tol=1e-12)
    assert mine.factor(0, 1, 1) < 1
