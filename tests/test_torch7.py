"""Equal to the original Torch7 + nn + nngraph: the error over the largest value is at most 1e-12 in double, 2e-6 in float."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphspec

HERE = Path(__file__).parent
SPECS = HERE.parent / "specs"
PRECISIONS = {"double": ("float64", 1e-12), "float": ("float32", 2e-6)}

Case = Mapping[str, np.ndarray]


@pytest.fixture(params=list(PRECISIONS))
def precision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["numpy", "reference"])
def device(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def load(name: str, precision: str) -> Case:
    with np.load(HERE / "torch7" / f"{name}_{precision}.npz") as archive:
        return dict(archive)


def close(mine: Any, theirs: np.ndarray, precision: str) -> None:
    mine = np.asarray(mine)
    assert mine.dtype == PRECISIONS[precision][0]
    assert mine.shape == theirs.shape
    assert np.abs(mine - theirs).max() <= PRECISIONS[precision][1] * max(np.abs(theirs).max(), 1e-300)


def put(model: graphspec.Model, values: Sequence[np.ndarray]) -> None:
    """Parameters in canonical order."""
    assert len(model.parameters) == len(values)
    for mine, given in zip(model.parameters.values(), values, strict=True):
        mine[...] = given


@pytest.mark.parametrize("layers", [1, 2])
def test_the_lectures_listing(layers: int, precision: str, device: str) -> None:
    case = load(f"listing{layers}", precision)
    model = graphspec.compile(
        SPECS / "lstm.spec", f"network({{rnn_size=5,n_layers={layers}}})", dtype=PRECISIONS[precision][0], device=device
    )
    names = [f"linear{k:02d}.{field}" for k in range(1, 8 * layers + 1) for field in ("weight", "bias")]
    put(model, [case[name] for name in names])
    count = 2 * layers
    inputs = [case["x"], [case[f"prev_s{k}"] for k in range(1, count + 1)]]
    output, next_s = model(*inputs)
    close(output, case["output"], precision)
    for k in range(count):
        close(next_s[k], case[f"next_s{k + 1}"], precision)
    x_gradient, s_gradients = model.backward(inputs, [case["output_gradient"], [case[f"next_s_gradient{k}"] for k in range(1, count + 1)]])
    close(x_gradient, case["x_gradient"], precision)
    for k in range(count):
        close(s_gradients[k], case[f"prev_s_gradient{k + 1}"], precision)
    for mine, name in zip(model.gradients.values(), names, strict=True):
        close(mine, case[f"{name}_gradient"], precision)


@pytest.mark.parametrize("layers", [1, 2])
def test_a_column_of_char_rnn(layers: int, precision: str, device: str) -> None:
    case = load(f"column{layers}", precision)
    model = graphspec.compile(
        HERE / "specs" / "char_rnn.spec", f"column(4, 5, {layers}, {{}})", dtype=PRECISIONS[precision][0], device=device
    )
    linears = [f"{kind}_{L}" for L in range(1, layers + 1) for kind in ("i2h", "h2h")]
    put(model, [case[f"{name}.{field}"] for name in linears for field in ("weight", "bias")])
    state = [f"{kind}_{L}" for L in range(1, layers + 1) for kind in "ch"]
    inputs = [case["x"], *(case[f"{s[0]}_prev_{s[2]}"] for s in state)]
    for mine, name in zip(model(*inputs), state, strict=True):
        close(mine, case[name], precision)
    x_gradient, *gradients = model.backward(inputs, [case[f"gout_{name}"] for name in state])
    close(x_gradient, case["gin_x"], precision)
    for mine, name in zip(gradients, state, strict=True):
        close(mine, case[f"gin_{name}"], precision)
    torch_names = [f"{name}.{field}" for name in linears for field in ("gradWeight", "gradBias")]
    for mine, name in zip(model.gradients.values(), torch_names, strict=True):
        close(mine, case[name], precision)


@pytest.mark.parametrize("kind", ["onehot", "lookup_dropout"])
def test_unrolled_with_weights_shared_over_time(kind: str, precision: str, device: str) -> None:
    case = load(f"unroll_{kind}", precision)
    lookup = "true" if kind == "lookup_dropout" else "false"
    entry = f"unroll(11, 8, 2, {{lookup = {lookup}, dropout = {lookup}}})"
    model = graphspec.compile(HERE / "specs" / "char_rnn.spec", entry, dtype=PRECISIONS[precision][0], device=device)
    layers = ["lookup"] if kind == "lookup_dropout" else []
    layers += ["i2h_1", "h2h_1", "i2h_2", "h2h_2", "decoder"]
    fields = [(name, field) for name in layers for field in (("Weight",) if name == "lookup" else ("Weight", "Bias"))]
    put(model, [case[f"{name}.{field.lower()}"] for name, field in fields])
    if kind == "lookup_dropout":
        for k in (1, 2, 3):
            model.set_noise(f"dropout_{k}", np.stack([case[f"noise_t{t}_{k}"] for t in range(1, 7)]))
    states = ("c0_1", "h0_1", "c0_2", "h0_2")
    inputs = [case["X"].astype(np.int32), case["Y"].astype(np.int32), [case[name] for name in states]]
    loss, log_p, last = model(*inputs)
    close(loss, case["loss"].reshape(()), precision)
    close(log_p, case["logprobs"], precision)
    for k, mine in enumerate(last):
        close(mine, case["states_c1_h1_c2_h2"][-1, k], precision)
    gradients = [np.ones(()), np.zeros_like(log_p), [np.zeros_like(s) for s in last]]
    _, _, s_gradients = model.backward(inputs, gradients)
    for mine, name in zip(s_gradients, states, strict=True):
        close(mine, case[f"gin_{name}"], precision)
    for mine, (name, field) in zip(model.gradients.values(), fields, strict=True):
        close(mine, case[f"{name}.grad{field}"], precision)
    close(model.flat_gradients, case["flat_grads"], precision)
